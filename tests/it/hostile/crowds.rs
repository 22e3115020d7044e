//! More connections than a node can use.

use std::io::Read as _;
use std::time::Duration;

use swarm_core::limits;
use swarm_tests::fixture::{Home, PATIENCE, b3, wait_until};
use swarm_tests::hostile::crowd::{Crowd, silent};

use super::{Content, GROWTH, MIB, SLACK, peak, timed_get};

#[test]
fn d5_connections_that_say_nothing_do_not_hold_up_a_get() {
    let content = Content::new(4 * MIB, 5);
    let seeder = content.publish(&["--limit-up", "2M"]);
    let baseline = timed_get(&content.id(), &[seeder.addr()]);

    // A node that fetches keeps its places for outbound connections.
    let home = Home::new();
    let daemon = home.daemon(&["--peer", seeder.addr()]);
    let before = peak(&daemon);
    let crowd = silent(daemon.addr(), 200);
    let began = std::time::Instant::now();
    home.get(&content.id(), &["-o", "out"]).success();
    let took = began.elapsed();
    assert!(took <= baseline.mul_f64(1.5) + SLACK, "{took:?} in place of {baseline:?}");
    assert_eq!(b3(&home.path("out")), content.id());
    let open = crowd.iter().filter(|socket| is_open(socket)).count();
    assert!(open <= limits::PENDING_INBOUND, "{open} are waited for");
    let grown = peak(&daemon).saturating_sub(before);
    assert!(grown <= GROWTH, "{grown} KiB of memory");
    daemon.stop().success();
}

#[test]
fn d5_connections_that_say_nothing_make_room_in_time() {
    let content = Content::new(MIB, 55);
    let seeder = content.publish(&[]);
    let _crowd = silent(seeder.addr(), 200);
    // All 64 places for handshakes are taken until the silent connections time out.
    let took = timed_get(&content.id(), &[seeder.addr()]);
    assert!(took <= limits::HANDSHAKE_TIMEOUT + Duration::from_secs(10), "{took:?}");
    seeder.stop().success();
}

/// Returns true if the other end still has this socket open.
fn is_open(mut socket: &std::net::TcpStream) -> bool {
    socket.set_nonblocking(true).expect("a socket's mode is set");
    matches!(socket.read(&mut [0; 1]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

#[test]
fn d9_a_hundred_idle_sessions_leave_room_for_an_honest_one() {
    let content = Content::new(MIB, 9);
    let seeder = content.publish(&[]);
    let baseline = timed_get(&content.id(), &[seeder.addr()]);
    let crowd = Crowd::connect(seeder.addr(), 100);
    wait_until("the crowd is there", PATIENCE, || crowd.tried() == 100);
    assert_eq!(crowd.open(), 100);
    let took = timed_get(&content.id(), &[seeder.addr()]);
    assert!(took <= baseline + SLACK, "{took:?} in place of {baseline:?}");
    seeder.stop().success();
}

#[test]
fn d9_a_crowd_is_held_to_its_places_and_gives_them_back() {
    let content = Content::new(MIB, 99);
    let seeder = content.publish(&[]);
    let before = peak(&seeder);
    let crowd = Crowd::connect(seeder.addr(), 200);
    wait_until("the crowd has tried", PATIENCE, || crowd.tried() == 200);
    let open = crowd.open();
    assert!((100..=limits::LAN_INBOUND).contains(&open), "{open} sessions");
    let grown = peak(&seeder).saturating_sub(before);
    assert!(grown <= GROWTH, "{grown} KiB of memory");
    drop(crowd);
    timed_get(&content.id(), &[seeder.addr()]);
    seeder.stop().success();
}

#[test]
fn idle_sessions_in_all_places_give_way_to_who_wants_something() {
    let content = Content::new(MIB, 97);
    let seeder = content.publish(&[]);
    let baseline = timed_get(&content.id(), &[seeder.addr()]);
    let crowd = Crowd::connect(seeder.addr(), 200);
    wait_until("the crowd has tried", PATIENCE, || crowd.tried() == 200);
    for _ in 0..3 {
        let took = timed_get(&content.id(), &[seeder.addr()]);
        assert!(took <= baseline + SLACK, "{took:?} in place of {baseline:?}");
    }
    assert!(crowd.open() >= 100, "the others stay: {}", crowd.open());
    seeder.stop().success();
}

/// Inbound connections do not use up the places for outbound ones.
#[test]
fn d9_idle_sessions_do_not_keep_a_node_from_going_out() {
    let content = Content::new(MIB, 98);
    let seeder = content.publish(&[]);
    let home = Home::new();
    let daemon = home.daemon(&[]);
    let crowd = Crowd::connect(daemon.addr(), 40);
    wait_until("the crowd is there", PATIENCE, || crowd.open() == 40);
    let got = home.get(seeder.link(), &["-o", "out", "--timeout", "20s"]);
    got.success();
    assert!(got.event("done")["took_ms"].as_u64().is_some_and(|took| took < 5000), "{}", got.event("done"));
    assert_eq!(b3(&home.path("out")), content.id());
    daemon.stop().success();
}
