//! A simulated world, as data: hosts, links, faults, and the outcome.

/// Nanoseconds since the start.
pub type Time = u64;

/// One machine.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Bytes per second out.
    pub up: u64,
    /// Bytes per second in.
    pub down: u64,
    /// Its place.
    pub site: u16,
    /// It has the blob from the start.
    pub origin: bool,
    /// How it behaves.
    pub habit: Habit,
    /// It reads along, so many bytes per second: it takes chunks in order.
    pub reads: Option<u64>,
    /// It comes later.
    pub joins: Option<Time>,
    /// It goes for good so long after it has all.
    pub leaves: Option<Time>,
}

/// How a host behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// By the rules.
    Honest,
    /// So many of a thousand chunks it sends are not what they claim to be.
    Corrupt(u16),
    /// Says that it has all, grants, and never sends anything.
    Silent,
    /// Says that it has all, and declines what is asked of it.
    Overclaims,
    /// Takes, and never gives.
    FreeRider,
    /// Wins the election of gateways under ever new names, and imports nothing.
    Usurper,
    /// Sends requests, refusals, needs, grants and cancels that nothing led to.
    Nagger,
    /// Keeps grants, to use them all at once.
    Hoarder,
    /// Says that it has all, and sends one byte of it every few seconds.
    Drips,
    /// Asks for something on every grant, and reads nothing.
    Unread,
}

/// A line between a site and the rest of the world.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// Bytes per second each way.
    pub rate: u64,
}

/// A fault.
#[derive(Debug, Clone)]
pub enum Fault {
    /// A host stops between two instructions.
    Crash {
        /// The host.
        host: usize,
        /// True if chunks that were on its disk long enough are there when it is back.
        disk: bool,
        /// It is back so long after.
        back: Option<Time>,
    },
    /// A connection breaks: what was under way is lost, and each side notices when it notices.
    Reset {
        /// One side.
        one: usize,
        /// The other side.
        other: usize,
        /// One notices after this.
        one_after: Time,
        /// The other after this.
        other_after: Time,
    },
    /// Nothing passes between these hosts and all others for so long; what was sent arrives after.
    Cut {
        /// On one side of the cut.
        hosts: Vec<usize>,
        /// How long.
        lasts: Time,
    },
    /// Control messages take so much longer for so long.
    Delay {
        /// How much.
        by: Time,
        /// How long.
        lasts: Time,
    },
    /// The origin stops for good as soon as every chunk is at some other host.
    OriginOnceSpread,
    /// The host of this site that has fetched most across its border stops for good.
    Importer {
        /// Where.
        site: u16,
    },
}

/// A simulated world.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// All coin flips follow from it.
    pub seed: u64,
    /// The machines.
    pub hosts: Vec<Spec>,
    /// By site; `None` where nothing is thinner than the hosts' own links.
    pub lines: Vec<Option<Line>>,
    /// Bytes of the blob.
    pub len: u64,
    /// Blocks of a chunk: the more, the finer (and slower) the simulation.
    pub blocks: u64,
    /// One way, within a site.
    pub latency: Time,
    /// One way, between sites.
    pub far: Time,
    /// Neighbours a host looks for within its site.
    pub neighbours: usize,
    /// Neighbours it looks for in other sites.
    pub far_neighbours: usize,
    /// Every host was given a link that names the origin, and is connected to it wherever it is.
    pub link_names_origin: bool,
    /// True if hosts look for neighbours all the time, as nodes do. Otherwise the hosts of a
    /// [calm](Scenario::is_calm) world keep their first ones: that is what the tables measure.
    pub seeks: bool,
    /// When, and what.
    pub faults: Vec<(Time, Fault)>,
}

impl Scenario {
    /// Everybody is there from the start, stays, and keeps the rules; neighbours stay the same.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        let calm = |h: &Spec| h.habit == Habit::Honest && h.joins.is_none() && h.leaves.is_none();
        !self.seeks && self.faults.is_empty() && self.hosts.iter().all(calm)
    }
}

/// One host that was there at the end and keeps the rules.
#[derive(Debug)]
pub struct Finish {
    /// Its number in the scenario.
    pub host: usize,
    /// Seconds until it came (for the last time).
    pub came: f64,
    /// Seconds until it had all; `None` if it never did.
    pub done: Option<f64>,
    /// If it reads along: seconds until it had the first chunk, and the time of the latest chunk, in times of
    /// when it was due (the first one is due [`crate::sim::table::PLAYS_AFTER`] seconds after the start).
    pub read: Option<(f64, f64)>,
}

/// The outcome of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Everybody who wanted it, was there at the end and keeps the rules.
    pub finishes: Vec<Finish>,
    /// Bytes that the origin sent, in blobs.
    pub origin: f64,
    /// Bytes that were sent to hosts that had them, in blobs, over all hosts.
    pub duplicates: f64,
    /// Bytes that came into each site by its line, in blobs.
    pub borders_in: Vec<f64>,
    /// Control messages.
    pub messages: u64,
    /// Of these the requests, refusals, grants, what is there, what is needed, and all others.
    pub kinds: [u64; 6],
    /// A property that did not hold.
    pub violation: Option<String>,
}

impl Outcome {
    /// Hosts that have not got all.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.finishes.iter().filter(|f| f.done.is_none()).count()
    }
}
