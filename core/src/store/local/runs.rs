//! The files on this machine that may have the bytes of a blob, run by run.

use std::io;
use std::path::Path;

use super::super::beneath::Folder;
use super::super::disk::DiskError;
use crate::content::manifest::Manifest;
use crate::limits;
use crate::platform::read_exact_at;

/// Files that may have the bytes of a blob.
#[derive(Debug, Default)]
pub(in crate::store) struct LocalFiles {
    folders: Vec<Folder>,
    pub(super) pieces: Vec<LocalRun>,
}

/// A run of bytes of the blob, and the files that may have exactly these.
#[derive(Debug)]
pub(super) struct LocalRun {
    /// Offset in the blob, in bytes.
    pub(super) start: u64,
    /// Length in bytes.
    pub(super) size: u64,
    /// The files: number of the folder, and name in it.
    pub(super) at: Vec<(usize, String)>,
}

impl LocalFiles {
    /// Reads from the files of this attempt: for each run another file, as far as there are several.
    pub(in crate::store) fn read_at(
        &self,
        attempt: usize,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), DiskError> {
        let end = offset + buffer.len() as u64;
        let first = self.pieces.partition_point(|p| p.start + p.size <= offset);
        for piece in self.pieces[first..].iter().take_while(|p| p.start < end) {
            let (from, to) = (offset.max(piece.start), end.min(piece.start + piece.size));
            let (folder, name) = match piece.at.get(attempt).or_else(|| piece.at.last()) {
                Some((folder, name)) => (&self.folders[*folder], name),
                None => return Err(DiskError::new("find", Path::new(""), io::ErrorKind::NotFound)),
            };
            let part = &mut buffer[(from - offset) as usize..(to - offset) as usize];
            let read = folder.read(name).and_then(|file| read_exact_at(&file, part, from - piece.start));
            read.map_err(|e| folder.error("read", name, e))?;
        }
        Ok(())
    }

    /// Returns the number of the folder at this path, which is opened if it is new; `None` if it cannot be.
    pub(super) fn folder(&mut self, path: &Path) -> Option<usize> {
        if let Some(known) = self.folders.iter().position(|folder| folder.path() == path) {
            return Some(known);
        }
        self.folders.push(Folder::open(path).ok()?);
        Some(self.folders.len() - 1)
    }

    /// Removes missing files of runs longer than a chunk, since each of many chunks would find that out anew.
    pub(super) fn prune(&mut self, chunk: u64) {
        let folders = &self.folders;
        for piece in self.pieces.iter_mut().filter(|piece| piece.size > chunk) {
            piece.at.retain(|(folder, name)| folders[*folder].read(name).is_ok());
        }
    }

    /// Adds a file that may have the bytes of these runs.
    pub(super) fn add(&mut self, pieces: &[usize], folder: Option<usize>, name: &str) {
        let Some(folder) = folder else { return };
        for piece in pieces {
            let at = &mut self.pieces[*piece].at;
            let new = (folder, name.to_owned());
            if at.len() < limits::SOURCES && !at.contains(&new) {
                at.push(new);
            }
        }
    }

    /// Adds the file at this path, which may have the bytes of these runs.
    pub(super) fn add_file(&mut self, pieces: &[usize], path: &Path) {
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) {
            let folder = self.folder(parent);
            self.add(pieces, folder, name);
        }
    }

    /// Adds all files of a directory that lie in this folder under their own names.
    pub(super) fn add_tree(&mut self, manifest: &Manifest, root: &Path) {
        let Some(folder) = self.folder(root) else { return };
        let mut piece = 0;
        for (entry, _, size) in manifest.file_offsets() {
            if size > 0 {
                self.add(&[piece], Some(folder), &entry.path);
                piece += 1;
            }
        }
    }
}
