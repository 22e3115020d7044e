//! Tests of the checks of an answer's head.
#![allow(clippy::unwrap_used)]

use hyper::header::HeaderValue;
use proptest::prelude::*;

use super::*;

fn answer(status: u16, headers: &[(HeaderName, &str)]) -> Response<()> {
    let mut answer = Response::new(());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        answer.headers_mut().append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    answer
}

fn part(text: &str) -> Result<Option<u64>, WebSeedError> {
    check(&answer(206, &[(CONTENT_RANGE, text)]), &(10..20))
}

#[test]
fn exactly_the_bytes_that_were_asked_for() {
    assert_eq!(part("bytes 10-19/100").unwrap(), Some(100));
    assert_eq!(part("bytes 10-19/20").unwrap(), Some(20));
    assert_eq!(part("Bytes 10-19/*").unwrap(), None);
    for text in [
        "",
        "bytes",
        "bytes ",
        "bytes 10-19",
        "bytes 10-18/100",
        "bytes 11-19/100",
        "bytes 9-19/100",
        "bytes 10-20/100",
        "bytes 0-99/100",
        "bytes 10-19/19",
        "bytes 10-14/100",
        "bytes 19-10/100",
        "bytes 10-19/x",
        "bytes +10-19/100",
        "bytes 10-+19/100",
        "bytes 10-19/+100",
        "bytes -10-19/100",
        "items 10-19/100",
        "bytes=10-19/100",
        "bytes */100",
        "bytes 10-19/100/100",
        "bytes 1٠-19/100",
        "bytes 10-18446744073709551615/*",
        "bytes 10-19/18446744073709551616",
    ] {
        assert!(matches!(part(text), Err(WebSeedError::BadAnswer(_))), "{text:?}");
    }
    assert!(matches!(part("bytes 10-14/15"), Err(WebSeedError::PastEnd { length: Some(15) })));
    assert!(matches!(check(&answer(206, &[]), &(10..20)), Err(WebSeedError::BadAnswer(_))));
    let twice = [(CONTENT_RANGE, "bytes 10-19/100"), (CONTENT_RANGE, "bytes 10-19/200")];
    assert!(matches!(check(&answer(206, &twice), &(10..20)), Err(WebSeedError::BadAnswer(_))));
}

#[test]
fn whose_fault_it_is_and_whether_to_try_again() {
    use WebSeedError::{BadAnswer, Busy, Failed, Missing, NoRanges, PastEnd, Refused};
    let say = |status: u16| check(&answer(status, &[]), &(0..1)).unwrap_err();
    assert!(matches!(say(200), NoRanges));
    for status in [404, 410] {
        assert!(matches!(say(status), Missing(told) if told == status));
    }
    for status in [400, 401, 402, 403, 405, 406, 407, 451, 499] {
        assert!(matches!(say(status), Refused(told) if told == status));
    }
    assert!(matches!(say(416), PastEnd { length: None }));
    for status in [200, 404, 410, 400, 401, 403, 416] {
        assert!(say(status).is_final(), "{status}");
    }
    for status in [408, 425, 500, 502, 504, 599] {
        assert!(matches!(say(status), Failed(told) if told == status));
    }
    for status in [429, 503] {
        assert!(matches!(say(status), Busy { wait: None, .. }));
    }
    for status in [101, 201, 202, 203, 204, 205, 226, 300, 304, 305, 306, 600, 999] {
        assert!(matches!(say(status), BadAnswer(_)), "{status}");
    }
    for status in [408, 425, 429, 500, 502, 503, 504, 204, 304] {
        assert!(!say(status).is_final(), "{status}");
    }
    let ends = |text| check(&answer(416, &[(CONTENT_RANGE, text)]), &(10..20)).unwrap_err();
    assert!(matches!(ends("bytes */7"), PastEnd { length: Some(7) }));
    assert!(matches!(ends("bytes 0-1/7"), PastEnd { length: None }));
}

#[test]
fn a_server_may_ask_for_patience_within_reason() {
    let now: Timestamp = "1994-11-06T08:49:00Z".parse().unwrap();
    let wait = |text| retry_after(text, now).map(|wait| wait.as_secs());
    assert_eq!(wait("0"), Some(0));
    assert_eq!(wait("120"), Some(120));
    assert_eq!(wait("301"), Some(300));
    assert_eq!(wait("99999999999999999999999999"), Some(300));
    assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(37));
    assert_eq!(wait("Sun, 06 Nov 1994 08:48:37 GMT"), Some(0));
    assert_eq!(wait("Mon, 06 Nov 2094 08:48:37 GMT"), None, "it was a Saturday");
    assert_eq!(wait("Sat, 06 Nov 2094 08:48:37 GMT"), Some(300));
    for text in ["", "-1", "+1", "1.5", "soon", "Sunday, 06-Nov-94 08:49:37 GMT"] {
        assert_eq!(wait(text), None, "{text}");
    }
    let busy = check(&answer(503, &[(RETRY_AFTER, "7")]), &(0..1)).unwrap_err();
    assert!(matches!(busy, WebSeedError::Busy { status: 503, wait: Some(wait) } if wait.as_secs() == 7));
}

#[test]
fn a_head_has_a_limit() {
    let with = |bytes: usize| {
        let padding = "x".repeat(bytes);
        let name = HeaderName::from_static("x-padding");
        let answer = answer(206, &[(CONTENT_RANGE, "bytes 10-19/100"), (name, &padding)]);
        check(&answer, &(10..20))
    };
    assert!(with(60 << 10).is_ok());
    assert!(matches!(with(64 << 10), Err(WebSeedError::BadAnswer(_))));
}

proptest! {
    #[test]
    fn no_text_is_too_much(text in ".*") {
        let _ = (content_range(&text), unsatisfied(&text), retry_after(&text, Timestamp::UNIX_EPOCH));
    }

    #[test]
    fn what_a_server_says_is_what_is_read(first in 0..u64::MAX / 2, length in 1..u64::MAX / 4, more in 0..u64::MAX / 4) {
        let (end, total) = (first + length, first + length + more);
        let text = format!("bytes {first}-{}/{total}", end - 1);
        prop_assert_eq!(content_range(&text), Some((first..end, Some(total))));
    }
}
