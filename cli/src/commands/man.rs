//! `swarm man`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::args;
use crate::exit::{Code, Failed, Outcome};
use crate::json::About;
use crate::size;
use crate::ui::Ui;

/// First line of each page, a comment in its language: files without it belong to somebody else.
const MARK: &[u8] = b".\\\" Written by `swarm man`, which replaces it.\n";

#[derive(Serialize)]
struct Written {
    event: &'static str,
    folder: String,
    pages: usize,
}

/// Writes the manual pages to a folder.
pub(super) fn run(ui: &Ui, folder: &Path) -> Outcome {
    std::fs::create_dir_all(folder).map_err(|error| Failed::io("create", folder, &error))?;
    let pages: Vec<(PathBuf, Vec<u8>)> =
        args::manual().into_iter().map(|(name, page)| (folder.join(name), [MARK, &page].concat())).collect();
    for (path, _) in &pages {
        match std::fs::read(path) {
            Ok(old) if !old.starts_with(MARK) => {
                let message = format!("{} exists, and `swarm man` did not write it", path.display());
                return Err(Failed::new(Code::User, message).hint("choose another folder").into());
            }
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Failed::io("read", path, &error).into());
            }
            Ok(_) | Err(_) => {}
        }
    }
    for (path, page) in &pages {
        std::fs::write(path, page).map_err(|error| Failed::io("write", path, &error))?;
    }
    if ui.is_json() {
        let folder = folder.to_string_lossy().into_owned();
        return ui.object(About::It, &Written { event: "manual", folder, pages: pages.len() });
    }
    let count = size::plural(pages.len() as u64, "manual page");
    ui.talk(&format!("wrote {count}; read the first with: man {}", folder.join("swarm.1").display()));
    Ok(())
}
