//! Whom we keep away, for how long, and why. Bans outlive the process: they are kept in `HOME/bans`.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::api::status::BanRow;
use crate::limits;
use crate::net::PeerId;
use crate::net::address::ConnectionOrigin;
use crate::net::connection_limits::Decided;
use crate::store::Store;

/// The file, under the home folder.
const FILE: &str = "bans";

/// The file is written at most this often, however many are banned.
const SAVE_EVERY: Duration = Duration::from_secs(2);

/// One ban. Times are seconds since 1970: they must mean the same to the next process.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct BanEntry {
    peer: String,
    ip: Option<IpAddr>,
    reason: String,
    at: u64,
    until: u64,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Bans {
    entries: VecDeque<BanEntry>,
    /// When each peer may come back.
    in_force: HashMap<PeerId, u64>,
    unsaved: bool,
    saved: Instant,
    saving: Option<JoinHandle<()>>,
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The moment that is `until` on the wall clock; at most the longest ban away, however wrong that clock is.
fn moment(until: u64, now: u64) -> Instant {
    Instant::now() + Duration::from_secs(until.saturating_sub(now)).min(limits::BAN_REPEATED)
}

impl Bans {
    /// Those of an earlier run that are still in force, and what the gate must know of them.
    pub(crate) fn load(store: &Store) -> (Self, Vec<Decided>) {
        let bytes = store.kept(FILE).unwrap_or_default();
        let mut entries: VecDeque<BanEntry> = serde_json::from_slice(&bytes).unwrap_or_default();
        let now = seconds(SystemTime::now());
        // From the future is from a wrong clock.
        entries.retain(|e| e.at <= now && now - e.at < limits::BAN_REPEATED.as_secs());
        let mut bans = Self {
            entries: VecDeque::new(),
            in_force: HashMap::new(),
            unsaved: false,
            saved: Instant::now(),
            saving: None,
        };
        let mut decided = Vec::new();
        for entry in entries {
            if let Ok(peer) = entry.peer.parse::<PeerId>() {
                bans.in_force.insert(peer, entry.until);
                bans.entries.push_back(entry.clone());
                let ip = entry.ip.filter(|ip| bans.is_nest(*ip, entry.at));
                decided.push(Decided { peer, ip, until: moment(entry.until, now) });
            }
        }
        (bans, decided)
    }

    /// Bans a peer; for how long depends on how often it happened within a day. The fifth id from one address of the
    /// internet takes the address with it: ids are free there. On a local network many nodes may share one.
    pub(crate) fn ban(&mut self, peer: PeerId, ip: Option<IpAddr>, reason: String) -> Decided {
        self.ban_at(seconds(SystemTime::now()), peer, ip, reason)
    }

    fn ban_at(&mut self, now: u64, peer: PeerId, ip: Option<IpAddr>, reason: String) -> Decided {
        let name = peer.to_string();
        let before = self.of_today(now).filter(|e| e.peer == name).count();
        let length = if before >= 2 { limits::BAN_REPEATED } else { limits::BAN_FIRST };
        if self.entries.len() >= limits::BANS
            && let Some(oldest) = self.entries.pop_front()
            && let Ok(oldest) = oldest.peer.parse::<PeerId>()
        {
            self.in_force.remove(&oldest);
        }
        let ip = ip.map(|ip| ip.to_canonical());
        let until = now + length.as_secs();
        self.entries.push_back(BanEntry { peer: name, ip, reason, at: now, until });
        self.in_force.insert(peer, until);
        self.unsaved = true;
        Decided { peer, ip: ip.filter(|ip| self.is_nest(*ip, now)), until: moment(until, now) }
    }

    fn of_today(&self, now: u64) -> impl Iterator<Item = &BanEntry> {
        self.entries.iter().filter(move |e| now.saturating_sub(e.at) < limits::BAN_REPEATED.as_secs())
    }

    /// Whether so many ids of this address are banned that the address is.
    fn is_nest(&self, ip: IpAddr, now: u64) -> bool {
        let ids: HashSet<&str> =
            self.of_today(now).filter(|e| e.ip == Some(ip)).map(|e| e.peer.as_str()).collect();
        matches!(ConnectionOrigin::of(Some(ip)), ConnectionOrigin::Public(_))
            && ids.len() >= limits::BANNED_IDS_PER_IP
    }

    /// Whether it is banned now.
    pub(crate) fn is_banned(&self, peer: &PeerId) -> bool {
        self.in_force.get(peer).is_some_and(|until| *until > seconds(SystemTime::now()))
    }

    /// The bans in force.
    pub(crate) fn rows(&self) -> Vec<BanRow> {
        let now = seconds(SystemTime::now());
        let in_force = self.entries.iter().filter(|e| e.until > now);
        let row =
            |e: &BanEntry| BanRow { peer: e.peer.clone(), reason: e.reason.clone(), left: e.until - now };
        in_force.map(row).collect()
    }

    /// Writes what is new, now and then, on a thread of its own.
    pub(crate) fn save(&mut self, store: &Store) {
        let busy = self.saving.as_ref().is_some_and(|saving| !saving.is_finished());
        if self.unsaved && !busy && self.saved.elapsed() >= SAVE_EVERY {
            (self.unsaved, self.saved) = (false, Instant::now());
            let (store, entries) = (store.clone(), self.entries.clone());
            self.saving = Some(tokio::task::spawn_blocking(move || write(&store, &entries)));
        }
    }

    /// Writes what is new before the node ends.
    pub(crate) fn save_now(&mut self, store: &Store) {
        if std::mem::take(&mut self.unsaved) {
            write(store, &self.entries);
        }
    }
}

fn write(store: &Store, entries: &VecDeque<BanEntry>) {
    let written = serde_json::to_vec(entries).map_err(|e| e.to_string());
    let written = written.and_then(|bytes| store.keep(FILE, &bytes).map_err(|e| e.to_string()));
    if let Err(error) = written {
        tracing::warn!(%error, "the list of bans cannot be kept");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_fifth_id_of_an_address_takes_the_address_with_it_and_all_is_remembered() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path(), None, false).unwrap();
        let (mut bans, _) = Bans::load(&store);
        let (public, lan) = ("1.2.3.4".parse().unwrap(), "10.0.0.4".parse().unwrap());
        let mut ban = |ip| bans.ban(PeerId::random(), Some(ip), "bad".into());
        let decided: Vec<Decided> = (0..6).map(|_| ban(public)).collect();
        assert!(decided[..4].iter().all(|d| d.ip.is_none()));
        assert!(decided[4..].iter().all(|d| d.ip == Some(public)));
        assert!((0..20).all(|_| ban(lan).ip.is_none()), "one host of a network may run many nodes");

        bans.save_now(&store);
        let (again, told) = Bans::load(&store);
        assert_eq!(told.len(), 26);
        assert_eq!(told.iter().filter(|d| d.ip == Some(public)).count(), 2);
        assert!(decided.iter().all(|d| again.is_banned(&d.peer)));
        assert_eq!(again.rows().len(), 26);
        assert!(!again.is_banned(&PeerId::random()));
    }

    #[test]
    fn the_third_time_within_a_day_takes_longer() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path(), None, false).unwrap();
        let (mut bans, _) = Bans::load(&store);
        let (peer, start) = (PeerId::random(), seconds(SystemTime::now()));
        let (first, long) = (limits::BAN_FIRST.as_secs(), limits::BAN_REPEATED.as_secs());
        let mut length = |after: u64| {
            bans.ban_at(start + after, peer, None, "bad".into());
            bans.in_force[&peer] - (start + after)
        };
        assert_eq!([length(0), length(1000), length(2000)], [first, first, long]);
        assert_eq!(length(2 * long + 2000), first, "a day later it is forgotten");
    }
}
