//! Watchers of downloads: the owner that keeps each download running, and the view that jobs wait on.
//!
//! [`Downloads`] keeps a plain view of each download. After each event the actor passes the views that have
//! changed to [`Watchers`], and tasks that wait on them wake.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use tokio::sync::watch;

use crate::exchange::{DownloadView, Downloads};
use crate::id::ContentId;
use crate::store::Stored;

/// A token that keeps a download running: the job that fetches holds it, and its drop ends the download.
#[derive(Debug, Default)]
pub(crate) struct Owner(());

/// The watchers of one download.
#[derive(Debug)]
struct Watched {
    /// The job that fetches. Once it is gone the download ends; onlookers do not keep it.
    owner: Weak<Owner>,
    /// The view for the owner and for onlookers.
    view: watch::Sender<DownloadView>,
}

/// The watchers of all downloads of one network.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    all: BTreeMap<ContentId, Watched>,
}

impl Watchers {
    /// Returns the view of a download that has an owner.
    pub(crate) fn watch(&self, id: ContentId) -> Option<watch::Receiver<DownloadView>> {
        self.all.get(&id).filter(|w| w.owner.strong_count() > 0).map(|w| w.view.subscribe())
    }

    /// Adds a download that is about to be started for this owner, and returns its view.
    pub(crate) fn add(&mut self, id: ContentId, owner: &Arc<Owner>) -> watch::Receiver<DownloadView> {
        let (view, seen) = watch::channel(DownloadView::default());
        self.all.insert(id, Watched { owner: Arc::downgrade(owner), view });
        seen
    }

    /// Returns the view of a download, which is added if it does not run yet.
    pub(crate) fn watch_or_add(
        &mut self,
        id: ContentId,
        owner: &Arc<Owner>,
    ) -> watch::Receiver<DownloadView> {
        match self.all.get(&id) {
            Some(watched) => watched.view.subscribe(),
            None => self.add(id, owner),
        }
    }

    /// Removes a download that ends.
    pub(crate) fn remove(&mut self, id: ContentId) {
        self.all.remove(&id);
    }

    /// Removes the downloads whose owners are gone, and returns them.
    pub(crate) fn take_orphans(&mut self) -> Vec<ContentId> {
        let is_orphan = |watched: &Watched| watched.owner.strong_count() == 0;
        let orphans: Vec<ContentId> =
            self.all.iter().filter(|(_, watched)| is_orphan(watched)).map(|(id, _)| *id).collect();
        orphans.iter().for_each(|id| self.remove(*id));
        orphans
    }

    /// Shows the watchers what has changed.
    pub(crate) fn publish(&self, downloads: &mut Downloads<Stored>) {
        downloads.publish(|id, view| {
            if let Some(watched) = self.all.get(&id) {
                watched.view.send_replace(view.clone());
            }
        });
    }

    /// Returns the id and view of each download that has an owner. The others are about to end.
    pub(crate) fn views(&self, downloads: &Downloads<Stored>) -> Vec<(ContentId, DownloadView)> {
        let owned = |id: &ContentId| self.all.get(id).is_some_and(|w| w.owner.strong_count() > 0);
        downloads.views().filter(|(id, _)| owned(id)).map(|(id, view)| (id, view.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_download_whose_owner_is_gone_ends_whoever_looks_on() {
        let (mut watchers, id) = (Watchers::default(), ContentId::from_bytes([1; 32]));
        let owner: Arc<Owner> = Arc::default();
        let onlooker = watchers.add(id, &owner);
        assert!(watchers.watch(id).is_some() && watchers.take_orphans().is_empty());
        drop(owner);
        assert!(watchers.watch(id).is_none(), "another owner begins anew");
        assert_eq!(watchers.take_orphans(), [id]);
        assert!(onlooker.has_changed().is_err(), "the onlooker sees the end");
    }
}
