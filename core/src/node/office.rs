//! A node's part in one office: its keys there, what it believes, whom it has met, and what a registrar does.
//!
//! Each office has a network of its own (an actor, an identity, ports), so that nothing of one can reach another. At its
//! transport stands the [`door`]; [`lan`] announces it to members on the local network; [`join`] is how one becomes a member.

pub(super) mod desk;
pub(super) mod door;
pub(super) mod join;
pub(super) mod lan;
pub(super) mod members;
pub(super) mod papers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use libp2p::PeerId;
use libp2p::identity::{Keypair, PublicKey as PeerKeyOf, ed25519};
use tokio::sync::{mpsc, watch};

use crate::office::book::Book;
use crate::office::certificate::{Certificate, Chain};
use crate::office::invite::InviteSecret;
use crate::office::{PublicKey, Signer};
pub(super) use desk::Desk;
pub(super) use door::{Door, Knock};

/// What the door and the announcements go by at a moment.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    /// What is believed.
    pub(super) book: Book,
    /// Ours.
    pub(super) chain: Chain,
    /// What it says.
    pub(super) own: Certificate,
    /// Open invitations, by name.
    pub(super) invites: BTreeMap<[u8; 16], InviteSecret>,
    /// The members that are known, and the serials of their certificates.
    pub(super) known: Arc<BTreeMap<PublicKey, u64>>,
    /// Why this node is not what it should be there, for a person.
    pub(super) trouble: Option<String>,
}

impl Standing {
    /// Whether this is a member that may have been away when the secret was changed. Whoever had to leave knows old ones, and may
    /// have made himself another key.
    pub(super) fn may_be_behind(&self, key: PublicKey) -> bool {
        self.known.get(&key).is_some_and(|serial| !self.book.expelled().by_anybody(key, *serial))
    }
}

/// The ends of the channels between an office's desk and its door.
pub(super) struct Ways {
    pub(super) standing: watch::Sender<Arc<Standing>>,
    pub(super) relays: watch::Sender<BTreeSet<PeerId>>,
    pub(super) behind: watch::Sender<BTreeMap<PeerId, u32>>,
    pub(super) knocks: mpsc::Receiver<Knock>,
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}

/// The key of a peer, which its id contains.
pub(super) fn key_of(peer: &PeerId) -> Option<PublicKey> {
    let key = PeerKeyOf::try_decode_protobuf(peer.as_ref().digest()).ok()?;
    Some(PublicKey::from_bytes(key.try_into_ed25519().ok()?.to_bytes()))
}

/// The other way round.
pub(super) fn peer_of(key: PublicKey) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(key.as_bytes()).ok()?;
    Some(PeerId::from_public_key(&key.into()))
}

/// What signs with a node's key.
pub(super) fn signer(keypair: &Keypair) -> Option<Signer> {
    let pair = keypair.clone().try_into_ed25519().ok()?;
    let seed: zeroize::Zeroizing<[u8; 32]> = zeroize::Zeroizing::new(pair.secret().as_ref().try_into().ok()?);
    Some(Signer::from_seed(&seed))
}

/// Random bytes.
pub(super) fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "the system has no random numbers".to_owned())?;
    Ok(bytes)
}
