//! Bytes between peers: sessions, web servers, and who is kept away.

pub(crate) mod bans;
pub(crate) mod peers;
pub(crate) mod session;
pub(crate) mod watchers;
pub(crate) mod webseed;
pub(crate) mod writer;
