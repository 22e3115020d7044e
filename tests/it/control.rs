//! The control socket: clients that wait or do not answer keep no other client from an answer.

mod detached;
mod handover;
mod silence;
mod waiting;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};
use swarm_tests::fixture::{Home, PATIENCE};

/// A client of a node's control socket, without a process of its own.
struct Client(BufReader<UnixStream>);

impl Client {
    /// Connects and sends nothing.
    fn silent(home: &Home) -> Self {
        let stream = UnixStream::connect(home.store().join("control.sock")).expect("the node listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a timeout");
        Self(BufReader::new(stream))
    }

    fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).expect("the node reads");
    }

    /// Sends the greeting and a command.
    fn ask(home: &Home, command: &Value) -> Self {
        let mut client = Self::silent(home);
        let greeting = json!({"greeting": {"protocol": 1, "version": "0", "pid": 1}});
        client.say(&format!("{greeting}\n{command}\n"));
        let greeted = client.line();
        assert!(greeted["greeting"]["pid"].is_u64(), "{greeted}");
        client
    }

    /// Requests a download of an id that nobody has. Returns when the node has taken the command.
    fn waiting(home: &Home, number: usize) -> Self {
        let mut client = Self::ask(home, &get(&id(number)));
        assert_eq!(client.line(), "beat", "a command is acknowledged at once");
        client
    }

    /// Reads the next line; null at the end.
    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the node says something");
        serde_json::from_str(&line).unwrap_or_default()
    }
}

/// An id that nobody has.
fn id(number: usize) -> String {
    format!("{number:0>64x}")
}

fn get(id: &str) -> Value {
    json!({
        "command": "get", "target": id, "output": {"into": "/nowhere"}, "overwrite": false,
        "timeout_ms": null, "include": [], "exclude": [],
    })
}
