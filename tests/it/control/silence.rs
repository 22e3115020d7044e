//! A node that does not answer is named, and no command hangs because of it without a word.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use serde_json::json;
use swarm_tests::fixture::{Home, MIB, PATIENCE, Process, Ran, Signal, b3, wait_until};

use super::{Client, id};

/// The time that `--timeout` may take longer than it says, on a machine that is busy with other tests.
const LATE: Duration = Duration::from_millis(2500);

fn is_named(ran: &Ran, pid: u32) {
    ran.exits(7);
    let named = format!("(process {pid}) does not answer: the process is stopped");
    assert!(ran.err.contains(&named), "{}: {}", ran.line, ran.err);
    assert!(ran.err.contains(&format!("kill -CONT {pid}")), "{}", ran.err);
    assert!(ran.err.contains("verified data is kept"), "{}", ran.err);
}

#[test]
fn a_node_that_is_stopped_is_named_by_every_command() {
    let home = Home::new();
    let daemon = home.daemon(&[]);
    let file = home.file("f.bin", 1000, 210);
    daemon.signal(Signal::STOP);
    let timed = Instant::now();
    let get = home.spawn(["get", &id(1), "--timeout", "2s"]);
    let others: Vec<Process> = [
        &["status"][..],
        &["ls"],
        &["daemon"],
        &["get", &id(1)],
        &["publish", file.to_str().unwrap()],
        &["cat", &id(1)],
    ]
    .into_iter()
    .map(|args| home.spawn(args))
    .collect();
    let json = home.spawn(["--json", "peers"]);
    is_named(&get.wait(), daemon.pid());
    assert!(timed.elapsed() < Duration::from_secs(2) + LATE, "{:?}", timed.elapsed());
    others.into_iter().for_each(|other| is_named(&other.wait(), daemon.pid()));
    assert_eq!(json.wait().exits(7).last()["fault"], "no_answer");
    daemon.signal(Signal::CONT);
    home.run(["status"]).success();
    daemon.stop().success();
}

#[test]
fn a_command_says_once_that_its_node_is_stopped_and_goes_on_with_it() {
    let (alice, bob) = (Home::new(), Home::new());
    let theirs = alice.publish_with(&alice.file("f.bin", 12 * MIB, 211), &["--limit-up", "4M"]);
    let daemon = bob.daemon(&[]);
    let client = bob.spawn(["get", theirs.link()]);
    let timed = bob.spawn(["get", &id(2), "--timeout", "6s"]);
    let begun = Instant::now();
    wait_until("both are under way", PATIENCE, || {
        bob.ask(&["status"])["transfers"].as_array().is_some_and(|all| all.len() == 2)
    });
    daemon.signal(Signal::STOP);
    let timed = timed.wait();
    assert!(begun.elapsed() < Duration::from_secs(6) + LATE, "{:?}", begun.elapsed());
    is_named(&timed, daemon.pid());
    wait_until("the other one says so", PATIENCE, || client.err().contains("does not answer"));
    client.must_run();
    daemon.signal(Signal::CONT);
    let client = client.wait();
    client.success();
    assert_eq!(client.err.matches("does not answer").count(), 1, "{}", client.err);
    assert!(client.err.contains(&format!("process {} answers again", daemon.pid())), "{}", client.err);
    assert_eq!(b3(&bob.path("f.bin")), theirs.id());
    daemon.stop().success();
}

/// Ctrl-Z on a download that is the node of its store.
#[test]
fn a_download_that_is_suspended_is_named_and_goes_on() {
    let home = Home::new();
    let get = home.spawn_get(&id(3), &[]);
    get.wait_for_event("searching");
    get.signal(Signal::STOP);
    is_named(&home.run(["ls"]), get.pid());
    get.signal(Signal::CONT);
    home.run(["ls"]).success();
    get.interrupt().exits(130);
}

#[test]
fn a_node_says_every_second_that_it_lives() {
    let home = Home::new();
    let daemon = home.daemon(&[]);
    let mut client = Client::waiting(&home, 4);
    let begun = Instant::now();
    let mut beats = 0;
    while beats < 2 {
        beats += usize::from(client.line() == "beat");
        assert!(begun.elapsed() < PATIENCE, "{beats} beats");
    }
    daemon.stop().success();
    // A command that waits is told that this node ends, and that another may go on.
    let last = std::iter::from_fn(|| Some(client.line()).filter(|line| !line.is_null())).last();
    assert_eq!(last.unwrap(), "leaving");
}

/// A process in place of a node: it has the lock of a store and answers as the test says.
struct Other {
    _lock: File,
}

impl Other {
    fn new(home: &Home, answer: String, connections: usize) -> Self {
        fs::create_dir_all(home.store()).unwrap();
        let lock = File::create(home.store().join("lock")).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        (&lock).write_all(format!("{} 0\n", std::process::id()).as_bytes()).unwrap();
        let listener = UnixListener::bind(home.store().join("control.sock")).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().take(connections).flatten() {
                let mut stream = BufReader::new(stream);
                let _ = stream.read_line(&mut String::new());
                let _ = stream.get_mut().write_all(answer.as_bytes());
                if answer.ends_with("\"beat\"\n") {
                    thread::spawn(move || {
                        while stream.get_mut().write_all(b"\"beat\"\n").is_ok() {
                            thread::sleep(Duration::from_millis(200));
                        }
                    });
                }
            }
        });
        Self { _lock: lock }
    }
}

#[test]
fn a_node_of_another_version_is_told_from_one_that_hangs() {
    let later = "{\"greeting\":{\"protocol\":99,\"version\":\"9.9\",\"pid\":77}}\n";
    let earlier = "{\"event\":\"failed\",\"fault\":\"user\",\"message\":\"not a command\",\"hint\":null}\n";
    for (answer, named) in [(later, "swarm 9.9"), (earlier, "another version"), ("\n", "another version")] {
        let home = Home::new();
        let other = Other::new(&home, answer.to_owned(), 1);
        let ran = home.run(["status"]);
        ran.exits(1);
        assert!(ran.err.contains(named) && ran.err.contains("do not understand each other"), "{}", ran.err);
        assert!(ran.err.contains(&std::process::id().to_string()), "names the process: {}", ran.err);
        drop(other);
    }
}

/// A command such as `verify` has the store for hours and is on no network: a publication is not left to it.
#[test]
fn what_needs_others_waits_for_a_process_that_is_not_on_the_network() {
    let home = Home::new();
    let greeting = "{\"greeting\":{\"protocol\":1,\"version\":\"x\",\"pid\":55,\"online\":false}}\n";
    let other = Other::new(&home, greeting.to_owned(), usize::MAX);
    let file = home.file("f.bin", 1000, 212);
    let publish = home.spawn(["publish", "--link", file.to_str().unwrap()]);
    wait_until("it says what it waits for", PATIENCE, || publish.err().contains("not on the network"));
    let late = home.run(["get", &id(5), "--timeout", "1s"]);
    assert!(late.exits(5).err.contains("not on the network"), "{}", late.err);
    publish.must_run();
    drop(other);
    wait_until("it publishes then", PATIENCE, || publish.err().contains("sharing"));
    publish.interrupt().success();
}

/// A node whose disk does not answer is not taken for dead, and a command that waits for it says so.
#[test]
fn an_answer_that_does_not_come_is_spoken_of() {
    let (home, pid) = (Home::new(), std::process::id());
    let greeting = json!({"greeting": {"protocol": 1, "version": "x", "pid": pid, "online": true}});
    let _other = Other::new(&home, format!("{greeting}\n\"beat\"\n"), usize::MAX);
    let status = home.spawn(["status"]);
    let ls = home.spawn(["--json", "ls"]);
    wait_until("it says so", PATIENCE, || status.err().contains("takes longer than usual"));
    let named = format!("process {pid}");
    assert!(ls.wait_for_event("notice")["text"].as_str().unwrap().contains(&named));
    status.interrupt().exits(130);
    let late = home.run(["get", &id(6), "--timeout", "2s"]);
    assert!(late.exits(5).err.contains(&named), "{}", late.err);
}

/// `--timeout` ends a command whatever the command waits for, here a line on standard input that does not
/// come.
#[test]
fn a_timeout_counts_from_the_first_moment() {
    let home = Home::new();
    let mut command = home.command(["get", "-", "--timeout", "1s"]);
    let (input, _held) = std::io::pipe().unwrap();
    command.stdin(input);
    let begun = Instant::now();
    Process::spawn(command).wait().exits(5);
    assert!(begun.elapsed() < Duration::from_secs(1) + LATE, "{:?}", begun.elapsed());
}
