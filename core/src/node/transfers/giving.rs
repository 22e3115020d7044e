//! What others take of us: their words for the scheduler, checked.

use std::time::Duration;

use super::Transfers;
use super::download::Doing;
use crate::id::ContentId;
use crate::limits;
use crate::node::peers::Peers;
use crate::node::sharing::{News, Sharing};
use crate::schedule::{Beat, Input, PeerKey};
use crate::wire::{GatewayBeat, Handle, Have, Message, Why};

impl Transfers {
    /// Tells the scheduler what has changed about what we give.
    pub(in crate::node) fn shared(&mut self, peers: &mut Peers, sharing: &mut Sharing) {
        let news = sharing.take_news();
        if news.is_empty() {
            return;
        }
        let now = self.epoch.elapsed();
        let mut begins = Vec::new();
        for news in news {
            let input = match news {
                News::Open(blob) => Input::Serve {
                    blob: self.key(blob.id()),
                    geometry: blob.geometry(),
                    have: blob.have(),
                    origin: blob.is_origin(),
                },
                News::Takes { peer, id, begin } => {
                    let blob = self.key(id);
                    if let Some(geometry) = begin {
                        begins.push((peer, blob, geometry));
                    }
                    Input::Takes { peer, blob }
                }
                News::TakesNot(peer, id) => {
                    let Some(blob) = self.keys.get(&id).copied() else { continue };
                    Input::TakesNot { peer, blob }
                }
                News::Closed(id) => {
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
        self.carry_out(peers, sharing);
        self.pushes.clear();
    }

    /// A peer says what it would take of us.
    pub(in crate::node) fn needs(
        &mut self,
        peer: PeerKey,
        handle: Handle,
        (add, drop): (Have, Have),
        peers: &mut Peers,
        sharing: &Sharing,
    ) {
        // Withdrawn: it crossed our Gone.
        let Some(source) = sharing.taken(peer, handle) else { return };
        let chunks = source.geometry().chunks();
        let (Ok(add), Ok(drop)) = (add.into_bitmap(chunks), drop.into_bitmap(chunks)) else {
            return peers.doom(peer, "needs chunks that cannot be", true);
        };
        let blob = self.key(source.id());
        self.hear(Input::Needs { peer, blob, add, drop }, peers, sharing);
    }

    /// A peer asks for chunks.
    pub(in crate::node) fn asked(
        &mut self,
        peer: PeerKey,
        (handle, first, count): (Handle, u32, u32),
        peers: &mut Peers,
        sharing: &Sharing,
    ) {
        let end = first.checked_add(count).filter(|_| count as usize <= limits::REQUESTS_PER_PEER);
        let Some(end) = end else { return peers.doom(peer, "asks for chunks that cannot be", true) };
        let Some(source) = sharing.taken(peer, handle) else {
            // Withdrawn: it crossed our Gone.
            for chunk in first..end {
                peers.send(peer, Message::Decline { blob: handle, chunk, why: Why::Missing });
            }
            return;
        };
        let (blob, now) = (self.key(source.id()), self.epoch.elapsed());
        for chunk in first..end {
            self.scheduler.handle(Input::Asked { peer, blob, chunk }, now, &mut self.out);
        }
        self.carry_out(peers, sharing);
    }

    /// A peer has no use for some of its grants.
    pub(in crate::node) fn refused(
        &mut self,
        peer: PeerKey,
        (handle, count, busy): (Handle, u32, bool),
        peers: &mut Peers,
        sharing: &Sharing,
    ) {
        let Some(source) = sharing.taken(peer, handle) else { return };
        let blob = self.key(source.id());
        self.hear(Input::Refused { peer, blob, count, busy }, peers, sharing);
    }

    /// A chunk went out to a peer, or will not.
    pub(in crate::node) fn sent(
        &mut self,
        peer: PeerKey,
        (handle, whole): (Handle, bool),
        peers: &mut Peers,
        sharing: &Sharing,
    ) {
        let Some(source) = sharing.taken(peer, handle) else { return };
        let blob = self.key(source.id());
        self.hear(Input::Sent { peer, blob, whole }, peers, sharing);
    }

    /// A peer takes the chunks of a blob in order.
    pub(in crate::node) fn reads(
        &mut self,
        peer: PeerKey,
        handle: Handle,
        peers: &mut Peers,
        sharing: &Sharing,
    ) {
        let Some(source) = sharing.taken(peer, handle) else { return };
        let blob = self.key(source.id());
        self.hear(Input::Reads { peer, blob }, peers, sharing);
    }

    /// A holder has a place of its uplink for us.
    pub(in crate::node) fn granted(
        &mut self,
        peer: PeerKey,
        (handle, count, hint): (Handle, u32, Option<u32>),
        peers: &mut Peers,
        sharing: &Sharing,
    ) {
        let Some(blob) = self.by_handle(handle) else { return };
        if let Some(download) = self.downloads.get_mut(&blob)
            && !matches!(download.doing, Doing::Active { .. })
        {
            match download.early.len() < limits::HELD_GRANTS {
                true => download.early.push((peer, count, hint)),
                false => peers.send(peer, Message::Refuse { blob: handle, count, busy: true }),
            }
            return;
        }
        self.hear(Input::Granted { peer, blob, count, hint }, peers, sharing);
    }

    /// A neighbour of our site tells who fetches across its border.
    pub(in crate::node) fn gateways(
        &mut self,
        peer: PeerKey,
        id: ContentId,
        beats: &[GatewayBeat],
        peers: &mut Peers,
        sharing: &Sharing,
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
        self.hear(Input::Gateways { peer, blob, beats }, peers, sharing);
    }
}
