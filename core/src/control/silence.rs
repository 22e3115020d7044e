//! A node that says nothing: how long that is waited for, and what a person is told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::limits;
use crate::node::event::{Failure, Fault};

/// A node that has not said anything for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    home: PathBuf,
    pid: Option<u32>,
    seen: Seen,
}

/// The state of a process, as the system says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// It was stopped, as Ctrl-Z does.
    Stopped,
    /// It waits for a disk.
    Disk,
    /// Nothing that explains it.
    Unclear,
}

impl Silence {
    /// Looks at the process of a node that was silent for so long. None while it may just have much to do.
    pub(super) fn after(silent: Duration, home: &Path, pid: Option<u32>) -> Option<Self> {
        let seen = pid.and_then(stat).map_or(Seen::Unclear, |stat| state(&stat));
        let within = match seen {
            Seen::Stopped | Seen::Disk => limits::CONTROL_SILENCE,
            Seen::Unclear => limits::CONTROL_SILENCE_BUSY,
        };
        (silent >= within).then(|| Self { home: home.to_owned(), pid, seen })
    }

    /// The process that owns a store, as its lock file says, and has not answered.
    #[must_use]
    pub fn of_owner(home: &Path, pid: u32) -> Self {
        // The lock file of a store that is only read names whoever wrote to it last.
        let stat = stat(pid);
        let seen = stat.as_deref().map_or(Seen::Unclear, state);
        Self { home: home.to_owned(), pid: stat.map(|_| pid), seen }
    }

    /// A process that is stopped or waits for its disk, if this one does.
    #[must_use]
    pub fn if_stopped(home: &Path, pid: u32) -> Option<Self> {
        Some(Self::of_owner(home, pid)).filter(|silence| silence.seen != Seen::Unclear)
    }

    /// The process, if it is known.
    #[must_use]
    pub const fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// A sentence about it.
    #[must_use]
    pub fn sentence(&self) -> String {
        let process = self.pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
        let why = match self.seen {
            Seen::Stopped => ": the process is stopped",
            Seen::Disk => ": the process waits for its disk",
            Seen::Unclear => "",
        };
        format!("the node of {} ({process}) does not answer{why}", self.home.display())
    }

    /// Advice what can be done about it, which loses nothing.
    #[must_use]
    pub fn hint(&self) -> String {
        let end = "ending that process is safe: what is verified is kept";
        match (self.seen, self.pid) {
            (Seen::Stopped, Some(pid)) => {
                format!("fg in its terminal, or kill -CONT {pid}, lets it go on; {end}")
            }
            (Seen::Disk, _) => format!("it goes on when its disk answers; {end}"),
            _ => format!("wait until it answers; {end}"),
        }
    }

    /// A command that ends because of it.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure { fault: Fault::NoAnswer, message: self.sentence(), hint: Some(self.hint()) }
    }
}

/// The line of the system about a process; none if there is no such process here.
fn stat(pid: u32) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()
}

/// The state in such a line, proc_pid_stat(5): the third field, behind a name in which anything may stand.
fn state(stat: &str) -> Seen {
    match stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()) {
        Some('T' | 't') => Seen::Stopped,
        Some('D') => Seen::Disk,
        _ => Seen::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_process_is_behind_its_name() {
        assert_eq!(state("71 (swarm) T 1 71"), Seen::Stopped);
        assert_eq!(state("71 (a) T (b) S 1 71"), Seen::Unclear);
        assert_eq!(state("71 (swarm) D 1 71"), Seen::Disk);
        assert_eq!(state(""), Seen::Unclear);
    }

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
        for seen in [Seen::Stopped, Seen::Disk, Seen::Unclear] {
            let silence = Silence { home: "/h".into(), pid: Some(7), seen };
            let hint = silence.hint();
            assert!(hint.contains("what is verified is kept"), "{hint}");
            assert!(!hint.contains("rm ") && !hint.contains("KILL"), "{hint}");
        }
    }
}
