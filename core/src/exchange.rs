//! The exchange of chunks with peers: decisions without a clock, a disk or a connection.
//!
//! [`Downloads`] and [`Uploads`] stand between the messages of sessions and the [`Scheduler`]. They are told
//! every event that concerns a download or an upload, with the time of the event, and answer with
//! [`Effects`]: messages to peers and orders to sessions, which the caller carries out. The node's actor
//! carries them out over connections, and the simulator (`tests/sim`) over links that it makes up.
//!
//! The bytes of a blob are not handled here. A blob is known by a handle of the caller's choice
//! ([`OpenBlob`]), which tells what the blob is and which chunks of it are here, and which is handed on to
//! sessions.
//!
//! [`Scheduler`]: crate::schedule::Scheduler

mod downloads;
mod effects;
mod messages;
mod open_blob;
mod orders;
mod uploads;
mod view;

pub use downloads::{Downloads, Facts, HolderFacts, Lack};
pub use effects::{Effect, Effects, KnownPeers, PeerFacts};
pub use open_blob::OpenBlob;
pub use orders::{Outcome, ReceiveCommand, SendCommand};
pub use uploads::{Access, Uploads, WantOutcome};
pub use view::{Broken, DownloadView, Learned, Progress, SourceRow, Stage};

#[cfg(test)]
mod downloads_tests;
#[cfg(test)]
mod effects_tests;
