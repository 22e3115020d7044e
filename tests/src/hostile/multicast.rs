//! A host that says on the local network, by multicast DNS, whatever a test wants.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use libp2p::PeerId;
use socket2::{Domain, Socket, Type};

/// Group and port of multicast DNS.
const GROUP: (Ipv4Addr, u16) = (Ipv4Addr::new(224, 0, 0, 251), 5353);
/// Name of the service, as labels.
const SERVICE: &[u8] = b"\x04_p2p\x04_udp\x05local\0";
/// A name that the answer points to.
const NAME: &[u8] = b"\x06forged\x04_p2p\x04_udp\x05local\0";

/// Opens a socket that speaks to all on the link of this address. It stays in the network of its thread.
///
/// # Panics
/// When the system refuses.
#[must_use]
pub fn speaker(at: Ipv4Addr) -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((at, 0)).into()).expect("an address of this host");
    socket.set_multicast_if_v4(&at).expect("an interface");
    socket.into()
}

/// Says this to all.
///
/// # Panics
/// When the system refuses.
pub fn say(socket: &UdpSocket, packet: &[u8]) {
    socket.send_to(packet, GROUP).expect("it is sent");
}

/// Returns an answer that names each of these addresses, each of a peer that does not exist, for as long as
/// the format allows. With `beside` the addresses are in the section of answers, as js-libp2p has them.
#[must_use]
pub fn forged(addrs: &[String], beside: bool) -> Vec<u8> {
    let mut packet = vec![0, 0, 0x84, 0, 0, 0];
    let count = addrs.len() as u16;
    let (answers, more) = if beside { (1 + count, 0) } else { (1, count) };
    for number in [answers, 0, more] {
        packet.extend(number.to_be_bytes());
    }
    record(&mut packet, SERVICE, 12, NAME);
    for addr in addrs {
        let text = format!("dnsaddr={addr}/p2p/{}", PeerId::random());
        let text = [&[text.len() as u8], text.as_bytes()].concat();
        record(&mut packet, NAME, 16, &text);
    }
    packet
}

fn record(packet: &mut Vec<u8>, name: &[u8], kind: u16, data: &[u8]) {
    packet.extend(name);
    packet.extend(kind.to_be_bytes());
    packet.extend(1_u16.to_be_bytes());
    packet.extend(0x7fff_ffff_u32.to_be_bytes());
    packet.extend((data.len() as u16).to_be_bytes());
    packet.extend(data);
}
