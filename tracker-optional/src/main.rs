//! `swarm-tracker`: the optional meeting point, as a program of its own.

mod args;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use etcetera::BaseStrategy as _;
use swarm_core::api::event::Fault;
use swarm_tracker::server::{Options, Server};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Writes entries of the log to standard error, each as one escaped line: it may hold text of peers.
struct Log;

impl io::Write for Log {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        let line = swarm_core::content::path::escape_entry(entry);
        io::stderr().lock().write_all(line.as_bytes()).map(|()| entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Exit codes, as `swarm help exit-codes` explains them.
const USER: u8 = 1;
const DISK: u8 = 6;
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let args = args::parse();
    raise_open_files();
    let filter = EnvFilter::try_from_env("SWARM_LOG").unwrap_or_else(|_| EnvFilter::new("warn,yamux=off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Log).with_ansi(false).init();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(USER, &format!("cannot start: {error}")),
    };
    match runtime.block_on(run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, message)) => failed(code, &message),
    }
}

async fn run(args: &args::Args) -> Result<(), (u8, String)> {
    let user = |e: io::Error| (USER, format!("cannot wait for signals: {e}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(user)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(user)?;
    let home = args.home.clone().or_else(default_home);
    let home = home.ok_or((USER, "cannot find your data folder: choose one with --home".to_owned()))?;
    let options = Options {
        listen: args.listen.clone(),
        http: (!args.no_http).then_some(args.http),
        connections: args.connections as usize,
        per_address: args.per_address as usize,
        nodes: args.nodes as usize,
        interval: args.interval,
        external: args.external.clone(),
        relay_content: args.relay_content,
        ..Options::new(home)
    };
    let server = Server::start(&options).await.map_err(|e| {
        let code = if e.fault() == Fault::Disk { DISK } else { USER };
        (code, e.to_string())
    })?;
    // If nobody reads the output any more, nobody needs the addresses; the tracker goes on.
    let _ = tell(&server, args.json);
    tokio::select! {
        _ = interrupt.recv() => Err((INTERRUPTED, String::new())),
        _ = terminate.recv() => Ok(()),
    }
}

/// Prints the addresses on standard output, and all other text on standard error.
fn tell(server: &Server, json: bool) -> io::Result<()> {
    let (addresses, mut out) = (server.addresses(), io::stdout().lock());
    if json {
        let http = server.http.map(|at| format!("http://{at}/"));
        let line = serde_json::json!({ "v": 1, "event": "listening", "addresses": addresses, "http": http });
        writeln!(out, "{line}")?;
        return out.flush();
    }
    for address in &addresses {
        writeln!(out, "{address}")?;
    }
    out.flush()?;
    let mut talk = io::stderr().lock();
    if let Some(first) = addresses.first() {
        writeln!(talk, "give nodes the address that they can reach, for example")?;
        writeln!(talk, "  swarm daemon --tracker {first}")?;
    }
    if let Some(at) = server.http {
        writeln!(talk, "its page is http://{at}/")?;
    }
    writeln!(talk, "running until Ctrl-C")
}

fn failed(code: u8, message: &str) -> ExitCode {
    if !message.is_empty() {
        let _ = writeln!(io::stderr(), "error: {message}");
    }
    code.into()
}

fn default_home() -> Option<PathBuf> {
    Some(etcetera::choose_base_strategy().ok()?.data_dir().join("swarm-tracker"))
}

/// Raises the limit of open files, and so of connections, to the most that the system allows.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
