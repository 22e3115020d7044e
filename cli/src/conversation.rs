//! Commands to the node of a store and its answers: opens the session, merges the answers of several
//! commands, starts again when the node has gone, says when it does not answer, and listens for signals
//! meanwhile.

mod explain;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use swarm_core::api::call::Call;
use swarm_core::api::command::Command;
use swarm_core::api::event::Event;
use swarm_core::control::{ControlSession, Greeting, OpenStage, Replies, ServerMessage, Silence};
use swarm_core::options::Options;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use crate::deadline::Deadline;
use crate::exit::{Code, Failed, Outcome, Stop, not_started, unexpected};
use crate::json::About;
use crate::settings::Settings;
use crate::signals::Signals;
use crate::target_hints::with_hints;
use crate::ui::Ui;
pub(crate) use explain::say_trouble;
use explain::{explain, explain_opening, opening, tell};

/// When a node that has gone is replaced: one that stops in order holds its lock for up to five seconds.
const RETRY_AFTER: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(4)];
/// A node that went after longer than this is not one of several that keep ending.
const STEADY: Duration = Duration::from_secs(10);
/// A node that went before has hardly been there.
const HEARD_OF: Duration = Duration::from_millis(50);
/// Time to stop in order after Ctrl-C.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// Stopping may take so long when the time of `--timeout` is over.
const STOP_LATE: Duration = Duration::from_millis(500);
/// An answer that should come at once and has not come after this is worth a word.
const ANSWER_IS_SLOW: Duration = Duration::from_secs(8);
/// Answers waiting to be shown; core drops progress, never the last event, when we are slow.
const QUEUE: usize = 64;

/// One exchange with the node of a store.
#[derive(Debug)]
pub(crate) struct Conversation<'a> {
    ui: &'a Ui,
    options: Options,
    deadline: Deadline,
    /// There but for the moment between two.
    session: Option<ControlSession>,
    /// When it was reached.
    since: Instant,
    /// Each command until its final event.
    open: BTreeMap<usize, Command>,
    /// The number of the next command.
    number: usize,
    /// When the last command was sent.
    asked: Instant,
    /// It was said that an answer takes long.
    slow: bool,
    /// It was said that the node does not answer.
    silence: Option<Silence>,
    readers: JoinSet<()>,
    sender: mpsc::Sender<(usize, Sign)>,
    events: mpsc::Receiver<(usize, Sign)>,
    retries: usize,
    signals: Signals,
}

/// A sign of the node that a command hears.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a few wait in a queue of bounded length")]
enum Sign {
    Heard(ServerMessage),
    /// The node has gone.
    Gone,
}

/// The process that shares what a command has published or fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharer {
    /// This one.
    Own,
    /// A daemon, which goes on whatever becomes of this command.
    Daemon(u32),
    /// The process of another command, which ends with that.
    Other(u32),
}

impl<'a> Conversation<'a> {
    /// Becomes the node of the store, or reaches the one that is running.
    ///
    /// # Errors
    /// Neither works.
    pub(crate) async fn open(ui: &'a Ui, options: Options) -> Outcome<Self> {
        Self::open_within(ui, options, Deadline::never()).await
    }

    /// Does what [`Self::open`] does, and gives up when the time is over; so does all that follows.
    ///
    /// # Errors
    /// Neither works, or not in time.
    pub(crate) async fn open_within(ui: &'a Ui, options: Options, deadline: Deadline) -> Outcome<Self> {
        let (sender, events) = mpsc::channel(QUEUE);
        let now = Instant::now();
        let mut new = Self {
            ui,
            options,
            deadline,
            session: None,
            since: now,
            open: BTreeMap::new(),
            number: 0,
            asked: now,
            slow: false,
            silence: None,
            readers: JoinSet::new(),
            sender,
            events,
            retries: 0,
            signals: Signals::catch(),
        };
        new.connect(Duration::ZERO).await?;
        Ok(new)
    }

    async fn connect(&mut self, after: Duration) -> Outcome {
        let waiting = Cell::new(OpenStage::Store);
        let open = async {
            if !after.is_zero() {
                sleep(after).await;
            }
            ControlSession::open(self.options.clone(), |what| waiting.set(what)).await
        };
        let home = self.options.home.as_path();
        let session = tokio::select! {
            session = Box::pin(open) => session.map_err(|error| not_started(&error))?,
            () = self.signals.first() => return Err(Stop::Interrupted),
            () = self.deadline.passed() => return Err(match waiting.get() {
                OpenStage::Owner(pid) => silent(&Silence::of_owner(home, pid)).into(),
                other => self.deadline.failed(&opening(home, other)).into(),
            }),
            never = explain_opening(self.ui, home, &waiting) => match never {},
        };
        self.session = Some(session);
        self.since = Instant::now();
        let set = &self.options;
        let paced =
            set.limit_up.or(set.limit_down).is_some() || !set.timetable.rules.is_empty() || set.background;
        if paced && !set.offline && !self.is_own() {
            self.ui.talk("the running node of this store keeps its own limits (see swarm status)");
        }
        Ok(())
    }

    /// True when we are the node.
    pub(crate) fn is_own(&self) -> bool {
        self.session.as_ref().is_some_and(ControlSession::is_own)
    }

    fn remote(&self) -> Option<&Greeting> {
        self.session.as_ref().and_then(ControlSession::remote)
    }

    /// The process that shares what is in the store.
    pub(crate) fn sharer(&self) -> Sharer {
        match self.remote() {
            None => Sharer::Own,
            Some(node) if node.daemon => Sharer::Daemon(node.pid),
            Some(node) => Sharer::Other(node.pid),
        }
    }

    /// Sends a command; its events come from [`Self::next`] under the number returned.
    pub(crate) async fn ask(&mut self, call: impl Call) -> usize {
        let command = call.command();
        let number = self.number;
        self.number += 1;
        self.open.insert(number, command.clone());
        (self.asked, self.slow) = (Instant::now(), false);
        self.send(number, command).await;
        number
    }

    async fn send(&mut self, number: usize, command: Command) {
        let command = self.deadline.put_into(command);
        if let Some(session) = &self.session {
            // A node that runs already was told of other peers and trackers than this command.
            let own = session.is_own();
            let command = if own { command } else { with_hints(command, &self.options) };
            let replies = session.call(command).await;
            self.read(number, replies);
        }
    }

    fn read(&mut self, number: usize, mut replies: Replies) {
        let sender = self.sender.clone();
        self.readers.spawn(async move {
            while let Some(heard) = replies.next().await {
                let last = matches!(&heard, ServerMessage::Event(event) if event.is_final());
                if sender.send((number, Sign::Heard(heard))).await.is_err() || last {
                    return;
                }
            }
            // Nobody to tell means nobody waits.
            let _ = sender.send((number, Sign::Gone)).await;
        });
    }

    /// The next event of any command, and whose it is.
    ///
    /// # Errors
    /// A signal came, the time is over, the node does not answer or went away too often.
    pub(crate) async fn next(&mut self) -> Outcome<(usize, Event)> {
        loop {
            if let Some(next) = self.next_within(None).await? {
                return Ok(next);
            }
        }
    }

    /// Returns the next event as [`Self::next`] does; `None` when nothing has come for so long.
    ///
    /// # Errors
    /// Those of [`Self::next`].
    pub(crate) async fn next_within(&mut self, most: Option<Duration>) -> Outcome<Option<(usize, Event)>> {
        let until = most.map(|most| Instant::now() + most);
        loop {
            let quick = !self.open.is_empty() && self.open.values().all(Command::is_quick);
            let slow = (quick && !self.slow).then(|| self.asked + ANSWER_IS_SLOW);
            let sign = tokio::select! {
                biased;
                () = self.signals.first() => return Err(Stop::Interrupted),
                sign = self.events.recv() => sign,
                () = self.deadline.passed() => return Err(self.too_late().into()),
                () = at(slow) => {
                    self.say_slow();
                    continue;
                }
                () = at(until) => return Ok(None),
            };
            let Some((number, sign)) = sign else {
                self.reopen(false).await?;
                continue;
            };
            match sign {
                Sign::Heard(ServerMessage::Event(event)) => {
                    if event.is_final() {
                        self.open.remove(&number);
                    }
                    return Ok(Some((number, event)));
                }
                Sign::Heard(ServerMessage::Silent(silence)) if quick => return Err(silent(&silence).into()),
                Sign::Heard(ServerMessage::Silent(silence)) => self.say_silent(silence),
                Sign::Heard(ServerMessage::Again) => self.say_again(),
                Sign::Heard(ServerMessage::Leaving) if self.open.contains_key(&number) => {
                    self.reopen(true).await?
                }
                Sign::Gone if self.open.contains_key(&number) => self.reopen(false).await?,
                Sign::Heard(ServerMessage::Leaving) | Sign::Gone => {}
            }
        }
    }

    fn say_slow(&mut self) {
        self.slow = true;
        let who = match self.remote() {
            Some(node) => format!("process {}, the node of this store, is alive", node.pid),
            None => "the store is open".to_owned(),
        };
        let text = format!("{who}, but the answer takes longer than usual: the disk may be slow or hang");
        tell(self.ui, &text);
    }

    /// Says once that the node does not answer.
    fn say_silent(&mut self, silence: Silence) {
        if self.silence.is_none() {
            let text = format!(
                "{}; this command continues when it answers ({})",
                silence.sentence(),
                silence.hint()
            );
            tell(self.ui, &text);
            self.silence = Some(silence);
        }
    }

    fn say_again(&mut self) {
        if let Some(silence) = self.silence.take() {
            let process = silence.pid().map_or_else(|| "it".to_owned(), |pid| format!("process {pid}"));
            tell(self.ui, &format!("{process} answers again"));
        }
    }

    /// The time is over and the node has not said what is missing.
    fn too_late(&self) -> Failed {
        if let Some(silence) = &self.silence {
            return silent(silence);
        }
        match self.remote().map(|node| node.pid) {
            Some(pid) => match Silence::if_stopped(&self.options.home, pid) {
                Some(silence) => silent(&silence),
                None => {
                    self.deadline.failed(&format!("process {pid}, the node of this store, has not answered"))
                }
            },
            None => self.deadline.failed("the disk may be slow or hang"),
        }
    }

    /// The node has gone with commands unanswered, perhaps in order: finds another one, or becomes it, and
    /// asks again.
    async fn reopen(&mut self, in_order: bool) -> Outcome {
        self.readers.shutdown().await;
        (self.sender, self.events) = mpsc::channel(QUEUE);
        self.silence = None;
        let home = self.options.home.display();
        let mut failed =
            Failed::new(Code::User, format!("the node of {home} keeps stopping while it does this"))
                .hint("run the command with -v to see why");
        let old = self.session.take();
        // One that goes at once, again and again, is not in order.
        if in_order && self.since.elapsed() >= HEARD_OF {
            if let Some(node) = old.as_ref().and_then(ControlSession::remote) {
                let text = format!("process {}, the node of this store, has ended", node.pid);
                self.ui.talk(&format!("{text}; continuing, verified data is kept"));
            }
            match self.connect(Duration::ZERO).await {
                Ok(()) => return self.send_again().await,
                Err(Stop::Failed(why)) => failed = why,
                Err(stop) => return Err(stop),
            }
        }
        if let Some(old) = old {
            Box::pin(old.close(true)).await;
        }
        if self.since.elapsed() >= STEADY {
            self.retries = 0;
        }
        while let Some(pause) = RETRY_AFTER.get(self.retries) {
            self.retries += 1;
            self.ui.talk("the node that did this has ended; starting again, verified data is kept");
            match self.connect(*pause).await {
                Ok(()) => return self.send_again().await,
                Err(Stop::Failed(why)) => failed = why,
                Err(stop) => return Err(stop),
            }
        }
        Err(failed.into())
    }

    async fn send_again(&mut self) -> Outcome {
        (self.asked, self.slow) = (Instant::now(), false);
        for (number, command) in self.open.clone() {
            self.send(number, command).await;
        }
        Ok(())
    }

    /// Makes a call, hands every event but a failure to `each`, and returns the answer. As JSON, all are
    /// printed.
    ///
    /// # Errors
    /// It failed, a signal came, the node went away too often, or `each` says so.
    pub(crate) async fn answer<C: Call>(
        &mut self,
        call: C,
        mut each: impl FnMut(&Event) -> Outcome,
    ) -> Outcome<C::Answer> {
        let asked = self.ask(call).await;
        loop {
            let (number, event) = self.next().await?;
            if number != asked {
                continue;
            }
            if let Event::Failed(failure) = event {
                return Err(Failed::from(failure).into());
            }
            self.ui.event(About::It, &event)?;
            say_trouble(self.ui, &event);
            each(&event)?;
            if event.is_final() {
                // The entries of a listing were handed to `each` as they came.
                return C::answer(event, Vec::new()).ok_or_else(unexpected);
            }
        }
    }

    /// Does something else meanwhile.
    ///
    /// # Errors
    /// A signal came first.
    pub(crate) async fn unless_signalled<T>(&mut self, other: impl Future<Output = T>) -> Outcome<T> {
        tokio::select! {
            () = self.signals.first() => Err(Stop::Interrupted),
            value = other => Ok(value),
        }
    }

    /// Waits for a signal.
    pub(crate) async fn until_signalled(&mut self) {
        self.signals.first().await;
    }

    /// Ends: in order and for as long as others need our node when all went well, within a deadline after a
    /// signal.
    pub(crate) async fn close(self, interrupted: bool) -> Outcome {
        let Self { ui, session, mut readers, mut signals, deadline, .. } = self;
        // The answers are dropped first, which cancels what is still asked for.
        readers.shutdown().await;
        let Some(session) = session else { return Ok(()) };
        let mut closing = Box::pin(session.close(false));
        if deadline.is_over() {
            let _ = timeout(STOP_LATE, closing).await;
            return Ok(());
        }
        if !interrupted {
            tokio::select! {
                () = &mut closing => return Ok(()),
                never = explain(ui) => match never {},
                () = signals.first() => {}
            }
        }
        // Past the deadline the process ends anyway: that costs nothing that was flushed.
        let _ = timeout(STOP_WITHIN, closing).await;
        if interrupted { Ok(()) } else { Err(Stop::Interrupted) }
    }

    /// Closes, and passes on what came of it; what went wrong before counts more than what goes wrong in
    /// closing.
    ///
    /// # Errors
    /// The error of `outcome`, or a signal while closing.
    pub(crate) async fn finish<T>(mut self, outcome: Outcome<T>) -> Outcome<T> {
        if outcome.is_ok() {
            // What was to be done in time is done.
            self.deadline = Deadline::never();
        }
        let interrupted = matches!(outcome, Err(Stop::Interrupted));
        let closed = self.close(interrupted).await;
        let value = outcome?;
        closed.map(|()| value)
    }
}

/// Comes at that moment, if there is one.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

fn silent(silence: &Silence) -> Failed {
    silence.failure().into()
}

/// Tells that only the store is looked at, as no node runs for it.
pub(crate) fn no_node(settings: &Settings) -> String {
    format!("no node is running for {}; start one with: swarm daemon", settings.home.value.display())
}

/// One command from opening the store to closing it.
///
/// # Errors
/// Those of [`Conversation::answer`].
pub(crate) async fn ask_once<C: Call>(ui: &Ui, options: Options, call: C) -> Outcome<C::Answer> {
    ask_once_with(ui, options, call, |_| Ok(())).await
}

/// One command from opening the store to closing it; `each` sees every event.
///
/// # Errors
/// Those of [`Conversation::answer`].
pub(crate) async fn ask_once_with<C: Call>(
    ui: &Ui,
    options: Options,
    call: C,
    each: impl FnMut(&Event) -> Outcome,
) -> Outcome<C::Answer> {
    let mut conversation = Conversation::open(ui, options).await?;
    let answer = conversation.answer(call, each).await;
    conversation.finish(answer).await
}
