//! Web seeds of what is being fetched: each is met as a peer is, and asked as the last.

use std::time::{Duration, Instant};

use libp2p::identity::Keypair;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::watch;

use super::Actor;
use crate::distance::Distance;
use crate::exchange::Lack;
use crate::id::ContentId;
use crate::limits;
use crate::net::shaping::Near;
use crate::schedule::PeerKey;
use crate::transfer::peers::Peer;
use crate::transfer::session::Session;
use crate::transfer::session::web::Web;

/// One that was of no use is tried again after this.
const AGAIN: Duration = Duration::from_secs(15);

/// A web seed of something that is being fetched.
#[derive(Debug)]
pub(super) struct WebSource {
    id: ContentId,
    url: String,
    /// Its session, while there is one.
    session: Option<(PeerKey, watch::Sender<Lack>)>,
    /// What was wrong with the last one.
    error: Option<String>,
    next: Instant,
}

impl Actor {
    /// Whether this is the session of a web seed.
    pub(super) fn is_web(&self, key: PeerKey) -> bool {
        self.webs.iter().any(|web| web.session.as_ref().is_some_and(|(session, _)| *session == key))
    }

    /// A link names these for what we are about to fetch.
    pub(super) fn web_hints(&mut self, id: ContentId, urls: &[String]) {
        for url in urls.iter().take(limits::LINK_WEBSEEDS) {
            let known = self.webs.iter().any(|web| web.id == id && web.url == *url);
            if !known && self.webs.len() < limits::WEBSEEDS {
                let (url, next) = (url.clone(), Instant::now());
                self.webs.push(WebSource { id, url, session: None, error: None, next });
            }
        }
    }

    /// Meets those of what is being fetched, leaves the others, and tells all how much they are needed. Several times a second.
    pub(super) fn tend_webs(&mut self) {
        if self.webs.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut webs = std::mem::take(&mut self.webs);
        webs.retain(|web| {
            let wanted = self.downloads.is_active(web.id);
            if let (false, Some((key, _))) = (wanted, &web.session) {
                self.peers.doom(*key, "no longer needed", false);
            }
            wanted
        });
        let ours: Vec<PeerKey> = webs.iter().filter_map(|web| Some(web.session.as_ref()?.0)).collect();
        for web in &mut webs {
            let lack = self.downloads.lack(web.id, &ours);
            match &web.session {
                Some((_, tell)) => {
                    tell.send_if_modified(|old| {
                        *old != lack && {
                            *old = lack;
                            true
                        }
                    });
                }
                None if now >= web.next => {
                    web.next = now + AGAIN;
                    web.session = Some(self.meet(web.id, &web.url, lack));
                }
                None => {}
            }
        }
        self.webs = webs;
    }

    fn meet(&mut self, id: ContentId, url: &str, lack: Lack) -> (PeerKey, watch::Sender<Lack>) {
        let (tell, lack) = watch::channel(lack);
        let web = Web { url: url.to_owned(), private: self.private_webseeds, id, lack };
        let key = self.peers.next_key();
        let near = Near { limited: true, outside: true, here: false };
        let session = Session::start_web(key, web, &self.shared, near);
        // No connection of the network has this number.
        let connection = ConnectionId::new_unchecked(usize::MAX - key.0 as usize);
        let peer = Peer::new(name_of(url), connection, address_of(url), Distance::Wan, session);
        self.peers.add(key, peer);
        (key, tell)
    }

    /// A session has ended that may have been one.
    pub(super) fn web_down(&mut self, key: PeerKey, reason: &str) {
        let of_key = |web: &&mut WebSource| web.session.as_ref().is_some_and(|(of, _)| *of == key);
        if let Some(web) = self.webs.iter_mut().find(of_key) {
            web.session = None;
            web.next = Instant::now() + AGAIN;
            web.error = Some(reason.to_owned());
        }
    }

    /// The only content that this session can have anything of, if it is that of a web seed.
    pub(super) fn web_of(&self, key: PeerKey) -> Option<ContentId> {
        let of_key = |web: &&WebSource| web.session.as_ref().is_some_and(|(of, _)| *of == key);
        self.webs.iter().find(of_key).map(|web| web.id)
    }

    /// One phrase each, for a person who waits.
    pub(super) fn web_routes(&self) -> impl Iterator<Item = String> {
        let phrase = |web: &WebSource| match (&web.session, &web.error) {
            (Some(_), _) => format!("web seed {}: in use", web.url),
            (None, Some(error)) => format!("web seed {}: {error}", web.url),
            (None, None) => format!("web seed {}: not tried yet", web.url),
        };
        self.webs.iter().map(phrase)
    }
}

/// What stands for its peer id: bans and statistics are by that.
fn name_of(url: &str) -> PeerId {
    let seed = *blake3::hash(url.as_bytes()).as_bytes();
    Keypair::ed25519_from_bytes(seed).map_or_else(|_| PeerId::random(), |key| key.public().to_peer_id())
}

/// Its host, as far as an address can say that.
fn address_of(url: &str) -> Multiaddr {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', ':', '?']).next().unwrap_or_default();
    let scheme = if url.starts_with("https:") { "https" } else { "http" };
    format!("/dns/{host}/{scheme}").parse().unwrap_or_else(|_| Multiaddr::empty())
}
