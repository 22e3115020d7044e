//! `swarm stop`.

use swarm_core::api::call::StopDetached;

use crate::conversation::ask_once;
use crate::exit::Outcome;
use crate::settings::Settings;
use crate::target::item;
use crate::ui::Ui;

/// Ends the downloads of an id that the daemon goes on with.
pub(super) async fn run(ui: &Ui, settings: &Settings, id: &str) -> Outcome {
    let id = item(id)?;
    let stopped = ask_once(ui, settings.offline(), StopDetached { id }).await?;
    let many =
        if stopped.downloads == 1 { String::new() } else { format!(" ({} downloads)", stopped.downloads) };
    ui.talk(&format!("the daemon no longer fetches it{many}; what is here is kept"));
    ui.talk(&format!("go on with: swarm get {}", stopped.id));
    Ok(())
}
