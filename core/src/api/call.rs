//! Typed calls: each pairs a [`Command`] with the type of its answer.

pub mod office;

use super::command::{Command, Get, Publish};
use super::event::{BlobRow, Done, EntryRow, EntryType, Event, Info, Published, Verified};
use super::status::{BanRow, DetachedRow, Diagnosis, PeerRow, Status};
use crate::content::kind::ContentKind;
use crate::options::Audience;

/// A request with the type of its answer. A node, a caller and a control session take any call and return a
/// [`Job`](super::job::Job).
pub trait Call {
    /// Answer of the node when the call succeeds.
    type Answer;

    /// Returns the command to send.
    fn command(self) -> Command;

    /// Reads the answer from the final event and the entries of a listing that came before it. Returns `None`
    /// if the event is the answer to another command.
    fn answer(last: Event, entries: Vec<EntryRow>) -> Option<Self::Answer>;
}

/// A plain command is a call whose answer is its final event.
impl Call for Command {
    type Answer = Event;

    fn command(self) -> Command {
        self
    }

    fn answer(last: Event, _: Vec<EntryRow>) -> Option<Event> {
        Some(last)
    }
}

impl Call for Publish {
    type Answer = Published;

    fn command(self) -> Command {
        Command::Publish(self)
    }

    fn answer(last: Event, _: Vec<EntryRow>) -> Option<Published> {
        if let Event::Published(published) = last { Some(published) } else { None }
    }
}

impl Call for Get {
    type Answer = Done;

    fn command(self) -> Command {
        Command::Get(self)
    }

    fn answer(last: Event, _: Vec<EntryRow>) -> Option<Done> {
        if let Event::Done(done) = last { Some(done) } else { None }
    }
}

/// Lists the blobs of the store, sorted by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListStore;

impl Call for ListStore {
    type Answer = Vec<BlobRow>;

    fn command(self) -> Command {
        Command::Ls { id: None }
    }

    fn answer(last: Event, _: Vec<EntryRow>) -> Option<Vec<BlobRow>> {
        if let Event::Blobs { blobs } = last { Some(blobs) } else { None }
    }
}

/// Lists the entries of a directory in the store. A file gives one entry with its own name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntries {
    /// Id, unique prefix or link.
    pub id: String,
}

impl Call for ListEntries {
    type Answer = Vec<EntryRow>;

    fn command(self) -> Command {
        Command::Ls { id: Some(self.id) }
    }

    fn answer(last: Event, entries: Vec<EntryRow>) -> Option<Vec<EntryRow>> {
        let row = |blob: BlobRow| EntryRow {
            path: blob.name,
            kind: if blob.kind == ContentKind::Directory { EntryType::Directory } else { EntryType::File },
            len: blob.len,
            detail: Some(blob.id),
        };
        match last {
            Event::EntriesEnd { .. } => Some(entries),
            Event::Blobs { blobs } => Some(blobs.into_iter().map(row).collect()),
            _ => None,
        }
    }
}

/// Describes one blob of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspect {
    /// Id, unique prefix or link.
    pub id: String,
}

impl Call for Inspect {
    type Answer = Info;

    fn command(self) -> Command {
        Command::Info { id: self.id }
    }

    fn answer(last: Event, _: Vec<EntryRow>) -> Option<Info> {
        if let Event::Info(info) = last { Some(info) } else { None }
    }
}

/// Removes a blob from the store; files that are served in place are left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remove {
    /// Id, unique prefix or link.
    pub id: String,
}

/// Answer to [`Remove`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removed {
    /// 64 hex digits.
    pub id: String,
    /// Bytes freed in the store.
    pub freed: u64,
}

impl Call for Remove {
    type Answer = Removed;

    fn command(self) -> Command {
        Command::Rm { id: self.id }
    }

    fn answer(last: Event, _: Vec<EntryRow>) -> Option<Removed> {
        if let Event::Removed { id, freed } = last { Some(Removed { id, freed }) } else { None }
    }
}

/// Reads blobs again and compares them with their hashes.
///
/// ```
/// use swarm_core::Verify;
///
/// let verify = Verify::all().repair();
/// assert_eq!((verify.id, verify.repair), (None, true));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verify {
    /// Id, unique prefix or link; `None` for all blobs.
    pub id: Option<String>,
    /// True if bad chunks are fetched again from peers.
    pub repair: bool,
}

impl Verify {
    /// Verifies all blobs of the store.
    #[must_use]
    pub const fn all() -> Self {
        Self { id: None, repair: false }
    }

    /// Verifies one blob, given by id, unique prefix or link.
    #[must_use]
    pub fn one(id: impl Into<String>) -> Self {
        Self { id: Some(id.into()), repair: false }
    }

    /// Fetches bad chunks again from peers.
    #[must_use]
    pub fn repair(mut self) -> Self {
        self.repair = true;
        self
    }
}

impl Call for Verify {
    type Answer = Verified;

    fn command(self) -> Command {
        Command::Verify { id: self.id, repair: self.repair }
    }

    fn answer(last: Event, _: Vec<EntryRow>) -> Option<Verified> {
        if let Event::Verified(verified) = last { Some(verified) } else { None }
    }
}

/// Deletes files of the store that nothing refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectGarbage {
    /// True if the files are only listed.
    pub dry_run: bool,
}

/// Answer to [`CollectGarbage`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Garbage {
    /// Bytes freed, or that would be freed.
    pub freed: u64,
    /// Ids and file names.
    pub removed: Vec<String>,
    /// True if nothing was deleted.
    pub dry_run: bool,
}

impl Call for CollectGarbage {
    type Answer = Garbage;

    fn command(self) -> Command {
        Command::Gc { dry_run: self.dry_run }
    }

    fn answer(last: Event, _: Vec<EntryRow>) -> Option<Garbage> {
        match last {
            Event::Collected { freed, removed, dry_run } => Some(Garbage { freed, removed, dry_run }),
            _ => None,
        }
    }
}

/// Sets the peers that may fetch a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    /// Id, unique prefix or link.
    pub id: String,
    /// The new audience; `None` for the default of the node.
    pub audience: Option<Audience>,
}

impl Call for Allow {
    type Answer = Info;

    fn command(self) -> Command {
        Command::Serve { id: self.id, audience: self.audience }
    }

    fn answer(last: Event, entries: Vec<EntryRow>) -> Option<Info> {
        Inspect::answer(last, entries)
    }
}

/// Has the daemon of the store fetch content, until it is done or stopped, after a restart too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detach(pub Get);

impl Call for Detach {
    type Answer = DetachedRow;

    fn command(self) -> Command {
        Command::Detach(self.0)
    }

    fn answer(last: Event, _: Vec<EntryRow>) -> Option<DetachedRow> {
        if let Event::Detached(row) = last { Some(row) } else { None }
    }
}

/// Ends the detached downloads of an id; verified data is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopDetached {
    /// Id, unique prefix or link.
    pub id: String,
}

/// Answer to [`StopDetached`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stopped {
    /// 64 hex digits.
    pub id: String,
    /// Number of downloads that were ended: one for each destination.
    pub downloads: u32,
}

impl Call for StopDetached {
    type Answer = Stopped;

    fn command(self) -> Command {
        Command::Stop { id: self.id }
    }

    fn answer(last: Event, _: Vec<EntryRow>) -> Option<Stopped> {
        if let Event::Stopped { id, downloads } = last { Some(Stopped { id, downloads }) } else { None }
    }
}

/// Asks for the state of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetStatus;

impl Call for GetStatus {
    type Answer = Status;

    fn command(self) -> Command {
        Command::Status
    }

    fn answer(last: Event, _: Vec<EntryRow>) -> Option<Status> {
        if let Event::Status(status) = last { Some(*status) } else { None }
    }
}

/// Lists connected and banned peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListPeers;

/// Answer to [`ListPeers`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerList {
    /// Connected peers.
    pub peers: Vec<PeerRow>,
    /// Banned peers.
    pub banned: Vec<BanRow>,
}

impl Call for ListPeers {
    type Answer = PeerList;

    fn command(self) -> Command {
        Command::Peers
    }

    fn answer(last: Event, _: Vec<EntryRow>) -> Option<PeerList> {
        if let Event::Peers { peers, banned } = last { Some(PeerList { peers, banned }) } else { None }
    }
}

/// Asks why a download waits or is slow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnose {
    /// Id, unique prefix or link.
    pub id: String,
}

impl Call for Diagnose {
    type Answer = Diagnosis;

    fn command(self) -> Command {
        Command::Why { id: self.id }
    }

    fn answer(last: Event, _: Vec<EntryRow>) -> Option<Diagnosis> {
        if let Event::Why(why) = last { Some(why) } else { None }
    }
}
