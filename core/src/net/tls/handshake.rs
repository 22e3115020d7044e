//! Drives a rustls handshake over a socket, up to the point where both sides may send data. It checks no
//! certificate itself, and the records after the handshake belong to `record`.

use std::io;
use std::time::Duration;

use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::kernel::KernelConnection;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedConnectionCommon, UnbufferedStatus};
use rustls::{CertificateError, CommonState, Error, ExtractedSecrets, OtherError};

use super::cipher::HEADER;
use super::record::{INCOMING, Keys};

/// Time for an alert to reach the peer.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// One side of a handshake; rustls has no common trait for client and server.
pub(super) trait Handshake: Send {
    type Data: Send;
    fn process<'a>(&'a mut self, incoming: &'a mut [u8]) -> UnbufferedStatus<'a, 'a, Self::Data>;
    fn common(&self) -> &CommonState;
    fn keys(self) -> Result<(ExtractedSecrets, Keys), Error>;
}

impl Handshake for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'a>(&'a mut self, incoming: &'a mut [u8]) -> UnbufferedStatus<'a, 'a, Self::Data> {
        let common: &mut UnbufferedConnectionCommon<_> = self;
        common.process_tls_records(incoming)
    }

    fn common(&self) -> &CommonState {
        self
    }

    fn keys(self) -> Result<(ExtractedSecrets, Keys), Error> {
        let (secrets, kernel): (_, KernelConnection<Self::Data>) = self.dangerous_into_kernel_connection()?;
        Ok((secrets, Keys::Client(kernel)))
    }
}

impl Handshake for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'a>(&'a mut self, incoming: &'a mut [u8]) -> UnbufferedStatus<'a, 'a, Self::Data> {
        let common: &mut UnbufferedConnectionCommon<_> = self;
        common.process_tls_records(incoming)
    }

    fn common(&self) -> &CommonState {
        self
    }

    fn keys(self) -> Result<(ExtractedSecrets, Keys), Error> {
        let (secrets, kernel): (_, KernelConnection<Self::Data>) = self.dangerous_into_kernel_connection()?;
        Ok((secrets, Keys::Server(kernel)))
    }
}

/// State that a handshake leaves behind besides its keys.
pub(super) struct Rest {
    /// Buffer for bytes from the socket.
    pub(super) incoming: Box<[u8]>,
    /// Range of `incoming` that is still encrypted.
    pub(super) unread: std::ops::Range<usize>,
    /// Data that arrived together with the end of the handshake.
    pub(super) early: Vec<u8>,
    #[cfg(test)]
    pub(super) group: Option<rustls::NamedGroup>,
}

/// Action that follows a step of the handshake.
enum HandshakeStep {
    Step,
    Send,
    Read,
    Done,
}

/// Runs the handshake to its end.
///
/// # Errors
/// The socket's error, or [`io::ErrorKind::InvalidData`] with the error of rustls.
pub(super) async fn run<C, H>(tls: &mut H, socket: &mut C) -> io::Result<Rest>
where
    C: AsyncRead + AsyncWrite + Send + Unpin,
    H: Handshake,
{
    let mut incoming = vec![0; INCOMING].into_boxed_slice();
    let (mut unread, mut outgoing, mut early) = (0..0, Vec::new(), Vec::new());
    // rustls sees one more record at a time, so that it opens none of those that follow the handshake:
    // `record` opens these.
    let mut shown = 0;
    loop {
        let UnbufferedStatus { discard, state, .. } = tls.process(&mut incoming[unread.start..shown]);
        let next = match state {
            Ok(state) => step(state, &mut outgoing, &mut early)?,
            Err(error) => {
                // After other errors the peer gets no alert: rustls can panic when it is asked for one.
                if matches!(error, Error::InvalidCertificate(_)) {
                    let _ = tokio::time::timeout(LAST_WORDS, alert(tls, socket)).await;
                }
                return Err(in_words(error));
            }
        };
        unread.start += discard;
        match next {
            HandshakeStep::Step => {}
            HandshakeStep::Send => {
                socket.write_all(&outgoing).await?;
                socket.flush().await?;
                outgoing.clear();
            }
            HandshakeStep::Read if record(&incoming[shown..unread.end]).is_some() => {
                shown += record(&incoming[shown..unread.end]).unwrap_or_default();
            }
            HandshakeStep::Read => {
                incoming.copy_within(unread.clone(), 0);
                shown -= unread.start;
                unread = 0..unread.len();
                if unread.end == incoming.len() {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "a handshake message without end",
                    ));
                }
                let read = socket.read(&mut incoming[unread.end..]).await?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                unread.end += read;
            }
            HandshakeStep::Done => {
                #[cfg(test)]
                let group = tls.common().negotiated_key_exchange_group().map(|group| group.name());
                return Ok(Rest {
                    incoming,
                    unread,
                    early,
                    #[cfg(test)]
                    group,
                });
            }
        }
    }
}

/// Sends the alert that rustls has made, and reads on until the peer has it: a socket that is closed while
/// bytes come in loses what the peer has not read.
async fn alert<C, H>(tls: &mut H, socket: &mut C) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Send + Unpin,
    H: Handshake,
{
    let mut outgoing = Vec::new();
    if let UnbufferedStatus { state: Ok(state @ ConnectionState::EncodeTlsData(_)), .. } =
        tls.process(&mut [])
    {
        step(state, &mut outgoing, &mut Vec::new())?;
    }
    socket.write_all(&outgoing).await?;
    socket.close().await?;
    let mut sink = [0; 1024];
    while socket.read(&mut sink).await? > 0 {}
    Ok(())
}

/// Returns the error of a handshake. A certificate that was refused is described by its fault alone.
fn in_words(error: Error) -> io::Error {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(fault))) => {
            io::Error::new(io::ErrorKind::InvalidData, fault)
        }
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

/// Returns the length in bytes of the first record, if all of it is there.
fn record(bytes: &[u8]) -> Option<usize> {
    let [_, _, _, high, low] = bytes.first_chunk()?;
    let len = HEADER + (usize::from(*high) << 8 | usize::from(*low));
    (bytes.len() >= len).then_some(len)
}

fn step<D>(
    state: ConnectionState<'_, '_, D>,
    outgoing: &mut Vec<u8>,
    early: &mut Vec<u8>,
) -> io::Result<HandshakeStep> {
    match state {
        ConnectionState::EncodeTlsData(mut message) => {
            let start = outgoing.len();
            if let Err(EncodeError::InsufficientSize(short)) = message.encode(&mut []) {
                outgoing.resize(start + short.required_size, 0);
                message.encode(&mut outgoing[start..]).map_err(io::Error::other)?;
            }
            Ok(HandshakeStep::Step)
        }
        ConnectionState::TransmitTlsData(transmit) => {
            transmit.done();
            Ok(HandshakeStep::Send)
        }
        ConnectionState::BlockedHandshake => Ok(HandshakeStep::Read),
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                early.extend_from_slice(record.map_err(io::Error::other)?.payload);
            }
            Ok(HandshakeStep::Step)
        }
        ConnectionState::WriteTraffic(_) => Ok(HandshakeStep::Done),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
