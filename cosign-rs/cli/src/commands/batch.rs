//! Many things signed in one run: one login, one certificate while it lasts, and some of them at a time.
//!
//! A signature that is in a log stays there, so that nothing breaks off between the log and the place of the bundle: a failure, the end of `--timeout` and
//! the first signal (as by Ctrl-C) only mean that nothing else begins. What is under way is finished, within [`GRACE`]; who cannot wait for that sends a second
//! signal. In the end it is said of each thing what became of it.

use std::cell::{Cell, RefCell};
use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Result;
use futures_util::StreamExt as _;
use futures_util::stream;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::failure::{self, advice, in_line};
use crate::patience::Patience;

/// How long what is under way may still take: the longest call to a log, and some time to put the bundle where it belongs.
const GRACE: Duration = Duration::from_secs(90);

/// What became of one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// It is signed now.
    Signed,
    /// It was before, by the same signer.
    Already,
}

/// How far one of them is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing of it is in a log.
    Untouched,
    /// It may be in a log.
    UnderWay,
    /// It is done.
    Done(Done),
    /// An error said why it is not done.
    Failed,
}

/// Why nothing else begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Failure,
    Time,
    Signal,
}

/// The run stopped before this one was begun.
#[derive(Debug, thiserror::Error)]
#[error("not begun")]
struct NotBegun;

/// A run over many things, and what people see of it.
pub(super) struct Batch {
    bar: Option<ProgressBar>,
    workers: usize,
    patience: Patience,
    grace: Duration,
    before: usize,
    stop: watch::Sender<Option<Stop>>,
}

/// One of them, while it is being done.
#[derive(Clone, Copy)]
pub(super) struct Turn<'a> {
    batch: &'a Batch,
    state: &'a Cell<State>,
}

impl Turn<'_> {
    /// Does something of which nothing lasts; it is broken off when the run stops.
    pub(super) async fn before<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut stop = self.batch.stop.subscribe();
        tokio::select! {
            biased;
            // The sender is the batch, and there as long as this.
            _stopped = stop.wait_for(Option::is_some) => Err(NotBegun.into()),
            done = work => done,
        }
    }

    /// From here on it is done to the end, unless the run has stopped. To be called before anybody is asked for what cannot be taken back.
    pub(super) fn begin(&self) -> Result<()> {
        if self.batch.stopped().is_some() {
            return Err(NotBegun.into());
        }
        self.state.set(State::UnderWay);
        Ok(())
    }

    /// Says something without tearing the bar.
    pub(super) fn say(&self, text: &str) {
        self.batch.say(text);
    }
}

impl Batch {
    /// For `count` things, at most `workers` of them at a time.
    pub(super) fn new(count: usize, workers: usize, patience: &Patience) -> Self {
        let shown = count > 1 && std::io::stderr().is_terminal();
        let bar = shown.then(|| {
            let bar = ProgressBar::with_draw_target(
                u64::try_from(count).ok(),
                ProgressDrawTarget::stderr(),
            );
            if let Ok(style) = ProgressStyle::with_template("signing {pos}/{len} {bar:40} {eta}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self {
            bar,
            workers,
            patience: *patience,
            grace: GRACE,
            before: 0,
            stop: watch::Sender::new(None),
        }
    }

    /// So many others were signed before; they count in what is told in the end.
    pub(super) fn beside(mut self, before: usize) -> Self {
        self.before = before;
        self
    }

    /// Says something without tearing the bar.
    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| failure::say(text)),
            None => failure::say(text),
        }
    }

    fn stopped(&self) -> Option<Stop> {
        *self.stop.borrow()
    }

    /// Nothing else begins; the first reason counts.
    fn stop(&self, why: Stop) {
        self.stop.send_if_modified(|stop| {
            let first = stop.is_none();
            if first {
                *stop = Some(why);
            }
            first
        });
    }

    /// Does `one` for each, by its name.
    pub(super) async fn run<T>(
        &self,
        items: Vec<(String, T)>,
        one: impl AsyncFn(Turn<'_>, T) -> Result<Done>,
    ) -> Result<()> {
        let (names, items): (Vec<String>, Vec<T>) = items.into_iter().unzip();
        let states: Vec<Cell<State>> = vec![Cell::new(State::Untouched); names.len()];
        let failed: RefCell<Vec<anyhow::Error>> = RefCell::new(Vec::new());
        let one = &one;
        let work = stream::iter(items.into_iter().zip(&states)).map(|(item, state)| {
            let turn = Turn { batch: self, state };
            async move {
                if self.stopped().is_none() {
                    let outcome = one(turn, item).await;
                    (state, Some(outcome))
                } else {
                    (state, None)
                }
            }
        });
        {
            // What is left of it when this block ends is broken off.
            let mut work = std::pin::pin!(work.buffer_unordered(self.workers.max(1)));
            let mut signals = Signals::listen()?;
            let mut end: Option<Instant> = None;
            loop {
                let (state, outcome) = tokio::select! {
                    biased;
                    next = work.next() => match next {
                        Some(next) => next,
                        None => break,
                    },
                    () = signals.next() => {
                        if end.is_some() {
                            break;
                        }
                        self.stop(Stop::Signal);
                        end = Instant::now().checked_add(self.grace);
                        self.say("stopping: what is under way is finished; the same once more breaks it off");
                        continue;
                    }
                    () = self.patience.ended(), if end.is_none() => {
                        self.stop(Stop::Time);
                        end = Instant::now().checked_add(self.grace);
                        continue;
                    }
                    () = tokio::time::sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => break,
                };
                match outcome {
                    Some(Ok(done)) => state.set(State::Done(done)),
                    Some(Err(error)) if error.is::<NotBegun>() => {}
                    Some(Err(error)) => {
                        self.stop(Stop::Failure);
                        state.set(State::Failed);
                        failed.borrow_mut().push(error);
                    }
                    None => {}
                }
                if let Some(bar) = &self.bar {
                    bar.inc(1);
                }
            }
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let states: Vec<State> = states.iter().map(Cell::get).collect();
        self.conclude(&names, &states, failed.into_inner())
    }

    /// Says what became of them, and whether that is what was asked for.
    fn conclude(
        &self,
        names: &[String],
        states: &[State],
        failed: Vec<anyhow::Error>,
    ) -> Result<()> {
        let count = |wanted| states.iter().filter(|state| **state == wanted).count();
        let signed = count(State::Done(Done::Signed));
        let before = count(State::Done(Done::Already)).saturating_add(self.before);
        let total = states.len().saturating_add(self.before);
        let mut failed = failed.into_iter();
        if signed.saturating_add(before) == total {
            if total > 1 {
                failure::say(&format!("{signed} signed, {before} were before"));
            }
            return Ok(());
        }
        if let [state] = states
            && self.before == 0
        {
            return Err(match failed.next() {
                Some(error) => error,
                None => self.broken_off(*state),
            });
        }
        for error in failed {
            failure::tell(&error);
        }
        for (name, state) in names.iter().zip(states) {
            let became = match state {
                State::Done(Done::Signed) => "signed",
                State::Done(Done::Already) => "signed before",
                State::Failed => "failed, as said above",
                State::Untouched => "not begun; nothing of it is in a log",
                State::UnderWay => "broken off; its signature may be in a log",
            };
            failure::say(&format!("  {}: {became}", in_line(name)));
        }
        let why = match self.stopped() {
            Some(Stop::Time) => format!("{:#}: ", self.patience.over()),
            Some(Stop::Signal) => "stopped by a signal: ".to_owned(),
            Some(Stop::Failure) | None => String::new(),
        };
        Err(advice(
            format!(
                "{why}{} of {total} are signed, and the rest is not",
                signed.saturating_add(before)
            ),
            "with --if-missing the same command goes on where this one stopped",
        ))
    }

    /// Of a single thing that did not come to its end.
    fn broken_off(&self, state: State) -> anyhow::Error {
        let error = match self.stopped() {
            Some(Stop::Signal) => advice("stopped by a signal", "give the same command again"),
            _ => self.patience.over(),
        };
        if state == State::UnderWay {
            return error.context("broken off while it was being signed: the signature may be in a log, and there is no bundle for it");
        }
        error
    }
}

/// What asks a process to end.
struct Signals(Signal, Signal);

impl Signals {
    /// From now on they do not end it by themselves.
    fn listen() -> Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self(interrupt, signal(SignalKind::terminate())?))
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const LONG: Duration = Duration::from_hours(1);

    fn batch(workers: usize, time: Duration) -> Batch {
        Batch::new(20, workers, &Patience::new(time))
    }

    fn items(count: usize) -> Vec<(String, usize)> {
        (0..count)
            .map(|item| (format!("item {item}"), item))
            .collect()
    }

    /// At most so many at a time, and all of them.
    #[tokio::test]
    async fn some_at_a_time_and_all_in_the_end() {
        let (now, most, done) = (Cell::new(0), Cell::new(0), Cell::new(0));
        batch(3, LONG)
            .run(items(20), async |turn: Turn<'_>, _| {
                turn.begin()?;
                now.set(now.get() + 1);
                most.set(most.get().max(now.get()));
                tokio::task::yield_now().await;
                now.set(now.get() - 1);
                done.set(done.get() + 1);
                Ok(Done::Signed)
            })
            .await
            .unwrap();
        assert_eq!((most.get(), done.get()), (3, 20));
    }

    /// What has begun may be in a log already, and its bundle must not be lost.
    #[tokio::test]
    async fn after_a_failure_nothing_begins_and_everything_that_began_ends() {
        let (begun, ended) = (Cell::new(0), Cell::new(0));
        let error = batch(4, LONG)
            .run(items(20), async |turn: Turn<'_>, item| {
                turn.begin()?;
                begun.set(begun.get() + 1);
                if item == 1 {
                    anyhow::bail!("the log is down");
                }
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                ended.set(ended.get() + 1);
                Ok(Done::Signed)
            })
            .await
            .unwrap_err();
        assert_eq!(ended.get(), begun.get() - 1);
        assert!(begun.get() < 20, "{}", begun.get());
        assert!(error.to_string().contains(" of 20 are signed"), "{error}");
    }

    /// The end of the time breaks off what waits for others, and not what may be in a log.
    #[tokio::test]
    async fn when_the_time_is_over_what_may_be_logged_is_finished_and_nothing_else() {
        let (finished, broken) = (Cell::new(0), Cell::new(0));
        let error = batch(4, Duration::ZERO)
            .run(items(20), async |turn: Turn<'_>, item| {
                if item % 2 == 0 {
                    turn.begin()?;
                    // It ends after the time did.
                    let mut stop = turn.batch.stop.subscribe();
                    stop.wait_for(Option::is_some).await?;
                    finished.set(finished.get() + 1);
                    return Ok(Done::Signed);
                }
                let read = turn.before(pending::<Result<()>>()).await;
                broken.set(broken.get() + 1);
                read?;
                turn.begin()?;
                Ok(Done::Signed)
            })
            .await
            .unwrap_err();
        assert_eq!((finished.get(), broken.get()), (2, 2));
        let text = error.to_string();
        assert!(text.contains("2 of 20 are signed"), "{text}");
        assert!(text.contains("not done after 0 s"), "{text}");
    }

    /// Grace ends too.
    #[tokio::test]
    async fn what_is_not_finished_in_its_grace_is_broken_off_and_named() {
        let mut batch = batch(1, Duration::ZERO);
        batch.grace = Duration::ZERO;
        let never = async |turn: Turn<'_>, _| {
            turn.begin()?;
            pending().await
        };
        let error = batch.run(items(1), never).await.unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("the signature may be in a log"), "{text}");
        assert!(text.contains("not done after 0 s"), "{text}");
    }
}
