//! `swarm config show`.

use serde::Serialize;

use crate::exit::Outcome;
use crate::json::About;
use crate::settings::{Settings, Shown};
use crate::ui::Ui;

#[derive(Serialize)]
struct ConfigLine {
    event: &'static str,
    settings: Vec<Shown>,
}

/// Prints the settings in force as a configuration file; with `origin`, each with where it comes from as a
/// comment.
pub(super) fn show(ui: &Ui, settings: &Settings, origin: bool) -> Outcome {
    let list = settings.list();
    if ui.is_json() {
        return ui.object(About::It, &ConfigLine { event: "config", settings: list });
    }
    let width = list.iter().map(|shown| shown.toml().chars().count()).max().unwrap_or(0);
    for shown in &list {
        let line = shown.toml();
        match origin {
            // What is no setting: an office changes the default.
            true if shown.key == "serve" && shown.origin == "default" => {
                ui.data(&format!("{line:width$}  # default; in an office: all of its members, nobody else"))?
            }
            true => ui.data(&format!("{line:width$}  # {}", shown.origin))?,
            false => ui.data(&line)?,
        }
    }
    Ok(())
}
