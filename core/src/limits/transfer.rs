//! Bounds of transfers: streams, requests, grants, gateways and hedging.

use std::time::Duration;

use super::{CHUNK_MAX, HASH_LIST_BYTES};

/// Bytes by which the receive windows of all TCP connections together may grow beyond their first size, so
/// that many peers sending to a slow reader do not fill the memory.
pub const WINDOW_GROWTH: u32 = 64 << 20;
/// Blobs that one peer begins for us at a time: with more, their hash lists would wait for each other.
pub const BEGINNINGS: usize = 16;
/// Bytes of chunks that a holder sends of a blob it begins before it is asked for them: as many as a
/// connection carries in its first round trips, while the hash list is read and the first requests come back.
pub const PUSH_BYTES: u64 = 256 << 10;
/// Most bytes under way for a blob that begins: the hash list, the pushed chunks, and one long chunk.
pub const BEGINNING_BYTES: usize = HASH_LIST_BYTES + PUSH_BYTES as usize + CHUNK_MAX as usize;
/// Time after which a beginning that has led to nothing is over: its stream is not kept waiting.
pub const BEGINNING: Duration = Duration::from_secs(2);
/// Data streams of one session, each on a connection of its own. Four connections of 4 MiB, the most that
/// Linux buffers for one, carry 500 Mbit/s over 150 ms and more; web browsers open six.
pub const DATA_STREAMS: usize = 4;
/// Data streams that a session may open over its whole life: streams come and go.
pub const DATA_STREAMS_EVER: usize = 64;
/// Requests outstanding at one peer: [`REQUEST_BYTES_PER_PEER`] of the smallest chunks.
pub const REQUESTS_PER_PEER: usize = 512;
/// Bytes outstanding at one peer; one request is allowed whatever its size. 32 MiB carry 1.7 Gbit/s over 150
/// ms.
pub const REQUEST_BYTES_PER_PEER: u64 = 32 << 20;
/// Bytes requested and not yet verified, over all peers of a node: bounds the memory that holds them.
pub const IN_FLIGHT_BYTES: u64 = 64 << 20;
/// Chunks sent to others at once. Fewer leave the uplink idle behind a slow receiver; more spread it over
/// chunks that nobody can pass on yet (measured in the simulator).
pub const UPLOAD_SLOTS: u64 = 4;
/// Chunks sent to others at once by a node with first copies.
pub const SEED_SLOTS: u64 = 6;
/// Bytes granted to others or requested of this node at once, unless the slots' chunks are larger.
pub const GIVE_BYTES: u64 = 32 << 20;
/// Rate, in bytes per second, assumed of a path before it is measured: this times the round trip is under way
/// at first. TCP's slow start needs eight round trips until it carries more.
pub const START_RATE: u64 = 50_000_000;
/// Units of work that the messages of one peer may cause in a second, and at once. Nearly all honest sessions
/// need fewer than a thousand. Eight floods of this size leave a node most of a processor.
pub const MESSAGE_WORK: u32 = 8000;
/// Bytes of chunks that earn one more unit of [`MESSAGE_WORK`]: a chunk of the smallest size earns as many
/// units as its request, a refusal and its part of the news cost.
pub const MESSAGE_WORK_BYTES: u64 = 16 << 10;
/// Longest pause before a downloader that declined because it was busy is offered something again.
pub const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// Time beyond the turnaround that a grant waits for its answer.
pub const GRANT_PATIENCE: Duration = Duration::from_millis(50);
/// Time beyond [`GRANT_PATIENCE`] for which the first copy that a grant is for is kept for the answer.
pub const PROMISE_PATIENCE: Duration = Duration::from_secs(1);
/// Grants of one downloader that were not answered in time and whose promises are kept. Of earlier ones only
/// the number is kept.
pub const LATE_GRANTS: u64 = 16;
/// Known copies among neighbours below which a chunk is scarce and assigned by its seeder.
pub const SCARCE_COPIES: usize = 3;
/// Share of a seeder's chunks: it sends chunks that are not scarce while its sending is more than one in this
/// many of the chunks that its neighbours receive. Below that it would save them little time, and cost its
/// publisher many bytes.
pub const SEED_SHARE: u64 = 5;
/// Silence about received chunks after which a seeder stops resting. It also does not rest for a downloader
/// that has gained no chunk for this long.
pub const SEED_REST: Duration = Duration::from_secs(2);
/// Chunks that a node may be owed at once, whatever its speed.
pub const TAKE_CHUNKS: u64 = 12;
/// Time in which a fast node could receive the chunks it is owed.
pub const TAKE_AHEAD: Duration = Duration::from_millis(10);
/// Nodes of a site that fetch across its border. Two cannot always keep the line busy; more than four gain
/// nothing.
pub const GATEWAYS: usize = 4;
/// Interval at which a gateway announces itself.
pub const GATEWAY_BEAT: Duration = Duration::from_millis(500);
/// Silence after which a gateway no longer counts as one.
pub const GATEWAY_SILENCE: Duration = Duration::from_millis(2500);
/// Time for which a node that joins a site listens before it considers itself a gateway.
pub const GATEWAY_SETTLE: Duration = Duration::from_millis(250);
/// Time after which a gateway with nothing of its own left to import helps another one.
pub const IMPORT_PATIENCE: Duration = Duration::from_millis(700);
/// Time without any progress after which a node imports for itself. Added to it are the time that the
/// gateways' chunks may take on a thin line, and the same time again for each neighbour that the lot lets go
/// first.
pub const IMPORT_DESPAIR: Duration = Duration::from_secs(5);
/// Longest addition to [`IMPORT_DESPAIR`].
pub const IMPORT_DESPAIR_MORE: Duration = Duration::from_secs(60);
/// Time for which a node then imports for itself.
pub const IMPORT_ALONE: Duration = Duration::from_secs(30);
/// Thinnest line whose chunks are waited for, in bytes per second.
pub const THIN_LINE: u64 = 125_000;
/// Chunks that each other site may owe the gateways of a site together: chunks that wait at a line are late
/// for all.
pub const IMPORT_CHUNKS: u64 = 16;
/// Factor by which [`IMPORT_CHUNKS`] grows at most with the number of sites. With few requests to many lines,
/// most come to wait at one line: five sites that exchange fill theirs to 87 % with 16 in all, to 97 % with
/// 64.
pub const IMPORT_SITES: usize = 4;
/// Time whose arrivals are requested ahead of the first missing chunk while somebody reads along.
pub const READ_AHEAD: Duration = Duration::from_secs(4);
/// Fewest chunks requested ahead for a reader.
pub const READ_CHUNKS: u32 = 16;
/// Longest interval between news that readers tell each other.
pub const READ_NEWS: Duration = Duration::from_millis(40);
/// Grants kept until there is room for the chunks they allow.
pub const HELD_GRANTS: usize = 64;
/// Bytes requested at first of an unproven peer: a few small chunks, so that a slow one cannot hoard.
pub const FIRST_WINDOW: u64 = 1 << 20;
/// Bytes requested in one run of neighbouring chunks.
pub const RUN_BYTES: u64 = 1 << 20;
/// Time without any byte of an answer after which a request goes to another holder.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Time for which a peer that requested chunks may read none of them before its session ends. The scheduler
/// passes it over long before, so it holds no place of the uplink, but its session takes memory.
pub const SEND_PATIENCE: Duration = Duration::from_secs(300);
/// Earliest time at which a second holder is asked for a chunk: hedging does not start on a hiccup.
pub const HEDGE_AFTER: Duration = Duration::from_millis(150);
/// Holders that one chunk may be requested of at once.
pub const COPIES: usize = 2;
/// Bytes that hedging may waste, per mille of the blob; at least [`HEDGE_BYTES_MIN`].
pub const HEDGE_PER_MILLE: u64 = 20;
/// Fewest bytes that hedging may waste: small blobs have last chunks too.
pub const HEDGE_BYTES_MIN: u64 = 4 << 20;
/// Bytes received after which the neighbours are told of new chunks, all in one message.
pub const NEWS_BYTES: u64 = 512 << 10;
/// Shortest interval between messages about new chunks.
pub const NEWS_EVERY_MIN: Duration = Duration::from_millis(5);
/// Longest interval between messages about new chunks while there are any.
pub const NEWS_EVERY_MAX: Duration = Duration::from_millis(250);
/// Longest interval between runs of the scheduler while something is wanted.
pub const TICK: Duration = Duration::from_millis(100);
/// Shortest interval between runs of the scheduler.
pub const TICK_MIN: Duration = Duration::from_millis(1);
/// Claims of peers about blobs whose length or hash list is being learned, before one is tried in full.
pub const CLAIMS: usize = 64;
