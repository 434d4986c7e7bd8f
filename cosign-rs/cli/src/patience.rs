//! How long a command may take.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use crate::failure::{Outcome, advice_of};

/// `--timeout`, counted from the beginning of the command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    whole: Duration,
    /// None is so far away that no clock of this machine shows it.
    end: Option<Instant>,
}

impl Patience {
    /// From now on.
    pub(crate) fn new(whole: Duration) -> Self {
        Self {
            whole,
            end: Instant::now().checked_add(whole),
        }
    }

    /// Does something that may be broken off: nothing of it lasts, or what does is whole at each moment.
    pub(crate) async fn limit<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            done = work => done,
            () = self.ended() => Err(self.over()),
        }
    }

    /// Waits until it is at its end.
    pub(crate) async fn ended(&self) {
        match self.end {
            Some(end) => tokio::time::sleep_until(end).await,
            None => std::future::pending().await,
        }
    }

    /// What is said then.
    pub(crate) fn over(&self) -> anyhow::Error {
        advice_of(
            Outcome::Transport,
            Some("timeout"),
            format!("not done after {} s", self.whole.as_secs()),
            "give it longer with --timeout",
        )
    }
}
