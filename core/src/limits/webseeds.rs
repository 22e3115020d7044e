//! Bounds of web seeds: addresses, connections and timeouts.

use std::time::Duration;

use super::KIB;

/// Longest address of a web seed in a link, in bytes.
pub const WEBSEED_URL_BYTES: usize = 1024;
/// Longest address that a web server redirects to, in bytes: signed addresses of large storage services are
/// longer than any in a link.
pub const WEBSEED_REDIRECT_BYTES: usize = 8 * KIB;
/// Redirects followed for one range.
pub const WEBSEED_REDIRECTS: usize = 3;
/// Most addresses of one name that are tried.
pub const WEBSEED_ADDRS: usize = 8;
/// Time after which the next address of a name is tried beside the last one: a broken IPv6 must not cost a
/// whole timeout.
pub const NEXT_ADDR: Duration = Duration::from_millis(250);
/// Time from a name to a connection, TLS included.
pub const WEBSEED_CONNECT: Duration = Duration::from_secs(10);
/// Time in which this machine looks up a name that a proxy looks up again.
pub const WEBSEED_PROXY_LOOKUP: Duration = Duration::from_secs(2);
/// Time from a request to the head of its answer.
pub const WEBSEED_FIRST_BYTE: Duration = Duration::from_secs(15);
/// Time without further bytes after which an answer is given up.
pub const WEBSEED_PROGRESS: Duration = Duration::from_secs(20);
/// Largest head of an answer, in bytes.
pub const WEBSEED_HEAD_BYTES: usize = 64 * KIB;
/// Longest wait that a server may ask for.
pub const WEBSEED_WAIT: Duration = Duration::from_secs(300);
/// Connections with one web seed that are kept for later ranges.
pub const WEBSEED_IDLE: usize = 2;
/// Idle time after which a connection is not used again: servers close them after about a minute, and address
/// translation forgets them without a word.
pub const WEBSEED_IDLE_FOR: Duration = Duration::from_secs(30);
/// Web seeds that a link names.
pub const LINK_WEBSEEDS: usize = 4;
/// Web seeds of all downloads together.
pub const WEBSEEDS: usize = 64;
