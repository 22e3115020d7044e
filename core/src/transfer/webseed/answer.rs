//! What the head of an answer says.

use std::ops::Range;
use std::time::Duration;

use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, HeaderName, RETRY_AFTER};
use hyper::{Response, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

use super::WebSeedError;
use crate::limits;

/// Reads dates of the form HTTP prefers; the two forms of the last century are not worth it.
const DATES: DateTimeParser = DateTimeParser::new();

/// Checks that exactly these bytes follow; the length of the file as far as the server tells it.
pub(super) fn check<B>(answer: &Response<B>, asked: &Range<u64>) -> Result<Option<u64>, WebSeedError> {
    let headers = answer.headers();
    // What comes with the last read is beyond what hyper counts.
    if headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>()
        > limits::WEBSEED_HEAD_BYTES
    {
        return Err(WebSeedError::BadAnswer("its head is too long"));
    }
    let status = answer.status();
    match status {
        StatusCode::PARTIAL_CONTENT => {}
        // Of an empty file there are no parts; some servers say so this way.
        StatusCode::OK if only(headers, &CONTENT_LENGTH) == Some("0") => {
            return Err(WebSeedError::PastEnd { length: Some(0) });
        }
        StatusCode::OK => return Err(WebSeedError::NoRanges),
        StatusCode::NOT_FOUND | StatusCode::GONE => return Err(WebSeedError::Missing(status.as_u16())),
        StatusCode::RANGE_NOT_SATISFIABLE => {
            let length = only(headers, &CONTENT_RANGE).and_then(unsatisfied);
            return Err(WebSeedError::PastEnd { length });
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let wait = only(headers, &RETRY_AFTER).and_then(|text| retry_after(text, Timestamp::now()));
            return Err(WebSeedError::Busy { status: status.as_u16(), wait });
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => {
            return Err(WebSeedError::Failed(status.as_u16()));
        }
        _ if status.is_server_error() => return Err(WebSeedError::Failed(status.as_u16())),
        _ if status.is_client_error() => return Err(WebSeedError::Refused(status.as_u16())),
        _ => return Err(WebSeedError::BadAnswer("its status has no meaning here")),
    }
    let (range, length) = only(headers, &CONTENT_RANGE)
        .and_then(content_range)
        .ok_or(WebSeedError::BadAnswer("it does not say which bytes it holds"))?;
    if range == *asked {
        return Ok(length);
    }
    match length {
        // A server that has less answers with what there is.
        Some(length) if length < asked.end && range == (asked.start..length) => {
            Err(WebSeedError::PastEnd { length: Some(length) })
        }
        _ => Err(WebSeedError::BadAnswer("it holds other bytes than were asked for")),
    }
}

/// The text of a header that is there once: of two that differ, one would be wrong.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// `bytes FIRST-LAST/LENGTH`, or `*` for a length that the server does not know.
fn content_range(text: &str) -> Option<(Range<u64>, Option<u64>)> {
    let (range, length) = bytes_unit(text)?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    let length = if length == "*" { None } else { Some(number(length)?) };
    let fits = first <= last && length.is_none_or(|length| last < length);
    fits.then_some((first..last.checked_add(1)?, length))
}

/// `bytes */LENGTH`.
fn unsatisfied(text: &str) -> Option<u64> {
    number(bytes_unit(text)?.strip_prefix("*/")?)
}

fn bytes_unit(text: &str) -> Option<&str> {
    let (unit, rest) = text.split_once(' ')?;
    unit.eq_ignore_ascii_case("bytes").then(|| rest.trim())
}

/// Rust would also read a sign.
fn number(text: &str) -> Option<u64> {
    is_digits(text).then(|| text.parse().ok())?
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Seconds, or a date; within reason.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let wait = if is_digits(text) {
        text.parse().map_or(Duration::MAX, Duration::from_secs)
    } else {
        // What is past is over.
        Duration::try_from(DATES.parse_timestamp(text).ok()?.duration_since(now)).unwrap_or_default()
    };
    Some(wait.min(limits::WEBSEED_WAIT))
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
