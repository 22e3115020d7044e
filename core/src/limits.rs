//! Every bound of the system, by name and with its reason. Nothing outside this file invents one.

use std::ops::Range;
use std::time::Duration;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

// ---- content ------------------------------------------------------------------------------------------------------

/// The smallest chunk, bytes: below it the 32-byte hash, the have-map bit and the per-chunk work outweigh the chunk.
pub const CHUNK_MIN: u64 = 64 << 10;
/// The largest chunk of a blob of up to 32 GiB, bytes: what one request holds unverified, and what a film waits for.
pub const CHUNK_MAX: u64 = 1 << 20;
/// Chunks aimed at per blob: spreading is best at 1,000 to 2,000 (pieces enough that no log term shows).
pub const CHUNKS_AIM: u64 = 1024;
/// Chunks a blob has at most: bounds the hash list to 1 MiB and a tail of up to 1.5 KiB ([`HASH_LIST_BYTES`]), and the have-map
/// to 4 KiB. Longer blobs get longer chunks.
pub const CHUNKS: u32 = 32_768;
/// The longest blob, bytes (1 TiB): its chunks are then 32 MiB, the most that is worth holding unverified.
pub const BLOB_BYTES: u64 = 1 << 40;
/// A hash list's size at most, bytes: 32 a chunk, and the last leaf with the values beside its way up a chunk of 32 MiB.
pub const HASH_LIST_BYTES: usize = CHUNKS as usize * 32 + 15 * 32 + 1024;

/// A directory manifest, bytes.
pub const MANIFEST_BYTES: usize = 8 * MIB;
/// Entries of a directory manifest.
pub const MANIFEST_ENTRIES: usize = 100_000;
/// Components of a path in a manifest.
pub const PATH_DEPTH: usize = 32;
/// A path in a manifest, bytes.
pub const PATH_BYTES: usize = 1024;
/// One component of a path, bytes: the common limit of file systems.
pub const COMPONENT_BYTES: usize = 255;
/// One component of a path, UTF-16 units: Windows' 255 less room for a temporary suffix.
pub const COMPONENT_UTF16: usize = 240;
/// A file named in a manifest, bytes: the largest integer every JSON reader keeps exact.
pub const FILE_BYTES: u64 = (1 << 53) - 1;

/// A link, bytes.
pub const LINK_BYTES: usize = 4 * KIB;
/// Peer hints in a link.
pub const LINK_PEERS: usize = 16;
/// The name hint in a link, bytes.
pub const LINK_NAME_BYTES: usize = 255;

/// The envelope of a share, bytes: a manifest, a name, and what fills up the last segment.
pub const ENVELOPE_BYTES: usize = MANIFEST_BYTES + 256 * KIB;
/// Memory that a password may make us spend, KiB: a link may come from anybody.
pub const LOCK_KIB: u32 = 1 << 20;
/// Passes over it.
pub const LOCK_PASSES: u32 = 10;
/// What we lock with ourselves: 64 MiB and 3 passes, the second choice of RFC 9106 with one lane.
pub const LOCK_KIB_OURS: u32 = 64 << 10;
/// See [`LOCK_KIB_OURS`].
pub const LOCK_PASSES_OURS: u8 = 3;
/// A password, bytes.
pub const PASSWORD_BYTES: usize = 4 * KIB;

// ---- offices ------------------------------------------------------------------------------------------------------

/// The name of an office or of a node in it, bytes.
pub const OFFICE_NAME_BYTES: usize = 64;
/// A certificate, bytes: fixed fields, a name, a signature.
pub const CERTIFICATE_BYTES: usize = 1 + 32 + 32 + 1 + 3 * 8 + 1 + OFFICE_NAME_BYTES + 32 + 64;
/// A list of who was expelled, bytes: some 1,300 in the life of a certificate, in one control frame.
pub const EXPULSION_BYTES: usize = 60 * KIB;
/// Entries of such a list.
pub const EXPULSIONS: usize = (EXPULSION_BYTES - 256) / 48;
/// How far the clocks of two machines may be apart.
pub const CLOCK_SKEW: Duration = Duration::from_secs(24 * 3600);
/// Secrets of an office that are kept: who was away for so many changes is recognised when he comes back.
pub const OFFICE_SECRETS: usize = 32;
/// How far an office's secret may be ahead of the newest that is known: nobody can use up all numbers.
pub const OFFICE_EPOCH_STEP: u32 = 1 << 16;
/// How long the certificate of a member holds, seconds.
pub const MEMBER_SECS: u64 = 90 * 24 * 3600;
/// How long that of a registrar does: it takes the root to make another.
pub const REGISTRAR_SECS: u64 = 2 * 365 * 24 * 3600;
/// A member's certificate that is older is made anew by any registrar it meets, seconds.
pub const RENEW_AFTER_SECS: u64 = 30 * 24 * 3600;
/// How long what is void may be said to be so: longer than any certificate holds, seconds.
pub const VOID_SECS: u64 = REGISTRAR_SECS + 2 * 24 * 3600;
/// Who is made to leave needs a serial this much later to come back: whatever the clock and the knowledge of who made him leave
/// (seconds, as serials follow the clock).
pub const SERIAL_AHEAD: u64 = 10 * 365 * 24 * 3600;
/// The greatest serial of a certificate.
pub const SERIAL: u64 = 1 << 40;
/// What somebody says first at the door has to come within this.
pub const DOOR_OPENING: Duration = Duration::from_secs(3);
/// Messages about the office that a member may send in ten seconds.
pub const OFFICE_MESSAGES: u32 = 400;
/// Such messages that wait until a member may be told more: all lists and secrets, several times.
pub const OFFICE_WAITING: usize = 4096;
/// Vouchers that are kept for one content.
pub const VOUCHERS: usize = 4;
/// What two nodes may say at the door of an office, bytes: two certificates.
pub const CHAIN_BYTES: usize = 2 * CERTIFICATE_BYTES + 16;
/// What a newcomer is handed, bytes: lists of many registrars.
pub const WELCOME_BYTES: usize = MIB;
/// How long a node at the door of an office may take, both ways.
pub const DOOR_TIMEOUT: Duration = Duration::from_secs(10);
/// Invitations of one registrar that are open.
pub const INVITES: usize = 1000;
/// How long an invitation may be open.
pub const INVITE_SECS: u64 = 365 * 24 * 3600;
/// Ids in a voucher.
pub const VOUCHER_IDS: usize = 4;
/// Members that a voucher names.
pub const VOUCHER_MEMBERS: usize = 1000;
/// A voucher, bytes: it travels in a control frame.
pub const VOUCHER_BYTES: usize = 256 + 32 * (VOUCHER_IDS + VOUCHER_MEMBERS);
/// Members a node of an office keeps sessions with, whatever it fetches: what one says reaches all.
pub const OFFICE_CONTACTS: usize = 4;
/// Members that are told of when somebody asks who is called something.
pub const OFFICE_CALLED: usize = 4;
/// Members that are known to lack the newest secret, at once.
pub const OFFICE_BEHIND: usize = 1024;
/// Offices of one node.
pub const OFFICES: usize = 16;
/// Members that are remembered by name.
pub const OFFICE_MEMBERS: usize = 20_000;
/// Addresses in an announcement on the local network.
pub const BEACON_ADDRS: usize = 8;
/// Announcements of an office that are looked at in a second.
pub const BEACONS_PER_SECOND: u32 = 1000;
/// Announcements that are remembered, so that none is answered twice.
pub const BEACONS_SEEN: usize = 16_384;
/// An announcement that asks is answered if it is no older, and no further ahead.
pub const BEACON_FRESH: Duration = Duration::from_secs(120);
/// Addresses in an invitation.
pub const INVITE_ADDRS: usize = 4;
/// One of them, bytes.
pub const INVITE_ADDR_BYTES: usize = 64;
/// An invitation as text, bytes.
pub const INVITE_BYTES: usize = 512;

/// Contents that `swarm status` names at most.
pub const STATUS_SHARED: usize = 100;

// ---- wire ---------------------------------------------------------------------------------------------------------

/// A control frame, bytes; checked before anything is allocated for it.
pub const CONTROL_FRAME: usize = 64 * KIB;
/// The payload of a data frame, bytes: small enough that answers interleave and a cancel takes effect at once.
pub const DATA_FRAME: usize = 64 * KIB;
/// The same on a slow link, where a control message may come right behind one.
pub const DATA_FRAME_SLOW: usize = 16 * KIB;
/// Bytes the kernel takes of a TCP connection beyond what it has sent: least and most.
pub const UNSENT_BYTES: Range<u32> = 32 << 10..4 << 20;
/// Blobs one peer may have open in a session. Whoever wants more takes turns: see `node/transfers/wants`.
pub const SESSION_BLOBS: usize = 256;
/// Runs of chunks a have-message spells out before a bitmap (at most 4 KiB) is shorter.
pub const HAVE_RUNS: usize = 512;
/// The name of a site, bytes.
pub const SITE_BYTES: usize = 64;
/// Addresses in one peer-exchange message.
pub const EXCHANGE_PEERS: usize = 20;
/// Peers remembered across restarts.
pub const REMEMBERED_PEERS: usize = 64;
/// Contents looked for at once on behalf of others.
pub const SEEKS: usize = 32;
/// The same on behalf of one of them.
pub const SEEKS_PER_PEER: usize = 8;
/// Addresses told of one peer.
pub const PEER_ADDRS: usize = 8;
/// One address as text or binary, bytes.
pub const ADDR_BYTES: usize = 256;
/// Frames of data nobody asked for (or that do not fit what was asked) before the connection is closed.
pub const STRAY_FRAMES: u32 = 3;

// ---- transfer -----------------------------------------------------------------------------------------------------

/// What the windows of all TCP connections may grow together beyond their first size, so that no crowd of peers that
/// send to a slow reader fills the memory.
pub const WINDOW_GROWTH: u32 = 64 << 20;
/// Blobs that one peer begins for us at a time: of more, the lists would wait for each other.
pub const BEGINNINGS: usize = 16;
/// Bytes of chunks that a holder sends of a blob that it begins, before it is asked for them: as many as a connection
/// carries in its first round trips, while the list is read and the first requests come back.
pub const PUSH_BYTES: u64 = 256 << 10;
/// All that can be under way of a blob that is begun, bytes: the list, the pushed chunks, and one long chunk.
pub const BEGINNING_BYTES: usize = HASH_LIST_BYTES + PUSH_BYTES as usize + CHUNK_MAX as usize;
/// A beginning that has led to nothing after so long is over: its stream is not kept waiting.
pub const BEGINNING: Duration = Duration::from_secs(2);
/// Data streams of one session, each on a connection of its own. Four connections of 4 MiB, the most that Linux
/// buffers for one, carry 500 Mbit/s over 150 ms and more; web browsers open six.
pub const DATA_STREAMS: usize = 4;
/// Data streams that a session may have had in its life: they come and go.
pub const DATA_STREAMS_EVER: usize = 64;
/// Requests outstanding at one peer: [`REQUEST_BYTES_PER_PEER`] of the smallest chunks.
pub const REQUESTS_PER_PEER: usize = 512;
/// Bytes outstanding at one peer; one request is allowed whatever its size. 32 MiB carry 1.7 Gbit/s over 150 ms.
pub const REQUEST_BYTES_PER_PEER: u64 = 32 << 20;
/// Bytes asked for and not yet verified, over all peers of a node: bounds what is held in memory.
pub const IN_FLIGHT_BYTES: u64 = 64 << 20;
/// Chunks being sent to others at once: fewer leave the uplink idle behind a slow receiver, more spread it over chunks that
/// nobody can pass on yet (measured in the simulator).
pub const UPLOAD_SLOTS: u64 = 4;
/// The same for a node with first copies.
pub const SEED_SLOTS: u64 = 6;
/// Bytes granted or asked of us at once at most, unless the slots' chunks are larger.
pub const GIVE_BYTES: u64 = 32 << 20;
/// Bytes per second that a path is taken for before its rate is measured: what is under way at first is this times the
/// round trip. TCP's slow start needs eight round trips until it carries more.
pub const START_RATE: u64 = 50_000_000;
/// A taker that declined because it is busy is offered something again after this at the latest.
pub const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// Beyond the turnaround, a grant may wait this long for its answer.
pub const GRANT_PATIENCE: Duration = Duration::from_millis(50);
/// And this long the first copy it is for is kept for that answer.
pub const PROMISE_PATIENCE: Duration = Duration::from_secs(1);
/// Grants of one taker that were not answered in time and may still be used: what a crowd that hoards them could ask for at
/// once.
pub const LATE_GRANTS: u64 = 16;
/// A chunk known to be at fewer neighbours than this is assigned by its seed.
pub const SCARCE_COPIES: usize = 3;
/// A seed gives chunks that are not scarce while what it sends is more than one in so many of those that its neighbours take:
/// below that it would save them little time, and cost its publisher many bytes.
pub const SEED_SHARE: u64 = 5;
/// Nor does it rest when it hears of nothing taken for so long, nor for a taker that came to have nothing for so long.
pub const SEED_REST: Duration = Duration::from_secs(2);
/// Chunks a node may be owed at once, whatever its speed.
pub const TAKE_CHUNKS: u64 = 12;
/// A fast node may be owed what it takes in this time.
pub const TAKE_AHEAD: Duration = Duration::from_millis(10);
/// Nodes of a site that fetch across its border: two cannot always keep the line busy, more than four gain nothing.
pub const GATEWAYS: usize = 4;
/// A gateway makes itself known this often.
pub const GATEWAY_BEAT: Duration = Duration::from_millis(500);
/// A gateway not heard of for this long is one no longer.
pub const GATEWAY_SILENCE: Duration = Duration::from_millis(2500);
/// A node that joins a site listens this long before it takes itself for a gateway.
pub const GATEWAY_SETTLE: Duration = Duration::from_millis(250);
/// With nothing of its own left to import, a gateway helps another after this.
pub const IMPORT_PATIENCE: Duration = Duration::from_millis(700);
/// Without any progress for this long a node imports for itself; later by what the gateways' chunks may take on a thin line,
/// and by as long again for each neighbour that the lot lets go first...
pub const IMPORT_DESPAIR: Duration = Duration::from_secs(5);
/// ...but not by more than this.
pub const IMPORT_DESPAIR_MORE: Duration = Duration::from_secs(60);
/// It then does so this long.
pub const IMPORT_ALONE: Duration = Duration::from_secs(30);
/// The thinnest line whose chunks are waited for, bytes per second.
pub const THIN_LINE: u64 = 125_000;
/// Chunks the gateways of a site may be owed together by each other site: what waits at a line is late for all...
pub const IMPORT_CHUNKS: u64 = 16;
/// ...by so many at most. Of few requests to many lines most come to wait at the same one: five sites that exchange fill theirs
/// to 87 % with 16 in all, to 97 % with 64.
pub const IMPORT_SITES: usize = 4;
/// Somebody who reads along has what arrives in this time asked for ahead of the first missing chunk...
pub const READ_AHEAD: Duration = Duration::from_secs(4);
/// ...and at least so many chunks.
pub const READ_CHUNKS: u32 = 16;
/// Readers tell each other news at least this often.
pub const READ_NEWS: Duration = Duration::from_millis(40);
/// Grants kept until there is room for what they allow.
pub const HELD_GRANTS: usize = 64;
/// Bytes an unproven peer is asked for at first: a few small chunks, so that a slow one cannot hoard.
pub const FIRST_WINDOW: u64 = 1 << 20;
/// Bytes asked for in one run of neighbouring chunks.
pub const RUN_BYTES: u64 = 1 << 20;
/// A request without any byte of answer for this long goes to another holder.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// The session of a peer that asked for chunks and reads nothing of them for this long ends. It holds no place of the uplink long before
/// (the scheduler passes it over), but its session's memory.
pub const SEND_PATIENCE: Duration = Duration::from_secs(300);
/// No copy of a chunk is asked of a second holder before this: shields against hedging on a hiccup.
pub const HEDGE_AFTER: Duration = Duration::from_millis(150);
/// Holders one chunk may be asked of at once.
pub const COPIES: usize = 2;
/// Bytes that hedging may waste, as a share of the blob (per mille), and at least [`HEDGE_BYTES_MIN`].
pub const HEDGE_PER_MILLE: u64 = 20;
/// Hedging never gets less than this, bytes: small blobs have last chunks too.
pub const HEDGE_BYTES_MIN: u64 = 4 << 20;
/// News for the neighbours are told together: whenever about this many bytes have come in...
pub const NEWS_BYTES: u64 = 512 << 10;
/// ...but not more often than this,
pub const NEWS_EVERY_MIN: Duration = Duration::from_millis(5);
/// and not less often than this while there are any.
pub const NEWS_EVERY_MAX: Duration = Duration::from_millis(250);
/// The scheduler is woken at least this often while something is wanted.
pub const TICK: Duration = Duration::from_millis(100);
/// And not more often than this.
pub const TICK_MIN: Duration = Duration::from_millis(1);
/// Claims of peers about blobs that are being learned (length, hash list) before one is tried in full.
pub const CLAIMS: usize = 64;

/// Rules of a timetable.
pub const TIMETABLE_RULES: usize = 64;
/// Seconds of a day.
pub const DAY: u32 = 86_400;

// ---- connections --------------------------------------------------------------------------------------------------

/// From the first byte of a connection to the end of its handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// From a connection to both its streams, and from a session that we dialled to the peer's first words.
pub const STREAM_TIMEOUT: Duration = Duration::from_secs(10);
/// Inbound connections in their handshake.
pub const PENDING_INBOUND: usize = 64;
/// The same from one address of a network: whoever opens connections and says nothing keeps nobody else out.
pub const PENDING_PER_HOST: usize = 32;
/// Inbound connections, established.
pub const INBOUND: usize = 128;
/// Outbound connections, pending and established: inbound ones can never take these places.
pub const OUTBOUND: usize = 64;
/// Connections in all.
pub const CONNECTIONS: usize = 200;
/// Connections with one peer: two that dial each other at once, and those of further data streams.
pub const PER_PEER: usize = 1 + DATA_STREAMS;
/// Inbound connections from one public address.
pub const PER_PUBLIC_IP: usize = 8;
/// Inbound connections from one /24 or /64.
pub const PER_SUBNET: usize = 64;
/// Inbound connections from private and link-local addresses together.
pub const LAN_INBOUND: usize = 128;
/// Inbound connections from one private address (loopback has no such limit: many nodes of one machine are normal).
pub const PER_LAN_HOST: usize = 8;
/// Refused extra substreams before their connection is closed.
pub const EXTRA_STREAMS: usize = 64;
/// Notices for `status` remembered.
pub const NOTICES: usize = 16;
/// Bans remembered, least recently used go first.
pub const BANS: usize = 10_000;
/// Bans of this node by others that are remembered; the earliest to end go first.
pub const BANNED_BY: usize = 256;
/// Banned ids of one address of the internet until the address is banned.
pub const BANNED_IDS_PER_IP: usize = 5;
/// The first ban of a peer that delivered a bad chunk.
pub const BAN_FIRST: Duration = Duration::from_secs(600);
/// The third ban within a day.
pub const BAN_REPEATED: Duration = Duration::from_secs(24 * 3600);
/// New addresses dialled per [`DIAL_WINDOW`] because one peer named them.
pub const DIALS_PER_SOURCE: usize = 20;
/// See [`DIALS_PER_SOURCE`].
pub const DIAL_WINDOW: Duration = Duration::from_secs(10);
/// Dials to one address per [`DIAL_IP_WINDOW`] when none led to a handshake.
pub const DIALS_PER_ADDR: usize = 2;
/// See [`DIALS_PER_ADDR`].
pub const DIAL_IP_WINDOW: Duration = Duration::from_secs(600);
/// Addresses waiting to be dialled.
pub const DIAL_QUEUE: usize = 256;
/// Peers a wanting node keeps connected for one blob before it stops looking for more.
pub const NEIGHBOURS: usize = 20;
/// A session without a frame in either direction is probed after this.
pub const PING_EVERY: Duration = Duration::from_secs(5);
/// A session whose probe stays without any answer is closed after this.
pub const SESSION_SILENCE: Duration = Duration::from_secs(20);

/// Changes to a node's set of swarms in one message to a tracker: 33 bytes each, so that all fit a frame.
pub const ANNOUNCE_CHANGES: usize = 1800;
/// Swarms of which members are asked for in one message to a tracker: the answer must fit a frame.
pub const ANNOUNCE_ASKS: usize = 8;
/// Members of one swarm in a tracker's answer.
pub const ANSWER_PEERS: usize = 64;
/// A reason in words, bytes.
pub const REASON_BYTES: usize = 256;
/// Trackers a node is given.
pub const TRACKERS: usize = 32;
/// Trackers a link names.
pub const LINK_TRACKERS: usize = 4;
/// Web seeds a link names.
pub const LINK_WEBSEEDS: usize = 4;
/// Web seeds of all that is being fetched.
pub const WEBSEEDS: usize = 64;
/// Trackers known from links, over all that is being fetched.
pub const LINKED_TRACKERS: usize = 16;
/// Of several trackers so many are told of each content: one may be gone.
pub const TRACKER_COPIES: usize = 2;
/// From an announcement to its answer, the connection included.
pub const TRACKER_TIMEOUT: Duration = Duration::from_secs(15);
/// A connection with a tracker over which nothing was said for so long is closed by the node
pub const TRACKER_IDLE: Duration = Duration::from_secs(30);
/// The same when nothing is wanted: places at a tracker are for those who ask.
pub const TRACKER_IDLE_QUIET: Duration = Duration::from_secs(3);
/// And after this by the tracker.
pub const TRACKER_SILENCE: Duration = Duration::from_secs(90);
/// Nodes that one relay lets be reached.
pub const RESERVATIONS: usize = 4096;
/// Connections through one relay at once.
pub const CIRCUITS: usize = 256;
/// The same of one peer.
pub const CIRCUITS_PER_PEER: usize = 16;
/// Bytes through a circuit: two nodes find a direct way with far less.
pub const CIRCUIT_BYTES: u64 = 128 << 10;
/// How long such a circuit lives.
pub const CIRCUIT: Duration = Duration::from_secs(120);
/// How long one lives that may carry content.
pub const CONTENT_CIRCUIT: Duration = Duration::from_secs(3600);
/// Addresses of ours that others are asked to test.
pub const TESTED_ADDRS: usize = 16;
/// Relays through which a node lets itself be reached.
pub const RELAYS: usize = 2;
/// A direct way around a relay must be found within this, or both begin anew.
pub const PUNCH_WITHIN: Duration = Duration::from_secs(12);
/// Addresses tried in one attempt to get through address translation.
pub const PUNCH_ADDRS: usize = 20;
/// Connections in their handshake at a tracker: an office that starts work comes all at once.
pub const TRACKER_PENDING: usize = 512;
/// Addresses are told of at most this long in a tracker's memory, bytes: relayed ones have two ids in them.
pub const TRACKED_ADDR_BYTES: usize = 128;

/// Records a server of the DHT keeps: some 300 bytes each.
pub const DHT_RECORDS: usize = 16_384;
/// Records of one key, and the holders of an answer.
pub const DHT_PROVIDERS: usize = 20;
/// Addresses of a holder that are kept, and told.
pub const DHT_HOLDER_ADDRS: usize = 6;
/// A message of the DHT, bytes: an answer has the holders and as many servers.
pub const DHT_MESSAGE: usize = 64 * KIB;
/// How long a record lives...
pub const DHT_EXPIRES: Duration = Duration::from_secs(48 * 3600);
/// ...and when whoever told tells again, at the latest.
pub const DHT_RENEW: Duration = Duration::from_secs(22 * 3600);
/// Servers of the DHT remembered, and given.
pub const DHT_NODES: usize = 64;
/// Addresses of one server that are tried.
pub const DHT_ADDRS: usize = 4;
/// Holders that one search names at most; of one answer [`DHT_PROVIDERS`].
pub const DHT_NAMED: usize = 512;
/// Servers that strangers named are called so often in a minute at one address of a network.
pub const DHT_CALLS_PER_HOST: usize = 32;
/// Ways that a search goes side by side without meeting (S/Kademlia, Baumgart and Mies 2007).
pub const DHT_PATHS: usize = 4;
/// How long a search may take.
pub const DHT_QUERY: Duration = Duration::from_secs(30);
/// After this whoever has been found near a key is told, though others might be nearer.
pub const DHT_TELL: Duration = Duration::from_secs(15);
/// Relays known in all up to which those are used that holders found in the DHT name.
pub const DHT_RELAYS: usize = 4;
/// Servers of the DHT that a link names.
pub const LINK_DHT: usize = 2;

// ---- store --------------------------------------------------------------------------------------------------------

/// Verified bytes written before they and then the have-map are flushed. A crash costs them and what is written while they are
/// flushed: 16 MiB in all, or what [`FLUSH_EVERY`] allows.
pub const FLUSH_BYTES: u64 = 8 << 20;
/// See [`FLUSH_BYTES`].
pub const FLUSH_EVERY: Duration = Duration::from_secs(2);
/// Bytes that may wait for a slow flush before the writer waits for it.
pub const UNFLUSHED_BYTES: u64 = 64 << 20;
/// Verified chunks waiting for the thread that writes them.
pub const WRITE_QUEUE: usize = 4;
/// Free space left alone, bytes.
pub const DISK_RESERVE: u64 = 64 << 20;
/// While the disk is full, the write is tried again this often.
pub const DISK_FULL_RETRY: Duration = Duration::from_secs(5);
/// Files of a directory held open at once while its chunks are read or written.
pub const OPEN_FILES: usize = 64;
/// Folders of which it is remembered what of one directory was put there: a person has it at a few places.
pub const LAID_FOLDERS: usize = 16;
/// Files in which the bytes of one file are looked for before a peer is asked: each costs a read and a hash.
pub const SOURCES: usize = 4;
/// Directories of the store whose manifests are read for that: each may be 8 MiB.
pub const SOURCE_TREES: usize = 64;
/// Chunks that are put together from such files at a time.
pub const SOURCE_CHUNKS: usize = 16;

// ---- control ------------------------------------------------------------------------------------------------------

/// A line on the control socket, bytes.
pub const CONTROL_LINE: usize = 256 * KIB;
/// Commands that wait for holders at one node: a thousand downloads and room for as many more. Each costs a
/// connection and a task, some 20 KiB.
pub const CONTROL_WAITING: usize = 2000;
/// Commands that are answered without waiting for holders, at once: many more than people type, and fewer
/// than there are threads for what blocks.
pub const CONTROL_ANSWERING: usize = 256;
/// Clients that have not said what they want; the oldest gives way to a new one, and a real one says it at
/// once.
pub const CONTROL_OPENING: usize = 64;
/// The time that a client of the control socket has to say what it wants.
pub const CONTROL_OPENING_TIME: Duration = Duration::from_secs(10);
/// A node that works on a command and has nothing else to say says that it lives this often.
pub const CONTROL_BEAT: Duration = Duration::from_secs(1);
/// A node that has said nothing for so long does not answer, if the system says that it is stopped or waits
/// for its disk.
pub const CONTROL_SILENCE: Duration = Duration::from_secs(4);
/// A node that has said nothing for so long does not answer, whatever the system says of it: before that, a
/// machine may have much else to do.
pub const CONTROL_SILENCE_BUSY: Duration = Duration::from_secs(15);
/// Contents that one command has shared.
pub const SHARED_BY_COMMAND: usize = 1000;
/// Events waiting for one client; a slower one loses progress events, never the last one.
pub const EVENT_QUEUE: usize = 256;
/// Commands waiting for the node.
pub const COMMAND_QUEUE: usize = 64;
/// Events of peer sessions waiting for the node.
pub const SESSION_QUEUE: usize = 1024;
/// Control frames waiting to be written to one peer; a peer that does not read them is dropped.
pub const OUTBOX: usize = 1024;

// ---- web seeds ----------------------------------------------------------------------------------------------------

/// The address of a web seed in a link, bytes.
pub const WEBSEED_URL_BYTES: usize = 1024;
/// The address a web server redirects to, bytes: signed ones of large storage services are longer than any in a link.
pub const WEBSEED_REDIRECT_BYTES: usize = 8 * KIB;
/// Redirects followed for one range.
pub const WEBSEED_REDIRECTS: usize = 3;
/// Addresses of one name tried at most.
pub const WEBSEED_ADDRS: usize = 8;
/// The next address of a name is tried beside the last one after this: a broken IPv6 must not cost a whole patience.
pub const NEXT_ADDR: Duration = Duration::from_millis(250);
/// From a name to a connection, TLS included.
pub const WEBSEED_CONNECT: Duration = Duration::from_secs(10);
/// From a request to the head of its answer.
pub const WEBSEED_FIRST_BYTE: Duration = Duration::from_secs(15);
/// An answer of which nothing more has come for so long is given up.
pub const WEBSEED_PROGRESS: Duration = Duration::from_secs(20);
/// The head of an answer, bytes.
pub const WEBSEED_HEAD_BYTES: usize = 64 * KIB;
/// A server that asks for patience is believed so far.
pub const WEBSEED_WAIT: Duration = Duration::from_secs(300);
/// Connections with one web seed kept for later ranges.
pub const WEBSEED_IDLE: usize = 2;
/// One that was idle for longer is not used again: servers close them after about a minute, and address translation
/// forgets them without a word.
pub const WEBSEED_IDLE_FOR: Duration = Duration::from_secs(30);
