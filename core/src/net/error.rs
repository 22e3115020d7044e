//! Errors of starting a node and of dialling a peer, in words for a person.

use std::io;

use libp2p::swarm::DialError;

use crate::api::event;
use crate::store::DiskError;

/// Reason why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process runs the node of this store.
    #[error("another swarm (pid {pid}) uses this store and does not answer: end it, or use another --home")]
    Busy {
        /// Process id of the other node.
        pid: u32,
    },
    /// The node that runs for the store does not answer, or has another version.
    #[error("{}", .0.message)]
    Refused(event::Failure),
    /// An option has an impossible value.
    #[error("{0}")]
    Option(String),
    /// The store has an unusable format or cannot be read.
    #[error("{0}")]
    Store(String),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The network failed.
    #[error("cannot {verb}: {source}")]
    Network {
        /// Verb phrase that says what was tried.
        verb: String,
        /// Error from the operating system.
        source: io::Error,
    },
}

impl From<StartError> for event::Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Refused(failure) => failure,
            error => {
                let failure = Self::new(error.fault(), error.to_string());
                match error.hint() {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                }
            }
        }
    }
}

impl StartError {
    /// Returns a command or option that may help.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Disk(e) if e.source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                Some("--read-only shares what is there and writes nothing")
            }
            _ => None,
        }
    }

    /// Returns the party that can mend the error.
    #[must_use]
    pub const fn fault(&self) -> event::Fault {
        match self {
            Self::Disk(_) => event::Fault::Disk,
            Self::Busy { .. } => event::Fault::NoAnswer,
            Self::Refused(failure) => failure.fault,
            _ => event::Fault::User,
        }
    }
}

/// Faults of certificates over QUIC, by their names in libp2p, and in words.
const CERTIFICATES: [(&str, &str); 2] = [
    (
        "UnknownIssuer",
        "its key is of a kind that is not spoken here, only Ed25519, or does not sign its certificate",
    ),
    ("InvalidCertValidity", "the dates of its certificate do not hold at the time of this machine's clock"),
];

/// Describes a dial error in one phrase, for a person who waits.
pub(crate) fn in_short(error: &DialError) -> String {
    match error {
        DialError::Transport(all) => {
            all.first().map_or_else(|| "no address to try".to_owned(), |(_, error)| root_cause(error))
        }
        DialError::WrongPeerId { obtained, .. } => format!("another node answered there ({obtained})"),
        DialError::LocalPeerId { .. } => "that is this node itself".to_owned(),
        other => root_cause(other),
    }
}

/// Returns the text of the innermost error, which names the actual cause.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text = cause.to_string();
    // Names of errors that libp2p's QUIC passes on for a certificate that proves no peer.
    let known = CERTIFICATES.iter().find(|(name, _)| text.contains(name));
    known.map_or(text, |(_, words)| (*words).to_owned())
}
