//! The requests of one peer that wait to be answered: first come, first served, up to a limit.

use std::collections::VecDeque;

use crate::limits;

/// One chunk (or hash list) that a peer requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The peer's number for the blob.
    pub blob: u32,
    /// The number of the chunk, or the wire's number for the hash list.
    pub chunk: u32,
}

/// The result of queuing a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueOutcome {
    /// The request waits for its turn.
    Waits,
    /// A request for this chunk waits already.
    Twice,
    /// The queue is full. An honest peer keeps below its limit.
    Full,
}

/// The queue of one peer's requests.
#[derive(Debug, Default)]
pub struct RequestQueue {
    queue: VecDeque<Asked>,
}

impl RequestQueue {
    /// Adds a request, unless [`limits::REQUESTS_PER_PEER`] wait.
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

    /// Removes a request. Returns true if it was waiting.
    pub fn cancel(&mut self, asked: Asked) -> bool {
        let before = self.queue.len();
        self.queue.retain(|a| *a != asked);
        self.queue.len() != before
    }

    /// Removes all requests of one blob.
    pub fn close(&mut self, blob: u32) {
        self.queue.retain(|a| a.blob != blob);
    }

    /// Removes and returns the request to answer next.
    pub fn pop(&mut self) -> Option<Asked> {
        self.queue.pop_front()
    }

    /// Returns true if no request waits.
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
