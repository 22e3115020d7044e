//! The control socket: one JSON command a line in, its events as lines out. A client that goes away cancels its command.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::limits;
use crate::node::command::Command;
use crate::node::event::{Event, Failure, Fault};
use crate::node::{Caller, StartError};

/// Answers until it is stopped.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    stop: watch::Sender<bool>,
    /// Closed when the last running command has ended.
    busy: mpsc::Receiver<()>,
    task: JoinHandle<()>,
}

/// The socket of a home folder, by a path that is short enough for the system whatever the folder's.
pub(super) fn address(home: &Path, dir: &fs::File) -> PathBuf {
    use std::os::fd::AsRawFd;
    let direct = home.join("control.sock");
    // A socket's address has 108 bytes, with a final zero.
    if direct.as_os_str().len() < 100 {
        return direct;
    }
    PathBuf::from(format!("/proc/self/fd/{}/control.sock", dir.as_raw_fd()))
}

impl Server {
    /// Binds the socket, readable by the owner alone. Whoever holds the store's lock may replace an old socket.
    ///
    /// # Errors
    /// [`StartError::Network`].
    pub fn start(home: &Path, caller: Caller) -> Result<Self, StartError> {
        let failed =
            |source: io::Error| StartError::Network { verb: "open the control socket".to_owned(), source };
        let dir = fs::File::open(home).map_err(failed)?;
        let (path, address) = (home.join("control.sock"), address(home, &dir));
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
        let listener = UnixListener::bind(&address).map_err(failed)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let (stop, stopped) = watch::channel(false);
        let (guard, busy) = mpsc::channel(1);
        let task = tokio::spawn(accept(listener, caller, stopped, guard));
        Ok(Self { path, stop, busy, task })
    }

    /// Takes no new clients; waits until running commands have ended, unless `now`.
    pub async fn stop(mut self, now: bool) {
        let _ = fs::remove_file(&self.path);
        let _ = self.stop.send(true);
        if !now {
            // Nothing is ever sent: this ends when all guards are gone.
            let _ = self.busy.recv().await;
        }
        self.task.abort();
    }
}

async fn accept(
    listener: UnixListener,
    caller: Caller,
    mut stopped: watch::Receiver<bool>,
    guard: mpsc::Sender<()>,
) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if clients.len() < limits::CONTROL_CLIENTS => {
                if let Ok((stream, _)) = accepted {
                    clients.spawn(serve(stream, caller.clone(), guard.clone()));
                }
            }
            Some(_) = clients.join_next() => {}
            _ = stopped.wait_for(|s| *s) => break,
        }
    }
    drop((listener, guard));
    while clients.join_next().await.is_some() {}
}

/// One client, one command.
async fn serve(stream: UnixStream, caller: Caller, _guard: mpsc::Sender<()>) {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read.take(limits::CONTROL_LINE as u64));
    let mut line = Vec::new();
    if read.read_until(b'\n', &mut line).await.is_err() {
        return;
    }
    let command: Command = match serde_json::from_slice(&line) {
        Ok(command) => command,
        Err(error) => {
            let message = format!("not a command: {error}");
            let _ =
                put(&mut write, &Event::Failed(Failure { fault: Fault::User, message, hint: None })).await;
            return;
        }
    };
    let mut events = caller.call(command).await;
    let mut rest = [0; 1];
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => if put(&mut write, &event).await.is_err() { return },
                None => return,
            },
            // A client says nothing more: this ends when it has gone.
            _ = read.read(&mut rest) => return,
        }
    }
}

async fn put(write: &mut (impl AsyncWriteExt + Unpin), event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_vec(event).map_err(io::Error::other)?;
    line.push(b'\n');
    write.write_all(&line).await
}
