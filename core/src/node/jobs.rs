//! One job for each command: it looks something up or starts longer work, and sends its events.

mod choose_network;
pub(super) mod detached;
mod get;
mod list;
mod notices;
mod office;
mod publish;
mod remove;
mod status;
mod verify;
mod why;

use super::actor::{NetworkCommand, NetworkReport};
use super::context::Context;
use super::network::{blocking, failure};
use super::teller::Teller;
use crate::api::command::Command;
use crate::api::event::{Event, Failure, Fault};
use crate::content::link::{Link, Target};
use crate::content::share::ShareError;
use crate::id::ContentId;
use crate::limits;
use crate::store::{Store, StoreError};
use list::{blob_row, look_at, trouble};

/// Runs a job and sends its events, the final one last.
pub(crate) async fn run(context: Context, command: Command, events: Teller) {
    let told = events.clone();
    let result = match command {
        Command::Publish(publish) => match context.for_offering(&publish.network, publish.serve) {
            Ok(context) => publish::publish(context, publish, told).await,
            Err(failed) => Err(failed),
        },
        Command::Get(get) => Box::pin(get::get(context, get, told)).await,
        Command::Office(command) => Box::pin(office::run(context, command)).await,
        Command::Ls { id: None } => list::ls(context).await,
        Command::Ls { id: Some(id) } => list::entries(context, &id, &told).await,
        Command::Info { id } => list::info(context, &id).await,
        Command::Rm { id } => remove::rm(context, &id).await,
        Command::Verify { id, repair } => verify::verify(context, id, repair, told).await,
        Command::Gc { dry_run } => remove::gc(context, dry_run).await,
        Command::Serve { id, audience } => list::serve(context, &id, audience).await,
        Command::Detach(get) => detached::detach(context, get).await,
        Command::Stop { id } => detached::stop(context, &id).await,
        Command::Share { ids } => share(context, &ids, &events).await,
        Command::Status => status::status(context).await,
        Command::Peers => status::peers(context).await,
        Command::Why { id } => why::why(context, &id, told).await,
    };
    let last = result.unwrap_or_else(Event::Failed);
    let _ = events.send(last).await;
}

/// Returns the link for an id, unique prefix or link that a person typed. An id or prefix gives a link
/// without hints.
///
/// # Errors
/// The text is none of these, or no or several items of the store start with the prefix.
pub(crate) fn resolve(store: &Store, text: &str) -> Result<Link, Failure> {
    let target: Target = text.parse().map_err(|e| failure(Fault::User, format!("{e}")))?;
    match target {
        Target::Id(id) => Ok(Link::to(id)),
        Target::Link(link) => Ok(link),
        Target::Prefix(digits) => match store.by_prefix(&digits, 2).as_slice() {
            [id] => Ok(Link::to(*id)),
            [] => Err(Failure {
                fault: Fault::User,
                message: format!(
                    "no item in this store begins with {digits}: a whole id has 64 digits, and this has {}",
                    digits.len()
                ),
                hint: Some("use the whole id or a link; swarm ls lists the items that are here".to_owned()),
            }),
            _ => Err(failure(
                Fault::User,
                format!("several items in this store start with {digits}: type more digits"),
            )),
        },
    }
}

/// Returns the failure of a job for an error of the store.
#[allow(clippy::needless_pass_by_value)] // `map_err` takes it as it is.
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

/// Shares contents, and announces them to trackers and the DHT, until the caller has gone.
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

/// Returns the report of all networks of the node together, the public network first; `None` if the node is
/// offline. Counters are added up.
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

/// Returns the failure for content that is not in the store.
fn not_here(id: ContentId) -> Failure {
    Failure {
        fault: Fault::User,
        message: format!("{id} is not in this store"),
        hint: Some(format!("swarm get {id}")),
    }
}
