//! `swarm verify`.

use swarm_core::Verify;
use swarm_core::api::event::{Event, Verified};

use crate::args;
use crate::conversation::ask_once_with;
use crate::exit::{Code, Failed, Outcome};
use crate::progress::Gauge;
use crate::settings::Settings;
use crate::size;
use crate::summary;
use crate::table::Column;
use crate::target::item;
use crate::ui::Ui;

/// Reads everything again; bad items go to standard output.
pub(super) async fn run(ui: &Ui, settings: &Settings, args: &args::Verify) -> Outcome {
    let id = args.id.as_deref().map(item).transpose()?;
    // Only repairing needs others.
    let options = if args.repair { settings.options() } else { settings.offline() };
    let mut meter = ui.meter("verify");
    let show = |event: &Event| {
        match event {
            Event::Hashing { done, total } => {
                meter.show(&Gauge { done: *done, total: Some(*total), ..Gauge::default() });
            }
            Event::Progress(progress) => meter.show(&summary::gauge(progress)),
            _ => {}
        }
        Ok(())
    };
    let all = id.map_or_else(Verify::all, Verify::one);
    let verify = if args.repair { all.repair() } else { all };
    let verified = ask_once_with(ui, options, verify, show).await?;
    drop(meter);
    report(ui, &verified, args.repair)
}

fn report(ui: &Ui, verified: &Verified, repair: bool) -> Outcome {
    let bad: u64 = verified.bad.iter().map(|(_, chunks)| chunks).sum();
    if !ui.is_json() && !verified.bad.is_empty() {
        let columns = [Column::Left("ID"), Column::Right("BAD CHUNKS")];
        let rows: Vec<_> =
            verified.bad.iter().map(|(id, chunks)| vec![id.clone(), size::count(*chunks)]).collect();
        ui.table(&columns, &rows)?;
    }
    let read =
        format!("{}, {}", size::plural(verified.blobs, "item"), size::plural(verified.chunks, "chunk"));
    let left = bad.saturating_sub(verified.repaired);
    match (bad, left) {
        (0, _) => ui.talk(&format!("verified {read}: all good")),
        (_, 0) => ui.talk(&format!("verified {read}: {bad} damaged, all fetched again")),
        _ => {
            let message = format!("verified {read}: {} damaged, {} fetched again", bad, verified.repaired);
            let hint = if repair {
                "run swarm verify --repair again when a source is online"
            } else {
                "swarm verify --repair"
            };
            return Err(Failed::new(Code::Verification, message).hint(hint).into());
        }
    }
    Ok(())
}
