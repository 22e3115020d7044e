//! `swarm rm`.

use swarm_core::api::command::Command;
use swarm_core::api::event::Event;

use crate::conversation::ask_once;
use crate::exit::{Outcome, unexpected};
use crate::redact::short;
use crate::settings::Settings;
use crate::size;
use crate::target::item;
use crate::ui::Ui;

/// Forgets an item.
pub(super) async fn run(ui: &Ui, settings: &Settings, id: &str) -> Outcome {
    let id = item(id)?;
    let Event::Removed { id, freed } = ask_once(ui, settings.offline(), Command::Rm { id }).await? else {
        return Err(unexpected());
    };
    ui.talk(&format!("removed {}, freed {}", short(&id), size::bytes(freed)));
    Ok(())
}
