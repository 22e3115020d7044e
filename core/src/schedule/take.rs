//! The taking side: which chunk to request when a holder has a place for this node, and the end of a request.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::endgame::smooth;
use super::holders::{Holder, under_way};
use super::uplink::START_TRIPS;
use super::{BlobKey, Now, Output, PeerBlob, PeerKey, Scheduler};
use crate::content::bitmap::Bitmap;
use crate::limits;

/// The chunks that the whole node takes.
#[derive(Debug)]
pub(super) struct Taking {
    /// The smoothed rate in bytes per second.
    rate: u64,
    meter: (Now, u64),
    /// The highest rate of this and of the last few measurements, and the number of measurements until it is
    /// forgotten.
    peak: (u64, u32),
    /// The time of the first request after a long time without one, and that of the last bytes.
    began: Option<Now>,
    latest: Now,
    /// The smoothed time from a request to its verified chunk, for this node's site and for all others.
    /// Chunks wait at a thin line between sites.
    service: [Duration; 2],
    /// Grants from outside the site that wait for room: the site's line is thin, and a grant takes long to
    /// come.
    held: VecDeque<(PeerKey, BlobKey, u32)>,
}

/// The reason why a grant is not used now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unused {
    /// Enough chunks are owed for now.
    Busy,
    /// The holder has no chunk that is needed.
    NoNeed,
    /// The grant is used as soon as there is room.
    Hold,
}

/// The least time over which the rate is measured.
const METER: Duration = Duration::from_millis(100);
/// The number of measurements for which a peak of the rate counts.
const PEAK_FOR: u32 = 10;
/// A pause after which earlier measurements no longer count.
const FRESH_AFTER: Duration = Duration::from_secs(10);
/// A pause that is not part of a measurement, if nothing was requested in it.
const PAUSE: Duration = Duration::from_secs(1);

impl Taking {
    pub(super) fn new() -> Self {
        let meter = (Duration::ZERO, 0);
        let (service, held) = ([Duration::ZERO; 2], VecDeque::new());
        Self { rate: 0, meter, peak: (0, 0), began: None, latest: Duration::ZERO, service, held }
    }

    /// Records a request, made while so many bytes are `owed`.
    pub(super) fn asks(&mut self, owed: u64, now: Now) {
        let idle = now.saturating_sub(self.latest);
        if owed > 0 {
            return;
        }
        if self.began.is_none() || idle >= FRESH_AFTER {
            (self.began, self.latest, self.peak) = (Some(now), now, (0, 0));
            self.meter = (now, 0);
        } else if idle >= PAUSE {
            self.meter = (now, 0);
        }
    }

    /// Keeps a grant until there is room. Returns the grants that are not kept, which must be declined,
    /// because each grant is answered, in order.
    fn hold(&mut self, peer: PeerKey, blob: BlobKey, mut count: u32) -> Vec<(PeerKey, BlobKey, u32)> {
        let mut declined = Vec::new();
        if let Some(at) = self.held.iter().position(|(p, b, _)| (*p, *b) == (peer, blob)) {
            count += self.held.remove(at).map_or(0, |(.., before)| before);
        }
        let kept = count.min(limits::LATE_GRANTS as u32);
        if kept < count {
            declined.push((peer, blob, count - kept));
        }
        if self.held.len() >= limits::HELD_GRANTS {
            declined.extend(self.held.pop_back());
        }
        self.held.push_back((peer, blob, kept));
        declined
    }

    pub(super) const fn service(&self, local: bool) -> Duration {
        self.service[if local { 0 } else { 1 }]
    }

    /// Returns the smoothed rate in bytes per second.
    pub(super) const fn rate(&self) -> u64 {
        self.rate
    }

    /// Returns the interval at which neighbours are told news: the time in which about [`limits::NEWS_BYTES`]
    /// arrive.
    pub(super) fn news_every(&self) -> Duration {
        let micros = limits::NEWS_BYTES * 1_000_000 / self.rate.max(1);
        Duration::from_micros(micros).clamp(limits::NEWS_EVERY_MIN, limits::NEWS_EVERY_MAX)
    }

    pub(super) fn received(&mut self, bytes: u64, now: Now) {
        self.latest = now;
        self.meter.1 += bytes;
        let elapsed = now.saturating_sub(self.meter.0);
        if elapsed >= METER {
            let sample = (u128::from(self.meter.1) * 1_000_000 / elapsed.as_micros()) as u64;
            self.rate = if self.rate == 0 { sample } else { (self.rate * 7 + sample) / 8 };
            self.peak = match self.peak {
                (peak, left) if left > 0 && sample < peak => (peak, left - 1),
                _ => (sample, PEAK_FOR),
            };
            self.meter = (now, 0);
        }
    }

    /// Returns the bytes that may be under way at once, for chunks of `size` bytes, when more is requested
    /// from a holder at this `distance` (a round trip): a few chunks, and twice what arrives during a round
    /// trip. So the window grows as long as that makes the rate grow, as BBR's does (Cardwell et al. 2016). A
    /// `first_copy` doubles the few chunks. While connections grow from nothing, measurements lag behind, and
    /// a start is added.
    fn window(&self, size: u64, first_copy: bool, distance: Duration) -> u64 {
        let chunks = if first_copy { 2 * limits::TAKE_CHUNKS } else { limits::TAKE_CHUNKS };
        let start = under_way(limits::START_RATE, distance);
        let grows = self.latest.saturating_sub(self.began.unwrap_or(self.latest)) < distance * START_TRIPS;
        let start = if self.peak.0 == 0 || grows { start } else { 0 };
        let ahead =
            under_way(self.rate, limits::TAKE_AHEAD) + under_way(self.peak.0, distance * 2).max(start);
        (chunks * size + ahead).max(2 * limits::FIRST_WINDOW)
    }
}

impl Scheduler {
    /// Handles a holder's grant.
    pub(super) fn granted(
        &mut self,
        peer: PeerKey,
        blob: BlobKey,
        count: u32,
        mut hint: Option<u32>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        for used in 0..count {
            let taken = self.take(peer, blob, hint, now);
            // A grant of a blob that is not needed does not count as an offer.
            if taken != Err(Unused::NoNeed)
                && let Some(holder) = self.peers.get_mut(&peer)
            {
                holder.offered(now);
            }
            match taken {
                Err(Unused::Hold) => {
                    for (peer, blob, count) in self.taking.hold(peer, blob, count - used) {
                        out.push(Output::Refuse { peer, blob, count, busy: true });
                    }
                    break;
                }
                Ok((chunk, size)) => {
                    self.taking.asks(self.inflight.bytes_total(), now);
                    self.inflight.add(peer, blob, chunk, size, now);
                    if let Some(holder) = self.peers.get_mut(&peer) {
                        holder.asked(size, now);
                    }
                    if let Some(b) = self.blobs.get_mut(&blob) {
                        b.asked_of(peer, chunk);
                    }
                    out.push(Output::Request { peer, blob, chunk });
                    // A larger grant goes on from this chunk, because neighbouring chunks are written
                    // together. A reader has an order of its own.
                    let reads = self.blobs.get(&blob).is_some_and(|b| b.reading.is_some());
                    hint = (!reads).then_some(chunk + 1);
                }
                Err(unused) => {
                    let busy = unused == Unused::Busy;
                    if !busy && let Some(b) = self.blobs.get_mut(&blob) {
                        b.tell(peer, blob, out);
                    }
                    out.push(Output::Refuse { peer, blob, count: count - used, busy });
                    break;
                }
            }
        }
        self.tell_due(blob, now, out);
    }

    /// Uses grants that wait for room, as far as there is any.
    fn use_held(&mut self, now: Now, out: &mut Vec<Output>) {
        for _ in 0..self.taking.held.len() {
            let Some((peer, blob, count)) = self.taking.held.pop_front() else { return };
            if self.peers.contains_key(&peer) {
                self.granted(peer, blob, count, None, now, out);
            }
        }
    }

    /// Returns the chunk to request from this holder, and its size in bytes.
    fn take(
        &mut self,
        peer: PeerKey,
        blob: BlobKey,
        hint: Option<u32>,
        now: Now,
    ) -> Result<(u32, u64), Unused> {
        self.read_on(blob, now);
        let late = |b: &super::BlobSchedule| {
            b.reading.is_some() && b.late.as_ref().is_some_and(|late| !late.is_empty())
        };
        let late = self.blobs.get(&blob).is_some_and(late);
        let b = self.blobs.get_mut(&blob).ok_or(Unused::NoNeed)?;
        let size = b.geometry.chunk_size();
        let picker = b.picker.as_ref().filter(|p| !p.is_complete()).ok_or(Unused::NoNeed)?;
        if b.paused {
            return Err(Unused::Busy);
        }
        let first_copy = hint.is_some_and(|c| c < picker.wanted().len() && picker.wanted().get(c));
        let holder = self.peers.get(&peer).ok_or(Unused::NoNeed)?;
        if let Some(border) = b.border.as_ref().filter(|_| !holder.is_local()) {
            // A holder that lags does not keep the line busy.
            let counts = |holder: &Holder| !holder.is_local() && !holder.lags(now);
            let far = self.inflight.bytes_of(|p| self.peers.get(&p).is_some_and(counts));
            let holders = b.links.iter().filter(|(_, link)| link.told_need.is_some());
            let mut sites: Vec<u64> =
                holders.filter_map(|(p, _)| self.peers.get(p).and_then(Holder::elsewhere)).collect();
            sites.sort_unstable();
            sites.dedup();
            if far > 0 && far + size > border.share(sites.len()) * size {
                return Err(Unused::Hold);
            }
        }
        let window = |distance| self.taking.window(size, first_copy, distance);
        let windows = (window(holder.distance()), window(Duration::ZERO));
        if !holder.may_ask(size, now)
            || !has_room(&self.peers, self.inflight.bytes_total(), holder, size, windows)
        {
            return Err(Unused::Busy);
        }
        let local = holder.is_local();
        // For a reader late chunks come before those that lie ahead.
        if late && let Some(hedge) = self.hedge(peer, blob) {
            return Ok(hedge);
        }
        let b = self.blobs.get_mut(&blob).ok_or(Unused::NoNeed)?;
        let picker = b.picker.as_mut().ok_or(Unused::NoNeed)?;
        let allowed = b.border.as_ref().filter(|_| !local).map(super::Border::mine);
        let next = match &b.reading {
            Some(reading) => {
                let ahead = reading.ahead_of(picker.wanted());
                let ahead = allowed.map_or_else(|| ahead.clone(), |allowed| ahead.and(allowed));
                picker.pick_next(peer, (reading.urgent(), hint), &ahead)
            }
            None => picker.pick(peer, hint, allowed, &mut self.random),
        };
        if let Some(chunk) = next {
            let size = b.geometry.chunk(chunk).map_or(0, |c| b.geometry.size(c) as u64);
            return Ok((chunk, size));
        }
        self.hedge(peer, blob).ok_or(Unused::NoNeed)
    }

    /// Sets the chunks that a holder has.
    pub(super) fn holds(&mut self, peer: PeerKey, blob: BlobKey, have: Bitmap) {
        let local = self.is_local(peer);
        let Some(b) = self.blobs.get_mut(&blob) else { return };
        if !self.peers.contains_key(&peer) {
            return;
        }
        let chunks = b.geometry.chunks();
        b.link(peer, local).told_need.get_or_insert_with(|| Bitmap::new(chunks));
        let claims = b.links.get(&peer).and_then(PeerBlob::claims);
        if let Some(picker) = &mut b.picker {
            picker.holder(peer, have, claims);
        }
    }

    /// Adds to the chunks that a holder has.
    pub(super) fn holds_more(&mut self, peer: PeerKey, blob: BlobKey, add: &Bitmap) {
        let Some(b) = self.blobs.get_mut(&blob) else { return };
        let claims = b.links.get(&peer).and_then(PeerBlob::claims);
        if let Some(picker) = &mut b.picker {
            picker.holder_more(peer, add, claims);
        }
    }

    /// Handles a holder that has nothing of the blob any more.
    pub(super) fn gone(&mut self, peer: PeerKey, blob: BlobKey, now: Now, out: &mut Vec<Output>) {
        self.forget_holder(peer, blob, now, out);
    }

    pub(super) fn forget_holder(&mut self, peer: PeerKey, blob: BlobKey, now: Now, out: &mut Vec<Output>) {
        let mut lost = false;
        for (_, chunk) in self.inflight.of_peer(peer).into_iter().filter(|(b, _)| *b == blob) {
            self.end_request(peer, blob, chunk);
            lost = true;
        }
        let Some(b) = self.blobs.get_mut(&blob) else { return };
        let claims = b.links.get(&peer).and_then(PeerBlob::claims);
        if let Some(picker) = &mut b.picker {
            picker.remove_holder(peer, claims);
        }
        if let Some(link) = b.links.get_mut(&peer) {
            (link.told_need, link.needs_told) = (None, false);
        }
        if lost {
            self.tell_all(blob, now, out);
        }
    }

    pub(super) fn unwant(&mut self, blob: BlobKey, out: &mut Vec<Output>) {
        for (peer, chunk) in self.inflight.of_blob(blob) {
            self.end_request(peer, blob, chunk);
            out.push(Output::Cancel { peer, blob, chunk });
        }
        let Some(b) = self.blobs.get_mut(&blob) else { return };
        b.picker = None;
        (b.border, b.late, b.reading) = (None, None, None);
        b.links.values_mut().for_each(|link| (link.told_need, link.needs_told) = (None, false));
        if !b.share {
            self.blobs.remove(&blob);
        }
    }

    pub(super) fn verified(
        &mut self,
        peer: Option<PeerKey>,
        blob: BlobKey,
        chunk: u32,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let Some(b) = self.blobs.get(&blob) else { return };
        let size = b.geometry.chunk(chunk).map_or(0, |c| b.geometry.size(c) as u64);
        if let Some(since) = peer.and_then(|peer| self.inflight.since(peer, blob, chunk)) {
            let local = peer.is_some_and(|peer| self.is_local(peer));
            let service = &mut self.taking.service[if local { 0 } else { 1 }];
            *service = smooth(*service, now.saturating_sub(since));
        }
        let mut owners = self.inflight.owners(blob, chunk);
        // The peer that delivered the chunk comes last: bytes that the others sent of it are the cost of the
        // second request.
        owners.sort_by_key(|owner| Some(*owner) == peer);
        for owner in owners {
            self.end_request(owner, blob, chunk);
            if Some(owner) != peer {
                out.push(Output::Cancel { peer: owner, blob, chunk });
            }
        }
        let Some(b) = self.blobs.get_mut(&blob) else { return };
        if let Some(picker) = &mut b.picker {
            picker.have(chunk);
        }
        b.here(chunk);
        (b.crawls, b.stalls) = (0, 0);
        if let Some(late) = &mut b.late {
            late.clear(chunk);
        }
        if let Some(holder) = peer.and_then(|peer| self.peers.get_mut(&peer)) {
            holder.delivered(size, now);
        }
        self.use_held(now, out);
        self.give(now, out);
        self.tell_due(blob, now, out);
        self.check_complete(blob, out);
    }

    pub(super) fn check_complete(&mut self, blob: BlobKey, out: &mut Vec<Output>) {
        if let Some(b) = self.blobs.get_mut(&blob)
            && b.picker.as_ref().is_some_and(super::Picker::is_complete)
            && !std::mem::replace(&mut b.complete, true)
        {
            out.push(Output::Complete { blob });
        }
    }
}

/// Returns true if one more chunk of this holder fits the window. Slow holders count for the bytes that they
/// deliver soon. All holders that have delivered nothing yet share half of the window (of `near`, the window
/// at no distance, once any holder has delivered a chunk). So neither keep the fast ones from giving.
fn has_room(
    peers: &BTreeMap<PeerKey, Holder>,
    total: u64,
    holder: &Holder,
    size: u64,
    (window, near): (u64, u64),
) -> bool {
    if total == 0 {
        return true;
    }
    let (mut counted, mut unproven, mut newcomers) = (0, 0, window / 2);
    for h in peers.values() {
        if h.has_delivered() {
            newcomers = near / 2;
        }
        counted += h.soon();
        unproven += if h.is_proven() { 0 } else { h.outstanding() };
    }
    total + size <= limits::IN_FLIGHT_BYTES
        && counted + size <= window
        && (holder.is_proven() || unproven + size <= newcomers)
}
