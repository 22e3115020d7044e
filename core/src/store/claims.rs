//! Claims on destinations: two contents never go to one place at the same time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::Store;
use crate::id::ContentId;

/// Destinations of all downloads; one per job.
#[derive(Debug, Default)]
pub(super) struct Claims(Mutex<BTreeMap<PathBuf, ContentId>>);

/// A destination that nobody else may use while this lives.
#[derive(Debug)]
pub struct DestinationClaim {
    claims: Arc<Claims>,
    dest: PathBuf,
}

impl Claims {
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl Store {
    /// Claims a destination for a content.
    ///
    /// # Errors
    /// The id of the content that has the destination now.
    pub fn claim(&self, dest: &Path, id: ContentId) -> Result<DestinationClaim, ContentId> {
        let parent = dest.parent().and_then(|parent| parent.canonicalize().ok());
        let dest = match (parent, dest.file_name()) {
            (Some(parent), Some(name)) => parent.join(name),
            _ => dest.to_owned(),
        };
        let claims = Arc::clone(&self.inner.claims);
        let mut taken = claims.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = taken.get(&dest) {
            return Err(*other);
        }
        taken.insert(dest.clone(), id);
        drop(taken);
        Ok(DestinationClaim { claims, dest })
    }
}

impl Drop for DestinationClaim {
    fn drop(&mut self) {
        self.claims.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.dest);
    }
}
