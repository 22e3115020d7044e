#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use super::*;
use crate::limits;

const CONTEXT: &str = "swarm test statement v1";
const SCOPE: [u8; 32] = [7; 32];

fn signer(seed: u8) -> Signer {
    Signer::from_seed(&[seed; 32])
}

fn keys(seeds: &[u8]) -> BTreeSet<PublicKey> {
    seeds.iter().map(|seed| signer(*seed).public()).collect()
}

/// A statement with one number.
fn body(number: u64) -> Vec<u8> {
    let mut body = begin(&SCOPE);
    body.extend(number.to_le_bytes());
    body
}

/// Signatures of these keys on the body.
fn signatures(body: &[u8], seeds: &[u8]) -> Signatures {
    let mut all = Signatures::default();
    seeds.iter().for_each(|seed| all.add(body, CONTEXT, &signer(*seed)).unwrap());
    all
}

/// Reads a statement with several signatures as its receiver does.
fn read(bytes: &[u8]) -> Result<(&[u8], Signatures), BadStatement> {
    let mut fields = Fields::within(bytes, &SCOPE)?;
    fields.u64()?;
    Signatures::read(fields)
}

#[test]
fn a_statement_opens_under_its_own_context_scope_and_key() {
    let bytes = sign(body(5), CONTEXT, &signer(1));
    let (mut fields, by) = open(&bytes, CONTEXT, &SCOPE).unwrap();
    assert_eq!((fields.u64(), by), (Ok(5), signer(1).public()));
    assert_eq!(fields.end(), Ok(()));
    let failure = |context, scope| open(&bytes, context, &scope).err();
    assert_eq!(failure("another context", SCOPE), Some(BadStatement::Signature));
    assert_eq!(failure(CONTEXT, [8; 32]), Some(BadStatement::Scope));
    for at in 0..bytes.len() {
        let mut bent = bytes.clone();
        bent[at] ^= 1;
        assert!(open(&bent, CONTEXT, &SCOPE).is_err(), "byte {at}");
    }
    assert!((0..bytes.len()).all(|len| open(&bytes[..len], CONTEXT, &SCOPE).is_err()));
    let later = sign([&[VERSION + 1][..], &SCOPE].concat(), CONTEXT, &signer(1));
    assert_eq!(open(&later, CONTEXT, &SCOPE).err(), Some(BadStatement::Version));
}

/// The neutral point as key and as the point of the signature: without the strict check it would have signed
/// everything.
#[test]
fn a_key_of_small_order_signs_nothing() {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut signature = [0; SIGNATURE];
    signature[0] = 1;
    assert!(!PublicKey::from_bytes(neutral).has_signed(CONTEXT, b"anything", &signature));
}

#[test]
fn keys_are_read_as_they_are_displayed() {
    let key = signer(1).public();
    assert_eq!(key.to_string().parse(), Ok(key));
    assert_eq!(key.to_string().to_uppercase().parse(), Ok(key));
    for odd in ["", "aaaa", &"a".repeat(53), &"1".repeat(52), &"b".repeat(52)] {
        assert_eq!(odd.parse::<PublicKey>(), Err(BadKey), "{odd}");
    }
    assert!(!format!("{:?}", signer(1)).contains("SigningKey"));
}

#[test]
fn topics_keep_their_numbers() {
    let numbers: Vec<u8> = Topic::ALL.into_iter().map(Topic::number).collect();
    assert_eq!(numbers, [0, 1], "messages and files have these");
    for number in 0..=u8::MAX {
        assert_eq!(Topic::from_number(number).map(Topic::number), (number < 2).then_some(number));
    }
    for topic in Topic::ALL {
        assert_eq!(postcard::to_allocvec(&topic).unwrap(), [topic.number()], "files have the number too");
    }
}

#[test]
fn texts_have_a_length_and_nothing_invisible() {
    let read = |bytes: &[u8]| Fields::new(bytes).text(4);
    let mut bytes = Vec::new();
    put_text(&mut bytes, "abcd");
    assert_eq!(read(&bytes).unwrap(), "abcd");
    for odd in ["", "abcde", " a", "a ", "a\u{7}", "a\u{200b}"] {
        let mut bytes = Vec::new();
        put_text(&mut bytes, odd);
        assert_eq!(read(&bytes), Err(BadStatement::Malformed), "{odd:?}");
    }
    assert_eq!(read(&[2, b'a']), Err(BadStatement::Malformed), "cut off");
    assert_eq!(read(&[1, 0xff]), Err(BadStatement::Malformed), "no UTF-8");
}

#[test]
fn a_threshold_counts_different_keys_that_signed_rightly() {
    let body = body(5);
    let bytes = signatures(&body, &[1, 2, 9]).append_to(body.clone());
    let (signed, all) = read(&bytes).unwrap();
    assert_eq!((signed, all.len()), (&body[..], 3));
    let verify = |counting: &[u8], needed| all.verify(signed, CONTEXT, &keys(counting), needed);
    assert_eq!(verify(&[1, 2, 3], 2), Ok(()));
    assert_eq!(verify(&[1, 2, 3], 3), Err(MissingSignatures { right: 2, needed: 3 }), "9 does not count");
    assert_eq!(verify(&[3], 1), Err(MissingSignatures { right: 0, needed: 1 }));
    assert_eq!(verify(&[], 0), Err(MissingSignatures { right: 0, needed: 1 }), "nobody is not enough");
    assert_eq!(all.right(signed, CONTEXT, &keys(&[2, 3, 9])), keys(&[2, 9]));
    let other = all.verify(signed, "another context", &keys(&[1, 2]), 1);
    assert_eq!(other, Err(MissingSignatures { right: 0, needed: 1 }));
    let other = all.verify(&self::body(6), CONTEXT, &keys(&[1, 2]), 1);
    assert_eq!(other, Err(MissingSignatures { right: 0, needed: 1 }));
}

#[test]
fn a_wrong_signature_spoils_no_right_one() {
    let body = body(5);
    let bytes = signatures(&body, &[1, 2]).append_to(body.clone());
    let first = body.len() + 1 + KEY;
    for at in first..first + SIGNATURE {
        let mut bent = bytes.clone();
        bent[at] ^= 1;
        let (signed, all) = read(&bent).unwrap();
        assert_eq!(all.right(signed, CONTEXT, &keys(&[1, 2])).len(), 1, "byte {at}");
        assert_eq!(all.verify(signed, CONTEXT, &keys(&[1, 2]), 1), Ok(()));
    }
}

#[test]
fn several_signatures_have_one_form() {
    let body = body(5);
    let bytes = signatures(&body, &[1, 2]).append_to(body.clone());
    // The order in which the keys signed makes no difference.
    assert_eq!(bytes, signatures(&body, &[2, 1, 2]).append_to(body.clone()));
    assert!((0..bytes.len()).all(|len| read(&bytes[..len]).is_err()));
    assert_eq!(read(&[&bytes[..], &[0]].concat()), Err(BadStatement::Malformed));
    let (head, one) = (body.len() + 1, KEY + SIGNATURE);
    let (first, second) = (&bytes[head..head + one], &bytes[head + one..]);
    for odd in [[second, first], [first, first]] {
        let odd = [&bytes[..head], odd[0], odd[1]].concat();
        assert_eq!(read(&odd), Err(BadStatement::Malformed), "not ascending");
    }
    let none = Signatures::default().append_to(body);
    assert!(read(&none).unwrap().1.is_empty(), "read, and never verified");
}

#[test]
fn signatures_are_bounded() {
    let body = body(5);
    let seeds: Vec<u8> = (0..limits::SIGNATURES as u8).collect();
    let mut most = signatures(&body, &seeds);
    assert_eq!(most.add(&body, CONTEXT, &signer(99)), Err(BadStatement::Malformed));
    assert_eq!(most.add(&body, CONTEXT, &signer(0)), Ok(()), "a key that has signed may sign again");
    let bytes = most.append_to(body.clone());
    assert_eq!(read(&bytes).unwrap().1, most);
    let mut more = bytes;
    more[body.len()] += 1;
    more.extend([0xff; KEY + SIGNATURE]);
    assert_eq!(read(&more), Err(BadStatement::Malformed));
}

#[test]
fn copies_of_a_statement_are_joined() {
    let body = body(5);
    let (one, two) = (signatures(&body, &[1]), signatures(&body, &[2, 9]));
    let joined = one.joined(&two, &body, CONTEXT, &keys(&[1, 2, 3]));
    assert_eq!(joined, signatures(&body, &[1, 2]), "9 does not count");
    // A wrong signature gives way to the right one of its key, from either side.
    let wrong = signatures(&self::body(6), &[1]);
    for (left, right) in [(&one, &wrong), (&wrong, &one)] {
        assert_eq!(left.joined(right, &body, CONTEXT, &keys(&[1])), one);
    }
}
