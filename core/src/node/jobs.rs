//! One job per request: looks things up, or starts what takes longer, and tells its events.

mod choose_network;
mod get;
mod notices;
mod office;
mod publish;
mod why;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::actor::{MembershipCommand, NetworkCommand, NetworkReport};
use super::context::Context;
use super::network::{Flag, blocking, failure};
use super::sources;
use super::teller::Teller;
use crate::api::command::Command;
use crate::api::event::{BlobRow, EntryRow, Event, Failure, Fault, Info, Verified};
use crate::api::status::{SharedRow, Status, Transfer};
use crate::content::geometry::Geometry;
use crate::content::kind::ContentKind;
use crate::content::link::{Link, Target};
use crate::content::manifest::{EntryKind, Manifest};
use crate::content::share::ShareError;
use crate::exchange::Stage;
use crate::id::ContentId;
use crate::limits;
use crate::membership::files::OfficeFiles;
use crate::options::Audience;
use crate::store::record::{Domain, Record, StoredState};
use crate::store::{Store, StoreError, path_of};
use notices::counted;

/// Entries of a listing that travel together.
const ENTRIES: usize = 500;

/// Runs a job to its final event.
pub(crate) async fn run(context: Context, command: Command, events: Teller) {
    let told = events.clone();
    let result = match command {
        Command::Publish(publish) => match context.for_offering(&publish.network, publish.serve) {
            Ok(context) => publish::publish(context, publish, told).await,
            Err(failed) => Err(failed),
        },
        Command::Get(get) => Box::pin(get::get(context, get, told)).await,
        Command::Office(command) => Box::pin(office::run(context, command)).await,
        Command::Ls { id: None } => ls(context).await,
        Command::Ls { id: Some(id) } => entries(context, &id, &told).await,
        Command::Info { id } => info(context, &id).await,
        Command::Rm { id } => rm(context, &id).await,
        Command::Verify { id, repair } => verify(context, id, repair, told).await,
        Command::Gc { dry_run } => gc(context, dry_run).await,
        Command::Serve { id, audience } => serve(context, &id, audience).await,
        Command::Share { ids } => share(context, &ids, &events).await,
        Command::Status => status(context).await,
        Command::Peers => peers(context).await,
        Command::Why { id } => why::why(context, &id, told).await,
    };
    let last = result.unwrap_or_else(Event::Failed);
    let _ = events.send(last).await;
}

/// What a person typed as an id: as a link, without hints if it was none.
pub(crate) fn resolve(store: &Store, text: &str) -> Result<Link, Failure> {
    let target: Target = text.parse().map_err(|e| failure(Fault::User, format!("{e}")))?;
    match target {
        Target::Id(id) => Ok(Link::to(id)),
        Target::Link(link) => Ok(link),
        Target::Prefix(digits) => match store.by_prefix(&digits, 2).as_slice() {
            [id] => Ok(Link::to(*id)),
            [] => Err(Failure {
                fault: Fault::User,
                message: format!("nothing in this store starts with {digits}"),
                hint: Some("use the whole id (64 digits) or a link; swarm ls lists the store".to_owned()),
            }),
            _ => Err(failure(
                Fault::User,
                format!("several items in this store start with {digits}: type more digits"),
            )),
        },
    }
}

/// A failure of the store in a person's words.
#[allow(clippy::needless_pass_by_value)] // It is handed to `map_err`.
pub(super) fn store_failure(error: StoreError) -> Failure {
    let fault = match &error {
        StoreError::Disk(_) => Fault::Disk,
        StoreError::User(_) | StoreError::Manifest(_) => Fault::User,
        StoreError::Changed(_) | StoreError::Share(ShareError::Key) => Fault::Verification,
        StoreError::NoKey => {
            let hint = "use swarm get with the whole link, or swarm hold --blind to hold it without the key";
            return Failure { hint: Some(hint.to_owned()), ..failure(Fault::User, error.to_string()) };
        }
        StoreError::Share(_) => Fault::BadContent,
        StoreError::Cancelled => Fault::Interrupted,
    };
    failure(fault, error.to_string())
}

/// A listing's row. `have` is how much of a running download is there.
pub(super) fn blob_row(store: &Store, record: &Record, have: Option<u64>) -> BlobRow {
    let len = record.payload.map_or(record.len, |p| p.len);
    // A directory or a share is as whole as its content.
    let content = record.payload.filter(|payload| payload.len > 0 && record.state == StoredState::Complete);
    let whole = match content {
        Some(payload) => store.record(payload.id).map_or(StoredState::Partial, |r| r.state),
        None => record.state,
    };
    let state = match (have, whole) {
        (Some(_), _) => "downloading",
        (None, StoredState::Complete) => "complete",
        (None, StoredState::Partial) => "partial",
        (None, StoredState::Changed) => "source changed",
        (None, StoredState::Missing) => "source missing",
    };
    let place =
        record.payload.and_then(|p| store.record(p.id)).map_or_else(|| path_of(record), |r| path_of(&r));
    BlobRow {
        id: record.id.to_string(),
        kind: record.kind,
        name: record.name.clone(),
        len,
        have: have.unwrap_or_else(|| match state {
            "complete" => len,
            "partial" => store.verified(record.payload.map_or(record.id, |p| p.id)),
            _ => 0,
        }),
        chunks: Geometry::new(len).map_or(0, |g| g.chunks()),
        files: record
            .payload
            .map(|p| p.files)
            .filter(|files| record.kind != ContentKind::Share || *files > 0),
        state: state.to_owned(),
        trouble: None,
        path: place,
        serve: record.audience,
    }
}

/// Shares contents, and has trackers and the DHT told of them, until whoever asked has gone.
async fn share(context: Context, ids: &[String], events: &Teller) -> Result<Event, Failure> {
    if context.net.is_none() {
        return Err(failure(Fault::User, "this node is offline and shares nothing"));
    }
    for text in ids.iter().take(limits::SHARED_BY_COMMAND) {
        let id = resolve(&context.store, text)?.id;
        let context = context.clone().where_it_is(id)?;
        let store = context.store.clone();
        let open = move || {
            let payload = store.record(id).and_then(|record| record.payload);
            let all = std::iter::once(id).chain(payload.map(|payload| payload.id));
            all.filter_map(|id| store.blob(id)).collect::<Vec<_>>()
        };
        let blobs = blocking(open).await?;
        if let Some(net) = &context.net {
            for blob in blobs {
                net.ask(NetworkCommand::Publish(blob)).await;
            }
        }
    }
    let _ = events.send(Event::Sharing { pid: std::process::id() }).await;
    events.closed().await;
    Err(failure(Fault::Interrupted, "stopped"))
}

/// How things are on all networks of the node, that of all nodes first; what is counted is added up.
async fn report(context: &Context) -> Option<NetworkReport> {
    let mut all: Option<NetworkReport> = None;
    for net in context.nets() {
        let Some(report) = net.question(NetworkCommand::Report).await else { continue };
        match &mut all {
            None => all = Some(report),
            Some(all) => all.join(report),
        }
    }
    all
}

async fn ls(context: Context) -> Result<Event, Failure> {
    let running = report(&context).await.map_or_else(Vec::new, |r| r.transfers);
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
                let have = running.iter().find(|(i, _)| *i == id).map(|(_, v)| v.progress.done);
                let have = have.filter(|_| r.state == StoredState::Partial || r.payload.is_some());
                BlobRow { trouble: troubles.get(&r.id).cloned(), ..blob_row(&store, &r, have) }
            })
            .collect();
        blobs.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.id.cmp(&b.id)));
        blobs
    };
    Ok(Event::Blobs { blobs: blocking(rows).await? })
}

async fn entries(context: Context, id: &str, events: &Teller) -> Result<Event, Failure> {
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
            EntryKind::File { size, id, executable: false } => ("file", *size, Some(id.to_string())),
            EntryKind::File { size, id, executable: true } => ("executable", *size, Some(id.to_string())),
            EntryKind::EmptyDir => ("directory", 0, None),
            EntryKind::Symlink { target } => ("symlink", 0, Some(target.clone())),
        };
        batch.push(EntryRow { path: entry.path.clone(), kind: kind.to_owned(), len, detail });
        if batch.len() == ENTRIES {
            let entries = std::mem::replace(&mut batch, Vec::with_capacity(ENTRIES));
            let _ = events.send(Event::Entries { entries }).await;
        }
    }
    let _ = events.send(Event::Entries { entries: batch }).await;
    Ok(Event::EntriesEnd { count: manifest.entries.len() as u64, len: manifest.payload_len })
}

fn not_here(id: ContentId) -> Failure {
    Failure {
        fault: Fault::User,
        message: format!("{id} is not in this store"),
        hint: Some(format!("swarm get {id}")),
    }
}

async fn info(context: Context, id: &str) -> Result<Event, Failure> {
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

/// Looks at the disk before something is said of what is there: of a directory, at each of its files.
pub(super) async fn look_at(context: &Context, id: ContentId) {
    let record = context.store.record(id);
    let content =
        record.as_ref().and_then(|r| r.payload).and_then(|payload| context.store.record(payload.id));
    sources::refresh(context, record.into_iter().chain(content).collect(), true).await;
}

/// Says why something is shared no longer, and what to type.
pub(crate) async fn trouble(context: &Context, record: &Record) -> Result<Option<String>, Failure> {
    let (store, record) = (context.store.clone(), record.clone());
    let troubles = blocking(move || store.troubles(&[record], 1)).await?;
    Ok(troubles.into_iter().next().map(|(_, trouble)| trouble))
}

async fn serve(context: Context, text: &str, audience: Option<Audience>) -> Result<Event, Failure> {
    let id = resolve(&context.store, text)?.id;
    let record = context.store.record(id).ok_or_else(|| not_here(id))?;
    match (record.office(), audience) {
        // What is of both is for members there, and for anyone here.
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

async fn rm(context: Context, id: &str) -> Result<Event, Failure> {
    let id = resolve(&context.store, id)?.id;
    let record = context.store.record(id).ok_or_else(|| not_here(id))?;
    let payload = record.payload.map(|p| p.id);
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

async fn gc(context: Context, dry_run: bool) -> Result<Event, Failure> {
    if context.store.is_read_only() && !dry_run {
        return Err(failure(Fault::User, "the store is read-only: nothing can be deleted"));
    }
    let store = context.store;
    let collected = blocking(move || store.gc(dry_run)).await?;
    Ok(Event::Collected { freed: collected.freed, removed: collected.removed, dry_run })
}

async fn verify(
    context: Context,
    id: Option<String>,
    repair: bool,
    events: Teller,
) -> Result<Event, Failure> {
    let records: Vec<Record> = match &id {
        Some(text) => {
            let id = resolve(&context.store, text)?.id;
            let record = context.store.record(id).ok_or_else(|| not_here(id))?;
            let payload = record.payload.and_then(|p| context.store.record(p.id));
            std::iter::once(record).chain(payload).collect()
        }
        None => {
            let store = context.store.clone();
            let all = blocking(move || store.records()).await?;
            all.into_iter().filter(|r| r.state != StoredState::Partial).collect()
        }
    };
    let total = records.iter().map(|r| r.len).sum();
    let done = Arc::new(AtomicU64::new(0));
    let mut result = Verified { blobs: 0, chunks: 0, bad: Vec::new(), repaired: 0 };
    for record in records {
        let id = record.id;
        let cancel: Flag = Arc::new(AtomicBool::new(false));
        let work = {
            let (store, cancel, done, events) =
                (context.store.clone(), Arc::clone(&cancel), Arc::clone(&done), events.clone());
            move || {
                let progress = |bytes: u64| {
                    let now = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
                    let _ = events.try_send(Event::Hashing { done: now, total });
                };
                store.verify(id, &progress, &cancel)
            }
        };
        let checked = tokio::select! {
            checked = blocking(work) => checked?,
            () = events.closed() => {
                cancel.store(true, Ordering::Relaxed);
                return Err(failure(Fault::Interrupted, "stopped"));
            }
        };
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
            // Its file is gone: every chunk of it is bad, and it is not served any longer.
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

async fn peers(context: Context) -> Result<Event, Failure> {
    Ok(match report(&context).await {
        Some(report) => Event::Peers { peers: report.peers, banned: report.banned },
        None => Event::Peers { peers: Vec::new(), banned: Vec::new() },
    })
}

/// What is whole, by name, and who may fetch it.
fn shared(context: &Context) -> Vec<SharedRow> {
    let whole =
        context.store.records().into_iter().filter(|r| r.of.is_none() && context.store.is_whole(r.id));
    let name = |id| match context.offices.get(id) {
        Some(office) => office.name,
        None => OfficeFiles::name(&context.store, id).unwrap_or_else(|| "another office".to_owned()),
    };
    let of = |domain: &Domain| match domain {
        Domain::Office(id) => Some(name(*id)),
        Domain::Public => None,
    };
    let row = |r: Record| SharedRow {
        id: r.id.to_string(),
        serve: context.audience(&r),
        offices: r.domains.iter().filter_map(of).collect(),
        public: r.is_of(Domain::Public),
        members: None,
        name: r.name,
    };
    let mut rows: Vec<SharedRow> = whole.map(row).collect();
    rows.sort_unstable_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    rows.truncate(limits::STATUS_SHARED);
    rows
}

/// Lists what is shared no longer, a sentence each.
fn lost(store: &Store) -> Vec<String> {
    let own: Vec<Record> = store.records().into_iter().filter(|record| record.of.is_none()).collect();
    let name = |id| own.iter().find(|record| record.id == id).map_or("", |record| record.name.as_str());
    let troubles = store.troubles(&own, limits::NOTICES + 1);
    let mut said: Vec<String> =
        troubles.iter().map(|(id, trouble)| format!("{} {trouble}", name(*id))).collect();
    if said.len() > limits::NOTICES {
        said.truncate(limits::NOTICES);
        said.push("more items are no longer shared: swarm ls lists them".to_owned());
    }
    said
}

/// The members that something is for, if it is not for all of its office.
async fn named(context: &Context, row: &SharedRow) -> Option<Vec<String>> {
    let [_] = row.offices.as_slice() else { return None };
    let id: ContentId = row.id.parse().ok()?;
    let office = context.offices.get(context.store.record(id)?.office()?)?;
    office::ask_office(&office, |reply| MembershipCommand::For { id, reply }).await.ok().flatten()
}

async fn status(context: Context) -> Result<Event, Failure> {
    let report = report(&context).await;
    let store = context.store.clone();
    sources::refresh(&context, blocking(move || store.records()).await?, false).await;
    let looking = context.clone();
    let looked =
        move || (looking.store.count(), looking.store.stored(), shared(&looking), lost(&looking.store));
    let (blobs, stored, mut shared, mut notices) = blocking(looked).await?;
    for row in &mut shared {
        row.members = named(&context, row).await;
    }
    let offices = office::rows(&context).await;
    let mut transfers = Vec::new();
    for (id, view) in report.as_ref().map_or(&[][..], |r| &r.transfers) {
        let state = match &view.stage {
            Stage::Searching => "searching",
            Stage::Learned(_) => "starting",
            Stage::Active if view.notices.is_empty() => "downloading",
            Stage::Active => "waiting for the disk",
            Stage::Complete => "finishing",
        };
        notices.extend(view.notices.last().cloned());
        let name = context.store.record(*id).map_or_else(String::new, |r| r.name);
        let (id, progress) = (id.to_string(), view.progress.clone());
        transfers.push(Transfer { id, name, state: state.to_owned(), progress });
    }
    let listen =
        report.as_ref().map_or_else(Vec::new, |r| r.listen.iter().map(ToString::to_string).collect());
    let mut status = Status {
        running: report.is_some(),
        peer: report.as_ref().map_or_else(String::new, |r| r.peer.to_string()),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        home: PathBuf::from(&context.home),
        uptime: context.started.elapsed().as_secs(),
        listen,
        peers: 0,
        reached: String::new(),
        router: None,
        trackers: Vec::new(),
        dht: None,
        dht_serves: Vec::new(),
        serve: context.public_default(),
        shared,
        offices,
        blobs,
        stored,
        uploaded: 0,
        downloaded: 0,
        transfers,
        refused: Vec::new(),
        banned: Vec::new(),
        banned_by: Vec::new(),
        notices,
        limits: context.net.as_ref().map(|net| net.limits.borrow().clone()).unwrap_or_default(),
    };
    if let Some(report) = report {
        status.peers = report.peers.len() as u32;
        (status.uploaded, status.downloaded) = (report.uploaded, report.downloaded);
        (status.refused, status.banned) = (report.refused, report.banned);
        status.banned_by = report.banned_by;
        (status.trackers, status.reached) = (report.trackers, report.reached);
        (status.dht, status.router) = (report.dht, report.router);
        status.dht_serves = report.dht_serves.iter().map(ToString::to_string).collect();
        status.notices.extend(report.notices);
    }
    status.notices = counted(std::mem::take(&mut status.notices));
    Ok(Event::Status(Box::new(status)))
}
