//! Reads a file from its start while the rest of it is still being fetched.
//!
//! Run it with `cargo run -p swarm-core --example read_while_fetching`. It ends with exit code 0 only if
//! bytes could be read before the download was done, and all of them are as they were.

use std::error::Error;
use std::fs;
use std::path::Path;

use swarm_core::{Get, Node, Options, Publish};
use tokio::io::AsyncReadExt as _;

/// Bytes of the file.
const LEN: usize = 8 << 20;
/// Bytes per second that the publisher sends, so that the reader is there first.
const RATE: u64 = 8 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    swarm_core::runtime()?.block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("film.bin");
    fs::write(&source, sample(LEN))?;

    // On loopback limits apply only if they are for the LAN as well.
    let mut slow = options(&folder.path().join("alice")).limit_up(RATE);
    slow.limit_lan = true;
    let alice = Node::start(slow).await?;
    let published = alice.publish(Publish::new(&source)).await?;

    let bob = Node::start(options(&folder.path().join("bob"))).await?;
    let mut reader = bob.cat(Get::new(&published.link));
    let mut bytes = vec![0; 64 << 10];
    reader.read_exact(&mut bytes).await?;
    say(&format!("read {} bytes; {} are verified so far", bytes.len(), reader.verified()));
    assert!(reader.done().is_none(), "the rest is still on its way");

    reader.read_to_end(&mut bytes).await?;
    assert!(bytes == sample(LEN), "the bytes differ");
    let done = reader.done().ok_or("the download has an answer at its end")?;
    say(&format!("read all {} bytes in {} ms, as they were", bytes.len(), done.took_ms));

    bob.stop().await;
    alice.stop().await;
    Ok(())
}

/// Options of a node that finds others by links alone.
fn options(home: &Path) -> Options {
    Options::new(home).listen("/ip4/127.0.0.1/tcp/0").without_mdns().without_dht()
}

/// Bytes that do not repeat in chunks.
fn sample(len: usize) -> Vec<u8> {
    (0..len as u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

#[expect(clippy::print_stdout, reason = "an example talks")]
fn say(text: &str) {
    println!("{text}");
}
