//! `swarm allow`.

use swarm_core::api::command::Command;
use swarm_core::api::event::Event;

use crate::args;
use crate::conversation::ask_once;
use crate::exit::{Outcome, unexpected};
use crate::settings::Settings;
use crate::target::item;
use crate::ui::Ui;

/// Says who may fetch an item from now on.
pub(super) async fn run(ui: &Ui, settings: &Settings, args: &args::Allow) -> Outcome {
    let command = Command::Serve { id: item(&args.id)?, audience: args.who.0 };
    let Event::Info(info) = ask_once(ui, settings.offline(), command).await? else {
        return Err(unexpected());
    };
    if let Some(who) = info.blob.serve {
        ui.talk(&format!("{}: {}", info.blob.name, who.in_words()));
    }
    Ok(())
}
