//! Gathers chunks that need not come from a peer, because files that are here hold their bytes.

use std::sync::Arc;

use rayon::prelude::*;

use super::{GetJob, follow};
use crate::api::event::Failure;
use crate::api::status::Progress;
use crate::content::geometry::ChunkIndex;
use crate::content::zeros;
use crate::limits;
use crate::node::jobs::store_failure;
use crate::node::network::blocking;
use crate::store::{Begin, Blob, Finder, WriteTarget};
use crate::transfer::session::event::Outcome;

/// Converts the progress of a blob into that of the part of it that was requested.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    /// Bytes of the blob that were here at the start.
    base: u64,
    /// Bytes of the requested part that were here at the start.
    here: u64,
    /// Bytes of the requested part.
    total: u64,
}

impl GetJob {
    /// Returns the places in which chunks of a blob are looked for before peers are asked.
    pub(super) async fn finder(&self, begin: &Begin) -> Result<Option<Arc<Finder>>, Failure> {
        let (store, begin) = (self.context.store.clone(), begin.clone());
        let finder = blocking(move || store.finder(&begin)).await?.map_err(store_failure)?;
        Ok((!finder.is_empty()).then(|| Arc::new(finder)))
    }

    /// Finds chunks of zeros by their hashes, and leaves holes in their places: they need not come from
    /// anywhere.
    pub(super) async fn leave_holes(&self, blob: &Arc<Blob>) -> Result<(), Failure> {
        let lacking: Vec<ChunkIndex> =
            blob.lacking().iter().filter_map(|c| blob.geometry().chunk(c)).collect();
        // The only chunk of a blob is there as soon as anything is known of the blob.
        if blob.geometry().chunks() < 2 || lacking.is_empty() {
            return Ok(());
        }
        let of = Arc::clone(blob);
        let find = move || {
            let (mut found, stretches) = zeros::sample(of.list(), &lacking);
            let more = stretches.par_iter().flat_map_iter(|stretch| stretch.zeros(of.list()));
            found.extend(more.collect::<Vec<_>>());
            found
        };
        for chunk in blocking(find).await? {
            let bytes = vec![0; blob.geometry().size(chunk)];
            match self.write(blob, chunk, bytes).await? {
                Outcome::Disk { .. } => return Ok(()),
                Outcome::Malformed => return Err(follow::malformed()),
                Outcome::Written | Outcome::Bad => {}
            }
        }
        self.check_deadline(true)
    }

    /// Writes all chunks that are found. A full disk ends it early: chunks from peers wait for room.
    pub(super) async fn gather(&self, blob: &Arc<Blob>, finder: &Arc<Finder>) -> Result<(), Failure> {
        let lacking: Vec<ChunkIndex> =
            blob.lacking().iter().filter_map(|c| blob.geometry().chunk(c)).collect();
        let at_once =
            (limits::CHUNK_MAX * limits::SOURCE_CHUNKS as u64 / blob.geometry().chunk_size()).max(1);
        let at_once = usize::try_from(at_once).unwrap_or(1).min(limits::SOURCE_CHUNKS);
        for chunks in lacking.chunks(at_once) {
            let (finder, chunks) = (Arc::clone(finder), chunks.to_vec());
            let find = move || {
                let found = chunks.into_par_iter().filter_map(|chunk| {
                    let mut bytes = Vec::new();
                    finder.find(chunk, &mut bytes).then_some((chunk, bytes))
                });
                found.collect::<Vec<_>>()
            };
            for (chunk, bytes) in blocking(find).await? {
                match self.write(blob, chunk, bytes).await? {
                    Outcome::Disk { .. } => return Ok(()),
                    Outcome::Malformed => return Err(follow::malformed()),
                    Outcome::Written | Outcome::Bad => {}
                }
            }
            self.check_deadline(true)?;
        }
        Ok(())
    }

    /// Sets the scale of the progress. From here on bytes come from peers.
    pub(super) fn measure(&mut self, target: &WriteTarget, blob: &Blob) {
        let geometry = blob.geometry();
        let have = blob.have();
        let sizes = have.iter().filter_map(|c| geometry.chunk(c)).map(|c| geometry.size(c) as u64);
        let (base, lacks) = (sizes.sum(), blob.bytes_of(&blob.lacking()));
        let total = match target {
            WriteTarget::Tree { manifest, .. } => {
                let asked = manifest.file_offsets().filter(|(entry, ..)| self.select.wants(&entry.path));
                asked.map(|(_, _, size)| size).sum()
            }
            WriteTarget::File(_) | WriteTarget::Store => blob.plain_bytes(geometry.len()),
        };
        let here = total.saturating_sub(lacks);
        // Bytes that were counted before the disk was full are here by now.
        self.here = if self.scale.is_none() { here } else { self.here };
        self.scale = Some(Scale { base, here, total });
    }

    /// Returns the progress of the requested part.
    pub(super) fn scaled(&self, progress: Progress) -> Progress {
        let Some(Scale { base, here, total }) = self.scale else { return progress };
        let done = (here + progress.done.saturating_sub(base)).min(total);
        let eta = (progress.rate > 0).then(|| (total - done) / progress.rate);
        Progress { done, total, eta, ..progress }
    }
}
