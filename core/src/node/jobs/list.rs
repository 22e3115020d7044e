//! Listings: the store, the entries of a directory, and the description of one blob with its audience.

use std::collections::BTreeMap;

use super::super::actor::NetworkCommand;
use super::super::context::Context;
use super::super::network::{blocking, failure};
use super::super::sources;
use super::super::teller::Teller;
use super::{not_here, publish, report, resolve, store_failure};
use crate::api::event::{BlobRow, BlobState, EntryRow, EntryType, Event, Failure, Fault, Info};
use crate::content::geometry::Geometry;
use crate::content::kind::ContentKind;
use crate::content::manifest::{EntryKind, Manifest};
use crate::id::ContentId;
use crate::limits;
use crate::options::Audience;
use crate::store::record::{Domain, Record, StoredState};
use crate::store::{Store, StoreError, path_of};

/// Entries in one event of a listing.
const ENTRIES: usize = 500;

/// Lists the blobs of the store by name, without the blobs that belong to directories and shares.
pub(super) async fn ls(context: Context) -> Result<Event, Failure> {
    let running: BTreeMap<_, _> =
        report(&context).await.into_iter().flat_map(|report| report.transfers).collect();
    let store = context.store.clone();
    sources::refresh(&context, blocking(move || store.records()).await?, false).await;
    let store = context.store;
    let rows = move || {
        let shown: Vec<Record> = store.records().into_iter().filter(|r| r.of.is_none()).collect();
        let troubles: BTreeMap<ContentId, String> =
            store.troubles(&shown, limits::NOTICES).into_iter().collect();
        let mut blobs: Vec<BlobRow> = shown
            .into_iter()
            .map(|r| {
                let id = r.payload.map_or(r.id, |p| p.id);
                let have = running.get(&id).map(|view| view.progress.done);
                let have = have.filter(|_| r.state == StoredState::Partial || r.payload.is_some());
                BlobRow { trouble: troubles.get(&r.id).cloned(), ..blob_row(&store, &r, have) }
            })
            .collect();
        blobs.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.id.cmp(&b.id)));
        blobs
    };
    Ok(Event::Blobs { blobs: blocking(rows).await? })
}

/// Returns the row of a blob in a listing. `have` holds the verified bytes of a running download; `None` if
/// there is none.
pub(super) fn blob_row(store: &Store, record: &Record, have: Option<u64>) -> BlobRow {
    let len = record.payload.map_or(record.len, |p| p.len);
    // A directory or a share is as complete as its content.
    let content = record.payload.filter(|payload| payload.len > 0 && record.state == StoredState::Complete);
    let whole = match content {
        Some(payload) => store.record(payload.id).map_or(StoredState::Partial, |r| r.state),
        None => record.state,
    };
    let state = match (have, whole) {
        (Some(_), _) => BlobState::Downloading,
        (None, StoredState::Complete) => BlobState::Complete,
        (None, StoredState::Partial) => BlobState::Partial,
        (None, StoredState::Changed) => BlobState::SourceChanged,
        (None, StoredState::Missing) => BlobState::SourceMissing,
    };
    let place =
        record.payload.and_then(|p| store.record(p.id)).map_or_else(|| path_of(record), |r| path_of(&r));
    BlobRow {
        id: record.id.to_string(),
        kind: record.kind,
        name: record.name.clone(),
        len,
        have: have.unwrap_or_else(|| match state {
            BlobState::Complete => len,
            BlobState::Partial => store.verified(record.payload.map_or(record.id, |p| p.id)),
            _ => 0,
        }),
        chunks: Geometry::new(len).map_or(0, |g| g.chunks()),
        files: record
            .payload
            .map(|p| p.files)
            .filter(|files| record.kind != ContentKind::Share || *files > 0),
        state,
        trouble: None,
        path: place,
        serve: record.audience,
    }
}

/// Lists the entries of a directory or of a share of one, in parts. A blob without entries gives its row.
pub(super) async fn entries(context: Context, id: &str, events: &Teller) -> Result<Event, Failure> {
    let id = resolve(&context.store, id)?.id;
    let store = context.store;
    let record = store.record(id).ok_or_else(|| not_here(id))?;
    if record.kind == ContentKind::File {
        return Ok(Event::Blobs { blobs: vec![blob_row(&store, &record, None)] });
    }
    if record.kind == ContentKind::Share && record.payload.is_none_or(|payload| payload.files == 0) {
        return Ok(Event::Blobs { blobs: vec![blob_row(&store, &record, None)] });
    }
    let manifest: Manifest = blocking(move || match record.kind {
        ContentKind::Share => {
            let (_, description) = store.share_description(id, None)?;
            description.manifest.ok_or(StoreError::NoKey)
        }
        _ => store.manifest(id),
    })
    .await?
    .map_err(store_failure)?;
    let mut batch = Vec::with_capacity(ENTRIES);
    for entry in &manifest.entries {
        let (kind, len, detail) = match &entry.kind {
            EntryKind::File { size, id, executable: false } => (EntryType::File, *size, Some(id.to_string())),
            EntryKind::File { size, id, executable: true } => {
                (EntryType::Executable, *size, Some(id.to_string()))
            }
            EntryKind::EmptyDir => (EntryType::Directory, 0, None),
            EntryKind::Symlink { target } => (EntryType::Symlink, 0, Some(target.clone())),
        };
        batch.push(EntryRow { path: entry.path.clone(), kind, len, detail });
        if batch.len() == ENTRIES {
            let entries = std::mem::replace(&mut batch, Vec::with_capacity(ENTRIES));
            let _ = events.send(Event::Entries { entries }).await;
        }
    }
    let _ = events.send(Event::Entries { entries: batch }).await;
    Ok(Event::EntriesEnd { count: manifest.entries.len() as u64, len: manifest.payload_len })
}

/// Describes one blob.
pub(super) async fn info(context: Context, id: &str) -> Result<Event, Failure> {
    let id = resolve(&context.store, id)?.id;
    let context = context.where_it_is(id)?;
    look_at(&context, id).await;
    let record = context.store.record(id).ok_or_else(|| not_here(id))?;
    let report = report(&context).await;
    let have = report.as_ref().and_then(|r| r.transfers.iter().find(|(i, _)| *i == id));
    let blob = blob_row(&context.store, &record, have.map(|(_, v)| v.progress.done));
    let trouble = trouble(&context, &record).await?;
    let blob = BlobRow { serve: Some(context.audience(&record)), trouble, ..blob };
    let holders = report.and_then(|r| r.holders.get(&id).copied()).unwrap_or(0);
    let link = context.net.is_some().then(|| publish::link(&context, &record, Vec::new()));
    let chunk_size = Geometry::new(blob.len).map_or(0, |g| g.chunk_size());
    let networks = match context.offices.is_empty() {
        true => Vec::new(),
        false => record.domains.iter().map(|domain| context.name_of(*domain)).collect(),
    };
    Ok(Event::Info(Info { blob, chunk_size, link, holders, networks }))
}

/// Looks at the disk, so that the answer says what is there now: for a directory, at each of its files.
pub(super) async fn look_at(context: &Context, id: ContentId) {
    let record = context.store.record(id);
    let content =
        record.as_ref().and_then(|r| r.payload).and_then(|payload| context.store.record(payload.id));
    sources::refresh(context, record.into_iter().chain(content).collect(), true).await;
}

/// Returns a sentence on why a blob is not shared any more, with the command that helps; `None` if it is
/// shared.
pub(crate) async fn trouble(context: &Context, record: &Record) -> Result<Option<String>, Failure> {
    let (store, record) = (context.store.clone(), record.clone());
    let troubles = blocking(move || store.troubles(&[record], 1)).await?;
    Ok(troubles.into_iter().next().map(|(_, trouble)| trouble))
}

/// Sets the audience of a blob, and describes it.
///
/// # Errors
/// The audience does not fit the networks that the blob belongs to.
pub(super) async fn serve(
    context: Context,
    text: &str,
    audience: Option<Audience>,
) -> Result<Event, Failure> {
    let id = resolve(&context.store, text)?.id;
    let record = context.store.record(id).ok_or_else(|| not_here(id))?;
    match (record.office(), audience) {
        // A blob of an office and of the public network is for the members in one, and for anyone in the
        // other.
        (Some(_), Some(Audience::Anyone)) if !record.is_of(Domain::Public) => {
            let hint = Some("swarm publish --public shares it outside the office".to_owned());
            let text = "this item belongs to an office: only members can fetch it, not anyone";
            return Err(Failure { hint, ..failure(Fault::User, text) });
        }
        (None, Some(_)) if record.domains.is_empty() => {
            let text = "this item belongs to an office that this node has left: publish it again";
            return Err(failure(Fault::User, text));
        }
        (None, Some(Audience::Office)) => {
            let hint = Some("swarm publish --office NAME shares it in an office".to_owned());
            return Err(Failure { hint, ..failure(Fault::User, "this item does not belong to an office") });
        }
        _ => {}
    }
    let store = context.store.clone();
    blocking(move || store.set_audience(id, audience)).await?.map_err(store_failure)?;
    for id in record.payload.map(|p| p.id).into_iter().chain([id]) {
        context.ask_all(|| NetworkCommand::Audience(id)).await;
    }
    info(context, text).await
}
