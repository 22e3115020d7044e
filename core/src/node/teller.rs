//! Sends the events of a job to its caller. A job never waits for a caller that does not listen: progress is
//! left out then, so that the job keeps nothing that others need.

use tokio::sync::mpsc;

use crate::api::event::Event;
use crate::limits;

/// Places of the queue that are kept for events other than progress.
const KEPT: usize = limits::EVENT_QUEUE / 2;

/// Sender of the events of one job; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Teller(mpsc::Sender<Event>);

/// Error for a caller that does not listen any more.
#[derive(Debug)]
pub(crate) struct Gone;

impl Teller {
    /// Returns a teller and the receiver of its events.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(limits::EVENT_QUEUE);
        (Self(sender), receiver)
    }

    /// Sends an event. Parts of a listing and the final event wait until there is room; other events are left
    /// out if there is none.
    ///
    /// # Errors
    /// The caller does not listen any more.
    pub(crate) async fn send(&self, event: Event) -> Result<(), Gone> {
        if event.is_final() || matches!(event, Event::Entries { .. }) {
            return self.0.send(event).await.map_err(|_| Gone);
        }
        self.try_send(event)
    }

    /// Sends an event if there is room.
    ///
    /// # Errors
    /// The caller does not listen any more.
    pub(crate) fn try_send(&self, event: Event) -> Result<(), Gone> {
        let progress = matches!(
            event,
            Event::Hashing { .. } | Event::Searching { .. } | Event::Progress(_) | Event::Prefix { .. }
        );
        if progress && self.0.capacity() <= KEPT {
            return if self.0.is_closed() { Err(Gone) } else { Ok(()) };
        }
        match self.0.try_send(event) {
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Gone),
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => Ok(()),
        }
    }

    /// Waits until the caller does not listen any more.
    pub(crate) async fn closed(&self) {
        self.0.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_asker_that_does_not_listen_holds_no_job() {
        let (teller, mut events) = Teller::new();
        for done in 0..10_000 {
            teller.send(Event::Hashing { done, total: 10_000 }).await.expect("somebody is there");
        }
        for number in 0..10_000 {
            let text = number.to_string();
            teller.send(Event::Notice { text }).await.expect("somebody is there");
        }
        let mut told = Vec::new();
        while let Ok(event) = events.try_recv() {
            told.push(event);
        }
        assert_eq!(told.len(), limits::EVENT_QUEUE);
        assert!(told.contains(&Event::Notice { text: "0".to_owned() }), "progress leaves room for more");
        drop(events);
        assert!(teller.send(Event::Hashing { done: 0, total: 0 }).await.is_err());
        teller.closed().await;
    }
}
