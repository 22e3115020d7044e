//! `swarm info`.

use swarm_core::api::call::Inspect;
use swarm_core::api::event::Info;
use swarm_core::content::kind::ContentKind;

use crate::conversation::ask_once;
use crate::exit::Outcome;
use crate::settings::Settings;
use crate::size;
use crate::target::item;
use crate::ui::Ui;

/// Shows all that is known of one item.
pub(super) async fn run(ui: &Ui, settings: &Settings, id: &str) -> Outcome {
    let id = item(id)?;
    let info = ask_once(ui, settings.offline(), Inspect { id }).await?;
    if ui.is_json() {
        return Ok(());
    }
    for (key, value) in facts(&info) {
        ui.data(&format!("{key:<9} {value}"))?;
    }
    if let Some(trouble) = &info.blob.trouble {
        ui.warn(&format!("{} {trouble}", info.blob.name));
    }
    Ok(())
}

fn facts(info: &Info) -> Vec<(&'static str, String)> {
    let blob = &info.blob;
    let amount = |bytes| format!("{} ({})", size::bytes(bytes), size::plural(bytes, "byte"));
    let kind = match (blob.kind, blob.files) {
        (ContentKind::Directory, Some(files)) => format!("directory of {}", size::plural(files, "file")),
        (ContentKind::Directory, None) => "directory".to_owned(),
        (ContentKind::File, _) => "file".to_owned(),
        (ContentKind::Share, Some(files)) => format!("share of {}", size::plural(files, "file")),
        (ContentKind::Share, None) => "share".to_owned(),
    };
    let chunks = format!("{} of {}", size::count(blob.chunks.into()), size::bytes(info.chunk_size));
    let mut facts = vec![
        ("id", blob.id.clone()),
        ("name", blob.name.clone()),
        ("kind", kind),
        ("size", amount(blob.len)),
        ("here", amount(blob.have)),
        ("chunks", chunks),
        ("state", blob.state.to_string()),
        ("holders", info.holders.to_string()),
        ("serve", blob.serve.unwrap_or_default().to_string()),
    ];
    facts.extend(info.networks.iter().map(|network| ("network", network.clone())));
    facts.extend(blob.path.as_ref().map(|path| ("path", path.to_string_lossy().into_owned())));
    facts.extend(info.link.clone().map(|link| ("link", link)));
    facts
}
