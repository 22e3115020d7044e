//! Facts about why a download does not go on, collected when `swarm why` or a web seed asks.

use super::download::{Doing, Download};
use super::*;

/// A peer that offers some of a download's blob.
#[derive(Debug, Clone)]
pub struct HolderFacts {
    /// The peer.
    pub peer: PeerKey,
    /// Number of chunks it has that are missing here.
    pub useful: u32,
    /// Smoothed rate at which the peer delivers, over all downloads, in bytes per second.
    pub rate: u64,
    /// True if the peer has granted or sent something lately or is new, and owes nothing that it has been
    /// silent about.
    pub gives: bool,
}

/// The state of a download, as far as a web seed needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lack {
    /// True once its length and hashes are known.
    pub learned: bool,
    /// Number of missing chunks that no peer has.
    pub nowhere: u32,
}

/// The state of one download.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// True once its length and hashes are known.
    pub learned: bool,
    /// True while it waits because the disk is full or failed.
    pub paused: bool,
    /// Number of chunks; 0 until `learned`.
    pub chunks: u32,
    /// Number of wanted chunks that are not here; 0 until `learned`.
    pub missing: u32,
    /// The first missing chunk that no connected peer has, and the number of all of those. `None` if there is
    /// none.
    pub nowhere: Option<(u32, u32)>,
    /// The peers that offer some of it.
    pub holders: Vec<HolderFacts>,
    /// Smoothed rate of the whole download, in bytes per second.
    pub rate: u64,
}

impl<B: OpenBlob> Downloads<B> {
    /// Returns the state of a download; `None` if the id is not being downloaded. The cost is a look at each
    /// chunk of each holder.
    pub fn facts(&self, id: ContentId, now: Now) -> Option<Facts> {
        let download = self.active(id).and_then(|key| self.downloads.get(&key))?;
        let mut facts = Facts { rate: download.view.progress.rate, ..Facts::default() };
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
            let gives = self.scheduler.is_of_use(*peer, now);
            facts.holders.push(HolderFacts { peer: *peer, useful, rate: self.rate(*peer), gives });
        }
        if let Some(missing) = missing {
            let mut nowhere = missing.iter().zip(&somewhere).zip(0..).filter(|((m, s), _)| **m && !**s);
            facts.nowhere = nowhere.next().map(|(_, first)| (first, 1 + nowhere.count() as u32));
        }
        Some(facts)
    }
}

impl<B: OpenBlob> Downloads<B> {
    /// Returns what a web seed must know of a download. `webs` are the sessions of web seeds, which have
    /// every chunk and do not count as peers here.
    pub fn lack(&self, id: ContentId, webs: &[PeerKey]) -> Lack {
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

/// Returns, for each chunk, whether it is wanted and missing. `None` while the number of chunks is unknown.
fn missing<B: OpenBlob>(download: &Download<B>) -> Option<Vec<bool>> {
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
