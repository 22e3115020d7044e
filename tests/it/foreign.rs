//! A client that shares no code with swarm and was written from `core/PROTOCOL.md` and `core/FORMATS.md`
//! alone.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use data_encoding::HEXLOWER;
use serde_json::Value;
use swarm_core::content::geometry::Geometry;
use swarm_core::content::kind::ContentKind;
use swarm_core::content::link::Link;
use swarm_core::content::manifest::{self, Manifest};
use swarm_core::content::tree::{HashList, encoded_len};
use swarm_core::id::ContentId;
use swarm_core::signed::{Statement, Topic};
use swarm_core::wire::{GatewayBeat, Have, Hello, LIST, Message, Offer, PeerAddrs, RefusalReason};
use swarm_tests::fixture::{Home, Process, Ran, fill, listing, write_random};
use swarm_tests::hostile::bytes::{Handmade, Node};
use swarm_tests::hostile::{Hostile, Offering, Out, Turn};

use crate::hostile::names::{PATHS, TREES};

/// Exit codes of the client, as its help says.
const DONE: i32 = 0;
const NOT_TO_BE_HAD: i32 = 1;
const WRONG_BYTES: i32 = 3;

fn command(home: &Home, args: &[&str]) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    // `-B`: no compiled files in the project.
    command.arg("-B").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("formats/client.py"));
    command.args(args).current_dir(home.dir()).stdin(Stdio::null());
    command
}

fn client(home: &Home, args: &[&str]) -> Ran {
    Process::spawn(command(home, args)).wait()
}

/// Checks that the client ended with this code and message, and that it wrote no file.
#[track_caller]
fn fails(ran: &Ran, code: i32, says: &str, out: &Path) {
    ran.exits(code);
    assert!(ran.err.contains(says) && !ran.err.contains("Traceback"), "{}", ran.err);
    assert!(fs::symlink_metadata(out).is_err(), "it left something at {}", out.display());
}

fn folder(home: &Home) -> PathBuf {
    let folder = home.path("folder");
    fs::create_dir_all(folder.join("sub/hollow")).unwrap();
    write_random(&folder.join("one.bin"), 70_000, 2);
    fs::write(folder.join("sub/two.txt"), "two\n").unwrap();
    fs::set_permissions(folder.join("sub/two.txt"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(folder.join("sub/empty"), "").unwrap();
    folder
}

#[test]
fn a_client_made_from_the_document_fetches_files() {
    let (alice, bob) = (Home::new(), Home::new());
    // Several chunks, a single chunk, a full chunk, one byte more than a chunk, no byte.
    for len in [300_000, 5, 65_536, 65_537, 0] {
        let file = alice.file(&format!("{len}.bin"), len, len);
        let seeder = alice.publish(&file);
        let name = format!("got-{len}");
        client(&bob, &["get", seeder.link(), "-o", &name]).exits(DONE);
        assert!(fs::read(bob.path(&name)).unwrap() == fs::read(&file).unwrap(), "{len} bytes");
        seeder.stop().success();
    }
}

#[test]
fn a_client_made_from_the_document_fetches_a_directory() {
    let (alice, bob) = (Home::new(), Home::new());
    let folder = folder(&alice);
    let seeder = alice.publish(&folder);
    // By id and address, as by link.
    client(&bob, &["get", seeder.id(), seeder.addr(), "-o", "got"]).exits(DONE);
    assert_eq!(listing(&bob.path("got")), listing(&folder));
    seeder.stop().success();
}

#[test]
fn what_the_publisher_does_not_have_cannot_be_had() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("update.bin", 300_000, 1));
    let last = if seeder.id().ends_with('0') { '1' } else { '0' };
    let other = format!("{}{last}", &seeder.id()[..63]);
    let ran = client(&bob, &["get", &other, seeder.addr(), "-o", "got"]);
    fails(&ran, NOT_TO_BE_HAD, "has nothing of it", &bob.path("got"));
    // Nobody is kept away for having asked.
    client(&bob, &["get", seeder.link(), "-o", "got"]).exits(DONE);
    seeder.stop().success();
}

#[test]
fn the_client_refuses_bytes_that_were_changed() {
    let (alice, bob) = (Home::new(), Home::new());
    let file = alice.publish(&alice.file("update.bin", 300_000, 1));
    for (what, says) in [("chunk", "is not what it should be"), ("list", "the hash list is not that")] {
        let ran = client(&bob, &["get", file.link(), "-o", "got", "--corrupt", what]);
        fails(&ran, WRONG_BYTES, says, &bob.path("got"));
    }
    file.stop().success();
    let directory = alice.publish(&folder(&alice));
    let ran = client(&bob, &["get", directory.link(), "-o", "got", "--corrupt"]);
    fails(&ran, WRONG_BYTES, "is not what it should be", &bob.path("got"));
    directory.stop().success();
}

/// Peers that lie about a chunk, the list or the length are found out by the client.
#[test]
fn the_client_finds_out_who_lies() {
    let bob = Home::new();
    let changed = |which: fn(u32) -> bool| {
        move |_: &Turn<'_>, honest: Vec<Out>| {
            let change = |out| match out {
                Out::Data(header, mut bytes) if which(header.chunk) => {
                    bytes[0] ^= 1;
                    Out::Data(header, bytes)
                }
                other => other,
            };
            honest.into_iter().map(change).collect()
        }
    };
    let offering = Offering::file(fill(300_000, 1));
    let (id, target) = (offering.id.to_string(), bob.path("got"));
    let honest = Hostile::honest(vec![offering.clone()]);
    client(&bob, &["get", &id, honest.addr(), "-o", "honest"]).exits(DONE);
    assert!(fs::read(bob.path("honest")).unwrap() == fill(300_000, 1));
    let chunk = Hostile::listen(vec![offering.clone()], changed(|chunk| chunk == 3));
    let ran = client(&bob, &["get", &id, chunk.addr(), "-o", "got"]);
    fails(&ran, WRONG_BYTES, "chunk 3 is not what it should be", &target);
    let list = Hostile::listen(vec![offering.clone()], changed(|chunk| chunk == LIST));
    let ran = client(&bob, &["get", &id, list.addr(), "-o", "got"]);
    fails(&ran, WRONG_BYTES, "the hash list is not that of the id", &target);
    let length = Hostile::listen(vec![offering], |_, honest| {
        let lie = |out| match out {
            Out::Control(Message::Offer(offer)) => {
                Out::Control(Message::Offer(Offer { len: offer.len - 1, ..offer }))
            }
            other => other,
        };
        honest.into_iter().map(lie).collect()
    });
    let ran = client(&bob, &["get", &id, length.addr(), "-o", "got"]);
    fails(&ran, WRONG_BYTES, "a part where it does not belong", &target);
}

/// The client, written from the document alone, refuses and takes the same manifests as swarm.
#[test]
fn the_client_takes_the_manifests_that_we_take() {
    let file = || Node::Holding(b"payload".to_vec());
    let node = |what: &str| match what.strip_prefix("-> ") {
        Some(target) => Node::Link(target.as_bytes().to_vec()),
        None if what.is_empty() => Node::EmptyDir,
        None => file(),
    };
    let tree = |tree: &&[(&str, &str)]| {
        let entries: Vec<_> = tree.iter().map(|(path, what)| (path.as_bytes(), node(what))).collect();
        Handmade::of(&entries)
    };
    let names =
        ["a", "~$a", "a~", "COM10", "aux_", "my.con", " a", "\u{e4}", "A\u{308}", "\u{200a}", "\u{df}"];
    let paths = PATHS.iter().copied().chain(names.iter().map(|name| name.as_bytes()));
    let twins =
        [["a", "\u{e4}"], ["STRASSE", "stra\u{df}e"], ["\u{e4}", "a\u{308}"], ["A", "a"], ["A/x", "a/y"]];
    let twins = twins.map(|pair| Handmade::of(&pair.map(|path| (path.as_bytes(), file()))));
    let handmade: Vec<Handmade> =
        paths.map(Handmade::named).chain(TREES.iter().map(tree)).chain(twins).collect();
    let mut manifests: Vec<Vec<u8>> = handmade.iter().cloned().map(|one| one.flags(1).encode()).collect();
    manifests.extend(handmade.into_iter().map(|one| one.encode()));
    let link = Node::Link(b"../a".to_vec());
    let good =
        [(&b"a"[..], file()), (b"b/c", Node::EmptyDir), (b"b/d", link), (b"b/e/f", Node::Holding(vec![]))];
    let good = Handmade::of(&good).encode();
    // Each bit of a good one flipped, and each byte at which it may end.
    for at in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[at / 8] ^= 1 << (at % 8);
        manifests.push(bytes);
    }
    manifests.extend((0..=good.len()).map(|end| good[..end].to_vec()));
    let home = Home::new();
    let lines: Vec<String> = manifests.iter().map(|bytes| HEXLOWER.encode(bytes) + "\n").collect();
    fs::write(home.path("manifests"), lines.concat()).unwrap();
    let mut command = command(&home, &["manifests"]);
    command.stdin(fs::File::open(home.path("manifests")).unwrap());
    let ran = Process::spawn(command).wait();
    let text = ran.exits(DONE).text();
    let verdicts: Vec<&str> = text.lines().collect();
    assert_eq!(verdicts.len(), manifests.len());
    let (mut taken, mut wrong) = (0, Vec::new());
    for (bytes, verdict) in manifests.iter().zip(verdicts) {
        let ours = Manifest::decode(bytes).map(|manifest| manifest.entries.len());
        let agree = verdict
            == ours.as_ref().map_or_else(|_| String::new(), |count| format!("good, {count} entries"))
            || (ours.is_err() && verdict.starts_with("refused"));
        taken += usize::from(ours.is_ok());
        if !agree {
            wrong.push(format!("{}: {ours:?}, and {verdict}", bytes.escape_ascii()));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), manifests.len(), wrong.join("\n"));
    assert!(taken > 50, "{taken} were good");
}

fn vectors() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/vectors/wire.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Returns each message of the vectors, in the order of their kinds.
fn messages() -> Vec<Message> {
    let id: ContentId = "7c99f9840a73dfcb6e5bfe4ff6d1558acab7e015640790c26411818bdbe17eca".parse().unwrap();
    let addr = vec![4, 127, 0, 0, 1, 6, 0x10, 0x92];
    let peer: Vec<u8> = [0, 0x24, 8, 1, 0x12, 0x20].into_iter().chain(0..32).collect();
    let peers = vec![PeerAddrs { peer, addrs: vec![addr.clone(), addr.clone()] }];
    let (blob, bytes) = (1, vec![0, 1, 2, 3, 4]);
    let hello = Hello {
        version: 1,
        agent: "swarm-client.py/1".into(),
        tcp: vec![4242, 65535],
        quic: vec![],
        site: Some("berlin".into()),
        relayed: vec![addr],
        dht: vec![4772],
    };
    let name = Some("count.bin".to_owned());
    let beat = GatewayBeat { tag: u64::MAX, number: 3, whole: true, age: 250 };
    vec![
        Message::Hello(hello),
        Message::Want { blob, id },
        Message::Offer(Offer {
            blob,
            kind: ContentKind::File,
            len: 65_537,
            name,
            origin: true,
            have: Have::All,
        }),
        Message::Absent { blob: 300 },
        Message::List { blob },
        Message::Have { blob, add: Have::Runs(vec![(0, 1), (5, 200)]) },
        Message::Request { blob, first: 1, count: 1 },
        Message::Decline { blob, chunk: LIST, why: RefusalReason::Missing },
        Message::Cancel { blob, chunk: 7 },
        Message::Gone { blob },
        Message::Bad { blob, chunk: 128 },
        Message::Peers { blob, peers: peers.clone() },
        Message::Ping(1 << 63),
        Message::Pong(127),
        Message::Unwant { blob },
        Message::Need { blob, add: Have::All, drop: Have::Runs(vec![]) },
        Message::Grant { blob, count: 1, hint: Some(1) },
        Message::Refuse { blob, count: 512, busy: false },
        Message::Gateways { id, beats: vec![beat] },
        Message::Seek { id, on: true },
        Message::HaveIt(id),
        Message::StateDigest(*id.as_bytes()),
        Message::Statement(Statement { topic: Topic::Secret, by: bytes.clone(), statement: bytes.clone() }),
        Message::Certified { chain: vec![bytes.clone(), bytes.clone()] },
        Message::Renew,
        Message::Voucher { blob, voucher: bytes.clone(), chain: vec![bytes.clone()] },
        Message::Members { peers },
        Message::FindMember { name: "jürgen".into() },
        Message::FoundMembers { chains: vec![vec![bytes.clone(), bytes.clone()], vec![bytes]] },
        Message::Banned { secs: 600, reason: "sent bytes that were not asked for".into() },
        Message::Reads { blob },
        Message::Begin { blob },
        Message::Push { blob, chunk: LIST },
        Message::Closing { reason: "version 2 of the protocol, where version 1 is spoken".into() },
    ]
}

#[test]
fn the_vectors_of_the_wire_are_what_we_say() {
    let vectors = vectors();
    let (frames, messages) = (vectors["messages"].as_array().unwrap(), messages());
    assert_eq!(frames.len(), messages.len());
    for (vector, message) in frames.iter().zip(messages) {
        let frame = HEXLOWER.decode(vector["frame"].as_str().unwrap().as_bytes()).unwrap();
        let (len, body) = frame.split_first_chunk::<4>().unwrap();
        assert_eq!(u32::from_le_bytes(*len) as usize, body.len());
        assert_eq!(message.encode().as_deref(), Ok(body), "{message:?}");
        assert_eq!(Message::decode(body), Ok(Some(message)));
    }
    // No kind is missing: the next one is of a later version.
    assert_eq!(Message::decode(&[frames.len() as u8, 1]), Ok(None));
}

#[test]
fn the_vectors_of_the_formats_are_what_we_say() {
    let vectors = vectors();
    for vector in vectors["lists"].as_array().unwrap() {
        let number = |name: &str| vector[name].as_u64().unwrap();
        let geometry = Geometry::new(number("length")).unwrap();
        let known = (geometry.chunk_size(), u64::from(geometry.chunks()), encoded_len(geometry) as u64);
        assert_eq!(known, (number("chunk_size"), number("chunks"), number("list_length")), "{vector}");
        let Some(id) = vector["id"].as_str() else { continue };
        let kind = [ContentKind::File, ContentKind::Directory, ContentKind::Share][number("kind") as usize];
        let bytes: Vec<u8> = (0..geometry.len()).map(|at| (at % 251) as u8).collect();
        let list = HashList::of(kind, geometry, &bytes);
        assert_eq!(list.id().to_string(), id);
        assert_eq!(HEXLOWER.encode(&list.encode()), vector["list"]);
    }
    for vector in vectors["manifests"].as_array().unwrap() {
        let bytes = HEXLOWER.decode(vector["bytes"].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(manifest::id_of(&bytes).to_string(), vector["id"]);
        let paths: Vec<String> =
            Manifest::decode(&bytes).unwrap().entries.into_iter().map(|entry| entry.path).collect();
        assert_eq!(serde_json::json!(paths), vector["paths"]);
    }
    for vector in vectors["links"].as_array().unwrap() {
        let link: Link = vector["link"].as_str().unwrap().parse().unwrap();
        let read = serde_json::json!([link.id.to_string(), link.name, link.peers]);
        assert_eq!(read, serde_json::json!([vector["id"], vector["name"], vector["peers"]]));
    }
}

#[test]
fn the_client_agrees_on_the_vectors_of_the_wire() {
    client(&Home::new(), &["vectors"]).exits(DONE);
}
