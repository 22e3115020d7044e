//! A web server whose answers a test chooses.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

/// A request: its path, the requested bytes, and its time.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) range: Range<usize>,
    pub(crate) at: Instant,
}

/// A server on this machine. It runs until the test process ends.
pub(crate) struct Scripted {
    port: u16,
    files: Arc<Mutex<Files>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// Files by path.
type Files = HashMap<String, Vec<u8>>;

/// A function from a request and its number, from 0, to the head of an error; `None` for the right answer.
type AnswerFault = dyn Fn(&Asked, usize) -> Option<&'static str> + Send + Sync;

impl Scripted {
    /// Starts a server without files.
    pub(crate) fn start(
        fault: impl Fn(&Asked, usize) -> Option<&'static str> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, fault): (Arc<Mutex<Vec<Asked>>>, Arc<AnswerFault>) = (Arc::default(), Arc::new(fault));
        let files: Arc<Mutex<Files>> = Arc::default();
        let (log, own) = (Arc::clone(&asked), Arc::clone(&files));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, files, fault) = (Arc::clone(&log), Arc::clone(&own), Arc::clone(&fault));
                thread::spawn(move || while serve(&stream, &log, &files, &*fault).is_some() {});
            }
        });
        Self { port, files, asked }
    }

    /// Puts a file on the server.
    pub(crate) fn put(&self, path: &str, bytes: Vec<u8>) {
        self.files.lock().unwrap().insert(path.to_owned(), bytes);
    }

    /// Returns the URL of a file.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Returns all requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// Answers one request; `None` at the end of the connection.
fn serve(
    stream: &TcpStream,
    log: &Mutex<Vec<Asked>>,
    files: &Mutex<Files>,
    fault: &AnswerFault,
) -> Option<()> {
    let lines: Vec<String> =
        BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let path = lines.first()?.split(' ').nth(1)?.to_owned();
    let range = lines.iter().find_map(|line| line.strip_prefix("range: bytes="))?;
    let (first, last) = range.split_once('-')?;
    let range = first.parse().ok()?..last.parse::<usize>().ok()? + 1;
    let asked = Asked { path, range, at: Instant::now() };
    let number = {
        let mut log = log.lock().unwrap();
        log.push(asked.clone());
        log.len() - 1
    };
    let file = files.lock().unwrap().get(&asked.path).cloned();
    let missing = file.is_none().then_some("404 Not Found");
    let mut stream = stream;
    if let Some(status) = fault(&asked, number).or(missing) {
        let head = format!("HTTP/1.1 {}\r\nContent-Length: 0\r\n\r\n", status.replace('\n', "\r\n"));
        return stream.write_all(head.as_bytes()).ok();
    }
    let (file, first) = (file?, asked.range.start);
    let end = asked.range.end.min(file.len());
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {first}-{}/{}\r\n\r\n",
        end - first,
        end - 1,
        file.len()
    );
    stream.write_all(&[head.as_bytes(), &file[first..end]].concat()).ok()
}
