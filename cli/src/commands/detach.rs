//! `swarm get --detach`: downloads that are left to the daemon.

use swarm_core::Destination;
use swarm_core::api::call::Detach;
use swarm_core::api::status::{DetachedRow, DetachedState};

use super::get;
use crate::args;
use crate::conversation::{Conversation, Sharer};
use crate::exit::{Code, Failed, Outcome, Stop};
use crate::json::About;
use crate::settings::Settings;
use crate::target::{self, Asked};
use crate::ui::Ui;

/// Leaves downloads to the daemon and prints their ids.
pub(super) async fn run(ui: &Ui, settings: &Settings, args: &args::Get) -> Outcome {
    if args.to_stdout() {
        let failed = Failed::new(Code::User, "a download to standard output cannot be left to the daemon");
        return Err(failed.hint("leave --detach out, or choose a place with -o PATH").into());
    }
    let output = get::output(args)?;
    if let Destination::Path(path) | Destination::Into(path) = &output
        && let Some(why) = get::not_writable(path)
    {
        return Err(Failed::new(Code::Disk, why).hint("choose another place with -o PATH").into());
    }
    let targets = get::asked(ui, args, &target::given(&args.targets)?, &output)?;
    let mut conversation = Conversation::open(ui, settings.for_item(settings.offline())).await?;
    let mut failed = None;
    for asked in &targets {
        let get = get::request(settings, args, asked, output.clone());
        match conversation.answer(Detach(get), |_| Ok(())).await {
            Ok(row) => say(ui, &row, asked, conversation.sharer())?,
            // The others are tried as well.
            Err(Stop::Failed(one)) if targets.len() > 1 => {
                ui.failed(About::Target(&asked.shown), &one);
                failed = failed.or(Some(one.code));
            }
            Err(stop) => return conversation.finish(Err(stop)).await,
        }
    }
    conversation.finish(failed.map_or(Ok(()), |code| Err(Stop::Said(code)))).await
}

/// Prints the id, and beside it says what becomes of the download.
fn say(ui: &Ui, row: &DetachedRow, asked: &Asked, sharer: Sharer) -> Outcome {
    if !ui.is_json() {
        ui.data(&row.id)?;
    }
    let name = if row.name.is_empty() { &asked.name } else { &row.name };
    match (row.state, sharer) {
        (DetachedState::Done, _) => ui.talk(&format!("{name}: all of it is here")),
        (DetachedState::Waiting, Sharer::Other(pid)) => ui.warn(&format!(
            "{name}: process {pid}, the node of this store, is no daemon; a daemon fetches it when one runs: swarm daemon"
        )),
        (DetachedState::Waiting, _) => {
            ui.warn(&format!("{name}: no daemon is running; it fetches this when it runs: swarm daemon"));
        }
        (_, Sharer::Daemon(pid)) => {
            ui.talk(&format!("{name}: the daemon (process {pid}) fetches it, after a restart too"));
            ui.talk("  swarm status shows how far it is; swarm stop ID ends it");
        }
        _ => {}
    }
    if let Some(trouble) = &row.trouble {
        ui.warn(&format!("{name}: {trouble}; the daemon tries again"));
    }
    Ok(())
}
