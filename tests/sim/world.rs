//! Hosts and time: downloads and uploads as they are shipped, told what happens and obeyed (see `sessions`).
//!
//! Control messages take latency only, in order within a connection; what a chunk's blocks take is `links`'s.
//! What goes wrong is `faults`'s, what must hold whatever goes wrong `check`'s.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::rc::Rc;
use std::time::Duration;

use swarm_core::content::bitmap::Bitmap;
use swarm_core::content::geometry::Geometry;
use swarm_core::exchange::{Downloads, Outcome as ChunkOutcome, Uploads};
use swarm_core::random::Random;
use swarm_core::schedule::{ChunkOrder, PeerKey};
use swarm_core::wire::Message;

use super::check::Books;
use super::host_blob::HostBlob;
use super::links::{Block, Hop, Links};
use super::scenario::{Finish, Habit, Outcome, Scenario, Spec, Time};
use super::sessions::{OPEN, Session};
use super::table::PLAYS_AFTER;

/// A session's key is its connection's number above the other host's.
const HOST_BITS: u32 = 20;

#[derive(Debug)]
pub(super) enum Event {
    Message {
        to: usize,
        from: usize,
        conn: u64,
        message: Message,
    },
    Hop(Hop),
    Tick {
        host: usize,
        life: u32,
    },
    /// A host notices that a connection is gone.
    Down {
        host: usize,
        peer: usize,
        conn: u64,
    },
    /// A host has all, and stops fetching.
    Finished {
        host: usize,
        life: u32,
    },
    /// The next fault of the scenario.
    Fault(usize),
    /// A host starts, with what its disk holds.
    Start {
        host: usize,
        disk: bool,
    },
    /// A host looks for neighbours.
    Seek {
        host: usize,
        life: u32,
    },
    /// One byte of a chunk arrives, and it may be long until the next.
    Drip(Block),
    /// A host that does not keep the rules does something.
    Mischief {
        host: usize,
        life: u32,
    },
}

pub(super) struct Host {
    pub(super) spec: Spec,
    pub(super) downloads: Downloads<HostBlob>,
    pub(super) uploads: Uploads<HostBlob>,
    /// Verified chunks: the truth.
    pub(super) have: Rc<RefCell<Bitmap>>,
    /// When each was verified, for what a crash leaves on the disk.
    pub(super) written: Vec<(Time, u32)>,
    pub(super) alive: bool,
    /// Grows with every start and crash: what was meant for an earlier life is void.
    pub(super) life: u32,
    /// When its last life ended.
    pub(super) crashed: Time,
    pub(super) came: Time,
    pub(super) done: Option<Time>,
    pub(super) sessions: BTreeMap<usize, Session>,
    pub(super) banned: BTreeSet<usize>,
    pub(super) books: Books,
    /// Bytes from other sites.
    pub(super) imported: u64,
    pub(super) tick: bool,
}

/// A run.
#[allow(missing_debug_implementations)]
pub struct World {
    pub(super) scenario: Scenario,
    pub(super) geometry: Geometry,
    pub(super) now: Time,
    pub(super) random: Random,
    pub(super) hosts: Vec<Host>,
    pub(super) links: Links,
    pub(super) outcome: Outcome,
    /// Faults that have not ended.
    pub(super) pending: usize,
    /// See [`World::ended`].
    pub(super) ends: u64,
    /// Connections that carry nothing any longer, whoever knows it.
    pub(super) broken: BTreeSet<u64>,
    /// Messages take so much longer until then.
    pub(super) delay: (Time, Time),
    /// Every chunk was at some other host: the origin may go.
    pub(super) spread: Option<Bitmap>,
    pub(super) calm: bool,
    /// Whether each message is written and read as on the wire.
    pub(super) codec: bool,
    /// Where each message is shown.
    pub trace: Option<Trace>,
    conns: u64,
    order: u64,
    events: BinaryHeap<Reverse<(Time, u64, usize)>>,
    slab: Vec<Option<Event>>,
    free: Vec<usize>,
    pub(super) hops: Vec<(Time, Hop)>,
}

/// Shows one line.
pub type Trace = fn(&str);

pub(super) const fn peer_key(conn: u64, host: usize) -> PeerKey {
    PeerKey(conn << HOST_BITS | host as u64)
}

pub(super) const fn split(peer: PeerKey) -> (usize, u64) {
    ((peer.0 & ((1 << HOST_BITS) - 1)) as usize, peer.0 >> HOST_BITS)
}

/// When a reader had the first chunk, and how late the latest was: see [`Finish::read`].
fn read_along(written: &[(Time, u32)], chunk: u64, rate: u64) -> (f64, f64) {
    let mut times: Vec<(u32, Time)> = written.iter().map(|(at, chunk)| (*chunk, *at)).collect();
    times.sort_unstable();
    let (mut reached, mut latest) = (0.0_f64, 0.0_f64);
    for (number, at) in &times {
        reached = reached.max(*at as f64 / 1e9);
        let due = PLAYS_AFTER + f64::from(*number) * chunk as f64 / rate as f64;
        latest = latest.max(reached / due);
    }
    (times.first().map_or(0.0, |(_, at)| *at as f64 / 1e9), latest)
}

impl Host {
    pub(super) const fn end_life(&mut self, now: Time) {
        self.life += 1;
        self.tick = false;
        self.crashed = now;
    }
}

impl World {
    /// Everybody who does not come later is there and connected at the start; only the origin has anything.
    ///
    /// # Panics
    /// For a blob longer than [`swarm_core::limits::BLOB_BYTES`].
    #[must_use]
    pub fn new(scenario: Scenario) -> Self {
        let geometry = Geometry::new(scenario.len).expect("a length that can be");
        let n = geometry.chunks();
        let hosts = scenario.hosts.iter().enumerate().map(|(i, spec)| Host {
            spec: spec.clone(),
            downloads: Downloads::new(scenario.seed.wrapping_mul(1_000_003) + i as u64),
            uploads: Uploads::default(),
            have: Rc::new(RefCell::new(if spec.origin { Bitmap::full(n) } else { Bitmap::new(n) })),
            written: Vec::new(),
            alive: spec.joins.is_none(),
            life: 0,
            crashed: 0,
            came: 0,
            done: None,
            sessions: BTreeMap::new(),
            banned: BTreeSet::new(),
            books: Books::default(),
            imported: 0,
            tick: false,
        });
        let mut world = Self {
            hosts: hosts.collect(),
            links: Links::new(&scenario, geometry.chunk_size() / scenario.blocks),
            geometry,
            now: 0,
            random: Random::new(scenario.seed ^ 0x5eed),
            outcome: Outcome::default(),
            pending: scenario.faults.len() + scenario.hosts.iter().filter(|h| h.joins.is_some()).count(),
            ends: 0,
            broken: BTreeSet::new(),
            delay: (0, 0),
            spread: None,
            calm: scenario.is_calm(),
            codec: false,
            trace: None,
            conns: 0,
            order: 0,
            events: BinaryHeap::new(),
            slab: Vec::new(),
            free: Vec::new(),
            hops: Vec::new(),
            scenario,
        };
        world.start();
        world
    }

    fn start(&mut self) {
        for host in 0..self.hosts.len() {
            if self.hosts[host].alive {
                self.begin(host);
            } else if let Some(at) = self.hosts[host].spec.joins {
                self.push(at, Event::Start { host, disk: false });
            }
        }
        for fault in 0..self.scenario.faults.len() {
            self.push(self.scenario.faults[fault].0, Event::Fault(fault));
        }
        let count = self.hosts.len();
        let mut linked = BTreeSet::new();
        if self.scenario.link_names_origin {
            let origin = |h: &&usize| self.hosts[**h].spec.origin;
            let all: Vec<usize> = (0..count).filter(|h| self.hosts[*h].alive).collect();
            for (o, other) in all.iter().filter(origin).flat_map(|o| all.iter().map(move |h| (*o, *h))) {
                if o != other && self.hosts[o].spec.site != self.hosts[other].spec.site {
                    linked.insert((o.min(other), o.max(other)));
                }
            }
        }
        for a in (0..count).filter(|a| self.hosts[*a].alive) {
            let site = self.hosts[a].spec.site;
            let others = || (0..count).filter(|b| *b != a && self.hosts[*b].alive);
            let near: Vec<usize> = others().filter(|b| self.hosts[*b].spec.site == site).collect();
            let far: Vec<usize> = others().filter(|b| self.hosts[*b].spec.site != site).collect();
            // A host looks for others until it has enough; who came to it counts.
            let (near_want, far_want) = (self.scenario.neighbours, self.scenario.far_neighbours);
            for (pool, want) in [(near, near_want), (far, far_want)] {
                let linked_to =
                    |linked: &BTreeSet<(usize, usize)>, b: usize| linked.contains(&(a.min(b), a.max(b)));
                let mut degree = pool.iter().filter(|b| linked_to(&linked, **b)).count();
                while degree < want.min(pool.len()) {
                    let b = pool[self.random.below(pool.len())];
                    degree += usize::from(linked.insert((a.min(b), a.max(b))));
                }
            }
        }
        for (a, b) in linked {
            self.connect(a, b);
        }
    }

    /// A host that is alive begins to give and to fetch what it has, and what it has not.
    pub(super) fn begin(&mut self, host: usize) {
        let (habit, life) = (self.hosts[host].spec.habit, self.hosts[host].life);
        let (source, shown) = (self.source(host), self.advertised(host));
        let boasts = shown.boasts;
        let order =
            if self.hosts[host].spec.reads.is_some() { ChunkOrder::Ascending } else { ChunkOrder::Rarest };
        // Who says that it has what it has not keeps two books.
        if source.origin || boasts {
            self.exchange(host, |_, uploads, effects| uploads.share(shown, &OPEN, effects));
        }
        if !source.origin {
            let access = (habit != Habit::FreeRider && !boasts).then_some(OPEN);
            self.exchange(host, |downloads, uploads, effects| {
                downloads.start(&source, (order, access), effects, uploads);
            });
        }
        if !self.calm {
            self.push(self.now, Event::Seek { host, life });
            if matches!(habit, Habit::Usurper | Habit::Nagger | Habit::Hoarder) {
                self.push(self.now, Event::Mischief { host, life });
            }
        }
    }

    pub(super) fn connect(&mut self, a: usize, b: usize) {
        self.conns += 1;
        let conn = self.conns;
        let sites = [a, b].map(|host| self.hosts[host].spec.site);
        let local = sites[0] == sites[1];
        for (x, y) in [(a, b), (b, a)] {
            let session = Session { conn, local, arrives: 0 };
            let (class, key, now) = (session.class(), peer_key(conn, y), Duration::from_nanos(self.now));
            let elsewhere = (!local).then(|| self.hosts[y].spec.site.into());
            let took = Duration::from_nanos(2 * self.links.latency(x, y));
            let host = &mut self.hosts[x];
            host.sessions.insert(y, session);
            host.downloads.peer_up(key, class, elsewhere, now);
            host.downloads.round_trip(key, took, now);
        }
        for (x, y) in [(a, b), (b, a)] {
            let key = peer_key(conn, y);
            self.exchange(x, |downloads, _, effects| downloads.ask_newcomer(key, None, effects));
        }
    }

    /// It has not got all, and has not stopped fetching.
    pub(super) fn wants(&self, host: usize) -> bool {
        !self.hosts[host].spec.origin && self.hosts[host].done.is_none()
    }

    pub(super) fn push(&mut self, at: Time, event: Event) {
        self.order += 1;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slab[slot] = Some(event);
                slot
            }
            None => {
                self.slab.push(Some(event));
                self.slab.len() - 1
            }
        };
        self.events.push(Reverse((at, self.order, slot)));
    }

    pub(super) fn push_hops(&mut self) {
        let mut hops = std::mem::take(&mut self.hops);
        hops.drain(..).for_each(|(at, hop)| self.push(at, Event::Hop(hop)));
        self.hops = hops;
    }

    /// A host's session with another is the one this came on.
    pub(super) fn hears(&self, to: usize, from: usize, conn: u64) -> bool {
        (self.calm || !self.broken.contains(&conn))
            && self.hosts[to].sessions.get(&from).is_some_and(|s| s.conn == conn)
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Tick { host, life } => {
                if self.hosts[host].life == life {
                    self.hosts[host].tick = false;
                    self.exchange(host, |downloads, uploads, effects| downloads.tick(effects, uploads));
                }
            }
            Event::Hop(hop) => {
                let there = self.links.hop(hop, self.now, &mut self.hops);
                self.push_hops();
                match there {
                    Some(Hop::There(block)) => self.arrived(block),
                    Some(Hop::Left(block)) if self.hears(block.from, block.to, block.conn) => {
                        let peer = peer_key(block.conn, block.to);
                        self.sent(block.from, peer, block.blob, true);
                    }
                    _ => {}
                }
            }
            Event::Message { to, from, conn, message } => {
                if self.hears(to, from, conn) {
                    self.message(to, from, conn, message);
                }
            }
            Event::Finished { host, life } => {
                if self.hosts[host].life == life {
                    self.finished(host);
                }
            }
            other => self.trouble(&other),
        }
    }

    pub(super) fn arrived(&mut self, block: Block) {
        let Block { to, from, conn, chunk, bytes, last, bad, .. } = block;
        if let Some(trace) = self.trace {
            trace(&format!("{:>12} {from} => {to} chunk {chunk}: {bytes} there", self.now));
        }
        if !self.hears(to, from, conn) {
            return;
        }
        let peer = peer_key(conn, from);
        if self.hosts[to].spec.site != self.hosts[from].spec.site {
            self.hosts[to].imported += bytes;
        }
        if !self.calm && !self.hosts[to].books.expects(peer, chunk) {
            // Nobody asked for it any longer: read and thrown away.
            return;
        }
        if !last {
            return self.received(block, None);
        }
        self.hosts[to].books.ended(peer, chunk);
        if bad {
            return self.received(block, Some(ChunkOutcome::Bad));
        }
        self.hosts[to].have.borrow_mut().set(chunk);
        self.hosts[to].written.push((self.now, chunk));
        if let Some(spread) = &mut self.spread {
            spread.set(chunk);
            self.origin_may_go();
        }
        self.received(block, Some(ChunkOutcome::Written));
    }

    /// The next event before `limit` is carried out. False if there was none.
    pub(super) fn step(&mut self, limit: Time) -> bool {
        let Some(Reverse((at, _, slot))) = self.events.pop() else { return false };
        if at > limit {
            return false;
        }
        self.now = at;
        let event = self.slab[slot].take().expect("each event happens once");
        self.free.push(slot);
        self.event(event);
        true
    }

    /// Hosts that are there, want the blob, and keep the rules.
    pub(super) fn honest(&self) -> impl Iterator<Item = (usize, &Host)> {
        let honest = |(_, h): &(usize, &Host)| h.alive && !h.spec.origin && h.spec.habit == Habit::Honest;
        self.hosts.iter().enumerate().filter(honest)
    }

    /// Nothing is left to happen that matters.
    pub(super) fn is_over(&self) -> bool {
        self.pending == 0 && self.honest().all(|(_, h)| h.done.is_some())
    }

    /// Runs until all have it, or `limit` seconds have passed.
    #[must_use]
    pub fn run(mut self, limit: f64) -> Outcome {
        self.run_until(limit);
        self.close()
    }

    pub(super) fn run_until(&mut self, limit: f64) {
        let mut done = 0;
        // Who is done is counted only after something ended: the count takes a look at each host.
        while self.outcome.violation.is_none() && self.step((limit * 1e9) as Time) {
            let ended = self.ended();
            if ended != done {
                done = ended;
                if self.is_over() {
                    break;
                }
            }
        }
    }

    /// The outcome of the run.
    pub(super) fn close(mut self) -> Outcome {
        let len = self.scenario.len as f64;
        let seconds = |at: Time| at as f64 / 1e9;
        let mut o = std::mem::take(&mut self.outcome);
        o.finishes = self
            .honest()
            .map(|(host, h)| Finish {
                host,
                came: seconds(h.came),
                done: h.done.map(seconds),
                read: h.spec.reads.map(|rate| read_along(&h.written, self.geometry.chunk_size(), rate)),
            })
            .collect();
        for (i, h) in self.hosts.iter().enumerate() {
            let ((sent, got), have) = (self.links.bytes(i), h.have.borrow());
            if h.spec.origin {
                o.origin += sent as f64 / len;
            } else {
                o.duplicates += (got as f64 - f64::from(have.count()) / f64::from(have.len()) * len) / len;
            }
        }
        o.borders_in = self.links.borders_in().map(|bytes| bytes as f64 / len).collect();
        o
    }
}
