//! `swarm why`.

use swarm_core::api::command::Command;
use swarm_core::api::event::Event;

use crate::conversation::ask_once;
use crate::exit::{Outcome, unexpected};
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
    let event = ask_once(ui, settings.options(), Command::Why { id: text.to_owned() }).await?;
    let Event::Why(why) = event else { return Err(unexpected()) };
    if ui.is_json() {
        return Ok(());
    }
    for line in why.why.iter().chain(&why.routes) {
        ui.data(line)?;
    }
    Ok(())
}
