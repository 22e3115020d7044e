//! Starts a network of the node: the public one, or that of an office.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use libp2p::core::transport::{Transport as _, TransportError};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::actor::{Actor, Inbox, Nat, NetworkSettings, Ways};
use super::network::Net;
use crate::api::status::Limits;
use crate::discovery::dht::Dht;
use crate::discovery::port_mapping::PortMapping;
use crate::discovery::reachability::Reachability;
use crate::discovery::tracker::Trackers;
use crate::discovery::{peer_cache, tracker};
use crate::limits;
use crate::membership::lan::Announcer;
use crate::membership::{OfficeHandshake, OfficeState};
use crate::net::address::parse;
use crate::net::behaviour::Behaviour;
use crate::net::error::{StartError, root_cause};
use crate::net::{address, transport};
use crate::options::Options;
use crate::schedule::PeerKey;
use crate::store::Store;
use crate::transfer::session::SessionContext;
use crate::transfer::session::event::SessionEvent;

/// Time that a start waits for the first address to listen on.
const LISTEN_WITHIN: Duration = Duration::from_secs(2);

/// Parts that a network is started with.
pub(super) struct Launch<'a> {
    pub(crate) options: &'a Options,
    pub(crate) keypair: Keypair,
    /// The store as this network sees it.
    pub(crate) store: Store,
    pub(crate) shared: SessionContext,
    pub(crate) events: mpsc::Receiver<(PeerKey, SessionEvent)>,
    pub(crate) limits: watch::Receiver<Limits>,
    /// State and handshake of the office; `None` for the public network.
    pub(crate) office: Option<(OfficeState, OfficeHandshake)>,
}

/// A running network.
pub(super) struct Launched {
    pub(crate) net: Net,
    pub(super) actor: JoinHandle<()>,
    pub(crate) router: Option<PortMapping>,
}

/// Starts a network, and waits for the first address that it listens on.
///
/// # Errors
/// [`StartError`]: an option is wrong, or no address can be listened on.
pub(super) async fn launch(launch: Launch<'_>) -> Result<Launched, StartError> {
    let Launch { options, keypair, store, shared, events, limits, office } = launch;
    let Addresses { given, listen, trackers, dht, external, relays } = Addresses::of(options)?;
    let site = options.site.as_deref().map(site).transpose()?;
    let (office, door) = office.unzip();
    let standing = door.as_ref().map(|door| door.standing.clone());
    let mut network = network(&keypair, options, door)?;
    let peer = *network.local_peer_id();
    let anywhere = listen_on(&mut network, &listen, &store)?;
    let (asks, asked) = mpsc::channel(limits::COMMAND_QUEUE);
    let (addrs, mut listening) = watch::channel(Vec::new());
    let blind = office.as_ref().and_then(OfficeState::blind);
    let trackers = Trackers::new(trackers, keypair.clone(), site.clone(), blind);
    let mut dht = Dht::new(keypair, dht, &listen, options, &store);
    let _ = tokio::time::timeout(LISTEN_WITHIN, dht.ready()).await;
    let router = options.upnp.then(|| PortMapping::start(listening.clone()));
    let mapped = router.as_ref().map(PortMapping::mapped);
    let (found, beacons) = mpsc::channel(limits::COMMAND_QUEUE);
    let look = Arc::new(Notify::new());
    let mut tasks = JoinSet::new();
    if let Some(standing) = standing.filter(|_| options.mdns) {
        tasks.spawn(Announcer { standing, listen: listening.clone(), look: Arc::clone(&look), found }.run());
    }
    let inbox = Inbox::new(asked, events, beacons, tasks);
    let settings = NetworkSettings::new(options, site, office.as_ref(), seed(&peer));
    let nat = Nat::new(Reachability::new(external.clone(), relays.clone(), options), mapped.clone());
    let ways = Ways { given, nat, trackers, dht, listen: addrs, anywhere, look };
    let actor = Actor::new(network, shared, inbox, settings, ways, office);
    let actor = tokio::spawn(actor.run());
    let _ = tokio::time::timeout(LISTEN_WITHIN, listening.wait_for(|all| !all.is_empty())).await;
    let net = Net {
        asks,
        listen: listening,
        peer,
        limits,
        trackers: options.trackers.clone().into(),
        dht: if options.dht { options.dht_servers.clone().into() } else { Arc::default() },
        external: external.into(),
        mapped,
        relays: relays.into(),
    };
    Ok(Launched { net, actor, router })
}

/// Returns the transport and the behaviours of this node as libp2p's swarm, which the node's actor drives.
fn network(
    key: &Keypair,
    options: &Options,
    door: Option<OfficeHandshake>,
) -> Result<libp2p::Swarm<Behaviour>, StartError> {
    let failed = |verb: &str| {
        let verb = verb.to_owned();
        move |source| StartError::Network { verb, source }
    };
    let (relays, relayed) = libp2p::relay::client::new(key.public().to_peer_id());
    let is_office = door.is_some();
    let transport = transport::build_with_relays(key, options.background, relays);
    let transport = transport.map_err(failed("set up encryption"))?;
    // Right after encryption and multiplexing, before any protocol is answered: only members come past it.
    let transport = match door {
        Some(door) => transport.and_then(move |connection, at| door.pass(connection, at)).boxed(),
        None => transport,
    };
    // Members of an office find each other on the LAN by sealed announcements instead.
    let options = &Options { mdns: options.mdns && !is_office, ..options.clone() };
    let behaviour = Behaviour::new(key, options, relayed).map_err(failed("watch the network interfaces"))?;
    Ok(transport::network(key, transport, behaviour, Duration::ZERO, Version::V1Lazy))
}

/// Listens on the given addresses, or on all interfaces if there are none. Returns the addresses that were
/// listened on with any port.
fn listen_on(
    network: &mut libp2p::Swarm<Behaviour>,
    listen: &[Multiaddr],
    store: &Store,
) -> Result<Vec<Multiaddr>, StartError> {
    if listen.is_empty() {
        return listen_everywhere(network, store);
    }
    for addr in listen {
        let failed = |e: TransportError<io::Error>| StartError::Network {
            verb: format!("listen on {addr}"),
            source: io::Error::other(root_cause(&e)),
        };
        network.listen_on(addr.clone()).map_err(failed)?;
    }
    Ok(Vec::new())
}

/// Listens on all interfaces by TCP and QUIC, on the ports of the last run or on any; on IPv6 where the
/// machine has it. Returns the addresses that were listened on with any port.
fn listen_everywhere(
    network: &mut libp2p::Swarm<Behaviour>,
    store: &Store,
) -> Result<Vec<Multiaddr>, StartError> {
    let mut heard = Vec::new();
    for addr in ["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1", "/ip6/::/tcp/0", "/ip6/::/udp/0/quic-v1"]
    {
        let addr: Multiaddr = addr.parse().map_err(|_| StartError::Option(addr.to_owned()))?;
        let last = peer_cache::with_last_port(store, &addr);
        match last.into_iter().chain([addr.clone()]).find_map(|addr| network.listen_on(addr).ok()) {
            Some(_) => heard.push(addr),
            None => tracing::debug!(%addr, "not listening"),
        }
    }
    if !heard.is_empty() {
        return Ok(heard);
    }
    let source = io::Error::other("no address could be listened on");
    Err(StartError::Network { verb: "listen".to_owned(), source })
}

/// Parsed addresses of the options.
struct Addresses {
    given: Vec<Multiaddr>,
    listen: Vec<Multiaddr>,
    trackers: Vec<Multiaddr>,
    dht: Vec<Multiaddr>,
    external: Vec<Multiaddr>,
    relays: Vec<Multiaddr>,
}

impl Addresses {
    fn of(options: &Options) -> Result<Self, StartError> {
        let given = parse(&options.peers, "--peer")?;
        let listen = parse(&options.listen, "--listen")?;
        let trackers = parse(&options.trackers, "--tracker")?;
        let dht = parse(&options.dht_servers, "--dht")?;
        let external = parse(&options.external, "--external")?;
        let relays = parse(&options.relays, "--relay")?;
        let all = [
            (&given, "--peer"),
            (&trackers, "--tracker"),
            (&dht, "--dht"),
            (&external, "--external"),
            (&relays, "--relay"),
        ];
        for (addrs, flag) in all {
            // Only addresses of trackers may hold DNS names.
            let known = |addr: &Multiaddr| address::endpoint(&address::split_peer(addr).0).is_some();
            let named = |addr: &Multiaddr| flag == "--tracker" && tracker::conn::is_endpoint(addr);
            let odd = |addr: &&Multiaddr| !known(addr) && !named(addr);
            if let Some(odd) = addrs.iter().find(odd) {
                return Err(StartError::Option(format!(
                    "{flag} {odd} leads nowhere that swarm knows how to reach"
                )));
            }
        }
        if let Some(nobody) = relays.iter().find(|addr| address::split_peer(addr).1.is_none()) {
            return Err(StartError::Option(format!(
                "--relay {nobody} does not end with /p2p/ and who it is"
            )));
        }
        if trackers.len() > limits::TRACKERS {
            return Err(StartError::Option(format!("more than {} trackers", limits::TRACKERS)));
        }
        if dht.len() > limits::DHT_NODES {
            return Err(StartError::Option(format!("more than {} servers of the DHT", limits::DHT_NODES)));
        }
        Ok(Self { given, listen, trackers, dht, external, relays })
    }
}

/// Checks the name of a site, which other nodes show.
fn site(name: &str) -> Result<String, StartError> {
    let fits = !name.is_empty() && name.len() <= limits::SITE_BYTES && !name.chars().any(char::is_control);
    let shown = crate::content::path::escape(name);
    let most = limits::SITE_BYTES;
    fits.then(|| name.to_owned()).ok_or_else(|| {
        StartError::Option(format!(
            "--site {shown} is not a name of 1 to {most} bytes without control characters"
        ))
    })
}

/// Returns the seed of tie-breaks: it differs between nodes and between starts.
fn seed(peer: &PeerId) -> u64 {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_nanos());
    let hash = blake3::Hasher::new().update(&peer.to_bytes()).update(&now.to_le_bytes()).finalize();
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap_or([0; 8]))
}
