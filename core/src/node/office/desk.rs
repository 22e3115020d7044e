//! The desk of an office: what a node knows and signs there. Decides; the actor tells others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId};
use tokio::sync::oneshot;

use super::join::Welcome;
use super::papers::{self, Invitation, Papers};
use super::{Knock, Standing, Ways, peer_of, random, signer};
use crate::id::ContentId;
use crate::limits;
use crate::node::event::{MemberRow, OfficeRow};
use crate::office::book::{Book, Heard, Told};
use crate::office::certificate::{Certificate, Chain, Role};
use crate::office::expulsion::Void;
use crate::office::invite::{Invite, InviteSecret};
use crate::office::root::RootSeed;
use crate::office::voucher::{Believed, For, Voucher};
use crate::office::{OfficeId, PublicKey, Signer, Unbelieved, is_name};
use crate::store::{DiskError, Store};

/// Who came through the door and had no session within this time is forgotten.
const GUEST_FOR: Duration = Duration::from_secs(60);
/// A certificate is not made anew more often than this, seconds.
const RENEW_PAUSE: u64 = 3600;
/// The members' list is written this often.
const SAVE_EVERY: Duration = Duration::from_secs(30);

/// A member in a session.
#[derive(Debug, Clone)]
pub(in crate::node) struct Membership {
    pub(in crate::node) certificate: Certificate,
    pub(in crate::node) chain: Chain,
}

/// A voucher that is believed, as it is passed on.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::node) struct Vouched {
    pub(in crate::node) believed: Believed,
    pub(in crate::node) voucher: Vec<u8>,
    pub(in crate::node) chain: Chain,
}

/// See the module's text.
pub(in crate::node) struct Desk {
    store: Store,
    signer: Signer,
    chain: Chain,
    own: Certificate,
    book: Book,
    ways: Ways,
    guests: BTreeMap<PeerId, (Instant, Membership)>,
    invites: BTreeMap<[u8; 16], Invitation>,
    /// The root, for invitations of registrars: never written.
    roots: BTreeMap<[u8; 16], RootSeed>,
    members: super::members::Members,
    vouchers: HashMap<ContentId, Option<Arc<Vouched>>>,
    saved: Instant,
    /// When a registrar was last asked for a new certificate.
    asked: Option<Instant>,
    /// What is wrong, for a person.
    trouble: Option<String>,
}

/// Who signs what needs a root or a registrar.
struct Pen<'a> {
    signer: &'a Signer,
    /// What makes it a registrar; nothing of the root.
    by: Vec<u8>,
}

impl Desk {
    /// With what is kept; nothing if the certificates there are not ours.
    pub(in crate::node) fn new(papers: Papers, ways: Ways, at: u64) -> Result<Self, Unbelieved> {
        let Papers { store, keypair, chain, book, invites, members } = papers;
        let signer = signer(&keypair).ok_or(Unbelieved::Subject)?;
        // An expired one, or one of who had to leave, is still ours: others say what they think of it.
        let last = chain.0.last().ok_or(Unbelieved::Malformed)?;
        let (own, _) = Certificate::open(last, book.office())?;
        if own.subject != signer.public() {
            return Err(Unbelieved::Subject);
        }
        let named = |invite: Invitation| (InviteSecret::from_bytes(invite.secret).name(), invite);
        let mut desk = Self {
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
            saved: Instant::now(),
            asked: None,
            trouble: None,
        };
        desk.members.met(&desk.own, &desk.chain, at);
        // One that would have needed the root has ended with the process that had it.
        desk.invites.retain(|_, invite| invite.role != Role::Registrar && invite.expires > at);
        desk.stand(at);
        Ok(desk)
    }

    /// What a door of this desk goes by before there is one.
    pub(in crate::node) fn first_standing(papers: &Papers) -> Result<Standing, Unbelieved> {
        let last = papers.chain.0.last().ok_or(Unbelieved::Malformed)?;
        let (own, _) = Certificate::open(last, papers.book.office())?;
        let (book, chain) = (papers.book.clone(), papers.chain.clone());
        Ok(Standing {
            book,
            chain,
            own,
            invites: BTreeMap::new(),
            members: papers.members.len(),
            trouble: None,
        })
    }

    /// Tells the door what holds from now on.
    fn stand(&mut self, at: u64) {
        let epoch = self.epoch();
        self.invites.retain(|_, invite| {
            invite.expires > at && invite.epoch == epoch && (invite.left > 0 || !invite.used.is_empty())
        });
        let open = self.invites.iter().map(|(name, i)| (*name, InviteSecret::from_bytes(i.secret))).collect();
        self.roots.retain(|name, _| self.invites.contains_key(name));
        self.trouble = match self.book.verify(&self.chain, at) {
            Ok(_) => None,
            Err(Unbelieved::Expelled) => Some("this node was expelled".to_owned()),
            Err(error) => Some(format!("this node's certificate: {error}")),
        };
        let standing = Standing {
            book: self.book.clone(),
            chain: self.chain.clone(),
            own: self.own.clone(),
            invites: open,
            members: self.members.len(),
            trouble: self.trouble.clone(),
        };
        self.ways.standing.send_replace(Arc::new(standing));
    }

    fn epoch(&self) -> u32 {
        self.book.secrets().next().map_or(0, |secret| secret.epoch)
    }

    fn is_registrar(&self) -> bool {
        self.own.role == Role::Registrar && self.chain.0.len() == 1
    }

    fn pen<'a>(&'a self, root: Option<&'a Signer>) -> Result<Pen<'a>, String> {
        match root {
            Some(signer) if signer.public() == self.book.charter().root => Ok(Pen { signer, by: Vec::new() }),
            Some(_) => Err("that is not the root of this office".to_owned()),
            None if self.is_registrar() => Ok(Pen { signer: &self.signer, by: self.chain.0[0].clone() }),
            None => Err("only a registrar can do this, and this node is none".to_owned()),
        }
    }

    /// The next who knocks.
    pub(in crate::node) async fn knock(&mut self) -> Option<Knock> {
        self.ways.knocks.recv().await
    }

    /// All who have knocked by now.
    pub(in crate::node) fn knocks(&mut self, at: u64) {
        while let Ok(knock) = self.ways.knocks.try_recv() {
            self.knocked(knock, at);
        }
    }

    /// Somebody is at the door.
    pub(in crate::node) fn knocked(&mut self, knock: Knock, at: u64) {
        match knock {
            Knock::Member { peer, certificate, chain } => {
                self.members.met(&certificate, &chain, at);
                let membership = Membership { certificate: *certificate, chain };
                self.guests.insert(peer, (Instant::now(), membership));
            }
            Knock::Newcomer { invite, key, name, reply } => self.newcomer(invite, (key, name), reply, at),
        }
    }

    fn newcomer(
        &mut self,
        invite: [u8; 16],
        (key, name): (PublicKey, String),
        reply: oneshot::Sender<Option<Vec<u8>>>,
        at: u64,
    ) {
        let chain = match self.take_in(invite, key, &name, at) {
            Ok(chain) => chain,
            Err(why) => {
                tracing::info!(?key, %why, "a newcomer was not taken in");
                return drop(reply.send(None));
            }
        };
        let told = self.book.all().cloned().collect();
        let welcome = Welcome { charter: self.book.charter().encode(), chain, told };
        let _ = reply.send(postcard::to_allocvec(&welcome).ok());
        let _ = papers::keep_members(&self.store, &self.members);
        self.stand(at);
    }

    fn take_in(&mut self, invite: [u8; 16], key: PublicKey, name: &str, at: u64) -> Result<Chain, String> {
        let epoch = self.epoch();
        let (role, known) = {
            let open = self.invites.get(&invite).filter(|i| i.expires > at && i.epoch == epoch);
            let open = open.ok_or("its invitation has ended")?;
            let known = open.used.contains(key.as_bytes());
            if !known && open.left == 0 {
                return Err("its invitation was used up".to_owned());
            }
            (open.role, known)
        };
        let name = if is_name(name) { name.to_owned() } else { "node".to_owned() };
        let before = self.members.get(key).map_or(0, |member| member.serial + 1);
        let serial = at.max(before).max(self.book.expelled().floor(key));
        let secs = if role == Role::Registrar { limits::REGISTRAR_SECS } else { limits::MEMBER_SECS };
        let certificate = Certificate { subject: key, role, serial, issued: at, expires: at + secs, name };
        let chain = match role {
            Role::Registrar => {
                let root = self.roots.get(&invite).ok_or("the root is locked")?.signer();
                Chain(vec![certificate.sign(self.book.office(), &root)])
            }
            Role::Member | Role::Publisher => {
                let pen = self.pen(None)?;
                Chain(vec![pen.by, certificate.sign(self.book.office(), pen.signer)])
            }
        };
        self.book.verify(&chain, at).map_err(|e| e.to_string())?;
        if let Some(open) = self.invites.get_mut(&invite)
            && !known
        {
            open.left -= 1;
            open.used.push(*key.as_bytes());
        }
        self.keep_invites().map_err(|e| e.to_string())?;
        self.members.met(&certificate, &chain, at);
        Ok(chain)
    }

    fn keep_invites(&self) -> Result<(), DiskError> {
        let kept: Vec<Invitation> =
            self.invites.values().filter(|i| i.role != Role::Registrar).cloned().collect();
        papers::keep_invites(&self.store, &kept)
    }

    /// Who this is, if it came through the door.
    pub(in crate::node) fn guest(&mut self, peer: &PeerId) -> Option<Membership> {
        self.guests.get(peer).map(|(_, membership)| membership.clone())
    }

    /// Whether a member may still be here.
    pub(in crate::node) fn holds(&self, membership: &Membership, at: u64) -> bool {
        self.book.verify(&membership.chain, at).is_ok()
    }

    /// A short name of all that is believed: who has another one is told everything.
    pub(in crate::node) fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for told in self.book.all() {
            hasher.update(blake3::hash(&told.statement).as_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    /// All that is believed, who had to leave before the secrets: who learns a secret knows whom not to tell it.
    pub(in crate::node) fn all(&self) -> Vec<Told> {
        self.book.all().cloned().collect()
    }

    /// Somebody tells of a statement.
    pub(in crate::node) fn hear(&mut self, told: &Told, at: u64) -> Result<Heard, Unbelieved> {
        let heard = self.book.hear(told, at)?;
        if heard != Heard::Nothing {
            self.believed(at);
        }
        Ok(heard)
    }

    fn believed(&mut self, at: u64) {
        if let Err(error) = papers::keep_book(&self.store, &self.book) {
            tracing::error!(%error, "what the office says cannot be kept");
        }
        // Who had to leave may have published something.
        self.vouchers.clear();
        self.stand(at);
    }

    /// A new certificate for a member whose own is old; nothing if there is no need, or we are no registrar.
    pub(in crate::node) fn renew(&mut self, membership: &Membership, at: u64) -> Option<Chain> {
        let old = &membership.certificate;
        let due = old.issued.saturating_add(RENEW_PAUSE) < at;
        if old.role == Role::Registrar || !due || !self.holds(membership, at) {
            return None;
        }
        let pen = self.pen(None).ok()?;
        let serial = at.max(old.serial + 1).max(self.book.expelled().floor(old.subject));
        let fresh = Certificate { serial, issued: at, expires: at + limits::MEMBER_SECS, ..old.clone() };
        let chain = Chain(vec![pen.by, fresh.sign(self.book.office(), pen.signer)]);
        self.book.verify(&chain, at).ok()?;
        self.members.met(&fresh, &chain, at);
        Some(chain)
    }

    /// Whether it is time to ask a registrar for a new certificate.
    pub(in crate::node) fn wants_renewal(&mut self, at: u64) -> bool {
        let due = self.own.role != Role::Registrar
            && at.saturating_sub(self.own.issued) >= limits::RENEW_AFTER_SECS
            && self.asked.is_none_or(|asked| asked.elapsed() >= Duration::from_secs(60));
        if due {
            self.asked = Some(Instant::now());
        }
        due
    }

    /// Certificates that a peer shows in its session: a newer one of its own, or one that it made for us.
    pub(in crate::node) fn certified(
        &mut self,
        from: PublicKey,
        chain: Chain,
        at: u64,
    ) -> Result<Option<Membership>, Unbelieved> {
        let certificate = self.book.verify(&chain, at)?;
        if certificate.subject == from {
            self.members.met(&certificate, &chain, at);
            return Ok(Some(Membership { certificate, chain }));
        }
        if certificate.subject != self.own.subject {
            return Err(Unbelieved::Subject);
        }
        // Nobody makes another of us than we are.
        if certificate.serial > self.own.serial && certificate.role >= self.own.role {
            self.became(certificate, chain, at);
        }
        Ok(None)
    }

    fn became(&mut self, own: Certificate, chain: Chain, at: u64) {
        if let Err(error) = papers::keep_chain(&self.store, &chain) {
            tracing::error!(%error, "the new certificate cannot be kept");
        }
        (self.own, self.chain) = (own, chain);
        self.members.met(&self.own, &self.chain, at);
        self.stand(at);
    }

    /// Who may be called that, for somebody who asks.
    pub(in crate::node) fn called(&self, name: &str) -> Vec<Chain> {
        self.members.called(name)
    }

    /// Somebody says who is called what we asked for.
    pub(in crate::node) fn told_of(&mut self, chain: &Chain, at: u64) {
        if let Ok(certificate) = self.book.verify(chain, at) {
            self.members.met(&certificate, chain, 0);
        }
    }

    /// Whether it is clear who is meant.
    pub(in crate::node) fn knows(&self, name: &str) -> bool {
        self.members.find(name).is_ok()
    }

    /// Which office it is.
    pub(in crate::node) const fn id(&self) -> OfficeId {
        self.book.office()
    }

    /// What members meet by at trackers: no content has this id.
    pub(in crate::node) fn meeting(&self) -> ContentId {
        ContentId::from_bytes(*self.book.office().as_bytes())
    }

    /// What we show of ourselves.
    pub(in crate::node) const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Our key here.
    pub(in crate::node) const fn me(&self) -> PublicKey {
        self.own.subject
    }

    /// What trackers are told in place of an id.
    pub(in crate::node) fn blind(&self) -> Option<crate::office::secret::OfficeSecret> {
        self.book.secrets().next().cloned()
    }

    /// A new invitation. With the root for a registrar.
    pub(in crate::node) fn invite(
        &mut self,
        (role, uses, secs): (Role, u32, u64),
        root: Option<RootSeed>,
        addrs: &[Multiaddr],
        at: u64,
    ) -> Result<String, String> {
        self.pen(None)?;
        if let Some(trouble) = &self.trouble {
            return Err(trouble.clone());
        }
        self.stand(at);
        if self.invites.len() >= limits::INVITES {
            return Err(format!("{} invitations are open: wait until some have ended", limits::INVITES));
        }
        let secret = random()?;
        let invite = InviteSecret::from_bytes(secret);
        let name = invite.name();
        if let Some(root) = root {
            if root.signer().public() != self.book.charter().root {
                return Err("that is not the root of this office".to_owned());
            }
            self.roots.insert(name, root);
        } else if role == Role::Registrar {
            return Err("inviting a registrar takes the root's password".to_owned());
        }
        let (expires, epoch) = (at + secs.min(limits::INVITE_SECS), self.epoch());
        let invitation = Invitation { secret, role, left: uses.max(1), expires, epoch, used: Vec::new() };
        self.invites.insert(name, invitation);
        self.keep_invites().map_err(|e| e.to_string())?;
        self.stand(at);
        let addrs = addrs.iter().map(Multiaddr::to_vec).collect();
        Ok(Invite { office: self.book.office(), secret: invite, addrs }.to_string())
    }

    /// Makes somebody leave, and changes the secret. What others are to be told: first who had to leave, then the secret, which
    /// he must not be told any longer.
    pub(in crate::node) fn expel(
        &mut self,
        who: &str,
        root: Option<&RootSeed>,
        at: u64,
    ) -> Result<(MemberRow, [Told; 2]), String> {
        let key = self.members.find(who)?;
        if key == self.own.subject {
            return Err("that is this node itself: swarm office leave".to_owned());
        }
        let member = self.members.get(key).cloned().ok_or("nobody is called that")?;
        if member.role == Role::Registrar && root.is_none() {
            return Err(format!("{} is a registrar: it takes the root's password", member.name));
        }
        let root = root.map(RootSeed::signer);
        let pen = self.pen(root.as_ref())?;
        let below = (member.serial + 1).max(at + limits::CLOCK_SKEW.as_secs() + 1);
        let until = member.expires.max(at + limits::REGISTRAR_SECS) + limits::CLOCK_SKEW.as_secs();
        let list = self.book.expel(pen.signer, &pen.by, &[(key, Void { below, until })], at);
        if list.statement.len() > limits::EXPULSION_BYTES {
            return Err("the list of who had to leave is full until some of it has expired".to_owned());
        }
        let secret = self.book.renew_secret(pen.signer, &pen.by, random()?, at);
        let told = [list, secret];
        for told in &told {
            self.book.hear(told, at).map_err(|e| e.to_string())?;
        }
        papers::keep_book(&self.store, &self.book).map_err(|e| e.to_string())?;
        self.believed(at);
        self.keep_invites().map_err(|e| e.to_string())?;
        let row = self.row(&key, &member, &BTreeSet::new());
        Ok((row, told))
    }

    /// Changes the secret.
    pub(in crate::node) fn rotate(&mut self, at: u64) -> Result<Told, String> {
        let pen = self.pen(None)?;
        let told = self.book.renew_secret(pen.signer, &pen.by, random()?, at);
        self.book.hear(&told, at).map_err(|e| e.to_string())?;
        papers::keep_book(&self.store, &self.book).map_err(|e| e.to_string())?;
        self.believed(at);
        self.keep_invites().map_err(|e| e.to_string())?;
        Ok(told)
    }

    /// The root makes this node a registrar, or goes on with that.
    pub(in crate::node) fn appoint(&mut self, root: &RootSeed, at: u64) -> Result<(), String> {
        let signer = root.signer();
        if signer.public() != self.book.charter().root {
            return Err("that is not the root of this office".to_owned());
        }
        let serial = at.max(self.own.serial + 1).max(self.book.expelled().floor(self.own.subject));
        let (role, expires) = (Role::Registrar, at + limits::REGISTRAR_SECS);
        let own = Certificate { role, serial, issued: at, expires, ..self.own.clone() };
        let chain = Chain(vec![own.sign(self.book.office(), &signer)]);
        self.became(own, chain, at);
        Ok(())
    }

    /// Whether this node may offer something to these members, or to all; their keys.
    pub(in crate::node) fn may_offer(&self, to: &[String]) -> Result<For, String> {
        if let Some(trouble) = &self.trouble {
            return Err(trouble.clone());
        }
        if to.is_empty() {
            return match self.own.role {
                Role::Member => Err("only a publisher may offer something to the whole office: name members with --to, or ask \
                     a registrar to make this node a publisher"
                    .to_owned()),
                Role::Publisher | Role::Registrar => Ok(For::All),
            };
        }
        if to.len() > limits::VOUCHER_MEMBERS {
            return Err(format!("more than {} members", limits::VOUCHER_MEMBERS));
        }
        let keys: Result<BTreeSet<PublicKey>, String> =
            to.iter().map(|name| self.members.find(name)).collect();
        Ok(For::Members(keys?))
    }

    /// Says who may be offered this, for all who will hold it.
    pub(in crate::node) fn vouch(&mut self, ids: &[ContentId], to: &[String], at: u64) -> Result<(), String> {
        let members = self.may_offer(to)?;
        let voucher = Voucher { issued: at, ids: ids.iter().copied().collect(), members };
        let voucher = voucher.sign(self.book.office(), &self.signer);
        let chain = self.chain.clone();
        let believed = Believed::read(&voucher, &chain, &self.book, at).map_err(|e| e.to_string())?;
        let vouched = Arc::new(Vouched { believed, voucher, chain });
        for id in ids {
            self.keep_voucher(*id, &vouched).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn keep_voucher(&mut self, id: ContentId, vouched: &Arc<Vouched>) -> Result<(), DiskError> {
        let bytes = postcard::to_allocvec(&(&vouched.voucher, &vouched.chain)).unwrap_or_default();
        self.store.keep_voucher(id, &bytes)?;
        self.vouchers.insert(id, Some(Arc::clone(vouched)));
        Ok(())
    }

    /// What says who may be offered this, if it is still believed.
    pub(in crate::node) fn voucher(&mut self, id: ContentId, at: u64) -> Option<Arc<Vouched>> {
        if let Some(known) = self.vouchers.get(&id) {
            return known.clone();
        }
        let kept = self.store.voucher(id);
        let read = kept.and_then(|bytes| postcard::from_bytes::<(Vec<u8>, Chain)>(&bytes).ok());
        let believed = read.and_then(|(voucher, chain)| {
            let believed = Believed::read(&voucher, &chain, &self.book, at).ok()?;
            believed.is_of(id).then(|| Arc::new(Vouched { believed, voucher, chain }))
        });
        self.vouchers.insert(id, believed.clone());
        believed
    }

    /// A peer shows why it may offer us this. An honest one shows none that is not for us; one of somebody who has had to leave
    /// since it was made is none of its fault.
    pub(in crate::node) fn shown(&mut self, id: ContentId, voucher: Vec<u8>, chain: Chain, at: u64) -> bool {
        let Ok(believed) = Believed::read(&voucher, &chain, &self.book, at) else { return false };
        if !believed.is_of(id) || !believed.is_for(self.own.subject) {
            return false;
        }
        let wider = believed.members().is_none();
        let known = self.voucher(id, at);
        if known.is_none_or(|known| wider && known.believed.members().is_some()) {
            let vouched = Arc::new(Vouched { believed, voucher, chain });
            if let Err(error) = self.keep_voucher(id, &vouched) {
                tracing::warn!(%error, "who may be offered this cannot be kept");
            }
        }
        true
    }

    /// A member announces itself by a secret of this number. Only one that is known is called by an old one: whoever had to leave
    /// knows that, too, and would be told who we are.
    pub(in crate::node) fn behind(&self, peer: PeerId, epoch: u32) {
        let known = super::key_of(&peer)
            .is_some_and(|key| self.members.get(key).is_some() && !self.book.expelled().names(key));
        let newest = epoch == self.epoch();
        self.ways.behind.send_if_modified(|all| {
            match known && !newest && all.len() < limits::OFFICE_BEHIND {
                true => all.insert(peer, epoch) != Some(epoch),
                false => all.remove(&peer).is_some(),
            }
        });
    }

    /// A relay that is called for no more than a way: it need not be of the office.
    pub(in crate::node) fn relay(&self, peer: PeerId) {
        let known = super::key_of(&peer).is_some_and(|key| self.members.get(key).is_some());
        if !known {
            self.ways.relays.send_if_modified(|relays| relays.insert(peer));
        }
    }

    /// What is done now and then.
    pub(in crate::node) fn tend(&mut self, at: u64) {
        self.guests.retain(|_, (since, _)| since.elapsed() < GUEST_FOR);
        if self.members.unsaved && self.saved.elapsed() >= SAVE_EVERY {
            self.save_members();
            self.stand(at);
        }
    }

    /// Writes down whom it has met.
    pub(in crate::node) fn save_members(&mut self) {
        self.saved = Instant::now();
        self.members.unsaved = false;
        if let Err(error) = papers::keep_members(&self.store, &self.members) {
            tracing::warn!(%error, "the members that were met cannot be kept");
        }
    }

    fn row(
        &self,
        key: &PublicKey,
        member: &super::members::Member,
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
    pub(in crate::node) fn rows(&self, connected: &BTreeSet<PublicKey>) -> Vec<MemberRow> {
        let mut rows: Vec<MemberRow> =
            self.members.iter().map(|(key, member)| self.row(key, member, connected)).collect();
        rows.sort_unstable_by(|a, b| (&a.name, &a.node).cmp(&(&b.name, &b.node)));
        rows
    }

    /// The office at a glance.
    pub(in crate::node) fn office(&self, listen: &[Multiaddr], connected: usize) -> OfficeRow {
        OfficeRow {
            id: self.book.office().to_string(),
            name: self.book.charter().name.clone(),
            node: self.own.subject.to_string(),
            peer: peer_of(self.own.subject).map(|peer| peer.to_string()).unwrap_or_default(),
            called: self.own.name.clone(),
            role: self.own.role,
            expires: self.own.expires,
            root: papers::root(&self.store).is_some(),
            listen: listen.iter().map(ToString::to_string).collect(),
            connected: connected as u32,
            members: self.members.len() as u32,
            epoch: self.epoch(),
            trouble: self.trouble.clone(),
        }
    }

    /// The names of the members that something is for; none for all.
    pub(in crate::node) fn names(&mut self, id: ContentId, at: u64) -> Option<Vec<String>> {
        let vouched = self.voucher(id, at)?;
        let members = vouched.believed.members()?;
        let name =
            |key: &PublicKey| self.members.get(*key).map_or_else(|| key.to_string(), |m| m.name.clone());
        Some(members.iter().map(name).collect())
    }
}
