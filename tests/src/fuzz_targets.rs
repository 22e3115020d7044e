//! Fuzz targets: one function for each reader of bytes that strangers send. The test `fuzz` runs them over
//! the corpus and mutations of it, `cargo fuzz` (in `fuzz/`) over inputs that it makes up.
//!
//! Each function panics when a promise is broken: a reader that panics, accepts what it would not write, or
//! gives back something that breaks its own rules.

use std::collections::BTreeMap;

use swarm_core::content::geometry::Geometry;
use swarm_core::content::kind::ContentKind;
use swarm_core::content::link::{Link, Target};
use swarm_core::content::manifest::{EntryKind, Manifest};
use swarm_core::content::path::{
    Rules, check_component, check_component_bytes, check_path, check_symlink_target, escape, fold_key,
    sanitize_name,
};
use swarm_core::content::seal::{ShareKey, sealed_len};
use swarm_core::content::share::{Description, Fragment, Outside, open_envelope, seal_envelope, unlock};
use swarm_core::content::tree::HashList;
use swarm_core::id::ContentId;
use swarm_core::limits;
use swarm_core::office::beacon::Beacon;
use swarm_core::office::certificate::Certificate;
use swarm_core::office::expulsion::{Expelled, ExpulsionList};
use swarm_core::office::invite::Invite;
use swarm_core::office::root::Backup;
use swarm_core::office::secret::OfficeSecret;
use swarm_core::office::trust::{TrustState, Update};
use swarm_core::office::voucher::Voucher;
use swarm_core::office::{self, Charter, OfficeId};
use swarm_core::signed::{Signer, Statement, Topic, sign};
use swarm_core::wire::frame::{DataHeader, HEADER, PREFIX, control_len, item_len};
use swarm_core::wire::{Have, LIST, Message};

/// A function to fuzz.
pub type FuzzTarget = fn(&[u8]);

/// All of them, by the names of their folders in the corpus.
pub const TARGETS: [(&str, FuzzTarget); 17] = [
    ("control_frame", control_frame),
    ("data_header", data_header),
    ("have_map", have_map),
    ("hash_list", hash_list),
    ("manifest", manifest),
    ("link", link),
    ("path", path),
    ("envelope", envelope),
    ("description", description),
    ("fragment", fragment),
    ("certificate", certificate),
    ("expulsion", expulsion),
    ("office_secret", office_secret),
    ("invite", invite),
    ("voucher", voucher),
    ("book", book),
    ("beacon", beacon),
];

/// A control stream: lengths and frames, one after the other.
///
/// # Panics
/// When a promise is broken; so do all here.
pub fn control_frame(mut bytes: &[u8]) {
    while let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() {
        let Ok(len) = control_len(*prefix) else { return };
        assert!((1..=limits::CONTROL_FRAME).contains(&len));
        let (frame, rest) = rest.split_at(len.min(rest.len()));
        if let Ok(Some(message)) = Message::decode(frame) {
            assert!(is_small(&message), "a message that takes more room than it may");
            let again = message.encode().expect("what was read can be written");
            assert!(again.len() <= frame.len(), "written longer than read");
            assert_eq!(Message::decode(&again).expect("what was written can be read"), Some(message));
        }
        bytes = rest;
    }
}

/// Returns true if a message is small. Queues are bounded by the number of messages, so each message must be
/// bounded.
fn is_small(message: &Message) -> bool {
    let have = |have: &Have| match have {
        Have::All => true,
        Have::Runs(runs) => runs.len() <= limits::HAVE_RUNS,
        Have::Bits(bits) => bits.len() <= limits::CHUNKS as usize / 8,
    };
    match message {
        Message::Offer(offer) => {
            have(&offer.have) && offer.name.as_ref().is_none_or(|name| name.len() <= limits::COMPONENT_BYTES)
        }
        Message::Have { add, .. } => have(add),
        Message::Peers { peers, .. } => peers.len() <= limits::EXCHANGE_PEERS,
        _ => true,
    }
}

/// The header of a data frame, and a blob's length that it may be about.
pub fn data_header(bytes: &[u8]) {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return };
    let Ok(read) = DataHeader::decode(*header) else { return };
    assert!((1..=limits::DATA_FRAME as u32).contains(&read.len));
    assert_eq!(read.encode(), *header);
    let Some((len, _)) = rest.split_first_chunk::<8>() else { return };
    let Ok(geometry) = Geometry::new(u64::from_le_bytes(*len)) else { return };
    let item = item_len(geometry, read.chunk);
    assert_eq!(item.is_some(), read.chunk == LIST || read.chunk < geometry.chunks());
    assert!(item.is_none_or(|len| len as u64 <= geometry.chunk_size().max(limits::HASH_LIST_BYTES as u64)));
}

/// A number of chunks and a have-map, as a message brings it.
pub fn have_map(bytes: &[u8]) {
    let Some((chunks, rest)) = bytes.split_first_chunk::<2>() else { return };
    let chunks = u32::from(u16::from_le_bytes(*chunks)) % (limits::CHUNKS + 1);
    // A message of kind 5 about blob 1.
    let frame = [&[5, 1], rest].concat();
    let Ok(Some(Message::Have { add, .. })) = Message::decode(&frame) else { return };
    let Ok(bitmap) = add.into_bitmap(chunks) else { return };
    assert_eq!(bitmap.len(), chunks);
    assert_eq!(bitmap.iter().count() as u32, bitmap.count());
    assert!(bitmap.iter().all(|chunk| chunk < chunks));
    assert_eq!(bitmap.runs().map(|(_, count)| count).sum::<u32>(), bitmap.count());
    let again = Have::of(&bitmap).into_bitmap(chunks).expect("what was written can be read");
    assert_eq!(again, bitmap);
}

/// An id, a length and a hash list.
pub fn hash_list(bytes: &[u8]) {
    let Some((id, rest)) = bytes.split_first_chunk::<32>() else { return };
    let Some((len, list)) = rest.split_first_chunk::<8>() else { return };
    let Ok(geometry) = Geometry::new(u64::from_le_bytes(*len)) else { return };
    let id = ContentId::from_bytes(*id);
    for kind in [ContentKind::File, ContentKind::Directory, ContentKind::Share] {
        let Ok(read) = HashList::decode(id, kind, geometry, list) else { continue };
        assert_eq!((read.id(), read.kind(), read.geometry()), (id, kind, geometry));
        assert_eq!(read.encode(), list);
        let last = geometry.last();
        assert!(
            last.is_none_or(|last| !read.verify(last, b"") && !read.verify(last, &list[..list.len().min(7)]))
        );
    }
}

/// A directory's manifest.
pub fn manifest(bytes: &[u8]) {
    let Ok(read) = Manifest::decode(bytes) else { return };
    assert!(bytes.len() <= limits::MANIFEST_BYTES && read.entries.len() <= limits::MANIFEST_ENTRIES);
    assert_eq!(read.encode().expect("what was read can be written"), bytes, "one directory, one encoding");
    let mut end = 0;
    let mut seen = BTreeMap::new();
    for entry in &read.entries {
        check_path(&entry.path, read.rules).expect("a path that is allowed");
        assert!(inside("", &entry.path), "{:?}", entry.path);
        if let EntryKind::Symlink { target } = &entry.kind {
            assert!(inside(entry.path.rsplit_once('/').map_or("", |(above, _)| above), target), "{target:?}");
        }
        if read.rules == Rules::Portable {
            assert_eq!(seen.insert(fold_key(&entry.path), &entry.path), None, "twins");
        }
    }
    for (_, offset, size) in read.file_offsets() {
        assert_eq!(offset, end);
        end += size;
    }
    assert_eq!(end, read.payload_len);
}

/// A link, or whatever else a person may paste.
pub fn link(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(link) = text.parse::<Link>() {
        assert!(link.peers.len() <= limits::LINK_PEERS);
        assert!(link.name.as_ref().is_none_or(|name| (1..=limits::LINK_NAME_BYTES).contains(&name.len())));
        let printable = |peer: &String| peer.bytes().all(|byte| byte.is_ascii_graphic());
        assert!(link.peers.iter().all(printable));
        let written = link.to_string();
        assert!(written.len() <= limits::LINK_BYTES && written.is_ascii(), "{written}");
        let again: Link = written.parse().expect("what was written can be read");
        assert_eq!((again.id, &again.name), (link.id, &link.name));
        // A link whose hints do not fit when written in full loses the last ones.
        assert!(link.peers.starts_with(&again.peers) || again.peers.len() < link.peers.len());
    }
    match text.parse::<Target>() {
        Ok(Target::Prefix(digits)) => {
            assert!(digits.len() < 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
        }
        Ok(Target::Id(_) | Target::Link(_)) => {}
        Err(error) => assert!(!error.to_string().chars().any(char::is_control), "{error}"),
    }
}

/// The envelope of a share, to who has the key `[7; 32]`.
pub fn envelope(bytes: &[u8]) {
    let outside = Outside::decode(bytes);
    let key = ShareKey::from_bytes([7; 32]);
    let Ok((read, description)) = open_envelope(bytes, &key) else { return };
    assert_eq!(outside.as_ref(), Ok(&read));
    assert!(bytes.len() <= limits::ENVELOPE_BYTES);
    assert!(seal_envelope(&read, &description, &key).as_deref() == Ok(bytes), "one share, one envelope");
}

/// The length of a share's content as it is sealed, then what was sealed of its description.
pub fn description(bytes: &[u8]) {
    let Some((len, plain)) = bytes.split_first_chunk::<8>() else { return };
    let content_len = u64::from_le_bytes(*len);
    let outside = Outside { content: ContentId::from_bytes([1; 32]), content_len, salt: [0; 16] };
    let Ok(read) = Description::decode(plain, &outside) else { return };
    assert_eq!(sealed_len(read.len), content_len);
    assert!((1..=limits::COMPONENT_BYTES).contains(&read.name.len()));
    assert_eq!(check_path(&read.safe_name(), Rules::Portable), Ok(()));
    let manifest = read.manifest.as_ref();
    assert!(manifest.is_none_or(|m| m.payload == outside.content && m.payload_len == read.len));
    assert!(read.encode().expect("what was read can be written").as_slice() == plain, "one form");
}

/// The part of a link after the `#`. Of locks only the cheap ones are opened.
pub fn fragment(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Some(read) = Fragment::read(&text) else { return };
    assert_eq!(read.to_string(), text, "one form");
    assert!(format!("{read:?}").len() < 12, "it is not shown");
    if let Fragment::Locked(locked) = read
        && (u32::from_le_bytes([locked[1], locked[2], locked[3], locked[4]]) <= 64
            || locked[5] > limits::LOCK_PASSES as u8)
    {
        assert!(unlock(&locked, ContentId::from_bytes([1; 32]), "x").is_err());
    }
}

/// The office and the signer of the statements below. A fuzzer cannot sign, so the targets do.
fn office() -> (OfficeId, Signer) {
    (OfficeId::from_bytes([2; 32]), Signer::from_seed(&[1; 32]))
}

/// Returns the bytes unchanged, and as the body of a signed statement.
fn statements(context: &str, bytes: &[u8]) -> [Vec<u8>; 2] {
    [bytes.to_vec(), sign(bytes.to_vec(), context, &office().1)]
}

/// A certificate of an office, or what stands before its signature.
pub fn certificate(bytes: &[u8]) {
    let (office, signer) = office();
    for bytes in statements(office::CERTIFICATE, bytes) {
        let Ok((read, issuer)) = Certificate::open(&bytes, office) else { continue };
        assert!(issuer == signer.public() && bytes.len() <= limits::CERTIFICATE_BYTES);
        assert!(office::is_name(&read.name));
        assert!(read.sign(office, &signer) == bytes, "one form");
    }
}

/// A list of who was expelled, or what stands before its signature.
pub fn expulsion(bytes: &[u8]) {
    let (office, signer) = office();
    for bytes in statements(office::EXPULSION, bytes) {
        let Ok((read, issuer)) = ExpulsionList::open(&bytes, office) else { continue };
        assert!(issuer == signer.public() && bytes.len() <= limits::EXPULSION_BYTES);
        assert!(read.sign(office, &signer) == bytes, "one form");
        let mut expelled = Expelled::default();
        expelled.believe(&read, false);
        assert!(!expelled.believe(&read, false), "nothing is new twice");
    }
}

/// A secret of an office, or what stands before its signature.
pub fn office_secret(bytes: &[u8]) {
    let (office, signer) = office();
    for bytes in statements(office::SECRET, bytes) {
        let Ok((read, _)) = OfficeSecret::open(&bytes, office) else { continue };
        assert!(read.sign(office, &signer) == bytes, "one form");
    }
}

/// A code that invites into an office; and a charter.
pub fn invite(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(read) = text.parse::<Invite>() {
        assert!(read.addrs.len() <= limits::INVITE_ADDRS);
        assert_eq!(read.to_string(), text.trim(), "one form");
    }
    if let Ok(charter) = Charter::decode(bytes) {
        assert!(office::is_name(&charter.name) && charter.encode() == bytes);
    }
}

/// A voucher, or what stands before its signature.
pub fn voucher(bytes: &[u8]) {
    let (office, signer) = office();
    for bytes in statements(office::VOUCHER, bytes) {
        let Ok((read, issuer)) = Voucher::open(&bytes, office) else { continue };
        assert!(issuer == signer.public() && bytes.len() <= limits::VOUCHER_BYTES);
        assert!((1..=limits::VOUCHER_IDS).contains(&read.ids.len()));
        assert!(read.sign(office, &signer) == bytes, "one form");
    }
}

/// A member's statements about its office: a list and then a secret, signed by the root or not at all.
pub fn book(bytes: &[u8]) {
    let (_, signer) = office();
    let charter = Charter { root: signer.public(), made: 1, name: "x".to_owned() };
    let id = charter.id();
    let mut book = TrustState::new(charter);
    for (topic, context) in [(Topic::Expulsion, office::EXPULSION), (Topic::Secret, office::SECRET)] {
        // The fuzzer does not know the office's id.
        let body = [&[1][..], id.as_bytes(), bytes.get(33..).unwrap_or_default()].concat();
        for statement in [bytes.to_vec(), sign(body, context, &signer)] {
            let told = Statement { topic, by: Vec::new(), statement };
            if book.hear(&told, 1 << 40).is_ok() {
                assert_eq!(book.hear(&told, 1 << 40), Ok(Update::Nothing), "nothing is new twice");
            }
        }
    }
    let all: Vec<Statement> = book.all().cloned().collect();
    let mut again = TrustState::new(book.charter().clone());
    all.iter().for_each(|told| assert!(again.hear(told, 1 << 40).is_ok(), "what is told on is believed"));
    assert!(again.expelled() == book.expelled() && again.secrets().eq(book.secrets()));
}

/// An announcement on the local network, and the backup of a root.
pub fn beacon(bytes: &[u8]) {
    assert!(Beacon::open(bytes, &[1; 32]).is_none(), "sealed by nobody");
    let text = String::from_utf8_lossy(bytes);
    if let Ok(read) = text.parse::<Backup>() {
        let one_line: String = text.split_whitespace().collect();
        assert_eq!(*read.seed.backup(read.office), one_line, "one form");
    }
}

/// A name, or two lines: a symlink's path and its target.
pub fn path(bytes: &[u8]) {
    for rules in [Rules::Portable, Rules::Unix] {
        if let Ok(name) = check_component_bytes(bytes, rules) {
            assert!(!name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != "..");
        }
        let error = check_component_bytes(bytes, rules).err();
        assert!(error.is_none_or(|error| !error.to_string().chars().any(char::is_control)));
    }
    let text = String::from_utf8_lossy(bytes);
    let shown = escape(&text);
    assert!(!shown.chars().any(|c| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c)));
    let name = sanitize_name(&text);
    assert_eq!(
        (check_component(&name, Rules::Portable), check_path(&name, Rules::Portable)),
        (Ok(()), Ok(()))
    );
    assert_eq!(sanitize_name(&name), name);
    assert_eq!(fold_key(&fold_key(&text)), fold_key(&text));
    let Some((at, target)) = text.split_once('\n') else { return };
    for rules in [Rules::Portable, Rules::Unix] {
        if check_path(at, rules).is_ok() {
            assert!(inside("", at), "{at:?}");
            if check_symlink_target(at, target, rules).is_ok() {
                assert!(
                    inside(at.rsplit_once('/').map_or("", |(above, _)| above), target),
                    "{at:?} -> {target:?}"
                );
            }
        }
    }
}

/// Whether a relative path, followed step by step from a folder of a tree, never leaves the tree.
fn inside(from: &str, path: &str) -> bool {
    let mut depth = from.split('/').filter(|step| !step.is_empty()).count();
    if path.starts_with('/') {
        return false;
    }
    for step in path.split('/') {
        match step {
            "" | "." => {}
            ".." if depth == 0 => return false,
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    true
}
