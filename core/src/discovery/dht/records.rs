//! Provider records of a DHT server: which peer says that it holds which content.
//!
//! Anybody may announce, and may lie by the million. So the store is bounded, and shared among the subnets
//! that announce. If there is no room, a subnet with fewer records takes a place from the subnet with the
//! most records there; otherwise a record of the same subnet gives way, at random. A flood therefore pushes
//! out its own records, and a crowd from one office is represented by a changing sample. libp2p's stock store
//! instead keeps the first twenty records of a key for as long as they renew, and is full for ever after
//! 1,024 keys.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use libp2p::kad::store::{Error, RecordStore, Result};
use libp2p::kad::{ProviderRecord, Record, RecordKey};
use libp2p::{Multiaddr, PeerId};

use super::mark::unmark;
use crate::distance::Distance;
use crate::limits;
use crate::net::address::{class_of, endpoint, split_peer};
use crate::wire::tracker::SwarmKey;

/// DHT server addresses that are kept for a holder that is a server itself.
const SERVER_ADDRS: usize = 2;
/// Time between removals of expired records.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// Subnet a record came from: a /24 or /48 of the internet, or one host of a private network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RecordSubnet(u128);

impl RecordSubnet {
    /// Returns the subnet of an address.
    pub(super) fn of(ip: IpAddr) -> Self {
        let near = class_of(ip) != Distance::Wan;
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self(u128::from(u32::from(ip) & if near { u32::MAX } else { u32::MAX << 8 })),
            IpAddr::V6(ip) => Self(u128::from(ip) & if near { u128::MAX } else { u128::MAX << 80 }),
        }
    }
}

#[derive(Debug)]
struct KnownProvider {
    provider: PeerId,
    addresses: Vec<Multiaddr>,
    expires: Instant,
    origin: RecordSubnet,
}

/// Requests of others that were not carried out, by reason. The protocol has no answer for the first three.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct RefusedRecords {
    /// Records without an address of sessions.
    no_address: u64,
    /// Records under a key that is no content's.
    no_key: u64,
    /// Records for which others did not give way.
    no_room: u64,
    /// Values to be stored, which this DHT has not. The request gets no answer.
    values: u64,
}

impl RefusedRecords {
    /// Returns the counts with their names for a person.
    pub(super) fn rows(self) -> Vec<(String, u64)> {
        let rows = [
            ("records without an address of sessions", self.no_address),
            ("records under keys that are not of content", self.no_key),
            ("records without room", self.no_room),
            ("values, which are not kept", self.values),
        ];
        rows.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
    }
}

/// Bounded store of provider records.
#[derive(Debug)]
pub(super) struct ProviderStore {
    local: PeerId,
    /// Contents that this node itself holds.
    own: BTreeSet<SwarmKey>,
    told: BTreeMap<SwarmKey, Vec<KnownProvider>>,
    /// The records in `told`, by subnet.
    by_origin: BTreeMap<RecordSubnet, BTreeSet<(SwarmKey, PeerId)>>,
    /// Subnets by their number of records, with a random number that orders equals.
    largest: BTreeSet<(usize, u64, RecordSubnet)>,
    total: usize,
    most: usize,
    lot: RandomState,
    drawn: u64,
    swept: Instant,
    /// IP addresses of the connected peers. Only the provider itself may announce itself, so its connection
    /// shows the origin of a record.
    from: HashMap<PeerId, IpAddr>,
    refused: RefusedRecords,
}

impl ProviderStore {
    /// Makes an empty store for this node, which keeps at most `most` records of others.
    pub(super) fn new(local: PeerId, most: usize) -> Self {
        Self {
            local,
            own: BTreeSet::new(),
            told: BTreeMap::new(),
            by_origin: BTreeMap::new(),
            largest: BTreeSet::new(),
            total: 0,
            most,
            lot: RandomState::new(),
            drawn: 0,
            swept: Instant::now(),
            from: HashMap::new(),
            refused: RefusedRecords::default(),
        }
    }

    /// Returns the number of records of others.
    pub(super) const fn len(&self) -> usize {
        self.total
    }

    /// Records that a peer is connected from this address.
    pub(super) fn met(&mut self, peer: PeerId, ip: IpAddr) {
        self.from.insert(peer, ip);
    }

    /// Records that a peer is connected no longer.
    pub(super) fn left(&mut self, peer: &PeerId) {
        self.from.remove(peer);
    }

    /// Returns true if a peer is connected.
    pub(super) fn is_met(&self, peer: &PeerId) -> bool {
        self.from.contains_key(peer)
    }

    /// Returns the requests that were not carried out.
    pub(super) const fn refused(&self) -> RefusedRecords {
        self.refused
    }

    /// Stores the record of a peer in this subnet, if there is room or another record gives way. Returns
    /// false, and counts it, if the record is not stored.
    pub(super) fn tell(&mut self, record: ProviderRecord, origin: RecordSubnet, now: Instant) -> bool {
        let Some(key) = read_key(&record.key) else {
            self.refused.no_key += 1;
            return false;
        };
        if now.duration_since(self.swept) >= SWEEP_EVERY {
            self.swept = now;
            self.sweep(now);
        }
        let ProviderRecord { provider, addresses, .. } = record;
        let addresses = kept(addresses);
        if addresses.is_empty() {
            self.refused.no_address += 1;
            return false;
        }
        let expires = now + limits::DHT_EXPIRES;
        let told = KnownProvider { provider, addresses, expires, origin };
        self.forget(key, provider);
        let gives_way = if self.told.get(&key).map_or(0, Vec::len) >= limits::DHT_PROVIDERS {
            self.victim_at(key, origin).map(|provider| (key, provider))
        } else if self.total >= self.most {
            self.victim(origin)
        } else {
            None
        };
        if let Some((key, provider)) = gives_way {
            self.forget(key, provider);
        }
        if self.total >= self.most {
            self.refused.no_room += 1;
            return false;
        }
        self.told.entry(key).or_default().push(told);
        self.total += 1;
        self.count(origin, |all| all.insert((key, provider)));
        true
    }

    /// Chooses the provider whose record of this key gives way to one from this subnet.
    fn victim_at(&mut self, key: SwarmKey, origin: RecordSubnet) -> Option<PeerId> {
        let draw = self.draw();
        let here = self.told.get(&key).map_or(&[][..], Vec::as_slice);
        let mut counts: BTreeMap<RecordSubnet, usize> = BTreeMap::new();
        here.iter().for_each(|told| *counts.entry(told.origin).or_default() += 1);
        let most = counts.values().copied().max().unwrap_or(0);
        let own = counts.get(&origin).copied().unwrap_or(0);
        let gives = |told: &KnownProvider| match own < most {
            true => counts.get(&told.origin) == Some(&most),
            false => told.origin == origin,
        };
        let gives: Vec<&KnownProvider> = here.iter().filter(|told| gives(told)).collect();
        gives.get(draw as usize % gives.len().max(1)).map(|told| told.provider)
    }

    /// Chooses the record, of any key, that gives way to one from this subnet.
    fn victim(&mut self, origin: RecordSubnet) -> Option<(SwarmKey, PeerId)> {
        let mut from = [0; 32];
        from[..8].copy_from_slice(&self.draw().to_be_bytes());
        let own = self.by_origin.get(&origin).map_or(0, BTreeSet::len);
        let (most, _, largest) = self.largest.last().copied()?;
        let all = self.by_origin.get(if own < most { &largest } else { &origin })?;
        let next = all.iter().find(|(key, _)| *key >= from);
        next.or_else(|| all.first()).copied()
    }

    fn draw(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(1);
        self.lot.hash_one(self.drawn)
    }

    fn forget(&mut self, key: SwarmKey, provider: PeerId) {
        let Some(here) = self.told.get_mut(&key) else { return };
        let Some(at) = here.iter().position(|told| told.provider == provider) else { return };
        let origin = here.swap_remove(at).origin;
        if here.is_empty() {
            self.told.remove(&key);
        }
        self.total -= 1;
        self.count(origin, |all| all.remove(&(key, provider)));
    }

    fn count(
        &mut self,
        origin: RecordSubnet,
        change: impl FnOnce(&mut BTreeSet<(SwarmKey, PeerId)>) -> bool,
    ) {
        let all = self.by_origin.entry(origin).or_default();
        // A random number decides among equals.
        let lot = self.lot.hash_one(origin);
        self.largest.remove(&(all.len(), lot, origin));
        change(all);
        if all.is_empty() {
            self.by_origin.remove(&origin);
        } else {
            self.largest.insert((all.len(), lot, origin));
        }
    }

    fn sweep(&mut self, now: Instant) {
        let old = |(key, here): (&SwarmKey, &Vec<KnownProvider>)| -> Vec<(SwarmKey, PeerId)> {
            here.iter().filter(|told| told.expires <= now).map(|told| (*key, told.provider)).collect()
        };
        let expired: Vec<(SwarmKey, PeerId)> = self.told.iter().flat_map(old).collect();
        expired.into_iter().for_each(|(key, provider)| self.forget(key, provider));
    }
}

/// Returns the useful addresses of a holder, few of each kind: for its sessions, and for its DHT server.
/// Empty if there is no address for sessions.
fn kept(addresses: Vec<Multiaddr>) -> Vec<Multiaddr> {
    let short = |addr: &Multiaddr| addr.len() <= limits::ADDR_BYTES;
    let (marked, others): (Vec<Multiaddr>, Vec<Multiaddr>) =
        addresses.into_iter().filter(short).partition(|addr| unmark(addr).is_some());
    let marked = marked.into_iter().filter(|addr| unmark(addr).as_ref().and_then(endpoint).is_some());
    let mut kept: Vec<Multiaddr> = marked.take(limits::DHT_HOLDER_ADDRS).collect();
    if !kept.is_empty() {
        let servers = others.into_iter().filter(|addr| endpoint(&split_peer(addr).0).is_some());
        kept.extend(servers.take(SERVER_ADDRS));
    }
    kept
}

/// Reads a key; `None` if it is not a hash of 32 bytes.
fn read_key(key: &RecordKey) -> Option<SwarmKey> {
    key.as_ref().try_into().ok()
}

impl RecordStore for ProviderStore {
    type RecordsIter<'a> = std::iter::Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = std::iter::Empty<Cow<'a, ProviderRecord>>;

    /// This store holds no values.
    fn get(&self, _: &RecordKey) -> Option<Cow<'_, Record>> {
        None
    }

    fn put(&mut self, _: Record) -> Result<()> {
        self.refused.values += 1;
        Err(Error::ValueTooLarge)
    }

    fn remove(&mut self, _: &RecordKey) {}

    fn records(&self) -> Self::RecordsIter<'_> {
        std::iter::empty()
    }

    /// Stores what this node itself provides, and what a connected peer does.
    fn add_provider(&mut self, record: ProviderRecord) -> Result<()> {
        let own = record.provider == self.local;
        let origin = self.from.get(&record.provider).map(|ip| RecordSubnet::of(*ip));
        let stored = match (read_key(&record.key), origin) {
            (Some(key), _) if own => self.own.insert(key) || self.own.contains(&key),
            (_, Some(origin)) => self.tell(record, origin, Instant::now()),
            _ => false,
        };
        if stored { Ok(()) } else { Err(Error::MaxProvidedKeys) }
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let Some(read) = read_key(key) else { return Vec::new() };
        let own = self.own.contains(&read).then(|| ProviderRecord::new(key.clone(), self.local, Vec::new()));
        let told = self.told.get(&read).into_iter().flatten().map(|told| ProviderRecord {
            key: key.clone(),
            provider: told.provider,
            expires: Some(told.expires),
            addresses: told.addresses.clone(),
        });
        own.into_iter().chain(told).collect()
    }

    /// The plan decides when to provide again, so that libp2p need not.
    fn provided(&self) -> Self::ProvidedIter<'_> {
        std::iter::empty()
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        let Some(key) = read_key(key) else { return };
        if *provider == self.local {
            self.own.remove(&key);
        } else {
            self.forget(key, *provider);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::mark::mark;
    use super::*;

    fn from(ip: &str) -> RecordSubnet {
        RecordSubnet::of(ip.parse().unwrap())
    }

    fn record(number: u32) -> ProviderRecord {
        let key = *blake3::hash(&number.to_le_bytes()).as_bytes();
        ProviderRecord::new(key.to_vec(), PeerId::random(), vec![address()])
    }

    fn address() -> Multiaddr {
        mark(&"/ip4/45.1.2.3/tcp/4001".parse().unwrap())
    }

    fn record_of(number: u32, provider: PeerId) -> ProviderRecord {
        ProviderRecord { provider, ..record(number) }
    }

    #[test]
    fn networks_are_counted_and_hosts_of_a_private_one() {
        assert_eq!(from("45.1.2.3"), from("45.1.2.99"));
        assert_ne!(from("45.1.2.3"), from("45.1.3.3"));
        assert_ne!(from("10.1.2.3"), from("10.1.2.4"));
        assert_eq!(from("2a0e:1:2:3::1"), from("2a0e:1:2:4::1"));
        assert_ne!(from("2a0e:1:2:3::1"), from("2a0e:1:3:3::1"));
    }

    /// D31: a flood from one subnet, before and after the honest peer announces.
    #[test]
    fn d31_a_flood_pushes_out_itself() {
        let (honest, now) = (PeerId::random(), Instant::now());
        let mut records = ProviderStore::new(PeerId::random(), 1000);
        let found = |records: &ProviderStore| {
            records.providers(&record(0).key).iter().any(|record| record.provider == honest)
        };
        (0..100).for_each(|_| _ = records.tell(record(0), from("45.9.9.9"), now));
        records.tell(record_of(0, honest), from("45.1.1.1"), now);
        assert!(found(&records), "it takes the place of one of the flood");
        for number in 0..50_000 {
            records.tell(record(0), from("45.9.9.8"), now);
            records.tell(record(number), from("45.9.9.7"), now);
        }
        // The last record of another key may have taken one of these places: 2 % of the store are of this
        // key.
        (0..10).for_each(|_| _ = records.tell(record(0), from("45.9.9.8"), now));
        assert!(found(&records));
        assert_eq!(records.providers(&record(0).key).len(), limits::DHT_PROVIDERS);
        assert_eq!(records.len(), 1000);
        // A newcomer of another subnet gets a place in a full store, and keeps it.
        let late = record_of(77_777, honest);
        records.tell(late.clone(), from("45.2.2.2"), now);
        (0..5000).for_each(|number| _ = records.tell(record(50_000 + number), from("45.9.9.7"), now));
        assert_eq!(records.providers(&late.key).len(), 1);
        assert_eq!(records.len(), 1000);
    }

    /// A crowd of one subnet is not represented by its first twenty.
    #[test]
    fn a_crowd_is_sampled_by_the_lot() {
        let now = Instant::now();
        let mut records = ProviderStore::new(PeerId::random(), 1000);
        let crowd: Vec<PeerId> = (0..200).map(|_| PeerId::random()).collect();
        crowd.iter().for_each(|peer| _ = records.tell(record_of(1, *peer), from("45.1.1.1"), now));
        let kept: Vec<PeerId> = records.providers(&record(1).key).iter().map(|r| r.provider).collect();
        assert_eq!(kept.len(), limits::DHT_PROVIDERS);
        assert!(crowd[..20].iter().filter(|peer| kept.contains(peer)).count() < 15);
        // A peer that announces again is stored once.
        kept.iter().for_each(|peer| _ = records.tell(record_of(1, *peer), from("45.1.1.1"), now));
        assert_eq!(records.len(), limits::DHT_PROVIDERS);
    }

    /// D31: a message may hold many addresses, but few are kept.
    #[test]
    fn d31_few_addresses_are_kept_and_none_that_says_nothing() {
        let now = Instant::now();
        let mut records = ProviderStore::new(PeerId::random(), 1000);
        let plain: Multiaddr = "/ip4/45.1.2.3/tcp/4772".parse().unwrap();
        let many = [vec![Multiaddr::empty(); 5000], vec![plain.clone(); 9], vec![address(); 50]].concat();
        records.tell(ProviderRecord { addresses: many, ..record(1) }, from("45.1.1.1"), now);
        let kept = &records.providers(&record(1).key)[0].addresses;
        assert_eq!(kept.len(), limits::DHT_HOLDER_ADDRS + SERVER_ADDRS);
        assert!(!records.tell(ProviderRecord { addresses: vec![plain], ..record(2) }, from("45.1.1.1"), now));
        assert_eq!(records.len(), 1, "no session is reached there");
        assert!(records.put(Record::new(record(3).key, vec![1])).is_err());
        let refused = records.refused().rows();
        let count =
            |what: &str| refused.iter().find(|(name, _)| name.contains(what)).map(|(_, count)| *count);
        assert_eq!((count("an address of sessions"), count("values")), (Some(1), Some(1)));
    }

    #[test]
    fn what_is_old_goes_and_the_own_stays() {
        let (local, now) = (PeerId::random(), Instant::now());
        let mut records = ProviderStore::new(local, 1000);
        records.add_provider(record_of(1, local)).unwrap();
        assert!(records.add_provider(record(1)).is_err(), "a peer that is not connected");
        let near = PeerId::random();
        records.met(near, "45.1.1.9".parse().unwrap());
        records.add_provider(record_of(9, near)).unwrap();
        records.remove_provider(&record(9).key, &near);
        records.left(&near);
        assert!(records.add_provider(record_of(9, near)).is_err() && !records.is_met(&near));
        records.tell(record(1), from("45.1.1.1"), now);
        assert_eq!(records.providers(&record(1).key).len(), 2);
        let later = now + limits::DHT_EXPIRES;
        records.tell(record(2), from("45.1.1.1"), later);
        assert_eq!((records.providers(&record(1).key).len(), records.len()), (1, 1));
        records.remove_provider(&record(1).key, &local);
        assert!(records.providers(&record(1).key).is_empty());
        let odd = ProviderRecord::new(vec![1; 31], PeerId::random(), vec![address()]);
        records.tell(odd, from("45.1.1.1"), now);
        assert_eq!(records.len(), 1, "that is no key of ours");
    }
}
