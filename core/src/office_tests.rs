#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::beacon::{self, Beacon};
use super::certificate::{Certificate, Chain, Role};
use super::expulsion::{Expelled, ExpulsionList, Void};
use super::invite::{BadInvite, Invite, InviteSecret};
use super::root::{Backup, BadBackup, RootSeed};
use super::secret::{HandshakeSide, OfficeSecret};
use super::trust::{About, Statement, TrustState, Update};
use super::voucher::{Believed, For, Voucher};
use super::*;
use crate::id::ContentId;

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 24 * 3600;

fn signer(seed: u8) -> Signer {
    Signer::from_seed(&[seed; 32])
}

fn charter() -> Charter {
    Charter { root: signer(1).public(), made: NOW - 100 * DAY, name: "Acme".to_owned() }
}

fn certificate(of: u8, role: Role) -> Certificate {
    let name = format!("node {of}");
    let subject = signer(of).public();
    Certificate { subject, role, serial: 10, issued: NOW - DAY, expires: NOW + 90 * DAY, name }
}

/// Of a registrar (2) by the root (1), and of a node by the registrar.
fn chain(certificate: &Certificate) -> Chain {
    let id = charter().id();
    Chain(vec![self::certificate(2, Role::Registrar).sign(id, &signer(1)), certificate.sign(id, &signer(2))])
}

fn verify(chain: &Chain, expelled: &Expelled) -> Result<Certificate, Rejected> {
    chain.verify(&charter(), expelled, NOW)
}

fn list(entries: &[(u8, u64)]) -> ExpulsionList {
    let entry =
        |(of, below): &(u8, u64)| (signer(*of).public(), Void { below: *below, until: NOW + 90 * DAY });
    ExpulsionList { number: 1, issued: NOW, entries: entries.iter().map(entry).collect() }
}

#[test]
fn a_charter_makes_its_id() {
    let charter = charter();
    assert_eq!(Charter::decode(&charter.encode()).unwrap(), charter);
    for other in [
        Charter { root: signer(2).public(), ..charter.clone() },
        Charter { made: 1, ..charter.clone() },
        Charter { root: charter.root, made: charter.made, name: "Acme2".to_owned() },
    ] {
        assert_ne!(other.id(), charter.id());
    }
    let bytes = charter.encode();
    assert_eq!(Charter::decode(&[&bytes[..], &[0]].concat()), Err(Rejected::Malformed));
    assert!((0..bytes.len()).all(|len| Charter::decode(&bytes[..len]).is_err()));
    for name in ["", "a\u{7}b", &"x".repeat(65)] {
        assert_eq!(
            Charter::decode(&Charter { name: name.to_owned(), ..charter.clone() }.encode()),
            Err(Rejected::Malformed)
        );
    }
}

#[test]
fn who_may_sign_what() {
    let nobody = Expelled::default();
    let id = charter().id();
    for role in [Role::Member, Role::Publisher] {
        let one = certificate(3, role);
        assert_eq!(verify(&chain(&one), &nobody), Ok(one.clone()));
        assert_eq!(verify(&Chain(vec![one.sign(id, &signer(1))]), &nobody), Ok(one), "by the root itself");
    }
    let registrar = certificate(2, Role::Registrar);
    assert_eq!(verify(&Chain(vec![registrar.sign(id, &signer(1))]), &nobody), Ok(registrar.clone()));
    // A registrar makes no registrars, a publisher nobody, and nobody himself.
    assert_eq!(verify(&chain(&certificate(3, Role::Registrar)), &nobody), Err(Rejected::Issuer));
    let by_publisher = Chain(vec![
        certificate(2, Role::Publisher).sign(id, &signer(1)),
        certificate(3, Role::Member).sign(id, &signer(2)),
    ]);
    assert_eq!(verify(&by_publisher, &nobody), Err(Rejected::Issuer));
    let own = certificate(3, Role::Member).sign(id, &signer(3));
    assert_eq!(verify(&Chain(vec![own.clone()]), &nobody), Err(Rejected::Issuer));
    assert_eq!(
        verify(&Chain(vec![registrar.sign(id, &signer(1)), own.clone()]), &nobody),
        Err(Rejected::Issuer)
    );
    assert_eq!(verify(&Chain(vec![registrar.sign(id, &signer(2)), own]), &nobody), Err(Rejected::Issuer));
    for odd in [Chain::default(), Chain(vec![registrar.sign(id, &signer(1)); 3])] {
        assert_eq!(verify(&odd, &nobody), Err(Rejected::Malformed));
    }
}

#[test]
fn what_is_of_another_office_counts_nowhere() {
    let other = Charter { name: "Other".to_owned(), ..charter() };
    let one = certificate(3, Role::Member);
    assert_eq!(chain(&one).verify(&other, &Expelled::default(), NOW), Err(Rejected::Office));
    // The same bytes under another root.
    let stolen = Charter { root: signer(9).public(), ..charter() };
    assert_eq!(chain(&one).verify(&stolen, &Expelled::default(), NOW), Err(Rejected::Office));
}

#[test]
fn certificates_hold_for_their_time() {
    let nobody = Expelled::default();
    let one = certificate(3, Role::Member);
    let at = |now| chain(&one).verify(&charter(), &nobody, now).map(|_| ());
    assert_eq!(at(NOW + 90 * DAY - 1), Ok(()));
    assert_eq!(at(NOW + 90 * DAY), Err(Rejected::Expired));
    // Another's clock may be a day ahead, and not more.
    assert_eq!(at(NOW - 2 * DAY), Ok(()));
    assert_eq!(at(NOW - 2 * DAY - 1), Err(Rejected::Future));
    let endless = Certificate { expires: u64::MAX, issued: u64::MAX, ..one.clone() };
    assert_eq!(verify(&chain(&endless), &nobody), Err(Rejected::Future));
    // Who was signed by a registrar whose time is over has none either.
    let id = charter().id();
    let over = Certificate { expires: NOW, ..certificate(2, Role::Registrar) };
    let late = Chain(vec![over.sign(id, &signer(1)), one.sign(id, &signer(2))]);
    assert_eq!(verify(&late, &nobody), Err(Rejected::Expired));
}

#[test]
fn who_was_expelled_is_out_and_may_be_taken_in_again() {
    let one = certificate(3, Role::Member);
    let mut expelled = Expelled::default();
    assert!(expelled.believe(&list(&[(3, 11)]), false));
    assert!(!expelled.believe(&list(&[(3, 11), (3, 5)]), false), "nothing new");
    assert_eq!(verify(&chain(&one), &expelled), Err(Rejected::Expelled));
    // A list that knows nothing of it, however new, brings nobody back.
    assert!(!expelled.believe(&ExpulsionList { number: 99, ..ExpulsionList::default() }, true));
    assert_eq!(verify(&chain(&one), &expelled), Err(Rejected::Expelled));
    let again = Certificate { serial: expelled.floor(one.subject), ..one.clone() };
    assert_eq!(verify(&chain(&again), &expelled), Ok(again));
    // What a registrar says of another, or of itself, does not count; what the root says counts for all that one has signed.
    let mut expelled = Expelled::default();
    expelled.believe(&list(&[(2, u64::MAX)]), false);
    assert_eq!(verify(&chain(&one), &expelled), Ok(one.clone()));
    expelled.believe(&list(&[(2, 11)]), true);
    assert_eq!(verify(&chain(&one), &expelled), Err(Rejected::Expelled));
    // It is forgotten only when it has no effect any longer.
    expelled.forget(NOW + 90 * DAY);
    assert_eq!(verify(&chain(&one), &expelled), Err(Rejected::Expelled));
    expelled.forget(NOW + 91 * DAY);
    assert_eq!(expelled, Expelled::default());
}

#[test]
fn statements_have_one_form_and_stand_for_nothing_else() {
    let id = charter().id();
    let one = certificate(3, Role::Member).sign(id, &signer(2));
    let expulsion = list(&[(3, 1), (4, 2), (5, 3)]).sign(id, &signer(2));
    let secret = OfficeSecret::new(7, NOW, [5; 32]).sign(id, &signer(2));
    assert_eq!(Certificate::open(&one, id).unwrap(), (certificate(3, Role::Member), signer(2).public()));
    assert_eq!(ExpulsionList::open(&expulsion, id).unwrap().0, list(&[(3, 1), (4, 2), (5, 3)]));
    assert_eq!(OfficeSecret::open(&secret, id).unwrap().0, OfficeSecret::new(7, NOW, [5; 32]));
    let reads = |bytes: &[u8]| {
        [
            Certificate::open(bytes, id).is_ok(),
            ExpulsionList::open(bytes, id).is_ok(),
            OfficeSecret::open(bytes, id).is_ok(),
        ]
    };
    assert_eq!(reads(&one), [true, false, false]);
    assert_eq!(reads(&expulsion), [false, true, false]);
    assert_eq!(reads(&secret), [false, false, true]);
    for statement in [&one, &expulsion, &secret] {
        for at in 0..statement.len() {
            let mut bent = statement.clone();
            bent[at] ^= 1;
            assert_eq!(reads(&bent), [false; 3], "byte {at}");
        }
        assert!((0..statement.len()).all(|len| reads(&statement[..len]) == [false; 3]));
        assert_eq!(reads(&[&statement[..], &[0]].concat()), [false; 3]);
        assert_eq!(reads(&vec![1; limits::EXPULSION_BYTES + 1]), [false; 3]);
    }
    // Signed, and still not in order.
    let mut entries: Vec<u8> = begin(id);
    entries.extend([0; 16]);
    entries.extend(2_u32.to_le_bytes());
    entries.extend([9; 48]);
    entries.extend([9; 48]);
    assert_eq!(ExpulsionList::open(&sign(entries, EXPULSION, &signer(1)), id), Err(Rejected::Malformed));
}

#[test]
fn secrets_are_recognised_and_agreed_on() {
    let (caller, called) = (signer(3).public(), signer(4).public());
    let secret = OfficeSecret::new(1, NOW, [5; 32]);
    let other = OfficeSecret::new(1, NOW, [6; 32]);
    let shown = secret.door(HandshakeSide::Caller, caller, called);
    assert_ne!(shown, other.door(HandshakeSide::Caller, caller, called));
    assert_ne!(
        shown,
        secret.door(HandshakeSide::Called, caller, called),
        "what is heard cannot be said back"
    );
    assert_ne!(shown, secret.door(HandshakeSide::Caller, called, caller));
    let id = ContentId::from_bytes([1; 32]);
    assert_ne!(secret.tracker_key(id), other.tracker_key(id));
    assert_ne!(secret.lan_key(), other.lan_key());
    let later = OfficeSecret::new(2, NOW - DAY, [0; 32]);
    assert!(later > other && other > secret, "an epoch counts more than a time, a time more than bytes");
    assert!(!format!("{secret:?} {:?}", InviteSecret::from_bytes([5; 16])).contains('5'));
}

fn invite() -> Invite {
    let addrs = vec![vec![4, 10, 0, 0, 1, 6, 15, 161], vec![9; 64]];
    Invite { office: charter().id(), secret: InviteSecret::from_bytes([8; 16]), addrs }
}

#[test]
fn invitations_are_read_as_they_are_written() {
    let invite = invite();
    let text = invite.to_string();
    assert_eq!(text.parse::<Invite>().unwrap(), invite);
    assert_eq!(format!("  {text}\n").parse::<Invite>().unwrap(), invite);
    let short = Invite { addrs: vec![vec![4, 10, 0, 0, 1, 6, 15, 161]], ..invite.clone() }.to_string();
    assert!(short.len() < 100, "{} characters to paste", short.len());
    assert_eq!("swarm:x".parse::<Invite>(), Err(BadInvite::Scheme));
    for cut in 12..text.len() {
        assert_eq!(text[..cut].parse::<Invite>(), Err(BadInvite::Damaged), "{cut} characters");
    }
    let many = Invite { addrs: vec![vec![1; 64]; 9], ..invite }.to_string();
    assert_eq!(many.parse::<Invite>().unwrap().addrs.len(), limits::INVITE_ADDRS);
    assert!(many.len() <= limits::INVITE_BYTES);
}

/// What the documents give, and `tests/formats/verify.py` makes with other libraries.
#[test]
fn the_vectors_hold() {
    let vectors: serde_json::Value = serde_json::from_str(include_str!("../vectors/office.json")).unwrap();
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    let charter = charter();
    let id = charter.id();
    assert_eq!(hex(&charter.encode()), vectors["charter"]);
    assert_eq!(id.to_string(), vectors["id"]);
    let [registrar, own] = &chain(&certificate(3, Role::Publisher)).0[..] else { panic!("a chain of two") };
    assert_eq!(
        [hex(registrar), hex(own)],
        [vectors["chain"][0].as_str().unwrap(), vectors["chain"][1].as_str().unwrap()]
    );
    let entries = BTreeMap::from([
        (signer(3).public(), Void { below: 11, until: NOW + 90 * DAY }),
        (signer(4).public(), Void { below: 12, until: NOW + 30 * DAY }),
    ]);
    let list = ExpulsionList { number: 7, issued: NOW, entries };
    assert_eq!(hex(&list.sign(id, &signer(2))), vectors["expulsion"]);
    let secret = OfficeSecret::new(2, NOW, [5; 32]);
    assert_eq!(hex(&secret.sign(id, &signer(2))), vectors["secret"]);
    let (caller, called) = (signer(3).public(), signer(4).public());
    assert_eq!(hex(&secret.door(HandshakeSide::Caller, caller, called)), vectors["door"]);
    assert_eq!(hex(&secret.lan_key()), vectors["lan_key"]);
    assert_eq!(hex(&secret.tracker_key(ContentId::from_bytes([1; 32]))), vectors["tracker_key"]);
    let invite = Invite { addrs: vec![vec![4, 10, 0, 0, 1, 6, 15, 161]], ..invite() };
    assert_eq!(invite.to_string(), vectors["invite"]);
    assert_eq!(hex(&invite.secret.name()), vectors["invite_name"]);
    assert_eq!(hex(&voucher(For::All).sign(id, &signer(3))), vectors["voucher"]);
    let named = For::Members([signer(4).public(), signer(5).public()].into());
    assert_eq!(hex(&voucher(named).sign(id, &signer(3))), vectors["voucher_named"]);
    assert_eq!(hex(&beacon().seal(&secret.lan_key(), [7; 24])), vectors["beacon"]);
    assert_eq!(*RootSeed::from_bytes([1; 32]).backup(id), vectors["backup"]);
}

fn voucher(members: For) -> Voucher {
    Voucher { issued: NOW, ids: [1, 2].map(|n| ContentId::from_bytes([n; 32])).into(), members }
}

fn beacon() -> Beacon {
    let addrs = vec![vec![4, 10, 0, 0, 1, 6, 15, 161]];
    Beacon { asks: true, time: NOW, peer: signer(3).public(), addrs }
}

/// What the certificate of the registrar (2) is, by which its statements are believed.
fn by() -> Vec<u8> {
    certificate(2, Role::Registrar).sign(charter().id(), &signer(1))
}

fn book() -> TrustState {
    TrustState::new(charter())
}

fn told(about: About, by: &[u8], statement: Vec<u8>) -> Statement {
    Statement { about, by: by.to_vec(), statement }
}

#[test]
fn a_book_believes_registrars_and_nobody_else() {
    let id = charter().id();
    let mut book = book();
    let statement = |signer: &Signer| list(&[(3, 11)]).sign(id, signer);
    // A member's word, a registrar's without what makes it one, or with another's.
    let member = certificate(3, Role::Publisher).sign(id, &signer(1));
    for (by, by_whom) in [(member, 3), (Vec::new(), 2), (by(), 3)] {
        let told = told(About::Expulsion, &by, statement(&signer(by_whom)));
        assert!(book.hear(&told, NOW).is_err());
    }
    let good = told(About::Expulsion, &by(), statement(&signer(2)));
    assert_eq!(book.hear(&good, NOW), Ok(Update::Expulsion));
    assert_eq!(book.hear(&good, NOW), Ok(Update::Nothing));
    let one = certificate(3, Role::Member);
    assert_eq!(book.verify(&chain(&one), NOW), Err(Rejected::Expelled));
    // It holds on when the registrar's own time is over, also for who hears of it only then.
    let mut late = self::book();
    assert_eq!(late.hear(&good, NOW + 300 * DAY), Ok(Update::Expulsion));
    // A registrar that the root made leave is believed nothing more; what it said before stays.
    let root = told(About::Expulsion, &[], list(&[(2, 11)]).sign(id, &signer(1)));
    assert_eq!(book.hear(&root, NOW), Ok(Update::Expulsion));
    let more = ExpulsionList { number: 2, ..list(&[(4, 11)]) }.sign(id, &signer(2));
    assert_eq!(book.hear(&told(About::Expulsion, &by(), more), NOW), Err(Rejected::Expelled));
    assert_eq!(book.verify(&chain(&one), NOW), Err(Rejected::Expelled));
    // What is from the future is not believed yet.
    let ahead = ExpulsionList { issued: NOW + 2 * DAY, ..list(&[(4, 11)]) }.sign(id, &signer(1));
    assert_eq!(book.hear(&told(About::Expulsion, &[], ahead), NOW), Err(Rejected::Future));
}

#[test]
fn a_book_can_be_told_from_itself_and_grows_to_no_end() {
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
    // The newest list of an issuer is all that is passed on of it, and says everything; lists come before secrets.
    let all: Vec<Statement> = book.all().cloned().collect();
    assert_eq!(all.iter().filter(|told| told.about == About::Expulsion).count(), 1);
    assert_eq!(all[0].about, About::Expulsion);
    let mut other = self::book();
    all.iter().for_each(|told| assert!(other.hear(told, NOW).is_ok()));
    assert_eq!(other.expelled(), book.expelled());
    assert!(other.secrets().eq(book.secrets()));
    // What has no effect any longer is left out of the next list.
    let late = NOW + 17 * DAY;
    let told = book.expel(&registrar, &by(), &[], &BTreeSet::new(), late);
    let (list, _) = ExpulsionList::open(&told.statement, charter().id()).unwrap();
    assert!(list.entries.len() < 10 && !list.entries.is_empty());
    // A jump that would use up all numbers is refused, an old secret is not news.
    let id = charter().id();
    let far = OfficeSecret::new(u32::MAX, NOW, [1; 32]).sign(id, &registrar);
    assert_eq!(book.hear(&self::told(About::Secret, &by(), far), NOW), Err(Rejected::Future));
    let old = OfficeSecret::new(0, NOW, [1; 32]).sign(id, &registrar);
    assert_eq!(book.hear(&self::told(About::Secret, &by(), old), NOW), Ok(Update::Nothing));
}

/// A registrar that expelled somebody is itself expelled: who it expelled does not come back, not even for who reads the lists in
/// another order, or hears of them only then.
#[test]
fn nobody_comes_back_because_who_expelled_him_had_to_leave() {
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
    // A registrar that says it of another has no effect, also not when the root takes up what registrars said.
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
    // An issuer that has forgotten its last list: what was on that stays, and its next one counts.
    let mut forgetful = self::book();
    let again = forgetful.expel(&signer(1), &[], &[(signer(6).public(), void(11))], &registrars, NOW + 1);
    assert_eq!(book.hear(&again, NOW), Ok(Update::Expulsion));
    forgetful.hear(&again, NOW).unwrap();
    assert_eq!(forgetful.hear(&root, NOW), Ok(Update::Expulsion), "of an older one, too");
    assert!(forgetful.expelled().by_root(signer(2).public(), 10));
    // Nothing is void for longer than certificates hold.
    let endless = ExpulsionList {
        entries: [(signer(8).public(), Void { below: 1, until: u64::MAX })].into(),
        ..list(&[])
    };
    let mut expelled = Expelled::default();
    expelled.believe(&endless, true);
    expelled.forget(NOW + limits::VOID_SECS + DAY);
    assert_eq!(expelled, Expelled::default());
}

/// Whatever a registrar says of whomever, others can still make somebody leave, also it.
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
        assert_eq!(book.hear(&told(About::Expulsion, &by(), list), NOW), Ok(Update::Expulsion));
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
    // The next list still has whom the last one had.
    let next = book.expel(&signer(1), &[], &[(signer(4).public(), void)], &registrars, NOW);
    let (next, _) = ExpulsionList::open(&next.statement, id).unwrap();
    assert!([2, 3, 4].iter().all(|of| next.entries.contains_key(&signer(*of).public())));
    book.forget(NOW + limits::VOID_SECS + 2 * DAY);
    assert_eq!(*book.expelled(), Expelled::default());
    // Nobody makes of himself anything.
    let itself = Certificate { serial: 99, ..certificate(2, Role::Member) };
    assert_eq!(self::book().verify(&chain(&itself), NOW), Err(Rejected::Issuer));
}

#[test]
fn vouchers_say_who_may_be_offered_what() {
    let id = charter().id();
    let book = book();
    let read = |voucher: &Voucher, by: u8, chain: &Chain, book: &TrustState| {
        Believed::read(&voucher.sign(id, &signer(by)), chain, book, NOW)
    };
    let publisher = chain(&certificate(3, Role::Publisher));
    let all = read(&voucher(For::All), 3, &publisher, &book).unwrap();
    assert!(all.is_of(ContentId::from_bytes([1; 32])) && !all.is_of(ContentId::from_bytes([3; 32])));
    assert!(all.is_for(signer(9).public()) && all.members().is_none());
    // A member offers to those it names, and not to all; nobody for another.
    let member = chain(&certificate(3, Role::Member));
    assert_eq!(read(&voucher(For::All), 3, &member, &book), Err(Rejected::Issuer));
    let few = For::Members([signer(4).public()].into());
    let named = read(&voucher(few.clone()), 3, &member, &book).unwrap();
    assert!(named.is_for(signer(4).public()) && named.is_for(signer(3).public()));
    assert!(!named.is_for(signer(5).public()));
    assert_eq!(read(&voucher(few), 5, &member, &book), Err(Rejected::Subject));
    // It counts what the publisher was when it was made, and whether he had to leave since.
    let early = Voucher { issued: NOW - 3 * DAY, ..voucher(For::All) };
    assert_eq!(read(&early, 3, &publisher, &book), Err(Rejected::Future));
    let bytes = voucher(For::All).sign(id, &signer(3));
    assert!(Believed::read(&bytes, &publisher, &book, NOW + 400 * DAY).is_ok());
    let mut left = book;
    left.hear(&told(About::Expulsion, &by(), list(&[(3, 11)]).sign(id, &signer(2))), NOW).unwrap();
    assert_eq!(Believed::read(&bytes, &publisher, &left, NOW), Err(Rejected::Expelled));
    let (opened, issuer) = Voucher::open(&bytes, id).unwrap();
    assert_eq!((opened, issuer), (voucher(For::All), signer(3).public()));
    assert!((0..bytes.len()).all(|len| Voucher::open(&bytes[..len], id).is_err()));
    let most = Voucher {
        issued: NOW,
        ids: (0..limits::VOUCHER_IDS).map(|n| ContentId::from_bytes([n as u8; 32])).collect(),
        members: For::Members(
            (0..limits::VOUCHER_MEMBERS)
                .map(|n| PublicKey::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes()))
                .collect(),
        ),
    };
    let bytes = most.sign(id, &signer(3));
    assert!(bytes.len() <= limits::VOUCHER_BYTES);
    assert_eq!(Voucher::open(&bytes, id).unwrap().0, most);
}

#[test]
fn announcements_are_for_members_and_all_alike() {
    let key = OfficeSecret::new(1, NOW, [5; 32]).lan_key();
    let sealed = beacon().seal(&key, [7; 24]);
    assert_eq!(Beacon::open(&sealed, &key), Some(beacon()));
    assert_eq!(Beacon::open(&sealed, &OfficeSecret::new(1, NOW, [6; 32]).lan_key()), None);
    let many = Beacon { addrs: vec![vec![4; limits::INVITE_ADDR_BYTES]; 20], ..beacon() };
    let other = many.seal(&key, [8; 24]);
    assert_eq!((sealed.len(), other.len()), (beacon::LEN, beacon::LEN));
    assert!(Beacon::open(&other, &key).unwrap().addrs.len() < limits::BEACON_ADDRS);
    assert!(sealed.windows(8).all(|window| !other.windows(8).any(|w| w == window)));
    for at in 0..sealed.len() {
        let mut bent = sealed.clone();
        bent[at] ^= 1;
        assert_eq!(Beacon::open(&bent, &key), None);
    }
    assert!((0..sealed.len()).all(|len| Beacon::open(&sealed[..len], &key).is_none()));
}

#[test]
fn the_root_is_locked_and_written_down() {
    let seed = RootSeed::from_bytes([1; 32]);
    let (charter, id) = (charter(), charter().id());
    let locked = seed.lock(id, "right", &[2; 16], &[3; 24]).unwrap();
    assert!(!locked.windows(32).any(|window| window == [1; 32]));
    assert!(RootSeed::unlock(&locked, &charter, "right").unwrap() == seed);
    assert!(RootSeed::unlock(&locked, &charter, "wrong").is_err());
    let other = Charter { name: "Other".to_owned(), ..charter };
    assert!(RootSeed::unlock(&locked, &other, "right").is_err(), "it opens nothing else");
    let text = seed.backup(id);
    let typed = format!(" {}\n {} ", &text[..30], &text[30..]);
    assert!(typed.parse::<Backup>().unwrap() == Backup { office: id, seed });
    assert_eq!(text[1..].parse::<Backup>().unwrap_err(), BadBackup::Scheme);
    for cut in 11..text.len() {
        assert_eq!(text[..cut].parse::<Backup>().unwrap_err(), BadBackup::Damaged);
    }
}

proptest! {
    #[test]
    fn anything_at_all_is_refused_in_order(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let id = charter().id();
        let with_head = [&begin(id)[..], &bytes].concat();
        for bytes in [&bytes, &with_head] {
            prop_assert!(Certificate::open(bytes, id).is_err());
            prop_assert!(ExpulsionList::open(bytes, id).is_err());
            prop_assert!(OfficeSecret::open(bytes, id).is_err());
            prop_assert!(Voucher::open(bytes, id).is_err());
            prop_assert!(Beacon::open(bytes, &[1; 32]).is_none());
            let _ = Charter::decode(bytes);
        }
    }

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
