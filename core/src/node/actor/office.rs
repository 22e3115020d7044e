//! The network of an office: admission of peers, news between members, and commands about the office.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::oneshot;

use super::Actor;
use super::statements::{self, StatementSet};
use crate::api::status::{MemberRow, OfficeRow};
use crate::discovery::candidates::AddressSource;
use crate::discovery::peer_cache;
use crate::id::ContentId;
use crate::limits;
use crate::membership::error::OfficeError;
use crate::membership::state::Certified;
use crate::membership::{Admission, OfficeState, now};
use crate::net::address::ip_of;
use crate::net::multicast::Neighbour;
use crate::office::Rejected;
use crate::office::certificate::{Chain, Role};
use crate::office::membership::Membership;
use crate::office::root::RootSeed;
use crate::office::trust::Update;
use crate::schedule::PeerKey;
use crate::signed::{PublicKey, Statement};
use crate::transfer::peers::Peer;
use crate::wire::{Message, PeerAddrs};

/// Takes the answer to a command about an office.
type OfficeReply<T> = oneshot::Sender<Result<T, OfficeError>>;

/// A command about the office of a network. In a network without an office the reply is dropped.
#[derive(Debug)]
pub(in crate::node) enum MembershipCommand {
    /// Makes an invitation for a role, a number of uses and a validity in seconds. Answered with its text.
    Invite { role: Role, uses: u32, secs: u64, root: Option<RootSeed>, reply: OfficeReply<String> },
    /// Expels a member. Answered with the member's row.
    Expel { who: String, root: Option<RootSeed>, reply: OfficeReply<MemberRow> },
    /// Changes the secret. Answered with its epoch.
    Rotate(OfficeReply<u32>),
    /// Makes this node a registrar with the root key.
    Appoint { root: RootSeed, reply: OfficeReply<()> },
    /// Checks whether this node may offer blobs to these members, or without any to all.
    MayOffer { to: Vec<String>, reply: OfficeReply<()> },
    /// Issues a voucher for these blobs.
    Vouch { ids: Vec<ContentId>, to: Vec<String>, reply: OfficeReply<()> },
    /// Asks for the names of the members that may have a blob. Answered with `None` for the whole office.
    For { id: ContentId, reply: oneshot::Sender<Option<Vec<String>>> },
    /// Searches for the member that a name means, and asks others if this node does not know. Answered once
    /// it is clear, or with false if the search is not possible. It ends when the receiver of the answer is
    /// dropped.
    Search { name: String, reply: oneshot::Sender<bool> },
    /// Waits until a member is connected. It ends when the receiver of the answer is dropped.
    AwaitMember(oneshot::Sender<()>),
    /// Asks for the rows of all known members.
    Members(oneshot::Sender<Vec<MemberRow>>),
    /// Asks for the row of the office.
    Office(oneshot::Sender<Option<OfficeRow>>),
}

/// How a peer was admitted to this network.
#[derive(Debug)]
pub(super) enum PeerAdmission {
    /// The peer is no member, or no longer one. Its connection must be closed.
    Refused,
    /// The network belongs to no office and admits every peer.
    NoOffice,
    /// The peer is a member of the network's office.
    Member(Membership),
}

impl StatementSet for OfficeState {
    type News = Update;
    type Refusal = Rejected;

    fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.statements()
    }

    fn hear(&mut self, statement: &Statement, at: u64) -> Result<Option<Update>, Rejected> {
        let update = self.hear(statement, at)?;
        Ok((update != Update::Nothing).then_some(update))
    }
}

impl Actor {
    /// Returns how a peer with a new session was admitted.
    pub(super) fn admission(&mut self, peer: &PeerId) -> PeerAdmission {
        let Some(office) = &mut self.office else { return PeerAdmission::NoOffice };
        office.knocks(now());
        match office.guest(peer).filter(|membership| office.holds(membership, now())) {
            Some(membership) => PeerAdmission::Member(membership),
            None => PeerAdmission::Refused,
        }
    }

    /// Handles a neighbour that announced itself on the local network, or has not done so for long.
    pub(super) fn announced(&mut self, neighbour: Neighbour) {
        let (peer, addrs, epoch) = match neighbour {
            Neighbour::Found { peer, addrs, epoch } => (peer, addrs, epoch),
            Neighbour::Gone(peer) => return self.discovery.expired(peer),
        };
        if let Some(office) = &self.office {
            office.behind(peer, epoch);
        }
        let now = Instant::now();
        addrs.iter().for_each(|addr| self.discovery.found(addr, Some(peer), AddressSource::Lan, now));
    }

    /// Handles a peer that passed the handshake of the office.
    pub(super) fn knocked(&mut self, knock: Admission) {
        if let Some(office) = &mut self.office {
            office.knocked(knock, now());
        }
    }

    /// Greets a member that has introduced itself: sends the digest, names other members, and asks about
    /// names that are searched for.
    pub(super) fn greet_member(&mut self, key: PeerKey) {
        let Some(office) = &mut self.office else { return };
        self.peers.send(key, statements::greeting(office));
        let names: Vec<String> = office.searched().map(str::to_owned).collect();
        office.member_arrived();
        // A member that knows several others does not depend on this node. The newest peers are named, so
        // that members that come one after another hear of different ones.
        let others: Vec<PeerAddrs> = self
            .peers
            .ready()
            .into_iter()
            .rev()
            .filter(|other| *other != key)
            .take(limits::EXCHANGE_PEERS)
            .filter_map(|other| self.peers.get(other)?.reachable())
            .collect();
        if !others.is_empty() {
            self.peers.send(key, Message::Members { peers: others });
        }
        names.into_iter().for_each(|name| self.peers.send(key, Message::FindMember { name }));
    }

    /// Announces this node at the office's trackers, so that members meet there whatever they fetch.
    pub(super) fn meet_members(&mut self) {
        if let Some(office) = &self.office {
            self.trackers.wants(office.meeting());
        }
    }

    /// Returns how many more members this node should be connected with, so that news reaches all members.
    pub(super) fn contacts_lacking(&self) -> usize {
        if self.office.is_none() {
            0
        } else {
            limits::OFFICE_CONTACTS.saturating_sub(self.peers.ready().len())
        }
    }

    /// True if an offer for the want with this handle counts. In an office, the holder must have presented a
    /// voucher.
    pub(super) fn is_vouched(&self, key: PeerKey, handle: u32) -> bool {
        let Some(office) = &self.office else { return true };
        let shown = self.downloads.id_of(handle).is_some_and(|id| office.has_shown(key, id));
        // A web server is no member: the link named it, and its bytes are verified.
        shown || self.peers.is_web(key)
    }

    /// Records that a peer gave a chunk of the want with this handle. The voucher that it presented counts
    /// from now on.
    pub(super) fn gave(&mut self, key: PeerKey, handle: u32) {
        let Some(office) = &mut self.office else { return };
        let Some(id) = self.downloads.id_of(handle) else { return };
        if office.gave(key, id, now()) {
            self.audience_changed(id);
        }
    }

    /// Handles a message about the office.
    pub(super) fn office_message(&mut self, key: PeerKey, message: Message) {
        let Some(office) = &self.office else { return };
        let Some(member) = self.peers.get(key).and_then(|peer| peer.member.clone()) else { return };
        // One voucher for each of many blobs is normal. Only a second one for the same blob counts.
        let counts = match &message {
            Message::Voucher { blob, .. } => {
                self.downloads.id_of(*blob).is_some_and(|id| office.has_shown(key, id))
            }
            _ => true,
        };
        if counts && !self.may_say(key) {
            return;
        }
        let Some(office) = &mut self.office else { return };
        match message {
            Message::StateDigest(digest) => {
                for message in statements::answer(office, digest) {
                    self.peers.send(key, message);
                }
            }
            Message::Statement(statement) => {
                if let Some(news) = statements::hear(office, &statement, now()) {
                    self.spread(statement, news, Some(key));
                }
            }
            Message::Certified { chain } => self.certified(key, &member, Chain(chain)),
            Message::Renew => {
                if let Some(chain) = office.renew(&member, now()) {
                    self.peers.send(key, Message::Certified { chain: chain.0 });
                }
            }
            Message::Members { peers } => {
                let Some(by) = self.peers.get(key).map(|p| (p.id, p.class)) else { return };
                self.named(by, peers);
            }
            Message::FindMember { name } => {
                let chains: Vec<_> = office.called(&name).into_iter().map(|chain| chain.0).collect();
                if !chains.is_empty() {
                    self.peers.send(key, Message::FoundMembers { chains });
                }
            }
            Message::FoundMembers { chains } => {
                office.told_of(chains.into_iter().map(Chain), now());
            }
            Message::Voucher { blob, voucher, chain } => {
                if let Some(id) = self.downloads.id_of(blob) {
                    office.shown(key, id, voucher, Chain(chain), now());
                }
            }
            _ => {}
        }
    }

    /// Handles certificates that a member presents in its session.
    fn certified(&mut self, key: PeerKey, member: &Membership, chain: Chain) {
        let Some(office) = &mut self.office else { return };
        match office.certified(member.certificate.subject, chain, now()) {
            Ok(Certified::Newer(newer)) => {
                if let Some(peer) = self.peers.get_mut(key) {
                    peer.member = Some(newer);
                }
            }
            Ok(Certified::Ours) => {
                let message = Message::Certified { chain: office.chain().0.clone() };
                self.tell_all(&message, None);
            }
            Ok(Certified::Nothing) => {}
            Err(error) => tracing::debug!(%error, "certificates of a member are not believed"),
        }
    }

    /// Passes on a statement that is new, and ends sessions with members that it made void.
    fn spread(&mut self, statement: Statement, news: Update, from: Option<PeerKey>) {
        if news == Update::Secret {
            // Members that are void by now must not be told the secret.
            self.sweep();
            if let Some(secret) = self.office.as_ref().and_then(OfficeState::blind) {
                self.trackers.blinded(secret);
            }
        }
        self.tell_all(&Message::Statement(statement), from);
        if news == Update::Expulsion {
            self.sweep();
            // Blobs that only an expelled member vouched for are no longer offered.
            let open = self.uploads.open_ids();
            open.into_iter().for_each(|id| self.audience_changed(id));
        }
    }

    /// Ends the sessions of peers that are no longer members.
    fn sweep(&mut self) {
        let Some(office) = &self.office else { return };
        let gone = |peer: &Peer| peer.member.as_ref().is_some_and(|member| !office.holds(member, now()));
        for key in self.peers.those(gone) {
            let Some((id, connection)) = self.peers.get(key).map(|peer| (peer.id, peer.connection)) else {
                continue;
            };
            tracing::info!(peer = %id, "is of the office no longer");
            // The connection closes a little later, so that the list that names the peer still reaches it.
            self.peer_down(key, Some("is of the office no longer"));
            self.closing.push((Instant::now(), id, connection));
        }
    }

    /// Does the regular work of the office, once a second.
    pub(super) fn tend_office(&mut self) {
        let lacking = self.contacts_lacking();
        let Some(office) = &mut self.office else { return };
        office.tend(now());
        self.urgent = office.urgent(now());
        let renews = office.wants_renewal(now());
        // Members that did not know a name may have met its owner since.
        let names: Vec<String> = office.searched().map(str::to_owned).collect();
        if renews {
            let registrar = |peer: &Peer| {
                peer.member.as_ref().is_some_and(|member| member.certificate.role == Role::Registrar)
            };
            // A registrar may be unable to renew it, so another one is asked every minute.
            let registrars = self.peers.those(registrar);
            let next = now() as usize / 60 % registrars.len().max(1);
            if let Some(key) = registrars.get(next) {
                self.peers.send(*key, Message::Renew);
            }
        }
        names.into_iter().for_each(|name| self.tell_all(&Message::FindMember { name }, None));
        if lacking > 0 && self.peers.ready().is_empty() {
            self.look.notify_one();
        }
        self.sweep();
    }

    /// Carries out a command about the office.
    pub(super) fn office_ask(&mut self, ask: MembershipCommand) {
        let connected: BTreeSet<PublicKey> = self.peers.members().collect();
        let Some(office) = &mut self.office else { return };
        match ask {
            MembershipCommand::Invite { role, uses, secs, root, reply } => {
                let invitation = self.invite((role, uses, secs), root);
                let _ = reply.send(invitation);
            }
            MembershipCommand::Expel { who, root, reply } => {
                let expelled = office.expel(&who, root.as_ref(), now()).map(|(row, [list, secret])| {
                    self.spread(list, Update::Expulsion, None);
                    self.spread(secret, Update::Secret, None);
                    row
                });
                let _ = reply.send(expelled);
            }
            MembershipCommand::Rotate(reply) => {
                let rotated = office.rotate(now());
                let epoch = office.blind().map_or(0, |secret| secret.epoch);
                let rotated = rotated.map(|secret| {
                    self.spread(secret, Update::Secret, None);
                    epoch
                });
                let _ = reply.send(rotated);
            }
            MembershipCommand::Appoint { root, reply } => {
                let done = office.appoint(&root, now());
                let message = Message::Certified { chain: office.chain().0.clone() };
                self.tell_all(&message, None);
                let _ = reply.send(done);
            }
            MembershipCommand::MayOffer { to, reply } => drop(reply.send(office.may_offer(&to).map(drop))),
            MembershipCommand::Vouch { ids, to, reply } => {
                let vouched = office.vouch(&ids, &to, now());
                ids.into_iter().for_each(|id| self.audience_changed(id));
                let _ = reply.send(vouched);
            }
            MembershipCommand::For { id, reply } => drop(reply.send(office.names(id, now()))),
            MembershipCommand::Search { name, reply } => {
                if office.search(&name, reply) {
                    self.tell_all(&Message::FindMember { name }, None);
                }
            }
            MembershipCommand::AwaitMember(reply) if connected.is_empty() => office.await_member(reply),
            MembershipCommand::AwaitMember(reply) => drop(reply.send(())),
            MembershipCommand::Members(reply) => drop(reply.send(office.rows(&connected))),
            MembershipCommand::Office(reply) => {
                let _ = reply.send(Some(office.office(&self.listen.borrow(), connected.len())));
            }
        }
    }

    /// Makes an invitation with the addresses of this node.
    fn invite(&mut self, terms: (Role, u32, u64), root: Option<RootSeed>) -> Result<String, OfficeError> {
        // The node listens on these ports after its next start too, because the invitation names them.
        let listen = self.listen.borrow().clone();
        peer_cache::keep_ports(&self.store, &std::mem::take(&mut self.anywhere), &listen);
        let addrs = self.invited_to();
        let office = self.office.as_mut().ok_or(OfficeError::NotRegistrar)?;
        office.invite(terms, root, &addrs, now())
    }

    /// Returns the addresses for an invitation, at most [`limits::INVITE_ADDRS`]. Those that most newcomers
    /// can reach come first. Link-local addresses are left out, and loopback ones unless there are no others.
    fn invited_to(&self) -> Vec<Multiaddr> {
        let listen = self.listen.borrow();
        let rank = |addr: &&Multiaddr| {
            let ip = ip_of(addr);
            let quic = addr.iter().any(|part| matches!(part, Protocol::Udp(_)));
            (ip.is_some_and(|ip| ip.is_loopback()), ip.is_some_and(|ip| ip.is_ipv6()), quic)
        };
        let link_local =
            |addr: &Multiaddr| matches!(ip_of(addr), Some(IpAddr::V6(ip)) if ip.is_unicast_link_local());
        let mut all: Vec<&Multiaddr> = listen.iter().filter(|addr| !link_local(addr)).collect();
        let is_loopback = |addr: &&Multiaddr| ip_of(addr).is_some_and(|ip| ip.is_loopback());
        if !all.iter().all(is_loopback) {
            all.retain(|addr| !is_loopback(addr));
        }
        all.sort_by_key(rank);
        all.into_iter().take(limits::INVITE_ADDRS).cloned().collect()
    }
}
