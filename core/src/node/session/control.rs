//! The control stream: frames in, frames out.

use futures::io::{ReadHalf, WriteHalf};
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::Stream;
use tokio::sync::mpsc;

use super::{End, LAST_WORDS, Serve, SessionEvent, Tell};
use crate::limits;
use crate::node::background::{Measured, PING};
use crate::wire::{Message, frame};

/// Reads frames until the stream ends; what changes nothing for others goes to the sending task, all else to the node.
pub(super) async fn read(
    mut stream: ReadHalf<Stream>,
    tell: Tell,
    serves: mpsc::Sender<Serve>,
    measured: Option<mpsc::Sender<Measured>>,
) -> Result<(), End> {
    let mut buffer = Vec::new();
    loop {
        let mut prefix = [0; frame::PREFIX];
        stream.read_exact(&mut prefix).await?;
        let len = frame::control_len(prefix).map_err(|e| End::Protocol(e.to_string()))?;
        read_frame(&mut stream, len, &mut buffer).await?;
        let message = Message::decode(&buffer).map_err(|e| End::Protocol(e.to_string()))?;
        let serve = match message {
            None => continue,
            Some(Message::List { blob }) => Serve::List { blob },
            Some(Message::Cancel { blob, chunk }) => Serve::Cancel { blob, chunk },
            Some(Message::Pong(number)) if number & PING != 0 => {
                if let Some(measured) = &measured {
                    let _ = measured.try_send(Measured::Pong { key: tell.key, number });
                }
                continue;
            }
            Some(other) => {
                tell.event(SessionEvent::Message(other)).await?;
                continue;
            }
        };
        let overflow = |_| End::Protocol("asks for more than it was allowed".into());
        serves.try_send(serve).map_err(overflow)?;
    }
}

/// The buffer grows with the bytes that arrive, not with the length that was claimed.
async fn read_frame(stream: &mut ReadHalf<Stream>, len: usize, buffer: &mut Vec<u8>) -> Result<(), End> {
    const STEP: usize = 4096;
    buffer.clear();
    while buffer.len() < len {
        let from = buffer.len();
        buffer.resize(len.min(from + STEP.max(from)), 0);
        stream.read_exact(&mut buffer[from..]).await?;
    }
    Ok(())
}

/// Writes the node's messages; those that wait are written together.
pub(super) async fn write(
    mut stream: WriteHalf<Stream>,
    mut messages: mpsc::Receiver<Message>,
) -> Result<(), End> {
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
    // A socket that is closed while bytes come in takes back what went out.
    tokio::time::sleep(LAST_WORDS).await;
    Err(End::Node)
}

fn put(message: &Message, buffer: &mut Vec<u8>) {
    match message.encode() {
        Ok(frame) => {
            buffer.extend((frame.len() as u32).to_le_bytes());
            buffer.extend(frame);
        }
        Err(error) => tracing::error!(%error, "a message of ours does not fit its frame"),
    }
}
