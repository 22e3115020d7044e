//! Detached downloads: requests for them, their end, and the task that goes on with each.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::super::context::Context;
use super::super::detached::{DetachedStates, DetachedView, KeptDownload, name_of};
use super::super::network::{blocking, failure};
use super::super::teller::Teller;
use super::{report, resolve};
use crate::api::command::{Command, Get};
use crate::api::event::{Event, Failure, Fault};
use crate::api::status::DetachedState;
use crate::content::link::Target;
use crate::content::select::Select;
use crate::content::share::Fragment;
use crate::limits;
use crate::store::record::Record;

/// Time that a request waits for the first news of its download, so that a mistake is reported at once.
const FIRST_NEWS: Duration = Duration::from_secs(1);

/// Keeps a download on the disk, and begins it if this node is a daemon.
pub(super) async fn detach(context: Context, get: Get) -> Result<Event, Failure> {
    if context.store.is_read_only() {
        return Err(failure(Fault::User, "the store is read-only: nothing can be fetched"));
    }
    let link = resolve(&context.store, get.target.expose())?;
    if matches!(link.fragment, Some(Fragment::Locked(_))) {
        return Err(failure(Fault::User, "this link is locked with a password"));
    }
    Select::new(&get.include, &get.exclude).map_err(|e| failure(Fault::User, e.to_string()))?;
    // A node without a network does not know its offices.
    if context.net.is_some() {
        context.clone().for_fetching(&get.network, &link)?;
    }
    let name = name_of(link.id, &get.output);
    let get = Get { target: link.to_string().into(), timeout_ms: None, ..get };
    let kept = KeptDownload { since: Record::now(), get };
    let bytes = serde_json::to_vec(&kept)
        .map_err(|e| failure(Fault::User, format!("this download cannot be remembered: {e}")))?;
    if bytes.len() > limits::DETACHED_BYTES {
        return Err(failure(Fault::User, "this download has too many patterns to be remembered"));
    }
    let states = {
        let _turn = context.detached.turn.lock().await;
        load(&context).await?;
        if context.detached.len() >= limits::DETACHED && !context.detached.knows(&name) {
            let hint = Some("swarm status lists them, swarm stop ID ends one".to_owned());
            let text = format!("{} downloads are detached already", limits::DETACHED);
            return Err(Failure { hint, ..failure(Fault::Busy, text) });
        }
        let (store, key) = (context.store.clone(), name.clone());
        blocking(move || store.keep_detached(&key, &bytes))
            .await?
            .map_err(|e| super::store_failure(e.into()))?;
        let states = context.detached.add(&name, kept, &link);
        go_on(&context);
        states
    };
    let mut news = states.subscribe();
    let is_news = |view: &DetachedView| view.row.state != DetachedState::Starting;
    let view = match tokio::time::timeout(FIRST_NEWS, news.wait_for(is_news)).await {
        Ok(Ok(view)) => view.clone(),
        _ => states.borrow().clone(),
    };
    match view.failure {
        // Time does not heal a mistake: whoever made it is there to hear of it.
        Some(failure) if matches!(failure.fault, Fault::User | Fault::BadContent) => {
            forget(&context, &name, Some(&states)).await?;
            Err(failure)
        }
        _ => Ok(Event::Detached(view.row)),
    }
}

/// Ends the detached downloads of an id.
pub(super) async fn stop(context: Context, text: &str) -> Result<Event, Failure> {
    if context.store.is_read_only() {
        return Err(failure(Fault::User, "the store is read-only: nothing can be changed"));
    }
    load(&context).await?;
    let target: Target = text.parse().map_err(|e| failure(Fault::User, format!("{e}")))?;
    let digits = match target {
        Target::Id(id) => id.to_string(),
        Target::Link(link) => link.id.to_string(),
        Target::Prefix(digits) => digits.to_ascii_lowercase(),
    };
    let names = context.detached.named(&digits);
    let id_of = |name: &String| name.split('-').next().unwrap_or_default().to_owned();
    let Some(id) = names.first().map(id_of) else { return Err(nothing_to_stop(&context, &digits).await) };
    if names.iter().any(|name| id_of(name) != id) {
        let text = format!("several detached downloads start with {digits}: type more digits");
        return Err(failure(Fault::User, text));
    }
    for name in &names {
        forget(&context, name, None).await?;
    }
    Ok(Event::Stopped { id, downloads: names.len() as u32 })
}

/// Returns the failure for an id that no detached download has.
async fn nothing_to_stop(context: &Context, digits: &str) -> Failure {
    let running = report(context).await.map_or_else(Vec::new, |report| report.transfers);
    let content = |id: &crate::id::ContentId| context.store.record(*id).and_then(|record| record.of);
    let is_it = |id: crate::id::ContentId| id.to_string().starts_with(digits);
    let fetched = running.iter().any(|(id, _)| is_it(*id) || content(id).is_some_and(is_it));
    match fetched {
        true => {
            failure(Fault::User, format!("a command fetches {digits}, not the daemon: end it with Ctrl-C"))
        }
        false => Failure {
            hint: Some("swarm status lists the downloads that the daemon goes on with".to_owned()),
            ..failure(Fault::User, format!("there is no detached download of {digits}"))
        },
    }
}

/// Goes on with all detached downloads of the disk, if this node is a daemon.
pub(in crate::node) async fn go_on_with_all(context: &Context) {
    if context.detached.goes_on && load(context).await.is_ok() {
        go_on(context);
    }
}

/// Reads the table from the disk, if that was not done before.
pub(super) async fn load(context: &Context) -> Result<(), Failure> {
    let (store, table) = (context.store.clone(), Arc::clone(&context.detached));
    blocking(move || table.load(&store)).await
}

/// Removes a download from the disk and the table; with `of`, only if it still has these states.
async fn forget(context: &Context, name: &str, of: Option<&DetachedStates>) -> Result<(), Failure> {
    let _turn = context.detached.turn.lock().await;
    if of.is_some_and(|of| !context.detached.is_current(name, of)) {
        return Ok(());
    }
    let (store, key) = (context.store.clone(), name.to_owned());
    blocking(move || store.drop_detached(&key)).await?.map_err(|e| super::store_failure(e.into()))?;
    context.detached.remove(name, None);
    Ok(())
}

/// Starts a task for each download without one.
fn go_on(context: &Context) {
    context.detached.start(|name, get, states| {
        let (context, name) = (context.clone(), name.to_owned());
        tokio::spawn(fetch(context, name, get.clone(), Arc::clone(states))).abort_handle()
    });
}

/// Fetches until that succeeds; pauses after each failure.
async fn fetch(context: Context, name: String, get: Get, states: DetachedStates) {
    let mut pause = limits::DETACHED_RETRY;
    loop {
        let Err(failed) = attempt(&context, get.clone(), &states).await else { break };
        tracing::info!(%name, error = %failed, "a detached download failed and is tried again");
        states.send_modify(|view| {
            view.row.state = DetachedState::Retrying;
            view.row.trouble = Some(failed.message.clone());
            view.failure = Some(failed);
        });
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(limits::DETACHED_RETRY_MOST);
        states.send_modify(|view| view.row.state = DetachedState::Starting);
    }
    tracing::info!(%name, "a detached download is done");
    let (store, table) = (context.store.clone(), Arc::clone(&context.detached));
    let turn = table.turn.lock().await;
    if table.is_current(&name, &states) {
        let key = name.clone();
        // A download that stays on the disk is found to be done after the next start.
        if let Ok(Err(error)) = blocking(move || store.drop_detached(&key)).await {
            tracing::warn!(%name, %error, "a detached download cannot be forgotten");
        }
        table.remove(&name, Some(&states));
    }
    drop(turn);
    states.send_modify(|view| {
        (view.row.state, view.row.trouble, view.failure) = (DetachedState::Done, None, None)
    });
}

/// Runs a get to its end, and keeps its state for reports.
async fn attempt(context: &Context, get: Get, states: &DetachedStates) -> Result<(), Failure> {
    let (teller, mut events) = Teller::new();
    let follow = async {
        while let Some(event) = events.recv().await {
            match event {
                Event::Done(_) => return Ok(()),
                Event::Failed(failed) => return Err(failed),
                event => states.send_modify(|view| note(view, event)),
            }
        }
        Err(Failure::gone())
    };
    tokio::join!(run_boxed(context.clone(), Command::Get(get), teller), follow).1
}

/// Notes an event of a running get.
fn note(view: &mut DetachedView, event: Event) {
    match event {
        Event::Searching { .. } => view.row.state = DetachedState::Searching,
        Event::Found(blob) => {
            (view.row.name, view.row.total) = (blob.name, Some(blob.len));
            (view.row.state, view.row.trouble) = (DetachedState::Downloading, None);
        }
        Event::Progress(progress) => {
            (view.row.done, view.row.total) = (progress.done, Some(progress.total));
            view.row.state = DetachedState::Downloading;
        }
        Event::Notice { text } => view.row.trouble = Some(text),
        _ => {}
    }
}

/// Runs a job whose type is not a part of the caller's type, because the caller is a part of its type.
fn run_boxed(context: Context, command: Command, teller: Teller) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(super::run(context, command, teller))
}
