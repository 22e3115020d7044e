//! `swarm daemon`.

use std::time::Duration;

use swarm_core::api::call::GetStatus;
use swarm_core::api::call::office::JoinOffice;
use swarm_core::api::status::Status;
use swarm_core::content::link::bare;
use swarm_core::office::invite::{BadInvite, Invite};
use swarm_tracker::server::Server;

use super::office;
use crate::args;
use crate::conversation::Conversation;
use crate::exit::{Code, Failed, Outcome, Stop, not_started};
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
    let offices = status.offices.iter().flat_map(|office| &office.listen);
    ui.talk(&listens(&status.listen, offices.count()));
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

/// Returns the address of a node that others most likely reach, and how many it has besides. `offices` is the
/// number of those in offices.
fn listens(addresses: &[String], offices: usize) -> String {
    let rank = |addr: &&String| {
        let ours = ["/ip4/127.", "/ip6/::1/"].iter().any(|start| addr.starts_with(start));
        let one_link =
            ["/ip4/169.254.", "/ip6/fe80:", "/ip6zone/"].iter().any(|start| addr.starts_with(start));
        let bridge = ["/ip4/172.17.", "/ip4/172.18."].iter().any(|start| addr.starts_with(start));
        (ours, one_link, bridge, !addr.starts_with("/ip4/"), !addr.contains("/tcp/"))
    };
    let Some(best) = addresses.iter().min_by_key(rank) else {
        return "  no address yet: swarm status lists them".to_owned();
    };
    match addresses.len() + offices - 1 {
        0 => format!("  listens on {best}"),
        1 => format!("  listens on {best} and 1 more address: swarm status"),
        more => format!("  listens on {best} and {more} more addresses: swarm status"),
    }
}

/// Joins an office before anything else is done there. The registrar may not run yet.
async fn join(
    ui: &Ui,
    conversation: &mut Conversation<'_>,
    text: &str,
    (node, status): (Option<String>, &Status),
) -> Outcome {
    if bare(text).starts_with("swarm-join:")
        && std::env::var_os("SWARM_JOIN").is_none_or(|code| code.is_empty())
    {
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
        let call = JoinOffice { code: code.clone(), node: node.clone() };
        match conversation.answer(call, |_| Ok(())).await {
            Ok(joined) => {
                office::say_joined(ui, &joined);
                return Ok(());
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_is_shown_and_the_rest_counted() {
        let all = [
            "/ip4/127.0.0.1/udp/9/quic-v1",
            "/ip4/127.0.0.1/tcp/9",
            "/ip6/fe80::1/tcp/9",
            "/ip4/172.17.0.1/tcp/9",
            "/ip4/192.168.1.20/udp/9/quic-v1",
            "/ip4/192.168.1.20/tcp/9",
        ]
        .map(str::to_owned);
        assert_eq!(
            listens(&all, 2),
            "  listens on /ip4/192.168.1.20/tcp/9 and 7 more addresses: swarm status"
        );
        assert_eq!(
            listens(&all[..2], 0),
            "  listens on /ip4/127.0.0.1/tcp/9 and 1 more address: swarm status"
        );
        assert_eq!(listens(&all[1..2], 0), "  listens on /ip4/127.0.0.1/tcp/9");
        assert!(listens(&[], 0).contains("swarm status"));
    }
}
