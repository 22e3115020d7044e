//! Tests of web seeds with correct and with hostile servers, on real sockets.
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

/// A time longer than any step of these tests.
const LONG: Duration = Duration::from_secs(60);
/// A patience so short that a test can wait for its end.
const BRIEF: Duration = Duration::from_millis(50);

/// Returns the bytes of the file on correct servers.
fn file() -> Vec<u8> {
    (0..100_000_u32).map(|index| ((index * 31) >> 3) as u8).collect()
}

/// Returns the real network, with patience for a slow machine.
fn network() -> WebNetwork {
    WebNetwork {
        patience: Patience { connect: LONG, first_byte: LONG, progress: LONG },
        ..WebNetwork::system()
    }
}

/// Returns that network with a lookup of names by the test.
fn named(find: impl Fn(&str) -> Vec<SocketAddr> + Send + Sync + 'static) -> WebNetwork {
    let lookup = move |host: String, _| {
        let found = find(&host);
        Box::pin(async move { Ok(found) }) as _
    };
    WebNetwork { lookup: Box::new(lookup), ..network() }
}

/// Returns a web seed on this machine, whose owner allows private addresses.
fn seed(server: &Server) -> WebSeed {
    WebSeed::within(network(), &server.url("/file"), true).unwrap()
}

/// Reads a range. Returns the bytes that came and the result.
async fn read(seed: &WebSeed, range: Range<u64>) -> (Vec<u8>, Result<(), WebSeedError>) {
    let mut got = Vec::new();
    let ended = timeout(LONG, seed.read(range, |piece| got.extend_from_slice(piece))).await;
    (got, ended.expect("a read ends"))
}

/// Returns the error of a read that gives no bytes.
async fn refusal(seed: &WebSeed, range: Range<u64>) -> WebSeedError {
    let (got, ended) = read(seed, range).await;
    assert!(got.is_empty());
    ended.unwrap_err()
}

/// Returns an answer with this head and body.
fn raw(head: &str, body: impl AsRef<[u8]>) -> Vec<Step> {
    let mut bytes = head.replace('\n', "\r\n").into_bytes();
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes.extend_from_slice(body.as_ref());
    vec![Step::Send(bytes)]
}

/// Returns true in the child process in which a test runs itself with these variables. In the parent it runs
/// the child, checks that it passes, and returns false.
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
