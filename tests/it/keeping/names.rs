//! Names and paths of any kind: what a person's system can store, swarm publishes, fetches and remembers.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use swarm_tests::fixture::{Home, KIB, Process, Seeder, b3, listing};

/// Runs a command in another folder than the home's.
fn in_folder(home: &Home, folder: &std::path::Path, args: &[&str]) -> Command {
    let mut command = home.command(args);
    command.current_dir(folder);
    command
}

#[test]
fn the_folder_above_is_published_under_its_own_name() {
    let (alice, bob) = (Home::new(), Home::new());
    fs::create_dir_all(alice.path("album/deep")).unwrap();
    let _ = alice.file("album/one", 10 * KIB, 1);
    let deep = alice.path("album/deep");
    let seeder = Seeder::start(in_folder(&alice, &deep, &["publish", "--link", ".."]));
    assert!(seeder.link().contains("name=album&"), "{}", seeder.link());
    // What it was published by may go.
    let place = alice.row(seeder.id()).unwrap()["path"].clone();
    assert_eq!(place, alice.path("album").canonicalize().unwrap().to_str().unwrap());
    bob.get(seeder.link(), &[]).success();
    assert_eq!(listing(&bob.path("album")), listing(&alice.path("album")));
    // The same for what is fetched.
    fs::create_dir_all(bob.path("there/deep")).unwrap();
    let got = in_folder(&bob, &bob.path("there/deep"), &["get", seeder.link(), "-o", "../copy"]);
    Process::spawn(got).wait().success();
    fs::remove_dir(bob.path("there/deep")).unwrap();
    bob.run(["verify", seeder.id()]).success();
    assert_eq!(listing(&bob.path("there/copy")), listing(&alice.path("album")));
}

#[test]
fn a_file_is_published_whatever_its_name() {
    let alice = Home::new();
    let long = "n".repeat(255);
    let names: [&[u8]; 6] =
        [b"a \"b\".bin", b"CON", b"R.E.M.", long.as_bytes(), b"line\nbreak", b"caf\xe9.txt"];
    for (name, seed) in names.into_iter().zip(1..) {
        let bob = Home::new();
        let path = alice.path(OsStr::from_bytes(name));
        swarm_tests::fixture::write_random(&path, 3 * KIB, seed);
        let seeder = alice.publish(&path);
        bob.get(seeder.link(), &["-o", "got/"]).success();
        let got: Vec<_> = fs::read_dir(bob.path("got")).unwrap().map(|entry| entry.unwrap()).collect();
        assert_eq!(got.len(), 1, "{got:?}");
        assert_eq!(b3(&got[0].path()), seeder.id());
        assert!(got[0].file_name().len() <= 200);
        assert!(seeder.err().contains("offered under the name"), "{name:?}: {}", seeder.err());
        seeder.stop().sane();
    }
}

#[test]
fn a_folder_whose_name_is_no_text_is_worked_in() {
    let (alice, bob) = (Home::new(), Home::new());
    let odd = OsStr::from_bytes(b"caf\xe9");
    for home in [&alice, &bob] {
        fs::create_dir(home.path(odd)).unwrap();
    }
    fs::create_dir(alice.path(odd).join("folder")).unwrap();
    swarm_tests::fixture::write_random(&alice.path(odd).join("folder/a"), 300 * KIB, 1);
    swarm_tests::fixture::write_random(&alice.path(odd).join("b"), 300 * KIB, 2);
    // By a node of its own, and then by that one for another process.
    let publish =
        |what: &str| Seeder::start(in_folder(&alice, &alice.path(odd), &["publish", "--link", what]));
    let (folder, file) = (publish("folder"), publish("b"));
    for (seeder, name) in [(&folder, "folder"), (&file, "b")] {
        let link = seeder.link();
        for _ in 0..2 {
            let got = in_folder(&bob, &bob.path(odd), &["get", "--json", link]);
            Process::spawn(got).wait().success();
        }
        assert!(bob.path(odd).join(name).exists());
    }
    let other = bob.daemon(&[]);
    let link = folder.link();
    let got = in_folder(&bob, &bob.path(odd), &["get", link, "-o", "again"]);
    Process::spawn(got).wait().success();
    assert_eq!(listing(&bob.path(odd).join("again")), listing(&alice.path(odd).join("folder")));
    bob.run(["ls"]).success();
    let _ = bob.ask(&["ls"]);
    other.stop().sane();
    bob.run(["verify"]).success();
}

#[test]
fn two_contents_of_one_name_are_told_apart_before_anything_is_fetched() {
    let (alice, bob, carol) = (Home::new(), Home::new(), Home::new());
    let seeders =
        [(&alice, 1), (&bob, 2)].map(|(home, seed)| home.publish(&home.file("film", 900 * KIB, seed)));
    let links = seeders.each_ref().map(|seeder| seeder.link());
    let first = carol.run(["get", "--json", links[0], "-o", "to/"]);
    first.success();
    let second = carol.run(["get", "--json", links[1], "-o", "to/"]);
    let said = String::from_utf8_lossy(&second.exits(1).out).into_owned() + &second.err;
    assert!(said.contains("to/film") && !said.contains("\"progress\""), "{said}");
    // Both at once.
    let both = carol.run(["get", links[0], links[1], "-o", "both/"]).exits(1).err.clone();
    assert!(both.contains("both/film"), "{both}");
    for folder in ["to", "both"] {
        let there: Vec<_> =
            fs::read_dir(carol.path(folder)).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(there, ["film"], "nothing hidden is left");
    }
}
