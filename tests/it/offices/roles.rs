//! Roles: which member may offer content, and to whom.

use swarm_tests::fixture::{Lan, MIB};

use super::{Machine, office};

#[test]
fn only_publishers_offer_to_all_and_members_to_those_they_name() {
    let lan = Lan::new(4);
    let machines = office(&lan, 4, "Acme");
    let file = machines[1].home.file("draft", MIB, 1);
    let path = file.to_str().unwrap();
    let refused = machines[1].run(&["--json", "publish", path]);
    let message = refused.exits(1).last()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("only a publisher"), "{message}");
    let refused = machines[1].run(&["--json", "publish", path, "--serve", "anyone", "--office", "Acme"]);
    refused.exits(1);
    let id = machines[1].publish(&file, &["--to", "host3"]);
    assert!(machines[2].gets(&id, 20, &[]));
    // Neither the publisher nor the node that has it now gives it to another member.
    assert!(!machines[3].gets(&id, 4, &[]));
    assert!(!machines[0].gets(&id, 4, &[]));
    let status = machines[2].ask(&["status"]);
    assert_eq!(status["shared"][0]["members"][0], "host3");
    // A registrar is a publisher.
    let file = machines[0].home.file("update", MIB, 2);
    let all = machines[0].publish(&file, &[]);
    assert!(machines[3].gets(&all, 20, &[]));
    // The audience of a blob holds in an office, too.
    machines[0].ask(&["allow", &all, "nobody"]);
    machines[3].ask(&["allow", &all, "nobody"]);
    assert!(!machines[1].gets(&all, 4, &[]));
    machines[3].ask(&["allow", &all, "office"]);
    assert!(machines[1].gets(&all, 20, &[]));
    machines[3].run(&["allow", &all, "anyone"]).exits(1);
}

/// A folder and a share pass through an office as a file does.
#[test]
fn folders_and_shares_are_of_an_office_too() {
    let lan = Lan::new(3);
    let machines = office(&lan, 3, "Acme");
    let folder = machines[0].home.path("folder");
    std::fs::create_dir(&folder).unwrap();
    for (name, seed) in [("a", 1), ("b", 2)] {
        swarm_tests::fixture::write_random(&folder.join(name), MIB, seed);
    }
    let published = machines[0].ask(&["publish", folder.to_str().unwrap()]);
    let id = published["id"].as_str().unwrap();
    let get = |machine: &Machine<'_>, target: &str, name: &str| {
        machine.run(&["--json", "get", target, "-o", name, "--timeout", "20s"])
    };
    get(&machines[1], id, "tree").success();
    let hash = swarm_tests::fixture::tree_hash(&folder);
    assert_eq!(swarm_tests::fixture::tree_hash(&machines[1].home.path("tree")), hash);
    // From the second one alone.
    machines[0].ask(&["allow", id, "nobody"]);
    get(&machines[2], id, "tree").success();
    assert_eq!(swarm_tests::fixture::tree_hash(&machines[2].home.path("tree")), hash);

    let file = machines[0].home.file("film", 2 * MIB, 3);
    let share = machines[0].ask(&["publish", file.to_str().unwrap(), "--encrypt"]);
    let link = share["link"].as_str().unwrap();
    assert!(link.contains("office="), "{link}");
    machines[1].ask(&["hold", "--blind", link]);
    machines[0].ask(&["allow", share["id"].as_str().unwrap(), "nobody"]);
    get(&machines[2], link, "film").success();
    assert_eq!(swarm_tests::fixture::b3(&machines[2].home.path("film")), swarm_tests::fixture::b3(&file));
}
