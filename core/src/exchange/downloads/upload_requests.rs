//! Requests of downloaders, checked and passed to the scheduler, which shares out our uplink.
//!
//! A message that names a blob that we withdrew meanwhile is no fault: it crossed our Gone. The module also
//! passes on two kinds of message from peers that upload to us: grants, and beats of our site's gateways.

use std::time::Duration;

use super::Downloads;
use super::download::Doing;
use crate::exchange::effects::Effects;
use crate::exchange::open_blob::OpenBlob;
use crate::exchange::uploads::{UploadChange, Uploads};
use crate::id::ContentId;
use crate::limits;
use crate::schedule::{Beat, Input, PeerKey};
use crate::wire::{GatewayBeat, Handle, Have, Message, RefusalReason};

impl<B: OpenBlob> Downloads<B> {
    /// Tells the scheduler which blobs can be fetched from us and which peers fetch them, as far as it has
    /// changed.
    pub fn shared(&mut self, effects: &mut Effects<'_, B>, uploads: &mut Uploads<B>) {
        let news = uploads.take_news();
        if news.is_empty() {
            return;
        }
        let now = effects.now();
        let mut begins = Vec::new();
        for news in news {
            let input = match news {
                UploadChange::Open(blob) => Input::Serve {
                    blob: self.key(blob.id()),
                    geometry: blob.geometry(),
                    have: blob.have(),
                    origin: blob.is_origin(),
                },
                UploadChange::Takes { peer, id, begin } => {
                    let blob = self.key(id);
                    if let Some(geometry) = begin {
                        begins.push((peer, blob, geometry));
                    }
                    Input::Interested { peer, blob }
                }
                UploadChange::TakesNot(peer, id) => {
                    let Some(blob) = self.keys.get(&id).copied() else { continue };
                    Input::NotInterested { peer, blob }
                }
                UploadChange::Closed(id) => {
                    let Some(blob) = self.keys.get(&id).copied() else { continue };
                    if !self.downloads.contains_key(&blob) {
                        self.keys.remove(&id);
                        self.ids.remove(&blob);
                    }
                    Input::Withdraw { blob }
                }
            };
            self.scheduler.handle(input, now, &mut self.out);
        }
        for (peer, blob, geometry) in begins {
            self.begins(peer, blob, geometry, now);
        }
        self.carry_out(effects, uploads);
        self.pushes.clear();
    }

    /// Handles a downloader's list of chunks that it would now accept, or no longer.
    pub(crate) fn needs(
        &mut self,
        peer: PeerKey,
        handle: Handle,
        (add, drop): (Have, Have),
        effects: &mut Effects<'_, B>,
        uploads: &Uploads<B>,
    ) {
        // The blob was withdrawn: the message crossed our Gone.
        let Some(source) = uploads.taken(peer, handle) else { return };
        let chunks = source.geometry().chunks();
        let (Ok(add), Ok(drop)) = (add.into_bitmap(chunks), drop.into_bitmap(chunks)) else {
            return effects.doom(peer, "needs chunks that cannot be", true);
        };
        let blob = self.key(source.id());
        self.hear(Input::NeedDelta { peer, blob, add, drop }, effects, uploads);
    }

    /// Handles a downloader's request for neighbouring chunks.
    pub(crate) fn asked(
        &mut self,
        peer: PeerKey,
        (handle, first, count): (Handle, u32, u32),
        effects: &mut Effects<'_, B>,
        uploads: &Uploads<B>,
    ) {
        let end = first.checked_add(count).filter(|_| count as usize <= limits::REQUESTS_PER_PEER);
        let Some(end) = end else { return effects.doom(peer, "asks for chunks that cannot be", true) };
        let Some(source) = uploads.taken(peer, handle) else {
            // The blob was withdrawn: the message crossed our Gone.
            for chunk in first..end {
                effects.send(peer, Message::Decline { blob: handle, chunk, why: RefusalReason::Missing });
            }
            return;
        };
        let (blob, now) = (self.key(source.id()), effects.now());
        for chunk in first..end {
            self.scheduler.handle(Input::Requested { peer, blob, chunk }, now, &mut self.out);
        }
        self.carry_out(effects, uploads);
    }

    /// Handles a downloader's refusal of some of its grants. `busy` means that it has no room for now, else
    /// it needs nothing that we have.
    pub(crate) fn refused(
        &mut self,
        peer: PeerKey,
        (handle, count, busy): (Handle, u32, bool),
        effects: &mut Effects<'_, B>,
        uploads: &Uploads<B>,
    ) {
        let Some(source) = uploads.taken(peer, handle) else { return };
        let blob = self.key(source.id());
        self.hear(Input::GrantDeclined { peer, blob, count, busy }, effects, uploads);
    }

    /// Handles the progress of a transfer to a peer: this many more bytes of a chunk were sent.
    pub fn sending(
        &mut self,
        peer: PeerKey,
        (handle, bytes): (Handle, u64),
        effects: &mut Effects<'_, B>,
        uploads: &Uploads<B>,
    ) {
        let Some(source) = uploads.taken(peer, handle) else { return };
        let blob = self.key(source.id());
        self.hear(Input::Sending { peer, blob, bytes }, effects, uploads);
    }

    /// Handles the end of a transfer to a peer: the chunk was sent `whole`, or will not be.
    pub fn sent(
        &mut self,
        peer: PeerKey,
        (handle, whole): (Handle, bool),
        effects: &mut Effects<'_, B>,
        uploads: &Uploads<B>,
    ) {
        let Some(source) = uploads.taken(peer, handle) else { return };
        let blob = self.key(source.id());
        self.hear(Input::Sent { peer, blob, whole }, effects, uploads);
    }

    /// Handles a downloader's notice that it takes the chunks of a blob in order.
    pub(crate) fn reads(
        &mut self,
        peer: PeerKey,
        handle: Handle,
        effects: &mut Effects<'_, B>,
        uploads: &Uploads<B>,
    ) {
        let Some(source) = uploads.taken(peer, handle) else { return };
        let blob = self.key(source.id());
        self.hear(Input::Reads { peer, blob }, effects, uploads);
    }

    /// Handles a holder's grant: permission to request `count` chunks. A grant that comes before the download
    /// has started is kept, at most [`limits::HELD_GRANTS`] of them.
    pub(crate) fn granted(
        &mut self,
        peer: PeerKey,
        (handle, count, hint): (Handle, u32, Option<u32>),
        effects: &mut Effects<'_, B>,
        uploads: &Uploads<B>,
    ) {
        let Some(blob) = self.by_handle(handle) else { return };
        if let Some(download) = self.downloads.get_mut(&blob)
            && !matches!(download.doing, Doing::Active { .. })
        {
            match download.early.len() < limits::HELD_GRANTS {
                true => download.early.push((peer, count, hint)),
                false => effects.send(peer, Message::Refuse { blob: handle, count, busy: true }),
            }
            return;
        }
        self.hear(Input::Granted { peer, blob, count, hint }, effects, uploads);
    }

    /// Handles a neighbour's list of the nodes of our site that fetch a blob across the site's border.
    pub(crate) fn gateways(
        &mut self,
        peer: PeerKey,
        id: ContentId,
        beats: &[GatewayBeat],
        effects: &mut Effects<'_, B>,
        uploads: &Uploads<B>,
    ) {
        let Some(blob) = self.active(id) else { return };
        let beats = beats
            .iter()
            .map(|b| Beat {
                tag: b.tag,
                number: b.number,
                whole: b.whole,
                age: Duration::from_millis(b.age.into()),
            })
            .collect();
        self.hear(Input::Gateways { peer, blob, beats }, effects, uploads);
    }
}
