//! `swarm daemon`.

use std::time::Duration;

use swarm_core::api::call::GetStatus;
use swarm_core::api::command::{self, Command};
use swarm_core::api::event::Event;
use swarm_core::api::status::Status;
use swarm_core::office::invite::{BadInvite, Invite};
use swarm_tracker::server::Server;

use super::office;
use crate::args;
use crate::conversation::Conversation;
use crate::exit::{Code, Failed, Outcome, Stop, not_started, unexpected};
use crate::settings::Settings;
use crate::size;
use crate::ui::Ui;

/// Time until a failed attempt to join is repeated.
const JOIN_AGAIN: Duration = Duration::from_secs(5);

/// Runs a node until a signal comes, and a tracker beside it if that is wanted.
pub(super) async fn run(ui: &Ui, settings: &Settings, args: &args::Daemon) -> Outcome {
    let mut options = settings.resident();
    options.daemon = true;
    options.relay_server = args.relay_server;
    options.dht_server = args.dht_server;
    let mut tracker = None;
    if args.tracker_server {
        let server = swarm_tracker::server::Options::new(options.home.join("tracker"));
        let server = Server::start(&server).await.map_err(|error| not_started(&error))?;
        // The way by which others see this machine is the one by which it announces itself.
        options.trackers.extend(server.addresses().into_iter().next());
        tracker = Some(server);
    }
    let mut conversation = Conversation::open(ui, options).await?;
    let status = match conversation.answer(GetStatus, |_| Ok(())).await {
        Ok(status) => status,
        Err(stop) => return conversation.finish(Err(stop)).await,
    };
    if !conversation.is_own() {
        return Err(runs_already(&status).into());
    }
    ui.talk(&format!("node {} runs for {} until Ctrl-C", status.peer, status.home.display()));
    status.listen.iter().for_each(|addr| ui.talk(&format!("  listens on {addr}")));
    for office in &status.offices {
        office.listen.iter().for_each(|addr| ui.talk(&format!("  {}: listens on {addr}", office.name)));
    }
    for addr in tracker.iter().flat_map(Server::addresses) {
        ui.talk(&format!("  tracker at {addr}"));
    }
    status.dht_serves.iter().for_each(|addr| ui.talk(&format!("  server of the DHT at {addr}")));
    status.notices.iter().for_each(|notice| ui.warn(notice));
    if let Some(text) = &args.join
        && let Err(stop) = join(ui, &mut conversation, text, (args.node.clone(), &status)).await
    {
        return conversation.finish(Err(stop)).await;
    }
    conversation.until_signalled().await;
    ui.talk("stopping");
    conversation.close(true).await
}

/// Joins an office before anything else is done there. The registrar may not run yet.
async fn join(
    ui: &Ui,
    conversation: &mut Conversation<'_>,
    text: &str,
    (node, status): (Option<String>, &Status),
) -> Outcome {
    if text.starts_with("swarm-join:") && std::env::var_os("SWARM_JOIN").is_none() {
        ui.warn("arguments are visible to other users of this machine: put the invitation into a file");
    }
    let code = office::code(text)?;
    let invite: Invite = code
        .expose()
        .parse()
        .map_err(|error: BadInvite| Failed::new(Code::User, format!("cannot join: {error}")))?;
    let id = invite.office.to_string();
    if status.offices.iter().any(|office| office.id == id && office.trouble.is_none()) {
        return Ok(());
    }
    let mut said = false;
    loop {
        let command =
            Command::Office(command::OfficeCommand::Join { code: code.clone(), node: node.clone() });
        match conversation.answer(command, |_| Ok(())).await {
            Ok(Event::Offices { offices }) => {
                offices.iter().for_each(|joined| office::say_joined(ui, joined));
                return Ok(());
            }
            Ok(_) => return Err(unexpected()),
            Err(Stop::Failed(failed)) if failed.code == Code::NotFound => {
                if !std::mem::replace(&mut said, true) {
                    ui.warn(&format!("{}: trying again", failed.message));
                }
                conversation.unless_signalled(tokio::time::sleep(JOIN_AGAIN)).await?;
            }
            Err(stop) => return Err(stop),
        }
    }
}

fn runs_already(status: &Status) -> Failed {
    let message = format!(
        "a node is already running for {}: process {}, up {}",
        status.home.display(),
        status.pid,
        size::seconds(status.uptime)
    );
    Failed::new(Code::User, message).hint("swarm status")
}
