//! `swarm why`.

use swarm_core::api::call::Diagnose;

use crate::conversation::ask_once;
use crate::exit::Outcome;
use crate::redact::without_key;
use crate::settings::Settings;
use crate::target;
use crate::ui::Ui;

/// Says what holds a download up: first what does, then what every way of finding holders found.
pub(super) async fn run(ui: &Ui, settings: &Settings, target: &str) -> Outcome {
    // A key has no part in it.
    let text = without_key(target);
    target::parse(text)?;
    // Without a node of its own nobody would look around.
    let why = ask_once(ui, settings.options(), Diagnose { id: text.to_owned() }).await?;
    if ui.is_json() {
        return Ok(());
    }
    for line in why.why.iter().chain(&why.routes) {
        ui.data(line)?;
    }
    Ok(())
}
