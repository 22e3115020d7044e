//! Destinations at which something is being put: two contents do not go to one place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::Store;
use crate::id::ContentId;

/// The destinations of all that is being fetched: as many as there are jobs.
#[derive(Debug, Default)]
pub(super) struct Claims(Mutex<BTreeMap<PathBuf, ContentId>>);

/// A destination that is nobody else's while this lives.
#[derive(Debug)]
pub struct Claim {
    claims: Arc<Claims>,
    dest: PathBuf,
}

impl Claims {
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl Store {
    /// Takes a destination for a content.
    ///
    /// # Errors
    /// The content that is being put there.
    pub fn claim(&self, dest: &Path, id: ContentId) -> Result<Claim, ContentId> {
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
        Ok(Claim { claims, dest })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.dest);
    }
}
