//! Learning: finding out kind, length and hash list of an id.
//!
//! Peers only claim what an id is. The learner ([`resolve`]) chooses one claim at a time, and this module
//! fetches its proof: the hash list, or for a one-chunk blob the chunk itself. Peers with a false claim are
//! banned. The owner then sees the stage [`Stage::Learned`] and decides where the chunks go.
//!
//! [`resolve`]: crate::schedule::resolve

use std::sync::Arc;

use super::Downloads;
use super::download::Doing;
use crate::content::tree::{HashList, encoded_len};
use crate::exchange::effects::Effects;
use crate::exchange::open_blob::OpenBlob;
use crate::exchange::orders::ReceiveCommand;
use crate::exchange::view::{Learned, Stage};
use crate::schedule::resolve::{ContentClaim, Step};
use crate::schedule::{BlobKey, PeerKey};
use crate::wire::Message;

impl<B: OpenBlob> Downloads<B> {
    /// Handles a hash list that was requested from a peer.
    pub fn list(&mut self, peer: PeerKey, blob: u32, bytes: &[u8], effects: &mut Effects<'_, B>) {
        let Some(key) = self.by_handle(blob) else { return };
        let Some(download) = self.downloads.get_mut(&key) else { return };
        let Doing::Learning { learner, lists, .. } = &mut download.doing else { return };
        let Some(claim) = learner.asked(peer) else { return };
        let list = HashList::decode(download.id, claim.kind, claim.geometry, bytes);
        let ok = list.is_ok();
        if let Ok(list) = list {
            lists.insert(peer, Arc::new(list));
        }
        let step = learner.answered(peer, ok);
        self.step(key, step, effects);
    }

    /// Handles the requested chunk of a one-chunk blob; `None` if it did not verify.
    pub fn only_chunk(
        &mut self,
        peer: PeerKey,
        blob: u32,
        bytes: Option<Vec<u8>>,
        effects: &mut Effects<'_, B>,
    ) {
        let Some(key) = self.by_handle(blob) else { return };
        let Some(download) = self.downloads.get_mut(&key) else { return };
        let Doing::Learning { learner, only, .. } = &mut download.doing else { return };
        let ok = bytes.is_some();
        let size = bytes.as_ref().map_or(0, |b| b.len() as u64);
        *only = bytes;
        if !ok {
            effects.send(peer, Message::Bad { blob, chunk: 0 });
        }
        let step = learner.answered(peer, ok);
        download.credit_bytes(peer, size, effects);
        self.step(key, step, effects);
    }

    /// Carries out the learner's decisions until there are none left.
    pub(super) fn step(&mut self, key: BlobKey, mut step: Option<Step>, effects: &mut Effects<'_, B>) {
        while let Some(now_do) = step.take() {
            let Some(download) = self.downloads.get_mut(&key) else { return };
            let handle = download.handle;
            let Doing::Learning { learner, lists, .. } = &mut download.doing else { return };
            match now_do {
                Step::AskList(peer, claim) => {
                    effects.expect(
                        peer,
                        ReceiveCommand::List { blob: handle, len: encoded_len(claim.geometry) },
                    );
                    if !self.sends_list(peer, key, effects) {
                        effects.send(peer, Message::List { blob: handle });
                    }
                }
                Step::AskChunk(peer, claim) => {
                    // For a one-chunk blob the hash list follows from the id alone.
                    if let Ok(list) = HashList::decode(download.id, claim.kind, claim.geometry, &[]) {
                        let list = Arc::new(list);
                        lists.insert(peer, Arc::clone(&list));
                        effects.expect(peer, ReceiveCommand::Only { blob: handle, list });
                        if !self.sends_list(peer, key, effects) {
                            effects.send(peer, Message::Request { blob: handle, first: 0, count: 1 });
                        }
                    }
                }
                Step::Liar(peer) => {
                    step = learner.tick(effects.now());
                    download.offers.remove(&peer);
                    self.ban(key, peer, "its hash list or length is not that of the id", effects);
                }
                Step::Proven(claim) => self.proven(key, claim, effects),
            }
        }
    }

    /// Ends the learning: keeps the peers with the proven claim, bans the others, and shows the result to the
    /// owner.
    fn proven(&mut self, key: BlobKey, claim: ContentClaim, effects: &mut Effects<'_, B>) {
        let now = effects.now();
        let Some(download) = self.downloads.get_mut(&key) else { return };
        let Doing::Learning { learner, lists, only, .. } = &mut download.doing else { return };
        let peer = lists
            .iter()
            .find(|(_, l)| l.geometry() == claim.geometry && l.kind() == claim.kind)
            .map(|(p, _)| *p);
        let list = peer.and_then(|p| lists.get(&p)).map(|l| HashList::clone(l));
        let list = list.or_else(|| HashList::decode(download.id, claim.kind, claim.geometry, &[]).ok());
        let Some(list) = list else {
            // The claim says that the content is empty, and the id is not that of empty content.
            let liars: Vec<PeerKey> =
                download.offers.iter().filter(|(_, h)| h.claim == claim).map(|(p, _)| *p).collect();
            let mut step = None;
            for liar in liars {
                step = learner.lost(liar, now).or(step);
                download.offers.remove(&liar);
                effects.doom(liar, "says that the id is that of an empty file", true);
            }
            return self.step(key, step, effects);
        };
        let only = only.take();
        let names = download.offers.iter().filter(|(_, h)| h.claim == claim);
        let name = names.max_by_key(|(_, h)| h.origin).and_then(|(_, h)| h.name.clone());
        download.doing = Doing::Learned(claim.geometry, claim.kind);
        let liars: Vec<PeerKey> =
            download.offers.iter().filter(|(_, h)| h.claim != claim).map(|(p, _)| *p).collect();
        liars.iter().for_each(|liar| drop(download.offers.remove(liar)));
        for liar in liars {
            self.ban(key, liar, "offered the blob with another length than it has", effects);
        }
        let learned = Arc::new(Learned { list, name, only });
        self.change_view(key, |view| view.stage = Stage::Learned(learned));
    }
}
