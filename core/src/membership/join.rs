//! Becoming a member: an invitation is taken to the registrar that made it, who hands over all that a member needs.

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

use super::handshake::{NAME, PROOF, is_ours, open, read, same, shut, with, write};
use super::{key_of, now, signer};
use crate::limits;
use crate::net::address::split_peer;
use crate::net::transport;
use crate::office::certificate::Chain;
use crate::office::invite::Invite;
use crate::office::secret::HandshakeSide;
use crate::office::trust::{Statement, TrustState};
use crate::office::{Charter, PublicKey};

/// How long all addresses of an invitation are tried.
const WITHIN: Duration = Duration::from_secs(15);

/// What a newcomer is handed.
#[derive(Serialize, Deserialize)]
pub(super) struct Welcome {
    pub(crate) charter: Vec<u8>,
    pub(crate) chain: Chain,
    pub(crate) told: Vec<Statement>,
}

/// What it makes of that.
pub(crate) struct Joined {
    pub(crate) book: TrustState,
    pub(crate) chain: Chain,
    /// Where the registrar was.
    pub(crate) registrar: (PeerId, Multiaddr),
}

/// Takes an invitation to where its registrar may be; `name` is what this node is to be called.
///
/// # Errors
/// In words: nobody is there, or nobody who knows of the invitation.
pub(crate) async fn join(invite: &Invite, keypair: &Keypair, name: &str) -> Result<Joined, String> {
    let me = signer(keypair).ok_or("this node has an odd key")?.public();
    let addrs: Vec<Multiaddr> =
        invite.addrs.iter().filter_map(|addr| Multiaddr::try_from(addr.clone()).ok()).collect();
    if addrs.is_empty() {
        return Err("the invitation has no address of its registrar".to_owned());
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
    Err(failed.join("; "))
}

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

/// All of it is checked against the office's id, which stands in the invitation.
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
