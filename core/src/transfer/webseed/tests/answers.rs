//! Tests of the answers of servers: their bytes and their pace.

use super::*;

#[tokio::test]
async fn exactly_the_bytes_that_were_asked_for() {
    let server = Server::honest().await;
    let (seed, file) = (seed(&server), file());
    assert_eq!(seed.len().await.unwrap(), 100_000);
    for range in [0..1, 0..100_000, 99_999..100_000, 12_345..67_890] {
        let (got, ended) = read(&seed, range.clone()).await;
        ended.unwrap();
        assert!(got == file[range.start as usize..range.end as usize]);
    }
    let before = server.asked().len();
    assert!(read(&seed, 5..5).await.1.is_ok());
    let past = refusal(&seed, 99_999..100_001).await;
    assert!(matches!(past, WebSeedError::PastEnd { length: Some(100_000) }));
    assert_eq!(server.asked().len(), before, "neither had to be asked");
}

#[tokio::test]
async fn nothing_of_ours_goes_out_but_the_request() {
    let server = Server::start(|head, _| {
        server::part_and(head, &file(), "\nSet-Cookie: a=b; Path=/\nETag: \"c\"\nLast-Modified: d")
    });
    let server = server.await;
    let seed = WebSeed::within(network(), &server.url("/a/b%20c?d=e"), true).unwrap();
    for range in [0..10, 20..31] {
        read(&seed, range).await.1.unwrap();
    }
    let version = env!("CARGO_PKG_VERSION");
    for (asked, range) in server.asked().iter().zip(["0-9", "20-30"]) {
        let expected = format!(
            "GET /a/b%20c?d=e HTTP/1.1\r\nhost: {}\r\nuser-agent: swarm/{version}\r\naccept: */*\r\n\
             accept-encoding: identity\r\nrange: bytes={range}\r\n\r\n",
            server.addr
        );
        assert_eq!(asked.head, expected);
    }
}

#[tokio::test]
async fn bytes_are_taken_as_they_are() {
    let server = Server::start(|_, _| {
        raw(
            "HTTP/1.1 206 OK\nContent-Encoding: gzip\nContent-Length: 4\nContent-Range: bytes 0-3/4",
            "\x1f\x08ab",
        )
    });
    assert_eq!(read(&seed(&server.await), 0..4).await.0, b"\x1f\x08ab");
}

#[tokio::test]
async fn a_whole_file_is_not_read_for_a_part() {
    let server = Server::start(|_, _| {
        let mut steps = raw("HTTP/1.1 200 OK\nContent-Length: 1000000000000\nAccept-Ranges: bytes", "");
        steps.push(Step::Flood);
        steps
    });
    let server = server.await;
    let seed = seed(&server);
    assert!(matches!(refusal(&seed, 10..20).await, WebSeedError::NoRanges));
    server.ended(1).await;
    assert!(matches!(seed.len().await, Err(WebSeedError::NoRanges)));
    server.ended(2).await;
}

#[tokio::test]
async fn a_length_that_is_not_told_or_is_nothing() {
    let unknown = "HTTP/1.1 206 OK\nContent-Range: bytes 0-0/*\nContent-Length: 1";
    let server = Server::start(move |_, _| raw(unknown, "x")).await;
    let unknown = seed(&server);
    assert!(read(&unknown, 0..1).await.1.is_ok(), "it can be read all the same");
    let why = unknown.len().await.unwrap_err();
    assert!(matches!(why, WebSeedError::NoLength) && why.is_final());
    for empty in ["HTTP/1.1 416 No\nContent-Range: bytes */0", "HTTP/1.1 200 OK"] {
        let server = Server::start(move |_, _| raw(&format!("{empty}\nContent-Length: 0"), "")).await;
        assert_eq!(seed(&server).len().await.unwrap(), 0);
    }
}

#[tokio::test]
async fn another_length_is_another_file() {
    let server = Server::start(|head, number| part(head, &file()[number..])).await;
    let seed = seed(&server);
    assert_eq!(seed.len().await.unwrap(), 100_000);
    let changed = refusal(&seed, 0..10).await;
    assert!(matches!(changed, WebSeedError::Changed { before: 100_000, now: 99_999 }));
    assert!(changed.is_final());
}

#[tokio::test]
async fn too_few_bytes() {
    let promised = "HTTP/1.1 206 OK\nContent-Range: bytes 0-9/10\nContent-Length: 10";
    let chunked = "HTTP/1.1 206 OK\nContent-Range: bytes 0-9/10\nTransfer-Encoding: chunked";
    for (head, body) in [
        (promised, "1234"),
        ("HTTP/1.1 206 OK\nContent-Range: bytes 0-9/10\nContent-Length: 4", "1234"),
        ("HTTP/1.0 206 OK\nContent-Range: bytes 0-9/10", "1234"),
        (chunked, "4\r\n1234\r\n0\r\n\r\n"),
        (chunked, "4\r\n1234\r\n"),
        (chunked, "4\r\n1234\r\nnonsense"),
    ] {
        let server = Server::start(move |_, _| {
            let mut steps = raw(head, body);
            steps.push(Step::Close);
            steps
        });
        let (got, ended) = read(&seed(&server.await), 0..10).await;
        let ended = ended.unwrap_err();
        assert!(matches!(ended, WebSeedError::Short { got: 4, asked: 10 }), "{head} {body}: {ended}");
        assert!(!ended.is_final());
        assert_eq!(got, b"1234");
    }
}

#[tokio::test]
async fn too_many_bytes() {
    for (head, body) in [
        ("HTTP/1.1 206 OK\nContent-Range: bytes 0-3/10\nContent-Length: 6", "123456"),
        ("HTTP/1.0 206 OK\nContent-Range: bytes 0-3/10", "123456"),
        (
            "HTTP/1.1 206 OK\nContent-Range: bytes 0-3/10\nTransfer-Encoding: chunked",
            "4\r\n1234\r\n2\r\n56\r\n0\r\n\r\n",
        ),
    ] {
        let server = Server::start(move |_, _| {
            let mut steps = raw(head, body);
            steps.push(Step::Flood);
            steps
        });
        let server = server.await;
        let (got, ended) = read(&seed(&server), 0..4).await;
        assert!(matches!(ended, Err(WebSeedError::Long)), "{head}");
        assert_eq!(got, b"1234");
        server.ended(1).await;
    }
}

#[tokio::test]
async fn an_error_says_what_to_do() {
    let server = Server::start(|head, _| {
        let status = head.split(['/', ' ']).nth(2).unwrap();
        raw(&format!("HTTP/1.1 {status} Whatever\nRetry-After: 9999\nContent-Length: 0"), "")
    });
    let server = server.await;
    for (status, last, words) in [
        (404, true, "the web server does not have the file (status 404)"),
        (403, true, "the web server refuses to give the file (status 403)"),
        (500, false, "the web server failed (status 500)"),
        (429, false, "the web server is busy (status 429)"),
    ] {
        let seed = WebSeed::within(network(), &server.url(&format!("/{status}")), true).unwrap();
        let why = refusal(&seed, 0..1).await;
        assert_eq!((why.is_final(), why.to_string().as_str()), (last, words));
        if let WebSeedError::Busy { wait, .. } = why {
            assert_eq!(wait, Some(limits::WEBSEED_WAIT));
        }
    }
}

#[tokio::test]
async fn what_is_no_answer_at_all() {
    let long = format!("HTTP/1.1 206 OK\nX-Long: {}", "x".repeat(200 << 10));
    let many: String = (0..10_000).map(|n| format!("\nX-{n}: y")).collect();
    let many = format!("HTTP/1.1 206 OK{many}");
    for head in ["SSH-2.0-OpenSSH_9.2", "HTTP/3 206 OK", "HTTP/1.1 206 OK\nno colon", &long, &many] {
        let head = head.to_owned();
        let server = Server::start(move |_, _| raw(&head, ""));
        let server = server.await;
        let why = refusal(&seed(&server), 0..1).await;
        // The reader of the head reports this: it holds no more bytes than its limit.
        assert!(matches!(why, WebSeedError::BadAnswer("it is not HTTP, or its head is too long")), "{why}");
        server.ended(1).await;
    }
    let endless =
        Server::start(|_, _| vec![Step::Send(b"HTTP/1.1 206 OK\r\nX-Long: ".to_vec()), Step::Flood]);
    let endless = endless.await;
    assert!(matches!(refusal(&seed(&endless), 0..1).await, WebSeedError::BadAnswer(_)));
    endless.ended(1).await;
    let silent = Server::start(|_, _| vec![Step::Close]);
    assert!(matches!(refusal(&seed(&silent.await), 0..1).await, WebSeedError::Lost(_)));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_not_waited_for() {
    for sent in ["", "HTTP/1.1 206 OK\r\nContent-Range: byt"] {
        let server = Server::start(move |_, _| vec![Step::Send(sent.into()), Step::Stall]);
        let server = server.await;
        let patience = Patience { first_byte: BRIEF, ..network().patience };
        let slow = WebNetwork { patience, ..network() };
        let seed = WebSeed::within(slow, &server.url("/file"), true).unwrap();
        let why = refusal(&seed, 0..10).await;
        assert_eq!(why.to_string(), "the web server is slow: no answer within 0.05 s");
        assert!(!why.is_final());
        server.ended(1).await;
    }
}

#[tokio::test]
async fn an_answer_that_stops_is_not_waited_for() {
    let server = Server::start(|_, _| {
        let head = "HTTP/1.1 206 OK\nContent-Range: bytes 0-9/10\nContent-Length: 10";
        let mut steps = raw(head, "1234");
        steps.push(Step::Stall);
        steps
    });
    let server = server.await;
    let patience = Patience { progress: BRIEF, ..network().patience };
    let slow = WebNetwork { patience, ..network() };
    let seed = WebSeed::within(slow, &server.url("/file"), true).unwrap();
    let (got, ended) = read(&seed, 0..10).await;
    assert!(matches!(ended, Err(WebSeedError::Slow { awaited: "more", .. })));
    assert_eq!(got, b"1234");
    server.ended(1).await;
}

#[tokio::test]
async fn who_stops_reading_is_sent_no_more() {
    let server = Server::start(|_, _| {
        let head = "HTTP/1.1 206 OK\nContent-Range: bytes 0-999999999/1000000000\nContent-Length: 1000000000";
        let mut steps = raw(head, "");
        steps.push(Step::Flood);
        steps
    });
    let server = server.await;
    let seed = seed(&server);
    let (came, mut coming) = tokio::sync::mpsc::channel(1);
    let reading = seed.read(0..1_000_000_000, |_| {
        let _ = came.try_send(());
    });
    tokio::select! {
        ended = reading => panic!("{ended:?}"),
        _ = coming.recv() => {}
    }
    server.ended(1).await;
}

#[test]
fn patience_is_what_the_limits_say() {
    let patience = WebNetwork::system().patience;
    assert_eq!(patience.connect, Duration::from_secs(10));
    assert_eq!(patience.first_byte, Duration::from_secs(15));
    assert_eq!(patience.progress, Duration::from_secs(20));
}
