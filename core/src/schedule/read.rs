//! Reading along: somebody plays a blob, or pipes it on, while it arrives.
//!
//! Only chunks within a few seconds of the first missing one (the *head*) are requested. The head itself is
//! requested from any holder when nothing is here yet, or when nobody has sent it for a while. Of the others
//! a reader takes the chunk that a publisher would rather send, else one that no neighbour has or is being
//! sent. So several readers of one place divide what the publisher sends, and give it to each other in time.

use std::borrow::Cow;
use std::time::Duration;

use super::holders::under_way;
use super::pick::Picker;
use super::{BlobKey, BlobSchedule, Now, Scheduler};
use crate::content::bitmap::Bitmap;
use crate::limits;

/// The time for which a head that is requested from nobody is left to neighbours, if twice the time that
/// chunks take lately is not longer.
const PATIENCE: Duration = Duration::from_millis(150);
/// The chunks from the head on that are requested from a second holder when they are late.
const URGENT: u32 = 2;

/// The place of a reader in a blob.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadPosition {
    /// The first chunk that is not here.
    head: u32,
    since: Now,
    /// The number of chunks, from the head on, that are requested.
    ahead: u32,
    /// True if the head is requested from any holder.
    hurry: bool,
}

impl ReadPosition {
    pub(super) const fn new(now: Now) -> Self {
        Self { head: 0, since: now, ahead: limits::READ_CHUNKS, hurry: true }
    }

    /// Returns those of these chunks that lie ahead.
    pub(super) fn ahead_of(&self, chunks: &Bitmap) -> Bitmap {
        let mut ahead = Bitmap::new(chunks.len());
        let end = self.head.saturating_add(self.ahead).min(chunks.len());
        (self.head..end).filter(|c| chunks.get(*c)).for_each(|c| ahead.set(c));
        ahead
    }

    /// Returns the head, if it may be requested from any holder.
    pub(super) fn urgent(&self) -> Option<u32> {
        self.hurry.then_some(self.head)
    }

    /// Returns true for a chunk that is requested from a second holder when it is late.
    pub(super) const fn is_near(&self, chunk: u32) -> bool {
        chunk < self.head + URGENT
    }

    /// Moves the head to the first chunk that is not here.
    fn follow(&mut self, picker: &Picker, ahead: u32, patience: Duration, now: Now) {
        let before = self.head;
        while self.head < picker.wanted().len() && !picker.is_missing(self.head) {
            self.head += 1;
        }
        if self.head != before {
            self.since = now;
        }
        self.ahead = ahead;
        self.hurry = self.head == 0 || now.saturating_sub(self.since) >= patience;
    }
}

impl Scheduler {
    /// Brings a reader's place up to date.
    pub(super) fn read_on(&mut self, blob: BlobKey, now: Now) {
        let (rate, service) = (self.taking.rate(), self.taking.service(true));
        let Some(b) = self.blobs.get_mut(&blob) else { return };
        let (Some(reading), Some(picker)) = (&mut b.reading, &b.picker) else { return };
        let chunks = under_way(rate, limits::READ_AHEAD) / b.geometry.chunk_size();
        let ahead = (chunks as u32).max(limits::READ_CHUNKS);
        let before = (reading.head, reading.ahead);
        reading.follow(picker, ahead, PATIENCE.max(service * 2), now);
        b.news |= before != (reading.head, reading.ahead);
    }
}

impl BlobSchedule {
    /// Returns the chunks that this node would take: those requested from nobody (of these only the ones
    /// ahead, when somebody reads along) and late ones. `None` if the blob is not fetched.
    pub(super) fn need(&self) -> Option<Cow<'_, Bitmap>> {
        let wanted = self.picker.as_ref()?.wanted();
        Some(match (&self.reading, &self.late) {
            (Some(reading), late) => {
                let ahead = reading.ahead_of(wanted);
                Cow::Owned(late.as_ref().map_or_else(|| ahead.clone(), |late| ahead.or(late)))
            }
            (None, Some(late)) if wanted.is_empty() => Cow::Borrowed(late),
            (None, _) => Cow::Borrowed(wanted),
        })
    }
}
