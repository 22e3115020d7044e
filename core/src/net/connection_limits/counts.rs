//! Arithmetic of the [connection limits](super::super::connection_limits): counts by origin, and a bounded
//! table of bans. It knows neither libp2p's events nor a clock.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::super::address::subnet;
use crate::limits;
use crate::net::address::ConnectionOrigin;

/// Limits on connections, by kind. All are counts.
#[derive(Clone, Debug)]
pub(crate) struct GateLimits {
    /// Inbound connections in their handshake.
    pub(crate) pending_inbound: usize,
    /// Inbound connections in their handshake from one address; this machine is exempt.
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
    /// Time without having given or taken something after which an inbound connection gives way to another
    /// one; a third of it for peers that never did. `None` if connections give way to nobody.
    pub(crate) idle: Option<Duration>,
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
            idle: None,
        }
    }
}

/// Reason for refusing a connection; the number in a variant is the limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// [`GateLimits::pending_inbound`] or [`GateLimits::pending_per_host`] is reached.
    #[error("{0} inbound connections are already in their handshake")]
    PendingInbound(usize),
    /// [`GateLimits::inbound`] is reached.
    #[error("there are already {0} inbound connections")]
    Inbound(usize),
    /// [`GateLimits::outbound`] is reached.
    #[error("there are already {0} outbound connections")]
    Outbound(usize),
    /// [`GateLimits::connections`] is reached.
    #[error("there are already {0} connections, counting those kept for outbound ones")]
    Connections(usize),
    /// [`GateLimits::per_peer`] is reached.
    #[error("there are already {0} connections with this peer")]
    PerPeer(usize),
    /// [`GateLimits::per_public_ip`] is reached.
    #[error("there are already {0} connections from this public address")]
    PublicIp(usize),
    /// [`GateLimits::per_subnet`] is reached.
    #[error("there are already {0} connections from this subnet")]
    Subnet(usize),
    /// [`GateLimits::lan_inbound`] is reached.
    #[error("there are already {0} connections from the local network")]
    Lan(usize),
    /// [`GateLimits::per_lan_host`] is reached.
    #[error("there are already {0} connections from this host of the local network")]
    LanHost(usize),
    /// A peer named addresses that it may not make us dial.
    #[error("a peer named addresses that are not for others")]
    Address,
    /// The peer is banned.
    #[error("the peer is banned")]
    BannedPeer,
    /// The address is banned.
    #[error("the address is banned")]
    BannedIp,
}

/// Number of refusals by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RefusedCounts {
    /// Refusals by [`Refused::PendingInbound`].
    pub(crate) pending_inbound: u64,
    /// Refusals by [`Refused::Inbound`].
    pub(crate) inbound: u64,
    /// Refusals by [`Refused::Outbound`].
    pub(crate) outbound: u64,
    /// Refusals by [`Refused::Connections`].
    pub(crate) connections: u64,
    /// Refusals by [`Refused::PerPeer`].
    pub(crate) per_peer: u64,
    /// Refusals by [`Refused::PublicIp`].
    pub(crate) public_ip: u64,
    /// Refusals by [`Refused::Subnet`].
    pub(crate) subnet: u64,
    /// Refusals by [`Refused::Lan`].
    pub(crate) lan: u64,
    /// Refusals by [`Refused::LanHost`].
    pub(crate) lan_host: u64,
    /// Refusals by [`Refused::Address`].
    pub(crate) address: u64,
    /// Refusals by [`Refused::BannedPeer`].
    pub(crate) banned_peer: u64,
    /// Refusals by [`Refused::BannedIp`].
    pub(crate) banned_ip: u64,
    /// Idle connections that gave way to others.
    pub(crate) gave_way: u64,
}

impl Refused {
    /// True if all connections together are too many, so that one may give way to another.
    pub(crate) const fn is_of_all(self) -> bool {
        matches!(self, Self::Inbound(_) | Self::Connections(_) | Self::Lan(_))
    }
}

impl RefusedCounts {
    /// Returns the counts with their names for a person.
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
            ("idle connections that gave way to others", self.gave_way),
        ];
        rows.into_iter().map(|(name, n)| (name.to_owned(), n)).collect()
    }

    /// Counts one more refusal.
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

/// Slot that a connection occupies; [`GateCounts::release`] gives it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionSlot {
    /// Slot of an inbound connection in its handshake.
    PendingInbound(ConnectionOrigin),
    /// Slot of an established inbound connection.
    Inbound(ConnectionOrigin),
    /// Slot of an outbound connection, in its handshake or after it.
    Outbound,
}

/// Counts connections and says when there are enough of them.
///
/// Inbound connections share what remains of [`GateLimits::connections`] after [`GateLimits::outbound`] slots
/// are set aside: however many peers come in, this node can still dial out and fetch. The limits per address
/// concern inbound connections only, since the peers we dial are our own choice.
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
    /// Makes counts of zero.
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

    /// Returns the limits in force.
    pub(crate) fn limits(&self) -> &GateLimits {
        &self.limits
    }

    /// Takes a slot for an inbound connection that is about to begin its handshake. With `in_place`, another
    /// one gives way once the handshake is over, so that the limits on all connections together do not hold
    /// for it now.
    pub(crate) fn admit_inbound(
        &mut self,
        origin: ConnectionOrigin,
        in_place: bool,
    ) -> Result<ConnectionSlot, Refused> {
        let limits = &self.limits;
        below(self.pending_inbound, limits.pending_inbound, Refused::PendingInbound)?;
        if !in_place {
            below(self.inbound, limits.inbound, Refused::Inbound)?;
        }
        if let Some(ip) = origin.host() {
            below(count(&self.pending_hosts, ip), limits.pending_per_host, Refused::PendingInbound)?;
        }
        let room = limits.connections.saturating_sub(limits.outbound);
        if !in_place && self.pending_inbound + self.inbound >= room {
            return Err(Refused::Connections(limits.connections));
        }
        match origin {
            ConnectionOrigin::Unknown => {}
            ConnectionOrigin::Loopback if in_place => {}
            ConnectionOrigin::Loopback => below(self.lan, limits.lan_inbound, Refused::Lan)?,
            ConnectionOrigin::Lan(ip) => {
                below(count(&self.hosts, ip), limits.per_lan_host, Refused::LanHost)?;
                if !in_place {
                    below(self.lan, limits.lan_inbound, Refused::Lan)?;
                }
            }
            ConnectionOrigin::Public(ip) => {
                below(count(&self.hosts, ip), limits.per_public_ip, Refused::PublicIp)?;
                below(count(&self.subnets, subnet(ip)), limits.per_subnet, Refused::Subnet)?;
            }
        }
        self.pending_inbound += 1;
        if let Some(ip) = origin.host() {
            *self.pending_hosts.entry(ip).or_default() += 1;
        }
        self.add(origin);
        Ok(ConnectionSlot::PendingInbound(origin))
    }

    /// Takes a slot for a connection that this node is about to dial.
    pub(crate) fn admit_outbound(&mut self) -> Result<ConnectionSlot, Refused> {
        below(self.outbound, self.limits.outbound, Refused::Outbound)?;
        self.outbound += 1;
        Ok(ConnectionSlot::Outbound)
    }

    /// Checks that a connection that has finished its handshake may stay. Changes nothing: another behaviour
    /// may still refuse it.
    pub(crate) fn may_establish(&self, place: ConnectionSlot) -> Result<(), Refused> {
        match place {
            ConnectionSlot::PendingInbound(origin) => {
                below(self.inbound, self.limits.inbound, Refused::Inbound)?;
                let room = self.limits.connections.saturating_sub(self.limits.outbound);
                if self.inbound >= room {
                    return Err(Refused::Connections(self.limits.connections));
                }
                // The connection itself is counted already.
                let near = matches!(origin, ConnectionOrigin::Lan(_) | ConnectionOrigin::Loopback);
                let others = if near { self.lan.saturating_sub(1) } else { 0 };
                below(others, self.limits.lan_inbound, Refused::Lan)
            }
            ConnectionSlot::Inbound(_) | ConnectionSlot::Outbound => Ok(()),
        }
    }

    /// Turns the slot of a connection in its handshake into one of an established connection, and returns it.
    pub(crate) fn establish(&mut self, place: ConnectionSlot) -> ConnectionSlot {
        let ConnectionSlot::PendingInbound(origin) = place else { return place };
        self.handshake_over(origin);
        self.inbound += 1;
        ConnectionSlot::Inbound(origin)
    }

    /// Gives a slot back.
    pub(crate) fn release(&mut self, place: ConnectionSlot) {
        match place {
            ConnectionSlot::PendingInbound(origin) => {
                self.handshake_over(origin);
                self.remove(origin);
            }
            ConnectionSlot::Inbound(origin) => {
                self.inbound -= 1;
                self.remove(origin);
            }
            ConnectionSlot::Outbound => self.outbound -= 1,
        }
    }

    fn handshake_over(&mut self, origin: ConnectionOrigin) {
        self.pending_inbound -= 1;
        if let Some(ip) = origin.host() {
            take_one(&mut self.pending_hosts, ip);
        }
    }

    fn add(&mut self, origin: ConnectionOrigin) {
        match origin {
            ConnectionOrigin::Unknown => {}
            ConnectionOrigin::Loopback => self.lan += 1,
            ConnectionOrigin::Lan(ip) => {
                self.lan += 1;
                *self.hosts.entry(ip).or_default() += 1;
            }
            ConnectionOrigin::Public(ip) => {
                *self.hosts.entry(ip).or_default() += 1;
                *self.subnets.entry(subnet(ip)).or_default() += 1;
            }
        }
    }

    fn remove(&mut self, origin: ConnectionOrigin) {
        match origin {
            ConnectionOrigin::Unknown => {}
            ConnectionOrigin::Loopback => self.lan -= 1,
            ConnectionOrigin::Lan(ip) => {
                self.lan -= 1;
                take_one(&mut self.hosts, ip);
            }
            ConnectionOrigin::Public(ip) => {
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

/// Counts down and removes an unused entry, so that the map never has more entries than there are
/// connections.
fn take_one(counts: &mut HashMap<IpAddr, usize>, ip: IpAddr) {
    if let Some(count) = counts.get_mut(&ip) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&ip);
        }
    }
}

/// Bans with their ends, bounded: the least recently used ban is forgotten first.
#[derive(Debug)]
pub(crate) struct BanTable<K> {
    capacity: usize,
    clock: u64,
    bans: HashMap<K, BanExpiry>,
    /// Keys by [`BanExpiry::used`], the oldest first.
    order: BTreeMap<u64, K>,
}

#[derive(Debug)]
struct BanExpiry {
    until: Instant,
    used: u64,
}

impl<K: Clone + Eq + Hash> BanTable<K> {
    /// Makes a table that remembers at most `capacity` bans.
    pub(crate) fn new(capacity: usize) -> Self {
        BanTable { capacity, clock: 0, bans: HashMap::new(), order: BTreeMap::new() }
    }

    /// Bans a key; a ban that already lasts longer keeps its end.
    pub(crate) fn ban(&mut self, who: K, until: Instant) {
        let until = self.remove(&who).map_or(until, |ban| ban.until.max(until));
        self.insert(who, until);
        while self.bans.len() > self.capacity {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.bans.remove(&oldest);
        }
    }

    #[cfg(test)]
    /// True if the key is banned.
    pub(crate) fn is_banned(&self, who: &K, now: Instant) -> bool {
        self.bans.get(who).is_some_and(|ban| now < ban.until)
    }

    /// True if the key is banned; records the visit as a use of the ban, and forgets a ban that is over.
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
        self.bans.insert(who, BanExpiry { until, used: self.clock });
    }

    fn remove(&mut self, who: &K) -> Option<BanExpiry> {
        let ban = self.bans.remove(who)?;
        self.order.remove(&ban.used);
        Some(ban)
    }
}
