//! Who is connected from where: the arithmetic of the [gate](super::gate), without libp2p and without a clock.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Instant;

use super::discovery::subnet;
use crate::limits;

/// How many connections of each sort there may be.
#[derive(Clone, Debug)]
pub(crate) struct GateLimits {
    /// Inbound connections in their handshake.
    pub(crate) pending_inbound: usize,
    /// The same from one address, this machine's apart.
    pub(crate) pending_per_host: usize,
    /// Inbound connections, established.
    pub(crate) inbound: usize,
    /// Outbound connections, pending and established.
    pub(crate) outbound: usize,
    /// Connections in all.
    pub(crate) connections: usize,
    /// Established connections with one peer.
    pub(crate) per_peer: usize,
    /// Inbound connections from one public address, pending and established.
    pub(crate) per_public_ip: usize,
    /// Inbound connections from one public /24 or /64, pending and established.
    pub(crate) per_subnet: usize,
    /// Inbound connections from private, link-local and loopback addresses together, pending and established.
    pub(crate) lan_inbound: usize,
    /// Inbound connections from one private or link-local address, pending and established.
    pub(crate) per_lan_host: usize,
    /// Bans remembered.
    pub(crate) bans: usize,
}

impl Default for GateLimits {
    fn default() -> Self {
        GateLimits {
            pending_inbound: limits::PENDING_INBOUND,
            pending_per_host: limits::PENDING_PER_HOST,
            inbound: limits::INBOUND,
            outbound: limits::OUTBOUND,
            connections: limits::CONNECTIONS,
            per_peer: limits::PER_PEER,
            per_public_ip: limits::PER_PUBLIC_IP,
            per_subnet: limits::PER_SUBNET,
            lan_inbound: limits::LAN_INBOUND,
            per_lan_host: limits::PER_LAN_HOST,
            bans: limits::BANS,
        }
    }
}

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// See [`GateLimits::pending_inbound`].
    #[error("{0} inbound connections are already in their handshake")]
    PendingInbound(usize),
    /// See [`GateLimits::inbound`].
    #[error("there are already {0} inbound connections")]
    Inbound(usize),
    /// See [`GateLimits::outbound`].
    #[error("there are already {0} outbound connections")]
    Outbound(usize),
    /// See [`GateLimits::connections`].
    #[error("there are already {0} connections, counting those kept for outbound ones")]
    Connections(usize),
    /// See [`GateLimits::per_peer`].
    #[error("there are already {0} connections with this peer")]
    PerPeer(usize),
    /// See [`GateLimits::per_public_ip`].
    #[error("there are already {0} connections from this public address")]
    PublicIp(usize),
    /// See [`GateLimits::per_subnet`].
    #[error("there are already {0} connections from this subnet")]
    Subnet(usize),
    /// See [`GateLimits::lan_inbound`].
    #[error("there are already {0} connections from the local network")]
    Lan(usize),
    /// See [`GateLimits::per_lan_host`].
    #[error("there are already {0} connections from this host of the local network")]
    LanHost(usize),
    /// A peer named an address that is not its business.
    #[error("a peer named addresses that are not for others")]
    Address,
    /// The peer is banned.
    #[error("the peer is banned")]
    BannedPeer,
    /// The address is banned.
    #[error("the address is banned")]
    BannedIp,
}

/// How often each reason to refuse occurred.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RefusedCounts {
    /// [`Refused::PendingInbound`].
    pub(crate) pending_inbound: u64,
    /// [`Refused::Inbound`].
    pub(crate) inbound: u64,
    /// [`Refused::Outbound`].
    pub(crate) outbound: u64,
    /// [`Refused::Connections`].
    pub(crate) connections: u64,
    /// [`Refused::PerPeer`].
    pub(crate) per_peer: u64,
    /// [`Refused::PublicIp`].
    pub(crate) public_ip: u64,
    /// [`Refused::Subnet`].
    pub(crate) subnet: u64,
    /// [`Refused::Lan`].
    pub(crate) lan: u64,
    /// [`Refused::LanHost`].
    pub(crate) lan_host: u64,
    /// [`Refused::Address`].
    pub(crate) address: u64,
    /// [`Refused::BannedPeer`].
    pub(crate) banned_peer: u64,
    /// [`Refused::BannedIp`].
    pub(crate) banned_ip: u64,
}

impl RefusedCounts {
    /// The counts under the names a person reads.
    pub(crate) fn rows(&self) -> Vec<(String, u64)> {
        let rows = [
            ("too many handshakes", self.pending_inbound),
            ("too many inbound connections", self.inbound),
            ("too many outbound connections", self.outbound),
            ("too many connections", self.connections),
            ("too many connections with one peer", self.per_peer),
            ("too many connections from one address", self.public_ip),
            ("too many connections from one subnet", self.subnet),
            ("too many connections from the LAN", self.lan),
            ("too many connections from one LAN host", self.lan_host),
            ("addresses that peers had no business to name", self.address),
            ("banned peers", self.banned_peer),
            ("banned addresses", self.banned_ip),
        ];
        rows.into_iter().map(|(name, n)| (name.to_owned(), n)).collect()
    }

    /// Counts one more.
    pub(crate) fn count(&mut self, refused: Refused) {
        let counter = match refused {
            Refused::PendingInbound(_) => &mut self.pending_inbound,
            Refused::Inbound(_) => &mut self.inbound,
            Refused::Outbound(_) => &mut self.outbound,
            Refused::Connections(_) => &mut self.connections,
            Refused::PerPeer(_) => &mut self.per_peer,
            Refused::PublicIp(_) => &mut self.public_ip,
            Refused::Subnet(_) => &mut self.subnet,
            Refused::Lan(_) => &mut self.lan,
            Refused::LanHost(_) => &mut self.lan_host,
            Refused::Address => &mut self.address,
            Refused::BannedPeer => &mut self.banned_peer,
            Refused::BannedIp => &mut self.banned_ip,
        };
        *counter += 1;
    }
}

/// Where an inbound connection comes from, as far as limits care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// This machine.
    Loopback,
    /// A host of the local network: its private, unique-local or link-local address.
    Lan(IpAddr),
    /// An address of the internet.
    Public(IpAddr),
    /// No address of its own: it came through a relay. Only the totals apply.
    Unknown,
}

impl Origin {
    /// Classifies the address of a peer. An IPv4 address written as an IPv6 one is the IPv4 address.
    pub(crate) fn of(ip: Option<IpAddr>) -> Self {
        let Some(ip) = ip.map(|ip| ip.to_canonical()) else { return Origin::Unknown };
        let lan = match ip {
            IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
        };
        match ip {
            _ if ip.is_loopback() => Origin::Loopback,
            _ if lan => Origin::Lan(ip),
            _ => Origin::Public(ip),
        }
    }
}

impl Origin {
    /// The address, where it tells hosts apart.
    const fn host(self) -> Option<IpAddr> {
        match self {
            Origin::Lan(ip) | Origin::Public(ip) => Some(ip),
            Origin::Loopback | Origin::Unknown => None,
        }
    }
}

/// A place that was given to a connection; it goes back with [`GateCounts::release`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// An inbound connection in its handshake.
    PendingInbound(Origin),
    /// An inbound connection.
    Inbound(Origin),
    /// An outbound connection, in its handshake or after it.
    Outbound,
}

/// Counts connections and says when there are enough of them.
///
/// Inbound connections share what is left of [`GateLimits::connections`] after [`GateLimits::outbound`] places were
/// set aside: however many peers come in, this node can still go out and fetch. The limits per address concern
/// inbound connections only, since whom we dial is our own choice.
#[derive(Debug)]
pub(crate) struct GateCounts {
    limits: GateLimits,
    pending_inbound: usize,
    inbound: usize,
    outbound: usize,
    lan: usize,
    hosts: HashMap<IpAddr, usize>,
    pending_hosts: HashMap<IpAddr, usize>,
    subnets: HashMap<IpAddr, usize>,
}

impl GateCounts {
    /// No connections yet.
    pub(crate) fn new(limits: GateLimits) -> Self {
        GateCounts {
            limits,
            pending_inbound: 0,
            inbound: 0,
            outbound: 0,
            lan: 0,
            hosts: HashMap::new(),
            pending_hosts: HashMap::new(),
            subnets: HashMap::new(),
        }
    }

    /// The limits in force.
    pub(crate) fn limits(&self) -> &GateLimits {
        &self.limits
    }

    /// A place for an inbound connection that wants to begin its handshake.
    pub(crate) fn admit_inbound(&mut self, origin: Origin) -> Result<Place, Refused> {
        let limits = &self.limits;
        below(self.pending_inbound, limits.pending_inbound, Refused::PendingInbound)?;
        below(self.inbound, limits.inbound, Refused::Inbound)?;
        if let Some(ip) = origin.host() {
            below(count(&self.pending_hosts, ip), limits.pending_per_host, Refused::PendingInbound)?;
        }
        let room = limits.connections.saturating_sub(limits.outbound);
        if self.pending_inbound + self.inbound >= room {
            return Err(Refused::Connections(limits.connections));
        }
        match origin {
            Origin::Unknown => {}
            Origin::Loopback => below(self.lan, limits.lan_inbound, Refused::Lan)?,
            Origin::Lan(ip) => {
                below(count(&self.hosts, ip), limits.per_lan_host, Refused::LanHost)?;
                below(self.lan, limits.lan_inbound, Refused::Lan)?;
            }
            Origin::Public(ip) => {
                below(count(&self.hosts, ip), limits.per_public_ip, Refused::PublicIp)?;
                below(count(&self.subnets, subnet(ip)), limits.per_subnet, Refused::Subnet)?;
            }
        }
        self.pending_inbound += 1;
        if let Some(ip) = origin.host() {
            *self.pending_hosts.entry(ip).or_default() += 1;
        }
        self.add(origin);
        Ok(Place::PendingInbound(origin))
    }

    /// A place for a connection that this node is about to dial.
    pub(crate) fn admit_outbound(&mut self) -> Result<Place, Refused> {
        below(self.outbound, self.limits.outbound, Refused::Outbound)?;
        self.outbound += 1;
        Ok(Place::Outbound)
    }

    /// Whether a connection that has finished its handshake may stay. Changes nothing: another behaviour may still
    /// refuse it.
    pub(crate) fn may_establish(&self, place: Place) -> Result<(), Refused> {
        match place {
            Place::PendingInbound(_) => below(self.inbound, self.limits.inbound, Refused::Inbound),
            Place::Inbound(_) | Place::Outbound => Ok(()),
        }
    }

    /// The handshake is over and everybody agreed: the place of the connection from now on.
    pub(crate) fn establish(&mut self, place: Place) -> Place {
        let Place::PendingInbound(origin) = place else { return place };
        self.handshake_over(origin);
        self.inbound += 1;
        Place::Inbound(origin)
    }

    /// Takes a place back.
    pub(crate) fn release(&mut self, place: Place) {
        match place {
            Place::PendingInbound(origin) => {
                self.handshake_over(origin);
                self.remove(origin);
            }
            Place::Inbound(origin) => {
                self.inbound -= 1;
                self.remove(origin);
            }
            Place::Outbound => self.outbound -= 1,
        }
    }

    fn handshake_over(&mut self, origin: Origin) {
        self.pending_inbound -= 1;
        if let Some(ip) = origin.host() {
            take_one(&mut self.pending_hosts, ip);
        }
    }

    fn add(&mut self, origin: Origin) {
        match origin {
            Origin::Unknown => {}
            Origin::Loopback => self.lan += 1,
            Origin::Lan(ip) => {
                self.lan += 1;
                *self.hosts.entry(ip).or_default() += 1;
            }
            Origin::Public(ip) => {
                *self.hosts.entry(ip).or_default() += 1;
                *self.subnets.entry(subnet(ip)).or_default() += 1;
            }
        }
    }

    fn remove(&mut self, origin: Origin) {
        match origin {
            Origin::Unknown => {}
            Origin::Loopback => self.lan -= 1,
            Origin::Lan(ip) => {
                self.lan -= 1;
                take_one(&mut self.hosts, ip);
            }
            Origin::Public(ip) => {
                take_one(&mut self.hosts, ip);
                take_one(&mut self.subnets, subnet(ip));
            }
        }
    }
}

fn below(count: usize, limit: usize, refused: fn(usize) -> Refused) -> Result<(), Refused> {
    if count < limit { Ok(()) } else { Err(refused(limit)) }
}

fn count(counts: &HashMap<IpAddr, usize>, ip: IpAddr) -> usize {
    counts.get(&ip).copied().unwrap_or(0)
}

/// Counts down and forgets what nobody uses any more, so that the map is no larger than the connections are many.
fn take_one(counts: &mut HashMap<IpAddr, usize>, ip: IpAddr) {
    if let Some(count) = counts.get_mut(&ip) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&ip);
        }
    }
}

/// Who is banned until when; the one not met for longest is forgotten first.
#[derive(Debug)]
pub(crate) struct Bans<K> {
    capacity: usize,
    clock: u64,
    bans: HashMap<K, Ban>,
    /// By [`Ban::used`], the oldest first.
    order: BTreeMap<u64, K>,
}

#[derive(Debug)]
struct Ban {
    until: Instant,
    used: u64,
}

impl<K: Clone + Eq + Hash> Bans<K> {
    /// Remembers this many bans at most.
    pub(crate) fn new(capacity: usize) -> Self {
        Bans { capacity, clock: 0, bans: HashMap::new(), order: BTreeMap::new() }
    }

    /// Bans somebody; a ban that already lasts longer stays as long as it is.
    pub(crate) fn ban(&mut self, who: K, until: Instant) {
        let until = self.remove(&who).map_or(until, |ban| ban.until.max(until));
        self.insert(who, until);
        while self.bans.len() > self.capacity {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.bans.remove(&oldest);
        }
    }

    #[cfg(test)]
    /// Whether somebody is banned.
    pub(crate) fn is_banned(&self, who: &K, now: Instant) -> bool {
        self.bans.get(who).is_some_and(|ban| now < ban.until)
    }

    /// The same for somebody who has just tried to get in: notes the visit, and forgets a ban that is over.
    pub(crate) fn visit(&mut self, who: &K, now: Instant) -> bool {
        let Some(ban) = self.remove(who) else { return false };
        let banned = now < ban.until;
        if banned {
            self.insert(who.clone(), ban.until);
        }
        banned
    }

    fn insert(&mut self, who: K, until: Instant) {
        self.clock += 1;
        self.order.insert(self.clock, who.clone());
        self.bans.insert(who, Ban { until, used: self.clock });
    }

    fn remove(&mut self, who: &K) -> Option<Ban> {
        let ban = self.bans.remove(who)?;
        self.order.remove(&ban.used);
        Some(ban)
    }
}
