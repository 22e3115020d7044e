//! Messages of peers about fetching and giving, each handed to the part that deals with it.

use super::downloads::Downloads;
use super::effects::Effects;
use super::open_blob::OpenBlob;
use super::uploads::Uploads;
use crate::schedule::PeerKey;
use crate::wire::{Have, Message, Offer};

/// Chunks that a message names for each unit of work. Each may change who has it, or who needs it.
const NAMED: u64 = 2;

impl<B: OpenBlob> Downloads<B> {
    /// Handles a message about fetching or giving, and returns any other message. Wants and offers are among
    /// the others, because the caller knows whom it admits ([`Uploads::want`], [`Downloads::offered`]).
    pub fn heard(
        &mut self,
        peer: PeerKey,
        message: Message,
        effects: &mut Effects<'_, B>,
        uploads: &mut Uploads<B>,
    ) -> Option<Message> {
        match message {
            Message::Begin { blob } => uploads.begin(peer, blob),
            Message::Unwant { blob } => uploads.unwant(peer, blob, effects),
            Message::Have { blob, add } => self.have(peer, blob, add, effects, uploads),
            Message::Gone { blob } | Message::Absent { blob } => self.absent(peer, blob, effects, uploads),
            Message::Decline { blob, chunk, why } => {
                self.declined(peer, blob, chunk, why, effects, uploads);
            }
            Message::Request { blob, first, count } => {
                self.asked(peer, (blob, first, count), effects, uploads);
            }
            Message::Need { blob, add, drop } => self.needs(peer, blob, (add, drop), effects, uploads),
            // This grant is for a want that was taken back: it crossed our `Unwant`.
            Message::Grant { blob, .. } if !self.is_asked(peer, blob) => {}
            Message::Grant { blob, count, hint } => {
                self.granted(peer, (blob, count, hint), effects, uploads);
            }
            Message::Push { blob, chunk } => self.pushed(peer, (blob, chunk)),
            Message::Refuse { blob, count, busy } => {
                self.refused(peer, (blob, count, busy), effects, uploads);
            }
            Message::Reads { blob } => self.reads(peer, blob, effects, uploads),
            Message::Gateways { id, beats } => self.gateways(peer, id, &beats, effects, uploads),
            other => return Some(other),
        }
        None
    }

    /// Returns the work that a message causes beyond that of its bytes, in units of
    /// [`MESSAGE_WORK`](crate::limits::MESSAGE_WORK): a few bytes may name all chunks of a blob.
    pub fn work_of(&self, peer: PeerKey, message: &Message, uploads: &Uploads<B>) -> u64 {
        let named = |set: &Have, chunks: u32| match set {
            Have::All => u64::from(chunks),
            Have::Runs(runs) => runs.iter().map(|(_, count)| u64::from(*count)).sum(),
            Have::Bits(bytes) => bytes.iter().map(|byte| u64::from(byte.count_ones())).sum(),
        };
        let named = match message {
            Message::Need { blob, add, drop } => uploads.taken(peer, *blob).map_or(0, |source| {
                let chunks = source.geometry().chunks();
                named(add, chunks) + named(drop, chunks)
            }),
            Message::Have { blob, add } => named(add, self.chunks_offered(peer, *blob)),
            _ => 0,
        };
        named / NAMED
    }

    /// Handles a peer's offer. An offer that is not `taken` answers the want and does no more. Returns false
    /// if the offer crossed our `Unwant`: the peer is asked again, because it has some of the blob.
    pub fn offered(
        &mut self,
        peer: PeerKey,
        offer: Offer,
        taken: bool,
        effects: &mut Effects<'_, B>,
        uploads: &mut Uploads<B>,
    ) -> bool {
        let blob = offer.blob;
        if !self.is_asked(peer, blob) {
            return false;
        }
        if taken {
            self.offer(peer, offer, effects, uploads);
        }
        self.answered(peer, blob, effects);
        true
    }
}
