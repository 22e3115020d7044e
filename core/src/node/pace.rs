//! What a node may send and receive per second at present, and why: its limits, its timetable, and, in the background, what
//! others leave.

use std::time::Duration;

use jiff::Zoned;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::background::{self, Measured};
use super::event::Limits;
use super::limiter::{Gate, Limiter};
use super::session::Near;
use crate::options::Options;
use crate::timetable::{Moment, Timetable};

/// How often the timetable is looked at: clocks are set, machines sleep, summer begins.
const LOOK: Duration = Duration::from_secs(1);

/// The limiters of a node, and who changes them.
#[derive(Debug)]
pub(super) struct Pace {
    /// What each peer's bytes have to pass.
    pub(super) ways: Ways,
    /// What is in force.
    pub(super) now: watch::Receiver<Limits>,
    /// Where sessions are announced to be measured, in the background.
    pub(super) measured: Option<mpsc::Sender<Measured>>,
    /// Tasks that run until they are aborted.
    pub(super) tasks: Vec<AbortHandle>,
}

/// Both ways.
#[derive(Debug, Clone, Default)]
pub(super) struct Directions {
    pub(super) up: Limiter,
    pub(super) down: Limiter,
}

/// The limiters of all kinds of peers: those for whom the node's limits are or not, and those on other machines or on this
/// one, to whom no line leads that a foreground could want.
#[derive(Debug, Clone, Default)]
pub(super) struct Ways([[Directions; 2]; 2]);

impl Ways {
    /// Those of a peer at such a distance.
    pub(super) fn of(&self, near: Near) -> &Directions {
        &self.0[usize::from(near.limited)][usize::from(near.here)]
    }
}

impl Pace {
    /// As the options say. No task runs where there is nothing to limit.
    pub(super) fn start(options: &Options) -> Self {
        let plain = Limits {
            up: options.limit_up,
            down: options.limit_down,
            rule: None,
            background: options.background,
            ..Limits::default()
        };
        let (told, now) = watch::channel(plain.clone());
        let mut pace = Self { ways: Ways::default(), now, measured: None, tasks: Vec::new() };
        let set = [options.limit_up, options.limit_down].iter().any(Option::is_some);
        let limit =
            (set || !options.timetable.rules.is_empty()).then(|| (Gate::new(false), Gate::new(false)));
        let others = options.background.then(|| (Gate::new(true), Gate::new(true)));
        for gate in [&limit, &others].into_iter().flatten().flat_map(|(up, down)| [up, down]) {
            pace.tasks.push(gate.task.clone());
        }
        let (limit_up, limit_down) = (limit.as_ref().map(|g| &g.0), limit.as_ref().map(|g| &g.1));
        let (others_up, others_down) = (others.as_ref().map(|g| &g.0), others.as_ref().map(|g| &g.1));
        let both = |up, down| Directions { up: Limiter::through(up), down: Limiter::through(down) };
        pace.ways = Ways([
            [both([None, others_up], [None, others_down]), Directions::default()],
            [
                both([limit_up, others_up], [limit_down, others_down]),
                both([limit_up, None], [limit_down, None]),
            ],
        ]);
        if let Some(gates) = others {
            let (sessions, announced) = mpsc::channel(crate::limits::CONNECTIONS);
            pace.measured = Some(sessions);
            let task = background::run(announced, gates, told.clone());
            pace.tasks.push(tokio::spawn(task).abort_handle());
        }
        if let Some(gates) = limit {
            let task = look(options.timetable.clone(), plain, gates, told);
            pace.tasks.push(tokio::spawn(task).abort_handle());
        }
        pace
    }
}

/// Keeps the gates at what the timetable says.
async fn look(table: Timetable, plain: Limits, (up, down): (Gate, Gate), told: watch::Sender<Limits>) {
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
            // They stay as they are for as long as the gates are there.
            std::future::pending::<()>().await;
        }
        sleep(LOOK).await;
    }
}

/// By the clock on the wall, where this machine is.
fn local_time() -> Moment {
    let now = Zoned::now();
    let second = i32::from(now.hour()) * 3600 + i32::from(now.minute()) * 60 + i32::from(now.second());
    Moment { day: now.weekday().to_monday_zero_offset() as u8, second: second as u32 }
}
