//! News for the neighbours: the chunks that are here, and the chunks that this node would take from each of
//! them. News are sent together a few times a second, and to one neighbour at once before it is offered
//! something, so that its answer is up to date.

use std::borrow::Cow;
use std::time::Duration;

use super::{BlobKey, BlobSchedule, Now, Output, PeerBlob, PeerKey, Scheduler};
use crate::content::bitmap::Bitmap;
use crate::limits;

impl Scheduler {
    /// Sends news to all neighbours if they are due.
    pub(super) fn tell_due(&mut self, blob: BlobKey, now: Now, out: &mut Vec<Output>) {
        self.read_on(blob, now);
        let reads = self.blobs.get(&blob).is_some_and(|b| b.reading.is_some());
        let every = self.taking.news_every().min(if reads { limits::READ_NEWS } else { Duration::MAX });
        let due = |b: &BlobSchedule| {
            let complete = b.picker.as_ref().is_some_and(super::Picker::is_complete);
            b.news && (now >= b.told + every || complete)
        };
        if self.blobs.get(&blob).is_some_and(due) {
            self.tell_all(blob, now, out);
        }
    }

    /// Sends news to all neighbours now.
    pub(super) fn tell_all(&mut self, blob: BlobKey, now: Now, out: &mut Vec<Output>) {
        let Some(b) = self.blobs.get_mut(&blob) else { return };
        for peer in b.links.keys().copied().collect::<Vec<_>>() {
            b.tell(peer, blob, out);
        }
        (b.news, b.told) = (false, now);
    }
}

impl BlobSchedule {
    /// Sends one neighbour the news that it does not know yet.
    pub(super) fn tell(&mut self, peer: PeerKey, blob: BlobKey, out: &mut Vec<Output>) {
        let Some(link) = self.links.get_mut(&peer) else { return };
        if link.taker.is_some() && link.told_have != self.have {
            let add = self.have.without(&link.told_have);
            link.told_have.clone_from(&self.have);
            out.push(Output::Have { peer, blob, add });
        }
        let Some(link) = self.links.get(&peer) else { return };
        let Some(told) = &link.told_need else { return };
        if self.reading.is_some() && !link.told_reads {
            out.push(Output::Reads { peer, blob });
        }
        let need = self.need_of(link);
        // Nearly always there is nothing new: nothing is copied then. A node that needs nothing says so once,
        // because a holder that has heard nothing offers it places in vain.
        if *told != *need || !link.needs_told {
            let (need, add, drop) = (need.clone().into_owned(), need.without(told), told.without(&need));
            if let Some(link) = self.links.get_mut(&peer) {
                (link.told_need, link.told_reads) = (Some(need), self.reading.is_some());
                link.needs_told = true;
            }
            out.push(Output::Need { peer, blob, add, drop });
        }
    }

    /// Returns the chunks that this node would take from a neighbour, without those that the neighbour owes
    /// already. A neighbour outside the site is told only the chunks that this node is to import.
    fn need_of(&self, link: &PeerBlob) -> Cow<'_, Bitmap> {
        let Some(need) = self.need().filter(|_| !self.paused) else {
            return Cow::Owned(Bitmap::new(self.have.len()));
        };
        // Nobody owes a wanted chunk, but somebody owes each late one.
        let late = self.late.is_some() && !link.owed.is_empty();
        let need = if late { Cow::Owned(need.without(&link.owed)) } else { need };
        match self.border.as_ref().filter(|_| !link.local) {
            None => need,
            Some(border) => Cow::Owned(need.and(border.mine())),
        }
    }
}
