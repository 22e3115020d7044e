//! The control stream: frames in, frames out.

use futures::io::{ReadHalf, WriteHalf};
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::Stream;
use tokio::sync::mpsc;

use super::event::SessionEvent;
use super::{EventSender, LAST_WORDS, SendCommand, SessionEnd};
use crate::limits;
use crate::net::ledbat::{Measured, PING};
use crate::wire::{Message, frame};

/// Reads frames until the stream ends; what changes nothing for others goes to the sending task, all else to the node.
pub(super) async fn read(
    mut stream: ReadHalf<Stream>,
    tell: EventSender,
    serves: mpsc::Sender<SendCommand>,
    measured: Option<mpsc::Sender<Measured>>,
) -> Result<(), SessionEnd> {
    let mut buffer = Vec::new();
    loop {
        let mut prefix = [0; frame::PREFIX];
        stream.read_exact(&mut prefix).await?;
        let len = frame::control_len(prefix).map_err(|e| SessionEnd::Protocol(e.to_string()))?;
        read_frame(&mut stream, len, &mut buffer).await?;
        let message = Message::decode(&buffer).map_err(|e| SessionEnd::Protocol(e.to_string()))?;
        let serve = match message {
            None => continue,
            Some(Message::List { blob }) => SendCommand::List { blob },
            Some(Message::Cancel { blob, chunk }) => SendCommand::Cancel { blob, chunk },
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
        let overflow = |_| SessionEnd::Protocol("asks for more than it was allowed".into());
        serves.try_send(serve).map_err(overflow)?;
    }
}

/// The buffer grows with the bytes that arrive, not with the length that was claimed.
async fn read_frame(
    stream: &mut ReadHalf<Stream>,
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

/// Writes the node's messages; those that wait are written together.
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
    // A socket that is closed while bytes come in takes back what went out.
    tokio::time::sleep(LAST_WORDS).await;
    Err(SessionEnd::Node)
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
