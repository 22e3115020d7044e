//! The log: what the node says besides its answers, on standard error, for whoever looks for the reason of
//! something.

use std::sync::Mutex;

use tracing_subscriber::EnvFilter;

use crate::exit::{Code, Failed};
use crate::settings::{Level, Settings};
use crate::ui::Ui;

/// A filter such as `swarm_core=debug,libp2p=info`; it beats `-v` and `--log-level`.
const FILTER: &str = "SWARM_LOG";

/// Starts the log of the process.
///
/// # Errors
/// The filter in the environment cannot be read.
pub(crate) fn start(settings: &Settings, ui: &Ui) -> Result<(), Failed> {
    let filter = match std::env::var(FILTER) {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(&text).map_err(|error| {
            let failed = Failed::new(Code::User, format!("the filter in {FILTER} cannot be read: {error}"));
            failed.hint(format!("{FILTER}=swarm_core=debug,info"))
        })?,
        _ => EnvFilter::new(filter(settings.log_level.value, settings.verbose.value)),
    };
    let writer = Mutex::new(ui.log_writer());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(false);
    // A second start can only happen in tests; the first one goes on.
    let _ = log.try_init();
    Ok(())
}

/// Filter of a level. `-v` adds swarm's own lines first, because those of the libraries would drown them.
///
/// The stream multiplexer and Kademlia are left out, because a peer can make them log as often as it likes.
fn filter(level: Level, verbose: u8) -> String {
    let levels = match verbose {
        0 => level.name().to_owned(),
        1 => "warn,swarm=info,swarm_core=info".to_owned(),
        2 => "info,swarm=debug,swarm_core=debug".to_owned(),
        _ => "debug,swarm=trace,swarm_core=trace".to_owned(),
    };
    format!("{levels},yamux=off,libp2p_kad=warn")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_can_be_read() {
        for level in Level::ALL {
            for verbose in 0..5 {
                assert!(EnvFilter::try_new(filter(level, verbose)).is_ok());
            }
        }
    }
}
