//! Rates at which a node may send and receive at present. They follow from its configured limits, its
//! timetable, and, in background mode, from the bandwidth that other traffic leaves. The buckets are in
//! `rate`, the measuring in `ledbat`.

use std::time::Duration;

use jiff::Zoned;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::ledbat::{self, Measured};
use super::rate::{Limiter, TokenBucket};
use crate::api::status::Limits;
use crate::options::Options;
use crate::timetable::{Moment, Timetable};

/// Distance of a peer, as far as rate limits distinguish it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Near {
    /// True if the node's rate limits apply to this peer.
    pub(crate) limited: bool,
    /// True if the peer is neither on this machine nor in its network.
    pub(crate) outside: bool,
    /// True if the peer is on this machine.
    pub(crate) here: bool,
}

/// Time between looks at the timetable: clocks are set, machines sleep, daylight saving begins.
const LOOK: Duration = Duration::from_secs(1);

/// The limiters of a node, and the tasks that change them.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Limiters by kind of peer.
    pub(crate) ways: Shaping,
    /// Limits that are in force.
    pub(crate) now: watch::Receiver<Limits>,
    /// Channel that announces sessions to the measuring task, in background mode.
    pub(crate) measured: Option<mpsc::Sender<Measured>>,
    /// Tasks that run until they are aborted.
    pub(crate) tasks: Vec<AbortHandle>,
}

/// Limiters of both directions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Directions {
    pub(crate) up: Limiter,
    pub(crate) down: Limiter,
}

/// Limiters of all kinds of peers: by whether the node's rate limits apply, and by whether the peer is on
/// this machine. Traffic within this machine uses no link that other programs could want, so background mode
/// does not limit it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shaping([[Directions; 2]; 2]);

impl Shaping {
    /// Returns the limiters for a peer at this distance.
    pub(crate) fn of(&self, near: Near) -> &Directions {
        &self.0[usize::from(near.limited)][usize::from(near.here)]
    }
}

impl Pace {
    /// Starts the limiters that the options ask for. No task runs if there is nothing to limit.
    pub(crate) fn start(options: &Options) -> Self {
        let plain = Limits {
            up: options.limit_up,
            down: options.limit_down,
            rule: None,
            background: options.background,
            ..Limits::default()
        };
        let (told, now) = watch::channel(plain.clone());
        let mut pace = Self { ways: Shaping::default(), now, measured: None, tasks: Vec::new() };
        let set = [options.limit_up, options.limit_down].iter().any(Option::is_some);
        let limit = (set || !options.timetable.rules.is_empty())
            .then(|| (TokenBucket::new(false), TokenBucket::new(false)));
        let others = options.background.then(|| (TokenBucket::new(true), TokenBucket::new(true)));
        for gate in [&limit, &others].into_iter().flatten().flat_map(|(up, down)| [up, down]) {
            pace.tasks.push(gate.task.clone());
        }
        let (limit_up, limit_down) = (limit.as_ref().map(|g| &g.0), limit.as_ref().map(|g| &g.1));
        let (others_up, others_down) = (others.as_ref().map(|g| &g.0), others.as_ref().map(|g| &g.1));
        let both = |up, down| Directions { up: Limiter::through(up), down: Limiter::through(down) };
        pace.ways = Shaping([
            [both([None, others_up], [None, others_down]), Directions::default()],
            [
                both([limit_up, others_up], [limit_down, others_down]),
                both([limit_up, None], [limit_down, None]),
            ],
        ]);
        if let Some(gates) = others {
            let (sessions, announced) = mpsc::channel(crate::limits::CONNECTIONS);
            pace.measured = Some(sessions);
            let task = ledbat::run(announced, gates, told.clone());
            pace.tasks.push(tokio::spawn(task).abort_handle());
        }
        if let Some(gates) = limit {
            let task = look(options.timetable.clone(), plain, gates, told);
            pace.tasks.push(tokio::spawn(task).abort_handle());
        }
        pace
    }
}

/// Keeps the buckets at the rates of the timetable.
async fn look(
    table: Timetable,
    plain: Limits,
    (up, down): (TokenBucket, TokenBucket),
    told: watch::Sender<Limits>,
) {
    loop {
        let rule = table.at(local_time());
        let (now_up, now_down) = rule.map_or((plain.up, plain.down), |rule| {
            (rule.up.unwrap_or(plain.up), rule.down.unwrap_or(plain.down))
        });
        let text = rule.map(|rule| rule.text.clone());
        up.set(now_up);
        down.set(now_down);
        told.send_if_modified(|limits| {
            let changed = (limits.up, limits.down, &limits.rule) != (now_up, now_down, &text);
            (limits.up, limits.down, limits.rule) = (now_up, now_down, text);
            changed
        });
        if table.rules.is_empty() {
            // Without rules the rates never change; this task only keeps the buckets alive.
            std::future::pending::<()>().await;
        }
        sleep(LOOK).await;
    }
}

/// Returns the weekday and the second of the day in this machine's time zone.
fn local_time() -> Moment {
    let now = Zoned::now();
    let second = i32::from(now.hour()) * 3600 + i32::from(now.minute()) * 60 + i32::from(now.second());
    Moment { day: now.weekday().to_monday_zero_offset() as u8, second: second as u32 }
}
