//! The end of the program: the documented exit codes, and the texts of failures.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use swarm_core::api::event::{Failure, Fault};
use swarm_core::net::error::StartError;

/// The exit codes, as `swarm help exit-codes` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// Success.
    Done = 0,
    /// A mistake of the user or in the configuration.
    User = 1,
    /// A mistake in the command line.
    Usage = 2,
    /// No reachable peer has the content.
    NotFound = 3,
    /// Bytes do not have the hash that they should have.
    Verification = 4,
    /// The time of `--timeout` is over.
    Timeout = 5,
    /// An error of the disk.
    Disk = 6,
    /// The node that runs for the store does not answer.
    NoAnswer = 7,
    /// The node that runs for the store has as many commands as it takes.
    Busy = 8,
    /// A hostile or broken manifest.
    BadContent = 65,
    /// Ctrl-C or a signal.
    Interrupted = 130,
}

impl Code {
    /// All codes, in order.
    pub(crate) const ALL: [Self; 11] = [
        Self::Done,
        Self::User,
        Self::Usage,
        Self::NotFound,
        Self::Verification,
        Self::Timeout,
        Self::Disk,
        Self::NoAnswer,
        Self::Busy,
        Self::BadContent,
        Self::Interrupted,
    ];

    /// Returns its name in JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::User => "user",
            Self::Usage => "usage",
            Self::NotFound => "not_found",
            Self::Verification => "verification",
            Self::Timeout => "timeout",
            Self::Disk => "disk",
            Self::NoAnswer => "no_answer",
            Self::Busy => "busy",
            Self::BadContent => "bad_content",
            Self::Interrupted => "interrupted",
        }
    }

    /// Returns its meaning, for `swarm help exit-codes`.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done; also after a daemon or a sharing command was stopped",
            Self::User => "the request cannot be carried out, or the configuration is wrong",
            Self::Usage => "the command line is wrong",
            Self::NotFound => "no reachable node has it",
            Self::Verification => "verification failed: data does not match its hash",
            Self::Timeout => "time ran out (--timeout), with a source known or before one could be asked",
            Self::Disk => "the disk is full, not writable or broken",
            Self::NoAnswer => "the running node of this store does not answer: it is stopped, or hangs",
            Self::Busy => "the running node of this store is busy: too many commands are waiting",
            Self::BadContent => "bad manifest: the content is malformed, by the fault of its publisher",
            Self::Interrupted => "interrupted; progress is kept",
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

impl From<Fault> for Code {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::User => Self::User,
            Fault::NotFound => Self::NotFound,
            Fault::Verification => Self::Verification,
            Fault::Timeout => Self::Timeout,
            Fault::Disk => Self::Disk,
            Fault::NoAnswer => Self::NoAnswer,
            Fault::Busy => Self::Busy,
            Fault::BadContent => Self::BadContent,
            Fault::Interrupted => Self::Interrupted,
            // A kind that a later library adds.
            _ => Self::User,
        }
    }
}

/// Returns the text of `swarm help exit-codes`.
pub(crate) fn codes_help() -> String {
    let mut text = String::from("Exit codes of swarm:\n\n");
    for code in Code::ALL {
        text.push_str(&format!("  {:>3}  {}\n", code as u8, code.meaning()));
    }
    text.push_str("\nIn JSON a failure is {\"v\":1,\"event\":\"failed\",\"fault\":NAME,\"exit\":CODE,..}, with NAME one of:\n");
    let names: Vec<_> = Code::ALL.iter().skip(1).map(|code| code.name()).collect();
    text.push_str(&format!("  {}\n", names.join(", ")));
    text
}

/// A failure: what was tried and what failed, and the next command to type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    /// Kind of the fault.
    pub(crate) code: Code,
    /// A sentence. It may hold names that a peer chose: the screen escapes it.
    pub(crate) message: String,
    /// The next command to type.
    pub(crate) hint: Option<String>,
}

impl Failed {
    /// Makes a failure without a hint.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// Adds the next command to type.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Makes a failure of the local file system. `verb` is the word after "cannot", such as "read".
    pub(crate) fn io(verb: &str, path: &Path, error: &io::Error) -> Self {
        let code = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => {
                Code::User
            }
            _ => Code::Disk,
        };
        Self::new(code, format!("cannot {verb} {}: {error}", path.display()))
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self { code: failure.fault.into(), message: failure.message, hint: failure.hint }
    }
}

/// Reason for which a command ended before it was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A failure that has not been printed yet.
    Failed(Failed),
    /// A failure that has been printed.
    Said(Code),
    /// Ctrl-C or a signal.
    Interrupted,
    /// The reader of standard output has closed it, so that no output is needed any longer.
    ReaderGone,
}

impl From<Failed> for Stop {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

/// The outcome of a command.
pub(crate) type Outcome<T = ()> = Result<T, Stop>;

/// Makes the failure of a node that could not be started or reached.
pub(crate) fn not_started(error: &StartError) -> Failed {
    match error {
        StartError::Refused(failure) => failure.clone().into(),
        _ => {
            let failed = Failed::new(error.fault().into(), error.to_string());
            match error.hint() {
                Some(hint) => failed.hint(hint),
                None => failed,
            }
        }
    }
}

/// Makes the failure of an answer that does not fit its command: the versions of swarm do not fit together.
pub(crate) fn unexpected() -> Stop {
    Failed::from(Failure::unexpected_answer()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_documented_ones() {
        let codes: Vec<u8> = Code::ALL.iter().map(|&code| code as u8).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 65, 130]);
        let help = codes_help();
        for code in Code::ALL {
            assert!(help.contains(&format!("{:>3}  {}", code as u8, code.meaning())), "{help}");
        }
        assert!(help.lines().all(|line| line.len() <= 100), "{help}");
        assert!(help.contains(" 65  bad manifest"), "{help}");
    }

    #[test]
    fn every_fault_has_its_code() {
        for (fault, code) in [
            (Fault::User, 1),
            (Fault::NotFound, 3),
            (Fault::Verification, 4),
            (Fault::Timeout, 5),
            (Fault::Disk, 6),
            (Fault::NoAnswer, 7),
            (Fault::Busy, 8),
            (Fault::BadContent, 65),
            (Fault::Interrupted, 130),
        ] {
            assert_eq!((Code::from(fault) as u8, fault.exit_code()), (code, code));
            // The names are those the contract gives them.
            assert_eq!(serde_json::to_value(fault).expect("plain"), Code::from(fault).name());
        }
    }
}
