//! Audiences: by default only the local network may fetch a blob, and to all other peers it does not exist.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use swarm_tests::fixture::{Home, Internet, MIB, Process, Seeder, Site, b3, wait_until};

/// Returns the audience of an id in `swarm status`.
fn said(net: &Internet, home: &Home, id: &str) -> Value {
    let status = Process::spawn(net.as_installed(1, 1, &home.bare_command(["--json", "status"]))).wait();
    let shared = status.success().last()["shared"].as_array().cloned().unwrap_or_default();
    shared.into_iter().find(|row| row["id"] == id).map_or(Value::Null, |row| row["serve"].clone())
}

fn get(home: &Home, link: &str, args: &[&str]) -> Command {
    home.bare_command(["get", "--json", link, "-o", "out", "--no-mdns"].iter().chain(args))
}

/// Two hosts of one network with public IPv6 addresses, and one host elsewhere.
fn world() -> Internet {
    Internet::new(&[Site::public(2), Site::public(1)])
}

/// Returns the link with only the publisher's IPv6 address.
fn on_link(net: &Internet, home: &Home, id: &str) -> String {
    let status = Process::spawn(net.as_installed(1, 1, &home.bare_command(["--json", "status"]))).wait();
    let status = status.success().last().clone();
    let mut addrs = status["listen"].as_array().unwrap().iter().filter_map(Value::as_str);
    let addr = addrs.find(|addr| addr.contains("/2a0e:")).expect("it listens there");
    format!("swarm:{id}?peer={addr}/p2p/{}", status["peer"].as_str().unwrap())
}

#[test]
fn only_the_local_network_may_fetch_unless_it_is_said() {
    let net = world();
    let (alice, near, far) = (Home::new(), Home::new(), Home::new());
    let file = alice.file("update", 2 * MIB, 1);
    let mut publish = alice.bare_command(["publish", "--link", "--no-mdns"]);
    publish.arg(&file);
    let seeder = Seeder::start(net.as_installed(1, 1, &publish));
    let (id, link) = (seeder.id().to_owned(), seeder.link().to_owned());
    assert_eq!(said(&net, &alice, &id), "lan");
    let here = on_link(&net, &alice, &id);
    Process::spawn(net.as_installed(1, 2, &get(&near, &here, &["--timeout", "20s"]))).wait().success();

    // Elsewhere the message is that for a blob that was never published.
    let nothing = link.replace(&id, &"ab".repeat(32));
    let said_of = |link: &str| {
        let ran = Process::spawn(net.as_installed(2, 1, &get(&far, link, &["--timeout", "3s"]))).wait();
        ran.exits(3);
        let message = ran.last()["message"].as_str().unwrap_or_default().to_owned();
        message.split_once("s)").map(|(_, ways)| ways.to_owned()).unwrap_or(message)
    };
    assert_eq!(said_of(&link), said_of(&nothing));

    // A download that waits gets it as soon as it may.
    let waiting = Process::spawn(net.as_installed(2, 1, &get(&far, &link, &[])));
    waiting.wait_for_event("searching");
    let allow = |who: &str| {
        Process::spawn(net.as_installed(1, 1, &alice.bare_command(["allow", &id, who])))
            .wait()
            .success()
            .clone()
    };
    let told = allow("anyone");
    assert!(told.err.contains("anyone who has the id"), "{}", told.err);
    assert_eq!(said(&net, &alice, &id), "anyone");
    waiting.wait().success();
    assert_eq!(b3(&far.path("out")), b3(&file));
}

#[test]
fn who_may_no_longer_is_cut_off_at_once() {
    let net = world();
    let (alice, far) = (Home::new(), Home::new());
    let file = alice.file("update", 24 * MIB, 2);
    let mut publish = alice.bare_command(["publish", "--link", "--no-mdns", "--serve", "anyone"]);
    publish.arg(&file);
    let seeder = Seeder::start(net.as_installed(1, 1, &publish));
    let (id, link) = (seeder.id().to_owned(), seeder.link().to_owned());
    let getting = Process::spawn(net.as_installed(2, 1, &get(&far, &link, &["--limit-down", "2MB"])));
    getting.wait_for_progress(2 * MIB);
    let allow = |who: &str| {
        let _ =
            Process::spawn(net.as_installed(1, 1, &alice.bare_command(["allow", &id, who]))).wait().success();
    };
    allow("nobody");
    assert_eq!(said(&net, &alice, &id), "nobody");
    wait_until("nothing comes any more", Duration::from_secs(20), || {
        getting.event("progress").is_some_and(|now| now["holders"] == 0 && now["rate"] == 0)
    });
    assert!(getting.event("progress").unwrap()["done"].as_u64() < Some(24 * MIB));
    // The audience outlives the process, and can be changed again.
    seeder.stop().exits(0);
    let daemon = Process::spawn(net.as_installed(
        1,
        1,
        &alice.bare_command(["daemon", "--no-mdns", "--serve", "anyone"]),
    ));
    wait_until("the daemon runs", Duration::from_secs(20), || daemon.err().contains("runs for"));
    assert_eq!(said(&net, &alice, &id), "nobody");
    allow("default");
    assert_eq!(said(&net, &alice, &id), "anyone");
    let _ = getting.interrupt();
    Process::spawn(net.as_installed(2, 1, &get(&far, &link, &["--timeout", "30s"]))).wait().success();
    assert_eq!(b3(&far.path("out")), b3(&file));
}

/// `--serve` that is given while a download runs holds after it, and `--serve` of a command holds for content
/// that was here before.
#[test]
fn what_was_said_is_not_forgotten() {
    let (alice, bob) = (Home::new(), Home::new());
    let file = alice.file("update", 12 * MIB, 5);
    let seeder = alice.publish(&file);
    let id = seeder.id().to_owned();
    let serve = |home: &Home| home.ask(&["info", &id])["serve"].clone();
    let daemon = bob.daemon(&["--serve", "anyone"]);
    let getting = bob.spawn_get(seeder.link(), &["-o", "out", "--limit-down", "4MB"]);
    getting.wait_for_progress(MIB);
    let _ = bob.run(["allow", &id, "nobody"]).success();
    getting.wait().success();
    assert_eq!(serve(&bob), "nobody");
    bob.get(&id, &["-o", "again", "--serve", "lan"]).success();
    assert_eq!(serve(&bob), "lan");
    // It is published again for fewer: downloads that are no longer allowed are cut off.
    drop(daemon);
    let late = Home::new();
    let getting = late.spawn_get(seeder.link(), &["-o", "out", "--limit-down", "2MB"]);
    getting.wait_for_progress(MIB);
    let _beside = alice.publish_with(&file, &["--serve", "nobody"]);
    wait_until("nothing comes any more", Duration::from_secs(20), || {
        getting.event("progress").is_some_and(|now| now["holders"] == 0 && now["rate"] == 0)
    });
    assert!(getting.event("progress").unwrap()["done"].as_u64() < Some(12 * MIB));
}

/// Fetched content is not given to strangers either, and the flag of one command does not change other
/// content.
#[test]
fn the_flag_is_about_one_content() {
    let net = world();
    let (alice, near, far) = (Home::new(), Home::new(), Home::new());
    let (open, closed) = (alice.file("open", MIB, 3), alice.file("closed", MIB, 4));
    let mut publish = alice.bare_command(["publish", "--link", "--no-mdns"]);
    publish.arg(&closed);
    let first = Seeder::start(net.as_installed(1, 1, &publish));
    let closed_link = first.link().to_owned();
    first.stop().exits(0);
    let mut publish = alice.bare_command(["publish", "--link", "--no-mdns", "--serve", "anyone"]);
    publish.arg(&open);
    let seeder = Seeder::start(net.as_installed(1, 1, &publish));
    let elsewhere = |link: &str, timeout| {
        Process::spawn(net.as_installed(2, 1, &get(&far, link, &["--timeout", timeout]))).wait()
    };
    elsewhere(seeder.link(), "20s").success();
    std::fs::remove_file(far.path("out")).unwrap();
    elsewhere(&closed_link, "3s").exits(3);
    // A getter that goes on sharing gives it to its own network.
    let kept = Process::spawn(net.as_installed(1, 2, &get(&near, seeder.link(), &["--seed"])));
    kept.wait_for_event("done");
    let status = Process::spawn(net.as_installed(1, 2, &near.bare_command(["--json", "status"]))).wait();
    let status = status.success().last().clone();
    assert_eq!(status["serve"], "lan");
    let peer = format!(
        "{}/p2p/{}",
        status["listen"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .find(|a| a.contains("/45."))
            .unwrap_or_default(),
        status["peer"].as_str().unwrap()
    );
    let id = seeder.id().to_owned();
    seeder.kill();
    let other = Home::new();
    let gone =
        Process::spawn(net.as_installed(2, 1, &get(&other, &id, &["--peer", &peer, "--timeout", "3s"])));
    gone.wait().exits(3);
}
