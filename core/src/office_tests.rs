//! Certificates, expulsions, secrets, invitations, vouchers, announcements and backups: their forms, and
//! which ones are believed. Tests of [`trust`] stand beside it and use the fixtures here.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::beacon::{self, Beacon};
use super::certificate::{Certificate, Chain, Role};
use super::expulsion::{Expelled, ExpulsionList, Void};
use super::invite::{BadInvite, Invite, InviteSecret};
use super::root::{Backup, BadBackup, RootSeed};
use super::secret::{HandshakeSide, OfficeSecret};
use super::trust::TrustState;
use super::voucher::{Believed, For, Voucher};
use super::*;
use crate::id::ContentId;
use crate::signed::{Signer, Statement, Topic, begin, sign};

pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const DAY: u64 = 24 * 3600;

pub(super) fn signer(seed: u8) -> Signer {
    Signer::from_seed(&[seed; 32])
}

pub(super) fn charter() -> Charter {
    Charter { root: signer(1).public(), made: NOW - 100 * DAY, name: "Acme".to_owned() }
}

pub(super) fn certificate(of: u8, role: Role) -> Certificate {
    let name = format!("node {of}");
    let subject = signer(of).public();
    Certificate { subject, role, serial: 10, issued: NOW - DAY, expires: NOW + 90 * DAY, name }
}

/// Returns a chain: the certificate of the registrar (2), signed by the root (1), and this one, signed by the
/// registrar.
pub(super) fn chain(certificate: &Certificate) -> Chain {
    let id = charter().id();
    Chain(vec![self::certificate(2, Role::Registrar).sign(id, &signer(1)), certificate.sign(id, &signer(2))])
}

fn verify(chain: &Chain, expelled: &Expelled) -> Result<Certificate, Rejected> {
    chain.verify(&charter(), expelled, NOW)
}

pub(super) fn list(entries: &[(u8, u64)]) -> ExpulsionList {
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
        assert_eq!(
            verify(&Chain(vec![one.sign(id, &signer(1))]), &nobody),
            Ok(one),
            "signed by the root itself"
        );
    }
    let registrar = certificate(2, Role::Registrar);
    assert_eq!(verify(&Chain(vec![registrar.sign(id, &signer(1))]), &nobody), Ok(registrar.clone()));
    // A registrar makes no registrars, a publisher makes no members, and no node makes itself one.
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
    // A charter with equal name and time under another root has another id.
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
    // The clock of another node may be a day ahead, and not more.
    assert_eq!(at(NOW - 2 * DAY), Ok(()));
    assert_eq!(at(NOW - 2 * DAY - 1), Err(Rejected::Future));
    let endless = Certificate { expires: u64::MAX, issued: u64::MAX, ..one.clone() };
    assert_eq!(verify(&chain(&endless), &nobody), Err(Rejected::Future));
    // A certificate ends with that of the registrar that signed it.
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
    // A newer list without the entry brings no member back.
    assert!(!expelled.believe(&ExpulsionList { number: 99, ..ExpulsionList::default() }, true));
    assert_eq!(verify(&chain(&one), &expelled), Err(Rejected::Expelled));
    let again = Certificate { serial: expelled.floor(one.subject), ..one.clone() };
    assert_eq!(verify(&chain(&again), &expelled), Ok(again));
    // A registrar's entry about a registrar does not count. The root's entry also voids what that registrar
    // signed.
    let mut expelled = Expelled::default();
    expelled.believe(&list(&[(2, u64::MAX)]), false);
    assert_eq!(verify(&chain(&one), &expelled), Ok(one.clone()));
    expelled.believe(&list(&[(2, 11)]), true);
    assert_eq!(verify(&chain(&one), &expelled), Err(Rejected::Expelled));
    // An entry is forgotten only when it has no effect any more.
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
    // A list whose entries do not ascend is refused although its signature is right.
    let mut entries: Vec<u8> = begin(id.as_bytes());
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
        "a proof cannot be sent back as the answer"
    );
    assert_ne!(shown, secret.door(HandshakeSide::Caller, called, caller));
    let id = ContentId::from_bytes([1; 32]);
    assert_ne!(secret.tracker_key(id), other.tracker_key(id));
    assert_ne!(secret.lan_key(), other.lan_key());
    let later = OfficeSecret::new(2, NOW - DAY, [0; 32]);
    assert!(later > other && other > secret, "epochs count more than times, times more than bytes");
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

/// Compares with the vectors of the documents, which `tests/formats/verify.py` makes with other libraries.
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

/// Returns the certificate of the registrar (2), with which its statements are believed.
pub(super) fn by() -> Vec<u8> {
    certificate(2, Role::Registrar).sign(charter().id(), &signer(1))
}

pub(super) fn book() -> TrustState {
    TrustState::new(charter())
}

pub(super) fn told(topic: Topic, by: &[u8], statement: Vec<u8>) -> Statement {
    Statement { topic, by: by.to_vec(), statement }
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
    // A member may offer to members that it names, not to all, and not in the name of another.
    let member = chain(&certificate(3, Role::Member));
    assert_eq!(read(&voucher(For::All), 3, &member, &book), Err(Rejected::Issuer));
    let few = For::Members([signer(4).public()].into());
    let named = read(&voucher(few.clone()), 3, &member, &book).unwrap();
    assert!(named.is_for(signer(4).public()) && named.is_for(signer(3).public()));
    assert!(!named.is_for(signer(5).public()));
    assert_eq!(read(&voucher(few), 5, &member, &book), Err(Rejected::Subject));
    // The issuer must have been a publisher when it made the voucher, and must not have been expelled since.
    let early = Voucher { issued: NOW - 3 * DAY, ..voucher(For::All) };
    assert_eq!(read(&early, 3, &publisher, &book), Err(Rejected::Future));
    let bytes = voucher(For::All).sign(id, &signer(3));
    assert!(Believed::read(&bytes, &publisher, &book, NOW + 400 * DAY).is_ok());
    let mut left = book;
    left.hear(&told(Topic::Expulsion, &by(), list(&[(3, 11)]).sign(id, &signer(2))), NOW).unwrap();
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
    assert!(RootSeed::unlock(&locked, &other, "right").is_err(), "it opens only for its own office");
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
        let with_head = [&begin(id.as_bytes())[..], &bytes].concat();
        for bytes in [&bytes, &with_head] {
            prop_assert!(Certificate::open(bytes, id).is_err());
            prop_assert!(ExpulsionList::open(bytes, id).is_err());
            prop_assert!(OfficeSecret::open(bytes, id).is_err());
            prop_assert!(Voucher::open(bytes, id).is_err());
            prop_assert!(Beacon::open(bytes, &[1; 32]).is_none());
            let _ = Charter::decode(bytes);
        }
    }
}
