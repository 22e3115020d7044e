//! The control stream: frames in, frames out.

use std::sync::Arc;
use std::time::Instant;

use futures::io::WriteHalf;
use futures::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use libp2p::Stream;
use tokio::sync::mpsc;

use super::event::SessionEvent;
use super::work::{Work, cost};
use super::{EventSender, LAST_WORDS, SessionEnd};
use crate::exchange::SendCommand;
use crate::limits;
use crate::metrics::Traffic;
use crate::net::ledbat::{Measured, PING};
use crate::store::Stored;
use crate::wire::{Message, frame};

/// Reads frames until the stream ends. Requests for a hash list go to the sending task, answers to the pings
/// of the rate control to that, and all other messages to the node. Messages over a budget of work wait.
///
/// # Errors
/// [`SessionEnd::Protocol`] if a frame cannot be read, or if one that does not go to the node comes before
/// the peer's `Hello`. The node itself checks the order of all messages that it is given.
pub(super) async fn read(
    mut stream: impl AsyncRead + Unpin,
    tell: EventSender,
    serves: mpsc::Sender<SendCommand<Stored>>,
    measured: Option<mpsc::Sender<Measured>>,
    traffic: Arc<Traffic>,
) -> Result<(), SessionEnd> {
    let mut buffer = Vec::new();
    let mut introduced = false;
    let mut work = Work::new(Instant::now());
    loop {
        let mut prefix = [0; frame::PREFIX];
        stream.read_exact(&mut prefix).await?;
        let len = frame::control_len(prefix).map_err(|e| SessionEnd::Protocol(e.to_string()))?;
        read_frame(&mut stream, len, &mut buffer).await?;
        let message = Message::decode(&buffer).map_err(|e| SessionEnd::Protocol(e.to_string()))?;
        let units = message.as_ref().map_or(1, |message| cost(message, len));
        let wait = work.costs(units, &traffic, Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        match message {
            None => {}
            Some(Message::List { .. }) if !introduced => return Err(out_of_turn()),
            Some(Message::List { blob }) => {
                let overflow = |_| SessionEnd::Protocol("asks for more than it was allowed".into());
                serves.try_send(SendCommand::List { blob }).map_err(overflow)?;
            }
            Some(Message::Pong(number)) if number & PING != 0 => {
                if !introduced {
                    return Err(out_of_turn());
                }
                if let Some(measured) = &measured {
                    let _ = measured.try_send(Measured::Pong { key: tell.key, number });
                }
            }
            Some(other) => {
                introduced |= matches!(other, Message::Hello(_) | Message::OtherVersion(_));
                tell.event(SessionEvent::Message(other)).await?;
            }
        }
    }
}

/// Returns the error for a peer that sent something else before its `Hello`.
fn out_of_turn() -> SessionEnd {
    SessionEnd::Protocol("spoke before it introduced itself".to_owned())
}

/// Reads the rest of a frame. The buffer grows with the bytes that arrive, not with the claimed length.
async fn read_frame(
    stream: &mut (impl AsyncRead + Unpin),
    len: usize,
    buffer: &mut Vec<u8>,
) -> Result<(), SessionEnd> {
    const STEP: usize = 4096;
    buffer.clear();
    while buffer.len() < len {
        let from = buffer.len();
        buffer.resize(len.min(from + STEP.max(from)), 0);
        stream.read_exact(&mut buffer[from..]).await?;
    }
    Ok(())
}

/// Writes the node's messages until all senders are gone. Messages that wait are written together.
pub(super) async fn write(
    mut stream: WriteHalf<Stream>,
    mut messages: mpsc::Receiver<Message>,
) -> Result<(), SessionEnd> {
    let mut buffer = Vec::new();
    while let Some(message) = messages.recv().await {
        buffer.clear();
        put(&message, &mut buffer);
        while buffer.len() < limits::CONTROL_FRAME
            && let Ok(message) = messages.try_recv()
        {
            put(&message, &mut buffer);
        }
        stream.write_all(&buffer).await?;
        stream.flush().await?;
    }
    // A socket that is closed while bytes come in resets the connection, and the peer loses bytes that it has
    // not read yet.
    tokio::time::sleep(LAST_WORDS).await;
    Err(SessionEnd::Node)
}

/// Appends a message with its length to a buffer. A message that does not fit a frame is left out.
fn put(message: &Message, buffer: &mut Vec<u8>) {
    match message.encode() {
        Ok(frame) => {
            buffer.extend((frame.len() as u32).to_le_bytes());
            buffer.extend(frame);
        }
        Err(error) => tracing::error!(%error, "a message of ours does not fit its frame"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::schedule::PeerKey;
    use crate::wire::{self, Hello};

    /// Reads these messages as a peer's. Returns the end of the session, and the number of orders that the
    /// sending task was given.
    async fn end_of(messages: &[Message]) -> (SessionEnd, usize) {
        let mut bytes = Vec::new();
        messages.iter().for_each(|message| put(message, &mut bytes));
        let (events, _events) = mpsc::channel(16);
        let (serves, mut served) = mpsc::channel(16);
        let tell = EventSender { key: PeerKey(1), events };
        let ended = read(bytes.as_slice(), tell, serves, None, Arc::default()).await;
        let mut count = 0;
        while served.try_recv().is_ok() {
            count += 1;
        }
        (ended.unwrap_err(), count)
    }

    fn hello() -> Message {
        Message::Hello(Hello {
            version: wire::VERSION,
            agent: String::new(),
            tcp: Vec::new(),
            quic: Vec::new(),
            site: None,
            relayed: Vec::new(),
            dht: Vec::new(),
        })
    }

    #[tokio::test]
    async fn a_peer_of_another_version_has_introduced_itself() {
        let (end, served) = end_of(&[Message::OtherVersion(2), Message::List { blob: 1 }]).await;
        assert!(matches!(end, SessionEnd::Lost(_)), "{end}");
        assert_eq!(served, 1, "the node ends the session, and nothing is open to be served");
    }

    #[tokio::test]
    async fn nothing_is_served_to_a_peer_before_its_hello() {
        for early in [Message::List { blob: 1 }, Message::Pong(PING)] {
            let (end, served) = end_of(&[early.clone(), hello()]).await;
            assert!(matches!(end, SessionEnd::Protocol(_)), "{early:?}: {end}");
            assert_eq!(served, 0, "{early:?}");
            let (end, _) = end_of(&[hello(), early.clone()]).await;
            assert!(matches!(end, SessionEnd::Lost(_)), "{early:?}: {end}");
        }
        assert_eq!(end_of(&[hello(), Message::List { blob: 1 }]).await.1, 1);
        // The node takes cancels, because it takes the requests that they are for: neither overtakes the
        // other.
        assert_eq!(end_of(&[Message::Cancel { blob: 1, chunk: 0 }]).await.1, 0);
    }
}
