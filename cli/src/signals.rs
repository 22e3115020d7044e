//! Signals that stop the program: the first one asks to stop in order, the second one stops at once.

use std::io;

use tokio::runtime;
use tokio::sync::watch;

use crate::exit::Code;
use crate::platform::StopSignals;

/// Receiver of the first signal that asks the program to stop.
#[derive(Debug, Clone)]
pub(crate) struct Signals(watch::Receiver<u32>);

impl Signals {
    /// Catches signals from now on. A second one ends the process at once: signals are counted on a thread of
    /// their own, which does not hang when stopping in order does.
    pub(crate) fn catch() -> Self {
        let (count, seen) = watch::channel(0);
        std::thread::spawn(move || {
            // When this fails, signals do what they do by default: they end us.
            let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
            runtime.block_on(count_signals(&count))
        });
        Self(seen)
    }

    /// Waits for the first signal; returns at once if it has come.
    pub(crate) async fn first(&mut self) {
        if self.0.wait_for(|&count| count > 0).await.is_err() {
            std::future::pending().await
        }
    }
}

async fn count_signals(count: &watch::Sender<u32>) -> io::Result<()> {
    let mut signals = StopSignals::catch()?;
    loop {
        signals.next().await;
        count.send_modify(|count| *count += 1);
        if *count.borrow() > 1 {
            std::process::exit(Code::Interrupted as i32);
        }
    }
}
