//! Many small things in one daemon: contents, waiting downloads, and gets in a row. It measures time, memory
//! and descriptors, and says what is out of bounds.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fixture::{Home, PATIENCE, Process, wait_until};

/// Time over which the processor's work for waiting downloads is measured.
const WATCHED: Duration = Duration::from_secs(2);
/// Commands of the kind that is timed with the start of a process.
const TIMED: usize = 20;
/// Memory that an allocator may keep or take at any moment, in KiB.
const SLACK_KIB: u64 = 12 << 10;
/// Descriptors that come and go.
const SLACK_FILES: usize = 16;

/// Counts of things.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// Contents published one by one.
    pub contents: usize,
    /// Downloads of ids that nobody has.
    pub downloads: usize,
    /// Gets in a row, each of a content that a peer has.
    pub gets: usize,
}

/// A client of a daemon's control socket, for one command.
#[derive(Debug)]
struct Client(BufReader<UnixStream>);

impl Client {
    fn ask(home: &Home, command: &Value) -> Result<Self, Box<dyn Error>> {
        let mut stream = UnixStream::connect(home.store().join("control.sock"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let greeting = json!({ "greeting": { "protocol": 1, "version": "0.1.0",
            "pid": std::process::id(), "daemon": false, "online": false } });
        stream.write_all(format!("{greeting}\n{command}\n").as_bytes())?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Reads up to the last event of the command. An event of this name is a success.
    fn end(mut self, good: &str) -> Result<Value, Box<dyn Error>> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.0.read_line(&mut line)? == 0 {
                return Err("the daemon hung up".into());
            }
            let value: Value = serde_json::from_str(&line)?;
            match value["event"]["event"].as_str() {
                Some(name) if name == good => return Ok(value["event"].clone()),
                Some("failed") => return Err(line.into()),
                _ => {}
            }
        }
    }
}

/// State of a process that must not grow.
#[derive(Debug, Clone, Copy)]
struct Held {
    kib: u64,
    files: usize,
}

impl Held {
    fn of(process: &Process) -> Self {
        let files = fs::read_dir(format!("/proc/{}/fd", process.pid())).map_or(0, Iterator::count);
        Self { kib: process.memory_kib("VmRSS").unwrap_or(0), files }
    }
}

/// Lines to print, and faults: figures that are out of bounds.
#[derive(Debug, Default)]
struct Findings {
    faults: Vec<String>,
    lines: Vec<String>,
}

impl Findings {
    fn say(&mut self, line: String) {
        self.lines.push(line);
    }

    /// Prints the growth between two states for `count` things, and checks it against bounds.
    fn growth(&mut self, of: (&str, usize), from: Held, to: Held, each: (u64, usize)) {
        let ((what, count), (bytes, files)) = (of, each);
        let grown = to.kib.saturating_sub(from.kib);
        let per = grown * 1024 / count.max(1) as u64;
        self.say(format!(
            "{count} {what}: memory {} to {} KiB ({per} bytes each), descriptors {} to {}",
            from.kib, to.kib, from.files, to.files
        ));
        if grown > SLACK_KIB + bytes * count as u64 / 1024 {
            self.faults.push(format!("{what}: memory grew by {grown} KiB"));
        }
        if to.files > from.files + files * count + SLACK_FILES {
            self.faults.push(format!("{what}: descriptors grew from {} to {}", from.files, to.files));
        }
    }
}

/// Measures so many things, with a home for the daemon that has the contents and one for the daemon that
/// fetches them. Returns what to print.
///
/// # Errors
/// Something failed or was out of bounds.
pub fn measure(counts: Counts) -> Result<String, Box<dyn Error>> {
    let (alice, bob) = (Home::new(), Home::new());
    let mut found = Findings::default();
    let holder = alice.daemon(&[]);
    let started = Held::of(&holder);
    let settled = |process: &Process, most: usize| {
        // What was just published or given stays open for a moment.
        wait_until("files are closed", PATIENCE, || Held::of(process).files <= most + SLACK_FILES);
        Held::of(process)
    };
    let ids = publish_all(&alice, counts.contents, &mut found)?;
    found.growth(("contents", counts.contents), started, settled(&holder, started.files), (4096, 0));
    commands(&alice, &ids, &mut found);
    waiting(&alice, &holder, counts.downloads, &mut found)?;
    commands(&alice, &ids, &mut found);

    let getter = bob.daemon(&["--peer", holder.addr()]);
    let warm = counts.gets / 4;
    gets(&bob, &ids, 0..warm)?;
    let (from, of_holder, at) = (Held::of(&getter), Held::of(&holder), Instant::now());
    gets(&bob, &ids, warm..counts.gets)?;
    let more = counts.gets - warm;
    found.say(format!("a get from a peer: {:.1} ms", at.elapsed().as_secs_f64() * 1000.0 / more as f64));
    found.growth(("gets in a row, the getter", more), from, settled(&getter, from.files), (128, 0));
    found.growth(("gets in a row, the holder", more), of_holder, settled(&holder, of_holder.files), (128, 0));
    let text = found.lines.join("\n");
    if found.faults.is_empty() {
        Ok(text)
    } else {
        Err(format!("{}\n{text}", found.faults.join("\n")).into())
    }
}

/// Publishes contents one by one. The last ones may not take much longer than the first ones.
fn publish_all(home: &Home, count: usize, found: &mut Findings) -> Result<Vec<String>, Box<dyn Error>> {
    let (mut ids, mut took) = (Vec::new(), Vec::new());
    for number in 0..count {
        let path = home.path(format!("content-{number}"));
        fs::write(&path, format!("content {number}"))?;
        let at = Instant::now();
        let command = json!({ "command": "publish", "path": path, "name": null, "copy": false,
            "take": false, "unix_names": false, "webseeds": [], "hash_list": null, "symlinks": false,
            "skip_homes": false, "encrypt": false, "serve": "anyone", "password": null,
            "network": "usual", "to": [] });
        let done = Client::ask(home, &command)?.end("published")?;
        took.push(at.elapsed());
        ids.push(done["id"].as_str().unwrap_or_default().to_owned());
    }
    let quarter = (count / 4).max(1);
    let (first, last) = (median(&took[..quarter]), median(&took[count - quarter..]));
    found.say(format!("a publish over the control socket: {first:.1} ms at first, {last:.1} ms at last"));
    if last > 3.0 * first + 5.0 {
        found.faults.push(format!("a publish takes {last:.1} ms at last, and took {first:.1} ms at first"));
    }
    Ok(ids)
}

/// Times whole commands, with the start of a process each.
fn commands(home: &Home, ids: &[String], found: &mut Findings) {
    let id = ids.first().map_or("", String::as_str);
    let (new, out) = (home.path("new"), home.path("out"));
    let mut line = String::new();
    for name in ["version", "publish", "get", "rm", "status", "ls"] {
        let took = |number: usize| {
            let _ = fs::write(&new, format!("new {number} {:?}", Instant::now()));
            let _ = fs::remove_file(&out);
            let made = if name == "rm" { published(home, &new) } else { String::new() };
            let (new, out) = (new.to_string_lossy(), out.to_string_lossy());
            let args: &[&str] = match name {
                "version" => &["--version"],
                "publish" => &["publish", &new],
                "get" => &["get", id, "-o", &out],
                "rm" => &["rm", &made],
                other => &[other],
            };
            let at = Instant::now();
            let ran = home.run(args);
            let took = at.elapsed();
            let _ = ran.success();
            took
        };
        let took: Vec<Duration> = (0..TIMED / 4).map(took).collect();
        line.push_str(&format!(", {name} {:.1}", median(&took)));
    }
    found.say(format!("commands in ms{line}"));
}

fn published(home: &Home, path: &Path) -> String {
    let event = home.ask(&["publish", &path.to_string_lossy()]);
    event["id"].as_str().unwrap_or_default().to_owned()
}

/// Starts downloads that wait, and measures what they cost while nothing happens.
fn waiting(home: &Home, holder: &Process, count: usize, found: &mut Findings) -> Result<(), Box<dyn Error>> {
    let before = Held::of(holder);
    let mut clients = Vec::new();
    for number in 0..count {
        let id = blake3::hash(format!("nowhere {number}").as_bytes()).to_hex().to_string();
        clients.push(Client::ask(home, &get(&id, &home.path(format!("waits-{number}"))))?);
    }
    wait_until("all downloads wait", PATIENCE, || {
        home.ask(&["status"])["transfers"].as_array().is_some_and(|all| all.len() == count)
    });
    found.growth(("waiting downloads", count), before, Held::of(holder), (64 << 10, 2));
    let (ticks, at) = (ticks(holder), Instant::now());
    std::thread::sleep(WATCHED);
    let used = (self::ticks(holder) - ticks) as f64 / at.elapsed().as_secs_f64();
    found.say(format!("{count} waiting downloads use {used:.0} % of a processor"));
    if used > 50.0 {
        found.faults.push(format!("waiting downloads use {used:.0} % of a processor"));
    }
    drop(clients);
    wait_until("the downloads end with their clients", PATIENCE, || {
        home.ask(&["status"])["transfers"].as_array().is_some_and(Vec::is_empty)
    });
    Ok(())
}

/// Fetches contents one after another, and forgets each.
fn gets(home: &Home, ids: &[String], numbers: std::ops::Range<usize>) -> Result<(), Box<dyn Error>> {
    for number in numbers {
        let (id, path) = (&ids[number % ids.len()], home.path("got"));
        Client::ask(home, &get(id, &path))?.end("done")?;
        let text = fs::read_to_string(&path)?;
        if text != format!("content {}", number % ids.len()) {
            return Err(format!("{id} is not {text:?}").into());
        }
        Client::ask(home, &json!({ "command": "rm", "id": id }))?.end("removed")?;
        fs::remove_file(&path)?;
    }
    Ok(())
}

fn get(id: &str, path: &Path) -> Value {
    json!({ "command": "get", "target": id, "output": { "path": path }, "overwrite": false,
        "delete": false, "exact": false, "timeout_ms": null, "include": [], "exclude": [],
        "serve": null, "network": "usual" })
}

/// Processor time of a process in hundredths of a second.
fn ticks(process: &Process) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum()
}

/// The median in milliseconds.
fn median(took: &[Duration]) -> f64 {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).map_or(0.0, |took| took.as_secs_f64() * 1000.0)
}
