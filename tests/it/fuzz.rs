//! The fuzz targets without a fuzzer: run over the checked-in corpus and over some thousand mutations of it,
//! which are the same on every machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use swarm_core::content::bitmap::Bitmap;
use swarm_core::content::geometry::Geometry;
use swarm_core::content::kind::ContentKind;
use swarm_core::content::link::Link;
use swarm_core::content::manifest::{EntryKind, Manifest, ManifestEntry};
use swarm_core::content::path::Rules;
use swarm_core::content::seal::{ShareKey, sealed_len};
use swarm_core::content::share::{Description, Fragment, LOCKED, Outside, seal_envelope};
use swarm_core::content::tree::HashList;
use swarm_core::id::ContentId;
use swarm_core::office::certificate::{Certificate, Role};
use swarm_core::office::expulsion::{ExpulsionList, Void};
use swarm_core::office::invite::{Invite, InviteSecret};
use swarm_core::office::root::RootSeed;
use swarm_core::office::secret::OfficeSecret;
use swarm_core::office::voucher::{For, Voucher};
use swarm_core::office::{Charter, OfficeId};
use swarm_core::signed::{PublicKey, Signer, Statement, Topic};
use swarm_core::wire::frame::DataHeader;
use swarm_core::wire::{Have, Hello, LIST, Message, Offer, PeerAddrs, RefusalReason};
use swarm_tests::fixture::fill;
use swarm_tests::fuzz_targets::{FuzzTarget, TARGETS};
use swarm_tests::hostile::bytes::control;

/// Count of mutations of each target's corpus.
const MUTATIONS: u64 = 4000;
/// Environment variable: if it is set, the seeds are written into the corpus again, after a format has
/// changed.
const WRITE: &str = "SWARM_WRITE_CORPUS";

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

fn inputs(target: &str) -> Vec<Vec<u8>> {
    let folder =
        fs::read_dir(corpus(target)).unwrap_or_else(|error| panic!("the corpus of {target}: {error}"));
    let mut paths: Vec<PathBuf> = folder.flatten().map(|entry| entry.path()).collect();
    paths.sort_unstable();
    paths.iter().map(|path| fs::read(path).expect("a file of the corpus")).collect()
}

/// Random numbers of a seed: BLAKE3 of a counter.
struct Dice(blake3::OutputReader);

impl Dice {
    fn new(target: &str, seed: u64) -> Self {
        Self(blake3::Hasher::new().update(target.as_bytes()).update(&seed.to_le_bytes()).finalize_xof())
    }

    fn below(&mut self, n: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        (u64::from_le_bytes(bytes) % n.max(1) as u64) as usize
    }
}

/// Values at which code often breaks.
const EDGES: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, 0x2e, 0x2f, 0x0a];

fn mutate(inputs: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = inputs[dice.below(inputs.len())].clone();
    for _ in 0..=dice.below(4) {
        let (at, other) = (dice.below(bytes.len()), dice.below(bytes.len()));
        match dice.below(8) {
            _ if bytes.is_empty() => bytes.push(dice.below(256) as u8),
            0 => bytes[at] ^= 1 << dice.below(8),
            1 => bytes[at] = EDGES[dice.below(EDGES.len())],
            2 => bytes.truncate(at),
            3 => bytes.insert(at, EDGES[dice.below(EDGES.len())]),
            4 => drop(bytes.remove(at)),
            5 => bytes.extend_from_within(at.min(other)..at.max(other)),
            6 => bytes.swap(at, other),
            _ => {
                let donor = &inputs[dice.below(inputs.len())];
                bytes.truncate(at);
                bytes.extend_from_slice(&donor[dice.below(donor.len())..]);
            }
        }
    }
    bytes
}

/// Runs one input. A failure names the input, ready to be put into the corpus.
fn run(target: &str, function: FuzzTarget, input: &[u8]) {
    if catch_unwind(|| function(input)).is_err() {
        let path =
            std::env::temp_dir().join(format!("fuzz-{target}-{}", &blake3::hash(input).to_hex()[..12]));
        let _ = fs::write(&path, input);
        panic!("{target} breaks on {} bytes, kept in {}", input.len(), path.display());
    }
}

#[test]
fn no_input_of_the_corpus_or_near_it_breaks_a_reader() {
    std::thread::scope(|scope| {
        for (target, function) in TARGETS {
            scope.spawn(move || {
                let inputs = inputs(target);
                inputs.iter().for_each(|input| run(target, function, input));
                for seed in 0..MUTATIONS {
                    run(target, function, &mutate(&inputs, &mut Dice::new(target, seed)));
                }
            });
        }
    });
}

#[test]
fn the_corpus_holds_what_honest_nodes_write() {
    for (target, seeds) in seeds() {
        assert!(TARGETS.iter().any(|(name, _)| *name == target), "{target}");
        for (name, bytes) in seeds {
            let path = corpus(target).join(name);
            if std::env::var_os(WRITE).is_some() {
                fs::create_dir_all(corpus(target)).expect("a folder for the corpus");
                fs::write(&path, &bytes).expect("a file of the corpus");
            }
            let kept = fs::read(&path).unwrap_or_default();
            assert!(kept == bytes, "{} is not what is written today: run with {WRITE}=1", path.display());
        }
    }
}

type Seeds = Vec<(String, Vec<u8>)>;

fn seeds() -> BTreeMap<&'static str, Seeds> {
    let numbered = |all: Vec<Vec<u8>>| -> Seeds {
        all.into_iter().enumerate().map(|(number, bytes)| (format!("seed{number:02}"), bytes)).collect()
    };
    BTreeMap::from([
        ("control_frame", numbered(messages().iter().map(control).chain([stream()]).collect())),
        ("data_header", numbered(headers())),
        ("have_map", numbered(have_maps())),
        ("hash_list", numbered(lists())),
        ("manifest", numbered(manifests())),
        ("link", numbered(links().into_iter().map(String::into_bytes).collect())),
        ("path", numbered(paths())),
        ("envelope", numbered(envelopes())),
        ("description", numbered(descriptions())),
        ("fragment", numbered(fragments())),
        ("certificate", numbered(vec![body(certificate().sign(office(), &signer()))])),
        ("expulsion", numbered(vec![body(expulsion().sign(office(), &signer()))])),
        ("office_secret", numbered(vec![body(OfficeSecret::new(3, 9, [4; 32]).sign(office(), &signer()))])),
        ("invite", numbered(invites())),
        ("voucher", numbered(vec![body(voucher(For::All)), body(voucher(For::Members(one())))])),
        ("book", numbered(vec![body(expulsion().sign(office(), &signer())), vec![7; 90]])),
        ("beacon", numbered(vec![backup(), vec![7; 360]])),
    ])
}

fn id() -> ContentId {
    blake3::hash(b"seed").into()
}

fn messages() -> Vec<Message> {
    let offer = |have| {
        Message::Offer(Offer {
            blob: 7,
            kind: ContentKind::File,
            len: 5_000_000,
            name: Some("a".into()),
            origin: true,
            have,
        })
    };
    vec![
        Message::Hello(Hello {
            version: 1,
            agent: "swarm/0.1".into(),
            tcp: vec![4001],
            quic: vec![4001],
            site: Some("b".into()),
            relayed: vec![vec![1, 2, 3]],
            dht: vec![4771],
        }),
        Message::Want { blob: 1, id: id() },
        offer(Have::All),
        offer(Have::Runs(vec![(0, 3), (9, 70)])),
        offer(Have::Bits(vec![0x55; 10])),
        Message::Absent { blob: 1 },
        Message::List { blob: 1 },
        Message::Have { blob: 300, add: Have::Runs(vec![(70_000, 1)]) },
        Message::Request { blob: 1, first: 5, count: 16 },
        Message::Decline { blob: 1, chunk: 5, why: RefusalReason::Busy },
        Message::Cancel { blob: 1, chunk: 5 },
        Message::Gone { blob: 1 },
        Message::Bad { blob: 1, chunk: 5 },
        Message::Peers {
            blob: 1,
            peers: vec![PeerAddrs {
                peer: vec![0, 36, 8, 1],
                addrs: vec![vec![4, 127, 0, 0, 1, 6, 15, 161]],
            }],
        },
        Message::Ping(u64::MAX),
        Message::Pong(1),
        Message::Unwant { blob: u32::MAX },
        Message::StateDigest([9; 32]),
        Message::Statement(Statement { topic: Topic::Secret, by: vec![1; 200], statement: vec![2; 300] }),
        Message::Certified { chain: vec![vec![1; 200], vec![2; 200]] },
        Message::Renew,
        Message::Voucher { blob: 1, voucher: vec![3; 200], chain: vec![vec![1; 200]] },
        Message::Members { peers: vec![PeerAddrs { peer: vec![0, 36], addrs: vec![vec![4, 127, 0, 0, 1]] }] },
        Message::FindMember { name: "host7".to_owned() },
        Message::FoundMembers { chains: vec![vec![vec![1; 200]], vec![]] },
    ]
}

/// Several frames in one stream.
fn stream() -> Vec<u8> {
    messages().iter().flat_map(control).collect()
}

fn headers() -> Vec<Vec<u8>> {
    let header = |chunk, offset, len| DataHeader { blob: 1, chunk, offset, len }.encode().to_vec();
    let with = |header: Vec<u8>, len: u64| [header, len.to_le_bytes().to_vec()].concat();
    vec![
        with(header(0, 0, 65_536), 1 << 20),
        with(header(15, 0, 1), (15 << 16) + 1),
        with(header(LIST, 0, 512), 1 << 20),
        with(header(32_767, 1 << 20, 65_536), 1 << 40),
        header(3, 65_536, 100),
    ]
}

fn have_maps() -> Vec<Vec<u8>> {
    let map = |chunks: u16, have: &Have| {
        let message = Message::Have { blob: 1, add: have.clone() }.encode().expect("a small message");
        [&chunks.to_le_bytes()[..], &message[2..]].concat()
    };
    let mut ragged = Bitmap::new(129);
    (0..129).filter(|chunk| chunk % 3 == 0).for_each(|chunk| ragged.set(chunk));
    vec![
        map(0, &Have::All),
        map(129, &Have::All),
        map(129, &Have::of(&ragged)),
        map(32_768, &Have::Runs(vec![(0, 1), (2, 32_766)])),
        map(64, &Have::Bits(vec![0xff; 8])),
    ]
}

fn lists() -> Vec<Vec<u8>> {
    let list = |kind, len: usize| {
        let (bytes, geometry) = (fill(len, 1), Geometry::new(len as u64).expect("a small length"));
        let list = HashList::of(kind, geometry, &bytes);
        [&list.id().as_bytes()[..], &(len as u64).to_le_bytes(), &list.encode()].concat()
    };
    vec![
        list(ContentKind::File, 0),
        list(ContentKind::File, 100),
        list(ContentKind::File, 300_000),
        list(ContentKind::Directory, 200_000),
    ]
}

fn manifests() -> Vec<Vec<u8>> {
    let file = |path: &str, size: u64, executable| {
        let kind = EntryKind::File {
            size,
            id: if size == 0 { ContentKind::File.id_of(b"") } else { id() },
            executable,
        };
        ManifestEntry { path: path.into(), kind }
    };
    let link = |path: &str, target: &str| ManifestEntry {
        path: path.into(),
        kind: EntryKind::Symlink { target: target.into() },
    };
    let of = |rules, entries: Vec<ManifestEntry>| {
        let size =
            |entry: &ManifestEntry| if let EntryKind::File { size, .. } = entry.kind { size } else { 0 };
        let payload_len = entries.iter().map(size).sum();
        let payload = if payload_len == 0 { ContentKind::File.id_of(b"") } else { id() };
        Manifest { rules, payload, payload_len, entries }.encode().expect("a manifest that is allowed")
    };
    vec![
        of(Rules::Portable, Vec::new()),
        of(Rules::Portable, vec![file("a", 0, false)]),
        of(
            Rules::Portable,
            vec![
                file("bin/run", 300, true),
                file("bin/run.txt", 1 << 40, false),
                ManifestEntry { path: "empty".into(), kind: EntryKind::EmptyDir },
                link("lib/link", "../bin/run"),
                file("lib/ä/日本語", 70_000, false),
            ],
        ),
        of(Rules::Unix, vec![file("A:b?", 1, false), file("a", 2, false)]),
    ]
}

/// A share of a file and one of a directory.
fn shares() -> [(Outside, Description); 2] {
    let outside = |len| Outside {
        content: ContentId::from_bytes([1; 32]),
        content_len: sealed_len(len),
        salt: [9; 16],
    };
    let kind = EntryKind::File { size: 70_000, id: id(), executable: false };
    let entries = vec![ManifestEntry { path: "a/b".into(), kind }];
    let content = ContentId::from_bytes([1; 32]);
    let manifest = Manifest { rules: Rules::Portable, payload: content, payload_len: 70_000, entries };
    let of = |name: &str, len, manifest| Description { name: name.into(), len, manifest };
    [(outside(5), of("film.mkv", 5, None)), (outside(70_000), of("ä", 70_000, Some(manifest)))]
}

fn envelopes() -> Vec<Vec<u8>> {
    let key = ShareKey::from_bytes([7; 32]);
    let seal = |(outside, description)| seal_envelope(&outside, &description, &key).expect("a share");
    // One segment is enough: the corpora stay small.
    let head = b"swarmshr\x01\0\0\0\0\0\0\0".to_vec();
    shares().map(seal).into_iter().take(1).chain([head]).collect()
}

fn descriptions() -> Vec<Vec<u8>> {
    let plain = |(outside, description): (Outside, Description)| {
        let plain = description.encode().expect("a share");
        [&outside.content_len.to_le_bytes()[..], &plain].concat()
    };
    shares().map(plain).into()
}

fn fragments() -> Vec<Vec<u8>> {
    let key = Fragment::Key(ShareKey::from_bytes([7; 32]));
    let cheap = {
        let mut locked = Box::new([3; LOCKED]);
        locked[..7].copy_from_slice(&[1, 64, 0, 0, 0, 1, 1]);
        Fragment::Locked(locked)
    };
    [key, cheap].iter().map(|fragment| fragment.to_string().into_bytes()).collect()
}

fn office() -> OfficeId {
    OfficeId::from_bytes([2; 32])
}

fn signer() -> Signer {
    Signer::from_seed(&[1; 32])
}

/// Cuts signer and signature off a statement: the target signs it again.
fn body(mut statement: Vec<u8>) -> Vec<u8> {
    statement.truncate(statement.len() - 96);
    statement
}

fn certificate() -> Certificate {
    let subject = PublicKey::from_bytes([3; 32]);
    Certificate { subject, role: Role::Publisher, serial: 1, issued: 2, expires: 3, name: "näme".into() }
}

fn expulsion() -> ExpulsionList {
    let void = |below| Void { below, until: 9 };
    let entries = [(PublicKey::from_bytes([3; 32]), void(1)), (PublicKey::from_bytes([4; 32]), void(2))];
    ExpulsionList { number: 5, issued: 6, entries: entries.into() }
}

fn voucher(members: For) -> Vec<u8> {
    Voucher { issued: 5, ids: [id()].into(), members }.sign(office(), &signer())
}

fn one() -> BTreeSet<PublicKey> {
    [PublicKey::from_bytes([3; 32])].into()
}

fn backup() -> Vec<u8> {
    RootSeed::from_bytes([1; 32]).backup(office()).as_bytes().to_vec()
}

fn invites() -> Vec<Vec<u8>> {
    let addrs = vec![vec![4, 10, 0, 0, 1, 6, 15, 161], vec![7; 64]];
    let invite = Invite { office: office(), secret: InviteSecret::from_bytes([8; 16]), addrs };
    let charter = Charter { root: signer().public(), made: 1, name: "Acme".into() };
    vec![invite.to_string().into_bytes(), charter.encode()]
}

fn links() -> Vec<String> {
    let link = |name: Option<&str>, peers: &[&str]| {
        let peers = peers.iter().map(|peer| (*peer).to_owned()).collect();
        Link { name: name.map(ToOwned::to_owned), peers, ..Link::to(id()) }.to_string()
    };
    vec![
        link(None, &[]),
        link(Some("Ein Name & 日本.bin"), &["/ip4/192.168.1.20/tcp/4001", "/ip6/::1/udp/4001/quic-v1"]),
        format!("SWARM://{}/?future=1&name=x", id().to_string().to_uppercase()),
        format!("blake3:{}", id()),
        id().to_string(),
        id().short(),
        format!("swarm:{}#key", id()),
        format!("swarm:{}?peer=/ip4/10.0.0.1/tcp/1#key=BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc", id()),
    ]
}

fn paths() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 9] = [
        b"report.pdf",
        b"a/b/c.txt\n../../x",
        b"d/link\n./x//y/",
        b"CON.txt",
        b"~user/x",
        b"\xc0\xae\xc0\xae",
        "Stra\u{df}e e\u{301} \u{212a}".as_bytes(),
        b"C:\\x\n..\\..\\y",
        "a\u{202e}b\u{1b}[2J\u{7}. ".as_bytes(),
    ];
    texts.iter().map(|text| text.to_vec()).collect()
}
