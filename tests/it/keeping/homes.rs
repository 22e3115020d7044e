//! Secret keys are never published, whatever folder they lie in.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use swarm_tests::fixture::{Home, KIB, Process, Seeder, as_nobody, binary};

#[test]
fn the_home_of_a_swarm_is_not_published() {
    let (alice, other) = (Home::new(), Home::new());
    fs::create_dir_all(alice.path("stuff/deep")).unwrap();
    let _ = alice.file("stuff/deep/film", 10 * KIB, 1);
    // Another home, under another name, of a node that has stopped.
    other.publish(&other.file("x", KIB, 2)).stop().success();
    fs::rename(other.store(), alice.path("stuff/deep/backup")).unwrap();
    symlink(alice.path("stuff/deep/backup"), alice.path("way")).unwrap();
    symlink(alice.dir(), other.path("around")).unwrap();
    let around = other.path("around/stuff/deep/backup/store");
    let refused = [
        "stuff",
        "stuff/deep",
        "stuff/deep/backup",
        "stuff/deep/backup/identity",
        "stuff/deep/backup/store/blobs",
        "way",
        "way/identity",
        around.to_str().unwrap(),
        "home",
        ".",
    ];
    for path in refused {
        for more in [&[][..], &["--encrypt"]] {
            let ran = alice.run([&["publish", "--symlinks", path][..], more].concat());
            assert!(ran.exits(1).err.contains("home of a swarm"), "{path}: {}", ran.err);
        }
    }
    // Running, and half of one.
    let daemon = alice.daemon(&[]);
    assert!(alice.run(["publish", "home"]).exits(1).err.contains("home of a swarm"));
    daemon.stop().sane();
    fs::remove_dir_all(alice.path("stuff/deep/backup/store")).unwrap();
    assert!(alice.run(["publish", "stuff"]).exits(1).err.contains("--skip-homes"));

    let bob = Home::new();
    let seeder = alice.publish_with(&alice.path("stuff"), &["--skip-homes"]);
    assert!(seeder.err().contains("stuff/deep/backup"), "what was left out is named: {}", seeder.err());
    bob.get(seeder.link(), &[]).success();
    assert!(bob.path("stuff/deep/film").is_file());
    assert!(!bob.path("stuff/deep/backup").exists());
}

#[test]
fn what_lies_in_a_home_is_the_owners_alone_whatever_the_umask() {
    let (alice, bob) = (Home::new(), Home::new());
    // A home that was made before, as other programs make folders.
    fs::create_dir(bob.store()).unwrap();
    fs::set_permissions(bob.store(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(alice.path("folder")).unwrap();
    let _ = alice.file("folder/a", 300 * KIB, 1);
    let seeder = alice.publish(&alice.path("folder"));
    let home = bob.store();
    let home = home.to_str().unwrap();
    let runs = [
        vec!["publish", "--link", "--copy", "own"],
        vec!["publish", "--link", "--encrypt", "own"],
        vec!["get", seeder.link(), "-o", "got"],
    ];
    let _ = bob.file("own", 10 * KIB, 2);
    for run in runs {
        let mut command = Command::new("sh");
        command.args(["-c", "umask 000; exec \"$0\" \"$@\"", binary().to_str().unwrap()]).args(&run);
        command.args(["--home", home, "--listen", "/ip4/127.0.0.1/tcp/0", "--no-mdns"]);
        command.env_clear().env("HOME", bob.dir()).current_dir(bob.dir()).stdin(Stdio::null());
        if run[0] == "publish" {
            Seeder::start(command).stop().sane();
        } else {
            Process::spawn(command).wait().success();
        }
    }
    let mut open = Vec::new();
    let mut folders = vec![bob.store()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            if meta.is_dir() {
                folders.push(entry.path());
            }
            if meta.mode() & 0o077 != 0 {
                open.push(format!("{:o} {}", meta.mode(), entry.path().display()));
            }
        }
    }
    assert!(open.is_empty(), "{open:#?}");
    assert_eq!(fs::metadata(bob.path("got/a")).unwrap().mode() & 0o777, 0o666, "what is fetched is not");
}

#[test]
fn a_home_that_others_may_change_is_refused() {
    let (alice, bob) = (Home::new(), Home::new());
    let file = alice.file("f", KIB, 1);
    fs::create_dir(alice.store()).unwrap();
    let mode = |mode| fs::set_permissions(alice.store(), fs::Permissions::from_mode(mode)).unwrap();
    for (owner, bits) in [(0, 0o777), (0, 0o775), (0, 0o1777), (65534, 0o700), (65534, 0o755)] {
        chown(alice.store(), Some(owner), None).unwrap();
        mode(bits);
        // The program of the other user listens already.
        let listener = UnixListener::bind(alice.store().join("control.sock")).unwrap();
        for args in [&["status"][..], &["publish", "f"], &["daemon"], &["ls", "--read-only"]] {
            let ran = alice.run(args);
            assert!(ran.exits(1).err.contains("--home"), "{owner} {bits:o} {args:?}: {}", ran.err);
        }
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "it is spoken with");
        drop(listener);
        fs::remove_file(alice.store().join("control.sock")).unwrap();
        assert!(fs::read_dir(alice.store()).unwrap().next().is_none(), "nothing was put there");
    }
    chown(alice.store(), Some(0), None).unwrap();
    mode(0o755);
    let seeder = alice.publish(&file);
    bob.get(seeder.link(), &[]).success();
}

#[test]
fn a_client_of_another_user_is_turned_away() {
    let alice = Home::new();
    let daemon = alice.daemon(&[]);
    // Somebody opened the way to the socket.
    for path in [alice.dir().to_owned(), alice.store()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let socket = alice.store().join("control.sock");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let ran = Process::spawn(as_nobody(&alice, ["status", "--timeout", "3s"])).wait();
    assert!(ran.sane().code != Some(0), "{}", ran.text());
    assert!(!ran.text().contains("listens"), "{}", ran.text());
    assert_eq!(alice.ask(&["status"])["pid"], daemon.pid());
}

#[test]
fn a_file_in_the_place_of_the_socket_stays() {
    let alice = Home::new();
    fs::create_dir(alice.store()).unwrap();
    fs::write(alice.store().join("control.sock"), "mine").unwrap();
    assert!(alice.run(["daemon"]).sane().code != Some(0));
    assert_eq!(fs::read(alice.store().join("control.sock")).unwrap(), b"mine");
}
