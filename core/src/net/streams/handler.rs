//! Negotiation of a session on one connection: its two substreams are opened or accepted, and every other one
//! is refused. Beside a session on another connection, the handler instead negotiates one further data
//! stream.
//!
//! The end that dialled opens both substreams as soon as the connection is up; the other end accepts the
//! first of each kind and no more. There are two ways of opening, and [`ConnectionRole::Open`] says which:
//!
//! - Strict. The negotiation waits for the answer of the peer: two substreams at the dialling end prove that
//!   the other end has accepted them too.
//! - Lazy (`V1Lazy` of multistream-select). Both substreams exist at once and prove nothing. Nothing is sent
//!   until they are read or written: the proposal goes out with the first bytes, which saves a round trip. A
//!   refusal is an error of the first read; [`refusal`] recognizes it.
//!
//! The swarm's config makes every negotiation lazy that proposes a single protocol. A strict negotiation
//! therefore proposes a second protocol after the first, which nobody speaks.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::Stream;
use libp2p::core::upgrade::{InboundUpgrade, NegotiationError, OutboundUpgrade, UpgradeInfo};
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol};
use tokio::time::Sleep;

/// Prefix of the protocol names of all substreams.
const FAMILY: &str = "/swarm/chunk/1/";

/// Name of a protocol that nobody speaks; proposing it makes a negotiation strict.
const NOBODYS: &str = "/swarm/chunk/1/none";

/// Use of a substream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubstreamKind {
    /// Small frames that ask and announce, never queued behind bulk bytes.
    Control,
    /// Frames that carry bytes of blobs.
    Data,
    /// Frames that carry bytes of blobs, beside a session that runs on another connection.
    Further,
}

impl SubstreamKind {
    /// Returns the protocol name of this kind of substream.
    const fn name(self) -> &'static str {
        match self {
            SubstreamKind::Control => "/swarm/chunk/1/control",
            SubstreamKind::Data => "/swarm/chunk/1/data",
            SubstreamKind::Further => "/swarm/chunk/1/further",
        }
    }
}

impl AsRef<str> for SubstreamKind {
    fn as_ref(&self) -> &str {
        self.name()
    }
}

/// Role of this end on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionRole {
    /// Opens the session: this end dialled.
    Open {
        /// True if the session counts as open before the other end has answered.
        lazy: bool,
    },
    /// Waits for the session: the other end dialled.
    Accept,
    /// Opens a further data stream for a session on another connection, which this end dialled as well.
    Widen,
    /// Refuses every session: the connection is a duplicate that is about to be closed, or serves another
    /// purpose.
    Refuse,
}

/// Report of a handler to [`Streams`](super::Streams).
#[derive(Debug)]
pub(crate) enum HandlerEvent {
    /// Both substreams are there; if they were opened lazily, the other end may not have them. Sent once at
    /// most.
    Ready {
        /// Substream of [`SubstreamKind::Control`].
        control: Stream,
        /// Substream of [`SubstreamKind::Data`].
        data: Stream,
    },
    /// A further data stream for a session on another connection is there. Sent once at most, and never
    /// together with `Ready`.
    Further(Stream),
    /// The connection will carry no session. Sent once at most, and never after `Ready`.
    Failed(String),
    /// Number of further substreams refused since the last report of this kind.
    Refused(usize),
}

/// Inbound half of the negotiation: accepts all protocols and reports which one was chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accept;

impl UpgradeInfo for Accept {
    type Info = SubstreamKind;
    type InfoIter = std::array::IntoIter<SubstreamKind, 3>;

    fn protocol_info(&self) -> Self::InfoIter {
        [SubstreamKind::Control, SubstreamKind::Data, SubstreamKind::Further].into_iter()
    }
}

impl InboundUpgrade<Stream> for Accept {
    type Output = (SubstreamKind, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, kind: SubstreamKind) -> Self::Future {
        ready(Ok((kind, stream)))
    }
}

/// Outbound half of the negotiation: proposes a protocol and, unless it is lazy, waits for the answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Propose {
    kind: SubstreamKind,
    lazy: bool,
}

/// Error for a peer that does not speak the protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unspoken;

impl UpgradeInfo for Propose {
    type Info = &'static str;
    type InfoIter = std::iter::Take<std::array::IntoIter<&'static str, 2>>;

    fn protocol_info(&self) -> Self::InfoIter {
        [self.kind.name(), NOBODYS].into_iter().take(if self.lazy { 1 } else { 2 })
    }
}

impl OutboundUpgrade<Stream> for Propose {
    type Output = Stream;
    type Error = Unspoken;
    type Future = Ready<Result<Stream, Unspoken>>;

    fn upgrade_outbound(self, stream: Stream, name: &'static str) -> Self::Future {
        ready(if name == self.kind.name() { Ok(stream) } else { Err(Unspoken) })
    }
}

/// Describes a refusal in a sentence, if this error of a lazily opened substream means that the peer does not
/// speak the protocol of sessions.
pub(crate) fn refusal(error: &io::Error) -> Option<String> {
    let cause = error.get_ref()?.downcast_ref::<NegotiationError>()?;
    matches!(cause, NegotiationError::Failed).then(|| format!("the peer does not speak {FAMILY}"))
}

/// Negotiation on one connection.
pub(crate) struct StreamHandler {
    role: ConnectionRole,
    timeout: Duration,
    /// Substreams still to be requested; the last one is next.
    to_open: Vec<SubstreamKind>,
    control: Option<Stream>,
    data: Option<Stream>,
    further: Option<Stream>,
    failure: Option<String>,
    /// Substreams refused and not yet reported.
    refused: usize,
    /// True until `Ready`, `Further` or `Failed` was reported.
    negotiating: bool,
    /// Timeout of the negotiation. It is made in the first poll, because a timer needs the runtime and a
    /// handler may be made without one.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl StreamHandler {
    /// Makes a handler that reports the outcome of the negotiation within `timeout`.
    pub(crate) fn new(role: ConnectionRole, timeout: Duration) -> Self {
        let to_open = match role {
            ConnectionRole::Open { .. } => vec![SubstreamKind::Data, SubstreamKind::Control],
            ConnectionRole::Widen => vec![SubstreamKind::Further],
            ConnectionRole::Accept | ConnectionRole::Refuse => Vec::new(),
        };
        StreamHandler {
            role,
            timeout,
            to_open,
            control: None,
            data: None,
            further: None,
            failure: None,
            refused: 0,
            negotiating: role != ConnectionRole::Refuse,
            deadline: None,
        }
    }

    /// Returns the place for a substream of this kind; `None` if it is taken or the negotiation is over.
    fn place(&mut self, kind: SubstreamKind) -> Option<&mut Option<Stream>> {
        let place = match kind {
            SubstreamKind::Control => &mut self.control,
            SubstreamKind::Data => &mut self.data,
            SubstreamKind::Further => &mut self.further,
        };
        (self.negotiating && place.is_none()).then_some(place)
    }

    fn on_inbound(&mut self, kind: SubstreamKind, stream: Stream) {
        let place = if self.role == ConnectionRole::Accept { self.place(kind) } else { None };
        match place {
            Some(place) => *place = Some(stream),
            // Dropping a substream resets it: the peer learns of it at once, and nothing stays behind here.
            None => self.refused += 1,
        }
    }

    fn on_outbound(&mut self, kind: SubstreamKind, stream: Stream) {
        if let Some(place) = self.place(kind) {
            *place = Some(stream);
        }
    }

    fn on_outbound_failure(&mut self, kind: SubstreamKind, error: &StreamUpgradeError<Unspoken>) {
        let protocol = kind.name();
        self.failure = Some(match error {
            StreamUpgradeError::Timeout => format!("{protocol}: no answer within {:?}", self.timeout),
            StreamUpgradeError::NegotiationFailed | StreamUpgradeError::Apply(Unspoken) => {
                format!("the peer does not speak {protocol}")
            }
            StreamUpgradeError::Io(error) => format!("{protocol}: {error}"),
        });
    }

    /// Returns the outcome of the negotiation, once there is one.
    fn poll_negotiation(&mut self, cx: &mut Context<'_>) -> Poll<HandlerEvent> {
        if let Some(reason) = self.failure.take() {
            return Poll::Ready(HandlerEvent::Failed(reason));
        }
        if let Some(further) = self.further.take() {
            return Poll::Ready(HandlerEvent::Further(further));
        }
        match (self.control.take(), self.data.take()) {
            (Some(control), Some(data)) => return Poll::Ready(HandlerEvent::Ready { control, data }),
            (control, data) => (self.control, self.data) = (control, data),
        }
        let timeout = self.timeout;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        deadline.as_mut().poll(cx).map(|()| HandlerEvent::Failed(format!("no session within {timeout:?}")))
    }
}

impl ConnectionHandler for StreamHandler {
    type FromBehaviour = Infallible;
    type ToBehaviour = HandlerEvent;
    type InboundProtocol = Accept;
    type OutboundProtocol = Propose;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = SubstreamKind;

    fn listen_protocol(&self) -> SubstreamProtocol<Accept> {
        SubstreamProtocol::new(Accept, ()).with_timeout(self.timeout)
    }

    /// True while the handler negotiates. After that the substreams themselves keep the connection alive:
    /// libp2p counts them, and closes the connection its idle timeout after the last one was dropped.
    fn connection_keep_alive(&self) -> bool {
        self.negotiating
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Propose, SubstreamKind, HandlerEvent>> {
        if let Some(kind) = self.to_open.pop() {
            let lazy = self.role == ConnectionRole::Open { lazy: true };
            let protocol = SubstreamProtocol::new(Propose { kind, lazy }, kind).with_timeout(self.timeout);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        if self.refused > 0 {
            let refused = std::mem::take(&mut self.refused);
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(HandlerEvent::Refused(refused)));
        }
        if self.negotiating
            && let Poll::Ready(report) = self.poll_negotiation(cx)
        {
            self.negotiating = false;
            (self.control, self.data, self.deadline) = (None, None, None);
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report));
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Accept, Propose, (), SubstreamKind>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                self.on_inbound(protocol.0, protocol.1);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                self.on_outbound(info, protocol);
            }
            ConnectionEvent::DialUpgradeError(failed) => {
                self.on_outbound_failure(failed.info, &failed.error);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use libp2p::swarm::handler::DialUpgradeError;

    use super::*;

    #[test]
    fn a_strict_proposal_has_a_second_choice_and_its_refusal_is_told_in_words() {
        let names = |lazy| Propose { kind: SubstreamKind::Data, lazy }.protocol_info().collect::<Vec<_>>();
        assert_eq!(names(true), ["/swarm/chunk/1/data"], "one choice is lazy");
        assert_eq!(names(false), ["/swarm/chunk/1/data", NOBODYS]);
        for error in [StreamUpgradeError::NegotiationFailed, StreamUpgradeError::Apply(Unspoken)] {
            let mut handler =
                StreamHandler::new(ConnectionRole::Open { lazy: false }, Duration::from_secs(1));
            let failed = DialUpgradeError { info: SubstreamKind::Control, error };
            handler.on_connection_event(ConnectionEvent::DialUpgradeError(failed));
            let mut cx = Context::from_waker(Waker::noop());
            let reason = loop {
                match handler.poll(&mut cx) {
                    Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(HandlerEvent::Failed(reason))) => {
                        break reason;
                    }
                    Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { .. }) => {}
                    other => panic!("{other:?}"),
                }
            };
            assert_eq!(reason, "the peer does not speak /swarm/chunk/1/control");
        }
    }
}
