//! The offices of a node and the network of each. They come and go while the node runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, watch};

use super::actor::NetworkCommand;
use super::launch::{Launch, launch};
use super::network::{Net, failure};
use crate::api::event::{Failure, Fault};
use crate::api::status::Limits;
use crate::limits;
use crate::membership::files::OfficeFiles;
use crate::membership::{Channels, OfficeHandshake, OfficeState, Snapshot, now};
use crate::net::error::StartError;
use crate::net::{Multiaddr, Protocol, shaping};
use crate::office::OfficeId;
use crate::options::Options;
use crate::store::Store;
use crate::store::record::Domain;
use crate::transfer::session::SessionContext;
use crate::transfer::writer::Writer;

/// File in the folder of an office that holds its place.
const PLACE: &str = "place";

/// An office whose network runs.
#[derive(Debug, Clone)]
pub(crate) struct JoinedOffice {
    pub(crate) id: OfficeId,
    /// Name of the office.
    pub(crate) name: String,
    /// Distance of its ports from the configured one.
    place: u16,
    /// True if the node runs until it is stopped.
    pub(crate) stays: bool,
    pub(crate) net: Net,
    /// The store as this network sees it.
    pub(crate) store: Store,
    standing: watch::Receiver<Arc<Snapshot>>,
}

impl JoinedOffice {
    /// Returns a sentence on why the office cannot be used, if it cannot.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.standing.borrow().trouble.clone()
    }
}

/// Parts that the network of each office is started with.
#[derive(Debug, Clone)]
pub(super) struct With {
    pub(crate) options: Options,
    pub(crate) store: Store,
    pub(crate) ways: shaping::Shaping,
    pub(crate) measured: Option<mpsc::Sender<crate::net::ledbat::Measured>>,
    pub(crate) limits: watch::Receiver<Limits>,
}

/// The offices of a node and their running networks.
#[derive(Debug)]
pub(crate) struct Networks {
    with: Option<With>,
    /// True if the store has an office, running or not.
    of_some: AtomicBool,
    all: watch::Sender<Vec<JoinedOffice>>,
}

impl Networks {
    /// Returns the offices of a node without networks.
    pub(crate) fn offline(store: &Store) -> Self {
        let new = Self { with: None, of_some: AtomicBool::new(false), all: watch::Sender::new(Vec::new()) };
        new.look(store);
        new
    }

    /// Looks whether the store has an office.
    pub(crate) fn look(&self, store: &Store) {
        self.of_some.store(!store.offices().is_empty(), Ordering::Relaxed);
    }

    /// Starts the networks of all offices of this store. An office that cannot start is left out, and the
    /// reason logged.
    pub(crate) async fn start(with: With) -> Self {
        let store = with.store.clone();
        let (of_some, all) = (AtomicBool::new(false), watch::Sender::new(Vec::new()));
        let new = Self { with: Some(with), of_some, all };
        new.look(&store);
        for id in store.offices() {
            if let Err(error) = new.open(id).await {
                tracing::error!(%error, "an office of this node cannot be used");
            }
        }
        new
    }

    /// Returns all offices whose networks run.
    pub(crate) fn all(&self) -> Vec<JoinedOffice> {
        self.all.borrow().clone()
    }

    /// Returns true if the node belongs to no office, not even to one that cannot be used at present.
    pub(crate) fn is_empty(&self) -> bool {
        !self.of_some.load(Ordering::Relaxed)
    }

    /// Returns the parts that networks are started with; `None` for a node without networks.
    pub(crate) fn with(&self) -> Option<&With> {
        self.with.as_ref()
    }

    /// Returns true if the id of a running office begins with this tag.
    pub(super) fn is_known(&self, tag: &str) -> bool {
        self.all.borrow().iter().any(|office| office.id.to_string().starts_with(tag))
    }

    /// Returns the running office with this id.
    pub(crate) fn get(&self, id: OfficeId) -> Option<JoinedOffice> {
        self.all.borrow().iter().find(|office| office.id == id).cloned()
    }

    /// Returns the office with this name or id prefix; without a text the configured or the only one.
    ///
    /// # Errors
    /// No or several offices fit.
    pub(crate) fn find(&self, text: Option<&str>) -> Result<JoinedOffice, Failure> {
        let all = self.all.borrow();
        let several = all.len() > 1;
        let usual = || self.with.as_ref().and_then(|with| with.options.office.as_deref());
        let text = text.or_else(|| if several { usual() } else { None });
        let fits = |office: &&JoinedOffice| match text {
            Some(text) => office.name == text || (text.len() >= 4 && office.id.to_string().starts_with(text)),
            None => true,
        };
        let found: Vec<&JoinedOffice> = all.iter().filter(fits).collect();
        let names = || all.iter().map(|o| o.name.as_str()).collect::<Vec<_>>().join(", ");
        match (found.as_slice(), text) {
            ([one], _) => Ok((*one).clone()),
            ([], _) if all.is_empty() && !self.is_empty() => Err(Failure {
                hint: Some("the log of the node says why; --public uses the public network".to_owned()),
                ..failure(Fault::User, "the office of this node cannot be used now")
            }),
            ([], _) if all.is_empty() => Err(Failure {
                hint: Some("swarm office join CODE, or swarm office init NAME".to_owned()),
                ..failure(Fault::User, "this node is not in an office")
            }),
            ([], _) => {
                let shown = crate::content::path::escape(text.unwrap_or_default());
                Err(failure(
                    Fault::User,
                    format!("this node is not in an office {shown}, only in {}", names()),
                ))
            }
            (_, None) => Err(failure(
                Fault::User,
                format!("this node is in several offices ({}): choose one with --office NAME", names()),
            )),
            (_, Some(text)) => Err(failure(
                Fault::User,
                format!(
                    "several offices are called {}: give the first digits of the id",
                    crate::content::path::escape(text)
                ),
            )),
        }
    }

    /// Starts the network of an office whose folder holds everything. Returns the running one if there is
    /// one.
    pub(crate) async fn open(&self, id: OfficeId) -> Result<JoinedOffice, StartError> {
        let Some(with) = &self.with else {
            return Err(StartError::Option("this node is offline".to_owned()));
        };
        let odd = |e: crate::office::Rejected| {
            StartError::Store(format!("what is kept of an office cannot be used: {e}"))
        };
        if let Some(running) = self.get(id) {
            return Ok(running);
        }
        if self.all.borrow().len() >= limits::OFFICES {
            return Err(StartError::Option(format!("more than {} offices", limits::OFFICES)));
        }
        let papers = OfficeFiles::load(&with.store, id)?;
        let (store, keypair) = (papers.store.clone(), papers.keypair.clone());
        let name = papers.book.charter().name.clone();
        let (standing, stood) = watch::channel(Arc::new(OfficeState::first_standing(&papers).map_err(odd)?));
        let (relays, known) = watch::channel(std::collections::BTreeSet::new());
        let (behind, late) = watch::channel(std::collections::BTreeMap::new());
        let (told, knocks) = mpsc::channel(limits::COMMAND_QUEUE);
        let door = OfficeHandshake { standing: stood.clone(), knocks: told, relays: known, behind: late };
        let office =
            OfficeState::new(papers, Channels { standing, relays, behind, knocks }, now()).map_err(odd)?;
        let place = self.place(&store);
        let options = of_office(&with.options, place);
        let (told, events) = mpsc::channel(limits::SESSION_QUEUE);
        let shared = SessionContext {
            writes: Writer::start(&store, &told),
            store: store.clone(),
            ways: with.ways.clone(),
            measured: with.measured.clone(),
            events: told,
        };
        let launched = Box::pin(launch(Launch {
            options: &options,
            keypair,
            store: store.clone(),
            shared,
            events,
            limits: with.limits.clone(),
            office: Some((office, door)),
        }))
        .await?;
        let office = JoinedOffice {
            id,
            name,
            place,
            stays: with.options.resident,
            net: launched.net,
            store,
            standing: stood,
        };
        self.look(&with.store);
        self.all.send_modify(|all| all.push(office.clone()));
        Ok(office)
    }

    /// Returns the place that an office had before, because a firewall may know its ports, or the first free
    /// one.
    fn place(&self, store: &Store) -> u16 {
        let all = self.all.borrow();
        let free = |place: &u16| *place > 0 && all.iter().all(|office| office.place != *place);
        let before = store.kept(PLACE).and_then(|bytes| Some(u16::from_le_bytes(bytes.try_into().ok()?)));
        let others: Vec<u16> = match &self.with {
            Some(with) => with
                .store
                .offices()
                .into_iter()
                .filter_map(|id| {
                    let kept = with.store.within(Domain::Office(id)).kept(PLACE)?;
                    Some(u16::from_le_bytes(kept.try_into().ok()?))
                })
                .collect(),
            None => Vec::new(),
        };
        let first = || (1..).find(|place| free(place) && !others.contains(place)).unwrap_or(1);
        let place = before.filter(free).unwrap_or_else(first);
        if let Err(error) = store.keep(PLACE, &place.to_le_bytes()) {
            tracing::warn!(%error, "the ports of the office cannot be kept");
        }
        place
    }

    /// Ends the network of an office in order.
    pub(crate) async fn close(&self, id: OfficeId) {
        let Some(office) = self.get(id) else { return };
        self.all.send_modify(|all| all.retain(|office| office.id != id));
        office.net.ask(NetworkCommand::Quit).await;
        let _ = tokio::time::timeout(super::STOP_WITHIN, office.net.asks.closed()).await;
    }

    /// Ends all networks in order.
    pub(crate) async fn stop(&self) {
        let ids: Vec<OfficeId> = self.all.borrow().iter().map(|office| office.id).collect();
        futures::future::join_all(ids.into_iter().map(|id| self.close(id))).await;
    }
}

/// Returns the options for the network of an office: without anything that leads strangers to it, and with
/// ports of its own. If a port is configured, the office at place 1 has the next port, the one at place 2 the
/// port after that.
fn of_office(options: &Options, place: u16) -> Options {
    let other = |port: u16| if port == 0 { 0 } else { port.checked_add(place).unwrap_or(0) };
    let listen = options.listen.iter().map(|text| match text.parse::<Multiaddr>() {
        Ok(addr) => {
            let parts = addr.iter().map(|part| match part {
                Protocol::Tcp(port) => Protocol::Tcp(other(port)),
                Protocol::Udp(port) => Protocol::Udp(other(port)),
                part => part,
            });
            parts.collect::<Multiaddr>().to_string()
        }
        Err(_) => text.clone(),
    });
    Options {
        listen: listen.collect(),
        dht: false,
        dht_servers: Vec::new(),
        dht_server: false,
        external: Vec::new(),
        upnp: false,
        relay_server: false,
        ..options.clone()
    }
}
