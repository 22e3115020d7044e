//! Translation: outputs of schedulers become messages, and messages become inputs.

use std::time::Duration;

use swarm_core::id::ContentId;
use swarm_core::limits;
use swarm_core::schedule::{Beat, Input, Output, PeerKey, RequestFailure};
use swarm_core::wire::{GatewayBeat, Have, Message, RefusalReason};

use super::links::Block;
use super::scenario::{Habit, Time};
use super::world::{BLOB, Event, World, peer_key, split};

impl World {
    /// Sends a control message on the session of this key.
    pub(super) fn send(&mut self, from: usize, peer: PeerKey, message: Message) {
        let (to, conn) = split(peer);
        self.outcome.messages += 1;
        let kind = match message {
            Message::Request { .. } => 0,
            Message::Refuse { .. } => 1,
            Message::Grant { .. } => 2,
            Message::Have { .. } => 3,
            Message::Need { .. } => 4,
            _ => 5,
        };
        self.outcome.kinds[kind] += 1;
        if let Some(trace) = self.trace {
            trace(&format!("{:>12} {from} -> {to} {message:?}", self.now));
        }
        let Some(session) = self.hosts[from].sessions.get_mut(&to).filter(|s| s.conn == conn) else {
            return;
        };
        let mut at = self.now + self.links.latency(from, to);
        if !self.calm {
            let (until, by) = self.delay;
            at += if self.now < until { by } else { 0 };
            at = at.max(self.links.held(from, to, self.now).unwrap_or(0)).max(session.arrives);
            session.arrives = at;
            if self.broken.contains(&conn) {
                return;
            }
        }
        self.push(at, Event::Message { to, from, conn, message });
    }

    /// Does what a host's scheduler says.
    pub(super) fn carry_out(&mut self, host: usize, output: Output) {
        if !self.calm {
            self.check(host, &output);
        }
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
            Output::Send { peer, chunk, .. } => self.send_chunk(host, peer, chunk),
            Output::Decline { peer, chunk, why, .. } => {
                let why =
                    if why == RequestFailure::Busy { RefusalReason::Busy } else { RefusalReason::Missing };
                self.send(host, peer, Message::Decline { blob, chunk, why });
            }
            Output::Have { peer, add, .. } => {
                self.send(host, peer, Message::Have { blob, add: Have::of(&add) });
            }
            Output::Need { peer, add, drop, .. } => {
                self.send(host, peer, Message::Need { blob, add: Have::of(&add), drop: Have::of(&drop) });
            }
            Output::Reads { peer, .. } => self.send(host, peer, Message::Reads { blob }),
            Output::Gateways { peer, beats, .. } => {
                let beats = beats
                    .iter()
                    .map(|b| GatewayBeat {
                        tag: b.tag,
                        number: b.number,
                        whole: b.whole,
                        age: b.age.as_millis() as u32,
                    })
                    .collect();
                self.send(host, peer, Message::Gateways { id: ContentId::from_bytes([0; 32]), beats });
            }
            Output::Ban { peer, .. } => self.ban(host, split(peer)),
            Output::Complete { .. } => {
                let life = self.hosts[host].life;
                self.hosts[host].done = Some(self.now);
                self.push(self.now, Event::Finished { host, life });
            }
        }
    }

    fn send_chunk(&mut self, host: usize, peer: PeerKey, chunk: u32) {
        let (to, conn) = split(peer);
        let bad = match self.hosts[host].spec.habit {
            Habit::Corrupt(permille) => self.random.below(1000) < usize::from(permille),
            Habit::Overclaims if !self.hosts[host].have.get(chunk) => {
                self.send(host, peer, Message::Decline { blob: BLOB.0, chunk, why: RefusalReason::Missing });
                return;
            }
            Habit::Silent => return,
            Habit::Drips => {
                let block = Block { to, from: host, conn, chunk, bytes: 1, last: false, bad: false };
                return self.push(self.now, Event::Drip(block));
            }
            _ => false,
        };
        if self.broken.contains(&conn) {
            return;
        }
        if self.hosts[to].spec.habit == Habit::Unread {
            // What it does not read fills a window, and at last the patience of the one who sends it.
            let at = self.now + limits::SEND_PATIENCE.as_nanos() as Time;
            self.push(at, Event::Down { host, peer: to, conn });
            return self.push(at, Event::Down { host: to, peer: host, conn });
        }
        if let Some(trace) = self.trace {
            trace(&format!("{:>12} {host} => {to} chunk {chunk}", self.now));
        }
        let size = self.geometry.chunk(chunk).map_or(0, |c| self.geometry.size(c) as u64);
        let block = Block { to, from: host, conn, chunk, bytes: 0, last: false, bad };
        self.links.send(block, size, self.now, &mut self.hops);
        self.push_hops();
    }

    /// A message is there.
    pub(super) fn message(&mut self, to: usize, from: usize, conn: u64, message: Message) {
        let (peer, blob, n) = (peer_key(conn, from), BLOB, self.geometry.chunks());
        let Some(message) = (if self.codec { over_the_wire(&message) } else { Some(message) }) else {
            // A frame that cannot be: the one who sent it is closed out.
            if self.hosts[from].spec.habit == Habit::Honest {
                self.violate(from, "sends what cannot be read");
            }
            return self.ban(to, (from, conn));
        };
        let set = |have: Have| have.into_bitmap(n).expect("a set that fits");
        match message {
            Message::Have { add, .. } => self.tell(to, Input::HolderMore { peer, blob, add: set(add) }),
            Message::Need { add, drop, .. } => {
                self.tell(to, Input::NeedDelta { peer, blob, add: set(add), drop: set(drop) });
            }
            Message::Grant { .. } if self.hosts[to].spec.habit == Habit::Hoarder => {}
            Message::Grant { count, .. } if self.hosts[to].spec.habit == Habit::Unread => {
                for _ in 0..count {
                    let any = self.random.below(n as usize) as u32;
                    self.send(to, peer, Message::Request { blob: BLOB.0, first: any, count: 1 });
                }
            }
            Message::Grant { count, hint, .. } => self.tell(to, Input::Granted { peer, blob, count, hint }),
            Message::Refuse { count, busy, .. } => {
                self.tell(to, Input::GrantDeclined { peer, blob, count, busy })
            }
            Message::Request { first, count, .. } => {
                for chunk in first..first + count {
                    self.check_asked(to, from, chunk);
                    self.tell(to, Input::Requested { peer, blob, chunk });
                }
            }
            Message::Cancel { chunk, .. } => {
                if self.links.cancel(to, conn, chunk) {
                    self.tell(to, Input::Sent { peer, blob, whole: false });
                }
            }
            Message::Gateways { beats, .. } => {
                let beats = beats
                    .iter()
                    .map(|b| Beat {
                        tag: b.tag,
                        number: b.number,
                        whole: b.whole,
                        age: Duration::from_millis(b.age.into()),
                    })
                    .collect();
                self.tell(to, Input::Gateways { peer, blob, beats });
            }
            Message::Decline { chunk, why, .. } => {
                let why =
                    if why == RefusalReason::Busy { RequestFailure::Busy } else { RequestFailure::Missing };
                self.hosts[to].books.ended(peer, chunk);
                self.tell(to, Input::Failed { peer, blob, chunk, why });
            }
            Message::Reads { .. } => self.tell(to, Input::Reads { peer, blob }),
            Message::Unwant { .. } => self.tell(to, Input::NotInterested { peer, blob }),
            other => panic!("not sent here: {other:?}"),
        }
    }
}

/// A message as its receiver reads it.
fn over_the_wire(message: &Message) -> Option<Message> {
    Message::decode(&message.encode().ok()?).ok()?
}
