//! Bounds of signed statements.

/// Most signatures on one statement: twice the 16 keys that a set of keys may have, because a change of keys
/// is signed by the old set and by the new one.
pub const SIGNATURES: usize = 32;
