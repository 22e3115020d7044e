//! How fast the bare transport is on this machine: no hashing, no disk, one raw stream between two processes.
//!
//! Figures of the whole product mean little on a shared machine without this row beside them.
//!
//! ```text
//! calibrate [BYTES [ROUNDS [WRITE]]]     both ends, as two processes over loopback
//! calibrate serve [MULTIADDR]            the sending end; prints the address to fetch from
//! calibrate fetch MULTIADDR [BYTES [ROUNDS [WRITE]]]
//! ```
//!
//! BYTES per round (default 1 GiB), ROUNDS (3), WRITE bytes per write (256 KiB, at most 1 MiB). Sizes may end
//! in K, M or G (powers of 1024). Speed is in MB/s, CPU in seconds per GB of payload, user and system
//! together, of the whole process; MB and GB are powers of ten. Each end is one current-thread runtime, as
//! the product's bulk tasks are.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use futures::channel::{mpsc, oneshot};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use futures::{SinkExt, StreamExt};
use libp2p::Multiaddr;
use libp2p::core::Endpoint;
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt, SubstreamBox};
use libp2p::core::transport::{DialOpts, ListenerId, PortUse, Transport, TransportEvent};
use libp2p::identity::Keypair;
use rustix::time::{ClockId, clock_gettime};

// The product uses it, and it decides a third of the speed.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Res<T> = Result<T, Box<dyn Error + Send + Sync>>;

const LOOPBACK: &str = "/ip4/127.0.0.1/tcp/0";
/// The largest write, and the size of every read buffer.
const BUFFER: usize = 1 << 20;
/// One round asked for: payload bytes and bytes per write, both u64, big end first.
const REQUEST: usize = 16;
/// The answer at the end of a round: CPU nanoseconds of the sender, u64, big end first.
const RECEIPT: usize = 8;

/// Parameters of a run.
#[derive(Clone, Copy)]
struct Plan {
    bytes: u64,
    rounds: u64,
    write: u64,
}

/// Results of one round.
struct Round {
    seconds: f64,
    sender_cpu: f64,
    receiver_cpu: f64,
}

fn main() -> Res<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match words.as_slice() {
        ["serve", rest @ ..] => runtime.block_on(serve(rest.first().unwrap_or(&LOOPBACK).parse()?)),
        ["fetch", from, rest @ ..] => runtime.block_on(fetch(from.parse()?, plan(rest)?)),
        rest => {
            let plan = plan(rest)?;
            let (mut server, address) = spawn_server()?;
            let fetched = runtime.block_on(fetch(address, plan));
            server.kill()?;
            server.wait()?;
            fetched
        }
    }
}

/// `[BYTES [ROUNDS [WRITE]]]`
fn plan(words: &[&str]) -> Res<Plan> {
    let number = |at: usize, default| words.get(at).map_or(Ok(default), |word| size(word));
    let plan = Plan { bytes: number(0, 1 << 30)?, rounds: number(1, 3)?, write: number(2, 256 << 10)? };
    if plan.write == 0 || plan.write > BUFFER as u64 || plan.bytes == 0 || plan.rounds == 0 {
        return Err("BYTES and ROUNDS must be at least 1, WRITE within 1 to 1M".into());
    }
    Ok(plan)
}

/// `1G`, `256K`, `1000`
fn size(word: &str) -> Res<u64> {
    let digits = word.trim_end_matches(['K', 'M', 'G']);
    let shift = match &word[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err(format!("not a size: {word}").into()),
    };
    let number: u64 = digits.parse().map_err(|error| format!("not a size: {word}: {error}"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("too large: {word}").into())
}

/// Starts this program again as the sending end and learns where it listens.
fn spawn_server() -> Res<(Child, Multiaddr)> {
    let mut server = Command::new(std::env::current_exe()?).arg("serve").stdout(Stdio::piped()).spawn()?;
    let stdout = server.stdout.take().ok_or("the server has no stdout")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    Ok((server, line.trim().parse()?))
}

/// Listens, prints the address, and answers every connection until killed.
async fn serve(listen: Multiaddr) -> Res<()> {
    let mut transport = swarm_core::net::transport::build(&Keypair::generate_ed25519(), false)?;
    transport.listen_on(ListenerId::next(), listen)?;
    loop {
        match futures::future::poll_fn(|cx| Pin::new(&mut transport).poll(cx)).await {
            TransportEvent::NewAddress { listen_addr, .. } => {
                writeln!(io::stdout(), "{listen_addr}")?;
            }
            TransportEvent::Incoming { upgrade, .. } => {
                tokio::spawn(async move {
                    let (_, muxer) = upgrade.await?;
                    let (_, mut streams) = drive(muxer);
                    while let Some(stream) = streams.next().await {
                        send(stream).await?;
                    }
                    Res::Ok(())
                });
            }
            TransportEvent::ListenerError { error, .. } => return Err(error.into()),
            _ => {}
        }
    }
}

/// One round of the sending end: a request, the payload, the CPU it took.
async fn send(mut stream: SubstreamBox) -> Res<()> {
    let mut request = [0; REQUEST];
    stream.read_exact(&mut request).await?;
    let (bytes, write) = request.split_at(REQUEST / 2);
    let (mut left, write) = (u64::from_be_bytes(bytes.try_into()?), u64::from_be_bytes(write.try_into()?));
    if write == 0 || write > BUFFER as u64 {
        return Err("bad request".into());
    }
    let payload = vec![0xA5; usize::try_from(write)?];
    let before = cpu_nanos();
    while left > 0 {
        let part = &payload[..usize::try_from(left.min(write))?];
        stream.write_all(part).await?;
        left -= part.len() as u64;
    }
    stream.flush().await?;
    // The receiver has everything: now nothing of this round is still under way.
    stream.read_exact(&mut [0]).await?;
    stream.write_all(&(cpu_nanos() - before).to_be_bytes()).await?;
    stream.close().await?;
    Ok(())
}

/// The receiving end: connects, runs every round, prints them and their median.
async fn fetch(from: Multiaddr, plan: Plan) -> Res<()> {
    let mut transport = swarm_core::net::transport::build(&Keypair::generate_ed25519(), false)?;
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    let (_, muxer) = transport.dial(from, options)?.await?;
    let (mut opener, _streams) = drive(muxer);
    let mut out = io::stdout();
    let mut rounds = Vec::new();
    for index in 1..=plan.rounds {
        let (reply, stream) = oneshot::channel();
        opener.send(reply).await?;
        let round = receive(stream.await?, plan).await?;
        writeln!(out, "round {index}: {}", show(&round, plan.bytes))?;
        rounds.push(round);
    }
    rounds.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    writeln!(out, "median:  {}", show(&rounds[rounds.len() / 2], plan.bytes))?;
    Ok(())
}

/// One round of the receiving end.
async fn receive(mut stream: SubstreamBox, plan: Plan) -> Res<Round> {
    let mut buffer = vec![0; BUFFER];
    let (started, before) = (Instant::now(), cpu_nanos());
    stream.write_all(&[plan.bytes.to_be_bytes(), plan.write.to_be_bytes()].concat()).await?;
    stream.flush().await?;
    let mut left = plan.bytes;
    while left > 0 {
        let want = usize::try_from(left.min(BUFFER as u64))?;
        match stream.read(&mut buffer[..want]).await? {
            0 => return Err(format!("the stream ended {left} bytes early").into()),
            count => left -= count as u64,
        }
    }
    let (seconds, receiver_cpu) = (started.elapsed().as_secs_f64(), cpu_nanos() - before);
    stream.write_all(&[1]).await?;
    stream.flush().await?;
    let mut receipt = [0; RECEIPT];
    stream.read_exact(&mut receipt).await?;
    let sender_cpu = u64::from_be_bytes(receipt);
    Ok(Round { seconds, sender_cpu: sender_cpu as f64 / 1e9, receiver_cpu: receiver_cpu as f64 / 1e9 })
}

fn show(round: &Round, bytes: u64) -> String {
    let gigabytes = bytes as f64 / 1e9;
    format!(
        "{:6.0} MB/s, CPU-s/GB sender {:.3}, receiver {:.3}",
        gigabytes * 1e3 / round.seconds,
        round.sender_cpu / gigabytes,
        round.receiver_cpu / gigabytes
    )
}

/// Runs a connection in a task of its own, as libp2p does. Outbound streams are asked for with a reply
/// channel, inbound ones arrive in the receiver; the task ends when the connection does.
fn drive(
    mut muxer: StreamMuxerBox,
) -> (mpsc::Sender<oneshot::Sender<SubstreamBox>>, mpsc::Receiver<SubstreamBox>) {
    let (opener, mut wanted) = mpsc::channel::<oneshot::Sender<SubstreamBox>>(1);
    let (mut arrived, streams) = mpsc::channel(1);
    let mut reply = None;
    let connection = futures::future::poll_fn(move |cx| {
        loop {
            if muxer.poll_unpin(cx)?.is_ready() {
                continue;
            }
            if reply.is_none()
                && let std::task::Poll::Ready(Some(next)) = wanted.poll_next_unpin(cx)
            {
                reply = Some(next);
            }
            if reply.is_some()
                && let std::task::Poll::Ready(stream) = muxer.poll_outbound_unpin(cx)?
                && let Some(reply) = reply.take()
            {
                // Whoever asked may have gone.
                let _ = reply.send(stream);
                continue;
            }
            if arrived.poll_ready(cx).is_ready()
                && let std::task::Poll::Ready(stream) = muxer.poll_inbound_unpin(cx)?
            {
                let _ = arrived.start_send(stream);
                continue;
            }
            return std::task::Poll::<io::Result<()>>::Pending;
        }
    });
    tokio::spawn(connection);
    (opener, streams)
}

/// CPU time this process has used, all threads, user and system, nanoseconds.
fn cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    // Both parts are positive for as long as a process can run.
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}
