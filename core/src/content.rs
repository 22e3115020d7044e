//! Content and its proofs: chunks of a blob and their hashes, directories, links, shares. All of it is pure:
//! bytes in, bytes out.

pub mod bitmap;
pub mod geometry;
pub mod kind;
mod length_proof;
pub mod link;
pub mod manifest;
pub mod path;
pub mod seal;
pub mod select;
pub mod share;
pub mod tree;
pub mod zeros;
