//! Phrases for a person who waits: the fate of the candidates so far.

use super::{AddressSource, Candidate, Candidates, DialState};
use crate::net::address::{endpoint, split_peer};

impl Candidate {
    /// Says what became of it so far, for a person. The last error holds until the peer speaks.
    fn so_far(&self) -> String {
        match (self.state, &self.error) {
            (_, Some(error))
                if error.to_ascii_lowercase().contains("timed out") || error.contains("Timeout") =>
            {
                let port = self.addrs.first().and_then(|(addr, _)| endpoint(&split_peer(addr).0));
                let port = port.map(|end| format!(" port {}", end.port)).unwrap_or_default();
                format!("no answer; a firewall there may not let TCP and UDP{port} in")
            }
            (_, Some(error)) => error.clone(),
            (DialState::Connected, None) => "connected".to_owned(),
            (DialState::Dialling, None) => "connecting".to_owned(),
            (DialState::Idle, None) => "not tried yet".to_owned(),
        }
    }
}

impl Candidates {
    /// Describes each source in one phrase, for a person who waits.
    pub(crate) fn tried(&self, mdns: bool) -> Vec<String> {
        let mut phrases = Vec::new();
        let of = |source| self.candidates.iter().filter(move |(_, c)| c.source == source);
        let connected = |source| of(source).filter(|(_, c)| c.state == DialState::Connected).count();
        if mdns {
            phrases.push(match (of(AddressSource::Lan).count(), connected(AddressSource::Lan)) {
                (0, _) => "LAN discovery: no other node answered".to_owned(),
                (1, up) => format!("LAN discovery: 1 node found, {up} connected"),
                (found, up) => format!("LAN discovery: {found} nodes found, {up} connected"),
            });
            if connected(AddressSource::Lan) == 0 {
                let tried = of(AddressSource::Lan).filter(|(_, c)| c.fails > 0 || c.error.is_some());
                phrases.extend(tried.take(2).filter_map(|(_, candidate)| {
                    Some(format!("LAN {}: {}", candidate.addrs.first()?.0, candidate.so_far()))
                }));
            }
        } else {
            phrases.push("LAN discovery: off".to_owned());
        }
        for (label, source) in [("--peer", AddressSource::Given), ("link", AddressSource::Link)] {
            for (name, candidate) in of(source).take(4) {
                let addr =
                    candidate.addrs.first().map_or_else(|| format!("{name:?}"), |(a, _)| a.to_string());
                phrases.push(format!("{label} {addr}: {}", candidate.so_far()));
            }
        }
        for (label, source) in [
            ("met before", AddressSource::Remembered),
            ("named by trackers", AddressSource::Tracker),
            ("named by the DHT", AddressSource::Dht),
            ("named by peers", AddressSource::Exchange),
        ] {
            match (of(source).count(), connected(source)) {
                (0, _) => {}
                (found, up) => {
                    let error = of(source).find_map(|(_, c)| c.error.as_ref().filter(|_| up == 0));
                    let why = error.map(|error| format!(" ({error})")).unwrap_or_default();
                    phrases.push(format!("{label}: {found} nodes, {up} connected{why}"));
                }
            }
        }
        phrases
    }
}
