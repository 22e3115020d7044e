//! Tests of hash lists beside files.

use super::hash_list::{ListFault, read_hash_list};
use super::*;
use crate::content::geometry::Geometry;
use crate::content::kind::ContentKind;
use crate::content::tree::HashList;

/// Returns a file of several chunks, its geometry, and its hash list.
fn film(seed: u8) -> (Geometry, HashList) {
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|index| (index >> 7) as u8 ^ seed).collect();
    let geometry = Geometry::new(bytes.len() as u64).unwrap();
    assert!(geometry.chunks() > 1);
    (geometry, HashList::of(ContentKind::File, geometry, &bytes))
}

#[tokio::test]
async fn i7_a_list_is_verified_and_its_fault_is_said() {
    let ((geometry, right), (_, other)) = (film(1), film(2));
    let whole = right.encode();
    let want = whole.len();
    for (list, said) in [
        (Some(whole.clone()), None),
        (None, Some("cannot be read: the web server does not have the file (status 404)".to_owned())),
        (Some(whole[1..].to_vec()), Some(format!("has {} bytes and should have {want}", want - 1))),
        (Some(other.encode()), Some("is that of another file".to_owned())),
    ] {
        let server = Server::start(move |head, _| match &list {
            Some(list) if head.starts_with("GET /film.swarm ") => part(head, list),
            _ => raw("HTTP/1.1 404 No\nContent-Length: 0", ""),
        });
        let server = server.await;
        let read = read_hash_list(&server.url("/film"), true, right.id(), geometry).await;
        match said {
            None => assert!(read.unwrap() == whole),
            Some(said) => {
                let fault = read.unwrap_err();
                assert_eq!(fault.to_string(), format!("the hash list beside the file (.swarm) {said}"));
                assert!(fault.is_final());
            }
        }
    }
    let busy = Server::start(|_, _| raw("HTTP/1.1 503 No\nRetry-After: 7\nContent-Length: 0", "")).await;
    let fault = read_hash_list(&busy.url("/film"), true, right.id(), geometry).await.unwrap_err();
    assert!(matches!(fault, ListFault::Unread(_)) && !fault.is_final());
    assert_eq!(fault.wait(), Some(Duration::from_secs(7)));
}
