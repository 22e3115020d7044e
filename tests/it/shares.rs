//! Shares: content that only its link opens, held and passed on by nodes that cannot read it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use swarm_core::content::link::Link;
use swarm_core::content::seal::{BODY, SEGMENT, Sealer, ShareKey, SharePart, sealed_len};
use swarm_core::content::share::{Description, Fragment, Outside, seal_envelope};
use swarm_tests::fixture::{Home, MIB, Process, Ran, Seeder, listing};
use swarm_tests::hostile::{Hostile, Offering};

/// Text inside the share: only a node with the link may find it.
const NAME: &str = "hollow-crown-s02e01.mkv";
const PASSWORD: &str = "correct horse battery";

fn link(seeder: &Seeder) -> Link {
    seeder.link().parse().expect("a link")
}

/// Replaces the peers of a link by this one.
fn at(mut link: Link, peer: &str) -> String {
    link.peers = vec![peer.to_owned()];
    link.to_string()
}

fn key(link: &Link) -> ShareKey {
    match &link.fragment {
        Some(Fragment::Key(key)) => key.clone(),
        other => panic!("no key: {other:?}"),
    }
}

/// Runs a command with a link on its standard input, where no other process sees it.
fn with_input(home: &Home, args: &[&str], input: &str, env: &[(&str, &str)]) -> Ran {
    let mut command = home.command(args);
    command.envs(env.iter().copied());
    let file = home.path("standard input");
    fs::write(&file, input).unwrap();
    command.stdin(fs::File::open(&file).unwrap());
    Process::spawn(command).wait()
}

/// Returns the files below a folder that hold these bytes.
fn holding(folder: &Path, needle: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if memchr(&fs::read(&path).unwrap_or_default(), needle)
                || memchr(entry.file_name().as_encoded_bytes(), needle)
            {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

fn memchr(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn a_film_goes_through_who_cannot_read_it() {
    let (alice, helper, carol) = (Home::new(), Home::new(), Home::new());
    let film = alice.file(NAME, 3 * MIB + 17, 1);
    let plain = fs::read(&film).unwrap();
    let seeder = alice.publish_with(&film, &["--encrypt"]);
    let link = link(&seeder);
    assert_eq!(link.name, None, "the link names it only to who opens it");
    let key = key(&link);

    // The helper is given no key, and would not use one.
    let holding_it = helper.spawn(["hold", "--json", "--blind", seeder.link()]);
    holding_it.wait_for_event("done");
    for (what, needle) in [
        ("the key", &key.expose()[..]),
        ("the key", BASE64URL_NOPAD.encode(key.expose()).as_bytes()),
        ("the key", HEXLOWER.encode(key.expose()).as_bytes()),
        ("the name", NAME.as_bytes()),
        ("the content", &plain[1000..1032]),
        ("the content", &plain[3 * MIB as usize..][..16]),
    ] {
        assert_eq!(holding(&helper.store(), needle), [""; 0], "{what} at the helper");
        assert!(!memchr(&holding_it.out(), needle) && !memchr(holding_it.err().as_bytes(), needle));
    }
    assert_ne!(helper.run(["get", &link.id.to_string(), "-o", "mine"]).code, Some(0), "it cannot read it");

    // The publisher is gone. Another node with the link fetches it from the helper, and plays it.
    let helper_at = helper.addr();
    seeder.kill();
    let played = with_input(&carol, &["cat", "-"], &at(link.clone(), &helper_at), &[]);
    assert_eq!(played.success().out, plain);
    let got = with_input(&carol, &["get", "-", "--json", "-o", "./"], &at(link, &helper_at), &[]);
    assert_eq!(got.success().last()["path"], carol.path(NAME).display().to_string());
    assert_eq!(fs::read(carol.path(NAME)).unwrap(), plain);
    let row = carol.row(seeder_id(&got)).expect("listed");
    assert_eq!(
        (&row["name"], &row["kind"], &row["state"]),
        (&NAME.into(), &"share".into(), &"complete".into())
    );
}

fn seeder_id(ran: &Ran) -> &str {
    ran.last()["id"].as_str().unwrap_or_default()
}

#[test]
fn a_folder_is_shared_with_all_that_is_in_it() {
    let (alice, bob, carol) = (Home::new(), Home::new(), Home::new());
    let folder = alice.path("payroll");
    fs::create_dir_all(folder.join("deep/er")).unwrap();
    for (at, (name, len)) in
        [("deep/salaries.csv", 300_000), ("deep/er/tiny", 3), ("a", MIB + 1), ("nothing", 0)]
            .into_iter()
            .enumerate()
    {
        swarm_tests::fixture::write_random(&folder.join(name), len, at as u64);
    }
    fs::create_dir(folder.join("empty")).unwrap();
    let seeder = alice.publish_with(&folder, &["--encrypt"]);
    let got = bob.get_and_seed(seeder.link(), &["-o", "got"]);
    assert_eq!(listing(&bob.path("got")), listing(&folder));
    let entries = bob.run(["ls", seeder.id()]).success().text();
    assert!(entries.contains("deep/salaries.csv"), "{entries}");
    // The getter serves it encrypted, as the publisher does.
    let from_bob = at(link(&seeder), &bob.addr());
    seeder.kill();
    carol.get(&from_bob, &["-o", "again"]).success();
    assert_eq!(listing(&carol.path("again")), listing(&folder));
    // A part of it.
    carol.get(&from_bob, &["-o", "part", "--include", "deep/er/*"]).success();
    assert_eq!(
        fs::read(carol.path("part/deep/er/tiny")).unwrap(),
        fs::read(folder.join("deep/er/tiny")).unwrap()
    );
    assert!(!carol.path("part/a").exists());
    drop(got);
}

#[test]
fn a_link_without_its_key_or_with_another_one_opens_nothing() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish_with(&alice.file("x", 100_000, 2), &["--encrypt"]);
    let link = link(&seeder);
    let without = Link { fragment: None, ..link.clone() }.to_string();
    let refused = bob.get(&without, &["-o", "out"]);
    refused.exits(1);
    assert!(
        refused.last()["hint"].as_str().unwrap_or_default().contains("hold --blind"),
        "{}",
        refused.last()
    );
    let other = Some(Fragment::Key(ShareKey::from_bytes([1; 32])));
    let wrong = bob.get(&Link { fragment: other.clone(), ..link.clone() }.to_string(), &["-o", "out"]);
    wrong.exits(4);
    // A link with a key for plain content is a mistake, and nothing is put in place for it.
    let plain = alice.file("plain", 1000, 3);
    let _beside = alice.publish(&plain);
    let id = blake3::hash(&fs::read(&plain).unwrap());
    let odd = Link { id: id.into(), fragment: other, ..link };
    bob.get(&odd.to_string(), &["-o", "out"]).exits(65);
    assert!(!bob.path("out").exists());
}

#[test]
fn a_password_stands_before_the_key() {
    let (alice, bob) = (Home::new(), Home::new());
    let film = alice.file(NAME, MIB, 4);
    fs::write(alice.path("password"), format!("{PASSWORD}\n")).unwrap();
    let seeder = alice.publish_with(&film, &["--password", "--password-file", "password"]);
    let mut link = link(&seeder);
    assert!(matches!(link.fragment, Some(Fragment::Locked(_))));
    // The failure comes before any peer is asked: none is there.
    let nobody = at(link.clone(), "/ip4/127.0.0.1/tcp/9");
    for (env, says) in [(Some("wrong"), "wrong password"), (None, "password needed")] {
        let env: Vec<_> = env.iter().map(|password| ("SWARM_PASSWORD", *password)).collect();
        let refused = with_input(&bob, &["get", "-", "-o", "out"], &nobody, &env);
        refused.exits(1);
        assert!(refused.err.contains(says), "{}", refused.err);
        assert!(!bob.store().exists(), "nothing was begun");
    }
    let got = with_input(&bob, &["get", "-", "-o", "out"], seeder.link(), &[("SWARM_PASSWORD", PASSWORD)]);
    got.success();
    assert_eq!(fs::read(bob.path("out")).unwrap(), fs::read(&film).unwrap());
    // What its owner shows of it later asks for the password, too.
    let info = alice.ask(&["info", seeder.id()]);
    assert!(info["link"].as_str().unwrap_or_default().contains("#locked="), "{info}");
    // A link that wants all memory is refused at once.
    let Some(Fragment::Locked(locked)) = &mut link.fragment else { panic!("not locked") };
    locked[1..5].copy_from_slice(&(4_u32 << 20).to_le_bytes());
    let greedy = with_input(&bob, &["get", "-"], &link.to_string(), &[("SWARM_PASSWORD", PASSWORD)]);
    greedy.exits(1);
    assert!(greedy.err.contains("more than"), "{}", greedy.err);
    // Not in the arguments, ever.
    alice.run(["publish", "--password", PASSWORD, NAME]).exits(2);
    alice.run(["publish", &format!("--password={PASSWORD}"), NAME]).exits(2);
}

#[test]
fn what_was_cut_short_goes_on() {
    let (alice, bob, helper) = (Home::new(), Home::new(), Home::new());
    let film = alice.file(NAME, 8 * MIB, 5);
    let seeder = alice.publish_with(&film, &["--encrypt"]);
    let link = seeder.link().to_owned();
    let slow = ["-o", "out", "--limit-down", "4M"];
    let running = bob.spawn_get(&link, &slow);
    running.wait_for_progress(2 * MIB);
    let _ = running.kill();
    let got = bob.get(&link, &["-o", "out"]);
    assert!(got.success().last()["resumed"].as_u64() > Some(0), "{}", got.last());
    assert_eq!(fs::read(bob.path("out")).unwrap(), fs::read(&film).unwrap());
    // A node that held a part of it blind, and is then given the key.
    let holding_it = helper.spawn(["hold", "--json", "--blind", &link, "--limit-down", "4M"]);
    holding_it.wait_for_progress(2 * MIB);
    let _ = holding_it.kill();
    helper.get(&link, &["-o", "out"]).success();
    assert_eq!(fs::read(helper.path("out")).unwrap(), fs::read(&film).unwrap());
    // A node that held all of it blind: nothing is fetched again.
    let whole = Home::new();
    let holding_it = whole.spawn(["hold", "--json", "--blind", &link]);
    holding_it.wait_for_event("done");
    let _ = holding_it.interrupt();
    seeder.kill();
    let own = whole.get(&link, &["-o", "out"]);
    assert_eq!(own.success().fetched(), 0);
    assert_eq!(fs::read(whole.path("out")).unwrap(), fs::read(&film).unwrap());
    assert_eq!(whole.get(&link, &["-o", "out"]).success().last()["resumed"], 8 * MIB);
}

#[test]
fn an_edited_source_is_not_served() {
    let (alice, bob) = (Home::new(), Home::new());
    let film = alice.file("x", 4 * MIB, 6);
    let seeder = alice.publish_with(&film, &["--encrypt"]);
    fs::OpenOptions::new().write(true).open(&film).unwrap().write_all(b"edited").unwrap();
    let got = bob.get(seeder.link(), &["-o", "out", "--timeout", "3s"]);
    got.exits(5);
    assert!(!bob.path("out").exists());
    let checked = alice.run(["--json", "verify", seeder.id()]);
    let bad = checked.exits(4).event("verified")["bad"].clone();
    assert_eq!(bad.as_array().map(Vec::len), Some(1), "{bad}");
}

#[test]
fn secrets_stay_where_they_belong() {
    let (alice, bob) = (Home::new(), Home::new());
    let _ = alice.file(NAME, MIB, 7);
    let verbose = [("SWARM_PASSWORD", PASSWORD), ("SWARM_LOG", "trace")];
    let mut command = alice.command(["publish", "--link", "--encrypt", "-vv", NAME]);
    command.envs(verbose);
    let seeder = Seeder::start(command);
    let link = link(&seeder);
    let key = key(&link);
    let mut command = alice.command(["publish", "--link", "-vv", "--password", NAME]);
    command.envs(verbose);
    let locked = Seeder::start(command);
    let locked_link = locked.link().to_owned();
    let got = with_input(&bob, &["get", "-", "-vv", "--json", "-o", "a"], seeder.link(), &verbose);
    let unlocked = with_input(&bob, &["get", "-", "-vv", "--json", "-o", "b"], &locked_link, &verbose);
    let failed = with_input(&bob, &["get", "-", "-vv", "-o", "a/b/c"], seeder.link(), &verbose);
    let cut = with_input(&bob, &["get", "-", "-vv"], &seeder.link()[..seeder.link().len() - 3], &verbose);
    let secrets = [
        PASSWORD.to_owned(),
        BASE64URL_NOPAD.encode(key.expose()),
        HEXLOWER.encode(key.expose()),
        format!("{:?}", key.expose()),
        // A link that lost its end still has most of a key.
        BASE64URL_NOPAD.encode(key.expose())[..30].to_owned(),
    ];
    let said = [
        seeder.err(),
        locked.err(),
        got.success().err.clone() + &got.text(),
        unlocked.success().err.clone() + &unlocked.text(),
        failed.err.clone(),
        cut.err.clone(),
    ];
    assert!(failed.code != Some(0) && cut.code == Some(1));
    for secret in &secrets {
        assert!(said.iter().all(|said| !said.contains(secret.as_str())), "{secret}");
    }
    // The command line that the system shows of a running process.
    let line = fs::read(format!("/proc/{}/cmdline", seeder.pid())).unwrap();
    assert!(secrets.iter().all(|secret| !memchr(&line, secret.as_bytes())));
    // On disk: in one file, which nobody else can read; the password nowhere.
    let home = alice.store();
    let key_file = alice.blob_dir(&link.id.to_string()).join("key");
    assert_eq!(holding(&home, key.expose()), [key_file.display().to_string()]);
    assert_eq!(fs::metadata(&key_file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(holding(&home, PASSWORD.as_bytes()), [""; 0]);
}

/// A holder of the key can encrypt nonsense: the hashes are right, and the plain bytes are not.
#[test]
fn shares_that_were_made_wrongly_are_refused() {
    let bob = Home::new();
    let key = ShareKey::from_bytes([3; 32]);
    let plain = vec![7; 2 * BODY];
    let sealed =
        |key: &ShareKey, salt, part| Sealer::new(key, &salt, part, plain.len() as u64).seal_all(&plain, b"");
    let other = ShareKey::from_bytes([4; 32]);
    let contents = [
        ("another key", sealed(&other, [0; 16], SharePart::Content)),
        ("another salt", sealed(&key, [1; 16], SharePart::Content)),
        ("another part", sealed(&key, [0; 16], SharePart::Description)),
        ("not encrypted", vec![9; 2 * SEGMENT]),
    ];
    let mut offerings = Vec::new();
    let mut shares = Vec::new();
    for (what, content) in contents {
        let content = Offering::file(content);
        let outside =
            Outside { content: content.id, content_len: sealed_len(plain.len() as u64), salt: [0; 16] };
        let description = Description { name: "x".to_owned(), len: plain.len() as u64, manifest: None };
        let envelope = Offering::share(seal_envelope(&outside, &description, &key).unwrap());
        shares.push((what, envelope.id));
        offerings.extend([content, envelope]);
    }
    for (what, envelope) in [
        ("no envelope", b"#!/bin/sh".to_vec()),
        ("nothing but a head", b"swarmshr\x01".to_vec()),
        ("zeros", [&b"swarmshr\x01"[..], &[0; 63 + SEGMENT]].concat()),
    ] {
        let envelope = Offering::share(envelope);
        shares.push((what, envelope.id));
        offerings.push(envelope);
    }
    let hostile = Hostile::honest(offerings);
    for (what, id) in shares {
        let link = Link { fragment: Some(Fragment::Key(key.clone())), ..Link::to(id) };
        let refused =
            bob.get(&link.to_string(), &["-o", "out", "--timeout", "20s", "--peer", hostile.addr()]);
        let exit = if what == "zeros" { 4 } else { 65 };
        assert_eq!(refused.code, Some(exit), "{what}: {} {}", refused.last(), refused.err);
        assert!(!bob.path("out").exists(), "{what}");
    }
}

/// A forged share may name any blob as its content: the blob that is here stays unchanged.
#[test]
fn what_is_here_is_not_taken_for_a_strangers_share() {
    let home = Home::new();
    let daemon = home.daemon(&[]);
    let key = ShareKey::from_bytes([3; 32]);
    let file = home.file("mine", 2 * SEGMENT as u64, 11);
    let other = home.file("another", 5 * MIB, 12);
    let mut victims = Vec::new();
    for args in
        [&["publish", "mine", "--copy"][..], &["publish", "another"], &["publish", "another", "--encrypt"]]
    {
        let line = home.run(args).success().text();
        let id: String = line.trim_start_matches("swarm:").chars().take(64).collect();
        victims.push(id);
    }
    // The content of the share, as a blind holder knows it.
    let envelope = fs::read(home.blob_dir(&victims[2]).join("data")).unwrap();
    let content = Outside::decode(&envelope).unwrap();
    let named = |id: &str, len: u64| Outside {
        content: id.parse().unwrap(),
        content_len: sealed_len(len),
        salt: [0; 16],
    };
    let lies = [
        (named(&victims[0], 2 * BODY as u64), 2 * BODY as u64),
        (named(&victims[1], 5 * MIB), 5 * MIB),
        (named(&victims[2], 10), 10),
        (Outside { salt: [0; 16], ..content }, 5 * MIB),
        (content, 5 * MIB),
    ];
    for (number, (outside, len)) in lies.into_iter().enumerate() {
        let description = Description { name: "x".to_owned(), len, manifest: None };
        let envelope = Offering::share(seal_envelope(&outside, &description, &key).unwrap());
        let link = Link { fragment: Some(Fragment::Key(key.clone())), ..Link::to(envelope.id) };
        let hostile = Hostile::honest(vec![envelope]);
        let link = link.to_string();
        for output in [&["get", "--json", "-o", "out"][..], &["cat", "--json"]] {
            let args = [output, &[&link, "--timeout", "20s", "--peer", hostile.addr()]].concat();
            home.run(args).exits(65);
            assert!(!home.path("out").exists(), "lie {number}");
        }
        for id in &victims {
            assert_eq!(home.row(id).unwrap()["state"], "complete", "lie {number}");
        }
    }
    home.run(["verify"]).success();
    let other_home = Home::new();
    for (id, plain) in [(&victims[0], &file), (&victims[1], &other)] {
        other_home.get(id, &["-o", id, "--peer", daemon.addr()]).success();
        assert_eq!(fs::read(other_home.path(id)).unwrap(), fs::read(plain).unwrap());
    }
}

/// The formats are as documented: a program that shares no code with swarm reads the files that swarm writes.
#[test]
fn another_program_opens_what_we_seal() {
    let (alice, bob) = (Home::new(), Home::new());
    let folder = alice.path("folder");
    fs::create_dir(&folder).unwrap();
    swarm_tests::fixture::write_random(&folder.join("one"), 200_000, 8);
    swarm_tests::fixture::write_random(&folder.join("two"), 5, 9);
    let film = alice.file(NAME, 100_000, 10);
    fs::write(alice.path("password"), PASSWORD).unwrap();
    let verifier = Path::new(env!("CARGO_MANIFEST_DIR")).join("formats/verify.py");
    let mut expected = fs::read(folder.join("one")).unwrap();
    expected.extend(fs::read(folder.join("two")).unwrap());
    for (path, args, plain, name) in [
        (&film, &["--encrypt"][..], fs::read(&film).unwrap(), NAME),
        (&folder, &["--encrypt"][..], expected, "folder"),
        (&film, &["--password", "--password-file", "password"][..], fs::read(&film).unwrap(), NAME),
    ] {
        let seeder = alice.publish_with(path, args);
        // The form that a node without the key is given.
        let holding_it = bob.spawn(["hold", "--json", "--blind", seeder.link()]);
        holding_it.wait_for_event("done");
        let blobs = bob.store().join("store/blobs");
        let opened = Command::new("/usr/bin/python3")
            .arg(&verifier)
            .args(["share", seeder.link()])
            .arg(&blobs)
            .env("SWARM_PASSWORD", PASSWORD)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&opened.stderr).into_owned();
        assert!(opened.status.success(), "{said}");
        assert_eq!(said.trim(), name);
        assert_eq!(opened.stdout, plain);
        let _ = holding_it.interrupt();
        let _ = seeder.stop();
    }
}

/// That program reads the vectors of the documents.
#[test]
fn another_program_agrees_on_the_vectors() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("formats");
    let checked =
        Command::new("/usr/bin/python3").arg(folder.join("verify.py")).arg("vectors").output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success(), "{said}");
}
