//! The state of the node, and its peers.

use std::path::PathBuf;

use super::super::actor::MembershipCommand;
use super::super::context::Context;
use super::super::network::blocking;
use super::super::sources;
use super::notices::counted;
use super::{detached, office, report};
use crate::api::event::{Event, Failure};
use crate::api::status::{SharedRow, Status, Transfer, TransferState};
use crate::exchange::{DownloadView, Stage};
use crate::id::ContentId;
use crate::limits;
use crate::membership::files::OfficeFiles;
use crate::store::Store;
use crate::store::record::{Domain, Record};

/// Lists connected and banned peers of all networks.
pub(super) async fn peers(context: Context) -> Result<Event, Failure> {
    Ok(match report(&context).await {
        Some(report) => Event::Peers { peers: report.peers, banned: report.banned },
        None => Event::Peers { peers: Vec::new(), banned: Vec::new() },
    })
}

/// Reports the state of the node.
pub(super) async fn status(context: Context) -> Result<Event, Failure> {
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
    detached::load(&context).await?;
    let detached = context.detached.rows();
    let views = report.as_ref().map_or(&[][..], |r| &r.transfers);
    notices.extend(views.iter().filter_map(|(_, view)| view.notices.last().cloned()));
    let transfers = views.iter().map(|(id, view)| transfer(&context.store, *id, view)).collect();
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
        serve_office: (!context.offices.is_empty()).then(|| context.office_default()),
        shared,
        offices,
        blobs,
        stored,
        uploaded: 0,
        downloaded: 0,
        transfers,
        detached_count: detached.len() as u64,
        detached: detached.into_iter().take(limits::STATUS_SHARED).collect(),
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

/// Returns the row of a running download.
fn transfer(store: &Store, id: ContentId, view: &DownloadView) -> Transfer {
    let state = match &view.stage {
        Stage::Searching => TransferState::Searching,
        Stage::Learned(_) => TransferState::Starting,
        Stage::Active if view.notices.is_empty() => TransferState::Downloading,
        Stage::Active => TransferState::WaitingForDisk,
        Stage::Complete => TransferState::Finishing,
    };
    let name = store.record(id).map_or_else(String::new, |r| r.name);
    Transfer { id: id.to_string(), name, state, progress: view.progress.clone() }
}

/// Lists complete content by name, with its audience.
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

/// Lists content that is not shared any more, one sentence each.
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

/// Names the members that content of one office is for; `None` if it is for all of them.
async fn named(context: &Context, row: &SharedRow) -> Option<Vec<String>> {
    let [_] = row.offices.as_slice() else { return None };
    let id: ContentId = row.id.parse().ok()?;
    let office = context.offices.get(context.store.record(id)?.office()?)?;
    office::ask_office(&office, |reply| MembershipCommand::For { id, reply }).await.ok().flatten()
}
