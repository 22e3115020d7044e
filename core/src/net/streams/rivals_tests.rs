//! The choice between connections: single cases, and a model of two ends with every order of events.

use libp2p::PeerId;
use libp2p::swarm::ConnectionId;

use super::rivals::{ClosedPart, Rank, Rivals, Verdict};

fn connection(number: usize) -> ConnectionId {
    ConnectionId::new_unchecked(number)
}

#[test]
fn a_later_dial_of_ours_is_of_no_use_while_the_first_lives() {
    let rank = Rank { relayed: false, dialler: PeerId::random() };
    let mut rivals = Rivals::<()>::default();
    assert!(rivals.add(connection(1), rank, true));
    assert!(!rivals.add(connection(2), rank, true), "the older is kept, its session complete or not");
    assert!(
        rivals.add(connection(3), rank, false),
        "what the other end dialled is for the other end to close"
    );
    assert_eq!(rivals.end(connection(1)).0, ClosedPart::Unnoticed, "the third may still work");
    assert!(rivals.add(connection(4), rank, true), "nothing of ours lives any more");
}

#[test]
fn a_session_on_a_later_connection_tells_that_the_dialler_lost_the_earlier() {
    let rank = Rank { relayed: false, dialler: PeerId::random() };
    let mut rivals = Rivals::default();
    rivals.add(connection(1), rank, false);
    assert_eq!(rivals.complete(connection(1), 'a'), [Verdict::Announce(connection(1), 'a')]);
    rivals.add(connection(2), rank, false);
    let close = Verdict::Close { connection: connection(1), announced: true };
    assert_eq!(rivals.complete(connection(2), 'b'), [close, Verdict::Announce(connection(2), 'b')]);
    assert_eq!(rivals.end(connection(1)).0, ClosedPart::Unnoticed, "its end was told already");
    assert_eq!(rivals.end(connection(2)).0, ClosedPart::OfSession);
}

#[test]
fn a_direct_connection_takes_over_from_a_relayed_one() {
    let dialler = PeerId::random();
    let mut rivals = Rivals::default();
    rivals.add(connection(1), Rank { relayed: true, dialler }, true);
    rivals.complete(connection(1), 'r');
    assert!(rivals.add(connection(2), Rank { relayed: false, dialler }, true));
    let close = Verdict::Close { connection: connection(1), announced: true };
    assert_eq!(rivals.complete(connection(2), 'd'), [close, Verdict::Announce(connection(2), 'd')]);
    assert!(
        !rivals.add(connection(3), Rank { relayed: true, dialler }, true),
        "a relay would be a step back"
    );
}

#[test]
fn a_session_waits_for_a_better_connection_but_not_for_ever() {
    let mut ids = [PeerId::random(), PeerId::random()];
    ids.sort();
    let [better, worse] = ids.map(|dialler| Rank { relayed: false, dialler });
    let both = |ours| {
        let mut rivals = Rivals::default();
        rivals.add(connection(1), worse, ours);
        rivals.add(connection(2), better, !ours);
        assert_eq!(rivals.complete(connection(1), 'w'), [Verdict::Park(connection(1))]);
        rivals
    };
    let announce = |number, session| Verdict::Announce(connection(number), session);
    let close = |number, announced| Verdict::Close { connection: connection(number), announced };

    assert_eq!(both(true).end(connection(2)), (ClosedPart::Unnoticed, vec![announce(1, 'w')]), "it failed");
    assert_eq!(both(true).complete(connection(2), 'b'), [announce(2, 'b'), close(1, false)], "ours to close");

    let mut theirs = both(false);
    let waits = Verdict::Park(connection(1));
    assert_eq!(theirs.complete(connection(2), 'b'), [announce(2, 'b'), waits], "theirs to close");
    let over = theirs.grace_over(connection(1));
    assert_eq!(over, [close(2, true), announce(1, 'w')], "they did not: the better one is dead for them");
}

#[test]
fn nothing_is_given_up_for_a_session_that_only_this_end_has() {
    let mut ids = [PeerId::random(), PeerId::random()];
    ids.sort();
    let [better, worse] = ids.map(|dialler| Rank { relayed: false, dialler });
    let announce = |number, session| Verdict::Announce(connection(number), session);
    let close = |number, announced| Verdict::Close { connection: connection(number), announced };
    let lazily = |rank| {
        let mut rivals = Rivals::default();
        assert!(rivals.add(connection(1), rank, true));
        rivals.begun_lazily(connection(1));
        rivals
    };

    let mut serves = lazily(better);
    assert_eq!(serves.complete(connection(1), 'l'), [announce(1, 'l')]);
    assert!(serves.add(connection(2), worse, false));
    let waits = Verdict::Park(connection(2));
    assert_eq!(serves.complete(connection(2), 't'), [waits], "the other end closes it when it has the first");
    let (end, next) = serves.end(connection(1));
    assert_eq!((end, next), (ClosedPart::OfSession, vec![announce(2, 't')]), "it refused the first instead");

    let mut late = lazily(better);
    late.add(connection(2), worse, false);
    late.complete(connection(2), 't');
    let over = late.grace_over(connection(2));
    assert_eq!(over, [close(1, false), announce(2, 't')], "the one that the other end has serves");
    assert_eq!(late.complete(connection(1), 'l'), [], "and nothing of the lazy one was sent");

    let mut parked = lazily(worse);
    parked.add(connection(2), better, false);
    assert_eq!(parked.complete(connection(1), 'l'), [Verdict::Park(connection(1))]);
    assert_eq!(parked.complete(connection(2), 't'), [close(1, false), announce(2, 't')]);
}

/// Two ends and the connections between them; a seed decides what happens next.
struct World {
    seed: u64,
    /// Peer ids of both ends, the smaller first.
    ids: [PeerId; 2],
    ends: [Rivals<usize>; 2],
    wires: Vec<Wire>,
    serving: [Option<usize>; 2],
    /// Connections that may still break.
    breaks: usize,
    /// Connections that an end may still refuse after their handshake, for reasons of its own.
    refusals: usize,
    /// True if a node may freeze for longer than the grace at any point.
    freezes: bool,
    /// Lazy sessions that served at the end that dialled, and that the other end refused or never had.
    refused: usize,
}

/// One connection as seen from the two ends.
#[derive(Default)]
struct Wire {
    dialler: usize,
    relayed: bool,
    opened: bool,
    /// True if the end that dialled has the session at once.
    lazy: bool,
    /// True if the end that dialled uses its lazy session, so that the other end comes to have it.
    sent: bool,
    closing: bool,
    /// True if the connection broke and one end does not know until long after every grace.
    broken: bool,
    seen: [View; 2],
}

#[derive(Default)]
struct View {
    up: bool,
    complete: bool,
    parked: bool,
    gone: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Up(usize, usize),
    Complete(usize, usize),
    Gone(usize, usize),
    Break(usize, usize),
    Grace(usize, usize),
    Dial(usize),
}

impl World {
    fn new(seed: u64) -> Self {
        let mut ids = [PeerId::random(), PeerId::random()];
        ids.sort();
        let ends = [Rivals::default(), Rivals::default()];
        let (breaks, refusals, freezes) = (seed as usize % 3, seed as usize % 2, seed.is_multiple_of(5));
        let (wires, serving) = (Vec::new(), [None; 2]);
        let mut world = World { seed, ids, ends, wires, serving, breaks, refusals, freezes, refused: 0 };
        // Each end dials once, as it should; in some worlds one end dials twice.
        world.dial(0);
        world.dial(1);
        if seed.is_multiple_of(7) {
            world.dial(seed as usize % 2);
        }
        world
    }

    fn random(&mut self, below: usize) -> usize {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        ((mixed ^ (mixed >> 27)) >> 16) as usize % below
    }

    fn wire(&self, id: ConnectionId) -> usize {
        (0..self.wires.len()).find(|at| connection(*at) == id).expect("a connection")
    }

    fn dial(&mut self, dialler: usize) {
        let relayed = self.random(4) == 0;
        self.wires.push(Wire { dialler, relayed, ..Wire::default() });
    }

    /// Lists the events that can happen now. Breaks are noticed, and graces end, only when nothing else is
    /// left to happen.
    fn steps(&self) -> Vec<Step> {
        let (mut soon, mut later, mut last) = (Vec::new(), Vec::new(), Vec::new());
        for end in 0..2 {
            for (at, wire) in self.wires.iter().enumerate() {
                let (here, there) = (&wire.seen[end], &wire.seen[1 - end]);
                if here.gone {
                    continue;
                }
                let over = wire.closing || there.gone;
                let ready = match (wire.lazy, end == wire.dialler) {
                    (true, true) => true,
                    (true, false) => wire.sent,
                    (false, true) => there.complete,
                    (false, false) => true,
                };
                let completes = wire.opened && !here.complete && ready;
                if over && end != wire.dialler && !wire.broken && wire.sent && completes {
                    // Bytes that the other end sent before it closed the connection may still come first.
                    soon.push(if here.up { Step::Complete(at, end) } else { Step::Up(at, end) });
                }
                match here.up {
                    // The negotiation has a timeout; after it only a write that nobody answers reveals the
                    // break.
                    _ if over && wire.broken && here.complete => last.push(Step::Gone(at, end)),
                    _ if over && wire.broken => later.push(Step::Gone(at, end)),
                    _ if over => soon.push(Step::Gone(at, end)),
                    false => soon.push(Step::Up(at, end)),
                    true if completes => soon.push(Step::Complete(at, end)),
                    true if self.breaks > 0 => soon.push(Step::Break(at, end)),
                    true => {}
                }
                if here.parked {
                    if self.freezes { &mut soon } else { &mut later }.push(Step::Grace(at, end));
                }
            }
            if self.wires.iter().all(|wire| wire.seen[end].gone) {
                soon.push(Step::Dial(end));
            }
        }
        if soon.is_empty() && later.is_empty() {
            self.check_served();
            return last;
        }
        if soon.is_empty() { later } else { soon }
    }

    /// Nobody waits for a dead connection to be noticed: there is a session, and on a live connection.
    /// (Unless several died, each noticed by the end that does not depend on it: only silence reveals that.)
    fn check_served(&self) {
        if self.wires.iter().filter(|wire| wire.broken).count() > 1 {
            return;
        }
        let [Some(here), Some(there)] = self.serving else { panic!("no session: {:?}", self.serving) };
        assert_eq!(here, there, "each serves another connection");
        assert!(!self.wires[here].broken, "they serve one that is dead");
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Up(at, end) if self.refusals > 0 && self.random(3) == 0 => {
                self.refusals -= 1;
                self.wires[at].closing = true;
                self.wires[at].seen[end].gone = true;
            }
            Step::Up(at, end) => {
                let Wire { dialler, relayed, .. } = self.wires[at];
                let alone = self.wires.iter().all(|wire| !wire.seen[end].up || wire.seen[end].gone);
                self.wires[at].seen[end].up = true;
                let rank = Rank { relayed, dialler: self.ids[dialler] };
                let kept = self.ends[end].add(connection(at), rank, dialler == end);
                if alone && dialler == end {
                    self.wires[at].lazy = true;
                    self.ends[end].begun_lazily(connection(at));
                }
                self.wires[at].opened |= kept && dialler == end;
                self.wires[at].closing |= !kept;
            }
            Step::Complete(at, end) => {
                self.wires[at].seen[end].complete = true;
                let verdicts = self.ends[end].complete(connection(at), at);
                self.apply(end, verdicts);
            }
            Step::Break(at, end) => {
                self.breaks -= 1;
                self.wires[at].broken = true;
                self.gone(at, end);
            }
            Step::Gone(at, end) => self.gone(at, end),
            Step::Grace(at, end) => {
                let verdicts = self.ends[end].grace_over(connection(at));
                self.apply(end, verdicts);
            }
            Step::Dial(end) => self.dial(end),
        }
    }

    fn gone(&mut self, at: usize, end: usize) {
        let wire = &self.wires[at];
        let unheard = wire.sent && end == wire.dialler && !wire.seen[1 - end].complete;
        self.refused += usize::from(unheard && self.serving[end] == Some(at));
        self.wires[at].seen[end].gone = true;
        self.wires[at].seen[end].parked = false;
        let (ended, verdicts) = self.ends[end].end(connection(at));
        assert_eq!(ended == ClosedPart::OfSession, self.serving[end] == Some(at));
        if ended == ClosedPart::OfSession {
            self.serving[end] = None;
        }
        self.apply(end, verdicts);
        self.ends[end].forget(connection(at));
    }

    fn apply(&mut self, end: usize, verdicts: Vec<Verdict<usize>>) {
        for verdict in verdicts {
            match verdict {
                Verdict::Announce(_, at) => {
                    self.wires[at].seen[end].parked = false;
                    self.wires[at].sent |= end == self.wires[at].dialler;
                    assert_eq!(self.serving[end].replace(at), None, "one session at a time");
                }
                Verdict::Close { connection: id, announced } => {
                    let at = self.wire(id);
                    self.wires[at].closing = true;
                    self.wires[at].seen[end].parked = false;
                    if announced {
                        assert_eq!(self.serving[end].take(), Some(at), "what served is what is closed");
                    }
                }
                Verdict::Park(id) => {
                    let at = self.wire(id);
                    self.wires[at].seen[end].parked = true;
                }
            }
        }
    }
}

#[test]
fn whatever_the_order_both_ends_come_to_serve_the_same_connection() {
    let mut refused = 0;
    for seed in 0..20_000 {
        let mut world = World::new(seed);
        let peaceful = world.breaks == 0 && !world.freezes && world.wires.len() == 2;
        loop {
            let steps = world.steps();
            if steps.is_empty() {
                break;
            }
            let step = steps[world.random(steps.len())];
            world.take(step);
            assert!(world.wires.len() < 100, "seed {seed}: they dial for ever");
        }
        let left = world.wires.iter().filter(|wire| wire.seen.iter().any(|seen| !seen.gone)).count();
        assert_eq!(left, 1, "seed {seed}: a duplicate stays open");
        assert!(!peaceful || world.wires.len() == 2, "seed {seed}: nobody had to dial again");
        refused += world.refused;
    }
    assert!(refused > 1000, "{refused} lazy sessions that only one end had");
}
