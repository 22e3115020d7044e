//! `--max-store`: fetched blobs are evicted first, and a blob that is too large is refused without losing
//! anything.

use swarm_tests::fixture::Home;

#[test]
fn a_quota_evicts_the_oldest_and_never_for_nothing() {
    let (giver, taker) = (Home::new(), Home::new());
    let daemon = giver.daemon(&[]);
    let publish = |name: &str, len: u64| {
        let path = giver.file(name, len, len);
        giver.run(["publish", path.to_str().unwrap(), "--link"]).success().text()
    };
    let (one, two, large) =
        (publish("one", 3_000_000), publish("two", 3_000_001), publish("large", 9_000_000));
    let names = || {
        let listed = taker.ask(&["ls"]);
        let rows = listed["blobs"].as_array().cloned().unwrap_or_default();
        rows.iter().map(|row| row["name"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let cat = |link: &str| taker.run(["--max-store", "4MB", "cat", link]);
    cat(&one).exits(0);
    assert_eq!(names(), ["one"]);
    cat(&large).exits(1);
    assert_eq!(names(), ["one"], "nothing is evicted for what does not fit anyway");
    let got = cat(&two);
    got.exits(0);
    assert_eq!(got.out, std::fs::read(giver.path("two")).unwrap());
    assert_eq!(names(), ["two"]);
    daemon.stop().exits(0);
}
