//! Tests of redirects. 127.0.0.2 counts as an address of the internet here.

use std::net::IpAddr;

use super::*;

/// An address of this machine that counts as one of the internet.
const OUTSIDE: &str = "127.0.0.2";

fn pretended(ip: IpAddr) -> bool {
    ip.to_string() == OUTSIDE || of_internet(ip)
}

/// Returns a web seed for which that address is of the internet.
fn reader(url: &str, private: bool) -> WebSeed {
    WebSeed::within(WebNetwork { of_internet: pretended, ..network() }, url, private).unwrap()
}

fn found(location: &str) -> Vec<Step> {
    raw(&format!("HTTP/1.1 302 Found\nLocation: {location}\nContent-Length: 5"), "moved")
}

/// Starts a server that redirects each request to this location.
async fn sends_to(ip: &str, location: String) -> Server {
    Server::start_at(ip, None, move |_, _| found(&location)).await
}

async fn outside() -> Server {
    Server::start_at(OUTSIDE, None, |head, _| part(head, &file())).await
}

#[tokio::test]
async fn three_redirects_are_followed_and_a_fourth_is_not() {
    for status in [301, 302, 303, 307, 308] {
        let server = Server::start(move |head, _| {
            // `/3` leads to `/2`, and so on.
            let left: u8 = head.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
            match left.checked_sub(1) {
                None => part(head, &file()),
                Some(left) => raw(&format!("HTTP/1.1 {status} X\nLocation: {left}\nContent-Length: 0"), ""),
            }
        });
        let server = server.await;
        let seed = WebSeed::within(network(), &server.url("/3"), true).unwrap();
        assert_eq!(seed.len().await.unwrap(), 100_000);
        assert_eq!(read(&seed, 1000..2000).await.0, file()[1000..2000]);
        let asked = server.asked().len();
        let seed = WebSeed::within(network(), &server.url("/4"), true).unwrap();
        let why = refusal(&seed, 0..1).await;
        assert!(matches!(why, WebSeedError::Redirect(_)) && why.is_final());
        assert_eq!(server.asked().len(), asked + 4);
    }
}

#[tokio::test]
async fn a_circle_ends() {
    let server = Server::start(|_, _| found("/file")).await;
    assert!(matches!(refusal(&seed(&server), 0..1).await, WebSeedError::Redirect(_)));
    assert_eq!(server.asked().len(), 4);
}

#[tokio::test]
async fn a_redirect_to_nowhere_in_particular() {
    for head in
        ["HTTP/1.1 302 Found\nContent-Length: 0", "HTTP/1.1 302 Found\nLocation: //\nContent-Length: 0"]
    {
        let server = Server::start(move |_, _| raw(head, "")).await;
        assert!(matches!(refusal(&seed(&server), 0..1).await, WebSeedError::Redirect(_)), "{head}");
    }
}

/// A server on the internet redirects to the targets that attackers try. Only servers of this test listen
/// there, and they get no request.
#[tokio::test]
async fn d48_no_redirect_leads_inside() {
    let inside = Server::honest().await;
    let port = inside.addr.port();
    for private in [false, true] {
        for location in [
            inside.url("/file"),
            format!("http://localhost:{port}/"),
            format!("http://0x7f.1:{port}/"),
            format!("http://2130706433:{port}/"),
            format!("http://0:{port}/"),
            format!("http://[::ffff:127.0.0.1]:{port}/"),
            format!("//127.0.0.1:{port}/file"),
            "http://169.254.169.254/latest/meta-data/".to_owned(),
            "http://[fd00:ec2::254]/".to_owned(),
            "http://10.0.0.1/".to_owned(),
            "http://[::1]:8080/".to_owned(),
        ] {
            let server = sends_to(OUTSIDE, location.clone()).await;
            let why = refusal(&reader(&server.url("/file"), private), 0..10).await;
            assert!(matches!(why, WebSeedError::Forbidden { .. }), "{location}: {why}");
            assert!(why.is_final());
        }
        for location in [
            "http://127.0.0.1:22/",
            "file:///etc/passwd",
            "gopher://127.0.0.1:6379/_FLUSHALL",
            "ftp://example.org/",
            "http://user:secret@127.0.0.1:8080/",
        ] {
            let server = sends_to(OUTSIDE, location.to_owned()).await;
            let why = refusal(&reader(&server.url("/file"), private), 0..10).await;
            assert!(matches!(why, WebSeedError::Redirect(_)), "{location}: {why}");
        }
    }
    assert!(inside.asked().is_empty());
}

#[tokio::test]
async fn the_internet_leads_to_the_internet() {
    let last = outside().await;
    let first = sends_to(OUTSIDE, last.url("/file")).await;
    for private in [false, true] {
        assert_eq!(read(&reader(&first.url("/"), private), 5..9).await.0, file()[5..9]);
    }
}

#[tokio::test]
async fn an_office_may_lead_anywhere_but_not_by_a_detour() {
    let (inside, last) = (Server::honest().await, outside().await);
    for url in [inside.url("/file"), last.url("/file")] {
        let office = sends_to("127.0.0.1", url).await;
        assert_eq!(read(&reader(&office.url("/"), true), 5..9).await.0, file()[5..9]);
        let why = refusal(&reader(&office.url("/"), false), 5..9).await;
        assert!(matches!(why, WebSeedError::Forbidden { .. }));
    }
    let asked = inside.asked().len();
    let second = sends_to(OUTSIDE, inside.url("/file")).await;
    let office = sends_to("127.0.0.1", second.url("/file")).await;
    let why = refusal(&reader(&office.url("/"), true), 5..9).await;
    assert!(matches!(why, WebSeedError::Forbidden { .. }), "out and in again");
    assert_eq!(inside.asked().len(), asked);
}

/// A kept connection to a private address is not used after a redirect from the internet.
#[tokio::test]
async fn a_kept_connection_is_of_no_use_to_who_may_not_have_it() {
    let back: Arc<OnceLock<String>> = Arc::default();
    let detour = Server::start_at(OUTSIDE, None, {
        let back = back.clone();
        move |_, _| found(back.get().unwrap())
    });
    let detour = detour.await;
    let office = Server::start_at("127.0.0.1", None, {
        let out = detour.url("/");
        move |head, number| if number == 0 { part(head, &file()) } else { found(&out) }
    });
    let office = office.await;
    back.set(office.url("/file")).unwrap();
    let seed = reader(&office.url("/"), true);
    assert!(read(&seed, 0..10).await.1.is_ok());
    assert!(matches!(refusal(&seed, 0..10).await, WebSeedError::Forbidden { .. }));
    assert_eq!((office.connections(), detour.asked().len()), (vec![0, 0], 1));
}
