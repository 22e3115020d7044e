//! Ctrl-C, SIGTERM and SIGHUP: the first one asks to stop, the second one stops.

use std::io;

use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::exit::Code;

/// Tells when a signal has come that should end us.
#[derive(Debug, Clone)]
pub(crate) struct Signals(watch::Receiver<u32>);

impl Signals {
    /// Catches signals from now on. A second one ends the process at once: they are counted on a thread of their own,
    /// which nothing that hinders stopping in order can hinder.
    pub(crate) fn catch() -> Self {
        let (count, seen) = watch::channel(0);
        std::thread::spawn(move || {
            // When this fails, signals do what they do by default: they end us.
            let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
            runtime.block_on(count_signals(&count))
        });
        Self(seen)
    }

    /// Waits for the first signal; comes at once when it has been.
    pub(crate) async fn first(&mut self) {
        if self.0.wait_for(|&count| count > 0).await.is_err() {
            std::future::pending().await
        }
    }
}

async fn count_signals(count: &watch::Sender<u32>) -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // Ignored: nohup wants that.
    let mut hangup = if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
    loop {
        let hung_up = async {
            match &mut hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hung_up => {}
        }
        count.send_modify(|count| *count += 1);
        if *count.borrow() > 1 {
            std::process::exit(Code::Interrupted as i32);
        }
    }
}

/// Whether SIGHUP was ignored when we started: Linux tells, elsewhere it is taken for not ignored.
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    // Signal n is bit n - 1, and SIGHUP is 1.
    mask.is_some_and(|mask| mask & 1 == 1)
}
