//! Asks a home router to forward our ports, by UPnP's Internet Gateway Device, if the node's owner wants
//! that.
//!
//! Only the machine's default gateway is asked, and it is believed only if its outside address is public: a
//! router behind another router lets nobody in, and any other device that answers the search is not our
//! router. Mappings are renewed well before they expire, moved when the machine's address changes, and
//! removed when the node stops.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use igd_next::aio::Gateway;
use igd_next::aio::tokio::{Tokio, search_gateway};
use igd_next::{AddPortError, PortMappingProtocol, SearchOptions};
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::distance::Distance;
use crate::net::address::{class_of, endpoint, is_one_host, split_peer};

/// Lifetime of a mapping, seconds.
const LEASE: u32 = 3600;
/// Time between renewals: a router that was switched off and on has forgotten its mappings.
const AGAIN: Duration = Duration::from_secs(600);
/// Pause before a router that did not answer is asked again.
const RETRY: Duration = Duration::from_secs(60);
/// Time to wait for further address changes: addresses come one after another at start, and when a cable is
/// plugged in.
const SETTLE: Duration = Duration::from_millis(300);
/// Longest search for the router: routers answer within a second or two.
const SEARCH: Duration = Duration::from_secs(4);
/// Longest time for removing the mappings when the node stops.
const FAREWELL: Duration = Duration::from_secs(2);
/// Description that the router's page shows.
const NAME: &str = "swarm";
/// The kernel's routing table.
const ROUTES: &str = "/proc/net/route";

/// Mappings that are in force.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Mapped {
    /// Addresses at which others reach us through the router.
    pub(crate) addrs: Vec<Multiaddr>,
    /// State in a phrase, for a person.
    pub(crate) state: String,
}

/// A port of ours, of TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Port {
    udp: bool,
    number: u16,
}

/// A running task that maintains the mappings.
#[derive(Debug)]
pub(crate) struct PortMapping {
    mapped: watch::Receiver<Mapped>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl PortMapping {
    /// Starts mapping the ports of the addresses in `listen`.
    pub(crate) fn start(listen: watch::Receiver<Vec<Multiaddr>>) -> Self {
        let (tell, mapped) = watch::channel(Mapped { state: "asked".to_owned(), ..Mapped::default() });
        let (stop, stopped) = oneshot::channel();
        let asker = Asker { listen, tell, held: BTreeMap::new(), at: None, until: None };
        Self { mapped, stop, task: tokio::spawn(asker.run(stopped)) }
    }

    /// Returns the mappings in force, as they change.
    pub(crate) fn mapped(&self) -> watch::Receiver<Mapped> {
        self.mapped.clone()
    }

    /// Removes all mappings and ends the task.
    pub(crate) async fn stop(self) {
        let Self { stop, task, .. } = self;
        drop(stop);
        let _ = timeout(FAREWELL, task).await;
    }
}

struct Asker {
    listen: watch::Receiver<Vec<Multiaddr>>,
    tell: watch::Sender<Mapped>,
    /// Mapped ports of ours, with their port numbers on the router.
    held: BTreeMap<Port, u16>,
    /// The router, and our local address that it forwards to.
    at: Option<(Gateway<Tokio>, IpAddr)>,
    /// Time at which the mappings expire.
    until: Option<Instant>,
}

impl Asker {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        loop {
            self.listen.mark_unchanged();
            let round = tokio::select! {
                round = self.round() => round,
                _ = &mut stopped => break,
            };
            let pause = if round.is_ok() { AGAIN } else { RETRY };
            let lets_in = !self.held.is_empty() && self.until.is_some_and(|until| Instant::now() < until);
            let new = match round {
                Ok(new) => new,
                // The router did not answer this time, but its mappings still hold.
                Err(state) if lets_in => Mapped { state, ..self.tell.borrow().clone() },
                Err(state) => Mapped { addrs: Vec::new(), state },
            };
            self.tell.send_if_modified(|old| {
                *old != new && {
                    *old = new;
                    true
                }
            });
            tokio::select! {
                () = sleep(pause) => {}
                Ok(()) = self.listen.changed() => sleep(SETTLE).await,
                _ = &mut stopped => break,
            }
        }
        self.give_back(|_| true).await;
    }

    /// Finds the router and maps the ports we listen on. The error is a phrase for a person.
    async fn round(&mut self) -> Result<Mapped, String> {
        let table = std::fs::read_to_string(ROUTES).map_err(|e| format!("{ROUTES}: {e}"))?;
        let gateway = default_gateway(&table).ok_or("there is no router on the way out")?;
        let local = local_address(gateway).map_err(|e| format!("no way to the router: {e}"))?;
        let ports = ports(&self.listen.borrow(), local);
        if self.at.as_ref().is_some_and(|(_, at)| *at != local) {
            // The machine is in another network; the mappings in the old one expire by themselves.
            (self.held, self.at) = (BTreeMap::new(), None);
        }
        let router = search(gateway).await?;
        let outside =
            router.get_external_ip().await.map_err(|e| format!("the router has no address: {e}"))?;
        self.at = Some((router, local));
        if class_of(outside) != Distance::Wan || !is_one_host(outside) {
            self.held.clear();
            return Err(format!("the router has no address of the internet: its own is {outside}"));
        }
        self.give_back(|port| !ports.contains(port)).await;
        let Some((router, _)) = &self.at else { return Err("the router went".to_owned()) };
        for port in &ports {
            let before = self.held.get(port).copied();
            match let_in(router, *port, local, before).await {
                Ok(number) => drop(self.held.insert(*port, number)),
                Err(reason) => {
                    self.held.remove(port);
                    tracing::debug!(?port, %reason, "not let in by the router");
                }
            }
        }
        let addrs: Vec<Multiaddr> =
            self.held.iter().map(|(port, number)| address(outside, *port, *number)).collect();
        if addrs.is_empty() {
            return Err("the router lets nobody in".to_owned());
        }
        self.until = Some(Instant::now() + Duration::from_secs(LEASE.into()));
        Ok(Mapped { state: format!("lets others in at {outside}"), addrs })
    }

    async fn give_back(&mut self, which: impl Fn(&Port) -> bool) {
        let Some((router, _)) = &self.at else { return };
        let gone: Vec<(Port, u16)> =
            self.held.iter().filter(|(port, _)| which(port)).map(|(p, n)| (*p, *n)).collect();
        self.held.retain(|port, _| !which(port));
        for (port, number) in gone {
            if let Err(error) = router.remove_port(protocol(port), number).await {
                tracing::debug!(?port, %error, "not given back to the router");
            }
        }
    }
}

/// Searches by asking the gateway directly and then by multicast; answers of other devices are not believed.
async fn search(gateway: Ipv4Addr) -> Result<Gateway<Tokio>, String> {
    let everybody = SearchOptions::default().broadcast_address;
    let mut reason = String::new();
    for to in [SocketAddr::from((gateway, everybody.port())), everybody] {
        let mut options = SearchOptions::default();
        options.broadcast_address = to;
        (options.timeout, options.single_search_timeout) = (Some(SEARCH), Some(SEARCH));
        match search_gateway(options).await {
            Ok(router) if router.addr.ip() == IpAddr::V4(gateway) => return Ok(router),
            Ok(other) => reason = format!("{} answers, which is not the router", other.addr.ip()),
            Err(error) => reason = format!("the router does not answer: {error}"),
        }
    }
    Err(reason)
}

/// Maps a port: to its earlier number, else to our own number, else to any. Returns the number.
async fn let_in(router: &Gateway<Tokio>, port: Port, to: IpAddr, before: Option<u16>) -> Result<u16, String> {
    let (number, to) = (before.unwrap_or(port.number), SocketAddr::new(to, port.number));
    let kind = protocol(port);
    match router.add_port(kind, number, to, LEASE, NAME).await {
        Ok(()) => Ok(number),
        Err(AddPortError::OnlyPermanentLeasesSupported) => {
            router.add_port(kind, number, to, 0, NAME).await.map(|()| number).map_err(|e| e.to_string())
        }
        Err(AddPortError::PortInUse) => {
            router.add_any_port(kind, to, LEASE, NAME).await.map_err(|e| e.to_string())
        }
        Err(error) => Err(error.to_string()),
    }
}

const fn protocol(port: Port) -> PortMappingProtocol {
    if port.udp { PortMappingProtocol::UDP } else { PortMappingProtocol::TCP }
}

fn address(ip: IpAddr, port: Port, number: u16) -> Multiaddr {
    let ip = Multiaddr::from(ip);
    match port.udp {
        true => ip.with(Protocol::Udp(number)).with(Protocol::QuicV1),
        false => ip.with(Protocol::Tcp(number)),
    }
}

/// Returns the ports that are listened on at this IP address.
fn ports(listen: &[Multiaddr], at: IpAddr) -> Vec<Port> {
    let ends = listen.iter().filter_map(|addr| endpoint(&split_peer(addr).0));
    let here = ends.filter(|end| end.ip == at && !end.relayed);
    let mut ports: Vec<Port> = here.map(|end| Port { udp: end.quic, number: end.port }).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Reads the default gateway from the kernel's routing table. Each line has the device, destination, gateway,
/// flags (bit 2 means "through a gateway") and more; addresses are in hexadecimal, as they lie in memory.
fn default_gateway(table: &str) -> Option<Ipv4Addr> {
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let number = |text: Option<&str>| u32::from_str_radix(text?, 16).ok();
        let (destination, gateway) = (number(fields.next())?, number(fields.next())?);
        let flags = number(fields.next())?;
        (destination == 0 && flags & 2 != 0).then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
    })
}

/// Returns the address from which this machine speaks with the router. Nothing is sent.
fn local_address(gateway: Ipv4Addr) -> std::io::Result<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((gateway, 9))?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_router_is_the_way_to_everywhere() {
        let gateway = u32::from_ne_bytes([192, 168, 1, 254]);
        let table = format!(
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\nlan0\t0001A8C0\t00000000\t0001\t0\n\
             lan0\t00000000\t{gateway:08X}\t0003\t0\t0\t100\t00000000\n"
        );
        assert_eq!(default_gateway(&table), Some(Ipv4Addr::new(192, 168, 1, 254)));
        for odd in ["", "Iface\nlan0", "Iface\nlan0 00000000 zz 0003", "Iface\nppp0 00000000 00000000 0001"] {
            assert_eq!(default_gateway(odd), None, "{odd}");
        }
    }

    #[test]
    fn ports_of_that_network_are_let_in() {
        let listen = [
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/192.168.1.5/tcp/2",
            "/ip4/192.168.1.5/udp/3/quic-v1",
            "/ip4/192.168.2.5/tcp/4",
        ];
        let listen: Vec<Multiaddr> = listen.iter().map(|addr| addr.parse().unwrap()).collect();
        let found = ports(&listen, "192.168.1.5".parse().unwrap());
        assert_eq!(found, [Port { udp: false, number: 2 }, Port { udp: true, number: 3 }]);
        assert_eq!(
            address("45.1.2.3".parse().unwrap(), found[1], 9).to_string(),
            "/ip4/45.1.2.3/udp/9/quic-v1"
        );
    }
}
