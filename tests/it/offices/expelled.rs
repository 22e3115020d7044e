//! Members that were expelled are cut off.

use std::time::{Duration, Instant};

use swarm_tests::fixture::{Lan, MIB, wait_until};

use super::{PATIENCE, office};

/// An expelled laptop is cut off within 60 s while a transfer runs, and cannot return after all nodes have
/// restarted.
#[test]
fn an_expelled_laptop_is_cut_off_and_stays_out() {
    let lan = Lan::new(4);
    let mut machines = office(&lan, 4, "Acme");
    machines[2].stop();
    machines[2].start_with(&["--limit-down", "1MB"]);
    let file = machines[0].home.file("update", 40 * MIB, 1);
    let id = machines[0].publish(&file, &[]);
    assert!(machines[1].gets(&id, 40, &[]));
    let laptop = &machines[2];
    let getting = laptop.spawn(&["--json", "get", &id, "-o", "slow"]);
    getting.wait_for_progress(MIB);
    // The laptop's files from before, as if it had not heard of the expulsion.
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(laptop.home.store().join("offices"))
        .arg(laptop.home.path("before"))
        .status()
        .unwrap();
    assert!(copied.success());
    let began = Instant::now();
    let expelled = machines[0].ask(&["office", "expel", "host3"]);
    assert_eq!(
        (&expelled["members"][0]["name"], &expelled["members"][0]["expelled"]),
        (&"host3".into(), &true.into())
    );
    wait_until("the laptop is connected to nobody", Duration::from_secs(60), || {
        laptop.office()["connected"] == 0 && laptop.office()["trouble"] == "this node was expelled"
    });
    assert!(began.elapsed() < Duration::from_secs(60));
    wait_until("nobody counts it as of the office", Duration::from_secs(60), || {
        [0, 1, 3].iter().all(|at: &usize| {
            let known = machines[*at].ask(&["office", "members"])["members"].as_array().cloned().unwrap();
            known.iter().all(|member| member["name"] != "host3" || member["expelled"] == true)
        })
    });
    let had = getting.event("progress").and_then(|now| now["done"].as_u64()).unwrap();
    assert!(had < 40 * MIB, "it was too late");

    // All nodes restart, the laptop with its old files.
    let _ = getting.interrupt();
    for machine in &mut machines {
        machine.stop();
    }
    let offices = machines[2].home.store().join("offices");
    std::fs::remove_dir_all(&offices).unwrap();
    std::fs::rename(machines[2].home.path("before"), &offices).unwrap();
    for machine in &mut machines {
        machine.start();
    }
    wait_until("the others have found each other", PATIENCE, || {
        [0, 1, 3].iter().all(|at: &usize| machines[*at].office()["connected"].as_u64() > Some(0))
    });
    assert!(machines[3].gets(&id, 30, &[]), "the others go on");
    assert!(!machines[2].gets(&id, 6, &[]));
    assert_eq!(machines[2].office()["connected"], 0);
}

/// A member that was away when the secret changed comes back and learns the new one. An invitation from
/// before is void.
#[test]
fn who_was_away_comes_back() {
    let lan = Lan::new(4);
    let mut machines = office(&lan, 3, "Acme");
    let code = machines[0].invite(&["--uses", "5"]);
    machines[2].stop();
    machines[0].ask(&["office", "rotate"]);
    machines[0].ask(&["office", "rotate"]);
    let late = super::Machine::new(&lan, 4);
    late.join(&code).exits(3);
    machines[2].start();
    wait_until("it knows the new secret", PATIENCE, || {
        let office = machines[2].office();
        office["epoch"] == 2 && office["connected"].as_u64() > Some(0)
    });
    let file = machines[0].home.file("update", MIB, 1);
    let id = machines[0].publish(&file, &[]);
    assert!(machines[2].gets(&id, 20, &[]));
    // The registrar's machine goes, the others find each other all the same.
    assert!(machines[1].gets(&id, 20, &[]));
    machines[0].stop();
    let file = machines[2].home.path("out");
    std::fs::remove_file(&file).unwrap();
    machines[2].ask(&["rm", &id]);
    assert!(machines[2].gets(&id, 20, &[]));
}

/// A member that was expelled and invited again is like any other, also when the secret changes while it is
/// away.
#[test]
fn who_was_taken_in_again_is_a_member_like_others() {
    let lan = Lan::new(2);
    let mut machines = office(&lan, 2, "Acme");
    // A member that is not connected hears nothing, and is refused everywhere.
    wait_until("they are connected", PATIENCE, || machines[0].office()["connected"] == 1);
    let expelled = machines[0].ask(&["office", "expel", "host2"]);
    assert_eq!(expelled["members"][0]["expelled"], true);
    wait_until("it knows", PATIENCE, || machines[1].office()["trouble"] == "this node was expelled");
    let code = machines[0].invite(&[]);
    machines[1].join(&code).success();
    assert!(machines[1].office()["trouble"].is_null());
    machines[1].stop();
    machines[0].ask(&["office", "rotate"]);
    machines[1].start();
    wait_until("it knows the new secret", PATIENCE, || machines[1].office()["epoch"] == 2);
    let file = machines[0].home.file("update", MIB, 1);
    let id = machines[0].publish(&file, &[]);
    assert!(machines[1].gets(&id, 20, &[]));
}
