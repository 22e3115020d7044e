//! An office, and a stranger on the same switch.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use libp2p::core::Endpoint;
use libp2p::core::muxing::StreamMuxerExt as _;
use libp2p::core::transport::{DialOpts, PortUse, Transport as _};
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, multiaddr::Protocol};
use serde_json::Value;
use swarm_tests::fixture::{Capture, Lan, MIB, b3, wait_until};

use super::{Machine, PATIENCE, office};

const MDNS: u16 = 5353;
/// A line of the file that is published.
const TITLE: &[u8] = b"Quarterly figures, not for anybody else";

/// Connects to a node as a stranger and sends `says`. Returns how many bytes came until the node closed the
/// connection.
fn knock(lan: &Lan, host: u8, addr: &str, says: Option<&[u8]>) -> usize {
    let addr: Multiaddr = addr.parse().unwrap();
    lan.inside(host, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let key = Keypair::generate_ed25519();
            let mut transport = swarm_core::net::transport::build(&key, false).unwrap();
            let opts = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
            let (_, mut muxer) =
                transport.dial(addr, opts).unwrap().await.expect("the handshake is for everybody");
            let mut got = 0;
            let conversation = async {
                let mut stream = std::future::poll_fn(|cx| {
                    let _ = muxer.poll_unpin(cx);
                    muxer.poll_outbound_unpin(cx)
                })
                .await?;
                if let Some(says) = says {
                    stream.write_all(says).await?;
                    stream.flush().await?;
                }
                let mut buffer = [0; 1024];
                let mut read = std::pin::pin!(async {
                    while let Ok(more @ 1..) = stream.read(&mut buffer).await {
                        got += more;
                    }
                });
                std::future::poll_fn(|cx| match read.as_mut().poll(cx) {
                    std::task::Poll::Pending => match muxer.poll_unpin(cx) {
                        std::task::Poll::Ready(Err(_)) => std::task::Poll::Ready(()),
                        _ => std::task::Poll::Pending,
                    },
                    ready => ready,
                })
                .await;
                std::io::Result::Ok(())
            };
            let closed = tokio::time::timeout(Duration::from_secs(30), conversation).await;
            assert!(closed.is_ok(), "the door was neither opened nor closed");
            got
        })
    })
}

/// Checks packets of local discovery: all have one length, and beyond the parts that all have in common no
/// part of one is in another.
fn tell_nothing(packets: &[Vec<u8>]) {
    assert!(packets.len() > 10, "only {} announcements", packets.len());
    assert!(packets.iter().all(|packet| packet.len() == packets[0].len()), "lengths tell them apart");
    let common = |at: usize| packets.iter().all(|packet| packet[at] == packets[0][at]);
    let random: Vec<usize> = (0..packets[0].len()).filter(|at| !common(*at)).collect();
    assert!(random.len() > 300, "{} bytes are the same in all", packets[0].len() - random.len());
    let mut windows = std::collections::HashSet::new();
    for packet in packets {
        let bytes: Vec<u8> = random.iter().map(|at| packet[*at]).collect();
        for window in bytes.windows(8) {
            assert!(windows.insert(window.to_vec()), "two announcements have something in common");
        }
    }
}

/// Opens a socket of host 11 that sends to all hosts on the switch.
fn speaker() -> UdpSocket {
    let at = std::net::Ipv4Addr::new(10, 77, 0, 11);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    socket.bind(&SocketAddr::from((at, 0)).into()).unwrap();
    socket.set_multicast_if_v4(&at).unwrap();
    socket.into()
}

/// Sends captured packets again, from this host.
fn replay(lan: &Lan, host: u8, packets: &[Vec<u8>]) {
    lan.inside(host, || {
        let socket = speaker();
        for packet in packets {
            socket.send_to(packet, ("224.0.0.251", MDNS)).unwrap();
        }
    });
}

/// Returns true if another host than the stranger began a TCP or QUIC connection with it.
fn called(capture: &Capture, host: u8) -> bool {
    let to = [10, 77, 0, host];
    capture.frames().iter().any(|frame| {
        frame.len() > 34 && frame[12..14] == [8, 0] && frame[30..34] == to && {
            let (tcp, header) = (frame[23] == 6, 14 + usize::from(frame[14] & 15) * 4);
            // SYN without ACK.
            tcp && frame.get(header + 13).is_some_and(|flags| flags & 0x12 == 0x02)
        }
    })
}

/// Checks that the stranger gets nothing: not by dialling, not by a forged invitation, not in the public
/// network.
fn tries_to_come_in(lan: &Lan, machines: &[Machine<'_>], id: &str, addrs: &[&str]) {
    let stranger = Machine::new(lan, 11);
    for addr in addrs {
        assert_eq!(knock(lan, 11, addr, None), 0);
        assert_eq!(knock(lan, 11, addr, Some(&[0; 48])), 0);
        assert_eq!(knock(lan, 11, addr, Some(&[7; 200])), 0);
    }
    // Neither with an invitation of its own making nor with one of an office of its own.
    let forged = {
        let code = machines[0].invite(&["--uses", "1"]);
        let mut bytes =
            data_encoding::BASE64URL_NOPAD.decode(&code.as_bytes()["swarm-join:".len()..]).unwrap();
        bytes[33] ^= 1;
        let body = bytes.len() - 4;
        let check = blake3::hash(&bytes[..body]);
        bytes[body..].copy_from_slice(&check.as_bytes()[..4]);
        format!("swarm-join:{}", data_encoding::BASE64URL_NOPAD.encode(&bytes))
    };
    let refused = stranger.join(&forged);
    refused.exits(3);
    assert!(refused.last()["message"].as_str().unwrap().contains("invitation refused"), "{}", refused.text());
    // Of the network of all nodes it gets nothing either.
    assert!(!stranger.gets(id, 4, &[]));
}

/// Sends half announcements and random bytes to all hosts, and opens silent connections to one.
fn floods(lan: &Lan, addr: &str, packets: &[Vec<u8>]) -> Vec<TcpStream> {
    let target: Multiaddr = addr.parse().unwrap();
    let port = target.iter().find_map(|part| if let Protocol::Tcp(port) = part { Some(port) } else { None });
    lan.inside(11, || {
        let socket = speaker();
        let mut junk: Vec<Vec<u8>> =
            packets.iter().map(|packet| packet[..packet.len() / 2].to_vec()).collect();
        junk.push(vec![0xff; 1200]);
        let until = Instant::now() + Duration::from_secs(2);
        let mut open = Vec::new();
        while Instant::now() < until {
            for junk in &junk {
                socket.send_to(junk, ("224.0.0.251", MDNS)).unwrap();
            }
            let to = SocketAddr::from(([10, 77, 0, 5], port.unwrap()));
            open.extend(TcpStream::connect_timeout(&to, Duration::from_millis(20)));
        }
        open
    })
}

/// Checks that neither the content nor anything of the office passed in the open.
fn saw_nothing(capture: &Capture, office: &Value, id: &str) {
    assert!(capture.bytes() > 9 * (3 << 20), "the switch was not seen: {} bytes", capture.bytes());
    let office_id = data_encoding::HEXLOWER.decode(office["id"].as_str().unwrap().as_bytes()).unwrap();
    let raw_id = data_encoding::HEXLOWER.decode(id.as_bytes()).unwrap();
    for (what, bytes) in [
        ("the content", TITLE),
        ("its name", b"figures-q3"),
        ("the office's name", b"Northwind"),
        ("a node's name", b"host7"),
        ("the id", id.as_bytes()),
        ("the id in binary", &raw_id),
        ("the office's id", office["id"].as_str().unwrap().as_bytes()),
        ("the office's id in binary", &office_id),
    ] {
        assert!(!capture.saw(bytes), "{what} was seen by a stranger");
    }
}

/// D50 with QUIC and multicast, and D51: an office of ten, and a stranger that captures, floods, replays and
/// tries to join.
#[test]
fn d50_a_stranger_on_the_same_switch_learns_nothing() {
    let lan = Lan::new(11);
    let capture = lan.capture();
    let mut machines = office(&lan, 10, "Northwind Traders");
    let mut text = Vec::new();
    while text.len() < 3 << 20 {
        text.extend(TITLE);
        text.extend(text.len().to_le_bytes());
    }
    let file = machines[0].home.path("figures-q3.ods");
    std::fs::write(&file, &text).unwrap();
    let id = machines[0].publish(&file, &[]);
    let listens: Vec<String> = serde_json::from_value(machines[4].office()["listen"].clone()).unwrap();
    let of_host = |addr: &&String| addr.contains("10.77.0.5");
    let (quic, tcp): (Vec<&str>, Vec<&str>) =
        listens.iter().filter(of_host).map(String::as_str).partition(|addr| addr.contains("quic"));

    tries_to_come_in(&lan, &machines, &id, &[tcp[0], quic[0]]);

    // While it floods, the others fetch.
    let waiting: Vec<_> = machines[1..]
        .iter()
        .map(|machine| machine.spawn(&["--json", "get", &id, "-o", "out", "--timeout", "50s"]))
        .collect();
    let packets = capture.datagrams(MDNS);
    let flood = floods(&lan, tcp[0], &packets);
    assert!(!flood.is_empty());
    for (process, machine) in waiting.into_iter().zip(&machines[1..]) {
        process.wait().success();
        assert_eq!(b3(&machine.home.path("out")), id);
    }
    drop(flood);

    saw_nothing(&capture, &machines[0].office(), &id);
    let packets: Vec<Vec<u8>> = capture.datagrams(MDNS);
    let announced: Vec<Vec<u8>> =
        packets.into_iter().filter(|p| p.windows(13).any(|w| w == b"_swarm-member")).collect();
    let own: Vec<Vec<u8>> = announced.iter().filter(|p| p.len() > 400).cloned().collect();
    tell_nothing(&own);
    // Its replayed packets bring no member to dial it, and no member to answer.
    for machine in &mut machines[1..] {
        machine.stop();
    }
    let quiet = lan.capture();
    replay(&lan, 11, &own);
    wait_until("all of it was played back", PATIENCE, || {
        let seen = quiet.datagrams(MDNS);
        own.iter().all(|packet| seen.contains(packet))
    });
    // A member that asks later is answered: by then any answer to the stranger would have come.
    machines[1].start();
    wait_until("a member was answered", PATIENCE, || machines[1].office()["connected"] == 1);
    assert!(!called(&quiet, 11));
    let new = |(_, bytes): &(u8, Vec<u8>)| bytes.len() == own[0].len() && !own.contains(bytes);
    let all: Vec<(u8, Vec<u8>)> = quiet.datagrams_by(MDNS).into_iter().filter(new).collect();
    let before: std::collections::BTreeSet<&Vec<u8>> =
        all.iter().take_while(|(host, _)| *host != 2).map(|(_, bytes)| bytes).collect();
    assert!(before.len() <= 1, "{} answers to what was played back", before.len());
    assert!(before.len() < all.len(), "the member asked nobody");
}

/// Two offices on one switch, a node in both, and public content beside them.
#[test]
fn two_offices_never_see_each_other() {
    let lan = Lan::new(5);
    let mut machines: Vec<Machine<'_>> = (1..=5).map(|host| Machine::new(&lan, host)).collect();
    // Hosts 1 and 2 are of the one, 3 and 4 of the other, 2 of both, 5 of none.
    for (founder, name) in [(0, "Red"), (2, "Blue")] {
        machines[founder].found(name);
        machines[founder].start();
    }
    let (red, blue) = (
        machines[0].invite(&["--role", "publisher"]),
        machines[2].invite(&["--uses", "2", "--role", "publisher"]),
    );
    machines[1].join(&red).success();
    machines[1].join(&blue).success();
    machines[3].join(&blue).success();
    machines[1].start();
    machines[3].start();
    let [one, two, open] =
        [("one", 1), ("two", 2), ("open", 3)].map(|(name, seed)| machines[1].home.file(name, MIB, seed));
    // Of several it has to be said in which.
    let unsaid = machines[1].run(&["--json", "publish", one.to_str().unwrap()]);
    assert!(unsaid.exits(1).last()["message"].as_str().unwrap().contains("several offices"));
    let red = machines[1].publish(&one, &["--office", "Red"]);
    let blue = machines[1].publish(&two, &["--office", "Blue"]);
    let open = machines[1].publish(&open, &["--public"]);
    let all = machines[1].ask(&["status"]);
    let of = |id: &str| {
        let rows = all["shared"].as_array().unwrap();
        rows.iter().find(|row| row["id"] == id).unwrap()["offices"][0].as_str().map(ToOwned::to_owned)
    };
    assert_eq!((of(&red).as_deref(), of(&blue).as_deref(), of(&open)), (Some("Red"), Some("Blue"), None));
    assert!(machines[0].gets(&red, 20, &[]));
    assert!(machines[3].gets(&blue, 20, &[]));
    assert!(machines[4].gets(&open, 20, &[]));
    assert!(machines[3].gets(&open, 20, &["--public"]));
    for (machine, id) in [(0, &blue), (3, &red), (4, &red), (4, &blue), (0, &open), (2, &red)] {
        assert!(!machines[machine].gets(id, 3, &[]), "host {} got it", machine + 1);
    }
    assert!(!machines[0].gets(&blue, 3, &["--public"]) && !machines[3].gets(&red, 3, &["--public"]));
    // Or in the configuration of its node.
    machines[1].stop();
    machines[1].start_with(&["--office", "Red"]);
    let usual = machines[1].home.file("usual", MIB, 4);
    let usual = machines[1].publish(&usual, &[]);
    assert!(machines[0].gets(&usual, 20, &[]) && !machines[3].gets(&usual, 3, &[]));
    wait_until("who is of both is connected in both", PATIENCE, || {
        let offices = machines[1].ask(&["office"])["offices"].as_array().cloned().unwrap();
        offices.iter().all(|office| office["connected"].as_u64() > Some(0))
    });
}
