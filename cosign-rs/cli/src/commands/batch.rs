//! Many things signed in one run: one login, one certificate while it lasts, and some of them at a time.

use std::cell::{Cell, RefCell};
use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Result;
use futures_util::StreamExt as _;
use futures_util::stream;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::failure::{self, advice};

/// What became of one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// It is signed now.
    Signed,
    /// It was before, by the same signer.
    Already,
}

/// A run over many things, and what people see of it.
pub(super) struct Batch {
    bar: Option<ProgressBar>,
    workers: usize,
}

impl Batch {
    /// For `count` things, at most `workers` of them at a time.
    pub(super) fn new(count: usize, workers: usize) -> Self {
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
        Self { bar, workers }
    }

    /// Says something without tearing the bar.
    pub(super) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| failure::say(text)),
            None => failure::say(text),
        }
    }

    /// Does `one` for each. The first failure starts no more of them; those that are on the way come to their end, since each may be in a log
    /// already.
    pub(super) async fn run<T>(
        &self,
        items: impl IntoIterator<Item = T>,
        one: impl AsyncFn(T) -> Result<Done>,
    ) -> Result<()> {
        let failed: RefCell<Option<anyhow::Error>> = RefCell::new(None);
        let (total, signed, already) = (Cell::new(0_usize), Cell::new(0_usize), Cell::new(0_usize));
        let add = |counter: &Cell<usize>| counter.set(counter.get().saturating_add(1));
        let work = stream::iter(items).map(|item| {
            add(&total);
            let begun = failed.borrow().is_none().then(|| one(item));
            async move {
                match begun {
                    Some(work) => Some(work.await),
                    None => None,
                }
            }
        });
        let mut work = std::pin::pin!(work.buffer_unordered(self.workers.max(1)));
        while let Some(outcome) = work.next().await {
            match outcome {
                Some(Ok(Done::Signed)) => add(&signed),
                Some(Ok(Done::Already)) => add(&already),
                Some(Err(error)) => {
                    if failed.borrow().is_some() {
                        self.say(&format!("also: {error:#}"));
                    } else {
                        failed.replace(Some(error));
                    }
                }
                None => {}
            }
            if let Some(bar) = &self.bar {
                bar.inc(1);
            }
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let (total, signed, already) = (total.get(), signed.get(), already.get());
        match failed.take() {
            None => {
                if total > 1 {
                    failure::say(&format!("{signed} signed, {already} were before"));
                }
                Ok(())
            }
            Some(error) if total == 1 => Err(error),
            Some(error) => {
                failure::tell(&error);
                Err(advice(
                    format!(
                        "{} of {total} are signed, and the rest is not",
                        signed.saturating_add(already)
                    ),
                    "with --if-missing the same command goes on where this one stopped",
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At most so many at a time, and all of them.
    #[tokio::test]
    async fn some_at_a_time_and_all_in_the_end() {
        let (now, most, done) = (Cell::new(0), Cell::new(0), Cell::new(0));
        Batch::new(20, 3)
            .run(0..20, |_| async {
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
        let error = Batch::new(20, 4)
            .run(0..20, |item| {
                begun.set(begun.get() + 1);
                let ended = &ended;
                async move {
                    if item == 1 {
                        anyhow::bail!("the log is down");
                    }
                    for _ in 0..10 {
                        tokio::task::yield_now().await;
                    }
                    ended.set(ended.get() + 1);
                    Ok(Done::Signed)
                }
            })
            .await
            .unwrap_err();
        assert_eq!(ended.get(), begun.get() - 1);
        assert!(begun.get() < 20, "{}", begun.get());
        assert!(error.to_string().contains(" of 20 are signed"), "{error}");
    }
}
