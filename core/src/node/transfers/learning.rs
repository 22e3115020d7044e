//! Learning a blob: the claims of peers are tried one by one until one is proven.

use std::sync::Arc;

use super::Transfers;
use super::download::{Doing, Learned, Stage};
use crate::content::tree::{HashList, encoded_len};
use crate::node::peers::Peers;
use crate::node::session::Expect;
use crate::schedule::learn::{Claim, Step};
use crate::schedule::{BlobKey, PeerKey};
use crate::wire::Message;

impl Transfers {
    /// The hash list a peer was asked for.
    pub(in crate::node) fn list(&mut self, peer: PeerKey, blob: u32, bytes: &[u8], peers: &mut Peers) {
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
        self.step(key, step, peers);
    }

    /// The only chunk, which a peer was asked for; `None` if it did not verify.
    pub(in crate::node) fn only_chunk(
        &mut self,
        peer: PeerKey,
        blob: u32,
        bytes: Option<Vec<u8>>,
        peers: &mut Peers,
    ) {
        let Some(key) = self.by_handle(blob) else { return };
        let Some(download) = self.downloads.get_mut(&key) else { return };
        let Doing::Learning { learner, only, .. } = &mut download.doing else { return };
        let ok = bytes.is_some();
        let size = bytes.as_ref().map_or(0, |b| b.len() as u64);
        *only = bytes;
        if !ok {
            peers.send(peer, Message::Bad { blob, chunk: 0 });
        }
        let step = learner.answered(peer, ok);
        download.credit_bytes(peer, size, peers);
        self.step(key, step, peers);
    }

    pub(super) fn step(&mut self, key: BlobKey, mut step: Option<Step>, peers: &mut Peers) {
        while let Some(now_do) = step.take() {
            let Some(download) = self.downloads.get_mut(&key) else { return };
            let handle = download.handle;
            let Doing::Learning { learner, lists, .. } = &mut download.doing else { return };
            match now_do {
                Step::AskList(peer, claim) => {
                    peers.expect(peer, Expect::List { blob: handle, len: encoded_len(claim.geometry) });
                    if !self.sends_list(peer, key, peers) {
                        peers.send(peer, Message::List { blob: handle });
                    }
                }
                Step::AskChunk(peer, claim) => {
                    // Of one chunk the list is the id.
                    if let Ok(list) = HashList::decode(download.id, claim.kind, claim.geometry, &[]) {
                        let list = Arc::new(list);
                        lists.insert(peer, Arc::clone(&list));
                        peers.expect(peer, Expect::Only { blob: handle, list });
                        if !self.sends_list(peer, key, peers) {
                            peers.send(peer, Message::Request { blob: handle, first: 0, count: 1 });
                        }
                    }
                }
                Step::Liar(peer) => {
                    step = learner.tick(self.epoch.elapsed());
                    download.offers.remove(&peer);
                    download.ban(peer, "its hash list or length is not that of the id", peers);
                }
                Step::Proven(claim) => self.proven(key, claim, peers),
            }
        }
    }

    fn proven(&mut self, key: BlobKey, claim: Claim, peers: &mut Peers) {
        let now = self.epoch.elapsed();
        let Some(download) = self.downloads.get_mut(&key) else { return };
        let Doing::Learning { learner, lists, only, .. } = &mut download.doing else { return };
        let peer = lists
            .iter()
            .find(|(_, l)| l.geometry() == claim.geometry && l.kind() == claim.kind)
            .map(|(p, _)| *p);
        let list = peer.and_then(|p| lists.get(&p)).map(|l| HashList::clone(l));
        let list = list.or_else(|| HashList::decode(download.id, claim.kind, claim.geometry, &[]).ok());
        let Some(list) = list else {
            // Claims to be empty, and the id is not that of nothing.
            let liars: Vec<PeerKey> =
                download.offers.iter().filter(|(_, h)| h.claim == claim).map(|(p, _)| *p).collect();
            let mut step = None;
            for liar in liars {
                step = learner.lost(liar, now).or(step);
                download.offers.remove(&liar);
                peers.doom(liar, "says that the id is that of an empty file", true);
            }
            return self.step(key, step, peers);
        };
        let only = only.take();
        let names = download.offers.iter().filter(|(_, h)| h.claim == claim);
        let name = names.max_by_key(|(_, h)| h.origin).and_then(|(_, h)| h.name.clone());
        download.doing = Doing::Learned(claim.geometry, claim.kind);
        let liars: Vec<PeerKey> =
            download.offers.iter().filter(|(_, h)| h.claim != claim).map(|(p, _)| *p).collect();
        for liar in liars {
            download.offers.remove(&liar);
            download.ban(liar, "offered the blob with another length than it has", peers);
        }
        let learned = Arc::new(Learned { list, name, only });
        download.view.send_modify(|v| v.stage = Stage::Learned(learned));
    }
}
