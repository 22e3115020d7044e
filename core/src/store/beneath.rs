//! One open folder of the store. Everything is done beneath it, name by name, and never through a link, so
//! that nothing another program puts there leads outside. The system calls are those of [`FolderHandle`].

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::StoreError;
use super::disk::{DiskError, PrintablePath};
use crate::platform::{FileStat, FolderEntry, FolderHandle, NotPut, rename_new};

/// Characters in a random part of a name.
const RANDOM: usize = 12;

/// An open folder, with the path it was opened by, for messages.
#[derive(Debug)]
pub(super) struct Folder {
    handle: FolderHandle,
    path: PathBuf,
    /// The folder beneath this one that was used last: entries are sorted, so most follow another entry of
    /// their folder.
    last: Mutex<Option<(String, Arc<FolderHandle>)>>,
}

impl Folder {
    /// Opens a folder by a path that the user named: links on the way are followed.
    pub(super) fn open(path: &Path) -> Result<Self, DiskError> {
        Self::open_with(path, true)
    }

    /// Opens a folder by its path, unless a link stands there.
    pub(super) fn open_itself(path: &Path) -> Result<Self, DiskError> {
        Self::open_with(path, false)
    }

    fn open_with(path: &Path, follow: bool) -> Result<Self, DiskError> {
        let handle = FolderHandle::open(path, follow);
        Ok(Self::of(handle.map_err(|e| DiskError::new("open", path, e))?, path))
    }

    /// Returns the folder of an open handle.
    pub(super) fn of(handle: FolderHandle, path: &Path) -> Self {
        Self { handle, path: path.to_owned(), last: Mutex::new(None) }
    }

    /// Opens the folder that contains a path; returns it with the path's last name.
    pub(super) fn around(path: &Path) -> Result<(Self, &OsStr), StoreError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            let shown = PrintablePath(path.to_owned());
            return Err(StoreError::User(format!("{shown} is no place for a file: name one with -o")));
        };
        Ok((Self::open(parent)?, name))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) const fn handle(&self) -> &FolderHandle {
        &self.handle
    }

    pub(super) fn error(
        &self,
        verb: &'static str,
        name: impl AsRef<Path>,
        e: impl Into<io::Error>,
    ) -> DiskError {
        DiskError::new(verb, &self.path.join(name), e)
    }

    /// Opens the folder that contains `path`; returns it with the path's last name.
    fn way<'a>(&self, path: &'a str) -> io::Result<(Arc<FolderHandle>, &'a str)> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.below(above, false)?, name))
    }

    /// Opens a folder beneath this one; with `make`, missing folders are made.
    fn below(&self, above: &str, make: bool) -> io::Result<Arc<FolderHandle>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, handle)) = last.filter(|(path, _)| path == above) {
            return Ok(handle);
        }
        let mut handle = self.handle.again()?;
        for name in above.split('/').filter(|name| !name.is_empty()) {
            handle = match handle.enter(name) {
                Err(e) if make && e.kind() == io::ErrorKind::NotFound => match handle.make_folder(name) {
                    Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                    _ => handle.enter(name)?,
                },
                opened => opened?,
            };
        }
        let handle = Arc::new(handle);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((above.to_owned(), Arc::clone(&handle)));
        Ok(handle)
    }

    /// Makes a folder and its missing parents.
    pub(super) fn make(&self, path: &str) -> io::Result<()> {
        self.below(path, true).map(drop)
    }

    /// Metadata of a path; `None` if nothing is there.
    pub(super) fn stat(&self, path: &str) -> io::Result<Option<FileStat>> {
        let found = self.way(path).and_then(|(folder, name)| folder.stat(name));
        match found {
            Ok(stat) => Ok(Some(stat)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Opens a regular file for reading.
    pub(super) fn read(&self, path: &str) -> io::Result<File> {
        let (folder, name) = self.way(path)?;
        let file = folder.open_to_read(name)?;
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Target of a link.
    pub(super) fn link(&self, path: &str) -> io::Result<Vec<u8>> {
        let (folder, name) = self.way(path)?;
        folder.read_link(name)
    }

    /// Creates an empty file; fails if the name is taken.
    pub(super) fn create(&self, path: &str, mode: u32) -> io::Result<File> {
        let (folder, name) = self.way(path)?;
        folder.create_new(name, mode)
    }

    /// Makes a link; fails if the name is taken.
    pub(super) fn create_link(&self, path: &str, target: &str) -> io::Result<()> {
        let (folder, name) = self.way(path)?;
        folder.create_link(name, target)
    }

    /// Creates an empty file under a name that nobody can guess; returns the file and its name.
    pub(super) fn create_hidden(&self, about: &str, mode: u32) -> Result<(File, String), DiskError> {
        let name =
            format!(".{about}.{}.swarm-copy", random_word().map_err(|e| self.error("name", about, e))?);
        let file = self.create(&name, mode).map_err(|e| self.error("create", &name, e))?;
        Ok((file, name))
    }

    pub(super) fn remove(&self, path: &str) -> io::Result<()> {
        let (folder, name) = self.way(path)?;
        folder.remove_file(name)
    }

    /// Removes an empty folder.
    pub(super) fn remove_dir(&self, path: &str) -> io::Result<()> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let (folder, name) = self.way(path)?;
        folder.remove_folder(name)
    }

    /// Renames `from` to `to` in another folder, unless that name is taken.
    pub(super) fn put_new(&self, from: &str, into: &Self, to: &str) -> Result<(), NotPut> {
        let ((here, from), (there, to)) = (self.way(from)?, into.way(to)?);
        rename_new((&here, OsStr::new(from)), (&there, OsStr::new(to)))
    }

    /// Renames the file at `from` to `to` in another folder, replacing a file or link of that name.
    pub(super) fn put_over(&self, from: &str, into: &Self, to: &str) -> io::Result<()> {
        let ((here, from), (there, to)) = (self.way(from)?, into.way(to)?);
        here.rename_over(from, &there, to)
    }

    /// Flushes the names in the folder.
    pub(super) fn sync(&self) -> Result<(), DiskError> {
        self.handle.sync().map_err(|e| DiskError::new("flush", &self.path, e))
    }

    /// Flushes everything written to the folder's file system: cheaper than ten thousand single flushes.
    pub(super) fn sync_all(&self) -> Result<(), DiskError> {
        self.handle.sync_file_system().map_err(|e| DiskError::new("flush", &self.path, e))
    }

    /// Calls `act` for each name beneath the folder, depth first: a folder comes after its contents.
    pub(super) fn each(&self, act: &mut dyn FnMut(&FolderEntry<'_>)) -> io::Result<()> {
        self.handle.each(act)
    }
}

/// Returns random characters that nobody can guess.
pub(super) fn random_word() -> io::Result<String> {
    let mut bytes = [0; RANDOM];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("the system has no random numbers"))?;
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    Ok(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
}

/// Metadata of a name in an open folder; `None` if nothing is there.
pub(super) fn stat_in(folder: &Folder, name: &OsStr) -> io::Result<Option<FileStat>> {
    match folder.handle.stat(name) {
        Ok(stat) => Ok(Some(stat)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
