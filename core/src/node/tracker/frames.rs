//! Frames of the tracker's protocol on a substream.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::wire::frame::{PREFIX, control_len};

/// Reads one frame's body; the buffer grows no larger than the limit, and only when its length is known to be allowed.
pub(super) async fn read<'a>(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &'a mut Vec<u8>,
) -> io::Result<&'a [u8]> {
    let mut prefix = [0; PREFIX];
    stream.read_exact(&mut prefix).await?;
    let len = control_len(prefix).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    buffer.clear();
    // Memory follows what arrives, not what was promised.
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
