//! One session of a hostile peer: everything that comes is heard, everything the script says is sent.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use libp2p::core::muxing::SubstreamBox;
use swarm_core::wire::Message;
use swarm_core::wire::frame::{DataHeader, HEADER, PREFIX};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{AbortHandle, JoinSet};

use super::net::Connection;
use super::offering::Honest;
use super::{Log, Out, Shared, Turn, bytes};

/// Answers that wait to be written: more than anybody asks for at once.
const QUEUE: usize = 1 << 16;

/// Time to read messages that had arrived when the other end closed the session.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// More turns of the runtime than a connection needs to write a chunk.
const TURNS: usize = 64;

/// Runs a session until the other end closes it.
pub(super) async fn run(mut connection: Connection, [data, control]: [SubstreamBox; 2], shared: Arc<Shared>) {
    let now = Instant::now();
    let log = Log {
        peer: connection.peer,
        began: now,
        heard: Vec::new(),
        sent: 0,
        got: 0,
        raw: None,
        last: now,
        flooded: false,
        ended: None,
    };
    let number = {
        let mut logs = shared.logs();
        logs.push(log);
        logs.len() - 1
    };
    let book = Book { number, shared: Arc::clone(&shared), hangup: connection.hangup() };
    let ((control_in, control_out), (data_in, data_out)) = (control.split(), data.split());
    let (say, said) = channel(QUEUE);
    let (send, sent) = channel(QUEUE);
    let mut tasks = JoinSet::new();
    tasks.spawn(write(control_out, said, book.clone()));
    tasks.spawn(write(data_out, sent, book.clone()));
    tasks.spawn(swallow(data_in, book.clone()));
    let ended = || book.note(|log| log.ended = log.ended.or_else(|| Some(Instant::now())));
    let mut hearing = std::pin::pin!(hear(control_in, &book, &say, &send));
    tokio::select! {
        _ = &mut hearing => {}
        // Nobody opens further streams: it ends with the connection. What came before that is still heard.
        () = async { while connection.arrived.recv().await.is_some() {} } => {
            ended();
            let _ = tokio::time::timeout(LAST_WORDS, hearing).await;
        }
    }
    ended();
}

/// A session's page in the log.
#[derive(Clone)]
struct Book {
    number: usize,
    shared: Arc<Shared>,
    hangup: AbortHandle,
}

impl Book {
    fn note(&self, write: impl FnOnce(&mut Log)) {
        write(&mut self.shared.logs()[self.number]);
    }
}

async fn hear(
    mut stream: ReadHalf<SubstreamBox>,
    book: &Book,
    say: &Sender<Out>,
    send: &Sender<Out>,
) -> io::Result<()> {
    let mut honest = Honest::default();
    let (mut heard, mut deaf) = (None, false);
    loop {
        let answer = honest.answer(&book.shared.offerings, heard.as_ref());
        let turn = Turn { heard: heard.as_ref(), session: book.number };
        for out in (book.shared.script)(&turn, answer) {
            deaf |= matches!(out, Out::Deaf);
            // Writers that have ended have lost their connection: so will the reader.
            let _ = match out {
                Out::Control(_) | Out::RawControl(_) | Out::Trickle(..) | Out::Flood(..) | Out::Deaf => {
                    say.send(out).await
                }
                Out::Data(..) | Out::RawData(_) | Out::Pause(_) | Out::Hangup => send.send(out).await,
            };
        }
        if deaf {
            std::future::pending::<()>().await;
        }
        heard = Some(read(&mut stream).await?);
        book.note(|log| log.heard.extend(heard.clone()));
    }
}

async fn read(stream: &mut ReadHalf<SubstreamBox>) -> io::Result<Message> {
    let mut prefix = [0; PREFIX];
    stream.read_exact(&mut prefix).await?;
    let mut frame = vec![0; u32::from_le_bytes(prefix) as usize];
    stream.read_exact(&mut frame).await?;
    let message = Message::decode(&frame).map_err(io::Error::other)?;
    message.ok_or_else(|| io::Error::other("a message of a later version"))
}

async fn write(mut stream: WriteHalf<SubstreamBox>, mut outs: Receiver<Out>, book: Book) -> io::Result<()> {
    while let Some(out) = outs.recv().await {
        let now = Instant::now();
        let raw = matches!(out, Out::RawControl(_) | Out::Trickle(..) | Out::RawData(_) | Out::Flood(..));
        book.note(|log| {
            log.raw = log.raw.or_else(|| raw.then_some(now));
            log.last = now;
        });
        match out {
            Out::Control(message) => stream.write_all(&bytes::control(&message)).await?,
            Out::RawControl(bytes) | Out::RawData(bytes) => stream.write_all(&bytes).await?,
            Out::Trickle(bytes, pause) => {
                for byte in bytes {
                    stream.write_all(&[byte]).await?;
                    stream.flush().await?;
                    tokio::time::sleep(pause).await;
                }
            }
            Out::Data(header, payload) => {
                stream.write_all(&[&header.encode()[..], &payload].concat()).await?;
                book.note(|log| log.sent += payload.len() as u64);
            }
            Out::Pause(pause) => {
                stream.flush().await?;
                tokio::time::sleep(pause).await;
            }
            Out::Flood(next, times) => {
                for number in 0..times {
                    stream.write_all(&next(number)).await?;
                }
                stream.flush().await?;
                book.note(|log| log.flooded = true);
            }
            Out::Deaf => {}
            Out::Hangup => {
                stream.flush().await?;
                // The connection is a task of this same thread: after some turns it has written what it was
                // given.
                for _ in 0..TURNS {
                    tokio::task::yield_now().await;
                }
                book.hangup.abort();
            }
        }
        if outs.is_empty() {
            stream.flush().await?;
        }
    }
    stream.flush().await
}

/// Reads whatever data comes.
async fn swallow(mut stream: ReadHalf<SubstreamBox>, book: Book) -> io::Result<()> {
    let mut header = [0; HEADER];
    loop {
        stream.read_exact(&mut header).await?;
        let header = DataHeader::decode(header).map_err(io::Error::other)?;
        stream.read_exact(&mut vec![0; header.len as usize]).await?;
        book.note(|log| log.got += u64::from(header.len));
    }
}
