//! Web seeds of blobs that are being fetched. Each has a session like a peer, and is asked only for chunks
//! that no peer has.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Actor;
use crate::content::path;
use crate::exchange::Lack;
use crate::id::ContentId;
use crate::limits;
use crate::net::shaping::Near;
use crate::schedule::PeerKey;
use crate::transfer::peers::{Doomed, Peer, WebSeedId};
use crate::transfer::session::Session;
use crate::transfer::session::web::{Web, WebNews};

/// Time after the start of a session, and after its end, at which a web seed gets the next session at the
/// earliest.
const AGAIN: Duration = Duration::from_secs(15);

/// Time after which a server whose file is another one is asked again: its owner may have put the right file
/// there.
const OTHER_FILE: Duration = limits::BAN_FIRST;

/// The session of a web seed.
#[derive(Debug)]
struct WebChannel {
    key: PeerKey,
    /// The way to tell it how much of the blob is missing.
    tell: watch::Sender<Lack>,
    /// Its facts about the server.
    news: watch::Receiver<WebNews>,
}

/// A web seed of a blob that is being fetched.
#[derive(Debug)]
struct WebSource {
    id: ContentId,
    url: String,
    /// Its session, if it has one.
    session: Option<WebChannel>,
    /// The reason for which its last session ended.
    error: Option<String>,
    /// Time of its next session at the earliest.
    next: Instant,
}

impl WebSource {
    /// Returns true if this is its session.
    fn is_of(&self, session: PeerKey) -> bool {
        self.session.as_ref().is_some_and(|own| own.key == session)
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

    /// Returns the only blob of which the other end of this session can have anything; `None` if the session
    /// is not that of a web seed.
    pub(super) fn content_of(&self, session: PeerKey) -> Option<ContentId> {
        self.all.iter().find(|web| web.is_of(session)).map(|web| web.id)
    }

    /// Returns one phrase for each web seed, for a person who waits.
    pub(super) fn routes(&self) -> impl Iterator<Item = String> {
        self.all.iter().map(|web| match (&web.session, &web.error) {
            (Some(session), _) => match &session.news.borrow().note {
                Some(note) => format!("web seed {}: {note}", web.url),
                None => format!("web seed {}: in use", web.url),
            },
            (None, Some(error)) => format!("web seed {}: {error}", web.url),
            (None, None) => format!("web seed {}: not tried yet", web.url),
        })
    }
}

impl Actor {
    /// Records the end of a session of a web seed. A server whose bytes are not those of the blob is not
    /// banned, because it has no id: its URL is said to those who wait for the blob, and it is asked again
    /// much later.
    pub(super) fn web_down(&mut self, ended: &Doomed) {
        let Some(web) = self.webs.all.iter_mut().find(|web| web.is_of(ended.key)) else { return };
        let rest = web.session.take().and_then(|session| session.news.borrow().rest);
        let next = Instant::now() + if ended.ban { OTHER_FILE } else { AGAIN };
        web.next = rest.map_or(next, |rest| next.max(rest.into_std()));
        web.error = Some(if ended.ban { "its file is another one".to_owned() } else { ended.reason.clone() });
        if ended.ban {
            tracing::warn!(url = %web.url, reason = %ended.reason, "the file of a web seed is another one");
            let text = format!("web seed {}: its file is another one", path::escape(&web.url));
            self.downloads.notice_of(web.id, &text);
        }
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
            if let (false, Some(session)) = (wanted, &web.session) {
                self.peers.doom(session.key, "no longer needed", false);
            }
            wanted
        });
        let ours: Vec<PeerKey> = webs.iter().filter_map(|web| Some(web.session.as_ref()?.key)).collect();
        for web in &mut webs {
            let lack = self.downloads.lack(web.id, &ours);
            match &web.session {
                Some(session) => {
                    session.tell.send_if_modified(|old| {
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

    /// Starts the session of a web seed.
    fn meet(&mut self, id: ContentId, url: &str, lack: Lack) -> WebChannel {
        let (tell, lack) = watch::channel(lack);
        let (tell_news, news) = watch::channel(WebNews::default());
        let private = self.settings.private_webseeds;
        let web = Web { url: url.to_owned(), private, id, lack, news: tell_news };
        let key = self.peers.next_key();
        let near = Near { limited: true, outside: true, here: false };
        let session = Session::start_web(key, web, &self.shared, near);
        self.peers.add(key, Peer::of_web_seed(WebSeedId::new(url, key), session));
        WebChannel { key, tell, news }
    }
}
