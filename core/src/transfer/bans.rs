//! Peers that this node keeps away, for how long, and why. Bans outlive the process: they are kept in
//! `HOME/bans`.

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

/// Name of the file in the home folder.
const FILE: &str = "bans";

/// Shortest interval between two writes of the file, however many peers are banned.
const SAVE_EVERY: Duration = Duration::from_secs(2);

/// One ban. Times are seconds since 1970, because the next process must read them too.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct BanEntry {
    peer: String,
    ip: Option<IpAddr>,
    reason: String,
    at: u64,
    until: u64,
}

/// The bans of one network. Bans of the last day are kept, so that repeated ones count.
#[derive(Debug)]
pub(crate) struct Bans {
    /// All bans that are kept, the oldest first. At most [`limits::BANS`].
    entries: VecDeque<BanEntry>,
    /// The end of each peer's last ban, in seconds since 1970.
    in_force: HashMap<PeerId, u64>,
    /// True if there are bans that are not in the file.
    unsaved: bool,
    /// Time of the last write.
    saved: Instant,
    /// The task that writes the file.
    saving: Option<JoinHandle<()>>,
}

/// Returns a time as seconds since 1970, 0 for an earlier one.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Returns the moment at which the wall clock will show `until`. It is at most the longest ban away, however
/// wrong the clock is.
fn moment(until: u64, now: u64) -> Instant {
    Instant::now() + Duration::from_secs(until.saturating_sub(now)).min(limits::BAN_REPEATED)
}

impl Bans {
    /// Reads the bans of earlier runs. Returns them, and those that the network must enforce.
    pub(crate) fn load(store: &Store) -> (Self, Vec<Decided>) {
        let bytes = store.kept(FILE).unwrap_or_default();
        let mut entries: VecDeque<BanEntry> = serde_json::from_slice(&bytes).unwrap_or_default();
        let now = seconds(SystemTime::now());
        // A ban from the future was made under a wrong clock.
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

    /// Bans a peer, for longer from its third ban within a day on. The ban of the fifth id of one address of
    /// the internet is also a ban of the address, because new ids cost nothing. On a local network many nodes
    /// may share an address, so it is never banned.
    pub(crate) fn ban(&mut self, peer: PeerId, ip: Option<IpAddr>, reason: String) -> Decided {
        self.ban_at(seconds(SystemTime::now()), peer, ip, reason)
    }

    /// Bans a peer at a time in seconds since 1970.
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

    /// Returns the bans of the last day.
    fn of_today(&self, now: u64) -> impl Iterator<Item = &BanEntry> {
        self.entries.iter().filter(move |e| now.saturating_sub(e.at) < limits::BAN_REPEATED.as_secs())
    }

    /// Returns true if so many ids of an address are banned that the address is.
    fn is_nest(&self, ip: IpAddr, now: u64) -> bool {
        let ids: HashSet<&str> =
            self.of_today(now).filter(|e| e.ip == Some(ip)).map(|e| e.peer.as_str()).collect();
        matches!(ConnectionOrigin::of(Some(ip)), ConnectionOrigin::Public(_))
            && ids.len() >= limits::BANNED_IDS_PER_IP
    }

    /// Returns true if the peer is banned now.
    pub(crate) fn is_banned(&self, peer: &PeerId) -> bool {
        self.in_force.get(peer).is_some_and(|until| *until > seconds(SystemTime::now()))
    }

    /// Returns the bans in force, for `swarm peers`.
    pub(crate) fn rows(&self) -> Vec<BanRow> {
        let now = seconds(SystemTime::now());
        let in_force = self.entries.iter().filter(|e| e.until > now);
        let row =
            |e: &BanEntry| BanRow { peer: e.peer.clone(), reason: e.reason.clone(), left: e.until - now };
        in_force.map(row).collect()
    }

    /// Writes the file on a blocking thread if there is something new, at most every [`SAVE_EVERY`].
    pub(crate) fn save(&mut self, store: &Store) {
        let busy = self.saving.as_ref().is_some_and(|saving| !saving.is_finished());
        if self.unsaved && !busy && self.saved.elapsed() >= SAVE_EVERY {
            (self.unsaved, self.saved) = (false, Instant::now());
            let (store, entries) = (store.clone(), self.entries.clone());
            self.saving = Some(tokio::task::spawn_blocking(move || write(&store, &entries)));
        }
    }

    /// Writes the file at once if there is something new. Called before the node ends.
    pub(crate) fn save_now(&mut self, store: &Store) {
        if std::mem::take(&mut self.unsaved) {
            write(store, &self.entries);
        }
    }
}

/// Writes the file. A failure is logged only: the bans still hold in this run.
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
