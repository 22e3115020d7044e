//! The speed of a tracker over real connections of this machine: announcements per second, and the tracker's
//! processor time for each. The tracker and its callers have a thread each. The bench prints and checks
//! nothing.
//!
//! `cargo bench -p swarm-tracker --bench announcements`

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use swarm_core::discovery::tracker::conn::TrackerConnection;
use swarm_core::wire::tracker::{Announce, AnnouncedSwarm, SwarmKey};
use swarm_tracker::server::{Options, Server};
use tokio::task::JoinSet;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Connections that announce at once.
const CONNECTIONS: usize = 200;
/// The time for which each kind is measured.
const FOR: Duration = Duration::from_secs(4);

const KEY: SwarmKey = [7; 32];

/// A tracker on a thread of its own. On request it reports the processor time that it has used.
struct Tracker {
    address: String,
    asks: mpsc::Sender<()>,
    used: mpsc::Receiver<Duration>,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

impl Tracker {
    fn start() -> Self {
        let (tell, told) = mpsc::channel();
        let (asks, asked) = mpsc::channel::<()>();
        let (answer, used) = mpsc::channel();
        std::thread::spawn(move || {
            let home = tempfile::tempdir().unwrap();
            let options = Options {
                listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
                rate: u32::MAX,
                ..Options::new(home.path().to_owned())
            };
            runtime().block_on(async {
                let server = Server::start(&options).await.unwrap();
                tell.send(server.addresses()[0].clone()).unwrap();
                let mut look = tokio::time::interval(Duration::from_millis(10));
                loop {
                    look.tick().await;
                    match asked.try_recv() {
                        Ok(()) => answer.send(thread_time()).unwrap(),
                        Err(mpsc::TryRecvError::Empty) => {}
                        Err(mpsc::TryRecvError::Disconnected) => return,
                    }
                }
            });
        });
        Self { address: told.recv().unwrap(), asks, used }
    }

    fn used(&self) -> Duration {
        self.asks.send(()).unwrap();
        self.used.recv().unwrap()
    }
}

fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn announce(ask: bool, version: u64) -> Announce {
    Announce {
        addrs: vec![vec![4, 10, 0, 0, 1, 6, 0x10, 0xa2], vec![4, 10, 0, 0, 1, 0x91, 2, 0x10, 0xa2, 0xcd, 3]],
        base: version,
        version: 1,
        add: if version == 0 { vec![AnnouncedSwarm { key: KEY, whole: false }] } else { Vec::new() },
        ask: if ask { vec![KEY] } else { Vec::new() },
        ..Announce::default()
    }
}

fn main() {
    let tracker = Tracker::start();
    println!("{CONNECTIONS} nodes of one swarm, one processor for the tracker and one for them");
    for (name, ask) in [("renewals", false), ("renewals that ask for members", true)] {
        let (count, took, used) = runtime().block_on(standing(&tracker, ask));
        row(name, count, took, used);
    }
    let (count, took, used) = runtime().block_on(coming(&tracker));
    row("a connection for each", count, took, used);
}

fn row(name: &str, count: u64, took: Duration, used: Duration) {
    let (rate, each) = (count as f64 / took.as_secs_f64(), used.as_secs_f64() / count as f64 * 1e6);
    let alone = 1e6 / each;
    println!(
        "{name:<32} {rate:>8.0}/s  {each:>7.1} us of the tracker's processor each: {alone:>7.0}/s at most"
    );
}

/// Measures announcements over connections that stay.
async fn standing(tracker: &Tracker, ask: bool) -> (u64, Duration, Duration) {
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = TrackerConnection::open_anew(&tracker.address).await.unwrap();
        connection.ask(&announce(false, 0)).await.unwrap();
        open.push(connection);
    }
    let (start, before) = (Instant::now(), tracker.used());
    let mut tasks = JoinSet::new();
    for mut connection in open {
        tasks.spawn(async move {
            let mut count = 0_u64;
            while start.elapsed() < FOR {
                connection.ask(&announce(ask, 1)).await.unwrap();
                count += 1;
            }
            count
        });
    }
    let mut count = 0;
    while let Some(done) = tasks.join_next().await {
        count += done.unwrap();
    }
    (count, start.elapsed(), tracker.used() - before)
}

/// Measures announcements over a new connection each, as nodes that have nothing to fetch make them.
async fn coming(tracker: &Tracker) -> (u64, Duration, Duration) {
    let (start, before) = (Instant::now(), tracker.used());
    let mut count = 0;
    while start.elapsed() < FOR {
        let mut connection = TrackerConnection::open_anew(&tracker.address).await.unwrap();
        connection.ask(&announce(false, 0)).await.unwrap();
        count += 1;
    }
    (count, start.elapsed(), tracker.used() - before)
}
