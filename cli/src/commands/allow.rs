//! `swarm allow`.

use swarm_core::api::call::Allow;

use crate::args;
use crate::conversation::ask_once;
use crate::exit::Outcome;
use crate::settings::Settings;
use crate::target::item;
use crate::ui::Ui;

/// Says who may fetch an item from now on.
pub(super) async fn run(ui: &Ui, settings: &Settings, args: &args::Allow) -> Outcome {
    let allow = Allow { id: item(&args.id)?, audience: args.who.0 };
    let info = ask_once(ui, settings.offline(), allow).await?;
    if let Some(who) = info.blob.serve {
        ui.talk(&format!("{}: {}", info.blob.name, who.in_words()));
    }
    Ok(())
}
