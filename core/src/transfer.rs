//! Bytes between peers: sessions, downloads, uploads, web servers, and who is kept away.

pub(crate) mod bans;
pub(crate) mod downloads;
pub(crate) mod effects;
pub(crate) mod peers;
pub(crate) mod session;
pub(crate) mod uploads;
pub(crate) mod webseed;
pub(crate) mod writer;

#[cfg(test)]
mod effects_tests;
