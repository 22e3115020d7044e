//! Below the transport: an authenticated connection on which every yamux frame is written by hand.

use std::error::Error;
use std::time::{Duration, Instant};

use futures::io::{AsyncReadExt, AsyncWriteExt};
use libp2p::core::Endpoint;
use libp2p::core::transport::{DialOpts, PortUse, Transport};
use libp2p::core::upgrade::OutboundConnectionUpgrade;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::tcp::tokio::TcpStream;
use libp2p::{Multiaddr, noise, tcp};

use super::net::propose;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The kinds of yamux frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Bytes of a stream.
    Data = 0,
    /// More bytes may be sent.
    WindowUpdate = 1,
    /// Are you there.
    Ping = 2,
    /// The connection ends.
    GoAway = 3,
}

/// Opens a stream.
pub const SYN: u16 = 1;
/// Accepts one, or answers a ping.
pub const ACK: u16 = 2;
/// Ends one in order.
pub const FIN: u16 = 4;
/// Ends one at once.
pub const RST: u16 = 8;

/// The twelve bytes before every frame; from the yamux spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Its kind, 0 to 3 if it is honest.
    pub kind: u8,
    /// See [`SYN`].
    pub flags: u16,
    /// Which stream; 0 for the connection.
    pub stream: u32,
    /// Bytes that follow, credit, or a number.
    pub length: u32,
}

impl Frame {
    /// One of a kind.
    #[must_use]
    pub const fn new(kind: Kind, flags: u16, stream: u32, length: u32) -> Self {
        Self { kind: kind as u8, flags, stream, length }
    }

    /// As it travels.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let [flags, stream, length] =
            [&self.flags.to_be_bytes()[..], &self.stream.to_be_bytes(), &self.length.to_be_bytes()];
        [&[0, self.kind], flags, stream, length].concat()
    }

    fn decode(bytes: [u8; 12]) -> Self {
        let [_, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = bytes;
        let (stream, length) = (u32::from_be_bytes([s0, s1, s2, s3]), u32::from_be_bytes([l0, l1, l2, l3]));
        Self { kind, flags: u16::from_be_bytes([f0, f1]), stream, length }
    }
}

/// Results of a raw connection.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Frames that came back.
    pub frames: Vec<Frame>,
    /// How long after the last write the other end closed; `None` if it did not in time.
    pub closed: Option<Duration>,
    /// Bytes that could be written before it blocked, or all.
    pub written: usize,
}

impl Seen {
    /// How many streams were refused.
    #[must_use]
    pub fn resets(&self) -> usize {
        self.frames.iter().filter(|frame| frame.flags & RST != 0).count()
    }
}

/// Plan of a raw connection.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Bytes that are written `times` times.
    pub bytes: Vec<u8>,
    /// Count of writes of `bytes`.
    pub times: usize,
    /// True if answers are read.
    pub reads: bool,
    /// How long to stay when all is written, or when no more can be.
    pub stay: Duration,
}

/// Connects, writes frames, and tells what came of it.
///
/// # Panics
/// When there is no connection to begin with.
#[must_use]
pub fn attack(addr: &str, plan: Plan) -> Seen {
    let mut seen = None;
    super::block_on(async {
        let socket = secured(addr).await.unwrap_or_else(|error| panic!("{addr}: {error}"));
        seen = Some(run(socket, plan).await);
    });
    seen.unwrap_or_default()
}

type Socket = noise::Output<TcpStream>;

/// TCP, Noise, and the promise to speak yamux.
async fn secured(addr: &str) -> Outcome<Socket> {
    let addr: Multiaddr = addr.parse()?;
    let bare = addr.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect();
    let mut transport = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true));
    let mut socket =
        transport.dial(bare, DialOpts { role: Endpoint::Dialer, port_use: PortUse::New })?.await?;
    propose(&mut socket, "/noise").await?;
    let noise = noise::Config::new(&Keypair::generate_ed25519())?;
    let (_, mut socket) = noise.upgrade_outbound(socket, "/noise").await?;
    propose(&mut socket, "/yamux/1.0.0").await?;
    Ok(socket)
}

async fn run(socket: Socket, plan: Plan) -> Seen {
    let (mut reader, mut writer) = socket.split();
    let (mut seen, mut written) = (Seen::default(), 0);
    let write = async {
        for _ in 0..plan.times {
            writer.write_all(&plan.bytes).await?;
            written += plan.bytes.len();
        }
        writer.flush().await
    };
    let read = async {
        loop {
            if !plan.reads {
                std::future::pending::<()>().await;
            }
            let mut header = [0; 12];
            if reader.read_exact(&mut header).await.is_err() {
                return;
            }
            let frame = Frame::decode(header);
            let payload = if frame.kind == Kind::Data as u8 { frame.length as usize } else { 0 };
            if reader.read_exact(&mut vec![0; payload]).await.is_err() {
                return;
            }
            seen.frames.push(frame);
        }
    };
    let began = Instant::now();
    let all = async {
        let written = tokio::time::timeout(plan.stay, write).await;
        // A write that fails is as good as a read that ends.
        if !matches!(written, Ok(Err(_))) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = read => seen.closed = Some(began.elapsed()),
        () = all => seen.closed = Some(began.elapsed()),
        () = tokio::time::sleep(plan.stay) => {}
    }
    seen.written = written;
    seen
}
