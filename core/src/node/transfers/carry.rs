//! Carrying out what the scheduler decides: each output is a message, a word to a session's task, or news for a view.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Transfers;
use super::download::Doing;
use crate::node::peers::Peers;
use crate::node::session::{Expect, Serve};
use crate::node::sharing::Sharing;
use crate::schedule::{Beat, BlobKey, Failure, Output, PeerKey};
use crate::wire::{GatewayBeat, Handle, Have, Message, Why};

/// Neighbouring chunks asked for, or to be sent, together.
#[derive(Default)]
struct Runs {
    asked: Vec<(PeerKey, Handle, u32, u32)>,
    sent: Vec<(PeerKey, Handle, u32, u32)>,
}

impl Transfers {
    pub(super) fn carry_out(&mut self, peers: &mut Peers, sharing: &Sharing) {
        let mut runs = Runs::default();
        let mut outputs: VecDeque<Output> = std::mem::take(&mut self.out).into();
        while let Some(output) = outputs.pop_front() {
            match output {
                Output::Request { peer, blob, chunk } => self.request(peer, blob, chunk, &mut runs, peers),
                Output::Send { peer, blob, chunk } => {
                    if let Some(handle) = self.theirs(peer, blob, sharing) {
                        add(&mut runs.sent, peer, handle, chunk);
                    }
                }
                Output::Cancel { peer, blob, chunk } => {
                    runs.flush(peers);
                    let Some(blob) = self.downloads.get(&blob).map(|d| d.handle).or(self.last_handle(blob))
                    else {
                        continue;
                    };
                    peers.expect(peer, Expect::Cancel { blob, chunk });
                    peers.send(peer, Message::Cancel { blob, chunk });
                }
                Output::Refuse { peer, blob, count, busy } => {
                    if let Some(blob) = self.downloads.get(&blob).map(|d| d.handle) {
                        // After the requests that the same grant led to.
                        runs.flush(peers);
                        peers.send(peer, Message::Refuse { blob, count, busy });
                    }
                }
                Output::Need { peer, blob, add, drop } => {
                    if let Some(blob) = self.downloads.get(&blob).map(|d| d.handle) {
                        let (add, drop) = (Have::of(&add), Have::of(&drop));
                        peers.send(peer, Message::Need { blob, add, drop });
                    }
                }
                Output::Reads { peer, blob } => {
                    if let Some(blob) = self.downloads.get(&blob).map(|d| d.handle) {
                        peers.send(peer, Message::Reads { blob });
                    }
                }
                Output::Grant { peer, blob, count, hint } => {
                    let Some(handle) = self.theirs(peer, blob, sharing) else { continue };
                    match hint.filter(|chunk| count == 1 && self.pushes(peer, blob, *chunk, sharing)) {
                        Some(chunk) => peers.send(peer, Message::Push { blob: handle, chunk }),
                        None => peers.send(peer, Message::Grant { blob: handle, count, hint }),
                    }
                    outputs.extend(self.out.drain(..));
                }
                Output::Decline { peer, blob, chunk, why } => {
                    if let Some(blob) = self.theirs(peer, blob, sharing) {
                        let why = if why == Failure::Busy { Why::Busy } else { Why::Missing };
                        peers.send(peer, Message::Decline { blob, chunk, why });
                    }
                }
                Output::Have { peer, blob, add } => {
                    if let Some(blob) = self.theirs(peer, blob, sharing) {
                        peers.send(peer, Message::Have { blob, add: Have::of(&add) });
                    }
                }
                Output::Gateways { peer, blob, beats } => {
                    if let Some(id) = self.ids.get(&blob) {
                        let beats = beats.iter().map(on_the_wire).collect();
                        peers.send(peer, Message::Gateways { id: *id, beats });
                    }
                }
                Output::Ban { peer, blob, chunk } => {
                    if let Some(download) = self.downloads.get_mut(&blob) {
                        download.ban(peer, &format!("chunk {chunk} from it did not verify"), peers);
                    }
                }
                Output::Complete { blob } => {
                    if let Some(download) = self.downloads.get_mut(&blob) {
                        let holders = self.scheduler.holders(blob) as u32;
                        download.complete(holders);
                    }
                }
            }
        }
        runs.flush(peers);
    }

    fn request(&mut self, peer: PeerKey, key: BlobKey, chunk: u32, runs: &mut Runs, peers: &mut Peers) {
        let Some(download) = self.downloads.get(&key) else { return };
        let Doing::Active { blob: target, .. } = &download.doing else { return };
        let blob = download.handle;
        peers.expect(peer, Expect::Chunk { blob, chunk, target: Arc::clone(target) });
        let download = self.downloads.get_mut(&key);
        if !download.is_some_and(|download| download.comes(peer, chunk)) {
            add(&mut runs.asked, peer, blob, chunk);
        }
    }

    /// The number by which a peer calls what it takes of us.
    fn theirs(&self, peer: PeerKey, blob: BlobKey, sharing: &Sharing) -> Option<Handle> {
        sharing.handle(peer, *self.ids.get(&blob)?)
    }

    /// The number of a want that is being ended.
    fn last_handle(&self, blob: BlobKey) -> Option<Handle> {
        self.handles.iter().find(|(_, key)| **key == blob).map(|(handle, _)| *handle)
    }
}

/// A beat as it travels.
const fn on_the_wire(beat: &Beat) -> GatewayBeat {
    GatewayBeat { tag: beat.tag, number: beat.number, whole: beat.whole, age: beat.age.as_millis() as u32 }
}

impl Runs {
    fn flush(&mut self, peers: &mut Peers) {
        for (peer, blob, first, count) in self.asked.drain(..) {
            peers.send(peer, Message::Request { blob, first, count });
        }
        for (peer, blob, first, count) in self.sent.drain(..) {
            peers.serve(peer, Serve::Request { blob, first, count });
        }
    }
}

fn add(runs: &mut Vec<(PeerKey, Handle, u32, u32)>, peer: PeerKey, handle: Handle, chunk: u32) {
    match runs.last_mut() {
        Some((p, h, first, count)) if *p == peer && *h == handle && *first + *count == chunk => *count += 1,
        _ => runs.push((peer, handle, chunk, 1)),
    }
}
