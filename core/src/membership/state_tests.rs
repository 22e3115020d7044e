//! Invitations, names, expulsions, renewals and vouchers, as the state of an office decides them.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use tokio::sync::{mpsc, watch};

use super::*;
use crate::content::kind::ContentKind;
use crate::membership::files::OfficeFiles;
use crate::membership::random;
use crate::office::Charter;
use crate::office::expulsion::Void;
use crate::office::voucher::{For, Voucher};
use crate::store::record::Domain;
use crate::store::{Import, Store};

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 24 * 3600;

fn root() -> RootSeed {
    RootSeed::from_bytes([1; 32])
}

/// A machine of an office whose root is [`root`].
struct Machine {
    _home: tempfile::TempDir,
    all: Store,
    state: OfficeState,
}

fn charter() -> Charter {
    Charter { root: root().signer().public(), made: NOW, name: "Acme".to_owned() }
}

/// Returns a member's machine. `chain` makes certificates for its key; `told` are the statements that it
/// believes.
fn machine(chain: impl FnOnce(PublicKey) -> Chain, told: &[Statement]) -> Machine {
    let home = tempfile::tempdir().unwrap();
    let all = Store::open(home.path(), None, false).unwrap();
    let id = charter().id();
    let (store, keypair) = OfficeFiles::begin(&all, id).unwrap();
    let mut book = TrustState::new(charter());
    assert!(told.iter().all(|told| book.hear(told, NOW).is_ok()));
    OfficeFiles::settle(&store, &book, &chain(signer(&keypair).unwrap().public())).unwrap();
    let state = state(&all);
    Machine { _home: home, all, state }
}

/// Returns the state as it is after a start of the node.
fn state(store: &Store) -> OfficeState {
    let papers = OfficeFiles::load(store, charter().id()).unwrap();
    let standing = watch::channel(Arc::new(OfficeState::first_standing(&papers).unwrap())).0;
    let (relays, behind) = (watch::channel(BTreeSet::new()).0, watch::channel(BTreeMap::new()).0);
    let knocks = mpsc::channel(1).1;
    OfficeState::new(papers, Channels { standing, relays, behind, knocks }, NOW).unwrap()
}

/// Returns the machine of a registrar.
fn registrar(name: &str, told: &[Statement]) -> Machine {
    let secs = limits::REGISTRAR_SECS;
    machine(
        |subject| {
            let (role, name) = (Role::Registrar, name.to_owned());
            let own = Certificate { subject, role, serial: NOW, issued: NOW, expires: NOW + secs, name };
            Chain(vec![own.sign(charter().id(), &root().signer())])
        },
        told,
    )
}

/// Returns the statements with which an office begins: the first secret.
fn beginning() -> Vec<Statement> {
    vec![TrustState::new(charter()).renew_secret(&root().signer(), &[], [5; 32], NOW)]
}

fn key(of: u8) -> PublicKey {
    Signer::from_seed(&[of; 32]).public()
}

/// Makes an invitation. Returns the name of its secret, which the newcomer sends.
fn invited(state: &mut OfficeState, uses: u32, at: u64) -> [u8; 16] {
    let code = state.invite((Role::Member, uses, 3600), None, &[], at).unwrap();
    code.parse::<crate::office::invite::Invite>().unwrap().secret.name()
}

/// Returns the identity of a member with these certificates.
fn membership(state: &OfficeState, chain: Chain, at: u64) -> Membership {
    let certificate = state.book.verify(&chain, at).unwrap();
    Membership { certificate, chain }
}

#[test]
fn invitations_are_for_so_many_and_so_long() {
    let mut office = registrar("hq", &beginning());
    let state = &mut office.state;
    let invite = invited(state, 2, NOW);
    assert!(state.take_in(invite, key(3), "state", NOW).is_ok());
    assert!(state.take_in(invite, key(3), "state", NOW).is_ok(), "a second visit does not count");
    assert!(state.take_in(invite, key(4), "laptop", NOW + 3599).is_ok());
    assert!(state.take_in(invite, key(5), "third", NOW).is_err());
    let late = invited(state, 2, NOW);
    assert!(state.take_in(late, key(5), "third", NOW + 3600).is_err());
    assert!(state.take_in([0; 16], key(5), "third", NOW).is_err());
    // Invitations survive a restart, and end when the secret changes.
    let open = invited(state, 2, NOW);
    drop(std::mem::replace(state, self::state(&office.all)));
    let state = &mut office.state;
    assert!(state.take_in(open, key(5), "third", NOW).is_ok());
    state.rotate(NOW).unwrap();
    assert!(state.take_in(open, key(6), "fourth", NOW).is_err());
    // An expulsion by another registrar ends them as well, because the expelled member may have one.
    let open = invited(state, 2, NOW);
    let void = Void { below: NOW + 1, until: NOW + DAY };
    let told = state.book.expel(&root().signer(), &[], &[(key(3), void)], &BTreeSet::new(), NOW);
    assert_eq!(state.hear(&told, NOW), Ok(Update::Expulsion));
    assert!(state.take_in(open, key(6), "fourth", NOW).is_err());
}

#[test]
fn a_name_is_one_members_alone() {
    let mut office = registrar("hq", &beginning());
    let state = &mut office.state;
    let invite = invited(state, 9, NOW);
    let mut name = |of: u8, wanted: &str| {
        let chain = state.take_in(invite, key(of), wanted, NOW).unwrap();
        state.book.verify(&chain, NOW).unwrap().name
    };
    assert_eq!(name(3, "alice"), "alice");
    assert_eq!(name(3, "alice"), "alice", "the name is its own");
    assert_eq!(name(4, "Alice"), "Alice-2");
    assert_eq!(name(5, "ali\u{200b}ce"), "node");
    assert_eq!(name(6, &"x".repeat(64)), "x".repeat(64));
    assert_eq!(name(7, &"x".repeat(64)), format!("{}-2", "x".repeat(62)));
    assert_eq!(state.find("alice").unwrap(), key(3));
    state.expel("alice", None, NOW).unwrap();
    let invite = invited(state, 1, NOW);
    let chain = state.take_in(invite, key(8), "alice", NOW).unwrap();
    assert_eq!(
        state.book.verify(&chain, NOW).unwrap().name,
        "alice",
        "the name of an expelled member is free"
    );
    assert_eq!(state.find("alice").unwrap(), key(8));
}

#[test]
fn who_was_expelled_is_out_whatever_was_signed_meanwhile() {
    let mut office = registrar("hq", &beginning());
    let invite = invited(&mut office.state, 1, NOW);
    let chain = office.state.take_in(invite, key(3), "laptop", NOW).unwrap();
    // Another registrar, whose clock is a day ahead, renews it; the first has not heard of that.
    let mut other = registrar("branch", &beginning());
    let ahead = NOW + 2 * DAY;
    let laptop = membership(&other.state, chain, ahead);
    let renewed = other.state.renew(&laptop, ahead).unwrap();
    let renewed = membership(&other.state, renewed, ahead);
    assert!(renewed.certificate.serial > laptop.certificate.serial);
    let (row, told) = office.state.expel("laptop", None, NOW).unwrap();
    assert!(row.expelled);
    for state in [&mut office.state, &mut other.state] {
        assert!(told.iter().all(|told| state.hear(told, NOW).is_ok()));
        assert!(!state.holds(&laptop, NOW) && !state.holds(&renewed, ahead));
        assert!(state.renew(&renewed, ahead).is_none());
    }
    // It may be admitted again, and is then renewed like others.
    let invite = invited(&mut other.state, 1, NOW);
    let back = other.state.take_in(invite, key(3), "laptop", NOW).unwrap();
    let back = membership(&office.state, back, NOW);
    assert!(office.state.holds(&back, NOW) && office.state.renew(&back, NOW + DAY).is_some());
    // A whole key is enough, also of a member that this node never heard of. No node expels itself.
    assert!(office.state.expel(&key(9).to_string(), None, NOW).unwrap().0.expelled);
    assert!(office.state.expel("hq", None, NOW).is_err());
    assert!(office.state.expel("nobody", None, NOW).is_err());
    // The state survives a restart.
    let again = state(&office.all);
    assert!(!again.holds(&laptop, NOW) && again.holds(&back, NOW));
}

#[test]
fn certificates_are_renewed_by_registrars_and_only_in_time() {
    let office = registrar("hq", &beginning());
    let mut hq = office.state;
    let invite = invited(&mut hq, 1, NOW);
    let mut member = machine(|me| hq.take_in(invite, me, "state", NOW).unwrap(), &beginning());
    let state = &mut member.state;
    let me = state.own.subject;
    assert!(!state.wants_renewal(NOW + 29 * DAY));
    let due = NOW + 30 * DAY;
    assert!(state.urgent(due).is_empty(), "it knows no registrar");
    assert!(state.wants_renewal(due) && !state.wants_renewal(due), "not twice in a minute");
    let mine = membership(&hq, state.chain().clone(), due);
    let fresh = hq.renew(&mine, due).unwrap();
    assert!(matches!(state.certified(hq.own.subject, fresh.clone(), due), Ok(Certified::Ours)));
    assert_eq!(state.own.expires, due + limits::MEMBER_SECS);
    assert!(matches!(state.certified(hq.own.subject, fresh.clone(), due), Ok(Certified::Nothing)));
    // Certificates of a third node count for nothing.
    assert!(state.certified(key(7), hq.chain().clone(), due).is_err());
    assert!(matches!(state.certified(hq.own.subject, hq.chain().clone(), due), Ok(Certified::Newer(_))));
    assert_eq!(state.urgent(due + 31 * DAY).len(), 1, "now it knows a registrar");
    // A member renews no certificates, and a registrar none of registrars.
    assert!(state.renew(&membership(&hq, fresh, due), due + 2 * DAY).is_none());
    let other = membership(&hq, hq.chain().clone(), due);
    assert!(hq.renew(&other, due + 2 * DAY).is_none());
    // The new certificate survives a restart.
    assert_eq!(self::state(&member.all).own.expires, due + limits::MEMBER_SECS);
    assert_eq!(me, self::state(&member.all).own.subject);
}

/// Anybody can write a voucher for a blob that it never had. Only the voucher of a peer that gave a chunk
/// counts.
#[test]
fn a_voucher_counts_once_its_holder_has_given_something() {
    let hq = registrar("hq", &beginning());
    let (mut hq, office) = (hq.state, charter().id());
    let invite = invited(&mut hq, 9, NOW);
    let mut alice = machine(|me| hq.take_in(invite, me, "alice", NOW).unwrap(), &beginning());
    let id = publish(&alice);
    let eve = Signer::from_seed(&[9; 32]);
    let chain = hq.take_in(invite, eve.public(), "eve", NOW).unwrap();
    let me = alice.state.own.subject;
    let (peer, boss) = (PeerKey(1), PeerKey(2));
    let members = For::Members([me, eve.public()].into());
    let forged = Voucher { issued: NOW, ids: [id].into(), members }.sign(office, &eve);
    let state = &mut alice.state;
    state.shown(peer, id, forged, chain.clone(), NOW);
    assert!(state.has_shown(peer, id) && !state.has_shown(boss, id));
    assert!(state.vouchers(id, NOW).is_empty(), "the blob is not served by it");
    assert!(!state.gave(boss, id, NOW), "a peer without a voucher changes nothing");
    // The voucher of a peer that gives a chunk counts.
    let to_alice = For::Members([me].into());
    let real = Voucher { issued: NOW, ids: [id].into(), members: to_alice }.sign(office, &hq.signer);
    state.shown(boss, id, real, hq.chain.clone(), NOW);
    assert!(state.gave(boss, id, NOW) && !state.gave(boss, id, NOW));
    let all = state.vouchers(id, NOW);
    assert!(matches!(all.as_slice(), [one] if one.believed.is_for(me) && !one.believed.is_for(eve.public())));
    assert_eq!(state.names(id, NOW), Some(vec!["alice".to_owned()]));
    // Vouchers of a peer that has gone are forgotten, and those for other nodes or other blobs are ignored.
    state.peer_down(peer);
    state.forget_gone(Instant::now());
    assert!(state.has_shown(peer, id), "its chunks may still be on their way to the disk");
    state.forget_gone(Instant::now() + Duration::from_secs(60));
    assert!(!state.has_shown(peer, id) && !state.gave(peer, id, NOW));
    let not_mine = For::Members([eve.public()].into());
    for (ids, members) in [([id], not_mine), ([ContentId::from_bytes([9; 32])], For::Members([me].into()))] {
        let odd = Voucher { issued: NOW, ids: ids.into(), members }.sign(office, &eve);
        state.shown(peer, id, odd, chain.clone(), NOW);
        assert!(!state.has_shown(peer, id));
    }
    // A member cannot vouch for the whole office, and vouchers of an expelled issuer are not valid.
    state.shown(
        peer,
        id,
        Voucher { issued: NOW, ids: [id].into(), members: For::All }.sign(office, &eve),
        chain,
        NOW,
    );
    assert!(!state.has_shown(peer, id));
    assert_eq!(self::state(&alice.all).vouchers(id, NOW).len(), 1, "it survives a restart");
    let void = Void { below: NOW + 1, until: NOW + DAY };
    let told = hq.book.expel(&root().signer(), &[], &[(hq.own.subject, void)], &BTreeSet::new(), NOW);
    alice.state.hear(&told, NOW).unwrap();
    assert!(alice.state.vouchers(id, NOW).is_empty());
}

/// Publishes a file on a machine. Returns its id.
fn publish(machine: &Machine) -> ContentId {
    // Files in a home folder are never published, so this one lies elsewhere.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, random::<64>().unwrap()).unwrap();
    let import = Import {
        path: &path,
        name: "file".to_owned(),
        copy: true,
        take: false,
        rules: crate::content::path::Rules::Portable,
        symlinks: false,
        skipped_homes: None,
        audience: None,
        domain: Domain::Office(charter().id()),
        progress: &|_, _| {},
        cancel: &std::sync::atomic::AtomicBool::new(false),
    };
    let record = machine.all.import(&import).unwrap();
    assert_eq!(record.kind, ContentKind::File);
    record.id
}

#[tokio::test]
async fn a_search_is_answered_once_the_name_is_clear() {
    let hq = registrar("hq", &beginning());
    let mut hq = hq.state;
    let invite = invited(&mut hq, 9, NOW);
    let mut member = machine(|me| hq.take_in(invite, me, "alice", NOW).unwrap(), &beginning());
    let state = &mut member.state;
    let search = |state: &mut OfficeState, name: &str| {
        let (reply, answer) = oneshot::channel();
        (state.search(name, reply), answer)
    };
    let (asks, answer) = search(state, "alice");
    assert!(!asks && answer.await == Ok(true), "the node knows itself");
    let (asks, answer) = search(state, &"x".repeat(limits::OFFICE_NAME_BYTES + 1));
    assert!(!asks && answer.await == Ok(false), "no member has such a name");
    // Another member answers, and then knows the name.
    let (asks, mut answer) = search(state, "bob");
    assert!(asks && state.searched().eq(["bob"]) && answer.try_recv().is_err());
    let carol = hq.take_in(invite, key(5), "carol", NOW).unwrap();
    state.told_of([carol], NOW);
    assert!(answer.try_recv().is_err(), "another name");
    let bob = hq.take_in(invite, key(4), "bob", NOW).unwrap();
    state.told_of([bob], NOW);
    assert_eq!(answer.await, Ok(true));
    assert_eq!(state.searched().count(), 0);
    // Commands that stop waiting are forgotten; too many at once are refused.
    let (_, gone) = search(state, "dave");
    drop(gone);
    let waiting: Vec<_> = (0..limits::OFFICE_SEARCHES).map(|_| search(state, "dave")).collect();
    assert!(waiting.iter().all(|(asks, _)| *asks));
    let (asks, answer) = search(state, "dave");
    assert!(!asks && answer.await == Ok(false));
    drop(waiting);
    state.tend(NOW);
    assert_eq!(state.searched().count(), 0);
}

#[tokio::test]
async fn commands_wait_until_a_member_arrives() {
    let mut office = registrar("hq", &beginning());
    let (reply, mut answer) = oneshot::channel();
    office.state.await_member(reply);
    assert!(answer.try_recv().is_err());
    office.state.member_arrived();
    assert_eq!(answer.await, Ok(()));
}
