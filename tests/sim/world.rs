//! Hosts with links, sites with borders, and time: everything around the scheduler that is not ours to decide.
//!
//! A chunk travels in blocks. A block leaves by its host's serial uplink, crosses the borders between two sites (serial,
//! one each way), takes its latency, and enters by a serial downlink. A sender works on its oldest chunk whose receiver
//! (and border) has no backlog: parallel TCP streams of which none starves the others. Control messages take latency only.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use swarm_core::content::bitmap::Bitmap;
use swarm_core::content::geometry::Geometry;
use swarm_core::schedule::pick::Random;
use swarm_core::schedule::{Beat, BlobKey, Failure, Input, Order, Output, PeerKey, Scheduler};
use swarm_core::wire::{Have, Message};

/// Nanoseconds since the start.
pub type Time = u64;

const BLOB: BlobKey = BlobKey(1);
/// A receiver with more than this many blocks waiting gets no more: TCP's window.
const BACKLOG: u64 = 4;

/// One machine.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Bytes per second out.
    pub up: u64,
    /// Bytes per second in.
    pub down: u64,
    /// Its place.
    pub site: u16,
    /// It has the blob from the start.
    pub origin: bool,
}

/// A line between a site and the rest of the world.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// Bytes per second each way.
    pub rate: u64,
}

/// What is simulated.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// All coin flips follow from it.
    pub seed: u64,
    /// The machines.
    pub hosts: Vec<Spec>,
    /// By site; `None` where nothing is thinner than the hosts' own links.
    pub lines: Vec<Option<Line>>,
    /// Bytes of the blob.
    pub len: u64,
    /// Blocks of a chunk: the more, the finer (and slower) the simulation.
    pub blocks: u64,
    /// One way, within a site.
    pub latency: Time,
    /// One way, between sites.
    pub far: Time,
    /// Neighbours a host looks for within its site.
    pub neighbours: usize,
    /// Neighbours it looks for in other sites.
    pub far_neighbours: usize,
}

#[derive(Debug)]
enum Event {
    Message {
        to: usize,
        from: usize,
        message: Message,
    },
    UpFree {
        host: usize,
    },
    /// A block reaches the line of its receiver's site.
    Line {
        to: usize,
        from: usize,
        chunk: u32,
        bytes: u64,
        last: bool,
    },
    /// And is through it.
    Through {
        to: usize,
        from: usize,
        chunk: u32,
        bytes: u64,
        last: bool,
    },
    /// A block reaches its receiver's downlink.
    Enter {
        to: usize,
        from: usize,
        chunk: u32,
        bytes: u64,
        last: bool,
    },
    /// A block is there.
    Block {
        to: usize,
        from: usize,
        chunk: u32,
        bytes: u64,
        last: bool,
    },
    Tick {
        host: usize,
    },
}

struct Sending {
    to: usize,
    chunk: u32,
    left: u64,
}

struct Host {
    spec: Spec,
    scheduler: Scheduler,
    have: Bitmap,
    queue: VecDeque<Sending>,
    /// A block is leaving.
    sending: bool,
    /// When a sender that found nobody with room looks again.
    look: Time,
    down_free: Time,
    /// Bytes on their way to it.
    coming: u64,
    tick: bool,
    done: Option<Time>,
    sent: u64,
    got: u64,
}

struct Border {
    rate: u64,
    out_free: Time,
    in_free: Time,
    coming: u64,
    out_bytes: u64,
    in_bytes: u64,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Seconds until each host had all, ascending.
    pub finished: Vec<f64>,
    /// What the origin sent, in blobs.
    pub origin: f64,
    /// What was sent to somebody who had it, in blobs, over all hosts.
    pub duplicates: f64,
    /// What came into each site by its line, in blobs.
    pub borders_in: Vec<f64>,
    /// What left each site by its line, in blobs.
    pub borders_out: Vec<f64>,
    /// Control messages.
    pub messages: u64,
    /// Hosts that have not got all.
    pub unfinished: usize,
}

/// A run.
#[allow(missing_debug_implementations)]
pub struct World {
    scenario: Scenario,
    geometry: Geometry,
    now: Time,
    order: u64,
    events: BinaryHeap<Reverse<(Time, u64, usize)>>,
    slab: Vec<Option<Event>>,
    free: Vec<usize>,
    hosts: Vec<Host>,
    borders: Vec<Option<Border>>,
    outcome: Outcome,
    block: u64,
    left: usize,
    out: Vec<Output>,
}

impl World {
    /// Everybody is there and connected at the start; only the origin has anything.
    ///
    /// # Panics
    /// For a blob longer than [`swarm_core::limits::BLOB_BYTES`].
    #[must_use]
    pub fn new(scenario: Scenario) -> Self {
        let geometry = Geometry::new(scenario.len).expect("a length that can be");
        let n = geometry.chunks();
        let hosts = scenario.hosts.iter().enumerate().map(|(i, spec)| Host {
            spec: spec.clone(),
            scheduler: Scheduler::new(scenario.seed.wrapping_mul(1_000_003) + i as u64),
            have: if spec.origin { Bitmap::full(n) } else { Bitmap::new(n) },
            queue: VecDeque::new(),
            sending: false,
            look: u64::MAX,
            down_free: 0,
            coming: 0,
            tick: false,
            done: None,
            sent: 0,
            got: 0,
        });
        let hosts: Vec<Host> = hosts.collect();
        let border = |line: &Option<Line>| {
            line.map(|l| Border {
                rate: l.rate,
                out_free: 0,
                in_free: 0,
                coming: 0,
                out_bytes: 0,
                in_bytes: 0,
            })
        };
        let borders = scenario.lines.iter().map(border).collect();
        let left = hosts.iter().filter(|h| !h.spec.origin).count();
        let block = geometry.chunk_size() / scenario.blocks;
        let mut world = Self {
            geometry,
            now: 0,
            order: 0,
            events: BinaryHeap::new(),
            slab: Vec::new(),
            free: Vec::new(),
            hosts,
            borders,
            outcome: Outcome::default(),
            block,
            left,
            out: Vec::new(),
            scenario,
        };
        world.start();
        world
    }

    fn start(&mut self) {
        for i in 0..self.hosts.len() {
            let (geometry, have) = (self.geometry, self.hosts[i].have.clone());
            if self.hosts[i].spec.origin {
                self.tell(i, Input::Serve { blob: BLOB, geometry, have, origin: true });
            } else {
                let serve = Input::Serve { blob: BLOB, geometry, have: have.clone(), origin: false };
                self.tell(i, serve);
                self.tell(i, Input::Want { blob: BLOB, geometry, have, skip: None, order: Order::Rarest });
            }
        }
        let mut random = Random::new(self.scenario.seed ^ 0x5eed);
        let count = self.hosts.len();
        let mut linked = BTreeSet::new();
        for a in 0..count {
            let site = self.hosts[a].spec.site;
            let near: Vec<usize> =
                (0..count).filter(|b| *b != a && self.hosts[*b].spec.site == site).collect();
            let far: Vec<usize> = (0..count).filter(|b| self.hosts[*b].spec.site != site).collect();
            // A host looks for others until it has enough; who came to it counts.
            let (near_want, far_want) = (self.scenario.neighbours, self.scenario.far_neighbours);
            for (pool, want) in [(near, near_want), (far, far_want)] {
                let linked_to =
                    |linked: &BTreeSet<(usize, usize)>, b: usize| linked.contains(&(a.min(b), a.max(b)));
                let mut degree = pool.iter().filter(|b| linked_to(&linked, **b)).count();
                while degree < want.min(pool.len()) {
                    let b = pool[random.below(pool.len())];
                    degree += usize::from(linked.insert((a.min(b), a.max(b))));
                }
            }
        }
        for (a, b) in linked {
            self.connect(a, b);
        }
    }

    fn connect(&mut self, a: usize, b: usize) {
        let near = if self.hosts[a].spec.site == self.hosts[b].spec.site { 1 } else { 2 };
        for (x, y) in [(a, b), (b, a)] {
            self.tell(x, Input::PeerUp { peer: PeerKey(y as u64), near, local: near == 1 });
        }
        for (x, y) in [(a, b), (b, a)] {
            if !self.hosts[x].spec.origin {
                // x wants of y.
                let have = self.hosts[y].have.clone();
                self.tell(y, Input::Takes { peer: PeerKey(x as u64), blob: BLOB });
                self.tell(x, Input::Holds { peer: PeerKey(y as u64), blob: BLOB, have });
            }
        }
    }

    fn push(&mut self, at: Time, event: Event) {
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

    fn tell(&mut self, host: usize, input: Input) {
        let now = Duration::from_nanos(self.now);
        let mut out = std::mem::take(&mut self.out);
        self.hosts[host].scheduler.handle(input, now, &mut out);
        for output in out.drain(..) {
            self.carry_out(host, output);
        }
        self.out = out;
        let h = &mut self.hosts[host];
        if !h.tick
            && let Some(wait) = h.scheduler.next_tick(now)
        {
            h.tick = true;
            let at = self.now + wait.as_nanos() as u64;
            self.push(at, Event::Tick { host });
        }
    }

    fn latency(&self, a: usize, b: usize) -> Time {
        if self.hosts[a].spec.site == self.hosts[b].spec.site {
            self.scenario.latency
        } else {
            self.scenario.far
        }
    }

    fn send(&mut self, from: usize, to: PeerKey, message: Message) {
        let to = to.0 as usize;
        self.outcome.messages += 1;
        let at = self.now + self.latency(from, to);
        self.push(at, Event::Message { to, from, message });
    }

    fn carry_out(&mut self, host: usize, output: Output) {
        let blob = BLOB.0;
        match output {
            Output::Request { peer, chunk, .. } => {
                self.send(host, peer, Message::Request { blob, first: chunk, count: 1 });
            }
            Output::Refuse { peer, count, busy, .. } => {
                self.send(host, peer, Message::Refuse { blob, count, busy });
            }
            Output::Cancel { peer, chunk, .. } => self.send(host, peer, Message::Cancel { blob, chunk }),
            Output::Grant { peer, count, hint, .. } => {
                self.send(host, peer, Message::Grant { blob, count, hint });
            }
            Output::Send { peer, chunk, .. } => {
                let size = self.geometry.size(self.geometry.chunk(chunk).expect("a chunk")) as u64;
                self.hosts[host].queue.push_back(Sending { to: peer.0 as usize, chunk, left: size });
                self.work(host);
            }
            Output::Decline { peer, chunk, why, .. } => {
                let why = if why == Failure::Busy {
                    swarm_core::wire::Why::Busy
                } else {
                    swarm_core::wire::Why::Missing
                };
                self.send(host, peer, Message::Decline { blob, chunk, why });
            }
            Output::Have { peer, add, .. } => {
                self.send(host, peer, Message::Have { blob, add: Have::of(&add) })
            }
            Output::Need { peer, add, drop, .. } => {
                self.send(host, peer, Message::Need { blob, add: Have::of(&add), drop: Have::of(&drop) });
            }
            Output::Gateways { peer, beats, .. } => {
                let beats = beats.iter().map(|b| (b.tag, b.number, b.whole)).collect();
                self.send(
                    host,
                    peer,
                    Message::Gateways { id: swarm_core::id::ContentId::from_bytes([0; 32]), beats },
                );
            }
            Output::Ban { .. } => panic!("an honest peer was banned"),
            Output::Complete { .. } => {
                self.hosts[host].done = Some(self.now);
                self.left -= 1;
            }
        }
    }

    /// Starts the next block if the uplink is free and somebody can take it.
    fn work(&mut self, host: usize) {
        if self.hosts[host].sending {
            return;
        }
        let mut again = u64::MAX;
        for i in 0..self.hosts[host].queue.len() {
            let (to, left) = (self.hosts[host].queue[i].to, self.hosts[host].queue[i].left);
            let bytes = left.min(self.block);
            match self.room(host, to, bytes) {
                Ok(()) => return self.transmit(host, i, bytes),
                Err(at) => again = again.min(at),
            }
        }
        if again != u64::MAX && again < self.hosts[host].look {
            self.hosts[host].look = again;
            self.push(again, Event::UpFree { host });
        }
    }

    /// Whether a block sent now would find no backlog; else when it may.
    fn room(&self, from: usize, to: usize, bytes: u64) -> Result<(), Time> {
        let wait = |excess: u64, rate: u64| excess * 1_000_000_000 / rate;
        let (down, latency) = (self.hosts[to].spec.down, self.latency(from, to));
        // What may be on its way to a receiver: what its line holds, and a little that waits.
        let window = BACKLOG * self.block + down * latency / 1_000_000_000;
        let mut late = wait((self.hosts[to].coming + bytes).saturating_sub(window + self.block), down);
        let (a, b) = (self.hosts[from].spec.site as usize, self.hosts[to].spec.site as usize);
        if a != b {
            if let Some(border) = &self.borders[a] {
                let out = self.now + wait(bytes, self.hosts[from].spec.up);
                late = late.max(border.out_free.saturating_sub(out + wait(2 * self.block, border.rate)));
            }
            if let Some(border) = &self.borders[b] {
                late = late.max(wait((border.coming + bytes).saturating_sub(8 * self.block), border.rate));
            }
        }
        if late == 0 { Ok(()) } else { Err(self.now + late) }
    }

    fn transmit(&mut self, host: usize, i: usize, bytes: u64) {
        let to = self.hosts[host].queue[i].to;
        let took = bytes * 1_000_000_000 / self.hosts[host].spec.up;
        let mut at = self.now + took;
        let (a, b) = (self.hosts[host].spec.site as usize, self.hosts[to].spec.site as usize);
        if let Some(border) = self.borders[a].as_mut().filter(|_| a != b) {
            at = at.max(border.out_free) + bytes * 1_000_000_000 / border.rate;
            border.out_free = at;
            border.out_bytes += bytes;
        }
        self.hosts[to].coming += bytes;
        let h = &mut self.hosts[host];
        h.sending = true;
        h.sent += bytes;
        let free = self.now + took;
        let sending = &mut h.queue[i];
        sending.left -= bytes;
        let (chunk, last) = (sending.chunk, sending.left == 0);
        if last {
            h.queue.remove(i);
        }
        self.push(free, Event::UpFree { host });
        let line = self.borders[b].as_mut().filter(|_| a != b);
        if let Some(border) = line {
            border.coming += bytes;
            self.push(at, Event::Line { to, from: host, chunk, bytes, last });
        } else {
            let at = at + self.latency(host, to);
            self.push(at, Event::Enter { to, from: host, chunk, bytes, last });
        }
        if last {
            // The last byte has left when the uplink is free; told then.
            self.push(free, Event::Message { to: host, from: to, message: Message::Pong(u64::from(chunk)) });
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Tick { host } => {
                self.hosts[host].tick = false;
                self.tell(host, Input::Tick);
            }
            Event::UpFree { host } => {
                let h = &mut self.hosts[host];
                if self.now == h.look {
                    h.look = u64::MAX;
                    if h.sending {
                        return;
                    }
                } else {
                    h.sending = false;
                }
                self.work(host);
            }
            Event::Line { to, from, chunk, bytes, last } => {
                let border = self.borders[self.hosts[to].spec.site as usize].as_mut().expect("a line");
                border.in_free = self.now.max(border.in_free) + bytes * 1_000_000_000 / border.rate;
                border.in_bytes += bytes;
                let at = border.in_free;
                self.push(at, Event::Through { to, from, chunk, bytes, last });
            }
            Event::Through { to, from, chunk, bytes, last } => {
                let border = self.borders[self.hosts[to].spec.site as usize].as_mut().expect("a line");
                border.coming -= bytes;
                let at = self.now + self.latency(from, to);
                self.push(at, Event::Enter { to, from, chunk, bytes, last });
            }
            Event::Enter { to, from, chunk, bytes, last } => {
                let host = &mut self.hosts[to];
                host.down_free = self.now.max(host.down_free) + bytes * 1_000_000_000 / host.spec.down;
                let at = host.down_free;
                self.push(at, Event::Block { to, from, chunk, bytes, last });
            }
            Event::Block { to, from, chunk, bytes, last } => {
                self.hosts[to].coming -= bytes;
                let (peer, blob) = (PeerKey(from as u64), BLOB);
                self.hosts[to].got += bytes;
                self.tell(to, Input::Bytes { peer, blob, chunk, bytes });
                if last {
                    self.hosts[to].have.set(chunk);
                    self.tell(to, Input::Verified { peer: Some(peer), blob, chunk });
                }
            }
            Event::Message { to, from, message } => self.message(to, from, message),
        }
    }

    fn message(&mut self, to: usize, from: usize, message: Message) {
        let (peer, blob, n) = (PeerKey(from as u64), BLOB, self.geometry.chunks());
        let set = |have: Have| have.into_bitmap(n).expect("a set that fits");
        match message {
            Message::Have { add, .. } => self.tell(to, Input::HoldsMore { peer, blob, add: set(add) }),
            Message::Need { add, drop, .. } => {
                self.tell(to, Input::Needs { peer, blob, add: set(add), drop: set(drop) });
            }
            Message::Grant { count, hint, .. } => self.tell(to, Input::Granted { peer, blob, count, hint }),
            Message::Refuse { count, busy, .. } => self.tell(to, Input::Refused { peer, blob, count, busy }),
            Message::Request { first, count, .. } => {
                for chunk in first..first + count {
                    self.tell(to, Input::Asked { peer, blob, chunk });
                }
            }
            Message::Cancel { chunk, .. } => {
                let queue = &mut self.hosts[to].queue;
                let before = queue.len();
                queue.retain(|s| s.to != from || s.chunk != chunk);
                if queue.len() != before {
                    self.tell(to, Input::Sent { peer, blob, whole: false });
                }
            }
            Message::Gateways { beats, .. } => {
                let beats = beats.iter().map(|b| Beat { tag: b.0, number: b.1, whole: b.2 }).collect();
                self.tell(to, Input::Gateways { blob, beats });
            }
            Message::Decline { chunk, .. } => {
                self.tell(to, Input::Failed { peer, blob, chunk, why: Failure::Busy });
            }
            Message::Pong(_) => self.tell(to, Input::Sent { peer, blob, whole: true }),
            other => panic!("not sent here: {other:?}"),
        }
    }

    /// Runs until all have it, or `limit` seconds have passed.
    #[must_use]
    pub fn run(mut self, limit: f64) -> Outcome {
        let limit = (limit * 1e9) as Time;
        while self.left > 0
            && let Some(Reverse((at, _, slot))) = self.events.pop()
        {
            if at > limit {
                break;
            }
            self.now = at;
            let event = self.slab[slot].take().expect("each event happens once");
            self.free.push(slot);
            self.event(event);
        }
        let len = self.scenario.len as f64;
        let mut o = self.outcome;
        o.unfinished = self.left;
        for h in &self.hosts {
            if h.spec.origin {
                o.origin += h.sent as f64 / len;
            } else {
                o.finished.push(h.done.unwrap_or(self.now) as f64 / 1e9);
                o.duplicates += (h.got as f64 - h.have.count() as f64 / h.have.len() as f64 * len) / len;
            }
        }
        o.borders_in =
            self.borders.iter().map(|b| b.as_ref().map_or(0.0, |b| b.in_bytes as f64 / len)).collect();
        o.borders_out =
            self.borders.iter().map(|b| b.as_ref().map_or(0.0, |b| b.out_bytes as f64 / len)).collect();
        o.finished.sort_by(f64::total_cmp);
        o
    }
}
