//! `swarm daemon`.

use swarm_core::node::command::Command;
use swarm_core::node::event::{Event, Status};

use super::unexpected;
use crate::config::Settings;
use crate::conversation::Conversation;
use crate::exit::{Code, Failed, Outcome};
use crate::ui::Ui;

/// Runs a node until a signal comes.
pub(super) async fn run(ui: &Ui, settings: &Settings) -> Outcome {
    let mut conversation = Conversation::open(ui, settings.options()).await?;
    let answer = conversation.answer(Command::Status, |_| Ok(())).await;
    let status = match answer {
        Ok(Event::Status(status)) => status,
        Ok(_) => return conversation.finish(Err(unexpected())).await,
        Err(stop) => return conversation.finish(Err(stop)).await,
    };
    if !conversation.is_own() {
        return Err(runs_already(&status).into());
    }
    ui.talk(&format!("node {} runs for {} until Ctrl-C", status.peer, status.home.display()));
    status.listen.iter().for_each(|addr| ui.talk(&format!("  listens on {addr}")));
    status.notices.iter().for_each(|notice| ui.warn(notice));
    conversation.until_signalled().await;
    ui.talk("stopping");
    conversation.close(true).await
}

fn runs_already(status: &Status) -> Failed {
    let message = format!(
        "a node runs for {} already: process {}, up {}s",
        status.home.display(),
        status.pid,
        status.uptime
    );
    Failed::new(Code::User, message).hint("swarm status")
}
