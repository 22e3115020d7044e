//! The state of an office in its network: the statements that the node believes, the peers that were
//! admitted, and the signing of statements. It decides; the actor tells others.
//!
//! Its parts stand in modules of their own: [`certificates`] renews certificates, [`names`] finds members by
//! name, [`registrar`] admits and expels, [`vouchers`] says which members may have a blob, [`report`] makes
//! the rows of reports, and [`saving`] writes the state to disk.

mod certificates;
mod names;
mod registrar;
mod report;
mod saving;
mod vouchers;

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use self::names::NameSearch;
use super::directory::Members;
use super::error::Trouble;
use super::files::{Invitation, OfficeFiles};
use super::{Admission, Channels, Snapshot, key_of, signer};
use crate::id::ContentId;
use crate::limits;
use crate::net::PeerId;
use crate::office::certificate::{Certificate, Chain, Role};
use crate::office::invite::InviteSecret;
use crate::office::membership::{Membership, Vouched};
use crate::office::root::RootSeed;
use crate::office::secret::OfficeSecret;
use crate::office::trust::{TrustState, Update};
use crate::office::voucher::Believed;
use crate::office::{OfficeId, Rejected};
use crate::schedule::PeerKey;
use crate::signed::{PublicKey, Signer, Statement};
use crate::store::Store;
pub(crate) use certificates::Certified;

/// Time for which an admitted peer is remembered without a session.
const GUEST_FOR: Duration = Duration::from_secs(60);
/// Time between two publications of the snapshot, because certificates and invitations end by the clock.
const STAND_EVERY: Duration = Duration::from_secs(10);
/// Time between two searches for expulsions without effect.
const FORGET_EVERY: Duration = Duration::from_secs(3600);
/// Least time between two writes of the directory.
const SAVE_EVERY: Duration = Duration::from_secs(30);

/// The voucher that a peer has presented for a blob that this node wants.
#[derive(Debug)]
struct HolderProof {
    vouched: Arc<Vouched>,
    /// True if the peer has given a chunk of the blob since.
    counts: bool,
}

/// The state of an office in its network.
pub(crate) struct OfficeState {
    /// The store, as the office sees it.
    store: Store,
    /// This node's key.
    signer: Signer,
    /// This node's certificates.
    chain: Chain,
    /// The content of this node's own certificate.
    own: Certificate,
    /// The believed statements.
    book: TrustState,
    /// The channels to the handshake.
    ways: Channels,
    /// Admitted peers, with the time of their admission.
    guests: BTreeMap<PeerId, (Instant, Membership)>,
    /// Open invitations, by the names of their secrets.
    invites: BTreeMap<[u8; 16], Invitation>,
    /// The root key for invitations of registrars. It is never written to disk.
    roots: BTreeMap<[u8; 16], RootSeed>,
    /// The members that this node has met.
    members: Members,
    /// Commands that wait until it is clear which member a name means. At most [`limits::OFFICE_SEARCHES`].
    searches: Vec<NameSearch>,
    /// Commands that wait until a member is connected. At most [`limits::OFFICE_SEARCHES`].
    awaiting: Vec<oneshot::Sender<()>>,
    /// The vouchers by which this node serves the blobs that it has.
    vouchers: HashMap<ContentId, Vec<Arc<Vouched>>>,
    /// The vouchers that peers have presented for blobs that this node wants.
    shown: BTreeMap<(PeerKey, ContentId), HolderProof>,
    /// Peers that have gone, each with the time at which its vouchers are forgotten.
    gone: Vec<(Instant, PeerKey)>,
    /// Serials of the certificates of all known members. Only known members are admitted by an old secret.
    known: Arc<BTreeMap<PublicKey, u64>>,
    /// True if the believed statements changed since they were written to disk.
    unwritten: bool,
    /// The last search for expulsions without effect.
    forgot: Instant,
    /// The task that writes the directory.
    saving: Option<tokio::task::JoinHandle<()>>,
    /// The last publication of the snapshot.
    stood: Instant,
    /// The last write of the directory.
    saved: Instant,
    /// The last time that a registrar was asked for a new certificate.
    asked: Option<Instant>,
    /// Why this node is no valid member. `None` if it is one.
    trouble: Option<Trouble>,
}

impl OfficeState {
    /// Returns the state with the files of an office.
    ///
    /// # Errors
    /// The certificates cannot be read or are not for this node's key.
    pub(crate) fn new(papers: OfficeFiles, ways: Channels, at: u64) -> Result<Self, Rejected> {
        let OfficeFiles { store, keypair, chain, book, invites, members } = papers;
        let signer = signer(&keypair).ok_or(Rejected::Subject)?;
        // The certificate may have expired or be void. Other members judge that.
        let last = chain.0.last().ok_or(Rejected::Malformed)?;
        let (own, _) = Certificate::open(last, book.office())?;
        if own.subject != signer.public() {
            return Err(Rejected::Subject);
        }
        let named = |invite: Invitation| (InviteSecret::from_bytes(invite.secret).name(), invite);
        let mut office = Self {
            store,
            signer,
            chain,
            own,
            book,
            ways,
            guests: BTreeMap::new(),
            invites: invites.into_iter().map(named).collect(),
            roots: BTreeMap::new(),
            members,
            searches: Vec::new(),
            awaiting: Vec::new(),
            vouchers: HashMap::new(),
            shown: BTreeMap::new(),
            gone: Vec::new(),
            known: Arc::default(),
            unwritten: false,
            forgot: Instant::now(),
            saving: None,
            stood: Instant::now(),
            saved: Instant::now(),
            asked: None,
            trouble: None,
        };
        office.members.met(&office.own, &office.chain, at);
        // An invitation of a registrar ended with the process that had the root key.
        office.invites.retain(|_, invite| invite.role != Role::Registrar && invite.expires > at);
        office.stand(at);
        Ok(office)
    }

    /// Returns the snapshot for the handshake of a network whose state does not exist yet.
    ///
    /// # Errors
    /// The certificates cannot be read.
    pub(crate) fn first_standing(papers: &OfficeFiles) -> Result<Snapshot, Rejected> {
        let last = papers.chain.0.last().ok_or(Rejected::Malformed)?;
        let (own, _) = Certificate::open(last, papers.book.office())?;
        let (book, chain) = (papers.book.clone(), papers.chain.clone());
        Ok(Snapshot { book, chain, own, invites: BTreeMap::new(), known: Arc::default(), trouble: None })
    }

    /// Drops invitations that have ended, and publishes the snapshot.
    fn stand(&mut self, at: u64) {
        self.stood = Instant::now();
        let mark = self.mark();
        self.invites.retain(|_, invite| {
            invite.expires > at && invite.mark == mark && (invite.left > 0 || !invite.used.is_empty())
        });
        if std::mem::take(&mut self.members.changed) {
            self.known = Arc::new(self.members.iter().map(|(key, member)| (*key, member.serial)).collect());
        }
        let open = self.invites.iter().map(|(name, i)| (*name, InviteSecret::from_bytes(i.secret))).collect();
        self.roots.retain(|name, _| self.invites.contains_key(name));
        self.trouble = match self.book.verify(&self.chain, at) {
            Ok(_) => None,
            Err(reason) => Some(reason.into()),
        };
        let standing = Snapshot {
            book: self.book.clone(),
            chain: self.chain.clone(),
            own: self.own.clone(),
            invites: open,
            known: Arc::clone(&self.known),
            trouble: self.trouble.map(|trouble| trouble.to_string()),
        };
        self.ways.standing.send_replace(Arc::new(standing));
    }

    /// Returns a hash of the present secret. Invitations end when it changes.
    fn mark(&self) -> [u8; 8] {
        let mut mark = [0; 8];
        if let Some(secret) = self.book.secrets().next() {
            mark.copy_from_slice(&blake3::hash(&secret.lan_key()).as_bytes()[..8]);
        }
        mark
    }

    /// Returns the epoch of the present secret, 0 without one.
    fn epoch(&self) -> u32 {
        self.book.secrets().next().map_or(0, |secret| secret.epoch)
    }

    /// True if the root has made this node a registrar.
    fn is_registrar(&self) -> bool {
        self.own.role == Role::Registrar && self.chain.0.len() == 1
    }

    /// Waits for the next admitted peer. `None` if there will be none.
    pub(crate) async fn knock(&mut self) -> Option<Admission> {
        self.ways.knocks.recv().await
    }

    /// Handles all peers that were admitted by now.
    pub(crate) fn knocks(&mut self, at: u64) {
        while let Ok(knock) = self.ways.knocks.try_recv() {
            self.knocked(knock, at);
        }
    }

    /// Handles an admitted peer: remembers a member, welcomes a newcomer.
    pub(crate) fn knocked(&mut self, knock: Admission, at: u64) {
        match knock {
            Admission::Member { peer, certificate, chain } => {
                self.members.met(&certificate, &chain, at);
                self.answer_searches();
                if !self.known.contains_key(&certificate.subject) {
                    self.stand(at);
                }
                let membership = Membership { certificate: *certificate, chain };
                self.guests.insert(peer, (Instant::now(), membership));
            }
            Admission::Newcomer { invite, key, name, reply } => self.newcomer(invite, (key, name), reply, at),
        }
    }

    /// Returns the identity of an admitted peer.
    pub(crate) fn guest(&self, peer: &PeerId) -> Option<Membership> {
        self.guests.get(peer).map(|(_, membership)| membership.clone())
    }

    /// True if a member's certificates are valid now.
    pub(crate) fn holds(&self, membership: &Membership, at: u64) -> bool {
        self.book.verify(&membership.chain, at).is_ok()
    }

    /// Returns all believed statements, lists before secrets, so that a member that learns a secret knows
    /// which members must not be told it.
    pub(crate) fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.book.all()
    }

    /// Believes a statement that a member passed on. Returns what is new.
    ///
    /// # Errors
    /// [`Rejected`]: the statement has no effect.
    pub(crate) fn hear(&mut self, told: &Statement, at: u64) -> Result<Update, Rejected> {
        let heard = self.book.hear(told, at)?;
        if heard == Update::Expulsion {
            // The expelled member may have any of the invitations.
            self.invites.clear();
            if let Err(error) = self.keep_invites() {
                tracing::error!(%error, "invitations that have ended cannot be forgotten");
            }
        }
        if heard != Update::Nothing {
            self.believed(at);
        }
        Ok(heard)
    }

    /// Brings everything into line with changed beliefs.
    fn believed(&mut self, at: u64) {
        self.unwritten = true;
        let book = &self.book;
        let holds = |vouched: &Vouched| Believed::read(&vouched.voucher, &vouched.chain, book, at).is_ok();
        self.shown.retain(|_, shown| holds(&shown.vouched));
        // Vouchers that counted are read again from disk, and count again with the peer's next chunk.
        self.shown.values_mut().for_each(|shown| shown.counts = false);
        // Vouchers of an expelled member are no longer valid.
        self.vouchers.clear();
        self.stand(at);
        // An expulsion may leave one member of a name.
        self.answer_searches();
    }

    /// Returns the office's id.
    pub(crate) const fn id(&self) -> OfficeId {
        self.book.office()
    }

    /// Returns the id under which members meet at trackers. No content has it.
    pub(crate) fn meeting(&self) -> ContentId {
        ContentId::from_bytes(*self.book.office().as_bytes())
    }

    /// Returns this node's certificates.
    pub(crate) const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Returns the present secret, from which the keys for trackers are derived.
    pub(crate) fn blind(&self) -> Option<OfficeSecret> {
        self.book.secrets().next().cloned()
    }

    /// Records under which epoch of the secret a peer announced itself. Only a known member is dialled with
    /// an old secret: an expelled one knows it too, and would learn this node's identity.
    pub(crate) fn behind(&self, peer: PeerId, epoch: u32) {
        let known = key_of(&peer).is_some_and(|key| self.ways.standing.borrow().may_be_behind(key));
        let newest = epoch == self.epoch();
        self.ways.behind.send_if_modified(|all| {
            match known && !newest && all.len() < limits::OFFICE_BEHIND {
                true => all.insert(peer, epoch) != Some(epoch),
                false => all.remove(&peer).is_some(),
            }
        });
    }

    /// Lets a relay that is no known member pass without a handshake: it only relays.
    pub(crate) fn relay(&self, peer: PeerId) {
        let known = key_of(&peer).is_some_and(|key| self.members.get(key).is_some());
        if !known {
            self.ways.relays.send_if_modified(|relays| relays.insert(peer));
        }
    }

    /// Does the regular work, about once a second.
    pub(crate) fn tend(&mut self, at: u64) {
        self.guests.retain(|_, (since, _)| since.elapsed() < GUEST_FOR);
        if self.forgot.elapsed() >= FORGET_EVERY {
            self.forgot = Instant::now();
            self.book.forget(at);
            self.unwritten = true;
        }
        self.drop_abandoned();
        self.write_down();
        self.forget_gone(Instant::now());
        if self.stood.elapsed() >= STAND_EVERY {
            self.stand(at);
        }
        if self.members.unsaved && self.saved.elapsed() >= SAVE_EVERY {
            self.save_members();
        }
    }
}
