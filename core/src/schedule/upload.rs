//! The requests of one peer that wait to be answered: first come, first served, under the limits it was told.

use std::collections::VecDeque;

use crate::limits;

/// One chunk (or hash list) a peer asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The peer's number for the blob.
    pub blob: u32,
    /// The chunk's number, or what the wire says for the hash list.
    pub chunk: u32,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueOutcome {
    /// It waits for its turn.
    Waits,
    /// It waits already.
    Twice,
    /// As many wait as may: an honest peer keeps below.
    Full,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct RequestQueue {
    queue: VecDeque<Asked>,
}

impl RequestQueue {
    /// Takes a request in, unless [`limits::REQUESTS_PER_PEER`] wait.
    pub fn push(&mut self, asked: Asked) -> QueueOutcome {
        if self.queue.contains(&asked) {
            return QueueOutcome::Twice;
        }
        if self.queue.len() >= limits::REQUESTS_PER_PEER {
            return QueueOutcome::Full;
        }
        self.queue.push_back(asked);
        QueueOutcome::Waits
    }

    /// Takes a request back. True if it was waiting.
    pub fn cancel(&mut self, asked: Asked) -> bool {
        let before = self.queue.len();
        self.queue.retain(|a| *a != asked);
        self.queue.len() != before
    }

    /// Forgets all requests of one blob.
    pub fn close(&mut self, blob: u32) {
        self.queue.retain(|a| a.blob != blob);
    }

    /// The next to answer.
    pub fn pop(&mut self) -> Option<Asked> {
        self.queue.pop_front()
    }

    /// Nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_and_cancellable() {
        let mut uploads = RequestQueue::default();
        for chunk in 0..limits::REQUESTS_PER_PEER as u32 {
            assert_eq!(uploads.push(Asked { blob: 1, chunk }), QueueOutcome::Waits);
        }
        assert_eq!(uploads.push(Asked { blob: 1, chunk: 9999 }), QueueOutcome::Full);
        assert!(uploads.cancel(Asked { blob: 1, chunk: 0 }) && !uploads.cancel(Asked { blob: 1, chunk: 0 }));
        assert_eq!(uploads.push(Asked { blob: 2, chunk: 5 }), QueueOutcome::Waits);
        assert_eq!(uploads.push(Asked { blob: 2, chunk: 5 }), QueueOutcome::Twice);
        uploads.close(1);
        assert_eq!(uploads.pop(), Some(Asked { blob: 2, chunk: 5 }));
        assert!(uploads.is_empty());
    }
}
