//! `swarm publish`.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use swarm_core::Publish;
use swarm_core::api::event::{Event, Published};
use swarm_core::content::kind::ContentKind;
use swarm_core::content::share::Hidden;
use swarm_core::options::Audience;
use tempfile::{NamedTempFile, TempPath};

use crate::args;
use crate::conversation::{Conversation, Sharer};
use crate::exit::{Code, Failed, Outcome};
use crate::password;
use crate::platform::{create_private_folder, shell_quote};
use crate::progress::Gauge;
use crate::redact::without_key;
use crate::seeding;
use crate::settings::Settings;
use crate::size;
use crate::ui::Ui;

/// How much of standard input is read at once.
const BUFFER: usize = 1 << 20;
/// How often reading it is shown.
const RENEW: Duration = Duration::from_millis(200);

/// Publishes a file, a folder or standard input, and shares it until stopped, unless a daemon does.
pub(super) async fn run(ui: &Ui, settings: &Settings, args: &args::Publish) -> Outcome {
    let path = std::path::absolute(&args.path).map_err(|error| Failed::io("publish", &args.path, &error))?;
    let from_stdin = args.path.as_os_str() == "-";
    if !from_stdin {
        path.symlink_metadata().map_err(|error| Failed::io("publish", &path, &error))?;
    }
    let wants_password = args.password || args.secret.password_file.is_some();
    let password = wants_password.then(|| password::new_password(ui, &args.secret)).transpose()?;
    let mut conversation = Conversation::open(ui, settings.for_item(settings.resident())).await?;
    let published = match from_stdin {
        true => publish_stdin(ui, &mut conversation, settings, args, password).await,
        false => publish(ui, &mut conversation, path, (settings, args), password).await,
    };
    let published = match published {
        Ok(published) => published,
        Err(stop) => return conversation.finish(Err(stop)).await,
    };
    if let Err(stop) = report(ui, &published, args, conversation.sharer()) {
        return conversation.finish(Err(stop)).await;
    }
    seeding::until_stopped(ui, conversation, vec![published.blob.id]).await
}

async fn publish_stdin(
    ui: &Ui,
    conversation: &mut Conversation<'_>,
    settings: &Settings,
    args: &args::Publish,
    password: Option<Hidden>,
) -> Outcome<Published> {
    let spooled = conversation.unless_signalled(spool(ui, &settings.home.value)).await??;
    // Removed when it goes out of scope, unless the node has taken it by then.
    publish(ui, conversation, spooled.to_path_buf(), (settings, args), password).await
}

async fn publish(
    ui: &Ui,
    conversation: &mut Conversation<'_>,
    path: PathBuf,
    (settings, args): (&Settings, &args::Publish),
    password: Option<Hidden>,
) -> Outcome<Published> {
    let take = args.path.as_os_str() == "-";
    let name = args.name.clone().or_else(|| take.then(|| "stdin".to_owned()));
    let shown = name.clone().or_else(|| path.file_name().map(|name| name.to_string_lossy().into_owned()));
    let mut meter = ui.meter(&shown.unwrap_or_default());
    let absolute =
        |path: &PathBuf| std::path::absolute(path).map_err(|error| Failed::io("write", path, &error));
    let mut publish = Publish::new(path).network(settings.network(args.public));
    (publish.name, publish.take) = (name, take);
    (publish.copy, publish.unix_names, publish.symlinks) = (args.copy, args.unix_names, args.symlinks);
    publish.hash_list = args.hash_list.as_ref().map(absolute).transpose()?;
    publish.webseeds = args.webseed.clone();
    publish.skip_homes = args.skip_homes;
    publish.serve = settings.audience_of_item();
    publish.encrypt = args.encrypt || password.is_some();
    publish.password = password;
    publish.to = args.to.clone();
    let show = |event: &Event| {
        if let Event::Hashing { done, total } = event {
            let notes = vec!["hashing".to_owned()];
            meter.show(&Gauge { done: *done, total: Some(*total), notes, ..Gauge::default() });
        }
        Ok(())
    };
    conversation.answer(publish, show).await
}

/// The id or the link on standard output, the rest beside it.
fn report(ui: &Ui, published: &Published, args: &args::Publish, sharer: Sharer) -> Outcome {
    let blob = &published.blob;
    published.warnings.iter().for_each(|warning| ui.warn(warning));
    let encrypted = blob.kind == ContentKind::Share;
    if !ui.is_json() {
        ui.data(if args.link || encrypted { &published.link } else { &blob.id })?;
    }
    let parts = match (blob.kind, blob.files) {
        (ContentKind::Directory | ContentKind::Share, Some(files)) => size::plural(files, "file"),
        _ => size::plural(blob.chunks.into(), "chunk"),
    };
    let size = size::bytes(blob.len);
    ui.talk(&format!("published {}  {size}  {parts}  in {}", blob.name, size::millis(published.took_ms)));
    if encrypted {
        // The key is on standard output alone: this may go into a log.
        let locked = published.link.contains("#locked=");
        let who = if locked { "that link and the password" } else { "that link" };
        ui.talk(&format!("anyone with {who} can read it: swarm get 'LINK'"));
        ui.talk("to hold it on a machine that cannot read it:");
        ui.talk(&format!("  swarm hold --blind {}", shell_quote(without_key(&published.link))));
    } else {
        ui.talk("fetch it on another machine with:");
        ui.talk(&format!("  swarm get {}", shell_quote(&published.link)));
    }
    if !args.to.is_empty() {
        ui.talk(&format!("in the office, only {} may fetch it", args.to.join(", ")));
    } else if let Some(who) = blob.serve {
        let more = if who == Audience::Lan { "; --serve anyone for others" } else { "" };
        ui.talk(&format!("{}{more}", who.in_words()));
    }
    ui.talk(&match (sharer, &blob.path) {
        (Sharer::Own, Some(path)) => {
            format!("sharing {} (in place; do not change it) until Ctrl-C", path.display())
        }
        (Sharer::Own, None) => "sharing it until Ctrl-C".to_owned(),
        (Sharer::Daemon(pid), _) => seeding::by_daemon(pid),
        (Sharer::Other(pid), _) => seeding::beside(pid),
    });
    Ok(())
}

/// Writes standard input to a file that only we can read, in the store's own folder.
async fn spool(ui: &Ui, home: &Path) -> Result<TempPath, Failed> {
    let folder = home.join("incoming");
    create_private_folder(&folder).map_err(|error| disk("create", &folder, &error))?;
    let file = tempfile::Builder::new().prefix("stdin-").tempfile_in(&folder);
    let file = file.map_err(|error| disk("create a file in", &folder, &error))?;
    // So that nobody who cleans up takes it for a leftover.
    let _ = file.as_file().lock_shared();
    if io::stdin().is_terminal() {
        ui.talk("reading standard input; end it with Ctrl-D");
    }
    let read = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&read);
    let mut copying = tokio::task::spawn_blocking(move || copy_stdin(file, &counter));
    let mut meter = ui.meter("standard input");
    let mut renew = tokio::time::interval(RENEW);
    loop {
        tokio::select! {
            copied = &mut copying => {
                return copied.map_err(|error| Failed::new(Code::Disk, format!("cannot read standard input: {error}")))?;
            }
            _ = renew.tick() => meter.show(&Gauge::note(size::bytes(read.load(Ordering::Relaxed)))),
        }
    }
}

fn copy_stdin(mut file: NamedTempFile, read: &AtomicU64) -> Result<TempPath, Failed> {
    let mut stdin = io::stdin().lock();
    let mut buffer = vec![0; BUFFER];
    loop {
        let got = match stdin.read(&mut buffer) {
            Ok(0) => return Ok(file.into_temp_path()),
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(Failed::new(Code::User, format!("cannot read standard input: {error}")));
            }
        };
        file.write_all(&buffer[..got]).map_err(|error| disk("write", file.path(), &error))?;
        read.fetch_add(got as u64, Ordering::Relaxed);
    }
}

fn disk(verb: &str, path: &Path, error: &io::Error) -> Failed {
    Failed { code: Code::Disk, ..Failed::io(verb, path, error) }
}
