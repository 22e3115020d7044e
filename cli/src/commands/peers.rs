//! `swarm peers`.

use swarm_core::api::call::ListPeers;
use swarm_core::api::status::{BanRow, PeerRow};
use swarm_core::distance::Distance;

use crate::conversation::{Conversation, no_node};
use crate::exit::Outcome;
use crate::settings::Settings;
use crate::size;
use crate::table::Column;
use crate::ui::Ui;

/// Lists connected and banned peers.
pub(super) async fn run(ui: &Ui, settings: &Settings) -> Outcome {
    let mut conversation = Conversation::open(ui, settings.offline()).await?;
    let nobody = conversation.is_own();
    let answer = conversation.answer(ListPeers, |_| Ok(())).await;
    let list = conversation.finish(answer).await?;
    if nobody {
        ui.talk(&no_node(settings));
    }
    if ui.is_json() {
        return Ok(());
    }
    if list.peers.is_empty() && !nobody {
        ui.talk("no peers connected");
    }
    if !list.peers.is_empty() {
        show_peers(ui, &list.peers)?;
    }
    show_banned(ui, &list.banned)
}

fn show_peers(ui: &Ui, peers: &[PeerRow]) -> Outcome {
    let columns = [
        Column::Left("PEER"),
        Column::Left("NEAR"),
        Column::Right("DOWN"),
        Column::Right("UP"),
        Column::Right("RATE"),
        Column::Right("RTT"),
        Column::Flexible("ADDRESS"),
    ];
    let row = |peer: &PeerRow| {
        let rtt = peer.rtt_us.map(|us| format!("{}.{:01}ms", us / 1000, us % 1000 / 100)).unwrap_or_default();
        vec![
            peer_name(ui, &peer.peer),
            class(peer.class).to_owned(),
            size::bytes(peer.down),
            size::bytes(peer.up),
            size::rate(peer.rate),
            rtt,
            peer.addr.clone(),
        ]
    };
    ui.table(&columns, &peers.iter().map(row).collect::<Vec<_>>())
}

/// Prints banned peers, if any.
pub(super) fn show_banned(ui: &Ui, banned: &[BanRow]) -> Outcome {
    if banned.is_empty() {
        return Ok(());
    }
    let columns = [Column::Left("BANNED"), Column::Right("FOR"), Column::Flexible("REASON")];
    let row = |ban: &BanRow| vec![peer_name(ui, &ban.peer), size::seconds(ban.left), ban.reason.clone()];
    ui.table(&columns, &banned.iter().map(row).collect::<Vec<_>>())
}

const fn class(class: Distance) -> &'static str {
    match class {
        Distance::Host => "host",
        Distance::Lan => "lan",
        Distance::Site => "site",
        Distance::Wan => "wan",
    }
}

/// Peer ids start alike: a person gets the end, a program everything.
fn peer_name(ui: &Ui, peer: &str) -> String {
    match peer.len().checked_sub(8).and_then(|start| peer.get(start..)) {
        Some(end) if ui.is_terminal() => format!("..{end}"),
        _ => peer.to_owned(),
    }
}
