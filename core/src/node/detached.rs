//! The table of detached downloads: a daemon goes on with them until they are done or stopped, after a
//! restart too. Each is on the disk before it is in the table, and off the disk before it leaves the table.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::api::command::{Destination, Get};
use crate::api::event::Failure;
use crate::api::status::{DetachedRow, DetachedState};
use crate::content::link::Link;
use crate::id::ContentId;
use crate::store::Store;

/// Hex digits of the hash that tells the destinations of one id apart.
const PLACE: usize = 16;

/// A detached download as it is kept on the disk, in JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KeptDownload {
    /// Time of the request, seconds since 1970.
    pub(crate) since: u64,
    /// The request. Its target is a whole link.
    pub(crate) get: Get,
}

impl KeptDownload {
    /// Reads a detached download and its link; `None` if it is of a later version.
    fn read(bytes: &[u8]) -> Option<(Self, Link)> {
        let kept: Self = serde_json::from_slice(bytes).ok()?;
        let link = kept.get.target.expose().parse().ok()?;
        Some((kept, link))
    }
}

/// Returns the name of a detached download: two with one id and one destination are the same.
pub(super) fn name_of(id: ContentId, output: &Destination) -> String {
    let place = serde_json::to_vec(output).unwrap_or_default();
    format!("{id}-{}", &blake3::hash(&place).to_hex()[..PLACE])
}

/// State of a detached download.
#[derive(Debug, Clone)]
pub(super) struct DetachedView {
    pub(crate) row: DetachedRow,
    /// Failure of the last attempt.
    pub(crate) failure: Option<Failure>,
}

/// Sender of the states of one detached download.
pub(super) type DetachedStates = Arc<watch::Sender<DetachedView>>;

#[derive(Debug)]
struct DetachedDownload {
    get: Get,
    states: DetachedStates,
    task: Option<AbortHandle>,
}

impl DetachedDownload {
    fn new(kept: KeptDownload, link: &Link, state: DetachedState) -> Self {
        let to: Option<PathBuf> = match &kept.get.output {
            Destination::Path(path) | Destination::Into(path) => Some(path.clone()),
            Destination::Store | Destination::Hold => None,
        };
        let row = DetachedRow {
            id: link.id.to_string(),
            name: link.name.clone().unwrap_or_default(),
            to,
            since: kept.since,
            state,
            done: 0,
            total: None,
            trouble: None,
        };
        let states = Arc::new(watch::Sender::new(DetachedView { row, failure: None }));
        Self { get: kept.get, states, task: None }
    }
}

/// The detached downloads of a node.
#[derive(Debug)]
pub(super) struct Detached {
    /// True if this node goes on with them. Others only keep them.
    pub(crate) goes_on: bool,
    /// Held while the disk and the table change together.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// Downloads by name; `None` until they are read from the disk.
    all: Mutex<Option<BTreeMap<String, DetachedDownload>>>,
}

impl Detached {
    /// Returns a table that is not read from the disk yet.
    pub(super) fn new(goes_on: bool) -> Self {
        Self { goes_on, turn: tokio::sync::Mutex::default(), all: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<BTreeMap<String, DetachedDownload>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn first_state(&self) -> DetachedState {
        if self.goes_on { DetachedState::Starting } else { DetachedState::Waiting }
    }

    /// Reads the table from the disk, unless that was done before.
    pub(crate) fn load(&self, store: &Store) {
        let mut all = self.lock();
        if all.is_some() {
            return;
        }
        let read = |(name, bytes): (String, Vec<u8>)| {
            let Some((kept, link)) = KeptDownload::read(&bytes) else {
                tracing::warn!(%name, "a detached download of another version is left alone");
                return None;
            };
            Some((name, DetachedDownload::new(kept, &link, self.first_state())))
        };
        *all = Some(store.detached().into_iter().filter_map(read).collect());
    }

    /// Adds a download that is on the disk. A download of this name before it ends.
    pub(crate) fn add(&self, name: &str, kept: KeptDownload, link: &Link) -> DetachedStates {
        let new = DetachedDownload::new(kept, link, self.first_state());
        let states = Arc::clone(&new.states);
        let before = self.lock().get_or_insert_default().insert(name.to_owned(), new);
        if let Some(task) = before.and_then(|before| before.task) {
            task.abort();
        }
        states
    }

    /// Hands the downloads without a task to `spawn`, which returns their tasks.
    pub(crate) fn start(&self, spawn: impl Fn(&str, &Get, &DetachedStates) -> AbortHandle) {
        for (name, download) in self.lock().iter_mut().flatten() {
            if self.goes_on && download.task.is_none() {
                download.task = Some(spawn(name, &download.get, &download.states));
            }
        }
    }

    /// Removes a download, of which only `of` if that is given, and ends its task.
    pub(crate) fn remove(&self, name: &str, of: Option<&DetachedStates>) {
        let mut all = self.lock();
        let Some(all) = all.as_mut() else { return };
        if !all.get(name).is_some_and(|d| of.is_none_or(|of| Arc::ptr_eq(of, &d.states))) {
            return;
        }
        if let Some(task) = all.remove(name).and_then(|removed| removed.task)
            && of.is_none()
        {
            task.abort();
        }
    }

    /// Returns true if a download has this name and these states.
    pub(crate) fn is_current(&self, name: &str, states: &DetachedStates) -> bool {
        self.lock().iter().flatten().any(|(n, d)| n == name && Arc::ptr_eq(&d.states, states))
    }

    /// Returns true if there is a download of this name.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.lock().as_ref().is_some_and(|all| all.contains_key(name))
    }

    /// Returns the number of downloads.
    pub(crate) fn len(&self) -> usize {
        self.lock().as_ref().map_or(0, BTreeMap::len)
    }

    /// Returns the names of the downloads of the ids that begin with these digits.
    pub(crate) fn named(&self, digits: &str) -> Vec<String> {
        let all = self.lock();
        all.iter().flat_map(BTreeMap::keys).filter(|name| name.starts_with(digits)).cloned().collect()
    }

    /// Returns a row for each download, the oldest first.
    pub(crate) fn rows(&self) -> Vec<DetachedRow> {
        let mut rows: Vec<DetachedRow> =
            self.lock().iter().flatten().map(|(_, download)| download.states.borrow().row.clone()).collect();
        rows.sort_by(|a, b| (a.since, &a.id).cmp(&(b.since, &b.id)));
        rows
    }

    /// Ends all tasks. The downloads stay on the disk.
    pub(crate) fn end(&self) {
        for (_, download) in self.lock().iter_mut().flatten() {
            if let Some(task) = download.task.take() {
                task.abort();
            }
        }
    }
}
