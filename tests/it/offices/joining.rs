//! Joining an office, and leaving it.

use std::process::Command;

use swarm_tests::fixture::{Home, Lan, MIB, Process, wait_until};

use super::{Machine, PATIENCE, ROOT, office};

/// A service joins by an environment variable, also when the registrar is not there yet. It does not join
/// twice.
#[test]
fn a_service_joins_unattended() {
    let lan = Lan::new(2);
    let mut machines: Vec<Machine<'_>> = (1..=2).map(|host| Machine::new(&lan, host)).collect();
    machines[0].found("Acme");
    machines[0].start();
    let file = machines[0].home.path("code");
    let told = machines[0].run(&["office", "invite", "--expires", "1h", "--file", file.to_str().unwrap()]);
    assert!(told.success().out.is_empty());
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    machines[0].stop();
    let service = |machines: &[Machine<'_>]| {
        let mut command: Command = machines[1].home.bare_command(["daemon", "-v"]);
        command.env("SWARM_JOIN", &file).env("SWARM_AS", "service");
        Process::spawn(lan.on(2, &command))
    };
    let daemon = service(&machines);
    wait_until("it tries", PATIENCE, || daemon.err().contains("trying again"));
    machines[0].start();
    wait_until("it has joined", PATIENCE, || daemon.err().contains("joined Acme as service (member)"));
    let _ = daemon.interrupt();
    // It is of the office now: the invitation is not looked at, and it was for one.
    let daemon = service(&machines);
    wait_until("it runs", PATIENCE, || daemon.err().contains("runs for"));
    wait_until("they are connected", PATIENCE, || machines[1].office()["connected"] == 1);
    assert!(!daemon.err().contains("joined"));
    let other = Home::new();
    let code = std::fs::read_to_string(&file).unwrap();
    let late = Process::spawn(lan.on(2, &other.bare_command(["office", "join", code.trim()]))).wait();
    assert!(late.exits(3).err.contains("invitation refused"), "{}", late.err);
    let _ = daemon.interrupt();
}

/// Without a node the command that invites admits the member itself, and ends when no invitation is left.
#[test]
fn an_invitation_opens_the_door_by_itself() {
    let lan = Lan::new(2);
    let machines: Vec<Machine<'_>> = (1..=2).map(|host| Machine::new(&lan, host)).collect();
    machines[0].found("Acme");
    let file = machines[0].home.path("code");
    let inviting = machines[0].spawn(&["office", "invite", "--file", file.to_str().unwrap()]);
    wait_until("the door is open", PATIENCE, || inviting.err().contains("keep this running"));
    // A file that is there is not touched, and no invitation is made for it.
    machines[0].run(&["office", "invite", "--file", file.to_str().unwrap()]).exits(1);
    assert_eq!(machines[0].office()["invited"], 1);
    machines[1].join(std::fs::read_to_string(&file).unwrap().trim()).success();
    inviting.wait().exits(0);
    let short = machines[0].run(&["office", "invite", "--expires", "1s"]);
    assert!(short.exits(0).err.contains("has expired"), "{}", short.err);
}

/// The root key: a wrong password is reported, a registrar takes the right one, and the backup makes another
/// registrar.
#[test]
fn the_root_makes_registrars() {
    let lan = Lan::new(4);
    let mut machines: Vec<Machine<'_>> = (1..=4).map(|host| Machine::new(&lan, host)).collect();
    let backup = machines[0].found("Acme")["backup"].as_str().unwrap().to_owned();
    machines[0].start();
    let mut wrong = machines[0].home.bare_command(["office", "invite", "--role", "registrar"]);
    wrong.env("SWARM_PASSWORD", "not that");
    let wrong = Process::spawn(lan.on(1, &wrong)).wait();
    assert!(wrong.exits(1).err.contains("wrong password"), "{}", wrong.err);
    let code = machines[0].invite(&["--role", "registrar"]);
    machines[1].join(&code).success();
    machines[1].start();
    assert_eq!(machines[1].office()["role"], "registrar");
    // The second registrar invites and expels by itself, but not the first.
    let code = machines[1].invite(&["--uses", "2"]);
    machines[2].join(&code).success();
    machines[2].start();
    let refused = machines[1].run(&["--json", "office", "expel", "host1"]);
    assert!(refused.exits(1).last()["message"].as_str().unwrap().contains("is a registrar"));
    // A member is no registrar, until the root says so.
    machines[2].run(&["office", "invite"]).exits(1);
    let paper = machines[2].home.path("paper");
    std::fs::write(&paper, format!("{}\n {}\n", &backup[..40], &backup[40..])).unwrap();
    let mistyped = machines[2].home.path("mistyped");
    std::fs::write(
        &mistyped,
        backup.replace(&backup[60..61], if &backup[60..61] == "A" { "B" } else { "A" }),
    )
    .unwrap();
    machines[2].run(&["office", "restore", "--backup", mistyped.to_str().unwrap()]).exits(1);
    machines[2].ask(&["office", "restore", "--backup", paper.to_str().unwrap()]);
    let code = machines[2].invite(&[]);
    machines[3].join(&code).success();
    let before = machines[0].office()["expires"].as_u64();
    machines[0].ask(&["office", "renew"]);
    assert!(machines[0].office()["expires"].as_u64() >= before);
    machines[1].run(&["office", "renew"]).exits(1);
    // The root may expel the registrars.
    machines[2].ask(&["office", "expel", "host2", "--registrar"]);
    wait_until("the second registrar is out", PATIENCE, || {
        machines[1].office()["trouble"] == "this node was expelled"
    });
    machines[1].run(&["office", "invite"]).exits(1);
    wait_until("the first knows", PATIENCE, || {
        let members = machines[0].ask(&["office", "members"])["members"].as_array().cloned().unwrap();
        members.iter().any(|member| member["name"] == "host2" && member["expelled"] == true)
    });
}

/// A member that leaves keeps no key and offers nothing any longer.
#[test]
fn who_leaves_has_left() {
    let lan = Lan::new(4);
    let machines = office(&lan, 3, "Acme");
    let file = machines[0].home.file("update", MIB, 1);
    let id = machines[0].publish(&file, &[]);
    assert!(machines[1].gets(&id, 20, &[]));
    machines[1].ask(&["office", "leave"]);
    let offices = machines[1].home.store().join("offices");
    assert_eq!(std::fs::read_dir(&offices).unwrap().count(), 0);
    let shared = machines[1].ask(&["status"])["shared"].clone();
    assert_eq!(shared[0]["serve"], "nobody", "{shared}");
    machines[1].run(&["office", "invite"]).exits(1);
    // The others do without it.
    machines[0].ask(&["allow", &id, "nobody"]);
    assert!(!machines[2].gets(&id, 4, &[]));
    // A member that comes back and publishes it again offers it to the office alone.
    let code = machines[0].invite(&["--role", "publisher"]);
    machines[1].join(&code).success();
    let again = machines[1].publish(&machines[1].home.path("out"), &["--serve", "lan"]);
    assert_eq!(again, id);
    assert!(machines[2].gets(&id, 20, &[]));
    let stranger = Machine::new(&lan, 4);
    assert!(!stranger.gets(&id, 4, &[]));
}

/// Passwords, invitations and the root key are in no log, list or message.
#[test]
fn secrets_stay_where_they_belong() {
    let lan = Lan::new(2);
    let machines: Vec<Machine<'_>> = (1..=2).map(|host| Machine::new(&lan, host)).collect();
    let mut init = machines[0].home.bare_command(["-vv", "office", "init", "Acme", "--log-level", "trace"]);
    init.env("SWARM_PASSWORD", ROOT);
    let founded = Process::spawn(lan.on(1, &init)).wait();
    let backup = String::from_utf8(founded.success().out.clone()).unwrap().trim().to_owned();
    let daemon = machines[0].spawn(&["daemon", "-vv", "--log-level", "trace"]);
    wait_until("the node runs", PATIENCE, || daemon.err().contains("runs for"));
    let code = machines[0].invite(&[]);
    let file = machines[1].home.path("code");
    std::fs::write(&file, &code).unwrap();
    let args = ["-vv", "--log-level", "trace", "office", "join", file.to_str().unwrap()];
    let join = machines[1].home.bare_command(args);
    let joined = Process::spawn(lan.on(2, &join)).wait();
    joined.success();
    let seen = [founded.err, daemon.err(), joined.err, machines[0].run(&["--json", "status"]).text()];
    let body = |text: &str| text.split_once(':').unwrap().1.to_owned();
    for secret in [ROOT.to_owned(), body(&backup), body(&code)] {
        for text in &seen {
            assert!(!text.contains(&secret[..secret.len().min(60)]), "a secret was said");
        }
        let mut files = vec![machines[0].home.store()];
        while let Some(path) = files.pop() {
            if path.is_dir() {
                files.extend(std::fs::read_dir(&path).unwrap().flatten().map(|entry| entry.path()));
            } else if let Ok(bytes) = std::fs::read(&path) {
                let secret = secret.as_bytes();
                assert!(
                    !bytes.windows(secret.len()).any(|w| w == secret),
                    "a secret lies in {}",
                    path.display()
                );
                let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
                let of_office = path.to_string_lossy().contains("/offices/");
                assert!(!of_office || mode & 0o077 == 0, "{} is for others to read", path.display());
            }
        }
    }
    let _ = daemon.interrupt();
}
