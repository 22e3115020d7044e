//! The main job: published content is fetched, whole and right, by every node that has its id.

mod commands;
mod directories;
mod one_node;
mod sharing;

use std::fs::{self, File};

use swarm_tests::fixture::{Home, KIB, MIB, Process, b3, fill, listing};

/// A home with a daemon, and the `--peer` to reach it: publishing hands over to it and returns.
fn publisher() -> (Home, swarm_tests::fixture::Daemon) {
    let home = Home::new();
    let daemon = home.daemon(&[]);
    (home, daemon)
}

#[test]
fn files_of_every_size_arrive_by_bare_id() {
    let ((alice, daemon), bob) = (publisher(), Home::new());
    for len in [0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 7] {
        let file = alice.file("file", len, len);
        let published = alice.run(["publish", "file"]);
        let id = published.success().text();
        assert_eq!(id, b3(&file), "{len} bytes: publish prints what b3sum prints");
        let out = format!("got-{len}");
        let got = bob.get(&id, &["--peer", daemon.addr(), "-o", &out]);
        let done = got.success().event("done");
        assert_eq!((done["len"].as_u64(), done["id"].as_str()), (Some(len), Some(id.as_str())));
        assert_eq!(b3(&bob.path(&out)), id, "{len} bytes");
    }
}

#[test]
fn a_link_is_enough_and_names_the_file() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("update.bin", 3 * MIB + 1, 1));
    let got = bob.run(["get", seeder.link()]);
    assert_eq!(got.success().text(), bob.path("update.bin").display().to_string(), "the path is the result");
    assert_eq!(b3(&bob.path("update.bin")), seeder.id());
    assert!(
        seeder.err().contains(&format!("swarm get '{}'", seeder.link())),
        "the line to paste: {}",
        seeder.err()
    );
    assert_eq!(seeder.stop().success().err.matches("stopping").count(), 1);
}

#[test]
fn without_a_name_it_gets_the_one_its_holders_offer() {
    let ((alice, daemon), bob) = (publisher(), Home::new());
    let _ = alice.file("build 7.tar", 10 * KIB, 2);
    let id = alice.run(["publish", "build 7.tar", "--name", "Übung.bin"]).success().text();
    bob.get(&id, &["--peer", daemon.addr()]).success();
    assert_eq!(b3(&bob.path("Übung.bin")), id);
}

#[test]
fn the_name_in_a_link_leads_nowhere_else() {
    let (alice, daemon) = publisher();
    let id = alice.run([&"publish".into(), &alice.file("f", KIB, 3)]).success().text();
    for evil in ["../up", "/tmp/swarm-test-absolute", "a/b", "..", "CON", "x%00y", "%1b[31mred", "."] {
        let home = Home::new();
        let link = format!("swarm:{id}?name={evil}&peer={}", daemon.addr());
        let got = home.get(&link, &[]);
        got.sane();
        if got.code == Some(0) {
            let inside = listing(home.dir()).into_iter().filter(|line| !line.starts_with("home")).count();
            assert_eq!(
                inside,
                1,
                "{evil}: one file, in the folder it was asked from: {:?}",
                listing(home.dir())
            );
        }
        assert!(!got.err.contains('\u{1b}'), "{evil}: {}", got.err);
        let outside = [home.path("../up"), "/tmp/swarm-test-absolute".into()];
        assert!(outside.iter().all(|path| !path.exists()), "{evil}: written outside");
    }
}

#[test]
fn standard_input_can_be_published() {
    let (alice, bob) = (Home::new(), Home::new());
    let file = alice.file("piped", 5 * MIB + 3, 4);
    let mut command = alice.command(["publish", "-", "--link", "--name", "from a pipe"]);
    command.stdin(File::open(&file).unwrap());
    let seeder = swarm_tests::fixture::Seeder::start(command);
    assert_eq!(seeder.id(), b3(&file));
    fs::remove_file(&file).unwrap();
    bob.get(seeder.link(), &[]).success();
    assert_eq!(b3(&bob.path("from a pipe")), seeder.id());
    assert_eq!(
        fs::read_dir(alice.store().join("incoming")).unwrap().count(),
        0,
        "it was moved into the store"
    );
}

#[test]
fn content_can_go_to_standard_output() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("film", 20 * MIB + 5, 5));
    let want = fs::read(alice.path("film")).unwrap();
    let carol = Home::new();
    for (home, args) in [(&bob, &["cat", seeder.link()][..]), (&carol, &["get", seeder.link(), "-o", "-"])] {
        let ran = home.run(args);
        assert!(ran.success().out == want, "{args:?}: {} of {} bytes", ran.out.len(), want.len());
    }
    let empty = bob.run([
        "cat",
        &b3(&{
            let path = bob.path("empty");
            fs::write(&path, "").unwrap();
            path
        }),
    ]);
    assert!(empty.success().out.is_empty());
    // With --json, the bytes stay alone on standard output.
    let json = carol.run(["cat", "--json", seeder.id(), "--peer", seeder.addr()]);
    assert!(json.success().out == want);
    assert_eq!(json.event("done")["id"], seeder.id());
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("film", 8 * MIB, 6));
    let cat = bob.command(["cat", seeder.link()]);
    let mut bash = std::process::Command::new("bash");
    bash.args(["-c", "\"$0\" \"$@\" | head -c 5; exit ${PIPESTATUS[0]}"]);
    bash.arg(cat.get_program()).args(cat.get_args()).current_dir(bob.dir());
    let ran = Process::spawn(bash).wait();
    assert_eq!(ran.success().out, fill(5, 6));
}

#[test]
fn the_destination_can_be_a_folder() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("a.bin", 100 * KIB, 7));
    fs::create_dir(bob.path("there")).unwrap();
    bob.get(seeder.link(), &["-o", "there"]).success();
    bob.get(seeder.link(), &["-o", "new/folder/"]).success();
    bob.get(seeder.link(), &["-o", "deeper/below/b.bin"]).success();
    for place in ["there/a.bin", "new/folder/a.bin", "deeper/below/b.bin"] {
        assert_eq!(b3(&bob.path(place)), seeder.id(), "{place}");
    }
}

#[test]
fn what_is_there_is_not_replaced_unasked() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("a.bin", 200 * KIB, 8));
    fs::write(bob.path("a.bin"), "mine").unwrap();
    for out in [&[][..], &["-o", "a.bin"]] {
        let refused = bob.get(seeder.link(), out);
        refused.exits(1);
        assert!(refused.last()["message"].as_str().unwrap().contains("--overwrite"), "{}", refused.last());
        assert_eq!(fs::read(bob.path("a.bin")).unwrap(), b"mine");
    }
    bob.get(seeder.link(), &["--overwrite"]).success();
    assert_eq!(b3(&bob.path("a.bin")), seeder.id());
    let hidden = listing(bob.dir()).into_iter().filter(|line| line.contains("swarm-part")).count();
    assert_eq!(hidden, 0, "nothing is left beside it");
}

#[test]
fn getting_what_is_already_there_succeeds() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("a.bin", 3 * MIB, 9));
    for out in [&[][..], &["-o", "a.bin"], &["-o", "."]] {
        bob.get(seeder.link(), out).success();
        let again = bob.get(seeder.link(), out);
        assert_eq!(again.success().fetched(), 0, "{out:?}: nothing is fetched twice");
    }
    seeder.kill();
    // Nobody is needed for what is here.
    let id = b3(&bob.path("a.bin"));
    bob.get(&id, &["-o", "copy.bin"]).success();
    assert_eq!(b3(&bob.path("copy.bin")), id);
}

#[test]
fn several_things_are_fetched_at_once() {
    let ((alice, daemon), bob) = (publisher(), Home::new());
    let ids: Vec<String> = (0..5)
        .map(|i| {
            let file = alice.file(&format!("file-{i}"), (i + 1) * 300 * KIB, 10 + i);
            alice.run([&"publish".into(), &file]).success().text()
        })
        .collect();
    let args = ["get", "--json", "-o", "all/", "--peer", daemon.addr()];
    let got = bob.run(args.into_iter().chain(ids.iter().map(String::as_str)));
    assert_eq!(got.success().events.iter().filter(|event| event["event"] == "done").count(), 5);
    for (i, id) in ids.iter().enumerate() {
        assert_eq!(b3(&bob.path(format!("all/file-{i}"))), *id);
    }
}

#[test]
fn what_nobody_has_is_exit_3_and_says_what_was_tried() {
    let ((_alice, daemon), bob) = (publisher(), Home::new());
    let id = "0123456789abcdef".repeat(4);
    // Long enough to be told while it still waits.
    let ran = bob.run(["get", &id, "--timeout", "4s", "--peer", daemon.addr()]);
    ran.exits(3);
    assert!(ran.err.contains("Tried:") && ran.err.contains("no reachable node has it"), "{}", ran.err);
    let failed = bob.get(&id, &["--timeout", "2s", "--peer", daemon.addr()]);
    failed.exits(3);
    assert!(
        failed.last()["message"].as_str().unwrap().contains("peer"),
        "says what was tried: {}",
        failed.last()
    );
    assert_eq!((&failed.last()["fault"], &failed.last()["exit"]), (&"not_found".into(), &3.into()));
    assert_eq!(listing(bob.dir()).into_iter().filter(|line| !line.starts_with("home")).count(), 0);
}
