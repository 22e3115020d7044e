//! Watches the progress of a publish and of a download that is slowed down, and cancels another download.
//!
//! Run it with `cargo run -p swarm-core --example watch_progress`. It ends with exit code 0 only if the file
//! arrived as it was and progress was told on the way.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Duration;

use swarm_core::{Get, JobProgress, Node, Options, Publish};

/// Bytes of the file.
const LEN: usize = 4 << 20;
/// Bytes per second that the publisher sends, so that there is something to watch.
const RATE: u64 = 4 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    swarm_core::runtime()?.block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let (source, copy) = (folder.path().join("film.bin"), folder.path().join("copy.bin"));
    fs::write(&source, sample(LEN))?;

    // On loopback limits apply only if they are for the LAN as well.
    let mut slow = options(&folder.path().join("alice")).limit_up(RATE);
    slow.limit_lan = true;
    let alice = Node::start(slow).await?;
    let mut job = alice.publish(Publish::new(&source));
    while let Some(progress) = job.next_progress().await {
        if let JobProgress::Hashing { done, total } = progress {
            say(&format!("hashed {done} of {total} bytes"));
        }
    }
    let published = job.await?;

    let bob = Node::start(options(&folder.path().join("bob"))).await?;
    let mut job = bob.get(Get::new(&published.link).output(&copy).timeout(Duration::from_secs(60)));
    let mut steps = 0;
    while let Some(progress) = job.next_progress().await {
        match progress {
            JobProgress::Found(blob) => say(&format!("found {}, {} bytes", blob.name, blob.len)),
            JobProgress::Transfer(progress) => {
                steps += 1;
                say(&format!("{} of {} bytes, {} B/s", progress.done, progress.total, progress.rate));
            }
            JobProgress::Searching { tried, .. } => say(&format!("no holder yet: {}", tried.join("; "))),
            JobProgress::Notice(text) => say(&text),
            _ => {}
        }
    }
    let done = job.await?;
    assert!(steps > 0, "progress is told on the way");
    assert!(fs::read(&done.path)? == sample(LEN), "the copy differs");
    say(&format!("fetched from {} peer(s) in {} ms, as it was", done.sources.len(), done.took_ms));

    let carol = Node::start(options(&folder.path().join("carol"))).await?;
    let unwanted = folder.path().join("unwanted.bin");
    let mut job = carol.get(Get::new(&published.link).output(&unwanted));
    while let Some(progress) = job.next_progress().await {
        if matches!(progress, JobProgress::Transfer(_)) {
            break;
        }
    }
    drop(job);
    assert!(!unwanted.exists(), "a download that is cancelled puts nothing in place");
    say("cancelled another download");

    for node in [carol, bob, alice] {
        node.stop().await;
    }
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
