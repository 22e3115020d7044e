//! The machine and its processes.

use std::fs;

use rustix::process::{Resource, getrlimit};

use crate::platform::ProcessState;

/// Returns the kernel's id of the time since the machine started; `None` where there is none.
pub(crate) fn boot() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim_end().to_owned()).filter(|boot| !boot.is_empty())
}

/// Returns the name of this machine.
pub(crate) fn machine_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Returns how many files this process may have open.
pub(crate) fn open_files_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Returns the state of a process; `None` if there is no such process here.
pub(crate) fn process_state(pid: u32) -> Option<ProcessState> {
    fs::read_to_string(format!("/proc/{pid}/stat")).ok().map(|stat| state(&stat))
}

/// Reads the state from a line of proc_pid_stat(5): the third field, after a name that may hold anything.
fn state(stat: &str) -> ProcessState {
    match stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()) {
        Some('T' | 't') => ProcessState::Stopped,
        Some('D') => ProcessState::Disk,
        _ => ProcessState::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_process_is_behind_its_name() {
        assert_eq!(state("71 (swarm) T 1 71"), ProcessState::Stopped);
        assert_eq!(state("71 (a) T (b) S 1 71"), ProcessState::Unclear);
        assert_eq!(state("71 (swarm) D 1 71"), ProcessState::Disk);
        assert_eq!(state(""), ProcessState::Unclear);
    }
}
