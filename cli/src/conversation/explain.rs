//! Sentences on a command that takes long, and on troubles that do not end it.

use std::cell::Cell;
use std::convert::Infallible;
use std::path::Path;
use std::time::{Duration, Instant};

use swarm_core::api::event::Event;
use swarm_core::control::OpenStage;
use tokio::time::sleep;

use crate::json::About;
use crate::ui::Ui;

/// When the end takes longer than this, we say why.
const EXPLAIN_AFTER: Duration = Duration::from_secs(1);
/// When the beginning takes longer than this, we say why.
const OPENING_IS_SLOW: Duration = Duration::from_secs(5);

/// Says what the beginning waits for.
pub(super) fn opening(home: &Path, waiting: OpenStage) -> String {
    let home = home.display();
    match waiting {
        OpenStage::Store => {
            format!("opening the store of {home}: it is large, or its disk is slow or hangs")
        }
        OpenStage::Owner(pid) => {
            format!("waiting for process {pid}, which has the store of {home} open and has not answered yet")
        }
        OpenStage::Offline(pid) => format!(
            "waiting until process {pid} ends: it has the store of {home} open and is not on the network"
        ),
    }
}

/// Says why the beginning takes long; never ends itself.
pub(super) async fn explain_opening(ui: &Ui, home: &Path, waiting: &Cell<OpenStage>) -> Infallible {
    let begun = Instant::now();
    let mut said = None;
    loop {
        sleep(EXPLAIN_AFTER).await;
        let now = waiting.get();
        let ripe = matches!(now, OpenStage::Offline(_)) || begun.elapsed() >= OPENING_IS_SLOW;
        if ripe && said != Some(now) {
            said = Some(now);
            tell(ui, &opening(home, now));
        }
    }
}

/// Says why the end takes long; never ends itself.
pub(super) async fn explain(ui: &Ui) -> Infallible {
    sleep(EXPLAIN_AFTER).await;
    let text = "done; waiting for other commands that use the node of this process \
        (Ctrl-C ends it, and they continue without it)";
    if ui.is_json() {
        tell(ui, text)
    } else {
        ui.talk(text)
    }
    std::future::pending().await
}

/// Says what a person or a program should know although it goes on.
pub(super) fn tell(ui: &Ui, text: &str) {
    // There is nobody to tell when this fails.
    let _ = ui.event(About::It, &Event::Notice { text: text.to_owned() });
    ui.warn(text);
}

/// Says what a person should know although it goes on.
pub(crate) fn say_trouble(ui: &Ui, event: &Event) {
    match event {
        Event::Notice { text } => ui.warn(text),
        Event::Banned { peer, reason } => ui.warn(&format!("peer {peer} is banned: {reason}")),
        _ => {}
    }
}
