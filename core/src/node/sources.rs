//! Watches content that a node serves in place, where anybody may edit, move or delete it. All of it is
//! examined when the node starts, beside its other work, and every 15 minutes; content that a command is
//! about is examined for that command.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::AbortHandle;

use super::actor::NetworkCommand;
use super::context::Context;
use super::network::{Flag, blocking};
use crate::id::ContentId;
use crate::store::record::{Record, StoredState};
use crate::store::{Settled, Store, StoreError};

/// Time from one look at all content to the next.
const EVERY: Duration = Duration::from_secs(900);
/// Time from one look for missing content to the next: a disk may have been plugged in.
const MISSING_EVERY: Duration = Duration::from_secs(30);
/// Records that are examined before the networks are told of the results.
const STEP: usize = 64;

/// Starts the task that examines all content, until `stop` is set or the task is aborted.
pub(crate) fn watch(context: Context, stop: Flag) -> AbortHandle {
    let looking = async move {
        let passes = EVERY.div_duration_f64(MISSING_EVERY) as u32;
        for pass in (0..passes).cycle() {
            let all = pass == 0;
            look_at_all(&context, &stop, |record| match record.state {
                StoredState::Complete => all,
                StoredState::Missing => true,
                StoredState::Partial | StoredState::Changed => false,
            })
            .await;
            tokio::time::sleep(MISSING_EVERY).await;
        }
    };
    tokio::spawn(looking).abort_handle()
}

async fn look_at_all(context: &Context, stop: &Flag, which: impl Fn(&Record) -> bool) {
    let store = context.store.clone();
    let Ok(records) = blocking(move || store.records()).await else { return };
    let chosen: Vec<Record> = records.into_iter().filter(which).collect();
    for step in chosen.chunks(STEP) {
        let (store, stop, step) = (context.store.clone(), Arc::clone(stop), step.to_vec());
        let settled = blocking(move || {
            let look = |record: &Record| Some((record.id, settle(&store, record, &stop)?));
            step.iter().filter_map(look).collect::<Vec<_>>()
        });
        for (id, settled) in settled.await.unwrap_or_default() {
            tell(context, id, settled).await;
        }
    }
}

/// Brings a record in line with the disk. `None` if that was stopped, or if the bytes cannot be read now;
/// they may be readable another time.
fn settle(store: &Store, record: &Record, stop: &Flag) -> Option<Settled> {
    if stop.load(Ordering::Relaxed) {
        return None;
    }
    match store.settle(record, stop) {
        Ok(settled) => Some(settled),
        Err(StoreError::Cancelled) => None,
        Err(error) => {
            tracing::info!(id = %record.id, %error, "cannot tell whether it is still what it was");
            None
        }
    }
}

/// Tells all networks of content that was lost or came back.
async fn tell(context: &Context, id: ContentId, settled: Settled) {
    match settled {
        Settled::As(_) => {}
        Settled::Lost(_) => context.ask_all(|| NetworkCommand::Lost(id)).await,
        Settled::Healed => {
            tracing::info!(%id, "what was gone is back: it is shared again");
            shared_again(context, id).await;
        }
    }
}

/// Offers a blob again that is complete again, with the directory or share that it is the content of.
pub(super) async fn shared_again(context: &Context, id: ContentId) {
    let store = context.store.clone();
    let open = move || store.with_whole(id).into_iter().filter_map(|id| store.blob(id)).collect::<Vec<_>>();
    for blob in blocking(open).await.unwrap_or_default() {
        context.ask_all(|| NetworkCommand::Publish(Arc::clone(&blob))).await;
    }
}

/// Examines records for a command, so that its answer says what the disk says. Of a folder only its presence
/// is examined, unless `each` of its files counts.
pub(crate) async fn refresh(context: &Context, records: Vec<Record>, each: bool) {
    let store = context.store.clone();
    let look = move || {
        let lost = |record: &Record| match each {
            false => store.glance(record),
            true => store.glance_into(record),
        };
        records.iter().filter(|record| lost(record)).map(|record| record.id).collect::<Vec<_>>()
    };
    for id in blocking(look).await.unwrap_or_default() {
        context.ask_all(|| NetworkCommand::Lost(id)).await;
    }
}
