//! Verification: reads blobs again, compares them with their hashes, and repairs them on request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::super::actor::NetworkCommand;
use super::super::context::Context;
use super::super::network::{Flag, blocking, failure};
use super::super::sources;
use super::super::teller::Teller;
use super::{get, not_here, resolve};
use crate::api::event::{Event, Failure, Fault, Verified};
use crate::content::bitmap::Bitmap;
use crate::content::geometry::Geometry;
use crate::store::record::{Record, StoredState};
use crate::store::{Blob, StoreError};

/// Reads one blob or all blobs again and compares them with their hashes. With `repair`, bad chunks are
/// fetched again from peers.
pub(super) async fn verify(
    context: Context,
    id: Option<String>,
    repair: bool,
    events: Teller,
) -> Result<Event, Failure> {
    let records = records(&context, id).await?;
    let total = records.iter().map(|r| r.len).sum();
    let done = Arc::new(AtomicU64::new(0));
    let mut result = Verified { blobs: 0, chunks: 0, bad: Vec::new(), repaired: 0 };
    for record in records {
        let id = record.id;
        let checked = read_again(&context, &record, (&done, total), &events).await?;
        result.blobs += 1;
        match checked {
            Ok((blob, bad)) => {
                result.chunks += u64::from(blob.geometry().chunks());
                if bad.is_empty() {
                    if matches!(record.state, StoredState::Changed | StoredState::Missing) {
                        sources::shared_again(&context, id).await;
                    }
                    continue;
                }
                context.ask_all(|| NetworkCommand::Lost(id)).await;
                result.bad.push((id.to_string(), u64::from(bad.count())));
                if repair {
                    let count = u64::from(bad.count());
                    get::repair(&context.clone().where_it_is(id)?, &blob, &bad, &events).await?;
                    result.repaired += count;
                }
            }
            // The file is gone: all of its chunks are bad, and it is not served any more.
            Err(error) => {
                let store = context.store.clone();
                let seen = record.clone();
                let unseen = move || seen.state == StoredState::Complete && !store.glance_into(&seen);
                if blocking(unseen).await? {
                    context.store.mark(id, StoredState::Changed);
                }
                context.ask_all(|| NetworkCommand::Lost(id)).await;
                let _ = events.send(Event::Notice { text: format!("{}: {error}", record.name) }).await;
                result
                    .bad
                    .push((id.to_string(), u64::from(Geometry::new(record.len).map_or(0, |g| g.chunks()))));
            }
        }
    }
    Ok(Event::Verified(result))
}

/// Returns the records to verify: a blob with its content, or everything but running downloads.
async fn records(context: &Context, id: Option<String>) -> Result<Vec<Record>, Failure> {
    let Some(text) = id else {
        let store = context.store.clone();
        let all = blocking(move || store.records()).await?;
        return Ok(all.into_iter().filter(|r| r.state != StoredState::Partial).collect());
    };
    let id = resolve(&context.store, &text)?.id;
    let record = context.store.record(id).ok_or_else(|| not_here(id))?;
    let payload = record.payload.and_then(|p| context.store.record(p.id));
    Ok(std::iter::once(record).chain(payload).collect())
}

/// Reads one blob again and returns it with its bad chunks. `done` counts the bytes of all blobs, of which
/// there are `total`.
///
/// # Errors
/// The outer error ends the job: the caller has gone. The inner one means that the blob cannot be read.
async fn read_again(
    context: &Context,
    record: &Record,
    (done, total): (&Arc<AtomicU64>, u64),
    events: &Teller,
) -> Result<Result<(Arc<Blob>, Bitmap), StoreError>, Failure> {
    let cancel: Flag = Arc::new(AtomicBool::new(false));
    let work = {
        let (id, store, cancel, done, events) =
            (record.id, context.store.clone(), Arc::clone(&cancel), Arc::clone(done), events.clone());
        move || {
            let progress = |bytes: u64| {
                let now = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
                let _ = events.try_send(Event::Hashing { done: now, total });
            };
            store.verify(id, &progress, &cancel)
        }
    };
    tokio::select! {
        checked = blocking(work) => checked,
        () = events.closed() => {
            cancel.store(true, Ordering::Relaxed);
            Err(failure(Fault::Interrupted, "stopped"))
        }
    }
}
