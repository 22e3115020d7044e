//! Downloads that began before a node joined an office go on there, and are not offered elsewhere.

use swarm_tests::fixture::{Lan, MIB, Process, b3, wait_until};

use super::{Machine, PATIENCE};

/// A registrar with a blob in its office, and a machine that began to fetch that blob in the public network.
fn begun(lan: &Lan) -> (Vec<Machine<'_>>, String) {
    let mut machines: Vec<Machine<'_>> = (1..=3).map(|host| Machine::new(lan, host)).collect();
    machines[0].found("Acme");
    machines[0].start();
    let file = machines[0].home.file("update", 8 * MIB, 1);
    let id = machines[0].publish(&file, &[]);
    let copy = machines[2].home.file("copy", 8 * MIB, 1);
    let slow = ["publish", copy.to_str().unwrap(), "--serve", "lan", "--limit-up", "400K"];
    let slow = machines[2].spawn(&slow);
    let get: Process = machines[1].spawn(&["--json", "get", &id, "-o", "out"]);
    get.wait_for_progress(300_000);
    get.interrupt().exits(130);
    let _ = slow.interrupt();
    machines[1].join(&machines[0].invite(&[])).success();
    machines[1].start_with(&["--limit-down", "2M"]);
    (machines, id)
}

#[test]
fn it_is_looked_for_in_the_office_too_and_is_of_the_office_then() {
    let lan = Lan::new(3);
    let (machines, id) = begun(&lan);
    let why = machines[1].run(&["why", &id]).text();
    assert!(why.contains("in the office Acme: ") && why.contains("in the public network: "), "{why}");
    let ran = machines[1].run(&["--json", "get", &id, "-o", "out", "--timeout", "30s"]);
    let done = ran.success().last();
    assert!(done["resumed"].as_u64().unwrap() > 0, "what is verified is kept: {done}");
    assert_eq!(b3(&machines[1].home.path("out")), id);
    let shared = machines[1].ask(&["status"])["shared"][0].clone();
    assert_eq!(shared["offices"], serde_json::json!(["Acme"]), "{shared}");
    assert_eq!(shared["public"], serde_json::json!(false), "{shared}");
    let info = machines[1].ask(&["info", &id]);
    assert_eq!(info["networks"], serde_json::json!(["the office Acme"]), "{info}");
    // What came from members goes to nobody else.
    std::fs::remove_file(machines[2].home.path("copy")).unwrap();
    let stranger = Machine::new(&lan, 3);
    assert!(!stranger.gets(&id, 5, &[]));
}

#[test]
fn what_was_begun_in_an_office_is_not_offered_to_all_by_a_get_in_public() {
    let lan = Lan::new(3);
    let (machines, id) = begun(&lan);
    // It goes on in the office, and is stopped there.
    let get = machines[1].spawn(&["--json", "get", &id, "-o", "out", "--office", "Acme"]);
    wait_until("it is of the office", PATIENCE, || {
        machines[1].ask(&["info", &id])["networks"] == serde_json::json!(["the office Acme"])
            || get.has_ended()
    });
    let ended = get.interrupt();
    if ended.code != Some(0) {
        let refused = machines[1].run(&["get", &id, "-o", "other", "--public", "--timeout", "5s"]);
        assert!(refused.exits(1).err.contains("begun in an office"), "{}", refused.err);
    }
    let shared = machines[1].ask(&["status"])["shared"].clone();
    assert!(shared.as_array().unwrap().iter().all(|row| row["public"] == false), "{shared}");
}
