//! The time that tokens state, and how far it may be off.
//!
//! Tokens have the machine's clock, which its own time service keeps. Here it is held against three witnesses, each where the settings
//! name it, and as long as one of them disagrees there are no tokens:
//!
//! ```text
//! NTP servers     asked once a minute; a quorum of them has to say that the clock is off by no more than so much, and must have said so
//!                 lately. Between two checks the monotonic clock says how much of the time of day was stepped
//! the last token  no token states an earlier time than one before it. (A quorum of servers may say that the clock was wrong then)
//! the state file  the same, across restarts
//! ```
//!
//! The bound on the error is part of a token's accuracy. Without servers nobody here can know one, and it is what the settings say.
//!
//! What somebody could do who controls a minority of the servers: nothing, but for making themselves missed. The network in front of
//! all of them, since SNTP has no signatures: say that a wrong clock is right, or stop the tokens; the clock itself is not set by what is
//! read here.

mod agree;
mod ask;
mod memory;
mod packet;
mod ticks;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serve::Clock;
use thiserror::Error;
use tokio::sync::Notify;

use agree::agree;
use ask::{Outcome, ask};
use packet::{Kiss, Offset};

pub use memory::{Memory, MemoryError};
pub use ticks::Ticks;

/// How much a clock that nobody disciplines gains or loses on the monotonic one, in parts of a million: RFC 5905 says 15, a cheap crystal
/// in the heat has more.
const PHI: u32 = 100;
/// How often the state file is written, where there is something new: a crash forgets so much.
const KEEP: Duration = Duration::from_secs(10);
/// Between two checks, however urgently the second one is wanted.
const PAUSE: Duration = Duration::from_secs(5);
/// Rounds in which a server is left alone that said RATE, and one that said DENY.
const AFTER_RATE: u32 = 8;
const AFTER_DENY: u32 = 256;

/// What the clock is held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// None where the machine's clock is believed.
    pub servers: Option<Servers>,
    /// How far the clock may be off, for tokens whose time no server has checked.
    pub assumed: Duration,
}

/// NTP servers, and what they have to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers {
    /// `host:port`, each another machine.
    pub names: Vec<String>,
    /// How many have to agree; more than half.
    pub quorum: usize,
    /// The most by which the clock may be off.
    pub most: Duration,
    /// From one check to the next.
    pub every: Duration,
    /// How long a check counts; afterwards there are no tokens.
    pub lasts: Duration,
    /// How long a server has to answer.
    pub limit: Duration,
}

impl Default for Watch {
    /// A clock that is believed, to the second.
    fn default() -> Self {
        Self {
            servers: None,
            assumed: Duration::ZERO,
        }
    }
}

/// A time that may be stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// What the clock says.
    pub at: Timestamp,
    /// How far that may be off, either way.
    pub error: Duration,
}

/// Why no time may be stated.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Doubt {
    /// No check has succeeded yet.
    #[error("the clock has not been checked yet: {0}")]
    Unchecked(String),
    /// Too long ago.
    #[error("the clock was last checked {} s ago, since when {why}", ago.as_secs())]
    Stale {
        /// When the last check was that counted.
        ago: Duration,
        /// What was wrong with the latest.
        why: String,
    },
    /// The servers say that it is wrong, or it was set since.
    #[error("the clock may be off by {} ms, at most {} are allowed", off.as_millis(), most.as_millis())]
    Off {
        /// By how much it may be off.
        off: Duration,
        /// The bound.
        most: Duration,
    },
    /// It shows less than it did.
    #[error("the clock says {now}, and it has said {latest} before")]
    Backwards {
        /// What it says.
        now: Timestamp,
        /// The latest time that was stated.
        latest: Timestamp,
    },
}

impl Doubt {
    /// For figures.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unchecked(_) => "unchecked",
            Self::Stale { .. } => "stale",
            Self::Off { .. } => "off",
            Self::Backwards { .. } => "backwards",
        }
    }
}

/// The clock and its witnesses. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Timekeeper(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    ticks: Ticks,
    watch: Watch,
    memory: Option<Memory>,
    /// Held for the reading of two clocks, never across an await.
    state: Mutex<State>,
    /// A check is wanted before its turn.
    wanted: Notify,
}

#[derive(Debug)]
struct State {
    /// The latest time that a token had, or any that was looked at on its behalf.
    latest: Option<Timestamp>,
    /// The latest check that a quorum took part in.
    checked: Option<Checked>,
    /// What was wrong with the last check.
    trouble: String,
    /// Of each server, how many rounds it is left alone.
    resting: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Checked {
    ticks: Duration,
    clock: Timestamp,
    error: Duration,
}

impl Timekeeper {
    /// With a state file its time is read, and the file written, so that one that cannot be written is found now.
    pub fn new(
        clock: Clock,
        ticks: Ticks,
        watch: Watch,
        memory: Option<Memory>,
    ) -> Result<Self, MemoryError> {
        let mut latest = None;
        if let Some(memory) = &memory {
            latest = memory.read()?;
            memory.write(latest.unwrap_or_else(|| clock.now()))?;
        }
        let servers = watch
            .servers
            .as_ref()
            .map_or(0, |servers| servers.names.len());
        Ok(Self(Arc::new(Inner {
            clock,
            ticks,
            watch,
            memory,
            state: Mutex::new(State {
                latest,
                checked: None,
                trouble: "the servers have not answered yet".to_owned(),
                resting: vec![0; servers],
            }),
            wanted: Notify::new(),
        })))
    }

    /// The machine's clock, with no witness but the tokens of this process.
    pub fn unwatched(clock: Clock) -> Self {
        Self(Arc::new(Inner {
            clock,
            ticks: Ticks::system(),
            watch: Watch::default(),
            memory: None,
            state: Mutex::new(State {
                latest: None,
                checked: None,
                trouble: String::new(),
                resting: Vec::new(),
            }),
            wanted: Notify::new(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time for a token. It is no earlier than that of any token before, and the error is known as well as the settings have it known.
    pub fn now(&self) -> Result<Moment, Doubt> {
        // Read under the lock: of two requests the one that reads later also compares later.
        let mut state = self.state();
        let at = self.0.clock.now();
        let error = self.error(&state, at).inspect_err(|_| {
            self.0.wanted.notify_one();
        })?;
        if let Some(latest) = state.latest
            && at < latest
        {
            self.0.wanted.notify_one();
            return Err(Doubt::Backwards { now: at, latest });
        }
        state.latest = Some(at);
        Ok(Moment { at, error })
    }

    /// How far the clock may be off that says `at` now.
    fn error(&self, state: &State, at: Timestamp) -> Result<Duration, Doubt> {
        let Some(servers) = &self.0.watch.servers else {
            return Ok(self.0.watch.assumed);
        };
        let Some(checked) = state.checked else {
            return Err(Doubt::Unchecked(state.trouble.clone()));
        };
        let ago = self.0.ticks.now().saturating_sub(checked.ticks);
        if ago > servers.lasts {
            let why = state.trouble.clone();
            return Err(Doubt::Stale { ago, why });
        }
        // Whoever set the clock since, by however little, moved it by this.
        let expected = SignedDuration::try_from(ago)
            .ok()
            .and_then(|ago| checked.clock.checked_add(ago).ok());
        let stepped = expected.map_or(Duration::MAX, |expected| {
            at.duration_since(expected).unsigned_abs()
        });
        let wander = ago.saturating_mul(PHI) / 1_000_000;
        let off = checked.error.saturating_add(stepped).saturating_add(wander);
        if off > servers.most {
            return Err(Doubt::Off {
                off,
                most: servers.most,
            });
        }
        Ok(off)
    }

    /// Asks all servers once and takes what a quorum of them says. Does nothing where there are none.
    pub async fn check(&self) {
        let Some(servers) = &self.0.watch.servers else {
            return;
        };
        // Read before anybody is asked: whoever sets the clock meanwhile is found out by the first token.
        let (ticks, clock) = (self.0.ticks.now(), self.0.clock.now());
        let outcomes = self.ask_all(servers).await;
        let mut said = Vec::new();
        for (name, outcome) in servers.names.iter().zip(&outcomes) {
            match outcome {
                Some(Outcome::Said(offset)) => said.push(*offset),
                Some(Outcome::Refused(kiss)) => {
                    tracing::warn!(server = name, %kiss, "an NTP server wants to be left alone");
                }
                Some(Outcome::Nothing(why)) => {
                    tracing::info!(server = name, why, "an NTP server says nothing");
                }
                None => {}
            }
        }
        if let Some(error) = self.conclude(servers, &said, clock) {
            self.state().checked = Some(Checked {
                ticks,
                clock,
                error,
            });
        }
    }

    async fn ask_all(&self, servers: &Servers) -> Vec<Option<Outcome>> {
        let awake: Vec<bool> = {
            let mut state = self.state();
            let rest = |rounds: &mut u32| {
                let awake = *rounds == 0;
                *rounds = rounds.saturating_sub(1);
                awake
            };
            state.resting.iter_mut().map(rest).collect()
        };
        let mut asking = tokio::task::JoinSet::new();
        for (position, name) in servers.names.iter().enumerate() {
            if !awake.get(position).copied().unwrap_or(true) {
                continue;
            }
            let (keeper, name, limit) = (self.clone(), name.clone(), servers.limit);
            asking.spawn(async move {
                let begun = keeper.0.ticks.now();
                let now = || keeper.0.clock.now();
                let outcome = ask(&name, limit, &now, &keeper.0.ticks).await;
                let took = keeper.0.ticks.now().saturating_sub(begun);
                let failed = !matches!(outcome, Outcome::Said(_));
                crate::figures::asked(&name, failed, took);
                (position, outcome)
            });
        }
        let mut outcomes: Vec<Option<Outcome>> = servers.names.iter().map(|_| None).collect();
        while let Some(asked) = asking.join_next().await {
            let Ok((position, outcome)) = asked else {
                continue;
            };
            if let Outcome::Refused(kiss) = &outcome
                && let Some(resting) = self.state().resting.get_mut(position)
            {
                *resting = match kiss {
                    Kiss::Rate => AFTER_RATE,
                    Kiss::Deny | Kiss::Other => AFTER_DENY,
                };
            }
            if let Some(place) = outcomes.get_mut(position) {
                *place = Some(outcome);
            }
        }
        outcomes
    }

    /// By how much the clock may be off, where a quorum says so. `begun` is what it said when the check began.
    fn conclude(&self, servers: &Servers, said: &[Offset], begun: Timestamp) -> Option<Duration> {
        let mut state = self.state();
        if said.len() < servers.quorum {
            crate::figures::check_failed("err_too_few");
            state.trouble = format!(
                "{} of {} servers said something about the time, and {} have to",
                said.len(),
                servers.names.len(),
                servers.quorum
            );
            tracing::warn!(why = state.trouble, "the clock could not be checked");
            return None;
        }
        let Some(offset) = agree(said, servers.quorum) else {
            crate::figures::check_failed("err_disagree");
            state.trouble = format!("no {} of the servers agree about the time", servers.quorum);
            tracing::warn!(why = state.trouble, "the clock could not be checked");
            return None;
        };
        let error = Duration::from_nanos(offset.low.unsigned_abs().max(offset.high.unsigned_abs()));
        let now = self.0.clock.now();
        if error > servers.most {
            crate::figures::check_failed("err_inv_time");
            tracing::error!(
                off_milliseconds = error.as_millis(),
                allowed_milliseconds = servers.most.as_millis(),
                "the clock is wrong: no tokens until it is right"
            );
        } else if let Some(latest) = state.latest
            && now < latest
            && begun <= now
        {
            // They are all out there; the servers say that it is the earlier time that is right.
            tracing::error!(%latest, %now, "the clock was ahead, and tokens may have had a time in the future");
            state.latest = None;
        }
        crate::figures::clock_error(error);
        state.trouble = String::from("nothing was wrong");
        Some(error)
    }

    /// Whether anything has to be done again and again.
    pub fn is_watched(&self) -> bool {
        self.0.watch.servers.is_some() || self.0.memory.is_some()
    }

    /// Checks the clock and keeps the state file, until `end`.
    pub async fn watch(self, end: impl Future<Output = ()>) {
        let keeping = async {
            let mut turn = tokio::time::interval(KEEP);
            loop {
                turn.tick().await;
                self.keep().await;
            }
        };
        tokio::select! {
            () = end => {}
            () = keeping => {}
            () = self.check_for_ever() => {}
        }
        self.keep().await;
    }

    async fn check_for_ever(&self) {
        let Some(servers) = &self.0.watch.servers else {
            return std::future::pending().await;
        };
        loop {
            self.check().await;
            let pause = PAUSE.min(servers.every);
            tokio::time::sleep(pause).await;
            let rest = tokio::time::sleep(servers.every.saturating_sub(pause));
            tokio::select! {
                () = rest => {}
                () = self.0.wanted.notified() => {}
            }
        }
    }

    /// Writes the state file, if there is something new for it.
    pub async fn keep(&self) {
        let Some(memory) = self.0.memory.clone() else {
            return;
        };
        let Some(latest) = self.state().latest else {
            return;
        };
        let written = tokio::task::spawn_blocking(move || match memory.read() {
            Ok(Some(there)) if there == latest => Ok(()),
            _ => memory.write(latest),
        });
        if let Ok(Err(error)) = written.await {
            tracing::error!(
                error = format!("{:#}", anyhow::Error::from(error)),
                "the latest time could not be kept: after a restart nobody would know it"
            );
        }
    }
}
