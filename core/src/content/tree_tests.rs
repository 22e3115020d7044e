//! Tests of the hash list; the oracle is `blake3::hash` over the whole blob.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::content::{manifest, share};

fn bytes(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|i| (i as u8).wrapping_mul(31).wrapping_add((i >> 8) as u8 ^ (i >> 16) as u8 ^ seed))
        .collect()
}

fn oracle(kind: ContentKind, bytes: &[u8]) -> ContentId {
    match kind {
        ContentKind::File => blake3::hash(bytes).into(),
        ContentKind::Directory => ContentId::from_bytes(blake3::derive_key(manifest::CONTEXT, bytes)),
        ContentKind::Share => ContentId::from_bytes(blake3::derive_key(share::CONTEXT, bytes)),
    }
}

/// Returns lengths at which something changes: nothing, one byte, around each power of two up to some chunks.
fn edges() -> Vec<usize> {
    let mut lens = vec![0, 1, 2, 1023, 1024, 1025];
    for power in 15..22 {
        let p = 1 << power;
        lens.extend([p - 1, p, p + 1, p + 1024, 3 * p / 2]);
    }
    lens
}

#[test]
fn list_merges_to_the_hash_of_the_whole() {
    for kind in [ContentKind::File, ContentKind::Directory, ContentKind::Share] {
        for len in edges() {
            let data = bytes(len, 1);
            let geometry = Geometry::new(len as u64).unwrap();
            let list = HashList::of(kind, geometry, &data);
            let id = oracle(kind, &data);
            assert_eq!(list.id(), id, "{kind:?} {len}");
            assert_eq!(HashList::decode(id, kind, geometry, &list.encode()).unwrap(), list);
            assert_eq!(list.encode().len(), encoded_len(geometry));
        }
    }
}

#[test]
fn a_file_is_never_a_directory() {
    let data = bytes(200_000, 2);
    let geometry = Geometry::new(data.len() as u64).unwrap();
    let list = HashList::of(ContentKind::File, geometry, &data);
    assert_eq!(
        HashList::decode(list.id(), ContentKind::Directory, geometry, &list.encode()),
        Err(BadList::Root)
    );
}

/// Inner nodes passed off as chunks merge to the right id under half the length, but there is no tail for
/// them.
#[test]
fn a_lied_length_has_no_tail() {
    let data = bytes(4 * 65_536, 3);
    let truth = Geometry::new(data.len() as u64).unwrap();
    let list = HashList::of(ContentKind::File, truth, &data);
    let pairs: Vec<u8> =
        list.values.chunks(2).flat_map(|p| merge_subtrees_non_root(&p[0], &p[1], Mode::Hash)).collect();
    let lie = Geometry::new(2 * 65_536).unwrap();
    let forge = |lie: Geometry, values: &[u8], tail: &[u8]| {
        HashList::decode(list.id(), ContentKind::File, lie, &[values, tail].concat())
    };
    assert_eq!(forge(lie, &pairs, &[]), Err(BadList::Size { got: 64, want: 64 + 6 * 32 + 1024 }));
    for start in [0, 65_536, 131_072, 196_608] {
        let tail = Tail::of(ContentKind::File, lie, &data[start..start + 65_536]).unwrap().encode();
        assert_eq!(forge(lie, &pairs, &tail), Err(BadList::Tail));
    }
    // A lie within the last chunk: the number of values is the same, so they merge to the id.
    for off in [1, 1023, 1024, 65_535] {
        let shorter = Geometry::new(data.len() as u64 - off as u64).unwrap();
        let tail = Tail::of(ContentKind::File, shorter, &data[196_608..data.len() - off]).unwrap().encode();
        assert_eq!(forge(shorter, &list.values.concat(), &tail), Err(BadList::Tail), "{off}");
    }
    let true_tail = Tail::of(ContentKind::File, truth, &data[196_608..]).unwrap().encode();
    assert_eq!(forge(truth, &list.values.concat(), &true_tail), Ok(list.clone()));
    let longer = Geometry::new(data.len() as u64 + 1).unwrap();
    assert!(forge(longer, &list.values.concat(), &true_tail).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_chunk_verifies_alone_and_nothing_else_does(
        len in 1_usize..600_000, seed: u8, flip in any::<prop::sample::Index>(), wrong in any::<prop::sample::Index>()
    ) {
        let data = bytes(len, seed);
        let geometry = Geometry::new(len as u64).unwrap();
        let id = ContentId::from(blake3::hash(&data));
        let list = HashList::decode(id, ContentKind::File, geometry, &HashList::of(ContentKind::File, geometry, &data).encode()).unwrap();
        for chunk in geometry.iter() {
            let range = geometry.range(chunk);
            let mut part = data[range.start as usize..range.end as usize].to_vec();
            prop_assert!(list.verify(chunk, &part));
            prop_assert!(!list.verify(chunk, &part[..part.len() - 1]));
            let at = flip.index(part.len());
            part[at] ^= 1;
            prop_assert!(!list.verify(chunk, &part));
        }
        if geometry.chunks() > 1 {
            let mut bad = list.encode();
            let at = wrong.index(bad.len());
            bad[at] ^= 0x80;
            let found = if at < geometry.chunks() as usize * 32 { BadList::Root } else { BadList::Tail };
            prop_assert_eq!(HashList::decode(id, ContentKind::File, geometry, &bad), Err(found));
        }
    }
}
