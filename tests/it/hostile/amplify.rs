//! D49: no sender can make a node send a third party more than three times the bytes that the sender spends.

use std::net::UdpSocket;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use swarm_tests::fixture::{Home, PATIENCE, wait_until};

/// The first packet of a real handshake and nothing after it, as if the sender's address were forged.
#[test]
fn d49_a_first_packet_is_answered_with_thrice_its_bytes_at_most() {
    let (victim, caller) = (Home::new(), Home::new());
    let daemon = victim.daemon(&["--listen", "/ip4/127.0.0.1/udp/0/quic-v1"]);
    let status = victim.ask(&["status"]);
    let listen: Vec<String> =
        status["listen"].as_array().unwrap().iter().map(|a| a.as_str().unwrap().to_owned()).collect();
    let port = listen.iter().find(|a| a.contains("/udp/")).unwrap().split('/').nth(4).unwrap().to_owned();
    // What the caller dials: its first packet is kept.
    let trap = UdpSocket::bind("127.0.0.1:0").unwrap();
    let peer = format!("/ip4/127.0.0.1/udp/{}/quic-v1", trap.local_addr().unwrap().port());
    let getter =
        caller.spawn_get(&"ab".repeat(32), &["--peer", &peer, "--listen", "/ip4/127.0.0.1/udp/0/quic-v1"]);
    let mut packet = [0; 2048];
    trap.set_read_timeout(Some(PATIENCE)).unwrap();
    let len = trap.recv(&mut packet).unwrap();
    drop(getter);
    assert!(len >= 1200, "a first packet is padded: {len}");
    let forged = UdpSocket::bind("127.0.0.1:0").unwrap();
    forged.connect(format!("127.0.0.1:{port}")).unwrap();
    let sent = forged.send(&packet[..len]).unwrap();
    // All that comes back until it is silent; it repeats itself for seconds.
    let (count, counted) = mpsc::channel();
    forged.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
    std::thread::spawn(move || {
        let (mut got, mut buffer) = (0, [0; 2048]);
        let until = Instant::now() + Duration::from_secs(12);
        while let Ok(len) = forged.recv(&mut buffer)
            && Instant::now() < until
        {
            got += len;
        }
        let _ = count.send(got);
    });
    let got = counted.recv_timeout(PATIENCE).unwrap();
    assert!(got > 0, "it was answered at all");
    assert!(got <= 3 * sent, "{got} bytes for {sent}");
    wait_until("it is well", PATIENCE, || victim.ask(&["status"])["running"] == true);
    daemon.stop().exits(0);
}
