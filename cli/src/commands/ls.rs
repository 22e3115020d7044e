//! `swarm ls`.

use swarm_core::api::command::Command;
use swarm_core::api::event::{BlobRow, BlobState, EntryRow, EntryType, Event};
use swarm_core::content::kind::ContentKind;

use crate::conversation::ask_once_with;
use crate::exit::{Outcome, unexpected};
use crate::progress::percent;
use crate::redact::short;
use crate::settings::Settings;
use crate::size;
use crate::table::Column;
use crate::target::item;
use crate::ui::Ui;

/// Lists the store, or the entries of a directory.
pub(super) async fn run(ui: &Ui, settings: &Settings, id: Option<&str>) -> Outcome {
    let id = id.map(item).transpose()?;
    let mut headed = false;
    let print_entries = |event: &Event| match event {
        Event::Entries { entries } if !ui.is_json() => {
            let header = (!std::mem::replace(&mut headed, true)).then(|| entry_line("SIZE", "KIND", "PATH"));
            header.into_iter().chain(entries.iter().map(entry)).try_for_each(|line| ui.data(&line))
        }
        _ => Ok(()),
    };
    match ask_once_with(ui, settings.offline(), Command::Ls { id }, print_entries).await? {
        _ if ui.is_json() => Ok(()),
        Event::Blobs { blobs } => show_blobs(ui, &blobs),
        Event::EntriesEnd { count, len } => {
            let count =
                if count == 1 { "1 entry".to_owned() } else { format!("{} entries", size::count(count)) };
            ui.talk(&format!("{count}, {}", size::bytes(len)));
            Ok(())
        }
        _ => Err(unexpected()),
    }
}

/// Entries come in parts, so the widths of the columns are fixed.
fn entry_line(size: &str, kind: &str, path: &str) -> String {
    format!("{size:>9}  {kind:<10}  {path}")
}

fn entry(entry: &EntryRow) -> String {
    let size = if entry.kind.is_file() { size::bytes(entry.len) } else { String::new() };
    let path = match (&entry.detail, entry.kind) {
        (Some(target), EntryType::Symlink) => format!("{} -> {target}", entry.path),
        _ => entry.path.clone(),
    };
    entry_line(&size, entry.kind.name(), &path)
}

fn show_blobs(ui: &Ui, blobs: &[BlobRow]) -> Outcome {
    if blobs.is_empty() {
        ui.talk("the store is empty; share a file with: swarm publish PATH");
        return Ok(());
    }
    let columns = [
        Column::Flexible("NAME"),
        Column::Right("SIZE"),
        Column::Left("KIND"),
        Column::Left("STATE"),
        Column::Left("SERVE"),
        Column::Left("ID"),
    ];
    let rows: Vec<_> = blobs.iter().map(|blob| row(ui, blob)).collect();
    ui.table(&columns, &rows)?;
    let troubles = blobs.iter().filter_map(|blob| Some(format!("{} {}", blob.name, blob.trouble.as_ref()?)));
    troubles.for_each(|trouble| ui.warn(&trouble));
    Ok(())
}

fn row(ui: &Ui, blob: &BlobRow) -> Vec<String> {
    let kind = match blob.kind {
        ContentKind::File => "file",
        ContentKind::Directory => "dir",
        ContentKind::Share => "share",
    };
    let state = match blob.state {
        state @ (BlobState::Complete | BlobState::SourceChanged | BlobState::SourceMissing) => {
            state.to_string()
        }
        state => format!("{state} {}%", percent(blob.have, blob.len)),
    };
    let serve = blob.serve.map(|who| who.to_string()).unwrap_or_default();
    // A person can see and type the first digits, a program gets them all.
    let id = if ui.is_terminal() { short(&blob.id) } else { &blob.id };
    vec![blob.name.clone(), size::bytes(blob.len), kind.to_owned(), state, serve, id.to_owned()]
}
