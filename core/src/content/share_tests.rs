#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::content::kind::ContentKind;
use crate::content::manifest::{EntryKind, ManifestEntry};
use crate::content::path::Rules;

fn key() -> ShareKey {
    ShareKey::from_bytes([7; KEY])
}

fn outside(len: u64) -> Outside {
    let content = ContentKind::File.id_of(if len == 0 { b"" } else { b"as it is sealed" });
    Outside { content, content_len: sealed_len(len), salt: [9; SALT] }
}

fn file(name: &str, len: u64) -> Description {
    Description { name: name.to_owned(), len, manifest: None }
}

fn directory(len: u64) -> Description {
    let kind = EntryKind::File { size: len, id: ContentKind::File.id_of(b"plain"), executable: false };
    let entries = vec![ManifestEntry { path: "secret name".to_owned(), kind }];
    let manifest =
        Manifest { rules: Rules::Portable, payload: outside(len).content, payload_len: len, entries };
    Description { name: "folder".to_owned(), len, manifest: Some(manifest) }
}

#[test]
fn what_is_sealed_is_opened_again() {
    for description in
        [file("film.mkv", 1_000_000), file("x", 0), file(&"n".repeat(255), 1), directory(70_000)]
    {
        let outside = outside(description.len);
        let envelope = seal_envelope(&outside, &description, &key()).unwrap();
        assert_eq!((envelope.len() - HEAD) % SEGMENT, 0);
        assert_eq!(Outside::decode(&envelope).unwrap(), outside);
        assert_eq!(open_envelope(&envelope, &key()).unwrap(), (outside, description.clone()));
        assert_eq!(open_envelope(&envelope, &ShareKey::from_bytes([8; KEY])), Err(ShareError::Key));
    }
}

#[test]
fn nothing_of_the_description_shows() {
    let envelope = seal_envelope(&outside(70_000), &directory(70_000), &key()).unwrap();
    for secret in [&b"secret name"[..], b"folder", b"swarmdir", &[7; KEY]] {
        assert!(!envelope.windows(secret.len()).any(|window| window == secret));
    }
    // Envelopes with names of any length have the same length.
    let len = |name: &str| seal_envelope(&outside(1), &file(name, 1), &key()).unwrap().len();
    assert_eq!(len("a"), len(&"a".repeat(255)));
}

#[test]
fn every_bit_counts() {
    let envelope = seal_envelope(&outside(5), &file("name", 5), &key()).unwrap();
    let flipped = |at: usize| {
        let mut bytes = envelope.clone();
        bytes[at] ^= 1;
        open_envelope(&bytes, &key())
    };
    for at in (0..HEAD).chain([HEAD, HEAD + 1000, envelope.len() - 1]) {
        assert!(flipped(at).is_err(), "byte {at}");
    }
    for len in [0, 8, HEAD, HEAD + 1, envelope.len() - 1, envelope.len() - SEGMENT] {
        assert!(open_envelope(&envelope[..len], &key()).is_err(), "{len} bytes");
    }
    let huge = vec![0; limits::ENVELOPE_BYTES + 1];
    assert!(matches!(Outside::decode(&huge), Err(ShareError::Bad(_))));
    let mut later = envelope;
    later[8] = 2;
    assert_eq!(Outside::decode(&later), Err(ShareError::UnknownVersion(2)));
}

/// Returns the verdict on a description that a holder of the key has changed.
fn lie(change: impl FnOnce(&mut Vec<u8>)) -> Result<(Outside, Description), ShareError> {
    let mut plain = vec![0];
    plain.extend(5_u64.to_le_bytes());
    plain.extend(4_u16.to_le_bytes());
    plain.extend(b"name");
    plain.extend(0_u32.to_le_bytes());
    plain.resize(BODY, 0);
    change(&mut plain);
    let outside = outside(5);
    let head = outside.encode();
    let sealer = Sealer::new(&key(), &outside.salt, SharePart::Description, plain.len() as u64);
    open_envelope(&[&head[..], &sealer.seal_all(&plain, &head)].concat(), &key())
}

#[test]
fn descriptions_have_one_form() {
    assert_eq!(lie(|_| {}).unwrap().1, file("name", 5));
    let lies: [fn(&mut Vec<u8>); 9] = [
        |plain| plain[0] = 2,
        |plain| plain[0] = 1,
        |plain| plain[1..9].copy_from_slice(&(BODY as u64 + 1).to_le_bytes()),
        |plain| plain[1..9].copy_from_slice(&u64::MAX.to_le_bytes()),
        |plain| plain[9] = 0,
        |plain| plain[9..11].copy_from_slice(&u16::MAX.to_le_bytes()),
        |plain| plain[11] = 0xff,
        |plain| plain[15..19].copy_from_slice(&u32::MAX.to_le_bytes()),
        |plain| plain.resize(2 * BODY, 0),
    ];
    for (number, change) in lies.into_iter().enumerate() {
        assert!(lie(change).is_err(), "lie {number}");
    }
    assert!(lie(|plain| plain[BODY - 1] = 1).is_err(), "filling");
}

#[test]
fn a_directory_is_that_of_its_content() {
    let other = Outside { content: ContentKind::File.id_of(b"other"), ..outside(70_000) };
    let envelope = seal_envelope(&other, &directory(70_000), &key()).unwrap();
    assert!(matches!(open_envelope(&envelope, &key()), Err(ShareError::Bad(_))));
}

#[test]
fn a_password_opens_its_own_share_and_no_other() {
    let id = ContentKind::Share.id_of(b"x");
    let Fragment::Locked(locked) = lock(&key(), id, "päss", &[1; SALT], &[2; NONCE]).unwrap() else {
        panic!("not locked")
    };
    assert_eq!(unlock(&locked, id, "päss").unwrap(), key());
    // Keyboards differ in how they write this character.
    assert_eq!(unlock(&locked, id, "pa\u{308}ss").unwrap(), key());
    assert_eq!(unlock(&locked, id, "pass"), Err(UnlockError::Password));
    assert_eq!(unlock(&locked, ContentKind::Share.id_of(b"y"), "päss"), Err(UnlockError::Password));
    for at in [7, 30, 60, LOCKED - 1] {
        let mut bent = locked.clone();
        bent[at] ^= 1;
        assert_eq!(unlock(&bent, id, "päss"), Err(UnlockError::Password), "byte {at}");
    }
}

#[test]
fn a_link_makes_nobody_spend_more_than_allowed() {
    let locked = |kib: u32, passes: u8, lanes: u8| {
        let mut locked = [0; LOCKED];
        locked[0] = 1;
        locked[1..5].copy_from_slice(&kib.to_le_bytes());
        (locked[5], locked[6]) = (passes, lanes);
        unlock(&locked, ContentKind::Share.id_of(b"x"), "x")
    };
    for (kib, passes, lanes) in
        [(u32::MAX, 1, 1), (limits::LOCK_KIB + 1, 1, 1), (64, 11, 1), (64, 0, 1), (8, 1, 2), (64, 1, 0)]
    {
        assert!(
            matches!(locked(kib, passes, lanes), Err(UnlockError::Cost { .. })),
            "{kib} {passes} {lanes}"
        );
    }
    assert_eq!(locked(64, 1, 1), Err(UnlockError::Password), "little is fine");
}

#[test]
fn fragments_are_read_as_they_are_written_and_never_shown() {
    let id = ContentKind::Share.id_of(b"x");
    for fragment in [Fragment::Key(key()), lock(&key(), id, "x", &[1; SALT], &[2; NONCE]).unwrap()] {
        let text = fragment.to_string();
        assert_eq!(Fragment::read(&text), Some(fragment.clone()));
        let value = text.split_once('=').unwrap().1;
        assert!(!format!("{fragment:?}").contains(&value[..8]));
        for bad in
            [&text[..text.len() - 1], &format!("{text}A"), &text.replace('=', ":"), "", "key=", "key=+/"]
        {
            assert_eq!(Fragment::read(bad), None, "{bad}");
        }
    }
}

proptest! {
    #[test]
    fn anything_at_all_is_refused_in_order(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = open_envelope(&bytes, &key());
        let mut begins = MAGIC.to_vec();
        begins.push(VERSION);
        begins.extend([0; 7]);
        begins.extend(&bytes);
        begins.resize(HEAD + SEGMENT, 0);
        prop_assert!(open_envelope(&begins, &key()).is_err());
    }
}

/// The vectors that the documents name, and that `tests/formats/verify.py` makes with other libraries.
#[test]
fn the_vectors_hold() {
    let vectors: serde_json::Value = serde_json::from_str(include_str!("../../vectors/share.json")).unwrap();
    let hex = |value: &serde_json::Value| {
        data_encoding::HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
    };
    let key = ShareKey::from_bytes(array(&hex(&vectors["key"])));
    let salt: [u8; SALT] = array(&hex(&vectors["salt"]));
    let mut content = ContentId::from_bytes([0; 32]);
    for expected in vectors["segments"].as_array().unwrap() {
        let len = expected["plain_length"].as_u64().unwrap();
        let plain: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        let sealed = Sealer::new(&key, &salt, SharePart::Content, len).seal_all(&plain, b"");
        content = ContentKind::File.id_of(&sealed);
        assert_eq!(content.to_string(), expected["blake3"], "{len} bytes");
    }
    let envelope = &vectors["envelope"];
    let outside = Outside { content, content_len: 2 * SEGMENT as u64, salt };
    let description = file(envelope["name"].as_str().unwrap(), BODY as u64 + 1);
    let id = ContentKind::Share.id_of(&seal_envelope(&outside, &description, &key).unwrap());
    assert_eq!(id.to_string(), envelope["id"]);
    assert_eq!(Fragment::Key(key.clone()).to_string(), vectors["fragment"]);
    let how = &vectors["lock"];
    let password = how["password"].as_str().unwrap();
    let locked = lock(&key, id, password, &array(&hex(&how["salt"])), &array(&hex(&how["nonce"]))).unwrap();
    assert_eq!(locked.to_string(), how["fragment"]);
}
