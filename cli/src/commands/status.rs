//! `swarm status`.

use swarm_core::api::call::GetStatus;
use swarm_core::api::status::{DetachedRow, Limits, OfficeRow, SharedRow, Status, Transfer};
use swarm_core::options::Audience;

use super::peers::show_banned;
use crate::conversation::{Conversation, no_node};
use crate::exit::Outcome;
use crate::progress::percent;
use crate::redact::short;
use crate::settings::Settings;
use crate::size;
use crate::summary::is_stalled;
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
    show_detached(ui, &status)?;
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
    facts.push(("serves", serves(status)));
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

/// The audience of items without their own, in each network that the node is in.
fn serves(status: &Status) -> String {
    let Some(inside) = status.serve_office.filter(|_| !status.offices.is_empty()) else {
        return status.serve.to_string();
    };
    let names = status.offices.iter().map(|office| office.name.as_str()).collect::<Vec<_>>().join(", ");
    let inside = match inside {
        Audience::Nobody => "nobody".to_owned(),
        Audience::Lan => format!("members of {names} on the local network"),
        Audience::Office | Audience::Anyone => format!("all members of {names}"),
    };
    format!("{inside}; outside of the office: {}", status.serve)
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
            match is_stalled(progress) {
                true => "stalled".to_owned(),
                false => progress.eta.map(size::seconds).unwrap_or_default(),
            },
            progress.holders.to_string(),
            if ui.is_terminal() { short(&transfer.id).to_owned() } else { transfer.id.clone() },
        ]
    };
    ui.table(&columns, &transfers.iter().map(row).collect::<Vec<_>>())
}

/// Prints the downloads that the daemon goes on with, and why attempts failed.
fn show_detached(ui: &Ui, status: &Status) -> Outcome {
    if status.detached.is_empty() {
        return Ok(());
    }
    let columns = [
        Column::Flexible("DETACHED"),
        Column::Left("STATE"),
        Column::Right("DONE"),
        Column::Left("TO"),
        Column::Left("ID"),
    ];
    let row = |detached: &DetachedRow| {
        vec![
            detached.name.clone(),
            detached.state.to_string(),
            detached.total.map(|total| format!("{}%", percent(detached.done, total))).unwrap_or_default(),
            detached.to.as_ref().map_or_else(|| "store".to_owned(), |to| to.to_string_lossy().into_owned()),
            if ui.is_terminal() { short(&detached.id).to_owned() } else { detached.id.clone() },
        ]
    };
    ui.table(&columns, &status.detached.iter().map(row).collect::<Vec<_>>())?;
    let listed = status.detached.len() as u64;
    if status.detached_count > listed {
        ui.talk(&format!("{} more downloads are detached", size::count(status.detached_count - listed)));
    }
    for detached in &status.detached {
        if let Some(trouble) = &detached.trouble {
            let name = if detached.name.is_empty() { short(&detached.id) } else { &detached.name };
            ui.warn(&format!("{name}: {trouble}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(fields: &serde_json::Value) -> Status {
        let office = serde_json::json!({"id": "ab", "name": "Northwind", "node": "", "peer": "", "called": "desk",
            "role": "member", "expires": 0, "root": false, "listen": [], "connected": 0, "members": 1, "epoch": 0});
        let mut all = serde_json::json!({"running": true, "peer": "", "pid": 1, "version": "", "home": "/x",
            "uptime": 1, "listen": [], "peers": 0, "reached": "", "router": null, "trackers": [], "dht": null,
            "dht_serves": [], "serve": "nobody", "offices": [office], "blobs": 0, "stored": 0, "uploaded": 0,
            "downloaded": 0, "transfers": [], "shared": [], "refused": [], "banned": [], "banned_by": [],
            "notices": [], "limits": Limits::default()});
        for (key, value) in fields.as_object().expect("fields") {
            all[key] = value.clone();
        }
        serde_json::from_value(all).expect("the fields of a status")
    }

    #[test]
    fn one_line_says_whom_a_node_serves_inside_and_outside_of_an_office() {
        for (fields, want) in [
            (serde_json::json!({"offices": [], "serve": "lan"}), "lan"),
            (
                serde_json::json!({"serve_office": "office"}),
                "all members of Northwind; outside of the office: nobody",
            ),
            (
                serde_json::json!({"serve_office": "lan", "serve": "lan"}),
                "members of Northwind on the local network; outside of the office: lan",
            ),
            (serde_json::json!({"serve_office": "nobody"}), "nobody; outside of the office: nobody"),
        ] {
            assert_eq!(serves(&status(&fields)), want);
        }
    }
}
