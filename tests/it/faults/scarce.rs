//! D45 (many peers and a large file in little memory) and D46 (few file handles).

use std::fs;
use std::time::{Duration, Instant};

use swarm_tests::fixture::{
    Home, KIB, MIB, PATIENCE, Process, b3, listing, wait_until, with_limit, write_random,
};

use super::all;

/// Most memory, in KiB, that may ever be resident.
const MEMORY_KIB: u64 = 256 * 1024;

#[test]
fn d45_many_getters_of_a_large_file_stay_small() {
    let (len, count) = if all() { (1024 * MIB, 20) } else { (96 * MIB, 12) };
    let alice = Home::new();
    // Mostly holes: what counts is how much passes through, not how much the disk holds.
    let file = alice.file("large.bin", 8 * MIB, 150);
    fs::File::options().write(true).open(&file).unwrap().set_len(len).unwrap();
    let seeder = alice.publish(&file);
    let homes: Vec<Home> = (0..count).map(|_| Home::new()).collect();
    let getters: Vec<Process> = homes.iter().map(|home| home.spawn_get(seeder.link(), &["--seed"])).collect();
    for (home, getter) in homes.iter().zip(getters) {
        wait_until("a getter is done", PATIENCE * if all() { 30 } else { 1 }, || {
            getter.must_run();
            getter.event("done").is_some()
        });
        assert_eq!(b3(&home.path("large.bin")), seeder.id());
        let most = getter.memory_kib("VmHWM").unwrap();
        assert!(most <= MEMORY_KIB, "{most} KiB resident in a getter");
        fs::remove_file(home.path("large.bin")).unwrap();
    }
    let most = seeder.memory_kib("VmHWM").unwrap();
    assert!(most <= MEMORY_KIB, "{most} KiB resident in the publisher");
}

#[test]
fn d46_few_file_handles_are_enough_for_a_tree() {
    let (alice, bob) = (Home::new(), Home::new());
    fs::create_dir(alice.path("tree")).unwrap();
    (0..150).for_each(|i| write_random(&alice.path(format!("tree/{i}")), 70 * KIB + i, 160 + i));
    let seeder = alice.publish(&alice.path("tree"));
    for limit in [96, 64, 48] {
        let out = format!("tree-{limit}");
        let command = bob.command(["get", "--json", seeder.link(), "-o", &out, "--timeout", "20s"]);
        let ran = Process::spawn(with_limit(&command, &format!("--nofile={limit}"))).wait();
        ran.sane();
        match ran.code {
            Some(0) => assert_eq!(listing(&bob.path(&out)), listing(&alice.path("tree"))),
            Some(5 | 6) => {
                let said = String::from_utf8_lossy(&ran.out).into_owned() + &ran.err;
                assert!(said.contains("open files") || said.contains("file handles"), "{limit}: {said}");
            }
            other => panic!("{limit}: {other:?} {}", ran.err),
        }
        bob.run(["rm", seeder.id()]).sane();
    }
}

#[test]
fn d46_a_seeder_without_handles_for_all_serves_some_and_does_not_spin() {
    let alice = Home::new();
    let file = alice.file("f.bin", 2 * MIB, 170);
    let mut command = alice.command(["publish", "--link"]);
    command.arg(&file);
    let seeder = swarm_tests::fixture::Seeder::start(with_limit(&command, "--nofile=40"));
    let addr = seeder.addr().split('/').collect::<Vec<_>>();
    let socket = format!("{}:{}", addr[2], addr[4]);
    // More callers than it has handles for, who say nothing.
    let callers: Vec<_> = (0..60).filter_map(|_| std::net::TcpStream::connect(&socket).ok()).collect();
    assert!(callers.len() >= 40, "{}", callers.len());
    // How much it works while nothing happens: measured over a while, which is what the waiting is for.
    let (begun, ticks) = (Instant::now(), seeder.cpu_ticks());
    wait_until("two seconds pass", PATIENCE, || begun.elapsed() >= Duration::from_secs(2));
    let used = seeder.cpu_ticks() - ticks;
    assert!(used <= 60, "{used} hundredths of a second of work in two idle seconds");
    seeder.must_run();
    drop(callers);
    // When they have gone, it serves again by itself.
    let bob = Home::new();
    bob.get(seeder.link(), &[]).success();
    assert_eq!(b3(&bob.path("f.bin")), seeder.id());
}

#[test]
fn d46_a_getter_with_few_handles_and_many_holders() {
    let bob = Home::new();
    let holders: Vec<Home> = (0..8).map(|_| Home::new()).collect();
    let seeders: Vec<_> =
        holders.iter().map(|home| home.publish(&home.file("f.bin", 4 * MIB, 171))).collect();
    let peers = seeders.iter().flat_map(|seeder| ["--peer", seeder.addr()]);
    let command =
        bob.command(["get", "--json", seeders[0].id(), "--timeout", "30s"].into_iter().chain(peers));
    let ran = Process::spawn(with_limit(&command, "--nofile=40")).wait();
    ran.success();
    assert_eq!(b3(&bob.path("f.bin")), seeders[0].id());
}
