//! The rules for the content of a manifest. They are the same on both sides: over entries when publishing,
//! over bytes when receiving.

use super::codec::{EntryReader, Shape};
use super::{FILE_BYTES, Flaw, MANIFEST_BYTES, MANIFEST_ENTRIES};
use crate::content::path::{Rules, check_path, check_symlink_target, clip, fold_key, normal_key};
use crate::id::ContentId;

/// A hash over the folded components of a name, equal for two names exactly if they are twins. It has 128
/// bits, so honest names never collide; a publisher who makes some collide gets a rejected manifest.
type NameHash = [u8; 16];

/// A name in the tree: an entry, or a directory that an entry implies. Each is visited once, because paths
/// ascend and so the names below one directory stand together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct PathNode {
    key: NameHash,
    /// The number of the entry at which the name was first seen.
    entry: u32,
    /// The number of components of that entry's path before this one.
    depth: u32,
}

/// A check of all entries in order. It keeps what later entries must be compared with: [`PathNode`]s, not
/// paths.
pub(super) struct Checker {
    rules: Rules,
    entries: u32,
    directories: usize,
    text: usize,
    sum: u64,
    /// The path of the entry before, and the keys of that path's components from the top.
    path: String,
    keys: Vec<NameHash>,
    nodes: Vec<PathNode>,
}

/// Two names with one key.
pub(super) struct Clash(PathNode, PathNode);

impl Checker {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            entries: 0,
            directories: 0,
            text: 0,
            sum: 0,
            path: String::new(),
            keys: Vec::new(),
            nodes: Vec::new(),
        }
    }

    /// Checks an entry by itself and against the one before.
    pub(super) fn entry(&mut self, path: &str, shape: Shape<'_>) -> Result<(), Flaw> {
        let against = |error| Flaw::Path { path: clip(path), error };
        check_path(path, self.rules).map_err(against)?;
        self.text += path.len();
        match shape {
            Shape::File { size, .. } if size > FILE_BYTES => {
                return Err(Flaw::FileSize { path: path.to_owned(), size });
            }
            Shape::File { size: 0, ref id, .. } if !is_empty_id(id) => {
                return Err(Flaw::EmptyId { path: path.to_owned() });
            }
            Shape::File { size, .. } => {
                self.sum =
                    self.sum.checked_add(size).filter(|&sum| sum <= FILE_BYTES).ok_or(Flaw::TotalSize)?;
            }
            Shape::EmptyDir => {}
            Shape::Symlink { target } => {
                check_symlink_target(path, target, self.rules).map_err(against)?;
                self.text += target.len();
            }
        }
        if self.text > MANIFEST_BYTES {
            return Err(Flaw::TooMuchText);
        }
        if self.entries > 0 && path <= self.path.as_str() {
            return Err(Flaw::Order { path: path.to_owned() });
        }
        self.note(path)
    }

    /// Records the names that this entry adds to the tree: its own, and those of the directories that the
    /// entry before is not in.
    fn note(&mut self, path: &str) -> Result<(), Flaw> {
        let parents = path.matches('/').count();
        let old_parents = self.path.matches('/').count();
        let shared = path
            .split('/')
            .zip(self.path.split('/'))
            .take(parents.min(old_parents))
            .take_while(|(new, old)| new == old)
            .count();
        self.directories += parents - shared;
        if self.directories > MANIFEST_ENTRIES {
            return Err(Flaw::TooManyDirectories);
        }
        self.keys.truncate(shared);
        for (depth, name) in path.split('/').enumerate().skip(shared) {
            let key = self.key_below(name);
            self.keys.push(key);
            self.nodes.push(PathNode { key, entry: self.entries, depth: depth as u32 });
        }
        self.entries += 1;
        self.path.clear();
        self.path.push_str(path);
        Ok(())
    }

    fn key_below(&self, name: &str) -> NameHash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.keys.last().unwrap_or(&NameHash::default()));
        match self.rules {
            Rules::Portable => hasher.update(fold_key(name).as_bytes()),
            Rules::Unix => hasher.update(normal_key(name).as_bytes()),
        };
        let mut key = NameHash::default();
        key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        key
    }

    /// Checks the sums, after the last entry.
    pub(super) fn totals(&self, payload_len: u64, payload: &ContentId) -> Result<(), Flaw> {
        if payload_len != self.sum {
            return Err(Flaw::PayloadLength { claimed: payload_len, sum: self.sum });
        }
        if payload_len == 0 && !is_empty_id(payload) {
            return Err(Flaw::EmptyId { path: String::new() });
        }
        Ok(())
    }

    /// Returns two names that are twins, or one name used twice, after the last entry.
    pub(super) fn clash(mut self) -> Option<Clash> {
        self.nodes.sort_unstable();
        let pair = self.nodes.windows(2).find(|pair| pair[0].key == pair[1].key)?;
        Some(Clash(pair[0], pair[1]))
    }
}

impl Clash {
    /// Returns the flaw. `at` returns the path of an entry, and whether it is an empty directory.
    pub(super) fn flaw(&self, at: impl Fn(usize) -> Option<(String, bool)>) -> Flaw {
        let place = |node: &PathNode| {
            let (path, empty_dir) = at(node.entry as usize).unwrap_or_default();
            let end = path.match_indices('/').nth(node.depth as usize).map(|(slash, _)| slash);
            let name = path[..end.unwrap_or(path.len())].to_owned();
            NodeLocation { name, is_entry: end.is_none(), empty_dir, path }
        };
        let (first, second) = (place(&self.0), place(&self.1));
        if first.name != second.name {
            return Flaw::Twins { first: first.name, second: second.name };
        }
        // One name is used at two places: one is an entry itself, the other a directory above some entry.
        let (entry, below) = if first.is_entry { (first, second) } else { (second, first) };
        if entry.empty_dir {
            return Flaw::NotEmpty { parent: entry.name, child: below.path };
        }
        Flaw::NotADirectory { parent: entry.name, child: below.path }
    }
}

/// The place of a node, for an error.
struct NodeLocation {
    name: String,
    /// True if the node is the entry itself, and not a directory above it.
    is_entry: bool,
    empty_dir: bool,
    path: String,
}

/// Makes the first pass of decoding: checks everything, and keeps no path but the last.
pub(super) fn check_bytes(bytes: &[u8]) -> Result<(), Flaw> {
    let (head, mut reader) = EntryReader::open(bytes)?;
    let mut checker = Checker::new(head.rules);
    while let Some(shape) = reader.next()? {
        checker.entry(reader.path()?, shape)?;
    }
    checker.totals(head.payload_len, &head.payload)?;
    checker.clash().map_or(Ok(()), |clash| Err(clash.flaw(|entry| find(bytes, entry))))
}

/// Walks to an entry, only for the one error that is about two of them.
fn find(bytes: &[u8], entry: usize) -> Option<(String, bool)> {
    let (_, mut reader) = EntryReader::open(bytes).ok()?;
    let mut shape = reader.next().ok()??;
    for _ in 0..entry {
        shape = reader.next().ok()??;
    }
    Some((reader.path().ok()?.to_owned(), matches!(shape, Shape::EmptyDir)))
}

fn is_empty_id(id: &ContentId) -> bool {
    id.as_bytes() == blake3::hash(&[]).as_bytes()
}
