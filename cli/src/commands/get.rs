//! `swarm get`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use swarm_core::api::event::{Done, Event};
use swarm_core::content::share::Hidden;
use swarm_core::{Destination, Get};

use crate::args;
use crate::conversation::{Conversation, Sharer, say_trouble};
use crate::deadline::Deadline;
use crate::exit::{Code, Failed, Outcome, Stop, unexpected};
use crate::json::About;
use crate::progress::{Gauge, Meter};
use crate::seeding;
use crate::settings::Settings;
use crate::size;
use crate::summary;
use crate::target::{self, Asked};
use crate::ui::Ui;

/// Fetches one or several things at once; with `--seed`, goes on sharing until stopped unless a daemon does.
pub(super) async fn run(ui: &Ui, settings: &Settings, args: &args::Get, deadline: Deadline) -> Outcome {
    let watch = deadline.enforce(ui);
    let output = output(args)?;
    let texts = target::given(&args.targets)?;
    let targets = asked(ui, args, &texts, &output)?;
    let options = settings.for_item(if args.seed { settings.resident() } else { settings.options() });
    let mut conversation = Conversation::open_within(ui, options, deadline).await?;
    let mut fetches = BTreeMap::new();
    for asked in &targets {
        let number = conversation.ask(request(settings, args, asked, output.clone())).await;
        fetches.insert(number, Fetch::new(ui, asked, targets.len() > 1).to(&output));
    }
    let ids = match fetch_all(&mut conversation, fetches).await {
        Ok(ids) => ids,
        Err(stop) => return conversation.finish(Err(stop)).await,
    };
    drop(watch);
    if args.seed {
        return share(ui, conversation, ids).await;
    }
    conversation.finish(Ok(())).await
}

/// Reads what is to be fetched; several things need a folder.
pub(super) fn asked(
    ui: &Ui,
    args: &args::Get,
    texts: &[Hidden],
    output: &Destination,
) -> Result<Vec<Asked>, Failed> {
    match output {
        Destination::Path(path) if texts.len() > 1 => Err(not_a_folder(path)),
        _ => texts.iter().map(|text| Asked::read(ui, text, &args.secret)).collect(),
    }
}

/// After `get --seed`: goes on until stopped, unless a daemon does so anyway.
pub(super) async fn share(ui: &Ui, conversation: Conversation<'_>, ids: Vec<String>) -> Outcome {
    ui.talk(&match conversation.sharer() {
        Sharer::Own => "sharing until Ctrl-C".to_owned(),
        Sharer::Daemon(pid) => seeding::by_daemon(pid),
        Sharer::Other(pid) => seeding::beside(pid),
    });
    seeding::until_stopped(ui, conversation, ids).await
}

/// The request for one target.
pub(super) fn request(settings: &Settings, args: &args::Get, asked: &Asked, output: Destination) -> Get {
    let mut get = fetch(settings, asked, args.timeout, args.public).destination(output);
    (get.overwrite, get.delete, get.exact) = (args.overwrite, args.delete, args.exact);
    (get.include, get.exclude) = (args.include.clone(), args.exclude.clone());
    get
}

/// The request for one target, into the store.
pub(super) fn fetch(settings: &Settings, asked: &Asked, timeout: Option<Duration>, public: bool) -> Get {
    let mut get = Get::new(asked.target.clone()).network(settings.network(public));
    get.serve = settings.audience_of_item();
    match timeout {
        Some(timeout) => get.timeout(timeout),
        None => get,
    }
}

/// The place where a command line wants what it fetches.
pub(super) fn output(args: &args::Get) -> Result<Destination, Failed> {
    let find = |path: &Path| std::path::absolute(path).map_err(|error| Failed::io("find", path, &error));
    let Some(path) = &args.output else {
        let here = std::env::current_dir();
        return here.map(Destination::Into).map_err(|error| Failed::io("find", Path::new("."), &error));
    };
    let last = path.as_os_str().as_encoded_bytes().last();
    let ends_as_folder = last.is_some_and(|&byte| std::path::is_separator(byte.into()));
    let path = find(path)?;
    if args.exact && args.targets.len() == 1 {
        return Ok(Destination::Path(path));
    }
    if ends_as_folder && !path.exists() {
        std::fs::create_dir_all(&path).map_err(|error| Failed::io("create", &path, &error))?;
    }
    match path.is_dir() {
        // Of one thing, the node knows whether that folder is an earlier version of it.
        true if args.targets.len() == 1 && !ends_as_folder => Ok(Destination::Path(path)),
        true => Ok(Destination::Into(path)),
        false if args.targets.len() == 1 && !ends_as_folder => Ok(Destination::Path(path)),
        false => Err(not_a_folder(&path)),
    }
}

fn not_a_folder(path: &Path) -> Failed {
    let folder: PathBuf = path.join("");
    let message = format!("{} is not a folder, and several items need one", path.display());
    Failed::new(Code::User, message).hint(format!("-o {}", folder.display()))
}

/// Follows the commands of these numbers to their ends; returns the ids of what has come.
pub(super) async fn fetch_all(
    conversation: &mut Conversation<'_>,
    mut fetches: BTreeMap<usize, Fetch<'_>>,
) -> Outcome<Vec<String>> {
    let mut left = fetches.len();
    let mut ids = Vec::new();
    let mut failed = None;
    while left > 0 {
        let (number, event) = conversation.next().await?;
        let last = event.is_final();
        if let Event::Done(done) = &event {
            ids.push(done.id.clone());
        }
        let Some(fetch) = fetches.get_mut(&number) else { continue };
        match fetch.see(event) {
            Err(Stop::Said(code)) => failed = failed.or(Some(code)),
            other => other?,
        }
        left -= usize::from(last);
    }
    failed.map_or(Ok(ids), |code| Err(Stop::Said(code)))
}

/// One of the things that are fetched.
pub(super) struct Fetch<'a> {
    ui: &'a Ui,
    target: &'a str,
    name: String,
    /// There are others: failures are said at once and lines have names.
    one_of_several: bool,
    /// The place it goes to, unless that is the store.
    to: Option<PathBuf>,
    /// Until it is done.
    meter: Option<Meter>,
    search: Search<'a>,
}

impl<'a> Fetch<'a> {
    pub(super) fn new(ui: &'a Ui, asked: &'a Asked, one_of_several: bool) -> Self {
        let name = asked.name.clone();
        let meter = Some(ui.meter(&name));
        Self { ui, target: &asked.shown, name, one_of_several, to: None, meter, search: Search::new(ui) }
    }

    /// Tells where it goes to, for the words on a failure.
    fn to(self, output: &Destination) -> Self {
        match output {
            Destination::Path(path) | Destination::Into(path) => Self { to: Some(path.clone()), ..self },
            _ => self,
        }
    }

    fn see(&mut self, event: Event) -> Outcome {
        let about = About::Target(self.target);
        if !matches!(event, Event::Failed(_)) {
            self.ui.event(about, &event)?;
        }
        say_trouble(self.ui, &event);
        match event {
            Event::Searching { waited_ms, tried } => {
                let gauge = self.search.see(&self.name, waited_ms, tried);
                self.show(&gauge);
            }
            Event::Found(blob) => {
                self.name = blob.name;
                if let Some(meter) = &mut self.meter {
                    meter.rename(&self.name);
                }
            }
            Event::Progress(progress) => self.show(&summary::gauge(&progress)),
            Event::Done(done) => return self.done(&done),
            Event::Failed(failure) => return self.failed(failure.into()),
            event if event.is_final() => return Err(unexpected()),
            _ => {}
        }
        Ok(())
    }

    fn show(&mut self, gauge: &Gauge) {
        if let Some(meter) = &mut self.meter {
            meter.show(gauge);
        }
    }

    fn done(&mut self, done: &Done) -> Outcome {
        self.meter = None;
        let line = summary::done_line(done);
        self.ui.talk(&if self.one_of_several { format!("{}: {line}", self.name) } else { line });
        if self.ui.is_json() { Ok(()) } else { self.ui.path(&done.path) }
    }

    fn failed(&mut self, mut failed: Failed) -> Outcome {
        self.meter = None;
        let is_of_files = failed.code == Code::Disk || failed.message.starts_with("cannot ");
        if let Some(why) = self.to.as_deref().filter(|_| is_of_files).and_then(not_writable) {
            failed.message = why;
            failed.hint = Some("choose another place with -o PATH".to_owned());
        }
        if self.one_of_several && !self.ui.is_json() {
            failed.message = format!("{}: {}", self.name, failed.message);
        }
        self.ui.failed(About::Target(self.target), &failed);
        Err(Stop::Said(failed.code))
    }
}

/// Returns a sentence on the folder of a destination, if no file can be made in it: the step at which that
/// was noticed says nothing to a person.
pub(super) fn not_writable(output: &Path) -> Option<String> {
    let folder = output.ancestors().find(|folder| folder.is_dir())?;
    let error = tempfile::tempfile_in(folder).err()?;
    let why = match error.kind() {
        io::ErrorKind::PermissionDenied => "permission denied",
        io::ErrorKind::ReadOnlyFilesystem => "it is read-only",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => return None,
        _ => "no files can be made there",
    };
    Some(format!("cannot write to the folder {}: {why}", folder.display()))
}

/// The time in which nobody is known to have it.
pub(super) struct Search<'a> {
    ui: &'a Ui,
    tried: Vec<String>,
}

impl<'a> Search<'a> {
    /// Nothing was tried yet.
    pub(super) const fn new(ui: &'a Ui) -> Self {
        Self { ui, tried: Vec::new() }
    }

    /// Says what was tried when that has changed; a bar shows that it goes on.
    pub(super) fn see(&mut self, name: &str, waited_ms: u64, tried: Vec<String>) -> Gauge {
        if self.tried != tried {
            self.ui.talk(&format!("{name}: no source found yet. Tried:"));
            tried.iter().for_each(|way| self.ui.talk(&format!("  {way}")));
            self.tried = tried;
        }
        Gauge::note(format!("waiting for a source ({})", size::seconds(waited_ms / 1000)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(output: Option<PathBuf>, targets: usize) -> args::Get {
        args::Get {
            targets: vec!["x".to_owned(); targets],
            output,
            overwrite: false,
            delete: false,
            exact: false,
            seed: false,
            detach: false,
            timeout: Some(std::time::Duration::from_millis(1500)),
            include: Vec::new(),
            exclude: Vec::new(),
            public: false,
            secret: args::Secret::default(),
        }
    }

    #[test]
    fn outputs_are_absolute_files_or_folders() {
        let here = std::env::current_dir().expect("somewhere");
        let folder = tempfile::tempdir().expect("a folder");
        let of = |path: PathBuf, targets| output(&args(Some(path), targets));
        assert_eq!(output(&args(None, 2)), Ok(Destination::Into(here.clone())));
        assert_eq!(of("no-such-file".into(), 1), Ok(Destination::Path(here.join("no-such-file"))));
        assert_eq!(of(folder.path().into(), 2), Ok(Destination::Into(folder.path().into())));
        assert_eq!(of(folder.path().into(), 1), Ok(Destination::Path(folder.path().into())));
        assert_eq!(of(folder.path().join(""), 1), Ok(Destination::Into(folder.path().into())));
        assert_eq!(of(folder.path().join("x"), 2).expect_err("no folder").code, Code::User);
        let new = folder.path().join("new/");
        assert_eq!(of(new.clone(), 2), Ok(Destination::Into(new.clone())));
        assert!(new.is_dir());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_without_room_for_files_is_named() {
        let said = not_writable(Path::new("/proc/foo")).expect("no files there");
        assert!(said.starts_with("cannot write to the folder /proc: "), "{said}");
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(not_writable(&folder.path().join("new/file")), None);
    }

    #[test]
    fn commands_carry_what_was_asked() {
        let asked = Asked { target: "swarm:x".into(), shown: "x".to_owned(), name: "x".to_owned() };
        let flags = crate::settings::Layer { home: Some("/x".into()), ..Default::default() };
        let settings = crate::config::load(Default::default(), flags).expect("settings");
        let get = request(&settings, &args(None, 1), &asked, Destination::Store);
        assert_eq!((get.target.expose(), get.timeout_ms, get.overwrite), ("swarm:x", Some(1500), false));
    }
}
