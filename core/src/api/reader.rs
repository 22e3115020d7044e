//! The bytes of a file as a stream, in order, while the file is being fetched.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::JoinHandle;

use super::event::{Done, Failure, Fault};
use super::job::{Job, JobProgress};

/// Most bytes that are read from the disk at once.
const STEP: u64 = 256 << 10;

/// Result of one read from the disk: the open file and its next bytes.
type DiskRead = io::Result<(File, Vec<u8>)>;

/// The bytes of a file in order, each one verified before it is handed out. Reading waits for bytes that have
/// not arrived. Dropping the reader cancels the download; verified chunks are kept.
///
/// The bytes are read from the store's own file, so the reader works only on the machine of the node. Errors
/// of the job arrive as [`io::Error`]s that hold the [`Failure`].
#[derive(Debug)]
pub struct ContentReader {
    job: Job<Done>,
    /// Answer of the job, once it has ended.
    done: Option<Done>,
    path: Option<PathBuf>,
    /// Verified bytes from the start of the file at `path`.
    verified: u64,
    /// Bytes read from the disk so far.
    position: u64,
    /// Length of the file, once known.
    len: Option<u64>,
    file: Option<File>,
    reading: Option<JoinHandle<DiskRead>>,
    /// Bytes read from the disk, and the number of those that were handed out.
    buffer: (Vec<u8>, usize),
}

impl ContentReader {
    /// Returns a reader over a download into the store.
    #[must_use]
    pub const fn over(job: Job<Done>) -> Self {
        Self {
            job,
            done: None,
            path: None,
            verified: 0,
            position: 0,
            len: None,
            file: None,
            reading: None,
            buffer: (Vec::new(), 0),
        }
    }

    /// Length of the file in bytes; `None` until it is known and verified.
    #[must_use]
    pub const fn len(&self) -> Option<u64> {
        self.len
    }

    /// Returns true if the file is known to have no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        matches!(self.len, Some(0))
    }

    /// Number of bytes from the start that are known to be verified.
    #[must_use]
    pub const fn verified(&self) -> u64 {
        self.verified
    }

    /// Answer of the download, once the whole file has arrived.
    #[must_use]
    pub const fn done(&self) -> Option<&Done> {
        self.done.as_ref()
    }

    /// Hands out bytes that are in memory.
    fn hand_out(&mut self, out: &mut ReadBuf<'_>) -> bool {
        let (bytes, given) = &mut self.buffer;
        let count = (bytes.len() - *given).min(out.remaining());
        out.put_slice(&bytes[*given..*given + count]);
        *given += count;
        count > 0
    }

    /// Starts to read verified bytes from the disk, on a thread that may block.
    fn read(&mut self) -> io::Result<()> {
        let Some(path) = self.path.clone() else {
            return Err(io::Error::other("the download named no file"));
        };
        let (start, len) = (self.position, (self.verified - self.position).min(STEP));
        let open = self.file.take();
        self.reading = Some(tokio::task::spawn_blocking(move || {
            let mut file = open.map_or_else(|| File::open(path), Ok)?;
            file.seek(SeekFrom::Start(start))?;
            let mut bytes = vec![0; len as usize];
            file.read_exact(&mut bytes)?;
            Ok((file, bytes))
        }));
        Ok(())
    }

    /// Waits for the next news of the download.
    fn poll_job(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(self.job.poll_progress(cx)) {
            Some(JobProgress::Prefix { path, bytes }) => {
                if self.path.as_ref() != Some(&path) {
                    (self.path, self.file) = (Some(path), None);
                }
                self.verified = self.verified.max(bytes);
            }
            Some(JobProgress::Found(blob)) => self.len = Some(blob.len),
            Some(_) => {}
            None => {
                let done = ready!(Pin::new(&mut self.job).poll(cx)).map_err(io::Error::from)?;
                // The last news of the prefix may have been left out.
                self.path.get_or_insert_with(|| done.path.clone());
                (self.verified, self.len) = (done.len, Some(done.len));
                self.done = Some(done);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for ContentReader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let reader = self.get_mut();
        loop {
            if out.remaining() == 0 || reader.hand_out(out) {
                return Poll::Ready(Ok(()));
            }
            if let Some(reading) = &mut reader.reading {
                let read = ready!(Pin::new(reading).poll(cx));
                reader.reading = None;
                let (file, bytes) = read.map_err(io::Error::other)??;
                reader.position += bytes.len() as u64;
                (reader.file, reader.buffer) = (Some(file), (bytes, 0));
            } else if reader.position < reader.verified {
                reader.read()?;
            } else if reader.done.is_some() {
                return Poll::Ready(Ok(()));
            } else {
                ready!(reader.poll_job(cx))?;
            }
        }
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        let kind = match failure.fault {
            Fault::NotFound => io::ErrorKind::NotFound,
            Fault::Timeout => io::ErrorKind::TimedOut,
            Fault::Verification | Fault::BadContent => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, failure)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::sync::mpsc;

    use super::super::command::Get;
    use super::super::event::Event;
    use super::*;

    #[tokio::test]
    async fn bytes_come_as_they_are_verified() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        let content: Vec<u8> = (0..600_000_u32).map(|n| n as u8).collect();
        std::fs::write(&path, &content).expect("written");
        let (sender, events) = mpsc::channel(8);
        let mut reader = ContentReader::over(Job::over::<Get>(events));
        let prefix = Event::Prefix { path: path.clone(), bytes: 5 };
        sender.send(prefix).await.expect("there is room");
        let mut start = [0; 5];
        reader.read_exact(&mut start).await.expect("verified");
        assert_eq!((start.as_slice(), reader.verified()), (&content[..5], 5));
        let more = tokio::time::timeout(std::time::Duration::from_millis(20), reader.read_u8()).await;
        assert!(more.is_err(), "no byte is handed out before it is verified");
        let done = serde_json::json!({"id": "", "path": path, "len": 600_000, "resumed": 0, "took_ms": 0,
            "transfer_ms": 0, "sources": [], "uploaded": 0});
        let done = serde_json::from_value(done).expect("the fields of done");
        sender.send(Event::Done(done)).await.expect("there is room");
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).await.expect("the rest");
        assert!(rest == content[5..]);
    }

    #[tokio::test]
    async fn a_failure_arrives_whole() {
        let (sender, events) = mpsc::channel(8);
        let failure = Failure::new(Fault::NotFound, "nobody has it").hint("wait");
        sender.send(Event::Failed(failure.clone())).await.expect("there is room");
        let mut reader = ContentReader::over(Job::over::<Get>(events));
        let error = reader.read_u8().await.expect_err("it failed");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Failure>());
        assert_eq!(inner, Some(&failure));
    }
}
