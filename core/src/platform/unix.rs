//! The system calls of Unix. They are tested on Linux; a few read `/proc` and do without it where it is
//! missing.

pub(super) mod endpoint;
pub(super) mod files;
pub(super) mod folder;
pub(super) mod positions;
pub(super) mod process;
pub(super) mod sockets;
