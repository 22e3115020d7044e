//! Tests of names, addresses, and variables of the environment.

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;

#[tokio::test]
async fn this_machine_is_not_on_the_internet() {
    let server = Server::honest().await;
    for host in ["127.0.0.1", "localhost", "0x7f.1", "2130706433", "0", "[::ffff:127.0.0.1]", "[::1]"] {
        let seed = WebSeed::new(&server.url_as(host), false).unwrap();
        let why = refusal(&seed, 0..10).await;
        assert!(matches!(why, WebSeedError::Forbidden { .. }), "{host}: {why}");
        assert!(matches!(seed.len().await, Err(WebSeedError::Forbidden { .. })));
    }
    assert!(server.asked().is_empty());
    let seed = WebSeed::new(&server.url_as("localhost"), true).unwrap();
    assert_eq!(seed.len().await.unwrap(), 100_000, "its owner may say so");
}

/// Only the allowed addresses of a name are used, and the connection goes to an address that was checked: a
/// name that has other addresses at a second lookup gains nothing.
#[tokio::test]
async fn d48_a_name_is_looked_up_once_and_taken_at_its_word() {
    let (inside, outside) =
        (Server::honest().await, Server::start_at("127.0.0.2", None, |head, _| part(head, &file())).await);
    let (bad, good, lookups) = (inside.addr, outside.addr, Arc::new(AtomicUsize::new(0)));
    let count = lookups.clone();
    let named = named(move |host| {
        assert_eq!(host, "rebound.example");
        // The first lookup gives an allowed address.
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => vec![bad, good, bad],
            _ => vec![bad],
        }
    });
    let network = WebNetwork { of_internet: |ip| ip.to_string() == "127.0.0.2", ..named };
    let seed = WebSeed::within(network, "http://rebound.example/file", false).unwrap();
    for range in [0..10, 10..20] {
        assert!(read(&seed, range).await.1.is_ok());
    }
    assert_eq!((lookups.load(Ordering::SeqCst), outside.asked().len()), (1, 2));
    assert!(outside.asked()[0].head.contains("\r\nhost: rebound.example\r\n"));
    // The connection ends, so that the name is looked up again: now it has no allowed address.
    drop(outside);
    let why = refusal_after_loss(&seed).await;
    assert!(matches!(&why, WebSeedError::Forbidden { host } if host == "rebound.example"), "{why}");
    assert!(inside.asked().is_empty());
}

/// Reads until the end of a connection has been noticed.
async fn refusal_after_loss(seed: &WebSeed) -> WebSeedError {
    loop {
        match read(seed, 20..30).await.1 {
            Err(WebSeedError::Short { .. }) | Ok(()) => {}
            Err(other) => return other,
        }
    }
}

#[tokio::test]
async fn a_name_without_an_address() {
    let seed = WebSeed::within(named(|_| Vec::new()), "http://none.example/", true).unwrap();
    let why = refusal(&seed, 0..1).await;
    assert!(matches!(why, WebSeedError::NoSuchHost { .. }) && !why.is_final());
    let lookup = |_, _| Box::pin(async { Err(io::Error::other("no resolver")) }) as _;
    let broken = WebNetwork { lookup: Box::new(lookup), ..network() };
    let seed = WebSeed::within(broken, "http://none.example/", true).unwrap();
    let why = refusal(&seed, 0..1).await.to_string();
    assert_eq!(why, "no address was found for the web server none.example: no resolver");
}

#[tokio::test]
async fn the_second_address_is_tried_when_the_first_is_closed() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let server = Server::honest().await;
    let addrs = [closed, server.addr];
    let seed = WebSeed::within(named(move |_| addrs.to_vec()), "http://a.example/", true).unwrap();
    assert_eq!(seed.len().await.unwrap(), 100_000);
    let seed = WebSeed::within(named(move |_| vec![closed; 3]), "http://a.example/", true).unwrap();
    let why = refusal(&seed, 0..1).await;
    assert!(matches!(why, WebSeedError::Unreachable { .. }) && !why.is_final(), "{why}");
}

/// Returns an address at which connections are not accepted, and the connections that fill its queue.
async fn black_hole() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let (addr, mut full) = (listener.local_addr().unwrap(), Vec::new());
    // On a busy machine a connection that will be accepted may take some time as well.
    while let Ok(stream) = timeout(BRIEF * 6, TcpStream::connect(addr)).await {
        full.push(stream.unwrap());
    }
    (listener, full, addr)
}

#[tokio::test]
async fn the_second_address_is_tried_beside_a_silent_one() {
    let (_listener, _full, silent) = black_hole().await;
    let server = Server::honest().await;
    let addrs = [silent, server.addr];
    let seed = WebSeed::within(named(move |_| addrs.to_vec()), "http://a.example/", true).unwrap();
    assert_eq!(seed.len().await.unwrap(), 100_000);
}

#[tokio::test]
async fn neither_a_lookup_nor_a_connection_is_waited_for_long() {
    let (_listener, _full, silent) = black_hole().await;
    let patience = Patience { connect: BRIEF, ..network().patience };
    let lookup = |_, _| Box::pin(std::future::pending()) as _;
    // The TLS handshake counts: this server waits for a request and sends nothing.
    let plain = Server::honest().await;
    for (network, url) in [
        (WebNetwork { lookup: Box::new(lookup), ..network() }, "http://a.example/".to_owned()),
        (network(), format!("http://{silent}/")),
        (network(), plain.url("/").replace("http:", "https:")),
    ] {
        let seed = WebSeed::within(WebNetwork { patience, ..network }, &url, true).unwrap();
        let why = refusal(&seed, 0..1).await;
        assert!(matches!(why, WebSeedError::Slow { awaited: "connection", .. }), "{url}: {why}");
    }
}

#[test]
fn a_name_with_many_addresses_costs_few_connections() {
    let addrs = (1..=100).map(|host| SocketAddr::from(([127, 0, 1, host], 8080)));
    assert_eq!(connection::by_turns(addrs).len(), limits::WEBSEED_ADDRS);
}

#[test]
fn both_families_get_a_turn() {
    let addrs = ["[2000::1]:1", "[2000::2]:1", "[2000::1]:1", "[2000::3]:1", "1.1.1.1:1", "1.1.1.2:1"];
    let turns = connection::by_turns(addrs.iter().map(|addr| addr.parse().unwrap()));
    let turns: Vec<String> = turns.iter().map(ToString::to_string).collect();
    assert_eq!(turns, ["[2000::1]:1", "1.1.1.1:1", "[2000::2]:1", "1.1.1.2:1", "[2000::3]:1"]);
}

#[tokio::test]
async fn proxies_of_the_environment_are_not_used() {
    let nobody = "http://127.0.0.1:9";
    let names = ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
    if in_child("network::proxies_of_the_environment_are_not_used", &names.map(|name| (name, nobody))) {
        let server = Server::honest().await;
        assert_eq!(read(&seed(&server), 0..10).await.0, file()[..10]);
    }
}
