//! Events of sessions, for the node.

use libp2p::core::ConnectedPoint;
use libp2p::swarm::ConnectionId;
use libp2p::{PeerId, Stream};

/// Event of a session. A connection yields `Ready` and later `Closed`, or `Failed`, or nothing at all when
/// another connection with the same peer serves instead.
#[derive(Debug)]
pub(crate) enum StreamEvent {
    /// A session is ready. There is at most one per peer at a time: the `Closed` of its predecessor comes
    /// first. If this end dialled, the peer may still refuse it.
    Ready {
        /// Peer at the other end.
        peer: PeerId,
        /// Connection that carries the session.
        connection: ConnectionId,
        /// Dialling side and addresses of the connection.
        endpoint: ConnectedPoint,
        /// Substream for control frames.
        control: Stream,
        /// Substream for data frames.
        data: Stream,
    },
    /// A further data stream for the session with this peer is ready, on a connection of its own. The session
    /// may be over.
    Further {
        /// Peer at the other end.
        peer: PeerId,
        /// Connection that carries the stream.
        connection: ConnectionId,
        /// Substream for data frames.
        data: Stream,
    },
    /// A session is over.
    Closed {
        /// Peer at the other end.
        peer: PeerId,
        /// Connection that carried the session.
        connection: ConnectionId,
        /// Reason for the end; `None` if this node ended it.
        error: Option<String>,
        /// True if another connection with the same peer takes over: the next event of this peer is the
        /// `Ready` of that one.
        replaced: bool,
    },
    /// No session came about, and there is no other connection with this peer that may yield one.
    Failed {
        /// Peer at the other end.
        peer: PeerId,
        /// Connection that yielded no session.
        connection: ConnectionId,
        /// Reason for the failure.
        reason: String,
    },
}
