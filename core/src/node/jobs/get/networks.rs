//! Chooses the network for content whose download was begun in another one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::select_all;
use tokio::sync::watch;

use super::{GetJob, stopped};
use crate::api::event::{Event, Failure};
use crate::exchange::{DownloadView, Stage};
use crate::id::ContentId;
use crate::node::actor::NetworkCommand;
use crate::node::context::Context;
use crate::transfer::watchers::Owner;

/// Time between two events that tell what was tried.
const SEARCHING_EVERY: Duration = Duration::from_secs(3);

/// A network that is searched for holders.
struct Looking {
    context: Context,
    view: watch::Receiver<DownloadView>,
}

impl Looking {
    fn has_found(&self) -> bool {
        let view = self.view.borrow();
        view.progress.holders > 0 || !matches!(view.stage, Stage::Searching)
    }
}

impl GetJob {
    /// Chooses the network. Content that was begun in the public network is looked for in the offices of this
    /// node as well, and fetched where a peer has it. A network that the command or the link names is taken.
    pub(super) async fn choose_network(&mut self, id: ContentId) -> Result<(), Failure> {
        let others = if self.anywhere { self.context.offices_for(id) } else { Vec::new() };
        if !others.is_empty() {
            let here = self.context.clone();
            let found = self.look_in(id, std::iter::once(here).chain(others).collect()).await?;
            self.net = found.net.clone().ok_or_else(stopped)?;
            self.context = found;
            self.uploaded_before = self.net.question(NetworkCommand::Uploaded).await.unwrap_or(0);
        }
        self.context.take_over(id).await
    }

    /// Returns the first of these networks in which a peer has some of the content.
    async fn look_in(&self, id: ContentId, networks: Vec<Context>) -> Result<Context, Failure> {
        // If the files of a directory are known, their bytes are what is missing.
        let payload = self.context.store.record(id).and_then(|record| record.payload);
        let id = payload.map_or(id, |payload| payload.id);
        let owner: Arc<Owner> = Arc::default();
        let mut looking = Vec::new();
        for context in networks {
            let Some(net) = context.net.clone() else { continue };
            let (owner, hints) = (Arc::clone(&owner), self.hints.clone());
            let ask = |reply| NetworkCommand::Learn { id, known: None, expect: None, owner, hints, reply };
            let (view, _) = net.question(ask).await.ok_or_else(stopped)?;
            looking.push(Looking { context, view });
        }
        if looking.is_empty() {
            return Err(stopped());
        }
        let mut told = Instant::now();
        loop {
            if let Some(at) = looking.iter().position(Looking::has_found) {
                let found = looking.swap_remove(at);
                // Searches that were begun here end with their owner.
                drop(owner);
                return Ok(found.context);
            }
            let tried = || -> Vec<String> {
                let one = |l: &Looking| {
                    let name = l.context.network_name();
                    l.view.borrow().tried.iter().map(|tried| format!("{name}: {tried}")).collect::<Vec<_>>()
                };
                looking.iter().flat_map(one).collect()
            };
            self.check_deadline(false).map_err(|mut e| {
                e.message = format!("{}; {}", e.message, tried().join("; "));
                e
            })?;
            if told.elapsed() >= SEARCHING_EVERY {
                told = Instant::now();
                let waited_ms = self.started.elapsed().as_millis() as u64;
                let _ = self.events.send(Event::Searching { waited_ms, tried: tried() }).await;
            }
            let mut wait = SEARCHING_EVERY.saturating_sub(told.elapsed());
            if let Some(deadline) = self.deadline {
                wait = wait.min(deadline.saturating_duration_since(Instant::now()));
            }
            let changes = looking.iter_mut().map(|l| Box::pin(l.view.changed()));
            if let Ok((Err(_), ..)) = tokio::time::timeout(wait, select_all(changes)).await {
                return Err(stopped());
            }
        }
    }
}
