//! Tests of the connections that are kept for later requests.

use super::*;

#[tokio::test]
async fn a_connection_serves_many_ranges() {
    let server = Server::honest().await;
    let seed = seed(&server);
    for start in 0..20 {
        assert!(read(&seed, start * 100..start * 100 + 1000).await.1.is_ok());
    }
    assert_eq!(server.connections(), [0; 20]);
}

#[tokio::test]
async fn so_it_does_when_bodies_come_in_pieces_of_their_own() {
    let server = Server::start(|head, _| {
        let range = server::range(head);
        let head = format!(
            "HTTP/1.1 206 X\nContent-Range: bytes {}-{}/100\nTransfer-Encoding: chunked",
            range.start,
            range.end - 1
        );
        raw(&head, "4\r\n1234\r\n6\r\n567890\r\n0\r\nTrailer: x\r\n\r\n")
    });
    let server = server.await;
    let seed = seed(&server);
    for start in 0..5 {
        assert_eq!(read(&seed, start..start + 10).await.0, b"1234567890");
    }
    assert_eq!(server.connections(), [0; 5]);
}

#[tokio::test]
async fn redirects_keep_both_connections() {
    let last = Server::honest().await;
    let to = last.url("/file");
    let first = Server::start(move |_, _| {
        raw(&format!("HTTP/1.1 302 Found\nLocation: {to}\nContent-Length: 5"), "moved")
    });
    let first = first.await;
    let seed = seed(&first);
    for start in 0..5 {
        assert!(read(&seed, start..start + 10).await.1.is_ok());
    }
    assert_eq!((first.connections(), last.connections()), (vec![0; 5], vec![0; 5]));
}

#[tokio::test]
async fn reads_side_by_side_keep_two() {
    let server = Server::honest().await;
    let seed = seed(&server);
    let all = || futures::future::join_all((0..5_u64).map(|start| read(&seed, start..start + 10)));
    for (_, ended) in all().await {
        ended.unwrap();
    }
    // The other three connections were closed at once.
    server.ended(3).await;
    assert_eq!(server.asked().len(), 5);
    for (_, ended) in all().await {
        ended.unwrap();
    }
    let mut used = server.connections();
    used.sort_unstable();
    used.dedup();
    assert_eq!(used.len(), 8, "five, then two of those and three more");
}

/// A server may end a kept connection at any time, without notice.
#[tokio::test]
async fn a_connection_that_ended_meanwhile_is_no_failure() {
    for line in ["", "\nConnection: close"] {
        let server = Server::start(move |head, _| {
            let mut steps = server::part_and(head, &file(), line);
            steps.push(Step::Close);
            steps
        });
        let server = server.await;
        let seed = seed(&server);
        for start in 0..10 {
            let (got, ended) = read(&seed, start..start + 10).await;
            ended.unwrap();
            assert_eq!(got.len(), 10);
        }
    }
}

/// A server may end a kept connection when the next request is already on its way.
#[tokio::test]
async fn a_connection_that_ends_when_used_again_is_no_failure() {
    let server = Server::start(|head, number| match number {
        1 => vec![Step::Close],
        _ => part(head, &file()),
    });
    let server = server.await;
    let seed = seed(&server);
    for start in 0..3 {
        assert!(read(&seed, start..start + 10).await.1.is_ok());
    }
    assert_eq!(server.connections(), [0, 0, 1, 1]);
}

#[tokio::test]
async fn connections_end_with_their_seed() {
    let server = Server::honest().await;
    let seed = seed(&server);
    assert!(read(&seed, 0..10).await.1.is_ok());
    drop(seed);
    server.ended(1).await;
}

#[tokio::test]
async fn a_connection_is_not_kept_for_ever() {
    let server = Server::honest().await;
    let seed = seed(&server);
    assert!(read(&seed, 0..10).await.1.is_ok());
    seed.connections.age(limits::WEBSEED_IDLE_FOR);
    assert!(read(&seed, 0..10).await.1.is_ok());
    assert_eq!(server.connections(), [0, 1]);
}
