//! `swarm status`.

use swarm_core::api::call::GetStatus;
use swarm_core::api::status::{Limits, OfficeRow, SharedRow, Status, Transfer};
use swarm_core::options::Audience;

use super::peers::show_banned;
use crate::conversation::{Conversation, no_node};
use crate::exit::Outcome;
use crate::progress::percent;
use crate::redact::short;
use crate::settings::Settings;
use crate::size;
use crate::table::Column;
use crate::ui::Ui;

/// Rows of contents.
const SHARED: usize = 20;

/// Shows the node at a glance.
pub(super) async fn run(ui: &Ui, settings: &Settings) -> Outcome {
    let mut conversation = Conversation::open(ui, settings.offline()).await?;
    let nobody = conversation.is_own();
    let answer = conversation.answer(GetStatus, |_| Ok(())).await;
    let status = conversation.finish(answer).await?;
    if nobody {
        ui.talk(&no_node(settings));
    }
    if ui.is_json() {
        return Ok(());
    }
    for (key, value) in facts(&status, nobody) {
        ui.data(&format!("{key:<9} {value}"))?;
    }
    show_transfers(ui, &status.transfers)?;
    show_shared(ui, &status.shared, !nobody)?;
    show_banned(ui, &status.banned)?;
    status.notices.iter().for_each(|notice| ui.warn(notice));
    Ok(())
}

fn facts(status: &Status, nobody: bool) -> Vec<(&'static str, String)> {
    let mut facts = vec![("home", status.home.to_string_lossy().into_owned())];
    let blobs =
        format!("{}, {} in the store", size::plural(status.blobs, "item"), size::bytes(status.stored));
    if nobody {
        facts.push(("content", blobs));
        return facts;
    }
    facts.push(("peer", status.peer.clone()));
    facts.push((
        "process",
        format!("{}, swarm {}, up {}", status.pid, status.version, size::seconds(status.uptime)),
    ));
    facts.extend(status.listen.iter().map(|addr| ("listens", addr.clone())));
    facts.push(("reached", status.reached.clone()));
    facts.extend(status.router.clone().map(|text| ("router", text)));
    facts.push(("peers", format!("{} connected", status.peers)));
    facts.extend(status.trackers.iter().map(|t| ("tracker", format!("{}: {}", t.addr, t.state))));
    facts.extend(status.dht.clone().map(|text| ("dht", text)));
    facts.extend(status.dht_serves.iter().map(|addr| ("dht at", addr.clone())));
    facts.push(("content", blobs));
    facts.push(("serves", status.serve.to_string()));
    facts.extend(status.offices.iter().map(|office| ("office", in_office(office))));
    facts.push((
        "traffic",
        format!("{} up, {} down", size::bytes(status.uploaded), size::bytes(status.downloaded)),
    ));
    facts.extend(limits(&status.limits).map(|text| ("limits", text)));
    facts.extend(
        status.refused.iter().map(|(reason, count)| ("refused", format!("{} {reason}", size::count(*count)))),
    );
    facts
}

/// An office in one line.
fn in_office(office: &OfficeRow) -> String {
    let trouble = office.trouble.as_ref().map(|trouble| format!("; {trouble}")).unwrap_or_default();
    let connected = size::plural(office.connected.into(), "member");
    format!("{}: {} as {}, {connected} connected{trouble}", office.name, office.role.name(), office.called)
}

/// The limits in force now, and the reason for each; `None` without limits.
fn limits(limits: &Limits) -> Option<String> {
    let way = |rate: Option<u64>, name: &str| rate.map(|rate| format!("{} {name}", size::rate(rate)));
    let pair = |up, down| {
        let parts: Vec<String> = [way(up, "up"), way(down, "down")].into_iter().flatten().collect();
        if parts.is_empty() { "unlimited".to_owned() } else { parts.join(", ") }
    };
    let mut parts = Vec::new();
    if let Some(rule) = &limits.rule {
        parts.push(format!("{} (schedule: {rule})", pair(limits.up, limits.down)));
    } else if limits.up.or(limits.down).is_some() {
        parts.push(pair(limits.up, limits.down));
    }
    if limits.background {
        let measured = limits.others_up.is_some().then(|| pair(limits.others_up, limits.others_down));
        let measured = measured.map(|pair| format!(": {pair} left by others")).unwrap_or_default();
        parts.push(format!("background{measured}"));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Prints a few shared items and who may fetch them.
fn show_shared(ui: &Ui, shared: &[SharedRow], known: bool) -> Outcome {
    if shared.is_empty() {
        return Ok(());
    }
    let columns = [Column::Flexible("NAME"), Column::Left("WHO MAY FETCH"), Column::Left("ID")];
    let row = |shared: &SharedRow| {
        let id = if ui.is_terminal() { short(&shared.id).to_owned() } else { shared.id.clone() };
        vec![shared.name.clone(), who(shared, known), id]
    };
    ui.table(&columns, &shared.iter().take(SHARED).map(row).collect::<Vec<_>>())?;
    if shared.len() > SHARED {
        ui.talk("more: swarm ls");
    }
    Ok(())
}

/// The audience of an item, in a few words.
fn who(shared: &SharedRow, known: bool) -> String {
    let offices = shared.offices.join(", ");
    let of_offices = match (&shared.members, shared.serve) {
        (_, Audience::Nobody) => return shared.serve.to_string(),
        _ if offices.is_empty() => return shared.serve.to_string(),
        // Only a running node knows for whom.
        _ if !known => format!("members of {offices}"),
        (Some(members), _) if members.is_empty() => "nobody: its publisher was expelled".to_owned(),
        (Some(members), _) => format!("{} of {offices}", members.join(", ")),
        (None, Audience::Lan) => format!("members of {offices} on the local network"),
        (None, _) => format!("all members of {offices}"),
    };
    match (shared.public, shared.serve) {
        (true, Audience::Lan | Audience::Anyone) => format!("{of_offices}; {}", shared.serve),
        _ => of_offices,
    }
}

fn show_transfers(ui: &Ui, transfers: &[Transfer]) -> Outcome {
    if transfers.is_empty() {
        return Ok(());
    }
    let columns = [
        Column::Flexible("NAME"),
        Column::Left("STATE"),
        Column::Right("DONE"),
        Column::Right("SIZE"),
        Column::Right("RATE"),
        Column::Right("ETA"),
        Column::Right("PEERS"),
        Column::Left("ID"),
    ];
    let row = |transfer: &Transfer| {
        let progress = &transfer.progress;
        vec![
            transfer.name.clone(),
            transfer.state.to_string(),
            format!("{}%", percent(progress.done, progress.total)),
            size::bytes(progress.total),
            size::rate(progress.rate),
            progress.eta.map(size::seconds).unwrap_or_default(),
            progress.holders.to_string(),
            if ui.is_terminal() { short(&transfer.id).to_owned() } else { transfer.id.clone() },
        ]
    };
    ui.table(&columns, &transfers.iter().map(row).collect::<Vec<_>>())
}
