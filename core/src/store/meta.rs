//! The index: records by id, for listings and look-ups. It is a cache of the `info` files, and the only
//! module that names sled.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::catalogue::Catalogue;
use super::layout::Layout;
use super::record::Record;
use crate::id::ContentId;

/// Memory for the pages of the index, in bytes: a look-up reads one or two pages.
const CACHE_BYTES: u64 = 4 << 20;

#[derive(Debug)]
pub(super) struct Meta {
    records: IndexBackend,
    new: bool,
    /// Look-ups by place; `None` until the first one.
    places: Mutex<Option<Catalogue>>,
}

#[derive(Debug)]
enum IndexBackend {
    Index(sled::Db),
    /// Records in memory, for a store that may not be written or whose index does not open.
    Memory(Mutex<BTreeMap<[u8; 32], Vec<u8>>>),
}

impl Meta {
    /// Opens the index. An index that does not open (or panics: sled 0.34 does on some damage) is thrown away
    /// and made anew, empty.
    pub(super) fn open(layout: &Layout) -> Self {
        let path = layout.index();
        if let Some(db) = open_quietly(&path) {
            let new = !db.was_recovered();
            return Self { records: IndexBackend::Index(db), new, places: Mutex::new(None) };
        }
        tracing::warn!("the index is damaged and is built again");
        let _ = std::fs::remove_dir_all(&path);
        match open_quietly(&path) {
            Some(db) => Self { records: IndexBackend::Index(db), new: true, places: Mutex::new(None) },
            None => Self::in_memory(),
        }
    }

    pub(super) const fn in_memory() -> Self {
        let records = IndexBackend::Memory(Mutex::new(BTreeMap::new()));
        Self { records, new: true, places: Mutex::new(None) }
    }

    /// True if the index must be filled from the `info` files.
    pub(super) const fn is_new(&self) -> bool {
        self.new
    }

    pub(super) fn put(&self, record: &Record) {
        let (key, value) = (*record.id.as_bytes(), record.encode());
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = &mut *places {
            places.put(self.get(record.id).as_ref(), record);
        }
        match &self.records {
            // A failed write is no loss: the `info` file is there, and an unclean close rebuilds the index
            // from it.
            IndexBackend::Index(db) => drop(db.insert(key, value)),
            IndexBackend::Memory(map) => {
                drop(map.lock().unwrap_or_else(PoisonError::into_inner).insert(key, value))
            }
        }
    }

    pub(super) fn remove(&self, id: ContentId) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(places), Some(old)) = (&mut *places, self.get(id)) {
            places.remove(&old);
        }
        match &self.records {
            IndexBackend::Index(db) => drop(db.remove(id.as_bytes())),
            IndexBackend::Memory(map) => {
                drop(map.lock().unwrap_or_else(PoisonError::into_inner).remove(id.as_bytes()));
            }
        }
    }

    pub(super) fn get(&self, id: ContentId) -> Option<Record> {
        match &self.records {
            IndexBackend::Index(db) => Record::decode(&db.get(id.as_bytes()).ok()??),
            IndexBackend::Memory(map) => {
                Record::decode(map.lock().unwrap_or_else(PoisonError::into_inner).get(id.as_bytes())?)
            }
        }
    }

    pub(super) fn clear(&self) {
        *self.places.lock().unwrap_or_else(PoisonError::into_inner) = None;
        match &self.records {
            IndexBackend::Index(db) => drop(db.clear()),
            IndexBackend::Memory(map) => map.lock().unwrap_or_else(PoisonError::into_inner).clear(),
        }
    }

    pub(super) fn all(&self) -> Vec<Record> {
        match &self.records {
            IndexBackend::Index(db) => db.iter().values().filter_map(|v| Record::decode(&v.ok()?)).collect(),
            IndexBackend::Memory(map) => {
                let map = map.lock().unwrap_or_else(PoisonError::into_inner);
                map.values().filter_map(|v| Record::decode(v)).collect()
            }
        }
    }

    /// The ids of records that are at this path, and perhaps others.
    pub(super) fn at_path(&self, path: &Path) -> Vec<ContentId> {
        self.by_place(|places| places.at(path))
    }

    /// The ids of directories, shares, and the bytes of folders.
    pub(super) fn folders(&self) -> Vec<ContentId> {
        self.by_place(Catalogue::folders)
    }

    fn by_place<T>(&self, look: impl FnOnce(&Catalogue) -> T) -> T {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        look(places.get_or_insert_with(|| Catalogue::of(&self.all())))
    }

    pub(super) fn count(&self) -> u64 {
        match &self.records {
            IndexBackend::Index(db) => db.len() as u64,
            IndexBackend::Memory(map) => map.lock().unwrap_or_else(PoisonError::into_inner).len() as u64,
        }
    }

    /// Counts the records of ids for which `left_out` is false.
    pub(super) fn count_without(&self, left_out: impl Fn(ContentId) -> bool) -> u64 {
        let counts = |key: &[u8]| key.try_into().is_ok_and(|key| !left_out(ContentId::from_bytes(key)));
        match &self.records {
            IndexBackend::Index(db) => {
                db.iter().keys().filter(|k| k.as_ref().is_ok_and(|k| counts(k))).count() as u64
            }
            IndexBackend::Memory(map) => {
                let map = map.lock().unwrap_or_else(PoisonError::into_inner);
                map.keys().filter(|k| counts(*k)).count() as u64
            }
        }
    }

    pub(super) fn knows(&self, id: ContentId) -> bool {
        match &self.records {
            IndexBackend::Index(db) => db.contains_key(id.as_bytes()).unwrap_or(false),
            IndexBackend::Memory(map) => {
                map.lock().unwrap_or_else(PoisonError::into_inner).contains_key(id.as_bytes())
            }
        }
    }

    pub(super) fn by_prefix(&self, digits: &str, most: usize) -> Vec<ContentId> {
        let digits = digits.to_ascii_lowercase();
        let bytes: Vec<u8> = (0..digits.len() / 2)
            .filter_map(|i| u8::from_str_radix(digits.get(2 * i..2 * i + 2)?, 16).ok())
            .collect();
        let ids: Box<dyn Iterator<Item = ContentId>> = match &self.records {
            IndexBackend::Index(db) => Box::new(
                db.scan_prefix(bytes)
                    .keys()
                    .filter_map(|k| Some(ContentId::from_bytes(k.ok()?.as_ref().try_into().ok()?))),
            ),
            IndexBackend::Memory(_) => Box::new(self.all().into_iter().map(|r| r.id)),
        };
        ids.filter(|id| id.to_string().starts_with(&digits)).take(most).collect()
    }

    /// True once everything put so far is on disk.
    pub(super) fn flush(&self) -> bool {
        match &self.records {
            IndexBackend::Index(db) => quietly(|| db.flush().ok()).is_some(),
            IndexBackend::Memory(_) => false,
        }
    }
}

impl Drop for Meta {
    fn drop(&mut self) {
        // sled flushes once more when it is dropped, and panics if the disk does not let it.
        let records = std::mem::replace(&mut self.records, IndexBackend::Memory(Mutex::default()));
        quietly(move || {
            drop(records);
            Some(())
        });
    }
}

/// Opens a database and reads it once; `None` on any error or panic inside.
fn open_quietly(path: &Path) -> Option<sled::Db> {
    quietly(|| {
        let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(Some(5_000));
        let db = config.open().ok()?;
        // The first look at a page finds damage that opening does not.
        db.iter().next().transpose().ok()?;
        Some(db)
    })
}

/// Runs `act`. sled panics where it might return an error: the result is `None` then, and nothing is printed.
fn quietly<T>(act: impl FnOnce() -> Option<T>) -> Option<T> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = catch_unwind(AssertUnwindSafe(act));
    std::panic::set_hook(hook);
    result.ok().flatten()
}
