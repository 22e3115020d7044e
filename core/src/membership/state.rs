//! The office of an office: what a node knows and signs there. Decides; the actor tells others.

mod registrar;
mod vouchers;

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::files::{self, Invitation, OfficeFiles};
use super::{Admission, Channels, Snapshot, peer_of, signer};
use crate::api::status::{MemberRow, OfficeRow};
use crate::id::ContentId;
use crate::limits;
use crate::net::{Multiaddr, PeerId};
use crate::office::certificate::{Certificate, Chain, Role};
use crate::office::invite::InviteSecret;
use crate::office::membership::{Membership, Vouched};
use crate::office::root::RootSeed;
use crate::office::trust::{Statement, TrustState, Update};
use crate::office::voucher::Believed;
use crate::office::{OfficeId, PublicKey, Rejected, Signer};
use crate::schedule::PeerKey;
use crate::store::Store;

/// Who came through the door and had no session within this time is forgotten.
const GUEST_FOR: Duration = Duration::from_secs(60);
/// A certificate is not made anew more often than this, seconds.
const RENEW_PAUSE: u64 = 3600;
/// Certificates and invitations end by the clock: the door is told so within this.
const STAND_EVERY: Duration = Duration::from_secs(10);
/// What has no effect any longer is looked for this often.
const FORGET_EVERY: Duration = Duration::from_secs(3600);
/// The members' list is written this often.
const SAVE_EVERY: Duration = Duration::from_secs(30);

/// What a peer has shown of something that we want.
#[derive(Debug)]
struct HolderProof {
    vouched: Arc<Vouched>,
    /// It has given some of it since.
    counts: bool,
}

/// What came of certificates that a member has shown in its session.
pub(crate) enum Certified {
    /// Newer ones of its own.
    Newer(Membership),
    /// New ones of ours, which hold from now on.
    Ours,
    /// Nothing new.
    Nothing,
}

/// See the module's text.
pub(crate) struct OfficeState {
    store: Store,
    signer: Signer,
    chain: Chain,
    own: Certificate,
    book: TrustState,
    ways: Channels,
    guests: BTreeMap<PeerId, (Instant, Membership)>,
    invites: BTreeMap<[u8; 16], Invitation>,
    /// The root, for invitations of registrars: never written.
    roots: BTreeMap<[u8; 16], RootSeed>,
    members: super::directory::Members,
    /// What we go by, of what is here.
    vouchers: HashMap<ContentId, Vec<Arc<Vouched>>>,
    /// What peers have shown of what we want.
    shown: BTreeMap<(PeerKey, ContentId), HolderProof>,
    /// Peers that have gone, and when what they have shown is forgotten.
    gone: Vec<(Instant, PeerKey)>,
    /// The members that are known, and their serials: only they are let in by an old secret.
    known: Arc<BTreeMap<PublicKey, u64>>,
    /// What is believed has changed since it was written down.
    unwritten: bool,
    /// When what has no effect any longer was last forgotten.
    forgot: Instant,
    /// The members' list is being written.
    saving: Option<tokio::task::JoinHandle<()>>,
    /// When the door was last told what holds.
    stood: Instant,
    saved: Instant,
    /// When a registrar was last asked for a new certificate.
    asked: Option<Instant>,
    /// What is wrong, for a person.
    trouble: Option<String>,
}

impl OfficeState {
    /// With what is kept; nothing if the certificates there are not ours.
    pub(crate) fn new(papers: OfficeFiles, ways: Channels, at: u64) -> Result<Self, Rejected> {
        let OfficeFiles { store, keypair, chain, book, invites, members } = papers;
        let signer = signer(&keypair).ok_or(Rejected::Subject)?;
        // An expired one, or one of who had to leave, is still ours: others say what they think of it.
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
        // One that would have needed the root has ended with the process that had it.
        office.invites.retain(|_, invite| invite.role != Role::Registrar && invite.expires > at);
        office.stand(at);
        Ok(office)
    }

    /// What a door of this office goes by before there is one.
    pub(crate) fn first_standing(papers: &OfficeFiles) -> Result<Snapshot, Rejected> {
        let last = papers.chain.0.last().ok_or(Rejected::Malformed)?;
        let (own, _) = Certificate::open(last, papers.book.office())?;
        let (book, chain) = (papers.book.clone(), papers.chain.clone());
        Ok(Snapshot { book, chain, own, invites: BTreeMap::new(), known: Arc::default(), trouble: None })
    }

    /// Tells the door what holds from now on.
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
            Err(Rejected::Expelled) => Some("this node was expelled".to_owned()),
            Err(error) => Some(format!("this node's certificate: {error}")),
        };
        let standing = Snapshot {
            book: self.book.clone(),
            chain: self.chain.clone(),
            own: self.own.clone(),
            invites: open,
            known: Arc::clone(&self.known),
            trouble: self.trouble.clone(),
        };
        self.ways.standing.send_replace(Arc::new(standing));
    }

    /// A short name of the secret that counts: invitations end with it.
    fn mark(&self) -> [u8; 8] {
        let mut mark = [0; 8];
        if let Some(secret) = self.book.secrets().next() {
            mark.copy_from_slice(&blake3::hash(&secret.lan_key()).as_bytes()[..8]);
        }
        mark
    }

    fn epoch(&self) -> u32 {
        self.book.secrets().next().map_or(0, |secret| secret.epoch)
    }

    fn is_registrar(&self) -> bool {
        self.own.role == Role::Registrar && self.chain.0.len() == 1
    }

    /// The next who knocks.
    pub(crate) async fn knock(&mut self) -> Option<Admission> {
        self.ways.knocks.recv().await
    }

    /// All who have knocked by now.
    pub(crate) fn knocks(&mut self, at: u64) {
        while let Ok(knock) = self.ways.knocks.try_recv() {
            self.knocked(knock, at);
        }
    }

    /// Somebody is at the door.
    pub(crate) fn knocked(&mut self, knock: Admission, at: u64) {
        match knock {
            Admission::Member { peer, certificate, chain } => {
                self.members.met(&certificate, &chain, at);
                if !self.known.contains_key(&certificate.subject) {
                    self.stand(at);
                }
                let membership = Membership { certificate: *certificate, chain };
                self.guests.insert(peer, (Instant::now(), membership));
            }
            Admission::Newcomer { invite, key, name, reply } => self.newcomer(invite, (key, name), reply, at),
        }
    }

    /// Who this is, if it came through the door.
    pub(crate) fn guest(&mut self, peer: &PeerId) -> Option<Membership> {
        self.guests.get(peer).map(|(_, membership)| membership.clone())
    }

    /// Whether a member may still be here.
    pub(crate) fn holds(&self, membership: &Membership, at: u64) -> bool {
        self.book.verify(&membership.chain, at).is_ok()
    }

    /// A short name of all that is believed: who has another one is told everything.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for told in self.book.all() {
            hasher.update(blake3::hash(&told.statement).as_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    /// All that is believed, who had to leave before the secrets: who learns a secret knows whom not to tell it.
    pub(crate) fn all(&self) -> Vec<Statement> {
        self.book.all().cloned().collect()
    }

    /// Somebody tells of a statement.
    pub(crate) fn hear(&mut self, told: &Statement, at: u64) -> Result<Update, Rejected> {
        let heard = self.book.hear(told, at)?;
        if heard == Update::Expulsion {
            // Who had to leave may have any of them.
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

    fn believed(&mut self, at: u64) {
        self.unwritten = true;
        let book = &self.book;
        let holds = |vouched: &Vouched| Believed::read(&vouched.voucher, &vouched.chain, book, at).is_ok();
        self.shown.retain(|_, shown| holds(&shown.vouched));
        // What counted is read anew from what is kept, and counts again with the next chunk.
        self.shown.values_mut().for_each(|shown| shown.counts = false);
        // Who had to leave may have published something.
        self.vouchers.clear();
        self.stand(at);
    }

    /// A new certificate for a member whose own is old; nothing if there is no need, or we are no registrar.
    pub(crate) fn renew(&mut self, membership: &Membership, at: u64) -> Option<Chain> {
        let old = &membership.certificate;
        let due = old.issued.saturating_add(RENEW_PAUSE) < at;
        if old.role == Role::Registrar || !due || !self.holds(membership, at) {
            return None;
        }
        let pen = self.pen(None).ok()?;
        let serial = at.max(old.serial.saturating_add(1)).max(self.book.expelled().floor(old.subject));
        let fresh = Certificate { serial, issued: at, expires: at + limits::MEMBER_SECS, ..old.clone() };
        let chain = Chain(vec![pen.by, fresh.sign(self.book.office(), pen.signer)]);
        self.book.verify(&chain, at).ok()?;
        self.members.met(&fresh, &chain, at);
        Some(chain)
    }

    /// Whether it is time to ask a registrar for a new certificate.
    pub(crate) fn wants_renewal(&mut self, at: u64) -> bool {
        let due =
            self.is_old(at) && self.asked.is_none_or(|asked| asked.elapsed() >= Duration::from_secs(60));
        if due {
            self.asked = Some(Instant::now());
        }
        due
    }

    /// Certificates that a peer shows in its session: a newer one of its own, or one that it made for us.
    pub(crate) fn certified(
        &mut self,
        from: PublicKey,
        chain: Chain,
        at: u64,
    ) -> Result<Certified, Rejected> {
        let certificate = self.book.verify(&chain, at)?;
        if certificate.subject == from {
            self.members.met(&certificate, &chain, at);
            return Ok(Certified::Newer(Membership { certificate, chain }));
        }
        if certificate.subject != self.own.subject {
            return Err(Rejected::Subject);
        }
        // Nobody makes another of us than we are.
        if certificate.serial > self.own.serial && certificate.role >= self.own.role {
            self.became(certificate, chain, at);
            return Ok(Certified::Ours);
        }
        Ok(Certified::Nothing)
    }

    fn became(&mut self, own: Certificate, chain: Chain, at: u64) {
        if let Err(error) = files::keep_chain(&self.store, &chain) {
            tracing::error!(%error, "the new certificate cannot be kept");
        }
        (self.own, self.chain) = (own, chain);
        self.members.met(&self.own, &self.chain, at);
        self.stand(at);
    }

    /// Who may be called that, for somebody who asks.
    pub(crate) fn called(&self, name: &str) -> Vec<Chain> {
        self.members.called(name, |key| self.book.expelled().names(key))
    }

    /// Somebody says who is called what we asked for.
    pub(crate) fn told_of(&mut self, chain: &Chain, at: u64) {
        if let Ok(certificate) = self.book.verify(chain, at) {
            self.members.met(&certificate, chain, 0);
        }
    }

    /// Whether it is clear who is meant.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// Who is meant, of those who are still members.
    fn find(&self, name: &str) -> Result<PublicKey, String> {
        self.members.find(name, |key, serial| self.book.expelled().by_anybody(key, serial))
    }

    /// Which office it is.
    pub(crate) const fn id(&self) -> OfficeId {
        self.book.office()
    }

    /// What members meet by at trackers: no content has this id.
    pub(crate) fn meeting(&self) -> ContentId {
        ContentId::from_bytes(*self.book.office().as_bytes())
    }

    /// What we show of ourselves.
    pub(crate) const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// What trackers are told in place of an id.
    pub(crate) fn blind(&self) -> Option<crate::office::secret::OfficeSecret> {
        self.book.secrets().next().cloned()
    }

    /// A member announces itself by a secret of this number. Only one that is known is called by an old one: whoever had to leave
    /// knows that, too, and would be told who we are.
    pub(crate) fn behind(&self, peer: PeerId, epoch: u32) {
        let known = super::key_of(&peer).is_some_and(|key| self.ways.standing.borrow().may_be_behind(key));
        let newest = epoch == self.epoch();
        self.ways.behind.send_if_modified(|all| {
            match known && !newest && all.len() < limits::OFFICE_BEHIND {
                true => all.insert(peer, epoch) != Some(epoch),
                false => all.remove(&peer).is_some(),
            }
        });
    }

    /// A relay that is called for no more than a way: it need not be of the office.
    pub(crate) fn relay(&self, peer: PeerId) {
        let known = super::key_of(&peer).is_some_and(|key| self.members.get(key).is_some());
        if !known {
            self.ways.relays.send_if_modified(|relays| relays.insert(peer));
        }
    }

    /// What is done now and then.
    pub(crate) fn tend(&mut self, at: u64) {
        self.guests.retain(|_, (since, _)| since.elapsed() < GUEST_FOR);
        if self.forgot.elapsed() >= FORGET_EVERY {
            self.forgot = Instant::now();
            self.book.forget(at);
            self.unwritten = true;
        }
        self.write_down();
        self.forget_gone(Instant::now());
        if self.stood.elapsed() >= STAND_EVERY {
            self.stand(at);
        }
        if self.members.unsaved && self.saved.elapsed() >= SAVE_EVERY {
            self.save_members();
        }
    }

    /// Members that should be called although there are others enough: who lacks the newest secret, and, when our own certificate
    /// is old, registrars.
    pub(crate) fn urgent(&self, at: u64) -> BTreeSet<PeerId> {
        let mut urgent: BTreeSet<PeerId> = self.ways.behind.borrow().keys().copied().collect();
        if self.is_old(at) {
            let registrars = self.members.iter().filter(|(_, member)| member.role == Role::Registrar);
            urgent.extend(registrars.filter_map(|(key, _)| peer_of(*key)));
        }
        urgent
    }

    fn is_old(&self, at: u64) -> bool {
        self.own.role != Role::Registrar && at.saturating_sub(self.own.issued) >= limits::RENEW_AFTER_SECS
    }

    /// Writes down whom it has met.
    pub(super) fn save_members(&mut self) {
        // One at a time: an older one must not come last.
        if self.saving.as_ref().is_some_and(|saving| !saving.is_finished()) {
            return;
        }
        self.saved = Instant::now();
        self.members.unsaved = false;
        let (store, members) = (self.store.clone(), self.members.clone());
        let save = move || {
            if let Err(error) = files::keep_members(&store, &members) {
                tracing::warn!(%error, "the members that were met cannot be kept");
            }
        };
        // There may be many.
        self.saving = Some(tokio::task::spawn_blocking(save));
    }

    /// The end: everything is written down.
    pub(crate) async fn close(&mut self) {
        self.write_down();
        for _ in 0..2 {
            if let Some(saving) = self.saving.take() {
                let _ = saving.await;
            }
            if self.members.unsaved {
                self.save_members();
            }
        }
    }

    /// What is believed, if that has changed; once for all that came together.
    fn write_down(&mut self) {
        if !std::mem::take(&mut self.unwritten) {
            return;
        }
        if let Err(error) = files::keep_book(&self.store, &self.book) {
            tracing::error!(%error, "what the office says cannot be kept");
            self.unwritten = true;
        }
    }

    fn row(
        &self,
        key: &PublicKey,
        member: &super::directory::DirectoryEntry,
        connected: &BTreeSet<PublicKey>,
    ) -> MemberRow {
        let expelled = self.book.expelled();
        let registrar = member.role == Role::Registrar;
        MemberRow {
            node: key.to_string(),
            name: member.name.clone(),
            role: member.role,
            expires: member.expires,
            met: member.met,
            connected: connected.contains(key),
            expelled: expelled.by_root(*key, member.serial)
                || (!registrar && expelled.by_anybody(*key, member.serial)),
            own: *key == self.own.subject,
        }
    }

    /// The members, by name.
    pub(crate) fn rows(&self, connected: &BTreeSet<PublicKey>) -> Vec<MemberRow> {
        let mut rows: Vec<MemberRow> =
            self.members.iter().map(|(key, member)| self.row(key, member, connected)).collect();
        rows.sort_unstable_by(|a, b| (&a.name, &a.node).cmp(&(&b.name, &b.node)));
        rows
    }

    /// The office at a glance.
    pub(crate) fn office(&self, listen: &[Multiaddr], connected: usize) -> OfficeRow {
        OfficeRow {
            id: self.book.office().to_string(),
            name: self.book.charter().name.clone(),
            node: self.own.subject.to_string(),
            peer: peer_of(self.own.subject).map(|peer| peer.to_string()).unwrap_or_default(),
            called: self.own.name.clone(),
            role: self.own.role,
            expires: self.own.expires,
            root: files::root(&self.store).is_some(),
            listen: listen.iter().map(ToString::to_string).collect(),
            connected: connected as u32,
            members: self.members.len() as u32,
            invited: self.invites.values().fold(0, |sum, invite| sum.saturating_add(invite.left)),
            epoch: self.epoch(),
            trouble: self.trouble.clone(),
        }
    }
}
