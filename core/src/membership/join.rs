//! Joining an office: the newcomer takes its invitation to the registrar that made it, and receives all that
//! a member needs.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::core::Endpoint;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{DialOpts, PortUse, Transport as _};
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::error::JoinError;
use super::handshake::{NAME, PROOF, is_ours, open, read, same, shut, with, write};
use super::{key_of, now, signer};
use crate::limits;
use crate::net::address::split_peer;
use crate::net::transport;
use crate::office::Charter;
use crate::office::certificate::Chain;
use crate::office::invite::Invite;
use crate::office::secret::HandshakeSide;
use crate::office::trust::TrustState;
use crate::signed::{PublicKey, Statement};

/// Time for which each address of an invitation is tried; all are tried at once.
const WITHIN: Duration = Duration::from_secs(15);

/// The message with which a registrar admits a newcomer.
#[derive(Serialize, Deserialize)]
pub(super) struct Welcome {
    /// The bytes of the charter.
    pub(crate) charter: Vec<u8>,
    /// The newcomer's certificates.
    pub(crate) chain: Chain,
    /// All statements that the registrar believes.
    pub(crate) told: Vec<Statement>,
}

/// The verified content of a welcome.
pub(crate) struct Joined {
    /// The believed statements.
    pub(crate) book: TrustState,
    /// This node's certificates.
    pub(crate) chain: Chain,
    /// The registrar and the address at which it answered.
    pub(crate) registrar: (PeerId, Multiaddr),
}

/// Presents an invitation at all of its addresses at once. The first registrar that accepts it counts. `name`
/// is the name that this node would like to have.
///
/// # Errors
/// [`JoinError`].
pub(crate) async fn join(invite: &Invite, keypair: &Keypair, name: &str) -> Result<Joined, JoinError> {
    let me = signer(keypair).ok_or(JoinError::OddKey)?.public();
    let addrs: Vec<Multiaddr> =
        invite.addrs.iter().filter_map(|addr| Multiaddr::try_from(addr.clone()).ok()).collect();
    if addrs.is_empty() {
        return Err(JoinError::NoAddress);
    }
    let mut tries: FuturesUnordered<_> = addrs
        .iter()
        .map(|addr| async move { (addr, timeout(WITHIN, visit(invite, keypair, (me, name), addr)).await) })
        .collect();
    let mut failed = Vec::new();
    while let Some((addr, result)) = tries.next().await {
        match result {
            Ok(Ok(joined)) => return Ok(joined),
            Ok(Err(error)) => failed.push(format!("{addr}: {error}")),
            Err(_) => failed.push(format!("{addr}: no answer")),
        }
    }
    Err(JoinError::NoRegistrar(failed))
}

/// Presents the invitation at one address, and verifies the welcome.
async fn visit(
    invite: &Invite,
    keypair: &Keypair,
    (me, name): (PublicKey, &str),
    addr: &Multiaddr,
) -> io::Result<Joined> {
    let (bare, expected) = split_peer(addr);
    let mut transport = transport::build(keypair, false)?;
    let opts = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    let mut dial = transport.dial(bare.clone(), opts).map_err(|e| io::Error::other(e.to_string()))?;
    let connected = poll_fn(|cx| {
        let _ = Pin::new(&mut transport).poll(cx);
        match dial.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(done),
            Poll::Pending => Poll::Pending,
        }
    });
    let (peer, mut muxer) =
        connected.await.map_err(|e| io::Error::other(crate::net::error::root_cause(&e)))?;
    if expected.is_some_and(|expected| expected != peer) {
        return Err(shut("another node answers there"));
    }
    let welcome = present(invite, (me, name), peer, &mut muxer).await?;
    believe(invite, me, welcome).map(|(book, chain)| Joined { book, chain, registrar: (peer, bare) })
}

/// Presents the invitation on a new connection: see [`super::handshake`]. Returns the welcome, unverified.
async fn present(
    invite: &Invite,
    (me, name): (PublicKey, &str),
    peer: PeerId,
    muxer: &mut StreamMuxerBox,
) -> io::Result<Welcome> {
    let them = key_of(&peer).ok_or_else(|| shut("it has an odd key"))?;
    let mut stream = open(muxer).await?;
    let conversation = async {
        let mut opening = [0; NAME + PROOF];
        opening[..NAME].copy_from_slice(&invite.secret.name());
        opening[NAME..].copy_from_slice(&invite.secret.door(HandshakeSide::Caller, me, them));
        stream.write_all(&opening).await?;
        stream.flush().await?;
        let mut proof = [0; PROOF];
        stream.read_exact(&mut proof).await?;
        if !same(proof, invite.secret.door(HandshakeSide::Called, me, them)) {
            return Err(shut("it does not know the invitation"));
        }
        write(&mut stream, name.as_bytes()).await?;
        let welcome = read(&mut stream, limits::WELCOME_BYTES).await?;
        stream.close().await?;
        Ok(welcome)
    };
    let closed = |e: io::Error| match is_ours(&e) {
        true => e,
        false => shut("invitation refused: it has expired, is used up, or is for another office"),
    };
    let welcome = with(muxer, conversation).await.map_err(closed)?;
    postcard::from_bytes(&welcome).map_err(|_| shut("it says what cannot be read"))
}

/// Verifies a welcome against the office's id, which the invitation contains.
fn believe(invite: &Invite, me: PublicKey, welcome: Welcome) -> io::Result<(TrustState, Chain)> {
    let charter = Charter::decode(&welcome.charter).map_err(|e| shut(&e.to_string()))?;
    if charter.id() != invite.office {
        return Err(shut("it is of another office"));
    }
    let mut book = TrustState::new(charter);
    for told in &welcome.told {
        if let Err(error) = book.hear(told, now()) {
            tracing::info!(%error, "the registrar told of something that is not believed");
        }
    }
    let own =
        book.verify(&welcome.chain, now()).map_err(|e| shut(&format!("the certificate it made: {e}")))?;
    if own.subject != me || book.secrets().next().is_none() {
        return Err(shut("it left out what a member needs"));
    }
    Ok((book, welcome.chain))
}
