//! The lines on the control socket. Each is one JSON value:
//!
//! ```text
//! client  {"greeting":{..}}   version of the client
//! client  {"command":"..",..} the command
//! node    {"greeting":{..}}   version and process of the node
//! node    "beat"              at once when the command is taken, and every second while there is no event
//! node    {"event":{..}}      an event of the command, the final event last
//! node    "leaving"           in place of the rest: the node ends, another process goes on
//! ```

use serde::{Deserialize, Serialize};

use crate::api::event::{Event, Failure, Fault};

/// Version of the lines. Commands and events may grow new fields without a change of it.
const PROTOCOL: u32 = 1;

/// First message of either end, about itself. Its fields are never taken away, so that any two versions can
/// tell which of them is which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// Version of the lines.
    pub protocol: u32,
    /// Version of swarm.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// True if the node runs until it is stopped, whatever it was asked to do: other processes may leave
    /// their work to it.
    #[serde(default)]
    pub daemon: bool,
    /// True if the node is connected to a network and does more than read the store.
    #[serde(default)]
    pub online: bool,
}

/// One line of a client or a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    Greeting(Greeting),
    Beat,
    Event(Box<Event>),
    Leaving,
}

impl Greeting {
    /// Returns the greeting of this process.
    pub(super) fn new(daemon: bool, online: bool) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { protocol: PROTOCOL, version, pid: std::process::id(), daemon, online }
    }

    /// True if the other end speaks the same version of the lines.
    pub(super) const fn fits(&self) -> bool {
        self.protocol == PROTOCOL
    }
}

/// Returns the failure of a command that a node of another version does not understand, or whose answer is
/// not understood.
pub(super) fn mismatch(client: Option<&str>, node: Option<&str>, pid: Option<u32>) -> Failure {
    let named = |version: Option<&str>| {
        version.map_or("another version of swarm".to_owned(), |v| format!("swarm {v}"))
    };
    let process = pid.map_or_else(|| "the process of the node".to_owned(), |pid| format!("process {pid}"));
    let message = format!(
        "the node that runs for this store is {}, and this command {}: they do not understand each other",
        named(node),
        named(client),
    );
    let hint = format!("end {process} and run the command again; verified data is kept");
    Failure { fault: Fault::User, message, hint: Some(hint) }
}

/// Encodes a line as JSON with a newline.
pub(super) fn encode(line: &impl Serialize) -> std::io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(line).map_err(std::io::Error::other)?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_are_what_the_text_says() {
        let text = |line: &Line| String::from_utf8(encode(line).unwrap()).unwrap();
        assert_eq!(text(&Line::Beat), "\"beat\"\n");
        assert_eq!(text(&Line::Leaving), "\"leaving\"\n");
        let greeting = Greeting::new(true, false);
        assert!(greeting.fits());
        let line = Line::Greeting(greeting);
        assert!(text(&line).starts_with("{\"greeting\":{\"protocol\":1,"), "{}", text(&line));
        assert_eq!(serde_json::from_str::<Line>(text(&line).trim()).unwrap(), line);
        let event = Line::Event(Box::new(Event::Notice { text: "x".to_owned() }));
        assert_eq!(text(&event), "{\"event\":{\"event\":\"notice\",\"text\":\"x\"}}\n");
    }

    #[test]
    fn a_line_of_another_version_is_no_line_and_its_greeting_is_one() {
        assert!(serde_json::from_str::<Line>("{\"event\":\"failed\",\"fault\":\"user\"}").is_err());
        assert!(serde_json::from_str::<Line>("{\"song\":{}}").is_err());
        let later = "{\"greeting\":{\"protocol\":9,\"version\":\"7.0\",\"pid\":3,\"mood\":\"good\"}}";
        let Ok(Line::Greeting(later)) = serde_json::from_str(later) else { panic!("no greeting") };
        assert!(!later.fits());
        let said = mismatch(Some("0.1"), Some(&later.version), Some(later.pid));
        assert!(said.message.contains("swarm 7.0") && said.hint.unwrap().contains("process 3"));
    }
}
