//! Web seeds against servers that do as they like, on real sockets.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::address::of_internet;
use super::connection::Patience;
use super::*;
use server::{Server, Step, part};

mod answers;
mod network;
mod nginx;
mod pool;
mod redirects;
mod secure;
mod server;

/// More than anything here takes.
const LONG: Duration = Duration::from_secs(60);
/// A patience that a test waits to the end of.
const BRIEF: Duration = Duration::from_millis(50);

/// The file that honest servers have.
fn file() -> Vec<u8> {
    (0..100_000_u32).map(|index| ((index * 31) >> 3) as u8).collect()
}

/// Sockets as they are, patience for a slow machine.
fn network() -> WebNetwork {
    WebNetwork {
        patience: Patience { connect: LONG, first_byte: LONG, progress: LONG },
        ..WebNetwork::system()
    }
}

/// The same, on which names mean what a test says.
fn named(find: impl Fn(&str) -> Vec<SocketAddr> + Send + Sync + 'static) -> WebNetwork {
    let lookup = move |host: String, _| {
        let found = find(&host);
        Box::pin(async move { Ok(found) }) as _
    };
    WebNetwork { lookup: Box::new(lookup), ..network() }
}

/// A seed on this machine, reached as its owner allowed.
fn seed(server: &Server) -> WebSeed {
    WebSeed::within(network(), &server.url("/file"), true).unwrap()
}

/// What is read of a seed, and how that ends.
async fn read(seed: &WebSeed, range: Range<u64>) -> (Vec<u8>, Result<(), WebSeedError>) {
    let mut got = Vec::new();
    let ended = timeout(LONG, seed.read(range, |piece| got.extend_from_slice(piece))).await;
    (got, ended.expect("a read ends"))
}

/// Why a read gave nothing.
async fn refusal(seed: &WebSeed, range: Range<u64>) -> WebSeedError {
    let (got, ended) = read(seed, range).await;
    assert!(got.is_empty());
    ended.unwrap_err()
}

/// An answer of a head and a body, each as given.
fn raw(head: &str, body: impl AsRef<[u8]>) -> Vec<Step> {
    let mut bytes = head.replace('\n', "\r\n").into_bytes();
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes.extend_from_slice(body.as_ref());
    vec![Step::Send(bytes)]
}

/// Whether this is the process that a test runs itself in, with these variables; if not, it is run and looked at.
fn in_child(test: &str, variables: &[(&str, &str)]) -> bool {
    const CHILD: &str = "SWARM_WEBSEED_CHILD";
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let path = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", &path]).env(CHILD, "1").envs(variables.iter().copied());
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}
