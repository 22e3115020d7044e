//! What content is: chunks of a blob and their hashes, directories, links. Pure: bytes in, bytes out.

pub mod bitmap;
pub mod geometry;
pub mod link;
pub mod manifest;
pub mod path;
pub mod select;
mod tail;
pub mod tree;
