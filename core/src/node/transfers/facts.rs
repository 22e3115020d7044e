//! What holds a download up: looked at when somebody asks.

use super::download::{Doing, Download};
use super::*;
use crate::node::session::web::Lack;

/// A peer that offers some of it.
#[derive(Debug, Clone)]
pub(in crate::node) struct HolderFacts {
    pub(in crate::node) peer: PeerKey,
    /// Chunks it has of those that are missing here.
    pub(in crate::node) useful: u32,
    /// Bytes a second from it, over all that is fetched of it.
    pub(in crate::node) rate: u64,
    /// It gives, or has not been asked for long.
    pub(in crate::node) gives: bool,
}

/// See the module's text.
#[derive(Debug, Clone, Default)]
pub(in crate::node) struct Facts {
    /// Its length and hashes are known.
    pub(in crate::node) learned: bool,
    /// The disk is full, or has failed: it waits.
    pub(in crate::node) paused: bool,
    pub(in crate::node) chunks: u32,
    pub(in crate::node) missing: u32,
    /// Missing chunks that no connected peer has: the first one, and how many.
    pub(in crate::node) nowhere: Option<(u32, u32)>,
    pub(in crate::node) holders: Vec<HolderFacts>,
    /// Bytes a second in all, smoothed.
    pub(in crate::node) rate: u64,
}

impl Transfers {
    /// How a download stands; `None` if this is not being fetched. Costs a look at each chunk of each holder.
    pub(in crate::node) fn facts(&self, id: ContentId) -> Option<Facts> {
        let download = self.active(id).and_then(|key| self.downloads.get(&key))?;
        let mut facts = Facts { rate: download.view.borrow().progress.rate, ..Facts::default() };
        let missing = missing(download);
        if let Some(missing) = &missing {
            (facts.learned, facts.chunks) = (true, missing.len() as u32);
            facts.missing = missing.iter().filter(|m| **m).count() as u32;
        }
        facts.paused = matches!(&download.doing, Doing::Active { paused: Some(_), .. });
        let lacks = |chunk: usize| missing.as_ref().is_none_or(|missing| missing[chunk]);
        let mut somewhere = vec![false; missing.as_ref().map_or(0, Vec::len)];
        for (peer, held) in &download.offers {
            let has = (0..held.have.len()).filter(|chunk| held.have.get(*chunk) && lacks(*chunk as usize));
            let mut useful = 0;
            for chunk in has {
                useful += 1;
                if let Some(place) = somewhere.get_mut(chunk as usize) {
                    *place = true;
                }
            }
            let gives = self.scheduler.is_of_use(*peer, self.epoch.elapsed());
            facts.holders.push(HolderFacts { peer: *peer, useful, rate: self.rate(*peer), gives });
        }
        if let Some(missing) = missing {
            let mut nowhere = missing.iter().zip(&somewhere).zip(0..).filter(|((m, s), _)| **m && !**s);
            facts.nowhere = nowhere.next().map(|(_, first)| (first, 1 + nowhere.count() as u32));
        }
        Some(facts)
    }
}

impl Transfers {
    /// What web seeds must know of a download; `webs` are their own sessions, which have everything.
    pub(in crate::node) fn lack(&self, id: ContentId, webs: &[PeerKey]) -> Lack {
        let download = self.active(id).and_then(|key| self.downloads.get(&key));
        let Some((download, missing)) = download.and_then(|d| Some((d, missing(d)?))) else {
            return Lack::default();
        };
        let peers: Vec<&Bitmap> = download
            .offers
            .iter()
            .filter(|(peer, _)| !webs.contains(peer))
            .map(|(_, held)| &held.have)
            .collect();
        let has = |chunk: u32| peers.iter().any(|have| chunk < have.len() && have.get(chunk));
        let nowhere = missing.iter().zip(0..).filter(|(missing, chunk)| **missing && !has(*chunk)).count();
        Lack { learned: true, nowhere: nowhere as u32 }
    }
}

/// Which chunks are missing, once it is known how many there are.
fn missing(download: &Download) -> Option<Vec<bool>> {
    let geometry = download.geometry()?;
    let all = 0..geometry.chunks();
    Some(match &download.doing {
        Doing::Active { blob, .. } => {
            let skipped = blob.skipped();
            let wanted = |chunk: u32| skipped.as_ref().is_none_or(|skipped| !skipped.get(chunk));
            all.map(|chunk| wanted(chunk) && geometry.chunk(chunk).is_some_and(|c| !blob.has(c))).collect()
        }
        _ => vec![true; geometry.chunks() as usize],
    })
}
