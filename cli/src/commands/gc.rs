//! `swarm gc`.

use swarm_core::api::command::Command;
use swarm_core::api::event::Event;

use crate::conversation::ask_once;
use crate::exit::{Outcome, unexpected};
use crate::settings::Settings;
use crate::size;
use crate::ui::Ui;

/// Deletes what nothing refers to, and lists it.
pub(super) async fn run(ui: &Ui, settings: &Settings, dry_run: bool) -> Outcome {
    let answer = ask_once(ui, settings.offline(), Command::Gc { dry_run }).await?;
    let Event::Collected { freed, removed, dry_run } = answer else {
        return Err(unexpected());
    };
    if ui.is_json() {
        return Ok(());
    }
    removed.iter().try_for_each(|name| ui.data(name))?;
    let done = if dry_run { "would delete" } else { "deleted" };
    ui.talk(&format!("{done} {}, {}", size::plural(removed.len() as u64, "item"), size::bytes(freed)));
    Ok(())
}
