//! Layers of settings: defaults < system file < user file < environment < flag.
//!
//! The keys of a file are the names of the global flags: `limit-up = "5MB/s"`, `peer = ["/ip4/.."]`, `no-mdns
//! = true`.

use std::path::{Path, PathBuf};

use swarm_core::content::path::escape;
use swarm_core::limits::SITE_BYTES;

use crate::address;
use crate::exit::{Code, Failed};
use crate::platform;
use crate::settings::{Layer, Origin, Settings, variable};

/// Lays the files, the environment and the flags over the defaults.
///
/// # Errors
/// A file that cannot be read or has an unknown key or a bad value; no home to be found.
pub(crate) fn load(environment: Layer, flags: Layer) -> Result<Settings, Failed> {
    let files = std::iter::once(platform::system_configuration()).chain(platform::user_configuration());
    let mut settings = stack(platform::default_home(), files, environment, flags)?;
    let home = &settings.home.value;
    if home.as_os_str().is_empty() {
        let failed = Failed::new(Code::User, "cannot find your data folder: HOME is not set");
        return Err(failed.hint("choose a folder for the store with --home DIR or SWARM_HOME"));
    }
    settings.home.value = std::path::absolute(home).map_err(|error| Failed::io("find", home, &error))?;
    Ok(settings)
}

fn stack(
    default_home: Option<PathBuf>,
    files: impl Iterator<Item = PathBuf>,
    environment: Layer,
    flags: Layer,
) -> Result<Settings, Failed> {
    let mut settings = Settings::defaults();
    settings.put(Layer { home: default_home, ..Layer::default() }, &Origin::Default);
    for path in files {
        if let Some(layer) = read_file(&path)? {
            settings.put(layer, &Origin::File(path));
        }
    }
    let named = |origin: &Origin, key: &str, why: &str| match origin {
        Origin::Environment => {
            Failed::new(Code::User, format!("environment variable {}: {why}", variable(key)))
        }
        _ => Failed::new(Code::User, format!("--{key} {why}")),
    };
    for (layer, origin) in [(environment, Origin::Environment), (flags, Origin::Flag)] {
        let layer = checked(layer, |key, _, why| named(&origin, key, why))?;
        settings.put(layer, &origin);
    }
    Ok(settings)
}

/// Writes the addresses of a layer out, and checks what the node would refuse. `failed` makes the failure for
/// a key, the bad value and the reason.
fn checked(mut layer: Layer, failed: impl Fn(&str, &str, &str) -> Failed) -> Result<Layer, Failed> {
    for (key, list) in layer.addresses() {
        let Some(list) = list else { continue };
        let mut all = Vec::new();
        for text in &*list {
            let addresses = address::read(key, text).map_err(|why| failed(key, text, &why))?;
            all.extend(addresses.into_iter().filter(|addr| !all.contains(addr)).collect::<Vec<_>>());
        }
        *list = all;
    }
    let site = layer.site.as_deref().unwrap_or_default();
    if site.len() > SITE_BYTES || site.chars().any(char::is_control) {
        let why =
            format!("`{}` is not a name of 1 to {SITE_BYTES} bytes without control characters", escape(site));
        return Err(failed("site", site, &why));
    }
    Ok(layer)
}

/// The settings of a file; `None` when there is no such file.
///
/// # Errors
/// It cannot be read, or holds something that is not a setting: the message names file and key.
fn read_file(path: &Path) -> Result<Option<Layer>, Failed> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failed { code: Code::User, ..Failed::io("read", path, &error) }),
    };
    let text = text.trim_start_matches('\u{feff}');
    let mut layer: Layer = toml::from_str(text).map_err(|error| bad_file(path, text, &error))?;
    layer.home = layer.home.map(|home| resolve(path, &home));
    checked(layer, |key, value, why| {
        let at = text.find(value).map_or(1, |at| text[..at].matches('\n').count() + 1);
        let path = path.display();
        Failed::new(Code::User, format!("configuration file {path}, line {at}, key `{key}`: {why}"))
            .hint(format!("edit {path}"))
    })
    .map(Some)
}

/// Names the file, the line and the key.
fn bad_file(path: &Path, text: &str, error: &toml::de::Error) -> Failed {
    let start = error.span().map_or(0, |span| span.start).min(text.len());
    let (before, after) = text.split_at_checked(start).unwrap_or((text, ""));
    let line = before.matches('\n').count() + 1;
    let line_text =
        before.rsplit('\n').next().unwrap_or_default().to_owned() + after.lines().next().unwrap_or_default();
    let key = line_text.split_once('=').map(|(key, _)| format!(", key `{}`", key.trim())).unwrap_or_default();
    let why = error.message().replace('\n', ", ");
    let path = path.display();
    Failed::new(Code::User, format!("configuration file {path}, line {line}{key}: {why}"))
        .hint(format!("edit {path}"))
}

/// In a file, `~/` is the user's folder, and another relative path starts where the file is.
fn resolve(file: &Path, path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), etcetera::home_dir()) {
        (Ok(rest), Ok(home)) => home.join(rest),
        _ => file.parent().unwrap_or(Path::new("/")).join(path),
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
