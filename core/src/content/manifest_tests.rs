#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::codec::put_varint;
use super::*;
use crate::content::path::fold_key;
use crate::content::path::names::hostile_and_harmless;

pub(super) fn id(bytes: &[u8]) -> ContentId {
    ContentId::from_bytes(*blake3::hash(bytes).as_bytes())
}

pub(super) fn file(size: u64) -> EntryKind {
    EntryKind::File {
        size,
        id: if size == 0 { id(b"") } else { id(&size.to_le_bytes()) },
        executable: size % 2 == 1,
    }
}

pub(super) fn symlink(target: &str) -> EntryKind {
    EntryKind::Symlink { target: target.to_owned() }
}

/// Returns a manifest of these entries, sorted and summed up, but not checked.
pub(super) fn manifest(rules: Rules, entries: &[(&str, EntryKind)]) -> Manifest {
    let entry =
        |(path, kind): &(&str, EntryKind)| ManifestEntry { path: (*path).to_owned(), kind: kind.clone() };
    let mut entries: Vec<ManifestEntry> = entries.iter().map(entry).collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let size = |e: &ManifestEntry| {
        if let EntryKind::File { size, .. } = e.kind { size } else { 0 }
    };
    let payload_len = entries.iter().map(size).fold(0, u64::wrapping_add);
    Manifest { rules, payload: if payload_len == 0 { id(b"") } else { id(b"payload") }, payload_len, entries }
}

/// Returns the verdict on a manifest, on which publisher and receiver must agree. For the receiver it is
/// written without checks.
pub(super) fn flaw(manifest: &Manifest) -> Option<Flaw> {
    let bytes = codec::write(manifest);
    match (manifest.encode(), Manifest::decode(&bytes)) {
        (Ok(encoded), Ok(decoded)) => {
            assert_eq!(encoded, bytes);
            assert_eq!(&decoded, manifest);
            None
        }
        (Err(ManifestError::Unpublishable(ours)), Err(ManifestError::Bad(theirs))) => {
            assert_eq!(ours, theirs);
            Some(ours)
        }
        other => panic!("publisher and receiver disagree: {other:?}"),
    }
}

pub(super) fn flaw_of(entries: &[(&str, EntryKind)]) -> Option<Flaw> {
    flaw(&manifest(Rules::Portable, entries))
}

/// Returns a manifest made by hand: a head, and then any bytes.
pub(super) fn by_hand(payload_len: u64, entries: u64, rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"swarmdir\x01\x00".to_vec();
    bytes.extend_from_slice(if payload_len == 0 { id(b"") } else { id(b"payload") }.as_bytes());
    put_varint(&mut bytes, payload_len);
    put_varint(&mut bytes, entries);
    bytes.extend_from_slice(rest);
    bytes
}

pub(super) fn bad(bytes: &[u8]) -> Flaw {
    match Manifest::decode(bytes) {
        Err(ManifestError::Bad(flaw)) => flaw,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_bytes_are_as_documented() {
    let tree = [("a/b", file(300)), ("a/c", file(0)), ("é", EntryKind::EmptyDir), ("è", symlink("a"))];
    let bytes = manifest(Rules::Unix, &tree).encode().unwrap();
    let mut expected = b"swarmdir\x01\x01".to_vec();
    expected.extend_from_slice(id(b"payload").as_bytes());
    expected.extend_from_slice(b"\xac\x02\x04");
    expected.extend_from_slice(b"\x00\x03a/b\x00\xac\x02");
    expected.extend_from_slice(id(&300_u64.to_le_bytes()).as_bytes());
    expected.extend_from_slice(b"\x02\x01c\x00\x00");
    expected.extend_from_slice(id(b"").as_bytes());
    // Paths share bytes, also within a character.
    expected.extend_from_slice(b"\x00\x02\xc3\xa8\x03\x01a");
    expected.extend_from_slice(b"\x01\x01\xa9\x02");
    assert_eq!(bytes, expected);
    assert_eq!(Manifest::decode(&bytes).unwrap(), manifest(Rules::Unix, &tree));
    assert_eq!(id_of(&bytes).as_bytes(), &blake3::derive_key("swarm 2026-11 directory manifest v1", &bytes));
    assert_ne!(id_of(&bytes), id(&bytes));
    assert_eq!(by_hand(0, 0, &[]), manifest(Rules::Portable, &[]).encode().unwrap());
}

#[test]
fn files_have_offsets() {
    let tree =
        [("a", file(3)), ("b", symlink("a")), ("c/d", file(0)), ("c/e", file(5)), ("f", EntryKind::EmptyDir)];
    let tree = manifest(Rules::Portable, &tree);
    let offsets: Vec<_> =
        tree.file_offsets().map(|(e, offset, size)| (e.path.as_str(), offset, size)).collect();
    assert_eq!(offsets, [("a", 0, 3), ("c/d", 3, 0), ("c/e", 3, 5)]);
}

/// Every hostile name of the path policy makes the whole manifest bad, on both sides; the harmless ones do
/// not.
#[test]
fn d14_d16_hostile_names_in_manifests() {
    for rules in [Rules::Portable, Rules::Unix] {
        let (hostile, harmless) = hostile_and_harmless(rules);
        assert!(hostile.len() >= 60);
        for name in harmless {
            let name = String::from_utf8(name).unwrap();
            assert_eq!(flaw(&manifest(rules, &[("good", file(1)), (&name, file(2))])), None, "{name:?}");
        }
        for name in hostile {
            let shown = name.escape_ascii();
            // A name that may not be text has to be put in by hand.
            let mut bytes = by_hand(0, 1, &[0]);
            bytes[9] = u8::from(rules == Rules::Unix);
            put_varint(&mut bytes, name.len() as u64);
            bytes.extend_from_slice(&name);
            bytes.extend_from_slice(&[2, 0]);
            assert!(matches!(bad(&bytes), Flaw::Path { .. }), "{shown}");
            if let Ok(name) = String::from_utf8(name) {
                let found = flaw(&manifest(rules, &[("good", file(1)), (&name, file(2))]));
                assert!(matches!(found, Some(Flaw::Path { .. })), "{name:?} {found:?}");
            }
        }
    }
}

#[test]
fn twins() {
    let twins = [
        ("README", "readme"),
        ("straße", "STRASSE"),
        ("ſet", "set"),
        ("\u{212a}", "k"),
        ("é", "e\u{301}"),
        ("d/É", "d/e\u{301}"),
        // Directories that are only implied, far apart, and against a file.
        ("Lib/x", "lib/y"),
        ("a/b/C/x", "a/b/c/y"),
        ("Lib", "lib/y"),
    ];
    for (a, b) in twins {
        let tree =
            [("A0/z", file(3)), ("L/z", file(4)), (a, file(1)), (b, file(2)), ("zz", EntryKind::EmptyDir)];
        let found = flaw_of(&tree);
        assert!(matches!(found, Some(Flaw::Twins { .. })), "{a:?} {b:?} {found:?}");
        // Unix names may differ by case, but never by normalisation alone (the Kelvin sign is such a twin of
        // K).
        let same = a.nfc_eq(b);
        assert_eq!(flaw(&manifest(Rules::Unix, &tree)).is_some(), same, "{a:?} {b:?}");
    }
    assert_eq!(
        flaw_of(&[("x/Lib/a", file(1)), ("x/lib/b", file(1))]),
        Some(Flaw::Twins { first: "x/Lib".to_owned(), second: "x/lib".to_owned() })
    );
}

trait NfcEq {
    fn nfc_eq(&self, other: &str) -> bool;
}

impl NfcEq for str {
    fn nfc_eq(&self, other: &str) -> bool {
        use unicode_normalization::UnicodeNormalization as _;
        self.nfc().eq(other.nfc())
    }
}

#[test]
fn only_directories_hold_something() {
    let child = || "a/x".to_owned();
    let parent = || "a".to_owned();
    // Names that sort between a directory and what is in it must not hide the clash.
    for between in ["a-b", "a.b", "0", "b"] {
        let tree = |kind| [("a", kind), (between, file(2)), ("a/x", file(1))];
        let not_a_directory = Some(Flaw::NotADirectory { parent: parent(), child: child() });
        assert_eq!(flaw_of(&tree(file(7))), not_a_directory, "{between}");
        // D15: a symlink to a directory and then a file through it.
        assert_eq!(flaw_of(&tree(symlink("b"))), not_a_directory, "{between}");
        assert_eq!(
            flaw_of(&tree(EntryKind::EmptyDir)),
            Some(Flaw::NotEmpty { parent: parent(), child: child() }),
            "{between}"
        );
    }
    assert_eq!(
        flaw_of(&[("a", file(1)), ("a-b", file(2)), ("b/a", file(3)), ("ab/c", EntryKind::EmptyDir)]),
        None
    );
    assert!(matches!(flaw_of(&[("a", file(1)), ("a", file(1))]), Some(Flaw::Order { .. })));
}

#[test]
fn d15_symlinks_stay_inside() {
    for (link, target) in
        [("a", ".."), ("d/a", "../../x"), ("a", "/etc"), ("a", "b/../.."), ("a", "C:\\x"), ("a", "")]
    {
        assert!(matches!(flaw_of(&[(link, symlink(target))]), Some(Flaw::Path { .. })), "{link} {target}");
    }
    assert_eq!(flaw_of(&[("a", symlink("d/x")), ("d/l", symlink("../a")), ("d/x", file(1))]), None);
    assert!(matches!(
        bad(&by_hand(0, 1, b"\x00\x01a\x03\x02\xc0\xae")),
        Flaw::Path { error: PathError::NotUtf8 { .. }, .. }
    ));
}

#[test]
fn errors_say_whose_fault() {
    let theirs = Manifest::decode(b"junk").unwrap_err().to_string();
    assert_eq!(theirs, "bad manifest: not a directory manifest");
    let ours = manifest(Rules::Portable, &[("src/aux", file(1))]).encode().unwrap_err().to_string();
    assert_eq!(ours, "this directory cannot be published: \"src/aux\": a device name on Windows: \"aux\"");
}

/// D17: no error shows raw characters that a terminal would act on.
#[test]
fn d17_manifest_errors_are_escaped() {
    let evil = "e\u{1b}[2J\u{202e}\n";
    let hand = |rest: &[u8]| by_hand(0, 2, &[&[0, evil.len() as u8], evil.as_bytes(), rest].concat());
    let mut errors = vec![Manifest::decode(&hand(b"\x09\x00")).unwrap_err()];
    errors.push(Manifest::decode(&hand(b"\x02\x00\x01a\x02")).unwrap_err());
    errors.push(manifest(Rules::Unix, &[(evil, file(1))]).encode().unwrap_err());
    errors.push(manifest(Rules::Unix, &[("a", symlink(evil))]).encode().unwrap_err());
    for error in errors {
        let shown = error.to_string();
        assert_eq!(shown, escape(&shown), "{error:?}");
    }
}

/// 100,000 files with names of software trees fit, and are read in a moment.
#[test]
fn a_full_tree_fits() {
    let path =
        |n: usize| format!("project/packages/module-{:03}/src/components/Component_{n:06}.test.tsx", n / 200);
    let paths: Vec<String> = (0..MANIFEST_ENTRIES).map(path).collect();
    let tree: Vec<_> = paths.iter().map(|path| (path.as_str(), file(20_000))).collect();
    let tree = manifest(Rules::Portable, &tree);
    let bytes = tree.encode().unwrap();
    assert!(bytes.len() < MANIFEST_BYTES * 6 / 10, "{}", bytes.len());
    assert_eq!(Manifest::decode(&bytes).unwrap(), tree);
}

fn any_kind() -> impl Strategy<Value = EntryKind> {
    prop_oneof![
        4 => (any::<u32>(), any::<bool>()).prop_map(|(size, executable)| match file(u64::from(size)) {
            EntryKind::File { size, id, .. } => EntryKind::File { size, id, executable },
            other => other,
        }),
        1 => Just(file(0)),
        1 => Just(EntryKind::EmptyDir),
        1 => "[ab]{1,2}(/[ab]){0,3}".prop_map(|target| EntryKind::Symlink { target }),
    ]
}

/// Trees over few names, so that they share and clash; each with the entries that its predecessors allow.
fn any_manifest() -> impl Strategy<Value = Manifest> {
    let path = prop_oneof![3 => "[aAbé-]{1,3}(/[aAbé.]{1,3}b){0,4}", 1 => "[a-z]{1,60}/[a-z]{1,150}"];
    let entries = proptest::collection::vec((path, any_kind()), 0..12);
    (entries, any::<bool>()).prop_map(|(entries, unix)| {
        let rules = if unix { Rules::Unix } else { Rules::Portable };
        let mut tree: Vec<(&str, EntryKind)> = Vec::new();
        for (path, kind) in &entries {
            tree.push((path, kind.clone()));
            if manifest(rules, &tree).encode().is_err() {
                tree.pop();
            }
        }
        manifest(rules, &tree)
    })
}

/// A slow oracle for twins and parents: it compares all names of the tree by pairs.
fn clashes(manifest: &Manifest) -> bool {
    let mut names: Vec<(&str, bool)> = Vec::new();
    for entry in &manifest.entries {
        names.extend(entry.path.match_indices('/').map(|(at, _)| (&entry.path[..at], true)));
        names.push((&entry.path, false));
    }
    let same = |a: &str, b: &str| match manifest.rules {
        Rules::Portable => fold_key(a) == fold_key(b),
        Rules::Unix => a.nfc_eq(b),
    };
    names
        .iter()
        .enumerate()
        .any(|(n, a)| names[..n].iter().any(|b| same(a.0, b.0) && !(a.0 == b.0 && a.1 && b.1)))
}

proptest! {
    #[test]
    fn round_trip(tree in any_manifest()) {
        let bytes = tree.encode().unwrap();
        prop_assert_eq!(Manifest::decode(&bytes).unwrap(), tree);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>(), len in 0..1000_u64, entries in 0..20_u64) {
        let _ = Manifest::decode(&bytes);
        let _ = Manifest::decode(&by_hand(len, entries, &bytes));
    }

    /// Bytes that decode are the one encoding of the result.
    #[test]
    fn mutants_fail_or_are_canonical(
        tree in any_manifest(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 1..4),
    ) {
        let mut bytes = tree.encode().unwrap();
        for (at, edit, byte) in edits {
            let at = at.index(bytes.len());
            match edit {
                0 => bytes[at] = byte,
                1 => bytes[at] ^= 1 << (byte % 8),
                2 => bytes.insert(at, byte % 8),
                _ => drop(bytes.remove(at)),
            }
        }
        if let Ok(decoded) = Manifest::decode(&bytes) {
            prop_assert_eq!(decoded.encode().unwrap(), bytes);
        }
    }

    #[test]
    fn clashes_are_found(
        paths in proptest::collection::btree_set("[aAbé\u{301}](/[aAb]){0,2}", 1..8),
        unix in any::<bool>(),
    ) {
        let rules = if unix { Rules::Unix } else { Rules::Portable };
        let tree: Vec<_> = paths.iter().map(|path| (path.as_str(), file(1))).collect();
        let tree = manifest(rules, &tree);
        prop_assert_eq!(flaw(&tree).is_some(), clashes(&tree));
    }
}
