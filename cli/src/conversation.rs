//! Commands to the node of a store and its answers: opens the session, merges the answers of several commands, starts
//! again when the node has gone, and listens for signals meanwhile.

use std::time::Duration;

use swarm_core::control::{Replies, Session};
use swarm_core::node::command::Command;
use swarm_core::node::event::Event;
use swarm_core::options::Options;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::exit::{Code, Failed, Outcome, Stop, not_started};
use crate::hints::with_hints;
use crate::json::About;
use crate::signals::Signals;
use crate::ui::Ui;

/// When a node that has gone is replaced, over the life of a command: one that stops in order holds its lock for up to
/// five seconds.
const RETRY_AFTER: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(4)];
/// What stopping in order may take after Ctrl-C.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// When the end takes longer than this, we say why.
const EXPLAIN_AFTER: Duration = Duration::from_secs(1);
/// Answers waiting to be shown; core drops progress, never the last event, when we are slow.
const QUEUE: usize = 64;

/// One exchange with the node of a store.
#[derive(Debug)]
pub(crate) struct Conversation<'a> {
    ui: &'a Ui,
    options: Options,
    /// There but for the moment between two.
    session: Option<Session>,
    /// Each command until its final event.
    open: Vec<Option<Command>>,
    readers: JoinSet<()>,
    sender: mpsc::Sender<(usize, Option<Event>)>,
    events: mpsc::Receiver<(usize, Option<Event>)>,
    retries: usize,
    signals: Signals,
}

impl<'a> Conversation<'a> {
    /// Becomes the node of the store, or reaches the one that is running.
    ///
    /// # Errors
    /// Neither works.
    pub(crate) async fn open(ui: &'a Ui, options: Options) -> Outcome<Self> {
        let (sender, events) = mpsc::channel(QUEUE);
        let (open, readers, signals) = (Vec::new(), JoinSet::new(), Signals::catch());
        let mut new = Self { ui, options, session: None, open, readers, sender, events, retries: 0, signals };
        new.connect(Duration::ZERO).await?;
        Ok(new)
    }

    async fn connect(&mut self, after: Duration) -> Outcome {
        let open = async {
            if !after.is_zero() {
                sleep(after).await;
            }
            Session::open(self.options.clone()).await
        };
        let session = tokio::select! {
            session = Box::pin(open) => session.map_err(|error| not_started(&error))?,
            () = self.signals.first() => return Err(Stop::Interrupted),
        };
        self.session = Some(session);
        let set = &self.options;
        let paced =
            set.limit_up.or(set.limit_down).is_some() || !set.timetable.rules.is_empty() || set.background;
        if paced && !set.offline && !self.is_own() {
            self.ui.talk("a node runs for this store already: its own limits hold (see swarm status)");
        }
        Ok(())
    }

    /// True when we are the node.
    pub(crate) fn is_own(&self) -> bool {
        self.session.as_ref().is_some_and(Session::is_own)
    }

    /// Sends a command; its events come from [`Self::next`] under the number returned.
    pub(crate) async fn ask(&mut self, command: Command) -> usize {
        let number = self.open.len();
        self.open.push(Some(command.clone()));
        self.send(number, command).await;
        number
    }

    async fn send(&mut self, number: usize, command: Command) {
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
            while let Some(event) = replies.next().await {
                let last = event.is_final();
                if sender.send((number, Some(event))).await.is_err() || last {
                    return;
                }
            }
            // Nobody to tell means nobody waits.
            let _ = sender.send((number, None)).await;
        });
    }

    /// The next event of any command, and whose it is.
    ///
    /// # Errors
    /// A signal came, or the node went away too often.
    pub(crate) async fn next(&mut self) -> Outcome<(usize, Event)> {
        loop {
            let step = tokio::select! {
                () = self.signals.first() => return Err(Stop::Interrupted),
                step = self.events.recv() => step,
            };
            match step {
                Some((number, Some(event))) => {
                    if event.is_final() {
                        self.open[number] = None;
                    }
                    return Ok((number, event));
                }
                Some((number, None)) if self.open[number].is_none() => {}
                _ => self.reopen().await?,
            }
        }
    }

    /// The node has gone with commands unanswered: finds another one, or becomes it, and asks again.
    async fn reopen(&mut self) -> Outcome {
        self.readers.shutdown().await;
        (self.sender, self.events) = mpsc::channel(QUEUE);
        if let Some(old) = self.session.take() {
            Box::pin(old.close(true)).await;
        }
        let home = self.options.home.display();
        let mut failed =
            Failed::new(Code::User, format!("the node of {home} keeps ending in the middle of this"))
                .hint("run the command with -v to see why");
        while let Some(pause) = RETRY_AFTER.get(self.retries) {
            self.retries += 1;
            self.ui.talk("the node that was doing this has ended; starting again, what was verified is kept");
            match self.connect(*pause).await {
                Ok(()) => return self.send_again().await,
                Err(Stop::Failed(why)) => failed = why,
                Err(stop) => return Err(stop),
            }
        }
        Err(failed.into())
    }

    async fn send_again(&mut self) -> Outcome {
        for number in 0..self.open.len() {
            if let Some(command) = self.open[number].clone() {
                self.send(number, command).await;
            }
        }
        Ok(())
    }

    /// Asks one thing and hands every event but a failure to `each`; returns the final one. As JSON, all are printed.
    ///
    /// # Errors
    /// It failed, a signal came, the node went away too often, or `each` says so.
    pub(crate) async fn answer(
        &mut self,
        command: Command,
        mut each: impl FnMut(&Event) -> Outcome,
    ) -> Outcome<Event> {
        let asked = self.ask(command).await;
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
                return Ok(event);
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

    /// Ends: in order and for as long as others need our node when all went well, within a deadline after a signal.
    pub(crate) async fn close(self, interrupted: bool) -> Outcome {
        let Self { ui, session, mut readers, mut signals, .. } = self;
        // The answers are dropped first, which cancels what is still asked for.
        readers.shutdown().await;
        let Some(session) = session else { return Ok(()) };
        let mut closing = Box::pin(session.close(false));
        if !interrupted {
            tokio::select! {
                () = &mut closing => return Ok(()),
                () = explain(ui) => {}
                () = signals.first() => {}
            }
        }
        // Past the deadline the process ends anyway: that costs nothing that was flushed.
        let _ = timeout(STOP_WITHIN, closing).await;
        if interrupted { Ok(()) } else { Err(Stop::Interrupted) }
    }

    /// Closes, and passes on what came of it; what went wrong before counts more than what goes wrong in closing.
    ///
    /// # Errors
    /// What `outcome` says, or a signal while closing.
    pub(crate) async fn finish<T>(self, outcome: Outcome<T>) -> Outcome<T> {
        let interrupted = matches!(outcome, Err(Stop::Interrupted));
        let closed = self.close(interrupted).await;
        let value = outcome?;
        closed.map(|()| value)
    }
}

/// Says why the end takes long; never ends itself.
async fn explain(ui: &Ui) {
    sleep(EXPLAIN_AFTER).await;
    ui.talk("done; other commands use the node of this process and are waited for (Ctrl-C stops them)");
    std::future::pending().await
}

/// Says what a person should know although it goes on.
pub(crate) fn say_trouble(ui: &Ui, event: &Event) {
    match event {
        Event::Notice { text } => ui.warn(text),
        Event::Banned { peer, reason } => ui.warn(&format!("peer {peer} is banned: {reason}")),
        _ => {}
    }
}

/// One command from opening the store to closing it.
///
/// # Errors
/// As [`Conversation::answer`].
pub(crate) async fn ask_once(ui: &Ui, options: Options, command: Command) -> Outcome<Event> {
    ask_once_with(ui, options, command, |_| Ok(())).await
}

/// One command from opening the store to closing it; `each` sees every event.
///
/// # Errors
/// As [`Conversation::answer`].
pub(crate) async fn ask_once_with(
    ui: &Ui,
    options: Options,
    command: Command,
    each: impl FnMut(&Event) -> Outcome,
) -> Outcome<Event> {
    let mut conversation = Conversation::open(ui, options).await?;
    let answer = conversation.answer(command, each).await;
    conversation.finish(answer).await
}
