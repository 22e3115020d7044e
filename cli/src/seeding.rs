//! Sharing until stopped: what publish, hold and get --seed do in the end. Where the node is the process of
//! another command, this one waits beside it, and goes on when that one ends.

use std::time::Duration;

use swarm_core::api::command::Command;
use swarm_core::api::event::{Event, Fault};
use swarm_core::api::status::Status;

use crate::conversation::{Conversation, Sharer, say_trouble};
use crate::exit::{Failed, Outcome, Stop};
use crate::json::About;
use crate::progress::{Gauge, Meter};
use crate::size;
use crate::summary::average;
use crate::ui::Ui;

/// Time between two updates of the display.
const RENEW: Duration = Duration::from_secs(2);

/// Returns the sentence about content that the process of another command shares.
pub(crate) fn beside(pid: u32) -> String {
    format!(
        "shared by the running swarm (process {pid}); when that one ends, this command shares it, until Ctrl-C"
    )
}

/// Returns the sentence about content that a daemon shares.
pub(crate) fn by_daemon(pid: u32) -> String {
    format!("shared by the daemon of this store (process {pid})")
}

/// Shares until a signal comes, which is the normal end, or a daemon does it; then says what was given.
///
/// # Errors
/// The node ended and there is no other, or it cannot be waited for.
pub(crate) async fn until_stopped(ui: &Ui, mut conversation: Conversation<'_>, ids: Vec<String>) -> Outcome {
    if matches!(conversation.sharer(), Sharer::Daemon(_)) {
        return conversation.finish(Ok(())).await;
    }
    match share(ui, &mut conversation, ids).await {
        Ok(()) => conversation.finish(Ok(())).await,
        Err(Stop::Interrupted) => {
            match conversation.sharer() {
                Sharer::Other(pid) => ui.talk(&format!("stopping; process {pid} shares it while it runs")),
                Sharer::Own | Sharer::Daemon(_) => ui.talk("stopping"),
            }
            conversation.close(true).await
        }
        Err(stop) => conversation.finish(Err(stop)).await,
    }
}

/// Until a daemon shares it. Shows peers and traffic meanwhile: nothing is asked of the node when nobody
/// looks.
async fn share(ui: &Ui, conversation: &mut Conversation<'_>, ids: Vec<String>) -> Outcome {
    let mut watch = ui.is_watched().then(|| SeedingDisplay::new(ui));
    let mut sharer = conversation.sharer();
    if sharer != Sharer::Own {
        // This node shares all that is here; another one is told what must not be left out.
        conversation.ask(Command::Share { ids }).await;
    }
    loop {
        if let Some(watch) = &mut watch {
            watch.answered = false;
            conversation.ask(Command::Status).await;
        }
        loop {
            let renew = watch.as_ref().filter(|watch| watch.answered).map(|_| RENEW);
            let Some((_, event)) = conversation.next_within(renew).await? else { break };
            say_trouble(ui, &event);
            match event {
                Event::Status(status) => watch.iter_mut().for_each(|watch| watch.show(ui, &status)),
                Event::Sharing { .. } => {
                    ui.event(About::It, &event)?;
                    let now = conversation.sharer();
                    if std::mem::replace(&mut sharer, now) != now && has_changed(ui, now) {
                        return Ok(());
                    }
                }
                Event::Failed(failure) => {
                    let mut failed = Failed::from(failure.clone());
                    if let (Sharer::Other(pid), Fault::Busy) = (sharer, failure.fault) {
                        failed.message =
                            format!("it is shared only while process {pid} runs: {}", failed.message);
                    }
                    return Err(failed.into());
                }
                _ => {}
            }
        }
    }
}

/// Says that another process shares it now; true when that one is a daemon and there is nothing left to wait
/// for.
fn has_changed(ui: &Ui, now: Sharer) -> bool {
    ui.talk(&match now {
        Sharer::Own => "this process is the node now and shares it until Ctrl-C".to_owned(),
        Sharer::Daemon(pid) => by_daemon(pid),
        Sharer::Other(pid) => beside(pid),
    });
    matches!(now, Sharer::Daemon(_))
}

/// The display on a terminal while content is shared.
struct SeedingDisplay {
    meter: Meter,
    before: Option<u64>,
    told: Vec<String>,
    /// True if the last question to the node was answered.
    answered: bool,
}

impl SeedingDisplay {
    fn new(ui: &Ui) -> Self {
        Self { meter: ui.meter("sharing"), before: None, told: Vec::new(), answered: false }
    }

    fn show(&mut self, ui: &Ui, status: &Status) {
        let new = |notice: &&String| !self.told.contains(notice);
        status.notices.iter().filter(new).for_each(|notice| ui.warn(notice));
        self.told.clone_from(&status.notices);
        self.meter.show(&Gauge::note(traffic(status, self.before)));
        self.before = Some(status.uploaded);
        self.answered = true;
    }
}

fn traffic(status: &Status, before: Option<u64>) -> String {
    let given = before.map_or(0, |before| status.uploaded.saturating_sub(before));
    let rate = average(given, RENEW.as_millis() as u64);
    let peers = size::plural(status.peers.into(), "peer");
    format!("{peers} · sent {} · {}", size::bytes(status.uploaded), size::rate(rate))
}
