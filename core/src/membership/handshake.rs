//! The handshake of an office: the first exchange on a connection once both ends have proven their keys. A
//! peer that does not know the office's secret, or is no member, gets not a byte, and the connection is
//! closed.
//!
//! ```text
//! caller  48 bytes: the name of an invitation (zeros for a member), and a proof of the secret
//! called  32 bytes: its proof of the secret
//! caller  its certificates                       a newcomer: the name that it would like to have
//! called  its certificates                       to a newcomer: the welcome
//! caller  closes the stream
//! ```
//! Certificates, names and welcomes follow their length, 4 bytes (little endian). A proof by an older secret
//! admits a known member that was away when the secret was changed, unless any list names it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::PeerId;
use libp2p::core::ConnectedPoint;
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt as _, SubstreamBox};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::{Snapshot, key_of, now};
use crate::limits;
use crate::net::streams::is_caller;
use crate::office::certificate::{Certificate, Chain};
use crate::office::secret::{HandshakeSide, OfficeSecret};
use crate::signed::PublicKey;

/// Bytes of the name of an invitation's secret.
pub(super) const NAME: usize = 16;
/// Bytes of a proof.
pub(super) const PROOF: usize = 32;

/// A peer that passed the handshake.
#[derive(Debug)]
pub(crate) enum Admission {
    /// A member, whose connection may be used.
    Member { peer: PeerId, certificate: Box<Certificate>, chain: Chain },
    /// A newcomer with an invitation. The answer is the welcome, `None` if the invitation does not hold.
    Newcomer { invite: [u8; NAME], key: PublicKey, name: String, reply: oneshot::Sender<Option<Vec<u8>>> },
}

/// One end of the handshake, in the transport of an office's network.
#[derive(Debug, Clone)]
pub(crate) struct OfficeHandshake {
    /// The state by which peers are judged.
    pub(crate) standing: watch::Receiver<Arc<Snapshot>>,
    /// Passes admitted peers to the office's state.
    pub(crate) knocks: mpsc::Sender<Admission>,
    /// Relays that this node dials. They need not be members, so they pass without a handshake.
    pub(crate) relays: watch::Receiver<BTreeSet<PeerId>>,
    /// Known members that announce themselves under an older secret, with its epoch.
    pub(crate) behind: watch::Receiver<BTreeMap<PeerId, u32>>,
}

/// A connection with a proven peer.
type AdmittedConnection = (PeerId, StreamMuxerBox);

impl OfficeHandshake {
    /// Carries out the handshake on a new connection and returns the connection if both ends accept.
    ///
    /// # Errors
    /// One of the ends refuses ([`is_ours`] tells if it was this one), or the connection fails.
    pub(crate) async fn pass(
        self,
        (peer, mut muxer): AdmittedConnection,
        at: ConnectedPoint,
    ) -> io::Result<AdmittedConnection> {
        let caller = is_caller(&at);
        if caller && self.relays.borrow().contains(&peer) {
            return Ok((peer, muxer));
        }
        let knock = async {
            if caller { self.call(peer, &mut muxer).await } else { self.answer(peer, &mut muxer).await }
        };
        let knock = timeout(limits::DOOR_TIMEOUT, knock).await.map_err(|_| shut("it says nothing"))??;
        self.knocks.send(knock).await.map_err(|_| shut("the node stops"))?;
        Ok((peer, muxer))
    }

    /// Carries out the handshake as the caller.
    async fn call(&self, peer: PeerId, muxer: &mut StreamMuxerBox) -> io::Result<Admission> {
        let standing = Arc::clone(&self.standing.borrow());
        let (me, them) = (standing.own.subject, key_of(&peer).ok_or_else(|| shut("it has an odd key"))?);
        // A member that was away when the secret was changed knows an older one.
        let behind = self.behind.borrow().get(&peer).copied();
        let secret = standing.book.secrets().find(|secret| behind.is_none_or(|epoch| secret.epoch == epoch));
        let secret = secret.ok_or_else(|| shut("we know no secret"))?;
        let mut stream = open(muxer).await?;
        let conversation = async {
            let mut opening = [0; NAME + PROOF];
            opening[NAME..].copy_from_slice(&secret.door(HandshakeSide::Caller, me, them));
            stream.write_all(&opening).await?;
            stream.flush().await?;
            let mut proof = [0; PROOF];
            stream.read_exact(&mut proof).await?;
            if !same(proof, secret.door(HandshakeSide::Called, me, them)) {
                return Err(shut("it is not of this office"));
            }
            write(&mut stream, &encode(&standing.chain)?).await?;
            let chain = decode(&read(&mut stream, limits::CHAIN_BYTES).await?)?;
            let certificate = Box::new(accept(&standing, &chain, them)?);
            stream.close().await?;
            Ok(Admission::Member { peer, certificate, chain })
        };
        // The other end refuses by closing the connection.
        let closed = |e: io::Error| match is_ours(&e) {
            true => e,
            false => shut(
                "it did not open the door: it is not of this office, or does not count this node as of it",
            ),
        };
        with(muxer, conversation).await.map_err(closed)
    }

    /// Carries out the handshake as the called node.
    async fn answer(&self, peer: PeerId, muxer: &mut StreamMuxerBox) -> io::Result<Admission> {
        let them = key_of(&peer).ok_or_else(|| shut("it has an odd key"))?;
        // A peer that sends nothing gets less time than one that has proven the secret.
        let opening = timeout(limits::DOOR_OPENING, async {
            let mut stream = accept_stream(muxer).await?;
            let mut opening = [0; NAME + PROOF];
            with(muxer, async { stream.read_exact(&mut opening).await }).await?;
            Ok::<_, io::Error>((stream, opening))
        });
        let (mut stream, opening) = opening.await.map_err(|_| shut("it says nothing"))??;
        let conversation = async {
            let (name, proof) = opening.split_at(NAME);
            let (name, proof): ([u8; NAME], [u8; PROOF]) = (array(name), array(proof));
            let standing = Arc::clone(&self.standing.borrow());
            if name != [0; NAME] {
                return self.invited(&mut stream, &standing, (name, proof), them).await;
            }
            let me = standing.own.subject;
            let known = |(_, secret): &(usize, &_)| -> bool {
                let secret: &OfficeSecret = secret;
                same(proof, secret.door(HandshakeSide::Caller, them, me))
            };
            let (age, secret) = standing
                .book
                .secrets()
                .enumerate()
                .find(known)
                .ok_or_else(|| shut("it is not of this office"))?;
            if age > 0 && !standing.may_be_behind(them) {
                return Err(shut("it had to leave"));
            }
            stream.write_all(&secret.door(HandshakeSide::Called, them, me)).await?;
            stream.flush().await?;
            let chain = decode(&read(&mut stream, limits::CHAIN_BYTES).await?)?;
            let certificate = Box::new(accept(&standing, &chain, them)?);
            write(&mut stream, &encode(&standing.chain)?).await?;
            ended(&mut stream).await?;
            Ok(Admission::Member { peer, certificate, chain })
        };
        with(muxer, conversation).await
    }

    /// Welcomes a newcomer. Always returns an error, because the connection is of no further use: the
    /// newcomer calls again, as a member.
    async fn invited(
        &self,
        stream: &mut SubstreamBox,
        standing: &Snapshot,
        (name, proof): ([u8; NAME], [u8; PROOF]),
        them: PublicKey,
    ) -> io::Result<Admission> {
        let me = standing.own.subject;
        let invite = standing.invites.get(&name).ok_or_else(|| shut("no such invitation"))?;
        if !same(proof, invite.door(HandshakeSide::Caller, them, me)) {
            return Err(shut("no such invitation"));
        }
        stream.write_all(&invite.door(HandshakeSide::Called, them, me)).await?;
        stream.flush().await?;
        let called = String::from_utf8(read(stream, limits::OFFICE_NAME_BYTES).await?)
            .map_err(|_| shut("its name is none"))?;
        let (reply, answer) = oneshot::channel();
        let knock = Admission::Newcomer { invite: name, key: them, name: called, reply };
        self.knocks.send(knock).await.map_err(|_| shut("the node stops"))?;
        let welcome = answer.await.ok().flatten().ok_or_else(|| shut("the invitation does not hold"))?;
        write(stream, &welcome).await?;
        ended(stream).await?;
        Err(shut("a newcomer was taken in, who comes again"))
    }
}

/// Checks that the other end is a member now, and that its certificate is for the key that it has proven.
fn accept(standing: &Snapshot, chain: &Chain, them: PublicKey) -> io::Result<Certificate> {
    let certificate = standing.book.verify(chain, now()).map_err(|e| shut(&e.to_string()))?;
    if certificate.subject == them {
        Ok(certificate)
    } else {
        Err(shut("its certificate is somebody else's"))
    }
}

/// Compares two proofs in constant time.
pub(super) fn same(one: [u8; PROOF], other: [u8; PROOF]) -> bool {
    blake3::Hash::from_bytes(one) == blake3::Hash::from_bytes(other)
}

/// Returns the error of a refusal by this end.
pub(super) fn shut(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned())
}

/// True if this end refused, false if the other end did or the connection failed.
pub(super) fn is_ours(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// Returns the bytes as an array; zeros if there are not `N`.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap_or([0; N])
}

/// Returns the bytes of a chain.
fn encode(chain: &Chain) -> io::Result<Vec<u8>> {
    postcard::to_allocvec(chain).map_err(io::Error::other)
}

/// Reads a chain.
fn decode(bytes: &[u8]) -> io::Result<Chain> {
    match postcard::take_from_bytes(bytes) {
        Ok((chain, [])) => Ok(chain),
        _ => Err(shut("its certificates cannot be read")),
    }
}

/// Sends the length of these bytes, then the bytes.
pub(super) async fn write(stream: &mut SubstreamBox, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(&[&(bytes.len() as u32).to_le_bytes()[..], bytes].concat()).await?;
    stream.flush().await
}

/// Receives bytes after their length, at most `most`. The buffer grows with the bytes that arrive, not with
/// the announced length.
pub(super) async fn read(stream: &mut SubstreamBox, most: usize) -> io::Result<Vec<u8>> {
    const STEP: usize = 4096;
    let mut len = [0; 4];
    stream.read_exact(&mut len).await?;
    let len = u32::from_le_bytes(len) as usize;
    if len > most {
        return Err(shut("it says more than it may"));
    }
    let mut bytes = Vec::new();
    while bytes.len() < len {
        let from = bytes.len();
        bytes.resize(len.min(from + STEP.max(from)), 0);
        stream.read_exact(&mut bytes[from..]).await?;
    }
    Ok(bytes)
}

/// Waits until the other end closes its half, and closes this one. The other end then has received
/// everything.
///
/// # Errors
/// The other end sends more bytes.
async fn ended(stream: &mut SubstreamBox) -> io::Result<()> {
    if stream.read(&mut [0]).await? == 0 {
        stream.close().await
    } else {
        Err(shut("it says more than it may"))
    }
}

/// Opens a stream on a connection that the handshake drives.
pub(super) async fn open(muxer: &mut StreamMuxerBox) -> io::Result<SubstreamBox> {
    poll_fn(|cx| match muxer.poll_outbound_unpin(cx) {
        Poll::Pending => drive(muxer, cx),
        ready => ready,
    })
    .await
}

/// Accepts a stream on a connection that the handshake drives.
async fn accept_stream(muxer: &mut StreamMuxerBox) -> io::Result<SubstreamBox> {
    poll_fn(|cx| match muxer.poll_inbound_unpin(cx) {
        Poll::Pending => drive(muxer, cx),
        ready => ready,
    })
    .await
}

/// Runs a conversation on a stream, and meanwhile drives the connection below it.
pub(super) async fn with<T>(
    muxer: &mut StreamMuxerBox,
    conversation: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let mut conversation = pin!(conversation);
    poll_fn(|cx| match conversation.as_mut().poll(cx) {
        Poll::Pending => drive(muxer, cx),
        ready => ready,
    })
    .await
}

/// Drives a connection. Returns only when it fails.
fn drive<T>(muxer: &mut StreamMuxerBox, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
    loop {
        match muxer.poll_unpin(cx) {
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
    }
}
