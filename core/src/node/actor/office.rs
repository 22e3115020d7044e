//! The network of an office: who comes in, what members tell each other of it, who has to go.

use std::collections::BTreeSet;
use std::time::Instant;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::oneshot;

use super::Actor;
use crate::api::status::{MemberRow, OfficeRow};
use crate::discovery::candidates::AddressSource;
use crate::discovery::peer_cache;
use crate::id::ContentId;
use crate::limits;
use crate::membership::state::Certified;
use crate::membership::{Admission, now};
use crate::net::address::ip_of;
use crate::net::multicast::Neighbour;
use crate::office::PublicKey;
use crate::office::certificate::{Chain, Role};
use crate::office::membership::Membership;
use crate::office::root::RootSeed;
use crate::office::trust::{About, Statement, Update};
use crate::schedule::PeerKey;
use crate::wire::{Message, PeerAddrs};

/// What is asked of the network of an office. Answers that are errors are in words.
#[derive(Debug)]
pub(in crate::node) enum MembershipCommand {
    /// A new invitation: as what, for how many, for how many seconds.
    Invite {
        role: Role,
        uses: u32,
        secs: u64,
        root: Option<RootSeed>,
        reply: oneshot::Sender<Result<String, String>>,
    },
    /// Somebody has to leave.
    Expel { who: String, root: Option<RootSeed>, reply: oneshot::Sender<Result<MemberRow, String>> },
    /// Another secret.
    Rotate(oneshot::Sender<Result<u32, String>>),
    /// The root makes this node a registrar.
    Appoint { root: RootSeed, reply: oneshot::Sender<Result<(), String>> },
    /// Who may be offered something: may this node say so?
    MayOffer { to: Vec<String>, reply: oneshot::Sender<Result<(), String>> },
    /// It says so.
    Vouch { ids: Vec<ContentId>, to: Vec<String>, reply: oneshot::Sender<Result<(), String>> },
    /// The names of those that something is for, if not for all.
    For { id: ContentId, reply: oneshot::Sender<Option<Vec<String>>> },
    /// Others are asked who is called that. True if it is clear by now.
    Who { name: String, reply: oneshot::Sender<bool> },
    /// Who is known.
    Members(oneshot::Sender<Vec<MemberRow>>),
    /// At a glance.
    Office(oneshot::Sender<Option<OfficeRow>>),
}

impl Actor {
    /// Who this is in the office; nothing where there is none, and not even that of who did not come through its door.
    #[allow(clippy::option_option)] // A membership, none needed, or none shown.
    pub(super) fn membership(&mut self, peer: &PeerId) -> Option<Option<Membership>> {
        let Some(office) = &mut self.office else { return Some(None) };
        office.knocks(now());
        let membership = office.guest(peer)?;
        office.holds(&membership, now()).then_some(Some(membership))
    }

    /// A neighbour announced itself on the local network, or has not done so for long.
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

    pub(super) fn knocked(&mut self, knock: Admission) {
        if let Some(office) = &mut self.office {
            office.knocked(knock, now());
        }
    }

    /// A member introduced itself.
    pub(super) fn greet_member(&mut self, key: PeerKey) {
        let Some(office) = &self.office else { return };
        self.peers.send(key, Message::StateDigest(office.digest()));
        // A few others, so that not all hangs on one. Who comes next is sent to others.
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
    }

    /// Members meet at the trackers of an office, whatever they fetch.
    pub(super) fn meet_members(&mut self) {
        if let Some(office) = &self.office {
            self.trackers.wants(office.meeting());
        }
    }

    /// How many more members are to be known, so that what must be heard by all is heard by all.
    pub(super) fn contacts_lacking(&self) -> usize {
        if self.office.is_none() {
            0
        } else {
            limits::OFFICE_CONTACTS.saturating_sub(self.peers.ready().len())
        }
    }

    /// Whether an offer of what we call by this number counts: in an office, whoever makes it has shown that it may.
    pub(super) fn is_vouched(&self, key: PeerKey, handle: u32) -> bool {
        let Some(office) = &self.office else { return true };
        let shown = self.downloads.id_of(handle).is_some_and(|id| office.has_shown(key, id));
        // A web server is no member: the link named it, and its bytes verify.
        shown || self.is_web(key)
    }

    /// A peer gave us something of what we call by this number: what it showed is what we go by.
    pub(super) fn gave(&mut self, key: PeerKey, handle: u32) {
        let Some(office) = &mut self.office else { return };
        let Some(id) = self.downloads.id_of(handle) else { return };
        if office.gave(key, id, now()) {
            self.audience_changed(id);
        }
    }

    pub(super) fn office_message(&mut self, key: PeerKey, message: Message) {
        let Some(office) = &mut self.office else { return };
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(member) = peer.member.clone() else { return };
        // Each costs something: to look for names, to check signatures, to tell all lists.
        // One voucher for each of many contents is nothing odd.
        let counts = match &message {
            Message::Voucher { blob, .. } => {
                self.downloads.id_of(*blob).is_some_and(|id| office.has_shown(key, id))
            }
            _ => true,
        };
        if counts && !peer.may_say(Instant::now()) {
            return self.peers.doom(key, "says too much about the office", false);
        }
        match message {
            Message::StateDigest(digest) if digest != office.digest() => {
                for told in office.all() {
                    self.peers.send(key, as_message(&told));
                }
            }
            Message::Statement { about, by, statement } => {
                let about = match about {
                    0 => About::Expulsion,
                    1 => About::Secret,
                    _ => return,
                };
                let told = Statement { about, by, statement };
                match office.hear(&told, now()) {
                    Ok(Update::Nothing) => {}
                    Ok(heard) => self.spread(&told, heard, Some(key)),
                    // What a registrar said who had to leave since is no longer believed: whoever passes it on has not heard of that.
                    Err(error) => {
                        tracing::debug!(%error, "what a member tells of the office is not believed")
                    }
                }
            }
            Message::Certified { chain } => {
                match office.certified(member.certificate.subject, Chain(chain), now()) {
                    Ok(Certified::Newer(newer)) => {
                        if let Some(peer) = self.peers.get_mut(key) {
                            peer.member = Some(newer);
                        }
                    }
                    Ok(Certified::Ours) => {
                        let message = Message::Certified { chain: office.chain().0.clone() };
                        self.tell_members(&message, None);
                    }
                    Ok(Certified::Nothing) => {}
                    Err(error) => tracing::debug!(%error, "certificates that a member shows"),
                }
            }
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
                chains.into_iter().for_each(|chain| office.told_of(&Chain(chain), now()));
            }
            Message::Voucher { blob, voucher, chain } => {
                if let Some(id) = self.downloads.id_of(blob) {
                    office.shown(key, id, voucher, Chain(chain), now());
                }
            }
            _ => {}
        }
    }

    /// Something new is believed: everybody hears of it at once, and who had to leave has to leave.
    fn spread(&mut self, told: &Statement, heard: Update, from: Option<PeerKey>) {
        if heard == Update::Secret {
            // Not to who had to leave.
            self.sweep();
            if let Some(secret) = self.office.as_ref().and_then(crate::membership::OfficeState::blind) {
                self.trackers.blinded(secret);
            }
        }
        self.tell_members(&as_message(told), from);
        if heard == Update::Expulsion {
            self.sweep();
            // What he published is offered no longer.
            let open = self.uploads.open_ids();
            open.into_iter().for_each(|id| self.audience_changed(id));
        }
    }

    fn tell_members(&mut self, message: &Message, but: Option<PeerKey>) {
        for key in self.peers.ready() {
            if Some(key) != but {
                self.peers.send(key, message.clone());
            }
        }
    }

    /// Ends the sessions of those who are of the office no longer.
    fn sweep(&mut self) {
        let Some(office) = &self.office else { return };
        let gone = |peer: &crate::transfer::peers::Peer| {
            peer.member.as_ref().is_some_and(|member| !office.holds(member, now()))
        };
        for key in self.peers.those(gone) {
            let Some((id, connection)) = self.peers.get(key).map(|peer| (peer.id, peer.connection)) else {
                continue;
            };
            tracing::info!(peer = %id, "is of the office no longer");
            // Nothing more goes to it, but for what it was just told: why.
            self.peer_down(key, Some("is of the office no longer"));
            self.closing.push((Instant::now(), id, connection));
        }
    }

    /// Once a second.
    pub(super) fn tend_office(&mut self) {
        let lacking = self.contacts_lacking();
        let Some(office) = &mut self.office else { return };
        office.tend(now());
        self.urgent = office.urgent(now());
        if office.wants_renewal(now()) {
            let registrar = |peer: &crate::transfer::peers::Peer| {
                peer.member.as_ref().is_some_and(|member| member.certificate.role == Role::Registrar)
            };
            // One of them may be unable to.
            let registrars = self.peers.those(registrar);
            let next = now() as usize / 60 % registrars.len().max(1);
            if let Some(key) = registrars.get(next) {
                self.peers.send(*key, Message::Renew);
            }
        }
        if lacking > 0 && self.peers.ready().is_empty() {
            self.look.notify_one();
        }
        self.sweep();
    }

    pub(super) fn office_ask(&mut self, ask: MembershipCommand) {
        let invited = self.invited_to();
        let connected: BTreeSet<PublicKey> = self.peers.members().collect();
        let listen = self.listen.borrow().clone();
        let Some(office) = &mut self.office else { return };
        match ask {
            MembershipCommand::Invite { role, uses, secs, root, reply } => {
                // Who comes later, when this node was started anew, finds it where the invitation says.
                peer_cache::keep_ports(&self.store, &std::mem::take(&mut self.anywhere), &listen);
                let _ = reply.send(office.invite((role, uses, secs), root, &invited, now()));
            }
            MembershipCommand::Expel { who, root, reply } => match office.expel(&who, root.as_ref(), now()) {
                Ok((row, [list, secret])) => {
                    self.spread(&list, Update::Expulsion, None);
                    self.spread(&secret, Update::Secret, None);
                    let _ = reply.send(Ok(row));
                }
                Err(why) => drop(reply.send(Err(why))),
            },
            MembershipCommand::Rotate(reply) => match office.rotate(now()) {
                Ok(secret) => {
                    let epoch = office.blind().map_or(0, |secret| secret.epoch);
                    self.spread(&secret, Update::Secret, None);
                    let _ = reply.send(Ok(epoch));
                }
                Err(why) => drop(reply.send(Err(why))),
            },
            MembershipCommand::Appoint { root, reply } => {
                let done = office.appoint(&root, now());
                let message = Message::Certified { chain: office.chain().0.clone() };
                self.tell_members(&message, None);
                let _ = reply.send(done);
            }
            MembershipCommand::MayOffer { to, reply } => drop(reply.send(office.may_offer(&to).map(drop))),
            MembershipCommand::Vouch { ids, to, reply } => {
                let vouched = office.vouch(&ids, &to, now());
                ids.into_iter().for_each(|id| self.audience_changed(id));
                let _ = reply.send(vouched);
            }
            MembershipCommand::For { id, reply } => drop(reply.send(office.names(id, now()))),
            MembershipCommand::Who { name, reply } => {
                let known = office.knows(&name);
                let _ = reply.send(known);
                if !known && name.len() <= limits::OFFICE_NAME_BYTES {
                    self.tell_members(&Message::FindMember { name }, None);
                }
            }
            MembershipCommand::Members(reply) => drop(reply.send(office.rows(&connected))),
            MembershipCommand::Office(reply) => {
                let _ = reply.send(Some(office.office(&listen, connected.len())));
            }
        }
    }

    /// Where a newcomer finds this node: first where it is likeliest to reach it.
    fn invited_to(&self) -> Vec<Multiaddr> {
        let listen = self.listen.borrow();
        let rank = |addr: &&Multiaddr| {
            let ip = ip_of(addr);
            let quic = addr.iter().any(|part| matches!(part, Protocol::Udp(_)));
            (ip.is_some_and(|ip| ip.is_loopback()), ip.is_some_and(|ip| ip.is_ipv6()), quic)
        };
        let link_local = |addr: &Multiaddr| matches!(ip_of(addr), Some(std::net::IpAddr::V6(ip)) if ip.is_unicast_link_local());
        let mut all: Vec<&Multiaddr> = listen.iter().filter(|addr| !link_local(addr)).collect();
        let is_loopback = |addr: &&Multiaddr| ip_of(addr).is_some_and(|ip| ip.is_loopback());
        if !all.iter().all(is_loopback) {
            all.retain(|addr| !is_loopback(addr));
        }
        all.sort_by_key(rank);
        all.into_iter().take(limits::INVITE_ADDRS).cloned().collect()
    }
}

fn as_message(told: &Statement) -> Message {
    let about = match told.about {
        About::Expulsion => 0,
        About::Secret => 1,
    };
    Message::Statement { about, by: told.by.clone(), statement: told.statement.clone() }
}
