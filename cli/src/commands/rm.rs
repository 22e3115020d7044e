//! `swarm rm`.

use swarm_core::node::command::Command;
use swarm_core::node::event::Event;

use super::{item, short, unexpected};
use crate::config::Settings;
use crate::conversation::ask_once;
use crate::exit::Outcome;
use crate::size;
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
