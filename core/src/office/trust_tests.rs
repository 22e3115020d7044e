//! Statements that members pass on: which ones are believed, that their order makes no difference, and how
//! large the state grows.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::office::tests::{DAY, NOW, book, by, certificate, chain, charter, list, signer, told};

#[test]
fn registrars_are_believed_and_nobody_else() {
    let id = charter().id();
    let mut book = book();
    let statement = |signer: &Signer| list(&[(3, 11)]).sign(id, signer);
    // A list of a publisher; of a registrar without its certificate; with the certificate of another node.
    let member = certificate(3, Role::Publisher).sign(id, &signer(1));
    for (by, by_whom) in [(member, 3), (Vec::new(), 2), (by(), 3)] {
        let told = told(Topic::Expulsion, &by, statement(&signer(by_whom)));
        assert!(book.hear(&told, NOW).is_err());
    }
    let good = told(Topic::Expulsion, &by(), statement(&signer(2)));
    assert_eq!(book.hear(&good, NOW), Ok(Update::Expulsion));
    assert_eq!(book.hear(&good, NOW), Ok(Update::Nothing));
    let one = certificate(3, Role::Member);
    assert_eq!(book.verify(&chain(&one), NOW), Err(Rejected::Expelled));
    // A list stays valid after its registrar's certificate has expired, also for a node that hears it only
    // then.
    let mut late = self::book();
    assert_eq!(late.hear(&good, NOW + 300 * DAY), Ok(Update::Expulsion));
    // New statements of an expelled registrar are refused; its earlier ones stay.
    let root = told(Topic::Expulsion, &[], list(&[(2, 11)]).sign(id, &signer(1)));
    assert_eq!(book.hear(&root, NOW), Ok(Update::Expulsion));
    let more = ExpulsionList { number: 2, ..list(&[(4, 11)]) }.sign(id, &signer(2));
    assert_eq!(book.hear(&told(Topic::Expulsion, &by(), more), NOW), Err(Rejected::Expelled));
    assert_eq!(book.verify(&chain(&one), NOW), Err(Rejected::Expelled));
    // A statement from the future is refused.
    let ahead = ExpulsionList { issued: NOW + 2 * DAY, ..list(&[(4, 11)]) }.sign(id, &signer(1));
    assert_eq!(book.hear(&told(Topic::Expulsion, &[], ahead), NOW), Err(Rejected::Future));
}

#[test]
fn a_state_can_be_passed_on_whole_and_is_bounded() {
    let mut book = book();
    let registrar = signer(2);
    let mut members: Vec<(PublicKey, Void)> = Vec::new();
    for of in 10..20 {
        members.push((signer(of).public(), Void { below: 5, until: NOW + DAY * u64::from(of) }));
        let told = book.expel(&registrar, &by(), &members[members.len() - 1..], &BTreeSet::new(), NOW);
        assert_eq!(book.hear(&told, NOW), Ok(Update::Expulsion));
    }
    for n in 0..40 {
        let told = book.renew_secret(&registrar, &by(), [n; 32], NOW + u64::from(n));
        assert_eq!(book.hear(&told, NOW), Ok(Update::Secret));
    }
    assert_eq!(book.secrets().count(), limits::OFFICE_SECRETS);
    assert_eq!(book.secrets().next().unwrap().epoch, 39);
    assert!(book.secrets().zip(book.secrets().skip(1)).all(|(newer, older)| newer > older));
    // Only the newest list of an issuer is passed on, and contains all its entries; lists come before
    // secrets.
    let all: Vec<Statement> = book.all().cloned().collect();
    assert_eq!(all.iter().filter(|told| told.topic == Topic::Expulsion).count(), 1);
    assert_eq!(all[0].topic, Topic::Expulsion);
    let mut other = self::book();
    all.iter().for_each(|told| assert!(other.hear(told, NOW).is_ok()));
    assert_eq!(other.expelled(), book.expelled());
    assert!(other.secrets().eq(book.secrets()));
    // Entries without effect are left out of the next list.
    let late = NOW + 17 * DAY;
    let told = book.expel(&registrar, &by(), &[], &BTreeSet::new(), late);
    let (list, _) = ExpulsionList::open(&told.statement, charter().id()).unwrap();
    assert!(list.entries.len() < 10 && !list.entries.is_empty());
    // A jump that would use up the epochs is refused, and an old secret is not new.
    let id = charter().id();
    let far = OfficeSecret::new(u32::MAX, NOW, [1; 32]).sign(id, &registrar);
    assert_eq!(book.hear(&self::told(Topic::Secret, &by(), far), NOW), Err(Rejected::Future));
    let old = OfficeSecret::new(0, NOW, [1; 32]).sign(id, &registrar);
    assert_eq!(book.hear(&self::told(Topic::Secret, &by(), old), NOW), Ok(Update::Nothing));
}

/// An expulsion survives that of the registrar that made it, also for a node that reads the lists in another
/// order or hears of them only later.
#[test]
fn an_expulsion_survives_that_of_its_registrar() {
    let id = charter().id();
    let second = certificate(4, Role::Registrar).sign(id, &signer(1));
    let one = Chain(vec![second, certificate(3, Role::Member).sign(id, &signer(4))]);
    let mut book = book();
    let void = |below| Void { below, until: NOW + 90 * DAY };
    let first = book.expel(&signer(2), &by(), &[(signer(3).public(), void(11))], &BTreeSet::new(), NOW);
    book.hear(&first, NOW).unwrap();
    let registrars = [signer(2).public(), signer(4).public()].into();
    let root = book.expel(&signer(1), &[], &[(signer(2).public(), void(11))], &registrars, NOW);
    book.hear(&root, NOW).unwrap();
    let mut late = self::book();
    assert_eq!(late.hear(&root, NOW), Ok(Update::Expulsion));
    assert!(late.hear(&first, NOW).is_err());
    for book in [&book, &late] {
        assert_eq!(book.verify(&one, NOW), Err(Rejected::Expelled));
    }
    // A registrar's entry about a registrar has no effect, also when the root's list merges the registrars'
    // entries.
    let rogue = book.expel(
        &signer(4),
        &certificate(4, Role::Registrar).sign(id, &signer(1)),
        &[(signer(4).public(), void(99))],
        &registrars,
        NOW,
    );
    book.hear(&rogue, NOW).unwrap();
    let root = book.expel(&signer(1), &[], &[], &registrars, NOW);
    book.hear(&root, NOW).unwrap();
    let other = Chain(vec![
        certificate(4, Role::Registrar).sign(id, &signer(1)),
        certificate(5, Role::Member).sign(id, &signer(4)),
    ]);
    assert!(book.verify(&other, NOW).is_ok());
    // An issuer that has lost its last list: the entries of that list stay, and its next list counts.
    let mut forgetful = self::book();
    let again = forgetful.expel(&signer(1), &[], &[(signer(6).public(), void(11))], &registrars, NOW + 1);
    assert_eq!(book.hear(&again, NOW), Ok(Update::Expulsion));
    forgetful.hear(&again, NOW).unwrap();
    assert_eq!(forgetful.hear(&root, NOW), Ok(Update::Expulsion), "an older list adds entries, too");
    assert!(forgetful.expelled().by_root(signer(2).public(), 10));
    // No entry lasts longer than certificates are valid.
    let endless = ExpulsionList {
        entries: [(signer(8).public(), Void { below: 1, until: u64::MAX })].into(),
        ..list(&[])
    };
    let mut expelled = Expelled::default();
    expelled.believe(&endless, true);
    expelled.forget(NOW + limits::VOID_SECS + DAY);
    assert_eq!(expelled, Expelled::default());
}

/// However many entries a registrar makes, others can still expel members, also that registrar.
#[test]
fn nobody_fills_the_lists_of_others() {
    let id = charter().id();
    let mut book = book();
    for part in 0..3_u32 {
        let junk = |n: u32| {
            PublicKey::from_bytes(*blake3::hash(&[part, n].map(u32::to_le_bytes).concat()).as_bytes())
        };
        let mut entries: BTreeMap<_, _> =
            (0..1200).map(|n| (junk(n), Void { below: u64::MAX, until: u64::MAX })).collect();
        entries.insert(signer(2).public(), Void { below: u64::MAX, until: u64::MAX });
        let list = ExpulsionList { number: part.into(), issued: NOW, entries }.sign(id, &signer(2));
        assert_eq!(book.hear(&told(Topic::Expulsion, &by(), list), NOW), Ok(Update::Expulsion));
    }
    let registrars = [signer(2).public()].into();
    let below = book.expelled().floor(signer(2).public()).saturating_add(limits::SERIAL_AHEAD);
    let void = Void { below, until: NOW + 90 * DAY };
    let root = book.expel(
        &signer(1),
        &[],
        &[(signer(2).public(), void), (signer(3).public(), void)],
        &registrars,
        NOW,
    );
    assert!(root.statement.len() <= limits::EXPULSION_BYTES);
    assert_eq!(book.hear(&root, NOW), Ok(Update::Expulsion));
    let rogue = certificate(2, Role::Registrar);
    assert!(
        book.expelled().by_root(rogue.subject, rogue.serial)
            && book.expelled().by_root(rogue.subject, limits::SERIAL)
    );
    assert_eq!(book.verify(&chain(&certificate(3, Role::Member)), NOW), Err(Rejected::Expelled));
    // The next list still has the entries of the last one.
    let next = book.expel(&signer(1), &[], &[(signer(4).public(), void)], &registrars, NOW);
    let (next, _) = ExpulsionList::open(&next.statement, id).unwrap();
    assert!([2, 3, 4].iter().all(|of| next.entries.contains_key(&signer(*of).public())));
    book.forget(NOW + limits::VOID_SECS + 2 * DAY);
    assert_eq!(*book.expelled(), Expelled::default());
    // No registrar issues itself a certificate.
    let itself = Certificate { serial: 99, ..certificate(2, Role::Member) };
    assert_eq!(self::book().verify(&chain(&itself), NOW), Err(Rejected::Issuer));
}

proptest! {
    #[test]
    fn no_order_of_lists_makes_a_difference(
        lists in prop::collection::vec(prop::collection::vec((3_u8..6, 0_u64..5), 0..4), 0..5), seed in 0_usize..100
    ) {
        let lists: Vec<ExpulsionList> = lists.iter().map(|entries| list(entries)).collect();
        let believe = |order: &mut dyn Iterator<Item = &ExpulsionList>| {
            let mut expelled = Expelled::default();
            order.for_each(|list| { expelled.believe(list, false); });
            expelled
        };
        let at = if lists.is_empty() { 0 } else { seed % lists.len() };
        let all = believe(&mut lists.iter());
        prop_assert_eq!(&all, &believe(&mut lists.iter().rev()));
        prop_assert_eq!(&all, &believe(&mut lists[at..].iter().chain(&lists[..at]).chain(&lists)));
    }
}
