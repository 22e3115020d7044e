//! Sharing until stopped: what publish and get --seed do in the end when the node is ours.

use std::time::Duration;

use swarm_core::node::command::Command;
use swarm_core::node::event::{Event, Status};

use crate::conversation::Conversation;
use crate::exit::{Outcome, Stop};
use crate::progress::Gauge;
use crate::size;
use crate::summary::average;
use crate::ui::Ui;

/// How often the display is renewed.
const RENEW: Duration = Duration::from_secs(2);

/// Shares until a signal comes, which is the normal end; then says what was given.
///
/// # Errors
/// The node ended.
pub(crate) async fn until_stopped(ui: &Ui, mut conversation: Conversation<'_>) -> Outcome {
    let shared = if ui.is_watched() {
        watch(ui, &mut conversation).await
    } else {
        conversation.until_signalled().await;
        Ok(())
    };
    if let Ok(()) | Err(Stop::Interrupted) = shared {
        ui.talk("stopping");
        return conversation.close(true).await;
    }
    conversation.finish(shared).await
}

/// Shows peers and traffic meanwhile. Nothing is asked of the node when nobody looks.
async fn watch(ui: &Ui, conversation: &mut Conversation<'_>) -> Outcome {
    let mut meter = ui.meter("sharing");
    let mut before: Option<u64> = None;
    let mut told: Vec<String> = Vec::new();
    loop {
        if let Event::Status(status) = conversation.answer(Command::Status, |_| Ok(())).await? {
            status.notices.iter().filter(|notice| !told.contains(notice)).for_each(|notice| ui.warn(notice));
            told.clone_from(&status.notices);
            meter.show(&Gauge::note(traffic(&status, before)));
            before = Some(status.uploaded);
        }
        conversation.unless_signalled(tokio::time::sleep(RENEW)).await?;
    }
}

fn traffic(status: &Status, before: Option<u64>) -> String {
    let given = before.map_or(0, |before| status.uploaded.saturating_sub(before));
    let rate = average(given, RENEW.as_millis() as u64);
    let peers = size::plural(status.peers.into(), "peer");
    format!("{peers} · sent {} · {}", size::bytes(status.uploaded), size::rate(rate))
}
