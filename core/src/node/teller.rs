//! The way of a job to whoever asked for it. A job never waits for an asker that does not listen: what is
//! only progress is left out then, so that nothing that others need stays with the job.

use tokio::sync::mpsc;

use crate::api::event::Event;
use crate::limits;

/// Places of the queue that are kept for more than progress.
const KEPT: usize = limits::EVENT_QUEUE / 2;

/// Tells the events of one job; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Teller(mpsc::Sender<Event>);

/// Nobody listens any longer.
#[derive(Debug)]
pub(crate) struct Gone;

impl Teller {
    /// Returns it with its other end.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(limits::EVENT_QUEUE);
        (Self(sender), receiver)
    }

    /// Tells an event. Only the parts of a listing, and a final event, are waited with until there is room.
    pub(crate) async fn send(&self, event: Event) -> Result<(), Gone> {
        if event.is_final() || matches!(event, Event::Entries { .. }) {
            return self.0.send(event).await.map_err(|_| Gone);
        }
        self.try_send(event)
    }

    /// Tells an event if there is room.
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

    /// Waits until nobody listens any longer.
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
