//! `swarm hold`.

use swarm_core::Destination;

use super::get::{Fetch, fetch, fetch_all};
use crate::args;
use crate::conversation::{Conversation, Sharer};
use crate::deadline::Deadline;
use crate::exit::Outcome;
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
    conversation.ask(get).await;
    let ids = match fetch_all(&mut conversation, vec![Fetch::new(ui, &asked, false)]).await {
        Ok(ids) => ids,
        Err(stop) => return conversation.finish(Err(stop)).await,
    };
    drop(watch);
    ui.talk(&match conversation.sharer() {
        Sharer::Own => "holding it until Ctrl-C".to_owned(),
        Sharer::Daemon(pid) => seeding::by_daemon(pid),
        Sharer::Other(pid) => seeding::beside(pid),
    });
    seeding::until_stopped(ui, conversation, ids).await
}
