//! A node's part in one office: its key there, the statements that it believes, the members that it has met,
//! and the work of a registrar.
//!
//! Each office has a network of its own (an actor, an identity, ports), so that nothing of one office can
//! reach another. [`handshake`] stands in the transport of that network and admits members. [`state`] is the
//! actor's view of the office. [`lan`] announces the node to members on the local network; by [`join`] a node
//! becomes a member.

pub(crate) mod directory;
pub(crate) mod error;
pub(crate) mod files;
pub(crate) mod handshake;
pub(crate) mod join;
pub(crate) mod lan;
pub(crate) mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use libp2p::PeerId;
use libp2p::identity::{Keypair, PublicKey as PeerKeyOf, ed25519};
use tokio::sync::{mpsc, watch};

use crate::office::certificate::{Certificate, Chain};
use crate::office::invite::InviteSecret;
use crate::office::trust::TrustState;
use crate::signed::{PublicKey, Signer};
use error::OfficeError;
pub(crate) use handshake::{Admission, OfficeHandshake};
pub(crate) use state::OfficeState;

/// The state by which the handshake and the announcements judge peers. The actor publishes a new one after
/// every change.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// The believed statements.
    pub(crate) book: TrustState,
    /// The certificates of this node.
    pub(crate) chain: Chain,
    /// The content of this node's own certificate.
    pub(crate) own: Certificate,
    /// Secrets of the open invitations, by their names.
    pub(in crate::membership) invites: BTreeMap<[u8; 16], InviteSecret>,
    /// Serials of the certificates of all known members, by key.
    pub(crate) known: Arc<BTreeMap<PublicKey, u64>>,
    /// Why this node is no valid member, for a person. `None` if it is one.
    pub(crate) trouble: Option<String>,
}

impl Snapshot {
    /// True if this is a member that may have been away when the secret was changed. An expelled member knows
    /// old secrets and may have made another key, so unknown keys and expelled ones do not count.
    pub(in crate::membership) fn may_be_behind(&self, key: PublicKey) -> bool {
        self.known.get(&key).is_some_and(|serial| !self.book.expelled().by_anybody(key, *serial))
    }
}

/// The ends of the channels between an office's state and its handshake that the state holds.
pub(crate) struct Channels {
    /// Publishes the state by which peers are judged.
    pub(crate) standing: watch::Sender<Arc<Snapshot>>,
    /// Publishes relays that may be dialled without a handshake.
    pub(crate) relays: watch::Sender<BTreeSet<PeerId>>,
    /// Publishes members that know only an older secret, with its epoch.
    pub(crate) behind: watch::Sender<BTreeMap<PeerId, u32>>,
    /// Receives admitted peers.
    pub(crate) knocks: mpsc::Receiver<Admission>,
}

/// Returns the time in seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}

/// Returns the public key that a peer's id contains, `None` if it is not an ed25519 key.
pub(crate) fn key_of(peer: &PeerId) -> Option<PublicKey> {
    let key = PeerKeyOf::try_decode_protobuf(peer.as_ref().digest()).ok()?;
    Some(PublicKey::from_bytes(key.try_into_ed25519().ok()?.to_bytes()))
}

/// Returns the peer id of a public key, `None` if the bytes are no key.
pub(in crate::membership) fn peer_of(key: PublicKey) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(key.as_bytes()).ok()?;
    Some(PeerId::from_public_key(&key.into()))
}

/// Returns the signer with a node's key, `None` if it is not an ed25519 key.
pub(crate) fn signer(keypair: &Keypair) -> Option<Signer> {
    let pair = keypair.clone().try_into_ed25519().ok()?;
    let seed: zeroize::Zeroizing<[u8; 32]> = zeroize::Zeroizing::new(pair.secret().as_ref().try_into().ok()?);
    Some(Signer::from_seed(&seed))
}

/// Returns random bytes of the system.
///
/// # Errors
/// [`OfficeError::Random`].
pub(crate) fn random<const N: usize>() -> Result<[u8; N], OfficeError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| OfficeError::Random)?;
    Ok(bytes)
}
