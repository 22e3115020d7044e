//! D13: manifests that are made to hurt. The memory they take is bounded by construction, see the limits in
//! the module's text.

#![allow(clippy::unwrap_used)]

use super::codec::put_varint;
use super::tests::{bad, by_hand, file, flaw, flaw_of, id, manifest, symlink};
use super::*;
use crate::limits::PATH_DEPTH;

#[test]
fn d13_claims_beyond_the_input() {
    for entries in [10_000_000, u64::MAX, MANIFEST_ENTRIES as u64 + 1] {
        assert_eq!(bad(&by_hand(0, entries, &[])), Flaw::TooManyEntries { entries });
    }
    assert_eq!(bad(&by_hand(0, MANIFEST_ENTRIES as u64, &[0; 100])), Flaw::Truncated);
    // Lengths of 1 GiB and more: of a path, of its shared part, of a target.
    for length in [1 << 30, u64::MAX, u64::MAX / 2] {
        let mut number = Vec::new();
        put_varint(&mut number, length);
        assert_eq!(bad(&by_hand(0, 1, &[&[0], &number[..], b"abc\x02"].concat())), Flaw::Truncated);
        assert_eq!(
            bad(&by_hand(0, 1, &[&number[..], b"\x01a\x02"].concat())),
            Flaw::Shared { after: String::new() }
        );
        assert_eq!(bad(&by_hand(0, 1, &[b"\x00\x01a\x03", &number[..], b"b"].concat())), Flaw::Truncated);
    }
    assert_eq!(bad(&vec![b's'; MANIFEST_BYTES + 1]), Flaw::TooLarge { bytes: MANIFEST_BYTES + 1 });
    let whole = manifest(Rules::Portable, &[("a", file(1)), ("b", symlink("a")), ("c/d", file(300))])
        .encode()
        .unwrap();
    for end in 0..whole.len() {
        assert!(matches!(bad(&whole[..end]), Flaw::Truncated | Flaw::Magic), "{end}");
    }
}

#[test]
fn d13_sums() {
    let max = FILE_BYTES;
    assert_eq!(flaw_of(&[("a", file(max))]), None);
    assert_eq!(
        flaw_of(&[("a", file(max + 1))]),
        Some(Flaw::FileSize { path: "a".to_owned(), size: max + 1 })
    );
    assert!(matches!(flaw_of(&[("a", file(u64::MAX)), ("b", file(3))]), Some(Flaw::FileSize { .. })));
    assert_eq!(flaw_of(&[("a", file(max)), ("b", file(1))]), Some(Flaw::TotalSize));
    // 2^11 files of 2^53 - 1 bytes and one of 2^11: together 2^64, which wraps to nothing.
    let names: Vec<String> = (0..2049).map(|n| format!("{n:05}")).collect();
    let sizes = (0..2049).map(|n| if n == 2048 { 2048 } else { max });
    let tree: Vec<_> = names.iter().map(String::as_str).zip(sizes.map(file)).collect();
    assert_eq!(manifest(Rules::Portable, &tree).payload_len, 0);
    assert_eq!(flaw_of(&tree), Some(Flaw::TotalSize));

    let mut lie = manifest(Rules::Portable, &[("a", file(5))]);
    lie.payload_len = 6;
    assert_eq!(flaw(&lie), Some(Flaw::PayloadLength { claimed: 6, sum: 5 }));
    lie.payload_len = u64::MAX;
    assert_eq!(flaw(&lie), Some(Flaw::PayloadLength { claimed: u64::MAX, sum: 5 }));
    let mut empty = manifest(Rules::Portable, &[("a", file(0))]);
    empty.payload = id(b"x");
    assert_eq!(flaw(&empty), Some(Flaw::EmptyId { path: String::new() }));
    empty.entries[0].kind = EntryKind::File { size: 0, id: id(b"x"), executable: false };
    assert_eq!(flaw(&empty), Some(Flaw::EmptyId { path: "a".to_owned() }));
}

#[test]
fn d13_depth_and_text() {
    let deep = vec!["d"; 10_000].join("/");
    assert!(matches!(
        flaw_of(&[(&deep, file(1))]),
        Some(Flaw::Path { error: PathError::PathTooLong { .. }, .. })
    ));
    let deep = vec!["d"; PATH_DEPTH + 1].join("/");
    assert!(matches!(
        flaw_of(&[(&deep, file(1))]),
        Some(Flaw::Path { error: PathError::TooDeep { .. }, .. })
    ));

    // 100,000 paths of 1,000 bytes that take six bytes each.
    let mut rest = Vec::new();
    let stem = format!("{}/", vec!["s".repeat(240); 4].join("/"));
    put_varint(&mut rest, 0);
    put_varint(&mut rest, stem.len() as u64 + 6);
    rest.extend_from_slice(stem.as_bytes());
    rest.extend_from_slice(b"000000\x02");
    for n in 1..MANIFEST_ENTRIES {
        let (before, path) = (format!("{:06}", n - 1), format!("{n:06}"));
        let shared = before.bytes().zip(path.bytes()).take_while(|(a, b)| a == b).count();
        put_varint(&mut rest, (stem.len() + shared) as u64);
        put_varint(&mut rest, (6 - shared) as u64);
        rest.extend_from_slice(&path.as_bytes()[shared..]);
        rest.push(2);
    }
    let bytes = by_hand(0, MANIFEST_ENTRIES as u64, &rest);
    assert!(bytes.len() < 1 << 20);
    assert_eq!(bad(&bytes), Flaw::TooMuchText);

    // Directories by the dozen above each entry.
    let tail = vec!["d"; PATH_DEPTH - 1].join("/");
    let paths: Vec<String> = (0..5000).map(|n| format!("{n:04}/{tail}")).collect();
    let tree: Vec<_> = paths.iter().map(|path| (path.as_str(), EntryKind::EmptyDir)).collect();
    assert_eq!(flaw_of(&tree), Some(Flaw::TooManyDirectories));
    let many = vec![ManifestEntry { path: String::new(), kind: EntryKind::EmptyDir }; MANIFEST_ENTRIES + 1];
    let many = Manifest { entries: many, ..manifest(Rules::Portable, &[]) };
    assert_eq!(flaw(&many), Some(Flaw::TooManyEntries { entries: MANIFEST_ENTRIES as u64 + 1 }));
}

#[test]
fn d13_not_canonical() {
    assert_eq!(bad(&by_hand(0, 0, &[0])), Flaw::TrailingBytes { bytes: 1 });
    assert_eq!(bad(&by_hand(0, 1, b"\x00\x01a\x02\x00\x01b\x02")), Flaw::TrailingBytes { bytes: 4 });
    // Integers: padded, over 64 bits, endless.
    assert_eq!(bad(&by_hand(0, 1, b"\x80\x00\x01a\x02")), Flaw::Varint);
    assert_eq!(bad(&by_hand(0, 1, b"\x00\x81\x00a\x02")), Flaw::Varint);
    assert_eq!(bad(&by_hand(0, 1, &[&[0xff; 9][..], b"\x02aaaa"].concat())), Flaw::Varint);
    assert_eq!(bad(&by_hand(0, 1, &[0xff; 200])), Flaw::Varint);
    // Order, and sharing less than there is.
    let order = |path: &str| Flaw::Order { path: path.to_owned() };
    assert_eq!(bad(&by_hand(0, 2, b"\x00\x01b\x02\x00\x01a\x02")), order("a"));
    assert_eq!(bad(&by_hand(0, 2, b"\x00\x01b\x02\x01\x00\x02\x00")), order("b"));
    assert_eq!(bad(&by_hand(0, 2, b"\x00\x02bc\x02\x01\x00\x02")), order("b"));
    assert_eq!(bad(&by_hand(0, 2, b"\x00\x01b\x02\x00\x02bc\x02")), Flaw::Shared { after: "b".to_owned() });
    assert_eq!(bad(&by_hand(0, 2, b"\x00\x01b\x02\x02\x01c\x02")), Flaw::Shared { after: "b".to_owned() });
    assert_eq!(
        bad(&by_hand(0, 1, b"\x00\x00\x02\x00")),
        Flaw::Path { path: String::new(), error: PathError::Empty { path: String::new() } }
    );
    // Kinds, flags, magic, version.
    assert_eq!(bad(&by_hand(0, 1, b"\x00\x01a\x04")), Flaw::Kind { path: "a".to_owned(), kind: 4 });
    let mut head = by_hand(0, 0, &[]);
    head[9] = 2;
    assert_eq!(bad(&head), Flaw::Flags { flags: 2 });
    head[8] = 2;
    let newer = Manifest::decode(&head).unwrap_err();
    assert_eq!(newer, ManifestError::UnknownVersion { found: 2 });
    assert!(newer.to_string().contains("version 2"));
    head[0] = b'S';
    assert_eq!(bad(&head), Flaw::Magic);
    assert_eq!(bad(b""), Flaw::Magic);
}
