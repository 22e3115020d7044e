//! A call under way: a future of its answer, and a stream of its progress.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;

use super::call::Call;
use super::event::{BlobRow, EntryRow, Event, Failure, Fault};
use super::status::Progress;

/// A call under way. Awaiting the job gives the answer; [`Job::next_progress`] tells how far the job is.
/// Dropping the job cancels it; verified chunks are kept.
///
/// A job that nobody polls goes on. The node leaves out progress that is not collected in time, and never the
/// answer.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use swarm_core::{JobProgress, Node, Options, Publish};
///
/// let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("a"), "abc")?;
/// swarm_core::runtime()?.block_on(async {
///     let node = Node::start(Options::new(folder.path().join("home")).offline()).await?;
///     let mut job = node.publish(Publish::new(folder.path().join("a")));
///     while let Some(progress) = job.next_progress().await {
///         if let JobProgress::Hashing { done, total } = progress {
///             println!("{done} of {total} bytes");
///         }
///     }
///     assert_eq!(job.await?.blob.len, 3);
///     node.stop().await;
///     Ok(())
/// })
/// # }
/// ```
#[must_use = "a job is cancelled when it is dropped"]
pub struct Job<T> {
    events: mpsc::Receiver<Event>,
    /// Entries of a listing, which arrive in parts before the final event.
    entries: Vec<EntryRow>,
    answer: fn(Event, Vec<EntryRow>) -> Option<T>,
    /// Outcome of the job, once its final event has come and until it is awaited.
    outcome: Option<Result<T, Failure>>,
}

impl<T> fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("ended", &self.outcome.is_some()).finish_non_exhaustive()
    }
}

/// The answer is moved out and never pinned.
impl<T> Unpin for Job<T> {}

impl<T> Job<T> {
    /// Returns a job for a call whose events arrive on this receiver, the final one last.
    pub fn over<C: Call<Answer = T>>(events: mpsc::Receiver<Event>) -> Self {
        Self { events, entries: Vec::new(), answer: C::answer, outcome: None }
    }

    /// Waits for the next step of progress. Returns `None` when the job has ended: the answer is there to be
    /// awaited. If this future is dropped, no progress is lost.
    pub async fn next_progress(&mut self) -> Option<JobProgress> {
        std::future::poll_fn(|cx| self.poll_progress(cx)).await
    }

    /// Polls for the next step of progress, as [`Job::next_progress`] waits for it.
    pub fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<Option<JobProgress>> {
        while self.outcome.is_none() {
            match self.events.poll_recv(cx) {
                Poll::Ready(Some(event)) => {
                    if let Some(progress) = self.take(event) {
                        return Poll::Ready(Some(progress));
                    }
                }
                Poll::Ready(None) => self.outcome = Some(Err(Failure::gone())),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(None)
    }

    /// Takes an event into the job; returns it if it is progress.
    fn take(&mut self, event: Event) -> Option<JobProgress> {
        match event {
            Event::Entries { entries } => self.entries.extend(entries),
            Event::Failed(failure) => self.outcome = Some(Err(failure)),
            last if last.is_final() => {
                let answer = (self.answer)(last, std::mem::take(&mut self.entries));
                self.outcome = Some(answer.ok_or_else(Failure::unexpected_answer));
            }
            event => return JobProgress::of(event),
        }
        None
    }
}

impl<T> Future for Job<T> {
    type Output = Result<T, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let job = self.get_mut();
        while let Some(_progress) = std::task::ready!(job.poll_progress(cx)) {}
        // A job that was awaited before has no answer left.
        Poll::Ready(job.outcome.take().unwrap_or_else(|| Err(Failure::gone())))
    }
}

/// One step of progress of a [`Job`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum JobProgress {
    /// A publish or a verification has read this much.
    Hashing {
        /// Bytes read.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// No holder is known yet. Sent every few seconds while that lasts.
    Searching {
        /// Time since the start of the job.
        waited: Duration,
        /// One phrase for each way of finding holders, with its result.
        tried: Vec<String>,
    },
    /// The size and kind of the content are known and verified.
    Found(BlobRow),
    /// A download has come this far.
    Transfer(Progress),
    /// Of a download into the store: the first `bytes` bytes of the file at `path` are verified.
    Prefix {
        /// File to read, not to write.
        path: PathBuf,
        /// Verified bytes from the start.
        bytes: u64,
    },
    /// A peer was banned.
    Banned {
        /// Peer id.
        peer: String,
        /// The peer's offence, in words.
        reason: String,
    },
    /// The contents of a `Share` command are shared from now on.
    Sharing {
        /// Process id of the node.
        pid: u32,
    },
    /// A sentence for people: the disk is full and the transfer waits, a source changed. It may hold names
    /// from a peer: escape it on a terminal.
    Notice(String),
}

impl JobProgress {
    /// Returns the progress that an event tells; `None` for answers and parts of answers.
    fn of(event: Event) -> Option<Self> {
        Some(match event {
            Event::Hashing { done, total } => Self::Hashing { done, total },
            Event::Searching { waited_ms, tried } => {
                Self::Searching { waited: Duration::from_millis(waited_ms), tried }
            }
            Event::Found(blob) => Self::Found(blob),
            Event::Progress(progress) => Self::Transfer(progress),
            Event::Prefix { path, bytes } => Self::Prefix { path, bytes },
            Event::Banned { peer, reason } => Self::Banned { peer, reason },
            Event::Sharing { pid } => Self::Sharing { pid },
            Event::Notice { text } => Self::Notice(text),
            _ => return None,
        })
    }
}

impl Failure {
    /// Returns the failure of a job whose node ended before it had answered.
    pub(crate) fn gone() -> Self {
        Self::new(Fault::Interrupted, "the node ended before it had answered")
    }

    /// Returns the failure of a call that got the answer to another command: the two processes run versions
    /// of swarm that do not fit together.
    #[must_use]
    pub fn unexpected_answer() -> Self {
        let message = "the running swarm of this store is another version and gave an answer that this one \
            cannot use";
        Self::new(Fault::User, message).hint("stop it and run the command again")
    }
}

#[cfg(test)]
mod tests {
    use super::super::call::{ListEntries, Remove};
    use super::super::event::EntryType;
    use super::*;

    fn entry(path: &str) -> EntryRow {
        EntryRow { path: path.to_owned(), kind: EntryType::File, len: 1, detail: None }
    }

    #[tokio::test]
    async fn an_answer_in_parts_is_put_together() {
        let (sender, events) = mpsc::channel(8);
        let mut job = Job::over::<ListEntries>(events);
        for event in [
            Event::Entries { entries: vec![entry("a"), entry("b")] },
            Event::Notice { text: "x".to_owned() },
            Event::Entries { entries: vec![entry("c")] },
            Event::EntriesEnd { count: 3, len: 3 },
        ] {
            sender.send(event).await.expect("there is room");
        }
        assert_eq!(job.next_progress().await, Some(JobProgress::Notice("x".to_owned())));
        assert_eq!(job.next_progress().await, None);
        assert_eq!(job.await.map(|entries| entries.len()), Ok(3));
    }

    #[tokio::test]
    async fn failures_keep_their_kind_and_hint() {
        let (sender, events) = mpsc::channel(8);
        let failure = Failure::new(Fault::Disk, "full").hint("make room");
        sender.send(Event::Failed(failure.clone())).await.expect("there is room");
        assert_eq!(Job::over::<Remove>(events).await, Err(failure));
        let (sender, events) = mpsc::channel(8);
        sender.send(Event::EntriesEnd { count: 0, len: 0 }).await.expect("there is room");
        assert_eq!(Job::over::<Remove>(events).await, Err(Failure::unexpected_answer()));
    }

    #[tokio::test]
    async fn a_node_that_ends_early_is_a_failure_and_a_dropped_job_is_noticed() {
        let (sender, events) = mpsc::channel::<Event>(8);
        drop(sender);
        assert_eq!(Job::over::<Remove>(events).await, Err(Failure::gone()));
        let (sender, events) = mpsc::channel(8);
        drop(Job::over::<Remove>(events));
        assert!(sender.is_closed());
    }
}
