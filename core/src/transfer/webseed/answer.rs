//! Checks of the head of an answer.

use std::ops::Range;
use std::time::Duration;

use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, HeaderName, RETRY_AFTER};
use hyper::{Response, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

use super::WebSeedError;
use crate::limits;

/// Parser for dates of the form that HTTP prefers. The two older forms are not read.
const DATES: DateTimeParser = DateTimeParser::new();

/// Checks that an answer holds exactly the requested bytes. Returns the length of the file in bytes; `None`
/// if the server does not know it.
///
/// # Errors
/// [`WebSeedError`] by the status of the answer, or if it holds other bytes.
pub(super) fn check<B>(answer: &Response<B>, asked: &Range<u64>) -> Result<Option<u64>, WebSeedError> {
    let headers = answer.headers();
    // hyper's own limit does not count the bytes that come with the last read of the head.
    if headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>()
        > limits::WEBSEED_HEAD_BYTES
    {
        return Err(WebSeedError::BadAnswer("its head is too long"));
    }
    let status = answer.status();
    match status {
        StatusCode::PARTIAL_CONTENT => {}
        // An empty file has no parts. Some servers then answer with the whole of it.
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
        // A server with a shorter file answers with the bytes that it has.
        Some(length) if length < asked.end && range == (asked.start..length) => {
            Err(WebSeedError::PastEnd { length: Some(length) })
        }
        _ => Err(WebSeedError::BadAnswer("it holds other bytes than were asked for")),
    }
}

/// Returns the text of a header that occurs once. Of two that differ one would be wrong.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Reads `bytes FIRST-LAST/LENGTH`. The length is `*`, here `None`, if the server does not know it.
fn content_range(text: &str) -> Option<(Range<u64>, Option<u64>)> {
    let (range, length) = bytes_unit(text)?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    let length = if length == "*" { None } else { Some(number(length)?) };
    let fits = first <= last && length.is_none_or(|length| last < length);
    fits.then_some((first..last.checked_add(1)?, length))
}

/// Reads `bytes */LENGTH`.
fn unsatisfied(text: &str) -> Option<u64> {
    number(bytes_unit(text)?.strip_prefix("*/")?)
}

/// Returns the text behind the unit `bytes`.
fn bytes_unit(text: &str) -> Option<&str> {
    let (unit, rest) = text.split_once(' ')?;
    unit.eq_ignore_ascii_case("bytes").then(|| rest.trim())
}

/// Reads a number of digits alone: Rust would accept a sign before them.
fn number(text: &str) -> Option<u64> {
    is_digits(text).then(|| text.parse().ok())?
}

/// Returns true if a text is one or more decimal digits.
fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads a number of seconds or a date. Returns the time until then, at most [`limits::WEBSEED_WAIT`].
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let wait = if is_digits(text) {
        text.parse().map_or(Duration::MAX, Duration::from_secs)
    } else {
        // A date in the past asks for no pause.
        Duration::try_from(DATES.parse_timestamp(text).ok()?.duration_since(now)).unwrap_or_default()
    };
    Some(wait.min(limits::WEBSEED_WAIT))
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
