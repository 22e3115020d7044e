//! Dials that are under way, by the number that libp2p gives the connection.

use std::collections::BTreeMap;

use libp2p::swarm::ConnectionId;

use crate::discovery::candidates::Name;
use crate::schedule::PeerKey;

/// Dials that have neither failed nor led to a session.
#[derive(Debug, Default)]
pub(super) struct Dials {
    /// Dials for a session, and the candidates that they are for.
    sessions: BTreeMap<ConnectionId, Name>,
    /// Dials for a further data stream, and the sessions that they are for.
    further: BTreeMap<ConnectionId, PeerKey>,
}

impl Dials {
    /// Adds a dial for a session with a candidate.
    pub(super) fn begin(&mut self, connection: ConnectionId, name: Name) {
        self.sessions.insert(connection, name);
    }

    /// Removes a dial for a session. Returns its candidate, `None` if this is no such dial.
    pub(super) fn end(&mut self, connection: ConnectionId) -> Option<Name> {
        self.sessions.remove(&connection)
    }

    /// Adds a dial for a further data stream of a session.
    pub(super) fn begin_further(&mut self, connection: ConnectionId, session: PeerKey) {
        self.further.insert(connection, session);
    }

    /// Removes a dial for a further data stream. Returns its session, `None` if this is no such dial.
    pub(super) fn end_further(&mut self, connection: ConnectionId) -> Option<PeerKey> {
        self.further.remove(&connection)
    }

    /// Returns the number of dials for further data streams of a session.
    pub(super) fn further_of(&self, session: PeerKey) -> usize {
        self.further.values().filter(|of| **of == session).count()
    }
}
