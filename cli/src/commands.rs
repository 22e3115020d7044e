//! From the command line to an exit code; below, a file for each verb.

mod allow;
mod cat;
mod completions;
mod config;
mod daemon;
mod demo;
mod detach;
mod gc;
mod get;
mod help;
mod hold;
mod info;
mod ls;
mod man;
mod office;
mod peers;
mod publish;
mod rm;
mod status;
mod stop;
mod verify;
mod why;

use std::ffi::OsString;
use std::time::Instant;

use crate::args::{self, Config, Verb};
use crate::deadline::Deadline;
use crate::exit::{Code, Failed, Outcome, Stop};
use crate::json::About;
use crate::logging;
use crate::platform::{self, shell_quote};
use crate::redact::without_keys;
use crate::settings::Settings;
use crate::ui::Ui;

/// Runs a command line, says what has to be said, and returns how it ended.
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> Code {
    let begun = Instant::now();
    let args: Vec<OsString> = args.into_iter().collect();
    let parsed = match args::parse(args.clone()) {
        Ok(parsed) => parsed,
        Err(other) => {
            let shown = Ui::plain(other.json).usage(&other.text, other.wanted);
            return if other.wanted { code(&Ui::plain(false), &args, shown) } else { Code::Usage };
        }
    };
    let wants_json = parsed.flags.json.or(parsed.environment.json).unwrap_or(false);
    let settings = match crate::config::load(parsed.environment, parsed.flags) {
        Ok(settings) => settings,
        Err(failed) => return code(&Ui::plain(wants_json), &args, Err(failed.into())),
    };
    if settings.background.value {
        platform::lowest_priority();
    }
    let ui = Ui::new(&settings, parsed.verb.writes_content());
    let logged = logging::start(&settings, &ui).map_err(Stop::from);
    let outcome = logged.and_then(|()| start(&ui, &settings, parsed.verb, begun));
    code(&ui, &args, outcome)
}

/// Runs what needs no node at once, the rest on a runtime of this thread.
fn start(ui: &Ui, settings: &Settings, verb: Verb, begun: Instant) -> Outcome {
    match verb {
        Verb::Config { what: Config::Show { origin } } => return config::show(ui, settings, origin),
        Verb::Completions { shell } => return completions::run(ui, shell),
        Verb::Man(args) => return man::run(ui, &args.folder),
        Verb::Help { topic } => return help::run(ui, &topic),
        _ => {}
    }
    let runtime = swarm_core::runtime_for(&settings.options())
        .map_err(|error| Failed::new(Code::User, format!("cannot start: {error}")))?;
    let outcome = runtime.block_on(Box::pin(with_node(ui, settings, verb, begun)));
    // A thread may still wait for standard input; nothing else is left by now.
    runtime.shutdown_background();
    outcome
}

async fn with_node(ui: &Ui, settings: &Settings, verb: Verb, begun: Instant) -> Outcome {
    let within = |timeout| Deadline::new(begun, timeout);
    match verb {
        Verb::Publish(args) => publish::run(ui, settings, &args).await,
        Verb::Get(args) if args.detach => detach::run(ui, settings, &args).await,
        Verb::Get(args) if args.to_stdout() => cat::run_get(ui, settings, &args, within(args.timeout)).await,
        Verb::Get(args) => get::run(ui, settings, &args, within(args.timeout)).await,
        Verb::Stop(args) => stop::run(ui, settings, &args.id).await,
        Verb::Cat(args) => cat::run(ui, settings, &args, within(args.timeout)).await,
        Verb::Hold(args) => hold::run(ui, settings, &args, within(args.timeout)).await,
        Verb::Ls(args) => ls::run(ui, settings, args.id.as_deref()).await,
        Verb::Info(args) => info::run(ui, settings, &args.id).await,
        Verb::Rm(args) => rm::run(ui, settings, &args.id).await,
        Verb::Verify(args) => verify::run(ui, settings, &args).await,
        Verb::Gc(args) => gc::run(ui, settings, args.dry_run).await,
        Verb::Status(args::Status { why: Some(id) }) => why::run(ui, settings, &id).await,
        Verb::Status(_) => status::run(ui, settings).await,
        Verb::Allow(args) => allow::run(ui, settings, &args).await,
        Verb::Why(args) => why::run(ui, settings, &args.id).await,
        Verb::Peers => peers::run(ui, settings).await,
        Verb::Office { what } => office::run(ui, settings, what).await,
        Verb::Daemon(args) => daemon::run(ui, settings, &args).await,
        Verb::Demo(args) => demo::run(ui, args.file.as_deref()).await,
        Verb::Config { .. } | Verb::Completions { .. } | Verb::Man(_) | Verb::Help { .. } => Ok(()),
    }
}

/// Says what went wrong and gives the exit code.
fn code(ui: &Ui, args: &[OsString], outcome: Outcome) -> Code {
    match outcome {
        Ok(()) | Err(Stop::ReaderGone) => Code::Done,
        Err(Stop::Said(code)) => code,
        Err(Stop::Failed(failed)) => {
            ui.failed(About::It, &failed);
            failed.code
        }
        Err(Stop::Interrupted) => {
            let failed = Failed::new(Code::Interrupted, "interrupted; verified data is kept");
            ui.failed(About::It, &failed.hint(same_again(args)));
            Code::Interrupted
        }
    }
}

/// The command that was given, as a line to paste.
fn same_again(args: &[OsString]) -> String {
    // The key of a link does not go where logs are kept.
    let shown = |arg: &OsString| without_keys(&arg.to_string_lossy());
    let words = args.iter().skip(1).map(|arg| shell_quote(&shown(arg)).into_owned());
    std::iter::once("swarm".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}
