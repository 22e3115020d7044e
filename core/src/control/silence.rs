//! Silent nodes: how long to wait for one, and what to tell the user. A node whose process is stopped or
//! waits for its disk counts as silent earlier than one that may just be busy.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::api::event::{Failure, Fault};
use crate::limits;
use crate::platform::{ProcessState, process_state};

/// A node that has sent nothing for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    home: PathBuf,
    pid: Option<u32>,
    seen: ProcessState,
}

impl Silence {
    /// Returns the silence of a node that has sent nothing for the time `silent`; `None` while it may just be
    /// busy.
    pub(super) fn after(silent: Duration, home: &Path, pid: Option<u32>) -> Option<Self> {
        let seen = pid.and_then(process_state).unwrap_or(ProcessState::Unclear);
        let within = match seen {
            ProcessState::Stopped | ProcessState::Disk => limits::CONTROL_SILENCE,
            ProcessState::Unclear => limits::CONTROL_SILENCE_BUSY,
        };
        (silent >= within).then(|| Self { home: home.to_owned(), pid, seen })
    }

    /// Returns the silence of the process that owns a store, as its lock file says, and has not answered.
    #[must_use]
    pub fn of_owner(home: &Path, pid: u32) -> Self {
        // Readers do not write the lock file, so it may name an earlier process that has gone.
        let seen = process_state(pid);
        let pid = seen.map(|_| pid);
        Self { home: home.to_owned(), pid, seen: seen.unwrap_or(ProcessState::Unclear) }
    }

    /// Returns the silence of a process that is stopped or waits for its disk; `None` for any other process.
    #[must_use]
    pub fn if_stopped(home: &Path, pid: u32) -> Option<Self> {
        Some(Self::of_owner(home, pid)).filter(|silence| silence.seen != ProcessState::Unclear)
    }

    /// Process id of the node, if it is known.
    #[must_use]
    pub const fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Sentence that says which node does not answer and why.
    #[must_use]
    pub fn sentence(&self) -> String {
        let process = self.pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
        let why = match self.seen {
            ProcessState::Stopped => ": the process is stopped",
            ProcessState::Disk => ": the process waits for its disk",
            ProcessState::Unclear => "",
        };
        format!("the node of {} ({process}) does not answer{why}", self.home.display())
    }

    /// Advice on what the user can do without losing anything.
    #[must_use]
    pub fn hint(&self) -> String {
        let end = "ending that process is safe: verified data is kept";
        match (self.seen, self.pid) {
            (ProcessState::Stopped, Some(pid)) => {
                format!("fg in its terminal, or kill -CONT {pid}, lets it go on; {end}")
            }
            (ProcessState::Disk, _) => format!("it goes on when its disk answers; {end}"),
            _ => format!("wait until it answers; {end}"),
        }
    }

    /// Returns the failure of a command that ends because of the silence.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure { fault: Fault::NoAnswer, message: self.sentence(), hint: Some(self.hint()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_runs_is_given_more_time_than_one_that_is_stopped() {
        let own = Some(std::process::id());
        assert_eq!(Silence::after(limits::CONTROL_SILENCE, Path::new("/h"), own), None);
        let silence = Silence::after(limits::CONTROL_SILENCE_BUSY, Path::new("/h"), own);
        let silence = silence.expect("it was silent for long");
        let said = format!("the node of /h (process {}) does not answer", std::process::id());
        assert!(silence.sentence().starts_with(&said), "{}", silence.sentence());
        assert_eq!(silence.failure().fault, Fault::NoAnswer);
    }

    #[test]
    fn no_hint_costs_anybody_anything() {
        for seen in [ProcessState::Stopped, ProcessState::Disk, ProcessState::Unclear] {
            let silence = Silence { home: "/h".into(), pid: Some(7), seen };
            let hint = silence.hint();
            assert!(hint.contains("verified data is kept"), "{hint}");
            assert!(!hint.contains("rm ") && !hint.contains("KILL"), "{hint}");
        }
    }
}
