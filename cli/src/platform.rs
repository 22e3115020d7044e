//! Everything in this program that an operating system does in its own way: signals, priority, limits of a
//! process, folders, rights of files, quoting. The signatures are portable; this is the Unix of each. Another
//! system is another module with the same functions.

use std::borrow::Cow;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;
use rustix::process::{
    Pid, Resource, Rlimit, Signal as Number, getrlimit, kill_process, setpriority_process, setrlimit,
};
use tokio::process::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Prepares this process before anything else runs in it: memory and open files. A system that refuses is as
/// good as one that does not do it.
pub(crate) fn prepare_process() {
    // The allocator would have each thread's first bytes zeroed two megabytes at a time: half of a short
    // command's time, and most of an idle node's memory.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    // As many files and connections as the system allows; the usual soft limit is for programs that use
    // `select`.
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    outlive_size_limits();
}

/// Keeps this process alive when it writes beyond the largest file that it may have (`ulimit -f`): the write
/// fails with an error, which says what is wrong. The signal ends a process that does not handle it.
fn outlive_size_limits() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
    let _inside = runtime.enter();
    // The handler stays when its receiver and the runtime have gone.
    let _ = signal(SignalKind::from_raw(Number::XFSZ.as_raw()));
}

/// Gives this thread, and all that it starts, only what nobody else wants of the processors, and (Linux gives
/// the idle class of processes the idle class of disks) of the disks. A system that refuses does not keep us
/// from working.
pub(crate) fn lowest_priority() {
    use thread_priority::{
        NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
        thread_native_id,
    };
    const LAST: i32 = 19;
    // Linux shares processors between sessions first (sched(7), autogroup). A session of our own, a
    // service's, goes last as a whole; that of a terminal is not ours to change.
    if std::fs::read_to_string("/proc/self/stat").is_ok_and(|stat| leads_its_session(&stat)) {
        let _ = std::fs::write("/proc/self/autogroup", LAST.to_string());
    }
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
    // Last: setting the class sets this, too.
    let _ = setpriority_process(None, LAST);
}

/// Tells from `/proc/PID/stat` (proc_pid_stat(5)) whether a process leads its session. Read there: in a
/// container started from outside the session is 0, which the `getsid` of our library does not allow for.
fn leads_its_session(stat: &str) -> bool {
    // The second field is a name in parentheses, in which anything may stand.
    let (Some((pid, _)), Some((_, after))) = (stat.split_once(" ("), stat.rsplit_once(") ")) else {
        return false;
    };
    after.split_whitespace().nth(3) == Some(pid)
}

/// The signals that ask a process to stop.
#[derive(Debug)]
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    /// Absent where it is ignored: `nohup` wants that.
    hangup: Option<Signal>,
}

impl StopSignals {
    /// Catches them from now on; on a runtime with input and output.
    ///
    /// # Errors
    /// The system refuses: signals then do what they do by default.
    pub(crate) fn catch() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) },
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        let hung_up = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hung_up => {}
        }
    }
}

/// Tells whether SIGHUP was ignored when we started: Linux tells, elsewhere it is taken for not ignored.
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    // Signal n is bit n - 1, and SIGHUP is 1.
    mask.is_some_and(|mask| mask & 1 == 1)
}

/// Keeps the Ctrl-C of our terminal from a process that is to be started.
pub(crate) fn shield_from_terminal(command: &mut Command) {
    command.process_group(0);
}

/// Asks a process of ours to stop, as Ctrl-C does. It may have ended just now, which is as good.
pub(crate) fn ask_to_stop(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Number::INT);
    }
}

/// Creates a folder, and those above it, that only this user can look into. One that is there stays as it is.
///
/// # Errors
/// It cannot be created.
pub(crate) fn create_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The configuration file of the whole machine, which only its administrator can write.
pub(crate) fn system_configuration() -> PathBuf {
    PathBuf::from("/etc/swarm/config.toml")
}

/// The configuration file of this user; `None` without a home folder.
pub(crate) fn user_configuration() -> Option<PathBuf> {
    Some(etcetera::choose_base_strategy().ok()?.config_dir().join("swarm/config.toml"))
}

/// The store's folder of this user; `None` without a home folder.
pub(crate) fn default_home() -> Option<PathBuf> {
    Some(etcetera::choose_base_strategy().ok()?.data_dir().join("swarm"))
}

/// A word as a shell takes it back, for lines to paste.
pub(crate) fn shell_quote(text: &str) -> Cow<'_, str> {
    // No argument of a program has a NUL in it.
    shlex::try_quote(text).unwrap_or(Cow::Borrowed(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_process_of_a_session_leads_it() {
        assert!(leads_its_session("71 (swarm) R 1 71 71 0 -1 4194304"));
        assert!(leads_its_session("71 (a) b (c) R 1 71 71 0 -1"));
        assert!(!leads_its_session("71 (swarm) R 70 71 70 34816 71"));
        assert!(!leads_its_session("1 (swarm) R 0 0 0 0 -1"), "started into a container from outside");
        assert!(!leads_its_session(""));
    }

    #[test]
    fn lines_to_paste_survive_a_shell() {
        for plain in ["swarm", "/tmp/a-b_c.bin", "--json", "user@host:1"] {
            assert_eq!(shell_quote(plain), plain);
        }
        assert_eq!(shell_quote("swarm:ab?name=x&peer=/ip4/1.2.3.4"), "'swarm:ab?name=x&peer=/ip4/1.2.3.4'");
        for odd in ["", "it's $HOME", "~/x", "a\nb", "!x^", "\u{e9} {a,b}"] {
            let line = format!("printf %s {}", shell_quote(odd));
            let read = std::process::Command::new("sh").args(["-c", &line]).output().expect("a shell");
            assert_eq!(String::from_utf8_lossy(&read.stdout), odd);
        }
    }
}
