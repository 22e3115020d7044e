//! `--timeout`: the time counts from the first moment of a command, and ends the command whatever it waits
//! for.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use std::{process, thread};

use swarm_core::api::command::Command;

use crate::exit::{Code, Failed};
use crate::json::About;
use crate::ui::Ui;

/// Time that the node has beyond the deadline: it watches the time itself, and its message says what was
/// missing.
const GRACE: Duration = Duration::from_millis(600);
/// Time beyond the deadline after which the process ends even if a task still runs, such as one whose disk
/// does not answer.
const LAST: Duration = Duration::from_millis(1200);

/// The moment at which a command gives up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    begun: Instant,
    at: Option<Instant>,
}

/// Ends the process soon after the deadline, unless it is dropped before.
#[derive(Debug)]
pub(crate) struct DeadlineTimer {
    _ends: Option<Sender<()>>,
}

impl Deadline {
    /// Makes the deadline of a command that began at `begun`; without a `timeout` it never comes.
    pub(crate) fn new(begun: Instant, timeout: Option<Duration>) -> Self {
        Self { begun, at: timeout.and_then(|timeout| begun.checked_add(timeout)) }
    }

    /// Makes a deadline that never comes.
    pub(crate) fn never() -> Self {
        Self::new(Instant::now(), None)
    }

    /// True if the time is over.
    pub(crate) fn is_over(&self) -> bool {
        self.at.is_some_and(|at| Instant::now() >= at)
    }

    /// Returns the command with the time that is left as its timeout.
    pub(crate) fn put_into(&self, mut command: Command) -> Command {
        if let (Command::Get(get), Some(at)) = (&mut command, self.at) {
            let left = at.saturating_duration_since(Instant::now());
            get.timeout_ms = Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        }
        command
    }

    /// Waits until the time is over and the node has not reported that.
    pub(crate) async fn passed(&self) {
        match self.at {
            Some(at) => tokio::time::sleep_until((at + GRACE).into()).await,
            None => std::future::pending().await,
        }
    }

    /// Makes the failure of a command whose time is over; `at_what` says what it waited for.
    pub(crate) fn failed(&self, at_what: &str) -> Failed {
        let waited = self.begun.elapsed().as_secs_f64();
        Failed::new(Code::Timeout, format!("not done after {waited:.1} s: {at_what}"))
            .hint("verified data is kept: run the same command to resume")
    }

    /// Ends the process after the deadline whatever else hangs: a thread of its own does it, which no disk
    /// holds up.
    pub(crate) fn enforce(self, ui: &Ui) -> DeadlineTimer {
        let Some(at) = self.at else { return DeadlineTimer { _ends: None } };
        let json = ui.is_json();
        let (sender, dropped) = channel::<()>();
        let spawned = thread::Builder::new().spawn(move || {
            let left = (at + LAST).saturating_duration_since(Instant::now());
            if dropped.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                let failed = self.failed("a disk or standard input does not answer");
                Ui::plain(json).failed(About::It, &failed);
                process::exit(Code::Timeout as i32);
            }
        });
        DeadlineTimer { _ends: spawned.is_ok().then_some(sender) }
    }
}

#[cfg(test)]
mod tests {
    use swarm_core::Get;

    use super::*;

    fn get() -> Command {
        Command::Get(Get::new("x"))
    }

    #[test]
    fn a_node_is_told_the_time_that_is_left() {
        let begun = Instant::now().checked_sub(Duration::from_secs(2)).expect("the machine runs for longer");
        let left = |timeout| match Deadline::new(begun, timeout).put_into(get()) {
            Command::Get(get) => get.timeout_ms,
            _ => None,
        };
        assert_eq!(left(None), None);
        assert_eq!(left(Some(Duration::from_secs(1))), Some(0));
        assert!(left(Some(Duration::from_secs(10))).is_some_and(|ms| (7_000..=8_000).contains(&ms)));
        assert!(Deadline::new(begun, Some(Duration::from_secs(1))).is_over());
        assert!(!Deadline::never().is_over());
        assert_eq!(left(Some(Duration::MAX)), None, "longer than a clock goes is never");
    }
}
