//! The door of an office: the first thing that happens on a connection once both ends have proven their keys. Who does not know the
//! office's secret, or is not of it, gets not a byte, and the connection is closed.
//!
//! ```text
//! caller  48 bytes: the name of an invitation (zeros of a member), and what only who knows the secret can show
//! called  32 bytes: the same of the other end
//! caller  its certificates                       a newcomer: what its node is called
//! called  its certificates                       a registrar: what a newcomer needs
//! caller  closes the stream
//! ```
//! Certificates and what stands in their place come after their length, 4 bytes (little endian). A secret that is not the newest lets
//! a member in who was away when it was changed, and nobody of whom any list says that he had to leave.

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
use crate::office::PublicKey;
use crate::office::certificate::{Certificate, Chain};
use crate::office::secret::HandshakeSide;

/// Bytes of the name of an invitation.
pub(super) const NAME: usize = 16;
/// Bytes of a proof.
pub(super) const PROOF: usize = 32;

/// Somebody at the door.
#[derive(Debug)]
pub(crate) enum Admission {
    /// A member, who comes in.
    Member { peer: PeerId, certificate: Box<Certificate>, chain: Chain },
    /// Who has an invitation: it is handed what the answer has, if anything.
    Newcomer { invite: [u8; NAME], key: PublicKey, name: String, reply: oneshot::Sender<Option<Vec<u8>>> },
}

/// See the module's text.
#[derive(Debug, Clone)]
pub(crate) struct OfficeHandshake {
    pub(crate) standing: watch::Receiver<Arc<Snapshot>>,
    pub(crate) knocks: mpsc::Sender<Admission>,
    /// Who is called for something else: a relay need not be of the office.
    pub(crate) relays: watch::Receiver<BTreeSet<PeerId>>,
    /// Known members that announce themselves by an older secret, and its number.
    pub(crate) behind: watch::Receiver<BTreeMap<PeerId, u32>>,
}

type AdmittedConnection = (PeerId, StreamMuxerBox);

impl OfficeHandshake {
    /// Lets a connection pass that both ends are content with.
    ///
    /// # Errors
    /// The other end is not, or we are not with it; or the connection.
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

    async fn call(&self, peer: PeerId, muxer: &mut StreamMuxerBox) -> io::Result<Admission> {
        let standing = Arc::clone(&self.standing.borrow());
        let (me, them) = (standing.own.subject, key_of(&peer).ok_or_else(|| shut("it has an odd key"))?);
        // A member who was away when the secret was changed knows an older one.
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
        // What a closed door looks like from outside.
        let closed = |e: io::Error| match is_ours(&e) {
            true => e,
            false => shut(
                "it did not open the door: it is not of this office, or does not count this node as of it",
            ),
        };
        with(muxer, conversation).await.map_err(closed)
    }

    async fn answer(&self, peer: PeerId, muxer: &mut StreamMuxerBox) -> io::Result<Admission> {
        let them = key_of(&peer).ok_or_else(|| shut("it has an odd key"))?;
        // Who says nothing is not waited for as long as who does.
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
                let secret: &crate::office::secret::OfficeSecret = secret;
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

    /// A newcomer is handed what it needs. The connection is of no further use: it comes back as a member.
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

/// Whether the other end is a member now, and who its key says it is.
fn accept(standing: &Snapshot, chain: &Chain, them: PublicKey) -> io::Result<Certificate> {
    let certificate = standing.book.verify(chain, now()).map_err(|e| shut(&e.to_string()))?;
    if certificate.subject == them {
        Ok(certificate)
    } else {
        Err(shut("its certificate is somebody else's"))
    }
}

/// In constant time.
pub(super) fn same(one: [u8; PROOF], other: [u8; PROOF]) -> bool {
    blake3::Hash::from_bytes(one) == blake3::Hash::from_bytes(other)
}

pub(super) fn shut(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned())
}

/// Whether it was we who shut the door, and not the other end or the connection.
pub(super) fn is_ours(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap_or([0; N])
}

fn encode(chain: &Chain) -> io::Result<Vec<u8>> {
    postcard::to_allocvec(chain).map_err(io::Error::other)
}

fn decode(bytes: &[u8]) -> io::Result<Chain> {
    match postcard::take_from_bytes(bytes) {
        Ok((chain, [])) => Ok(chain),
        _ => Err(shut("its certificates cannot be read")),
    }
}

/// Bytes after their length.
pub(super) async fn write(stream: &mut SubstreamBox, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(&[&(bytes.len() as u32).to_le_bytes()[..], bytes].concat()).await?;
    stream.flush().await
}

/// The same, at most so many; room is made for what has come, not for what was announced.
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

/// The other end has all, and says no more.
async fn ended(stream: &mut SubstreamBox) -> io::Result<()> {
    if stream.read(&mut [0]).await? == 0 {
        stream.close().await
    } else {
        Err(shut("it says more than it may"))
    }
}

/// The connection's first stream of ours.
pub(super) async fn open(muxer: &mut StreamMuxerBox) -> io::Result<SubstreamBox> {
    poll_fn(|cx| match muxer.poll_outbound_unpin(cx) {
        Poll::Pending => drive(muxer, cx),
        ready => ready,
    })
    .await
}

async fn accept_stream(muxer: &mut StreamMuxerBox) -> io::Result<SubstreamBox> {
    poll_fn(|cx| match muxer.poll_inbound_unpin(cx) {
        Poll::Pending => drive(muxer, cx),
        ready => ready,
    })
    .await
}

/// What is said on a stream, while the connection below it goes on.
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

/// Lets a connection do its work; only its end is of interest.
fn drive<T>(muxer: &mut StreamMuxerBox, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
    loop {
        match muxer.poll_unpin(cx) {
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
    }
}
