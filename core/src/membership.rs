//! A node's part in one office: its keys there, what it believes, whom it has met, and what a registrar does.
//!
//! Each office has a network of its own (an actor, an identity, ports), so that nothing of one can reach another. At its
//! transport stands the `door`; [`lan`] announces it to members on the local network; [`join`] is how one becomes a member.

pub(crate) mod directory;
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
use crate::office::{PublicKey, Signer};
pub(crate) use handshake::{Admission, OfficeHandshake};
pub(crate) use state::OfficeState;

/// What the door and the announcements go by at a moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// What is believed.
    pub(crate) book: TrustState,
    /// Ours.
    pub(crate) chain: Chain,
    /// What it says.
    pub(crate) own: Certificate,
    /// Open invitations, by name.
    pub(in crate::membership) invites: BTreeMap<[u8; 16], InviteSecret>,
    /// The members that are known, and the serials of their certificates.
    pub(crate) known: Arc<BTreeMap<PublicKey, u64>>,
    /// Why this node is not what it should be there, for a person.
    pub(crate) trouble: Option<String>,
}

impl Snapshot {
    /// Whether this is a member that may have been away when the secret was changed. Whoever had to leave knows old ones, and may
    /// have made himself another key.
    pub(in crate::membership) fn may_be_behind(&self, key: PublicKey) -> bool {
        self.known.get(&key).is_some_and(|serial| !self.book.expelled().by_anybody(key, *serial))
    }
}

/// The ends of the channels between an office's office and its door.
pub(crate) struct Channels {
    pub(crate) standing: watch::Sender<Arc<Snapshot>>,
    pub(crate) relays: watch::Sender<BTreeSet<PeerId>>,
    pub(crate) behind: watch::Sender<BTreeMap<PeerId, u32>>,
    pub(crate) knocks: mpsc::Receiver<Admission>,
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}

/// The key of a peer, which its id contains.
pub(crate) fn key_of(peer: &PeerId) -> Option<PublicKey> {
    let key = PeerKeyOf::try_decode_protobuf(peer.as_ref().digest()).ok()?;
    Some(PublicKey::from_bytes(key.try_into_ed25519().ok()?.to_bytes()))
}

/// The other way round.
pub(in crate::membership) fn peer_of(key: PublicKey) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(key.as_bytes()).ok()?;
    Some(PeerId::from_public_key(&key.into()))
}

/// What signs with a node's key.
pub(crate) fn signer(keypair: &Keypair) -> Option<Signer> {
    let pair = keypair.clone().try_into_ed25519().ok()?;
    let seed: zeroize::Zeroizing<[u8; 32]> = zeroize::Zeroizing::new(pair.secret().as_ref().try_into().ok()?);
    Some(Signer::from_seed(&seed))
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "the system has no random numbers".to_owned())?;
    Ok(bytes)
}
