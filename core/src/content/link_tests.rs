#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::content::seal::ShareKey;

const DIGITS: &str = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
const PEER: &str = "/ip4/192.0.2.7/udp/4001/quic-v1/p2p/12D3KooWLRPJAA5o6";

fn id() -> ContentId {
    DIGITS.parse().unwrap()
}

fn link(name: Option<&str>, peers: &[&str]) -> Link {
    let peers = peers.iter().map(|&p| p.to_owned()).collect();
    Link { name: name.map(str::to_owned), peers, ..Link::to(id()) }
}

#[test]
fn writes_one_form() {
    assert_eq!(link(None, &[]).to_string(), format!("swarm:{DIGITS}"));
    assert_eq!(
        link(Some("my file (1) ü.pdf"), &[PEER, "/ip6/::1/tcp/1"]).to_string(),
        format!("swarm:{DIGITS}?name=my%20file%20%281%29%20%C3%BC.pdf&peer={PEER}&peer=/ip6/::1/tcp/1")
    );
    let both = Link { trackers: vec![PEER.to_owned()], ..link(None, &["/ip6/::1/tcp/1"]) };
    assert_eq!(both.to_string(), format!("swarm:{DIGITS}?peer=/ip6/::1/tcp/1&tracker={PEER}"));
    assert_eq!(both.to_string().parse(), Ok(both));
    let five = format!("swarm:{DIGITS}?{}", ["tracker=/ip4/10.0.0.1/tcp/1"; LINK_TRACKERS + 1].join("&"));
    assert_eq!(five.parse::<Link>(), Err(LinkError::TooManyTrackers));
    assert_eq!(link(None, &["/dns/x/tcp/1"]).to_string(), format!("swarm:{DIGITS}?peer=/dns/x/tcp/1"));
}

#[test]
fn reads_the_forms_it_meets() {
    let plain = Ok(link(None, &[]));
    for text in [
        format!("swarm:{DIGITS}"),
        format!("SWARM:{}", DIGITS.to_uppercase()),
        format!("swarm://{DIGITS}"),
        format!("swarm://{DIGITS}/"),
        format!("swarm:{DIGITS}?"),
        format!("swarm:{DIGITS}?&&name=&x"),
        format!("swarm:{DIGITS}?size=12&v=%zz&names=x&NAME=x"),
    ] {
        assert_eq!(text.parse(), plain, "{text}");
    }
    let full = format!("swarm://{DIGITS}/?peer=%2Fdns%2fx&future=1&name=a+b%26%3D%25&peer=/y=z");
    assert_eq!(full.parse(), Ok(link(Some("a+b&=%"), &["/dns/x", "/y=z"])));
}

#[test]
fn refuses_bad_links() {
    let of = |query: &str| format!("swarm:{DIGITS}?{query}").parse::<Link>().unwrap_err();
    assert_eq!(of("name=a&name=a"), LinkError::TwoNames);
    assert_eq!(of("name=&name=a"), LinkError::TwoNames);
    assert_eq!(of(&format!("name={}", "a".repeat(256))), LinkError::NameTooLong { bytes: 256 });
    assert_eq!(of(&"&peer=/x".repeat(LINK_PEERS + 1)), LinkError::TooManyPeers);
    assert_eq!(of(&"&peer=/x".repeat(1000)), LinkError::TooLong { bytes: 71 + 8000 });
    assert_eq!(of("name=x#key"), LinkError::Fragment);
    for bad in ["%", "%a", "%4", "%zz", "%+1", "%%41", "%ff", "%c0%ae", "%ed%a0%80"] {
        assert_eq!(of(&format!("name={bad}")), LinkError::Encoding { text: bad.to_owned() });
    }
    for bad in ["", "a b", "a%20b", "a%0ab", "%C3%BC", &"a".repeat(ADDR_BYTES + 1)] {
        assert!(matches!(of(&format!("peer={bad}")), LinkError::Peer { .. }), "{bad}");
    }
    for bad in ["", "swarm", "magnet:?xt=1", " swarm:", "ſwarm:", "swarm"] {
        assert!(matches!(bad.parse::<Link>(), Err(LinkError::Scheme { .. })), "{bad}");
    }
    for bad in ["", "//", "ch/abc", &DIGITS[1..], &format!("{DIGITS}0"), &format!("///{DIGITS}"), "?name=x"] {
        assert!(matches!(format!("swarm:{bad}").parse::<Link>(), Err(LinkError::Id { .. })), "{bad}");
    }
}

#[test]
fn targets() {
    let read = |text: &str| text.parse::<Target>();
    assert_eq!(read(DIGITS), Ok(Target::Id(id())));
    assert_eq!(read(&format!(" {}\n", DIGITS.to_uppercase())), Ok(Target::Id(id())));
    assert_eq!(read(&format!("blake3:{DIGITS}")), Ok(Target::Id(id())));
    assert_eq!(read(&format!("swarm:{DIGITS}")), Ok(Target::Link(link(None, &[]))));
    assert_eq!(read("AF13"), Ok(Target::Prefix("af13".to_owned())));
    assert_eq!(read("blake3:af134"), Ok(Target::Prefix("af134".to_owned())));
    assert_eq!(read(&DIGITS[..63]), Ok(Target::Prefix(DIGITS[..63].to_owned())));
    for bad in
        ["", "af1", "wxyz", "af13 4", "é1349", "blake3:", "blake3:xyz", "file.txt", &format!("{DIGITS}0")]
    {
        assert!(matches!(read(bad), Err(LinkError::Target { .. })), "{bad}");
    }
    assert!(matches!(read("swarm:af13"), Err(LinkError::Id { .. })));
}

/// Links made by hand beyond the limits are still written as readable text.
#[test]
fn writing_keeps_the_limits() {
    let long = "a".repeat(ADDR_BYTES);
    let mut peers = vec!["", "with space", "ü"];
    peers.extend([long.as_str(); 40]);
    let read: Link = link(Some(&"ü".repeat(300)), &peers).to_string().parse().unwrap();
    assert_eq!(read.name, Some("ü".repeat(127)));
    assert!((1..=LINK_PEERS).contains(&read.peers.len()) && read.peers.iter().all(|peer| *peer == long));
    let read: Link = link(None, &["/x"; 40]).to_string().parse().unwrap();
    assert_eq!(read.peers.len(), LINK_PEERS);
}

#[test]
fn a_key_is_read_and_never_shown() {
    let secret = "c2VjcmV0";
    for text in [
        format!("swarm:{DIGITS}#key={secret}"),
        format!("swarm:{DIGITS}?peer=%#key={secret}"),
        format!("swarm:zz#key={secret}"),
        format!("swarn:{DIGITS}#key={secret}"),
        format!("{DIGITS}#key={secret}"),
        format!("swarm:{DIGITS}#locked={secret}"),
    ] {
        let shown =
            [text.parse::<Link>().unwrap_err().to_string(), text.parse::<Target>().unwrap_err().to_string()];
        assert!(shown.iter().all(|shown| !shown.contains(secret)), "{shown:?}");
    }
    let link = Link {
        fragment: Some(Fragment::Key(ShareKey::from_bytes([7; 32]))),
        ..Link::to(ContentId::from_bytes([1; 32]))
    };
    let text = link.to_string();
    assert!(text.ends_with("#key=BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"), "{text}");
    assert_eq!(text.parse::<Link>(), Ok(link.clone()));
    assert!(!format!("{link:?}").contains("BwcH"));
}

/// D17: no error shows raw characters that a terminal would act on.
#[test]
fn d17_link_errors_are_escaped() {
    for text in ["\u{1b}[2J", "swarm:\u{202e}x", "swarm:\n"] {
        let shown =
            [text.parse::<Link>().unwrap_err().to_string(), text.parse::<Target>().unwrap_err().to_string()];
        assert!(shown.iter().all(|shown| *shown == escape(shown)), "{shown:?}");
    }
    let shown = format!("swarm:{DIGITS}?peer=%1b%0a").parse::<Link>().unwrap_err().to_string();
    assert!(shown.contains("\\u{1b}\\u{a}"), "{shown}");
}

proptest! {
    #[test]
    fn round_trip(
        id in any::<[u8; 32]>(),
        name in proptest::option::of("\\PC{1,60}|[ -~]{1,80}"),
        peers in proptest::collection::vec("/[!-~]{0,100}", 0..=LINK_PEERS),
        webseeds in proptest::collection::vec("https?://[!-~]{0,200}", 0..=LINK_WEBSEEDS),
        trackers in proptest::collection::vec("/[!-~]{0,100}", 0..=LINK_TRACKERS),
        dht in proptest::collection::vec("/[!-~]{0,100}", 0..=LINK_DHT),
        kind in 0..3,
    ) {
        let fragment = match kind {
            0 => None,
            1 => Some(Fragment::Key(ShareKey::from_bytes(id))),
            _ => Some(Fragment::Locked(Box::new([id[0]; LOCKED]))),
        };
        let office = (id[0] & 1 == 1).then(|| ContentId::from_bytes(id).to_string()[..16].to_owned());
        let link = Link { id: ContentId::from_bytes(id), name, peers, trackers, dht, webseeds, office, fragment };
        let text = link.to_string();
        // No character has a meaning for bash, a URL or a chat program, except the two that cannot be
        // avoided.
        prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/:@%?&=#".contains(&b)), "{}", text);
        prop_assert!(text.len() <= LINK_BYTES);
        let read: Link = text.parse().unwrap();
        prop_assert_eq!(read.to_string(), text.as_str());
        if text.len() < LINK_BYTES - 310 - 2 * FRAGMENT_BYTES {
            prop_assert_eq!(&read, &link);
        }
        prop_assert_eq!(text.parse(), Ok(Target::Link(read)));
    }

    #[test]
    fn garbage_never_panics(text in any::<String>(), tail in "[ -~é\u{0}]{0,200}") {
        let _ = text.parse::<Link>();
        let _ = text.parse::<Target>();
        for text in [format!("swarm:{tail}"), format!("swarm:{DIGITS}{tail}"), format!("swarm:{DIGITS}?name={tail}")] {
            if let Ok(link) = text.parse::<Link>() {
                prop_assert_eq!(link.to_string().parse(), Ok(link));
            }
        }
    }
}
