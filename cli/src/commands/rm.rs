//! `swarm rm`.

use swarm_core::api::call::Remove;

use crate::conversation::ask_once;
use crate::exit::Outcome;
use crate::redact::short;
use crate::settings::Settings;
use crate::size;
use crate::target::item;
use crate::ui::Ui;

/// Forgets an item.
pub(super) async fn run(ui: &Ui, settings: &Settings, id: &str) -> Outcome {
    let id = item(id)?;
    let removed = ask_once(ui, settings.offline(), Remove { id }).await?;
    ui.talk(&format!("removed {}, freed {}", short(&removed.id), size::bytes(removed.freed)));
    Ok(())
}
