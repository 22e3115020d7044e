//! From the command line to an exit code; below, a file for each verb.

mod allow;
mod cat;
mod completions;
mod config;
mod daemon;
mod demo;
mod gc;
mod get;
mod help;
mod hold;
mod info;
mod ls;
mod office;
mod peers;
mod publish;
mod rm;
mod status;
mod verify;
mod why;

use std::ffi::OsString;
use std::time::Instant;

use swarm_core::content::link::{LinkError, Target};

use crate::args::{self, Config, Verb};
use crate::config::Settings;
use crate::deadline::Deadline;
use crate::exit::{Code, Failed, Outcome, Stop};
use crate::json::About;
use crate::logging;
use crate::secret::without_keys;
use crate::ui::{Ui, shell_quote};

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
    let settings = match Settings::load(parsed.environment, parsed.flags) {
        Ok(settings) => settings,
        Err(failed) => return code(&Ui::plain(wants_json), &args, Err(failed.into())),
    };
    if settings.background.value {
        go_last();
    }
    let ui = Ui::new(&settings, parsed.verb.writes_content());
    let logged = logging::start(&settings, &ui).map_err(Stop::from);
    let outcome = logged.and_then(|()| start(&ui, &settings, parsed.verb, begun));
    code(&ui, &args, outcome)
}

/// This thread and all that it starts get what nobody else wants of the processors, and (Linux gives the idle class of
/// processes the idle class of disks) of the disks. A system that refuses does not keep us from working.
fn go_last() {
    use thread_priority::{
        NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
        thread_native_id,
    };
    const LAST: i32 = 19;
    // Linux shares processors between sessions first (sched(7), autogroup). A session of our own, a service's, goes last as
    // a whole; that of a terminal is not ours to change.
    if std::fs::read_to_string("/proc/self/stat").is_ok_and(|stat| leads_its_session(&stat)) {
        let _ = std::fs::write("/proc/self/autogroup", LAST.to_string());
    }
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
    // Last: setting the class sets this, too.
    let _ = rustix::process::setpriority_process(None, LAST);
}

/// Whether the process that `/proc/PID/stat` describes (proc_pid_stat(5)) leads its session. Read there: in a container
/// started from outside the session is 0, which the `getsid` of our library does not allow for.
fn leads_its_session(stat: &str) -> bool {
    // The second field is a name in parentheses, in which anything may stand.
    let (Some((pid, _)), Some((_, after))) = (stat.split_once(" ("), stat.rsplit_once(") ")) else {
        return false;
    };
    after.split_whitespace().nth(3) == Some(pid)
}

/// Runs what needs no node at once, the rest on a runtime of this thread.
fn start(ui: &Ui, settings: &Settings, verb: Verb, begun: Instant) -> Outcome {
    match verb {
        Verb::Config { what: Config::Show { origin } } => return config::show(ui, settings, origin),
        Verb::Completions { shell } => return completions::run(ui, shell),
        Verb::Help { topic } => return help::run(ui, topic.as_deref()),
        _ => {}
    }
    // In the background round trips are measured: they must not contain the pauses of ours.
    let moderate = !settings.background.value;
    let before_park = move || {
        if moderate {
            swarm_core::node::moderation::before_park()
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(before_park)
        .build()
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
        Verb::Get(args) if args.to_stdout() => cat::run_get(ui, settings, &args, within(args.timeout)).await,
        Verb::Get(args) => get::run(ui, settings, &args, within(args.timeout)).await,
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
        Verb::Config { .. } | Verb::Completions { .. } | Verb::Help { .. } => Ok(()),
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
            let failed = Failed::new(Code::Interrupted, "interrupted; what was done so far is kept");
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

/// Checks what is to name content before a node is started for it.
fn check_target(text: &str) -> Result<Target, Failed> {
    text.parse().map_err(|error: LinkError| Failed::new(Code::User, error.to_string()).hint("swarm ls"))
}

/// The id or prefix of something this store should have.
fn item(text: &str) -> Result<String, Failed> {
    Ok(match check_target(text)? {
        Target::Link(link) => link.id.to_string(),
        Target::Id(id) => id.to_string(),
        Target::Prefix(prefix) => prefix,
    })
}

/// What to say when nobody runs a node and only the store is looked at.
fn no_node(settings: &Settings) -> String {
    format!("no node is running for {}; start one with: swarm daemon", settings.home.value.display())
}

/// The first digits of an id: enough for a person to tell ids apart.
pub(crate) fn short(id: &str) -> &str {
    id.get(..16).unwrap_or(id)
}

/// The answer to another question than the one that was asked: versions of swarm that do not fit together.
fn unexpected() -> Stop {
    let failed = Failed::new(
        Code::User,
        "the node that runs for this store gave an answer of another version of swarm",
    );
    failed.hint("stop it and run the command again").into()
}

#[cfg(test)]
mod tests {
    use super::leads_its_session;

    #[test]
    fn only_the_first_process_of_a_session_leads_it() {
        assert!(leads_its_session("71 (swarm) R 1 71 71 0 -1 4194304"));
        assert!(leads_its_session("71 (a) b (c) R 1 71 71 0 -1"));
        assert!(!leads_its_session("71 (swarm) R 70 71 70 34816 71"));
        assert!(!leads_its_session("1 (swarm) R 0 0 0 0 -1"), "started into a container from outside");
        assert!(!leads_its_session(""));
    }
}
