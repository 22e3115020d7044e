//! Web seeds of blobs that are being fetched. Each has a session like a peer, and is asked only for chunks
//! that no peer has.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Actor;
use crate::exchange::Lack;
use crate::id::ContentId;
use crate::limits;
use crate::net::shaping::Near;
use crate::schedule::PeerKey;
use crate::transfer::peers::{Peer, WebSeedId};
use crate::transfer::session::Session;
use crate::transfer::session::web::Web;

/// Time after the start of a session, and after its end, at which a web seed gets the next session at the
/// earliest.
const AGAIN: Duration = Duration::from_secs(15);

/// A web seed of a blob that is being fetched.
#[derive(Debug)]
struct WebSource {
    id: ContentId,
    url: String,
    /// Its session, if it has one, and the way to tell that how much of the blob is missing.
    session: Option<(PeerKey, watch::Sender<Lack>)>,
    /// The reason for which its last session ended.
    error: Option<String>,
    /// Time of its next session at the earliest.
    next: Instant,
}

impl WebSource {
    /// Returns true if this is its session.
    fn is_of(&self, session: PeerKey) -> bool {
        self.session.as_ref().is_some_and(|(own, _)| *own == session)
    }
}

/// The web seeds of all blobs that are being fetched. At most [`limits::WEBSEEDS`].
#[derive(Debug, Default)]
pub(super) struct WebSeeds {
    all: Vec<WebSource>,
}

impl WebSeeds {
    /// Adds the web seeds that a link names for a blob, the first [`limits::LINK_WEBSEEDS`] of them.
    pub(super) fn add(&mut self, id: ContentId, urls: &[String]) {
        for url in urls.iter().take(limits::LINK_WEBSEEDS) {
            let known = self.all.iter().any(|web| web.id == id && web.url == *url);
            if !known && self.all.len() < limits::WEBSEEDS {
                let (url, next) = (url.clone(), Instant::now());
                self.all.push(WebSource { id, url, session: None, error: None, next });
            }
        }
    }

    /// Records the end of a session, if it is that of a web seed.
    pub(super) fn down(&mut self, session: PeerKey, reason: &str) {
        if let Some(web) = self.all.iter_mut().find(|web| web.is_of(session)) {
            web.session = None;
            web.next = Instant::now() + AGAIN;
            web.error = Some(reason.to_owned());
        }
    }

    /// Returns the only blob of which the other end of this session can have anything; `None` if the session
    /// is not that of a web seed.
    pub(super) fn content_of(&self, session: PeerKey) -> Option<ContentId> {
        self.all.iter().find(|web| web.is_of(session)).map(|web| web.id)
    }

    /// Returns one phrase for each web seed, for a person who waits.
    pub(super) fn routes(&self) -> impl Iterator<Item = String> {
        self.all.iter().map(|web| match (&web.session, &web.error) {
            (Some(_), _) => format!("web seed {}: in use", web.url),
            (None, Some(error)) => format!("web seed {}: {error}", web.url),
            (None, None) => format!("web seed {}: not tried yet", web.url),
        })
    }
}

impl Actor {
    /// Returns true if this is the session of a web seed.
    pub(super) fn is_web(&self, key: PeerKey) -> bool {
        self.webs.content_of(key).is_some()
    }

    /// Starts sessions with the web seeds of blobs that are being fetched, ends those of all others, and
    /// tells each how much is missing. Called several times a second.
    pub(super) fn tend_webs(&mut self) {
        if self.webs.all.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut webs = std::mem::take(&mut self.webs.all);
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
        self.webs.all = webs;
    }

    /// Starts the session of a web seed. Returns its key, and the way to tell it how much is missing.
    fn meet(&mut self, id: ContentId, url: &str, lack: Lack) -> (PeerKey, watch::Sender<Lack>) {
        let (tell, lack) = watch::channel(lack);
        let web = Web { url: url.to_owned(), private: self.settings.private_webseeds, id, lack };
        let key = self.peers.next_key();
        let near = Near { limited: true, outside: true, here: false };
        let session = Session::start_web(key, web, &self.shared, near);
        self.peers.add(key, Peer::of_web_seed(WebSeedId::new(url, key), session));
        (key, tell)
    }
}
