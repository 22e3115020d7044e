//! The search for the hash list beside the file on a web server.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Web;
use crate::content::geometry::Geometry;
use crate::limits;
use crate::transfer::webseed::hash_list::{ListFault, read_hash_list};

/// Time after which the server is asked for the hash list, if no peer has sent it by then.
const LIST_AFTER: Duration = Duration::from_secs(2);
/// Pause after the first request for the list that failed. It doubles up to [`limits::WEBSEED_WAIT`], which
/// is also the pause after a list that is missing or wrong: the publisher may put the right one there.
const LIST_AGAIN: Duration = Duration::from_secs(4);

/// The search for the hash list. The session goes on meanwhile.
pub(super) struct ListSearch {
    /// The list, once the server has given it and it is that of the blob.
    pub(super) found: Option<Vec<u8>>,
    /// The request that is under way. At most one.
    pub(super) asking: JoinSet<Result<Vec<u8>, ListFault>>,
    /// Time of the next request at the earliest.
    next: Instant,
    /// Requests that failed.
    failures: u32,
}

impl ListSearch {
    /// Returns a search that begins in a while.
    pub(super) fn new() -> Self {
        let next = Instant::now() + LIST_AFTER;
        Self { found: None, asking: JoinSet::new(), next, failures: 0 }
    }

    /// Asks the server, if it is time and no request is under way.
    pub(super) fn ask(&mut self, web: &Web, geometry: Geometry) {
        if self.found.is_none() && self.asking.is_empty() && Instant::now() >= self.next {
            let (url, private, id) = (web.url.clone(), web.private, web.id);
            self.asking.spawn(async move { read_hash_list(&url, private, id, geometry).await });
        }
    }

    /// Records a request that failed.
    pub(super) fn failed(&mut self, fault: &ListFault) {
        let doubled = LIST_AGAIN * 2_u32.pow(self.failures.min(8));
        let pause = if fault.is_final() { limits::WEBSEED_WAIT } else { doubled.min(limits::WEBSEED_WAIT) };
        self.failures += 1;
        self.next = Instant::now() + fault.wait().unwrap_or(pause);
    }
}
