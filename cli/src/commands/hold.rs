//! `swarm hold`.

use std::collections::BTreeMap;

use swarm_core::api::call::{Detach, StopDetached};
use swarm_core::api::status::DetachedState;
use swarm_core::{Destination, Get};

use super::get::{Fetch, fetch, fetch_all};
use crate::args;
use crate::conversation::{Conversation, Sharer};
use crate::deadline::Deadline;
use crate::exit::{Code, Outcome, Stop};
use crate::seeding;
use crate::settings::Settings;
use crate::target::{self, Asked};
use crate::ui::Ui;

/// Fetches into the store, and goes on sharing: our own node until it is stopped.
pub(super) async fn run(ui: &Ui, settings: &Settings, args: &args::Hold, deadline: Deadline) -> Outcome {
    let watch = deadline.enforce(ui);
    let text = target::given_one(&args.target)?;
    let (asked, output) = match args.blind {
        true => (Asked::blind(&text)?, Destination::Hold),
        false => (Asked::read(ui, &text, &args.secret)?, Destination::Store),
    };
    let options = settings.for_item(settings.resident());
    let mut conversation = Conversation::open_within(ui, options, deadline).await?;
    let get = fetch(settings, &asked, args.timeout, args.public).destination(output);
    let left = match leave_to_daemon(ui, &mut conversation, &get, args).await {
        Ok(left) => left,
        Err(stop) => return conversation.finish(Err(stop)).await,
    };
    let number = conversation.ask(get).await;
    let fetches = BTreeMap::from([(number, Fetch::new(ui, &asked, false))]);
    let ids = match fetch_all(&mut conversation, fetches).await {
        Ok(ids) => ids,
        Err(stop) => return end(ui, conversation, left, stop).await,
    };
    drop(watch);
    ui.talk(&match conversation.sharer() {
        Sharer::Own => "holding it until Ctrl-C".to_owned(),
        Sharer::Daemon(pid) => seeding::by_daemon(pid),
        Sharer::Other(pid) => seeding::beside(pid),
    });
    seeding::until_stopped(ui, conversation, ids).await
}

/// Has the daemon go on with the download, whatever becomes of this command. Returns its id; `None` if no
/// daemon runs, or if the download is to end after a time.
async fn leave_to_daemon(
    ui: &Ui,
    conversation: &mut Conversation<'_>,
    get: &Get,
    args: &args::Hold,
) -> Outcome<Option<String>> {
    let Sharer::Daemon(pid) = conversation.sharer() else { return Ok(None) };
    if args.timeout.is_some() {
        return Ok(None);
    }
    let row = conversation.answer(Detach(get.clone()), |_| Ok(())).await?;
    if row.state != DetachedState::Done {
        ui.talk(&format!(
            "the daemon (process {pid}) goes on with it if this command ends; swarm stop ID ends it"
        ));
    }
    Ok(Some(row.id))
}

/// Ends a command whose download did not. A mistake is not left to the daemon.
async fn end(ui: &Ui, mut conversation: Conversation<'_>, left: Option<String>, stop: Stop) -> Outcome {
    let Some(id) = left else { return conversation.finish(Err(stop)).await };
    if stop == Stop::Interrupted {
        ui.talk(&format!("the daemon goes on with it; to end that: swarm stop {id}"));
        let closed = conversation.close(true).await;
        return closed.and(Err(Stop::Said(Code::Interrupted)));
    }
    if matches!(stop, Stop::Said(Code::User | Code::BadContent)) {
        // It may have noticed the mistake itself by now.
        let _ = conversation.answer(StopDetached { id }, |_| Ok(())).await;
    }
    conversation.finish(Err(stop)).await
}
