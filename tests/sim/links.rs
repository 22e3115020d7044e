//! Links: how blocks of chunks get from host to host.
//!
//! A block leaves by its host's serial uplink, crosses the borders between two sites (serial, one each way),
//! takes its latency, and enters by a serial downlink. A sender works on the first chunk whose receiver (and
//! border) has no backlog, and its connections take turns, a chunk each: parallel TCP streams of which none
//! starves the others.

use std::collections::VecDeque;

use swarm_core::wire::Handle;

use super::scenario::{Scenario, Time};

/// A receiver with more than this many blocks waiting gets no more: TCP's window.
const BACKLOG: u64 = 4;

/// A part of a chunk on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub(super) to: usize,
    pub(super) from: usize,
    /// The connection it travels on.
    pub(super) conn: u64,
    /// The number that its receiver gave the blob.
    pub(super) blob: Handle,
    pub(super) chunk: u32,
    pub(super) bytes: u64,
    /// The chunk's last.
    pub(super) last: bool,
    /// Not what it claims to be.
    pub(super) bad: bool,
}

/// Where a block is.
#[derive(Debug)]
pub(super) enum Hop {
    /// A block has left its host's uplink.
    UpFree(usize),
    /// A sender that found nobody with room looks again.
    Look(usize),
    /// At the line of its receiver's site.
    Line(Block),
    /// Through it.
    Through(Block),
    /// At its receiver's downlink.
    Enter(Block),
    /// There.
    There(Block),
    /// Its last byte has left.
    Left(Block),
}

/// A chunk that is to be sent.
#[derive(Debug)]
struct Sending {
    block: Block,
    left: u64,
}

#[derive(Debug)]
struct Link {
    up: u64,
    down: u64,
    site: usize,
    queue: VecDeque<Sending>,
    /// A block is leaving.
    sending: bool,
    /// When a sender that found nobody with room looks again.
    look: Time,
    down_free: Time,
    /// Bytes on their way to it.
    coming: u64,
    sent: u64,
    got: u64,
}

#[derive(Debug)]
struct Border {
    rate: u64,
    out_free: Time,
    in_free: Time,
    coming: u64,
    in_bytes: u64,
}

/// Hosts cut off from all others, and until when.
#[derive(Debug)]
struct Cut {
    inside: Vec<usize>,
    until: Time,
}

/// All links.
#[derive(Debug)]
pub(super) struct Links {
    hosts: Vec<Link>,
    borders: Vec<Option<Border>>,
    cuts: Vec<Cut>,
    block: u64,
    near: Time,
    far: Time,
}

const fn time(bytes: u64, rate: u64) -> Time {
    bytes * 1_000_000_000 / rate
}

impl Links {
    pub(super) fn new(scenario: &Scenario, block: u64) -> Self {
        let hosts = scenario.hosts.iter().map(|spec| Link {
            up: spec.up,
            down: spec.down,
            site: usize::from(spec.site),
            queue: VecDeque::new(),
            sending: false,
            look: Time::MAX,
            down_free: 0,
            coming: 0,
            sent: 0,
            got: 0,
        });
        let border = |rate| Border { rate, out_free: 0, in_free: 0, coming: 0, in_bytes: 0 };
        Self {
            hosts: hosts.collect(),
            borders: scenario.lines.iter().map(|line| line.map(|l| border(l.rate))).collect(),
            cuts: Vec::new(),
            block,
            near: scenario.latency,
            far: scenario.far,
        }
    }

    /// One way between two hosts.
    pub(super) fn latency(&self, a: usize, b: usize) -> Time {
        if self.hosts[a].site == self.hosts[b].site { self.near } else { self.far }
    }

    /// Bytes a host has sent, and received.
    pub(super) fn bytes(&self, host: usize) -> (u64, u64) {
        (self.hosts[host].sent, self.hosts[host].got)
    }

    /// Bytes that came into each site by its line.
    pub(super) fn borders_in(&self) -> impl Iterator<Item = u64> {
        self.borders.iter().map(|b| b.as_ref().map_or(0, |b| b.in_bytes))
    }

    pub(super) fn cut(&mut self, inside: Vec<usize>, until: Time) {
        self.cuts.push(Cut { inside, until });
    }

    /// Until when nothing passes between two hosts.
    pub(super) fn held(&self, a: usize, b: usize, now: Time) -> Option<Time> {
        let apart = |cut: &&Cut| cut.until > now && cut.inside.contains(&a) != cut.inside.contains(&b);
        self.cuts.iter().filter(apart).map(|cut| cut.until).max()
    }

    /// Chunks a host has been asked for and has not yet sent.
    pub(super) fn queued(&self, host: usize) -> usize {
        self.hosts[host].queue.len()
    }

    /// A host is to send a chunk of `size` bytes.
    pub(super) fn send(&mut self, block: Block, size: u64, now: Time, hops: &mut Vec<(Time, Hop)>) {
        self.hosts[block.from].queue.push_back(Sending { block, left: size });
        self.work(block.from, now, hops);
    }

    /// It need not. True if it was waiting.
    pub(super) fn cancel(&mut self, from: usize, conn: u64, chunk: u32) -> bool {
        let queue = &mut self.hosts[from].queue;
        let before = queue.len();
        queue.retain(|s| s.block.conn != conn || s.block.chunk != chunk);
        queue.len() != before
    }

    /// A connection of a host (or the host, with `None`) has ended.
    pub(super) fn drop_queue(&mut self, host: usize, conn: Option<u64>) {
        self.hosts[host].queue.retain(|s| conn.is_some_and(|conn| s.block.conn != conn));
    }

    /// Starts the next block if the uplink is free and somebody can take it.
    fn work(&mut self, host: usize, now: Time, hops: &mut Vec<(Time, Hop)>) {
        if self.hosts[host].sending {
            return;
        }
        let mut again = Time::MAX;
        for i in 0..self.hosts[host].queue.len() {
            let (to, left) = (self.hosts[host].queue[i].block.to, self.hosts[host].queue[i].left);
            let bytes = left.min(self.block);
            match self.room(host, to, bytes, now) {
                Ok(()) => return self.transmit(host, i, bytes, now, hops),
                Err(at) => again = again.min(at),
            }
        }
        if again != Time::MAX && again < self.hosts[host].look {
            self.hosts[host].look = again;
            hops.push((again, Hop::Look(host)));
        }
    }

    /// Whether a block sent now would find no backlog; else when it may.
    fn room(&self, from: usize, to: usize, bytes: u64, now: Time) -> Result<(), Time> {
        if let Some(until) = self.held(from, to, now) {
            return Err(until);
        }
        let (down, latency) = (self.hosts[to].down, self.latency(from, to));
        // What may be on its way to a receiver: what its line holds, and a little that waits.
        let window = BACKLOG * self.block + down * latency / 1_000_000_000;
        let mut late = time((self.hosts[to].coming + bytes).saturating_sub(window + self.block), down);
        let (a, b) = (self.hosts[from].site, self.hosts[to].site);
        if a != b {
            if let Some(border) = &self.borders[a] {
                let out = now + time(bytes, self.hosts[from].up);
                late = late.max(border.out_free.saturating_sub(out + time(2 * self.block, border.rate)));
            }
            if let Some(border) = &self.borders[b] {
                late = late.max(time((border.coming + bytes).saturating_sub(8 * self.block), border.rate));
            }
        }
        if late == 0 { Ok(()) } else { Err(now + late) }
    }

    fn transmit(&mut self, host: usize, i: usize, bytes: u64, now: Time, hops: &mut Vec<(Time, Hop)>) {
        let h = &mut self.hosts[host];
        let sending = &mut h.queue[i];
        sending.left -= bytes;
        let block = Block { bytes, last: sending.left == 0, ..sending.block };
        if block.last {
            h.queue.remove(i);
            let (others, own): (Vec<_>, Vec<_>) = h.queue.drain(..).partition(|s| s.block.conn != block.conn);
            h.queue.extend(others.into_iter().chain(own));
        }
        h.sending = true;
        h.sent += bytes;
        let free = now + time(bytes, h.up);
        let (a, b) = (h.site, self.hosts[block.to].site);
        let mut at = free;
        if let Some(border) = self.borders[a].as_mut().filter(|_| a != b) {
            at = at.max(border.out_free) + time(bytes, border.rate);
            border.out_free = at;
        }
        self.hosts[block.to].coming += bytes;
        hops.push((free, Hop::UpFree(host)));
        if let Some(border) = self.borders[b].as_mut().filter(|_| a != b) {
            border.coming += bytes;
            hops.push((at, Hop::Line(block)));
        } else {
            hops.push((at + self.latency(host, block.to), Hop::Enter(block)));
        }
        if block.last {
            hops.push((free, Hop::Left(block)));
        }
    }

    /// The next step of a block; itself when it is there, or its chunk has left.
    pub(super) fn hop(&mut self, hop: Hop, now: Time, hops: &mut Vec<(Time, Hop)>) -> Option<Hop> {
        match hop {
            Hop::UpFree(host) => {
                self.hosts[host].sending = false;
                self.work(host, now, hops);
            }
            Hop::Look(host) => {
                let h = &mut self.hosts[host];
                if h.look == now {
                    h.look = Time::MAX;
                }
                self.work(host, now, hops);
            }
            Hop::Line(block) => {
                let site = self.hosts[block.to].site;
                if let Some(border) = &mut self.borders[site] {
                    border.in_free = now.max(border.in_free) + time(block.bytes, border.rate);
                    border.in_bytes += block.bytes;
                    hops.push((border.in_free, Hop::Through(block)));
                }
            }
            Hop::Through(block) => {
                let site = self.hosts[block.to].site;
                if let Some(border) = &mut self.borders[site] {
                    border.coming -= block.bytes;
                }
                hops.push((now + self.latency(block.from, block.to), Hop::Enter(block)));
            }
            Hop::Enter(block) => {
                let host = &mut self.hosts[block.to];
                host.down_free = now.max(host.down_free) + time(block.bytes, host.down);
                hops.push((host.down_free, Hop::There(block)));
            }
            Hop::There(block) => {
                let host = &mut self.hosts[block.to];
                host.coming -= block.bytes;
                host.got += block.bytes;
                return Some(hop);
            }
            Hop::Left(_) => return Some(hop),
        }
        None
    }
}
