//! Records that are brought in line with files that changed.

#![allow(clippy::unwrap_used)]
use std::time::{Duration, SystemTime};

use super::*;
use crate::content::path::Rules;
use crate::store::Import;
use crate::store::record::Domain;

struct World {
    home: tempfile::TempDir,
    store: Store,
}

impl World {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("home"), None, false).unwrap();
        Self { home, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn publish(&self, name: &str) -> Record {
        let path = self.path(name);
        let import = Import {
            path: &path,
            name: name.to_owned(),
            copy: false,
            take: false,
            rules: Rules::Portable,
            symlinks: false,
            skipped_homes: None,
            audience: None,
            domain: Domain::Public,
            progress: &|_, _| {},
            cancel: &AtomicBool::new(false),
        };
        self.store.import(&import).unwrap()
    }

    fn settle(&self, id: ContentId) -> Settled {
        self.store.settle(&self.store.record(id).unwrap(), &AtomicBool::new(false)).unwrap()
    }

    fn said(&self, id: ContentId) -> String {
        let said = self.store.troubles(&[self.store.record(id).unwrap()], 1);
        said.into_iter().next().unwrap().1
    }

    fn state(&self, id: ContentId) -> StoredState {
        self.store.record(id).unwrap().state
    }
}

#[test]
fn a_file_that_goes_is_missing_and_heals_when_it_comes_back() {
    let world = World::new();
    fs::write(world.path("a"), b"some bytes").unwrap();
    let id = world.publish("a").id;
    assert_eq!(world.settle(id), Settled::As(StoredState::Complete));
    fs::rename(world.path("a"), world.path("elsewhere")).unwrap();
    assert!(world.store.glance(&world.store.record(id).unwrap()));
    assert_eq!(world.state(id), StoredState::Missing);
    let said = world.said(id);
    assert!(said.contains("is gone") && said.contains(&format!("swarm verify {}", id.short())), "{said}");
    assert_eq!(world.settle(id), Settled::As(StoredState::Missing));
    // Another file of that length.
    fs::write(world.path("a"), b"same bytes").unwrap();
    assert_eq!(world.settle(id), Settled::As(StoredState::Changed));
    fs::rename(world.path("elsewhere"), world.path("a")).unwrap();
    assert!(world.store.verify(id, &|_| {}, &AtomicBool::new(false)).unwrap().1.is_empty());
    assert_eq!(world.state(id), StoredState::Complete);
    fs::remove_file(world.path("a")).unwrap();
    assert_eq!(world.settle(id), Settled::Lost(StoredState::Missing));
    fs::write(world.path("a"), b"some bytes").unwrap();
    assert_eq!(world.settle(id), Settled::Healed);
    assert_eq!(world.settle(id), Settled::As(StoredState::Complete));
}

#[test]
fn what_is_edited_is_found_by_its_length_or_by_reading_and_what_is_only_touched_stays() {
    let world = World::new();
    for (name, edit, expected) in [
        ("longer", b"some more bytes".as_slice(), Settled::Lost(StoredState::Changed)),
        ("other", b"same bytes".as_slice(), Settled::Lost(StoredState::Changed)),
        ("touched", b"some bytes".as_slice(), Settled::As(StoredState::Complete)),
    ] {
        fs::write(world.path(name), format!("some bytes{name}")).unwrap();
        let id = world.publish(name).id;
        fs::write(world.path(name), [edit, name.as_bytes()].concat()).unwrap();
        assert_eq!(world.settle(id), expected, "{name}");
        let same = matches!(world.store.look(&world.store.record(id).unwrap(), true), Sight::Same);
        assert_eq!(same, name == "touched", "{name}: what was read is not read again");
    }
}

#[test]
fn a_folder_names_its_files_that_are_gone_or_others() {
    let world = World::new();
    fs::create_dir(world.path("tree")).unwrap();
    for name in ["a", "b", "c", "d", "e"] {
        fs::write(world.path(&format!("tree/{name}")), format!("file {name}")).unwrap();
    }
    let dir = world.publish("tree");
    let payload = dir.payload.unwrap().id;
    assert!(world.store.is_whole(dir.id));
    let now = SystemTime::now() + Duration::from_secs(1);
    fs::File::options().write(true).open(world.path("tree/a")).unwrap().set_modified(now).unwrap();
    assert_eq!(world.settle(payload), Settled::As(StoredState::Complete));
    fs::write(world.path("tree/a"), "fuel a").unwrap();
    assert_eq!(world.settle(payload), Settled::Lost(StoredState::Changed));
    assert!(!world.store.is_whole(dir.id));
    assert_eq!(world.store.with_whole(payload), [payload, dir.id]);
    for name in ["a", "b", "c", "d"] {
        fs::remove_file(world.path(&format!("tree/{name}"))).unwrap();
    }
    let said = world.said(dir.id);
    assert!(said.contains(": a, b, c and 1 more"), "{said}");
}

#[test]
fn a_path_that_is_published_again_belongs_to_its_new_id() {
    let (world, cancel) = (World::new(), AtomicBool::new(false));
    fs::write(world.path("v"), b"version 1").unwrap();
    let first = world.publish("v");
    assert!(world.store.superseded(&world.path("v"), &first, &cancel).is_empty());
    fs::write(world.path("v"), b"version 2").unwrap();
    let second = world.publish("v");
    let old = world.store.superseded(&world.path("v"), &second, &cancel);
    assert_eq!(old.iter().map(|r| r.id).collect::<Vec<_>>(), [first.id]);
    assert_eq!(
        (world.state(first.id), world.state(second.id)),
        (StoredState::Changed, StoredState::Complete)
    );
    let said = world.said(first.id);
    assert!(said.contains(&format!("shared as {}", second.id.short())), "{said}");
    // A folder that gains a file still has all files it had.
    fs::create_dir(world.path("t")).unwrap();
    fs::write(world.path("t/a"), b"a").unwrap();
    let first = world.publish("t");
    fs::write(world.path("t/b"), b"b").unwrap();
    let second = world.publish("t");
    assert!(world.store.superseded(&world.path("t"), &second, &cancel).is_empty());
    fs::write(world.path("t/a"), b"A").unwrap();
    let third = world.publish("t");
    assert_eq!(world.store.superseded(&world.path("t"), &third, &cancel).len(), 2);
    assert!(!world.store.is_whole(first.id) && !world.store.is_whole(second.id));
    assert!(world.store.is_whole(third.id));
}

#[test]
fn one_of_many_threads_reports_a_loss() {
    let world = World::new();
    let start = std::sync::Barrier::new(8);
    for name in ["a", "b", "c", "d"] {
        fs::write(world.path(name), name).unwrap();
        let id = world.publish(name).id;
        let mark = || {
            start.wait();
            world.store.mark(id, StoredState::Missing)
        };
        let new: Vec<bool> = std::thread::scope(|threads| {
            let running: Vec<_> = (0..8).map(|_| threads.spawn(mark)).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(new.into_iter().filter(|new| *new).count(), 1, "{name}");
    }
}
