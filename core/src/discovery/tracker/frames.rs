//! Frames of the tracker protocol on a substream: a length prefix and a body.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::wire::frame::{PREFIX, control_len};

/// Reads the body of one frame. The buffer grows to the limit at most, and only after the length was found to
/// be allowed.
pub(super) async fn read<'a>(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &'a mut Vec<u8>,
) -> io::Result<&'a [u8]> {
    let mut prefix = [0; PREFIX];
    stream.read_exact(&mut prefix).await?;
    let len = control_len(prefix).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    buffer.clear();
    // Memory grows with the bytes that arrive, not with the announced length.
    let got = stream.take(len as u64).read_to_end(buffer).await?;
    if got < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(buffer)
}

/// Writes one frame.
pub(super) async fn write(stream: &mut (impl AsyncWrite + Unpin), body: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(PREFIX + body.len());
    frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
    frame.extend_from_slice(body);
    stream.write_all(&frame).await?;
    stream.flush().await
}
