//! Removal from the store: of a blob, and of files that nothing refers to.

use super::super::actor::NetworkCommand;
use super::super::context::Context;
use super::super::network::{blocking, failure};
use super::{detached, not_here, report, resolve};
use crate::api::event::{Event, Failure, Fault};

/// Removes a blob with its content, unless it is being fetched.
pub(super) async fn rm(context: Context, id: &str) -> Result<Event, Failure> {
    let id = resolve(&context.store, id)?.id;
    let record = context.store.record(id).ok_or_else(|| not_here(id))?;
    let payload = record.payload.map(|p| p.id);
    detached::load(&context).await?;
    if !context.detached.named(&id.to_string()).is_empty() {
        let hint = Some(format!("swarm stop {id}"));
        return Err(Failure {
            hint,
            ..failure(Fault::User, format!("{id} is still to be fetched by the daemon"))
        });
    }
    if let Some(report) = report(&context).await
        && report.transfers.iter().any(|(i, _)| *i == id || Some(*i) == payload)
    {
        return Err(failure(Fault::User, format!("{id} is being fetched: stop the download first")));
    }
    for id in payload.into_iter().chain([id]) {
        context.ask_all(|| NetworkCommand::Withdraw(id)).await;
    }
    let store = context.store;
    let freed = blocking(move || store.remove(id)).await?;
    Ok(Event::Removed { id: id.to_string(), freed })
}

/// Deletes files of the store that nothing refers to.
pub(super) async fn gc(context: Context, dry_run: bool) -> Result<Event, Failure> {
    if context.store.is_read_only() && !dry_run {
        return Err(failure(Fault::User, "the store is read-only: nothing can be deleted"));
    }
    let store = context.store;
    let collected = blocking(move || store.gc(dry_run)).await?;
    Ok(Event::Collected { freed: collected.freed, removed: collected.removed, dry_run })
}
