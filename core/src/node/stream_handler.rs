//! The session on one connection: negotiates its two substreams and refuses every other one. Or, beside a session that runs
//! on another connection, one further data stream.
//!
//! The end that dialled opens both substreams as soon as the connection is up; the other end takes the first of
//! each and no more. There are two ways of opening, and [`Role::Open`] says which:
//!
//! - Strict. The negotiation waits for the answer of the peer: two substreams at the dialling end prove that the other
//!   end has accepted them too.
//! - Lazy (`V1Lazy` of multistream-select). Both substreams are there at once and prove nothing. Nothing is sent until
//!   somebody reads or writes them: the proposal goes out with the first bytes, which spares a round trip. A refusal
//!   is an error of the first read; [`refusal`] tells it from others.
//!
//! The swarm's config makes every negotiation lazy in which one protocol is proposed. A strict one proposes a second
//! protocol, which nobody speaks, after the first.

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

/// Prefix of the names of all substreams' protocols.
const FAMILY: &str = "/swarm/chunk/1/";

/// The name of a protocol that nobody speaks, see the [module](self).
const NOBODYS: &str = "/swarm/chunk/1/none";

/// Use of a substream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Frames that ask and tell: small, and never behind bulk bytes.
    Control,
    /// Frames that carry bytes of blobs.
    Data,
    /// The same, beside a session that runs on another connection.
    Further,
}

impl Kind {
    /// The name of its protocol.
    const fn name(self) -> &'static str {
        match self {
            Kind::Control => "/swarm/chunk/1/control",
            Kind::Data => "/swarm/chunk/1/data",
            Kind::Further => "/swarm/chunk/1/further",
        }
    }
}

impl AsRef<str> for Kind {
    fn as_ref(&self) -> &str {
        self.name()
    }
}

/// What this end does on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Opens the session: this end dialled.
    Open {
        /// Takes the session for open before the other end has answered.
        lazy: bool,
    },
    /// Waits for the session: the other end dialled.
    Accept,
    /// Opens a further data stream of a session on another connection, which this end dialled as well.
    Widen,
    /// Neither: the connection is a duplicate and about to be closed.
    Refuse,
}

/// What a handler tells [`Streams`](super::stream::Streams).
#[derive(Debug)]
pub(crate) enum Report {
    /// Both substreams are there; if they were opened lazily, the other end may not have them. Sent once at most.
    Ready {
        /// The substream of [`Kind::Control`].
        control: Stream,
        /// The substream of [`Kind::Data`].
        data: Stream,
    },
    /// A further data stream of a session on another connection. Sent once at most, and neither before nor after `Ready`.
    Further(Stream),
    /// There will be no session on this connection. Sent once at most, and never after `Ready`.
    Failed(String),
    /// This many further substreams were refused since the last such report.
    Refused(usize),
}

/// The inbound half of the negotiation: speaks all protocols and tells which one was chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accept;

impl UpgradeInfo for Accept {
    type Info = Kind;
    type InfoIter = std::array::IntoIter<Kind, 3>;

    fn protocol_info(&self) -> Self::InfoIter {
        [Kind::Control, Kind::Data, Kind::Further].into_iter()
    }
}

impl InboundUpgrade<Stream> for Accept {
    type Output = (Kind, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, kind: Kind) -> Self::Future {
        ready(Ok((kind, stream)))
    }
}

/// The outbound half of the negotiation: proposes a protocol and, unless that is lazy, waits for the answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Propose {
    kind: Kind,
    lazy: bool,
}

/// The error of a peer that does not speak the protocol.
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

/// Says in a sentence that the peer does not speak the protocol of sessions, if that is what this error of a lazily
/// opened substream means.
pub(crate) fn refusal(error: &io::Error) -> Option<String> {
    let cause = error.get_ref()?.downcast_ref::<NegotiationError>()?;
    matches!(cause, NegotiationError::Failed).then(|| format!("the peer does not speak {FAMILY}"))
}

/// The state of one connection.
pub(crate) struct Handler {
    role: Role,
    timeout: Duration,
    /// The substreams still to be asked for.
    to_open: Vec<Kind>,
    control: Option<Stream>,
    data: Option<Stream>,
    further: Option<Stream>,
    failure: Option<String>,
    /// Substreams refused and not yet reported.
    refused: usize,
    /// True until `Ready`, `Further` or `Failed` was reported.
    negotiating: bool,
    /// Made in the first poll: a timer needs the runtime, a handler may be made without one.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Handler {
    /// A handler that reports `Ready` or `Failed` within `timeout`.
    pub(crate) fn new(role: Role, timeout: Duration) -> Self {
        let to_open = match role {
            Role::Open { .. } => vec![Kind::Data, Kind::Control],
            Role::Widen => vec![Kind::Further],
            Role::Accept | Role::Refuse => Vec::new(),
        };
        Handler {
            role,
            timeout,
            to_open,
            control: None,
            data: None,
            further: None,
            failure: None,
            refused: 0,
            negotiating: role != Role::Refuse,
            deadline: None,
        }
    }

    /// Where a substream of this kind goes, or none if there is no place for it any more.
    fn place(&mut self, kind: Kind) -> Option<&mut Option<Stream>> {
        let place = match kind {
            Kind::Control => &mut self.control,
            Kind::Data => &mut self.data,
            Kind::Further => &mut self.further,
        };
        (self.negotiating && place.is_none()).then_some(place)
    }

    fn on_inbound(&mut self, kind: Kind, stream: Stream) {
        let place = if self.role == Role::Accept { self.place(kind) } else { None };
        match place {
            Some(place) => *place = Some(stream),
            // Dropping a substream resets it: the peer learns at once, and nothing stays behind here.
            None => self.refused += 1,
        }
    }

    fn on_outbound(&mut self, kind: Kind, stream: Stream) {
        if let Some(place) = self.place(kind) {
            *place = Some(stream);
        }
    }

    fn on_outbound_failure(&mut self, kind: Kind, error: &StreamUpgradeError<Unspoken>) {
        let protocol = kind.name();
        self.failure = Some(match error {
            StreamUpgradeError::Timeout => format!("{protocol}: no answer within {:?}", self.timeout),
            StreamUpgradeError::NegotiationFailed | StreamUpgradeError::Apply(Unspoken) => {
                format!("the peer does not speak {protocol}")
            }
            StreamUpgradeError::Io(error) => format!("{protocol}: {error}"),
        });
    }

    /// The end of the negotiation, once it has come.
    fn poll_negotiation(&mut self, cx: &mut Context<'_>) -> Poll<Report> {
        if let Some(reason) = self.failure.take() {
            return Poll::Ready(Report::Failed(reason));
        }
        if let Some(further) = self.further.take() {
            return Poll::Ready(Report::Further(further));
        }
        match (self.control.take(), self.data.take()) {
            (Some(control), Some(data)) => return Poll::Ready(Report::Ready { control, data }),
            (control, data) => (self.control, self.data) = (control, data),
        }
        let timeout = self.timeout;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        deadline.as_mut().poll(cx).map(|()| Report::Failed(format!("no session within {timeout:?}")))
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Report;
    type InboundProtocol = Accept;
    type OutboundProtocol = Propose;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Kind;

    fn listen_protocol(&self) -> SubstreamProtocol<Accept> {
        SubstreamProtocol::new(Accept, ()).with_timeout(self.timeout)
    }

    /// While it negotiates. After that the substreams themselves keep the connection: libp2p counts them, and
    /// closes the connection its idle timeout after the last one was dropped.
    fn connection_keep_alive(&self) -> bool {
        self.negotiating
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Propose, Kind, Report>> {
        if let Some(kind) = self.to_open.pop() {
            let lazy = self.role == Role::Open { lazy: true };
            let protocol = SubstreamProtocol::new(Propose { kind, lazy }, kind).with_timeout(self.timeout);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        if self.refused > 0 {
            let refused = std::mem::take(&mut self.refused);
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Report::Refused(refused)));
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

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Accept, Propose, (), Kind>) {
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
        let names = |lazy| Propose { kind: Kind::Data, lazy }.protocol_info().collect::<Vec<_>>();
        assert_eq!(names(true), ["/swarm/chunk/1/data"], "one choice is lazy");
        assert_eq!(names(false), ["/swarm/chunk/1/data", NOBODYS]);
        for error in [StreamUpgradeError::NegotiationFailed, StreamUpgradeError::Apply(Unspoken)] {
            let mut handler = Handler::new(Role::Open { lazy: false }, Duration::from_secs(1));
            let failed = DialUpgradeError { info: Kind::Control, error };
            handler.on_connection_event(ConnectionEvent::DialUpgradeError(failed));
            let mut cx = Context::from_waker(Waker::noop());
            let reason = loop {
                match handler.poll(&mut cx) {
                    Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Report::Failed(reason))) => {
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
