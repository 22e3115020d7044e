//! Turns the scheduler's decisions into effects.
//!
//! Each [`Output`] becomes a message to a peer, an order to a session's task, or news for a download's view.
//! Requests for neighbouring chunks are joined into one message.

use std::collections::VecDeque;

use super::Downloads;
use super::download::Doing;
use crate::exchange::effects::Effects;
use crate::exchange::open_blob::OpenBlob;
use crate::exchange::orders::{ReceiveCommand, SendCommand};
use crate::exchange::uploads::Uploads;
use crate::exchange::view::Stage;
use crate::schedule::{Beat, BlobKey, Now, Output, PeerKey, RequestFailure};
use crate::wire::{GatewayBeat, Handle, Have, Message, RefusalReason};

/// Runs of neighbouring chunks, each one message: peer, handle, first chunk, number of chunks.
#[derive(Default)]
struct Runs {
    /// Chunks to request.
    asked: Vec<(PeerKey, Handle, u32, u32)>,
    /// Chunks to send.
    sent: Vec<(PeerKey, Handle, u32, u32)>,
}

impl<B: OpenBlob> Downloads<B> {
    /// Turns all decisions that wait in `out` into effects, in order.
    pub(super) fn carry_out(&mut self, effects: &mut Effects<'_, B>, uploads: &Uploads<B>) {
        if self.out.is_empty() {
            return;
        }
        let mut runs = Runs::default();
        let mut outputs: VecDeque<Output> = std::mem::take(&mut self.out).into();
        while let Some(output) = outputs.pop_front() {
            match output {
                Output::Request { peer, blob, chunk } => self.request(peer, blob, chunk, &mut runs, effects),
                Output::Send { peer, blob, chunk } => {
                    if let Some(handle) = self.theirs(peer, blob, uploads) {
                        add(&mut runs.sent, peer, handle, chunk);
                    }
                }
                Output::Cancel { peer, blob, chunk } => {
                    runs.flush(effects);
                    self.cancel(peer, blob, chunk, effects);
                }
                Output::Refuse { peer, blob, count, busy } => {
                    if let Some(blob) = self.downloads.get(&blob).map(|d| d.handle) {
                        // The requests that the same grant led to must go out first.
                        runs.flush(effects);
                        effects.send(peer, Message::Refuse { blob, count, busy });
                    }
                }
                Output::Need { peer, blob, add, drop } => {
                    if let Some(blob) = self.downloads.get(&blob).map(|d| d.handle) {
                        let (add, drop) = (Have::of(&add), Have::of(&drop));
                        effects.send(peer, Message::Need { blob, add, drop });
                    }
                }
                Output::Reads { peer, blob } => {
                    if let Some(blob) = self.downloads.get(&blob).map(|d| d.handle) {
                        effects.send(peer, Message::Reads { blob });
                    }
                }
                Output::Grant { peer, blob, count, hint } => {
                    let Some(handle) = self.theirs(peer, blob, uploads) else { continue };
                    match hint
                        .filter(|chunk| count == 1 && self.pushes(peer, blob, *chunk, uploads, effects.now()))
                    {
                        Some(chunk) => effects.send(peer, Message::Push { blob: handle, chunk }),
                        None => effects.send(peer, Message::Grant { blob: handle, count, hint }),
                    }
                    outputs.extend(self.out.drain(..));
                }
                Output::Decline { peer, blob, chunk, why } => {
                    self.declines((peer, blob, chunk), why, uploads, effects)
                }
                Output::Have { peer, blob, add } => {
                    if let Some(blob) = self.theirs(peer, blob, uploads) {
                        effects.send(peer, Message::Have { blob, add: Have::of(&add) });
                    }
                }
                Output::Gateways { peer, blob, beats } => {
                    if let Some(id) = self.ids.get(&blob) {
                        let beats = beats.iter().map(on_the_wire).collect();
                        effects.send(peer, Message::Gateways { id: *id, beats });
                    }
                }
                Output::Ban { peer, blob, chunk } => {
                    self.ban(blob, peer, &format!("chunk {chunk} from it did not verify"), effects);
                }
                Output::Complete { blob } => self.completed(blob, effects.now()),
            }
        }
        runs.flush(effects);
        // The buffer serves the next event.
        self.out = outputs.into();
    }

    /// Marks a download whose chunks are all here.
    fn completed(&mut self, blob: BlobKey, now: Now) {
        let holders = self.scheduler.holders(blob) as u32;
        if let Some(download) = self.downloads.get_mut(&blob) {
            download.refresh(holders, now);
        }
        self.change_view(blob, |view| view.stage = Stage::Complete);
    }

    /// Tells a peer that a chunk which it requested is not sent.
    fn declines(
        &self,
        (peer, blob, chunk): (PeerKey, BlobKey, u32),
        why: RequestFailure,
        uploads: &Uploads<B>,
        effects: &mut Effects<'_, B>,
    ) {
        if let Some(blob) = self.theirs(peer, blob, uploads) {
            let why = if why == RequestFailure::Busy { RefusalReason::Busy } else { RefusalReason::Missing };
            effects.send(peer, Message::Decline { blob, chunk, why });
        }
    }

    /// Bans a peer over a download and shows that in the view.
    pub(super) fn ban(&mut self, key: BlobKey, peer: PeerKey, reason: &str, effects: &mut Effects<'_, B>) {
        if !self.downloads.contains_key(&key) {
            return;
        }
        // A web seed has no id that a person could know. The actor names its URL.
        if effects.is_web(peer) {
            return effects.doom(peer, reason, true);
        }
        // More bad chunks of a peer may come to light after its ban: one ban is enough.
        if let Some(name) = effects.not_banned(peer) {
            self.change_view(key, |view| view.banned.push((name, reason.to_owned())));
            effects.doom(peer, reason, true);
        }
    }

    /// Prepares the session for a chunk and requests it, unless the peer sends it unasked.
    fn request(
        &mut self,
        peer: PeerKey,
        key: BlobKey,
        chunk: u32,
        runs: &mut Runs,
        effects: &mut Effects<'_, B>,
    ) {
        let Some(download) = self.downloads.get(&key) else { return };
        let Doing::Active { blob: target, .. } = &download.doing else { return };
        let blob = download.handle;
        effects.expect(peer, ReceiveCommand::Chunk { blob, chunk, target: target.clone() });
        let download = self.downloads.get_mut(&key);
        if !download.is_some_and(|download| download.comes(peer, chunk)) {
            add(&mut runs.asked, peer, blob, chunk);
        }
    }

    /// Tells a peer and its session that a requested chunk is no longer wanted.
    fn cancel(&self, peer: PeerKey, blob: BlobKey, chunk: u32, effects: &mut Effects<'_, B>) {
        let handle = self.downloads.get(&blob).map(|download| download.handle);
        if let Some(blob) = handle.or_else(|| self.last_handle(blob)) {
            effects.expect(peer, ReceiveCommand::Cancel { blob, chunk });
            effects.send(peer, Message::Cancel { blob, chunk });
        }
    }

    /// Returns the handle that a downloader gave to a blob.
    fn theirs(&self, peer: PeerKey, blob: BlobKey, uploads: &Uploads<B>) -> Option<Handle> {
        uploads.handle(peer, *self.ids.get(&blob)?)
    }

    /// Returns the handle of a download that is being ended.
    fn last_handle(&self, blob: BlobKey) -> Option<Handle> {
        self.handles.iter().find(|(_, key)| **key == blob).map(|(handle, _)| *handle)
    }
}

/// Converts a beat into its form on the wire.
const fn on_the_wire(beat: &Beat) -> GatewayBeat {
    GatewayBeat { tag: beat.tag, number: beat.number, whole: beat.whole, age: beat.age.as_millis() as u32 }
}

impl Runs {
    /// Emits all runs, requests before sends, and empties them.
    fn flush<B>(&mut self, effects: &mut Effects<'_, B>) {
        for (peer, blob, first, count) in self.asked.drain(..) {
            effects.send(peer, Message::Request { blob, first, count });
        }
        for (peer, blob, first, count) in self.sent.drain(..) {
            effects.serve(peer, SendCommand::Request { blob, first, count });
        }
    }
}

/// Adds a chunk to the last run if it continues it, else starts a new run.
fn add(runs: &mut Vec<(PeerKey, Handle, u32, u32)>, peer: PeerKey, handle: Handle, chunk: u32) {
    match runs.last_mut() {
        Some((p, h, first, count)) if *p == peer && *h == handle && *first + *count == chunk => *count += 1,
        _ => runs.push((peer, handle, chunk, 1)),
    }
}
