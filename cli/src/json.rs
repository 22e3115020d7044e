//! Events as lines of JSON, each with its version.

use std::path::{Path, PathBuf};

use serde::Serialize;
use swarm_core::api::event::{BlobRow, Event};
use swarm_core::api::status::DetachedRow;

use crate::exit::Failed;

/// Version of the format. Readers ignore fields that they do not know; the number rises when a field changes.
const VERSION: u32 = 1;

/// One line of output.
#[derive(Serialize)]
struct JsonLine<'a, T: Serialize> {
    v: u32,
    /// The target that the line is about, as it was given, if `get` has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    /// The process of a demo that the line comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<&'a str>,
    #[serde(flatten)]
    event: &'a T,
}

/// The subject of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About<'a> {
    /// The only subject of the command.
    It,
    /// One target of several.
    Target(&'a str),
    /// One process of a demo.
    Process(&'a str),
}

/// A failure with its exit code, in the documented form.
#[derive(Serialize)]
struct FailedLine<'a> {
    event: &'static str,
    fault: &'static str,
    message: &'a str,
    hint: Option<&'a str>,
    exit: u8,
}

/// Writes an event as one line.
pub(crate) fn event(about: About<'_>, event: &Event) -> String {
    // A path that is not UTF-8 would be a list of bytes.
    let readable = has_odd_path(event).then(|| with_readable_paths(event.clone()));
    let written = line(about, readable.as_ref().unwrap_or(event));
    written.unwrap_or_else(|| format!("{{\"v\":{VERSION},\"event\":\"unprintable\"}}"))
}

fn has_odd_path(event: &Event) -> bool {
    let is_odd = |path: &Path| path.to_str().is_none();
    let of_blob = |blob: &BlobRow| blob.path.as_deref().is_some_and(is_odd);
    let of_detached = |row: &DetachedRow| row.to.as_deref().is_some_and(is_odd);
    match event {
        Event::Prefix { path, .. } => is_odd(path),
        Event::Found(blob) => of_blob(blob),
        Event::Published(published) => of_blob(&published.blob),
        Event::Info(info) => of_blob(&info.blob),
        Event::Blobs { blobs } => blobs.iter().any(of_blob),
        Event::Done(done) => is_odd(&done.path),
        Event::Status(status) => is_odd(&status.home) || status.detached.iter().any(of_detached),
        Event::Detached(row) => of_detached(row),
        _ => false,
    }
}

/// Writes a failure as one line.
pub(crate) fn failed(about: About<'_>, failed: &Failed) -> String {
    let fields = FailedLine {
        event: "failed",
        fault: failed.code.name(),
        message: &failed.message,
        hint: failed.hint.as_deref(),
        exit: failed.code as u8,
    };
    object(about, &fields)
}

/// Writes a struct of texts, numbers and lists as one line.
pub(crate) fn object(about: About<'_>, fields: &impl Serialize) -> String {
    line(about, fields).unwrap_or_default()
}

fn line<T: Serialize>(about: About<'_>, event: &T) -> Option<String> {
    let (target, process) = match about {
        About::It => (None, None),
        About::Target(target) => (Some(target), None),
        About::Process(process) => (None, Some(process)),
    };
    serde_json::to_string(&JsonLine { v: VERSION, target, process, event }).ok()
}

fn with_readable_paths(mut event: Event) -> Event {
    fn readable(path: &Path) -> PathBuf {
        PathBuf::from(path.to_string_lossy().into_owned())
    }
    fn of_blob(blob: &mut BlobRow) {
        blob.path = blob.path.as_deref().map(readable);
    }
    fn of_detached(row: &mut DetachedRow) {
        row.to = row.to.as_deref().map(readable);
    }
    match &mut event {
        Event::Prefix { path, .. } => *path = readable(path),
        Event::Found(blob) => of_blob(blob),
        Event::Published(published) => of_blob(&mut published.blob),
        Event::Info(info) => of_blob(&mut info.blob),
        Event::Blobs { blobs } => blobs.iter_mut().for_each(of_blob),
        Event::Done(done) => done.path = readable(&done.path),
        Event::Status(status) => {
            status.home = readable(&status.home);
            status.detached.iter_mut().for_each(of_detached);
        }
        Event::Detached(row) => of_detached(row),
        _ => {}
    }
    event
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;

    use swarm_core::api::event::Done;

    use super::*;
    use crate::exit::Code;

    fn done(path: PathBuf) -> Event {
        let fields = serde_json::json!({"id": "0".repeat(64), "path": "", "len": 1, "resumed": 0, "took_ms": 2,
            "transfer_ms": 1, "sources": [], "uploaded": 0});
        let mut done: Done = serde_json::from_value(fields).expect("the fields of done");
        done.path = path;
        Event::Done(done)
    }

    #[test]
    fn says_version_and_event_and_whom_it_is_about() {
        let text = event(About::Target("swarm:x"), &done("/a".into()));
        assert!(text.starts_with("{\"v\":1,\"target\":\"swarm:x\",\"event\":\"done\","), "{text}");
        let back: Event = serde_json::from_str(&text).expect("an event");
        assert_eq!(back, done("/a".into()));
        let text = event(About::It, &Event::Notice { text: String::new() });
        assert!(text.starts_with("{\"v\":1,\"event\":\"notice\""), "{text}");
    }

    #[test]
    fn stays_json_whatever_names_hold() {
        let path = PathBuf::from(OsString::from_vec(b"/x\xff\"\n\x1b".to_vec()));
        let text = event(About::It, &done(path));
        let value: serde_json::Value = serde_json::from_str(&text).expect("valid");
        assert_eq!(value["path"], "/x\u{fffd}\"\n\u{1b}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn failures_have_their_code() {
        let text = failed(About::It, &Failed::new(Code::NotFound, "\"a\"\nb"));
        let value: serde_json::Value = serde_json::from_str(&text).expect("valid");
        assert_eq!((value["v"].as_u64(), value["exit"].as_u64()), (Some(1), Some(3)));
        assert_eq!((&value["event"], &value["fault"]), (&"failed".into(), &"not_found".into()));
    }
}
