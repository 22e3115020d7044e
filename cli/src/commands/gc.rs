//! `swarm gc`.

use swarm_core::api::call::CollectGarbage;

use crate::conversation::ask_once;
use crate::exit::Outcome;
use crate::settings::Settings;
use crate::size;
use crate::ui::Ui;

/// Deletes what nothing refers to, and lists it.
pub(super) async fn run(ui: &Ui, settings: &Settings, dry_run: bool) -> Outcome {
    let garbage = ask_once(ui, settings.offline(), CollectGarbage { dry_run }).await?;
    if ui.is_json() {
        return Ok(());
    }
    garbage.removed.iter().try_for_each(|name| ui.data(name))?;
    let done = if garbage.dry_run { "would delete" } else { "deleted" };
    ui.talk(&format!(
        "{done} {}, {}",
        size::plural(garbage.removed.len() as u64, "item"),
        size::bytes(garbage.freed)
    ));
    Ok(())
}
