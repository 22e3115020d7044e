//! Faults: crashes, broken connections, cuts, and hosts that break the rules; and the search for new
//! neighbours.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use swarm_core::content::bitmap::Bitmap;
use swarm_core::exchange::{Downloads, Uploads};
use swarm_core::limits;
use swarm_core::random::Random;
use swarm_core::wire::{GatewayBeat, Handle, Have, Message};

use super::check::Books;
use super::host_blob::{HostBlob, ID};
use super::links::Block;
use super::scenario::{Fault, Habit, Time};
use super::sessions::{OPEN, Session};
use super::world::{Event, World, peer_key};

const MS: Time = 1_000_000;
/// The number that a host gives the want it begins with.
const FIRST_WANT: Handle = 1;
/// Often enough that it is never silent for too long.
const DRIP_EVERY: Time = 2000 * MS;
/// A host that has not got all looks for neighbours so often.
const SEEK_EVERY: Time = 500 * MS;
/// Neighbours of a host at most, whoever looked for whom.
const CROWD: usize = limits::OUTBOUND;
/// Chunks that are on the disk for sure after so long.
const FLUSHED: Time = limits::FLUSH_EVERY.as_nanos() as Time;
/// Longest time until neighbours notice that a machine has vanished.
const SILENCE: Time = (limits::SESSION_SILENCE.as_nanos() + limits::PING_EVERY.as_nanos()) as Time;

impl World {
    /// A host's blob.
    pub(super) fn source(&self, host: usize) -> HostBlob {
        let h = &self.hosts[host];
        let (geometry, origin, have) = (self.geometry, h.spec.origin, Rc::clone(&h.have));
        HostBlob { geometry, origin, boasts: false, have }
    }

    /// The blob as a host shows it to others.
    pub(super) fn advertised(&self, host: usize) -> HostBlob {
        let boasts = matches!(self.hosts[host].spec.habit, Habit::Silent | Habit::Overclaims | Habit::Drips);
        HostBlob { boasts, ..self.source(host) }
    }

    /// Completions, starts and ends so far: whether it is over changes only with these.
    pub(super) const fn ended(&self) -> u64 {
        self.ends
    }

    pub(super) fn trouble(&mut self, event: &Event) {
        match *event {
            Event::Down { host, peer, conn } => self.down(host, peer, conn),
            Event::Start { host, disk } => self.come(host, disk),
            Event::Seek { host, life } if self.hosts[host].life == life => self.seek(host),
            Event::Mischief { host, life } if self.hosts[host].life == life => self.mischief(host),
            Event::Drip(block) => self.drip(block),
            Event::Fault(number) => {
                let (_, fault) = self.scenario.faults[number].clone();
                self.fault(fault);
            }
            _ => {}
        }
    }

    fn fault(&mut self, fault: Fault) {
        self.over();
        match fault {
            Fault::Crash { host, disk, back } => self.crash(host, disk, back),
            Fault::Reset { one, other, one_after, other_after } => {
                let Some(conn) = self.hosts[one].sessions.get(&other).map(|s| s.conn) else { return };
                self.break_off(one, other, conn, one_after, other_after);
            }
            Fault::Cut { hosts, lasts } => self.cut(hosts, lasts),
            Fault::Delay { by, lasts } => self.delay = (self.now + lasts, by),
            Fault::OriginOnceSpread => {
                self.pending += 1;
                let mut spread = Bitmap::new(self.geometry.chunks());
                for h in self.hosts.iter().filter(|h| !h.spec.origin) {
                    spread = spread.or(&h.have.borrow());
                }
                self.spread = Some(spread);
                self.origin_may_go();
            }
            Fault::Importer { site } => {
                let of_site = self.honest().filter(|(_, h)| h.spec.site == site && h.done.is_none());
                let most = of_site.max_by_key(|(_, h)| h.imported).map(|(host, _)| host);
                if let Some(host) = most {
                    self.crash(host, false, None);
                }
            }
        }
    }

    fn over(&mut self) {
        self.pending -= 1;
        self.ends += 1;
    }

    /// Once every chunk is elsewhere, an origin that is to go goes.
    pub(super) fn origin_may_go(&mut self) {
        if self.spread.as_ref().is_some_and(Bitmap::is_full) {
            self.spread = None;
            self.over();
            for host in 0..self.hosts.len() {
                if self.hosts[host].spec.origin {
                    self.crash(host, false, None);
                }
            }
        }
    }

    fn crash(&mut self, host: usize, disk: bool, back: Option<Time>) {
        if !self.hosts[host].alive {
            return;
        }
        // A process that dies is noticed at once; a machine, when it is missed.
        let machine = self.random.below(2) == 1;
        let sessions = std::mem::take(&mut self.hosts[host].sessions);
        for (peer, session) in sessions {
            self.broken.insert(session.conn);
            let wait = if machine { self.random.below(SILENCE as usize) as Time } else { 0 };
            let at = self.now + self.links.latency(host, peer) + wait;
            self.push(at, Event::Down { host: peer, peer: host, conn: session.conn });
        }
        self.links.drop_queue(host, None);
        let seed = self.scenario.seed ^ (self.now << 8) ^ host as u64;
        let h = &mut self.hosts[host];
        (h.alive, h.books) = (false, Books::default());
        (h.downloads, h.uploads) = (Downloads::new(seed), Uploads::default());
        h.end_life(self.now);
        self.ends += 1;
        if let Some(back) = back {
            self.pending += 1;
            self.push(self.now + back, Event::Start { host, disk });
        }
    }

    fn come(&mut self, host: usize, disk: bool) {
        let n = self.geometry.chunks();
        let unsure = self.random.below(FLUSHED as usize + 1) as Time;
        let h = &mut self.hosts[host];
        let kept = |at: Time| disk && at + unsure <= h.crashed;
        h.written.retain(|(at, _)| kept(*at));
        if !h.spec.origin {
            let mut have = Bitmap::new(n);
            h.written.iter().for_each(|(_, chunk)| have.set(*chunk));
            h.have = Rc::new(RefCell::new(have));
        }
        (h.alive, h.done, h.came) = (true, None, self.now);
        self.begin(host);
        self.over();
    }

    /// A connection carries nothing any longer; each side notices after a while.
    fn break_off(&mut self, one: usize, other: usize, conn: u64, one_after: Time, other_after: Time) {
        self.broken.insert(conn);
        self.push(self.now + one_after, Event::Down { host: one, peer: other, conn });
        self.push(self.now + other_after, Event::Down { host: other, peer: one, conn });
    }

    fn down(&mut self, host: usize, peer: usize, conn: u64) {
        let h = &mut self.hosts[host];
        if h.sessions.get(&peer).is_none_or(|s| s.conn != conn) {
            return;
        }
        h.sessions.remove(&peer);
        let key = peer_key(conn, peer);
        h.books.forget(key);
        h.uploads.peer_down(key);
        self.links.drop_queue(host, Some(conn));
        self.exchange(host, |downloads, uploads, effects| downloads.peer_down(key, effects, uploads));
    }

    fn cut(&mut self, hosts: Vec<usize>, lasts: Time) {
        if lasts > SILENCE {
            for host in hosts.iter().copied() {
                let across: Vec<(usize, u64)> = self.hosts[host]
                    .sessions
                    .iter()
                    .filter(|(peer, _)| !hosts.contains(peer))
                    .map(|(peer, s)| (*peer, s.conn))
                    .collect();
                for (peer, conn) in across {
                    self.break_off(host, peer, conn, SILENCE, SILENCE);
                }
            }
        }
        self.links.cut(hosts, self.now + lasts);
    }

    pub(super) fn ban(&mut self, host: usize, (liar, conn): (usize, u64)) {
        if self.hosts[liar].spec.habit == Habit::Honest && self.hosts[host].spec.habit == Habit::Honest {
            self.violate(host, &format!("bans host {liar}, which keeps the rules"));
        }
        self.hosts[host].banned.insert(liar);
        self.break_off(host, liar, conn, 0, self.links.latency(host, liar));
    }

    /// A host has all: it no longer takes, and goes if it is of that kind.
    pub(super) fn finished(&mut self, host: usize) {
        self.ends += 1;
        let shown = (self.hosts[host].spec.habit != Habit::FreeRider).then(|| self.advertised(host));
        self.exchange(host, |downloads, uploads, effects| {
            downloads.stop(ID, effects, uploads);
            shown.into_iter().for_each(|blob| uploads.share(blob, &OPEN, effects));
        });
        if let Some(after) = self.hosts[host].spec.leaves {
            self.scenario.faults.push((self.now + after, Fault::Crash { host, disk: false, back: None }));
            self.pending += 1;
            self.push(self.now + after, Event::Fault(self.scenario.faults.len() - 1));
        }
    }

    /// Looks for neighbours as a node does: until it has enough, and for more while no neighbour has the
    /// chunks that it lacks.
    fn seek(&mut self, host: usize) {
        if !self.wants(host) {
            return;
        }
        let lacks = usize::from(self.hosts[host].downloads.lacks_holder());
        for (local, want) in [(true, self.scenario.neighbours), (false, self.scenario.far_neighbours)] {
            let site = self.hosts[host].spec.site;
            let here = |world: &Self, other: usize| (world.hosts[other].spec.site == site) == local;
            let now = Duration::from_nanos(self.now);
            let downloads = &self.hosts[host].downloads;
            let of_use = |(peer, s): (&usize, &Session)| downloads.gives(peer_key(s.conn, *peer), now);
            let sessions = self.hosts[host].sessions.iter();
            let known = sessions.filter(|(other, s)| here(self, **other) && of_use((other, s))).count();
            let want = if want > 0 { want.max(known + lacks) } else { 0 };
            let mut pool: Vec<usize> = (0..self.hosts.len())
                .filter(|other| here(self, *other) && self.may_meet(host, *other))
                .collect();
            for _ in known..want {
                if pool.is_empty() {
                    break;
                }
                let other = pool.swap_remove(self.random.below(pool.len()));
                self.connect(host, other);
            }
        }
        let life = self.hosts[host].life;
        self.push(self.now + SEEK_EVERY, Event::Seek { host, life });
    }

    fn may_meet(&self, host: usize, other: usize) -> bool {
        let (a, b) = (&self.hosts[host], &self.hosts[other]);
        host != other
            && b.alive
            && b.sessions.len() < CROWD
            && a.sessions.len() < CROWD
            && !(a.sessions.contains_key(&other) || b.sessions.contains_key(&host))
            && !(a.banned.contains(&other) || b.banned.contains(&host))
            && self.links.held(host, other, self.now).is_none()
    }

    /// A byte of a chunk, while its receiver waits for it.
    pub(super) fn drip(&mut self, block: Block) {
        let peer = peer_key(block.conn, block.from);
        if self.hears(block.to, block.from, block.conn)
            && self.hosts[block.to].books.expects(peer, block.chunk)
        {
            self.arrived(block);
            self.push(self.now + DRIP_EVERY, Event::Drip(block));
        }
    }

    fn mischief(&mut self, host: usize) {
        let (blob, n) = (FIRST_WANT, self.geometry.chunks() as usize);
        let mut random = Random::new(self.scenario.seed ^ self.now);
        let mut any = |below: usize| random.below(below) as u32;
        let sessions: Vec<_> = self.hosts[host].sessions.iter().map(|(p, s)| peer_key(s.conn, *p)).collect();
        let habit = self.hosts[host].spec.habit;
        for peer in sessions {
            let messages = match habit {
                Habit::Usurper => {
                    let beats = (0..4).map(|_| GatewayBeat {
                        tag: u64::from(any(usize::MAX)) << 32,
                        number: any(1 << 30),
                        whole: true,
                        age: 0,
                    });
                    vec![Message::Gateways { id: ID, beats: beats.collect() }]
                }
                Habit::Hoarder => {
                    let ask = |_| Message::Request { blob, first: any(n), count: 1 };
                    (0..64).map(ask).collect()
                }
                _ => {
                    let mut some = |of: u32| {
                        let mut bits = Bitmap::new(n as u32);
                        (0..of).for_each(|_| bits.set(any(n)));
                        Have::of(&bits)
                    };
                    let (add, drop) = (some(3), some(3));
                    let chunk = any(n);
                    vec![match any(5) {
                        0 => Message::Request { blob, first: chunk, count: 1 },
                        1 => Message::Refuse { blob, count: any(300), busy: chunk % 2 == 0 },
                        2 => Message::Need { blob, add, drop },
                        3 => Message::Cancel { blob, chunk },
                        // Its peers number their first wants so too.
                        _ => Message::Grant { blob, count: any(300), hint: Some(chunk) },
                    }]
                }
            };
            messages.into_iter().for_each(|message| self.send(host, peer, message));
        }
        let every = if habit == Habit::Hoarder { 3000 * MS } else { 300 * MS };
        let life = self.hosts[host].life;
        self.push(self.now + every, Event::Mischief { host, life });
    }
}
