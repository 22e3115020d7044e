//! Publishes a folder on one node and fetches it with another one, both in this process and on loopback.
//!
//! Run it with `cargo run -p swarm-core --example publish_and_get`. It ends with exit code 0 only if every
//! file arrived as it was.

use std::error::Error;
use std::fs;
use std::path::Path;

use swarm_core::{Get, Node, Options, Publish, Verify};

fn main() -> Result<(), Box<dyn Error>> {
    swarm_core::runtime()?.block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("source");
    fs::create_dir_all(source.join("notes"))?;
    let files = [("film.bin", sample(3 << 20)), ("notes/today.txt", b"all is well\n".to_vec())];
    for (name, bytes) in &files {
        fs::write(source.join(name), bytes)?;
    }

    let alice = Node::start(options(&folder.path().join("alice"))).await?;
    let published = alice.publish(Publish::new(&source).name("holiday")).await?;
    say(&format!("alice publishes {} as {}", published.blob.name, published.blob.id));

    let bob = Node::start(options(&folder.path().join("bob"))).await?;
    let done = bob.get(Get::new(&published.link).folder(folder.path().join("fetched"))).await?;
    let place = done.path.display();
    say(&format!("bob has {} bytes in {place} after {} ms", done.len, done.took_ms));

    for (name, bytes) in &files {
        assert!(fs::read(done.path.join(name))? == *bytes, "{name} differs");
    }
    let verified = bob.verify(Verify::all()).await?;
    assert!(verified.bad.is_empty(), "bad chunks: {:?}", verified.bad);
    let entries = bob.entries(&published.blob.id).await?;
    assert_eq!(entries.len(), files.len());
    say(&format!("all {} files are as they were; {} chunks verified", entries.len(), verified.chunks));

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
