//! The clock that only counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long this process runs, by a clock that nobody sets (CLOCK_MONOTONIC): what the time of day is measured against between two checks. It
/// stands still while the machine sleeps. Clones of a fixed one move together.
#[derive(Clone, Debug)]
pub struct Ticks(Source);

#[derive(Clone, Debug)]
enum Source {
    System(Instant),
    Fixed(Arc<AtomicU64>),
}

impl Ticks {
    /// The machine's, from now on.
    pub fn system() -> Self {
        Self(Source::System(Instant::now()))
    }

    /// One that moves only by [`Ticks::advance`].
    pub fn fixed() -> Self {
        Self(Source::Fixed(Arc::default()))
    }

    /// Since it was made.
    pub fn now(&self) -> Duration {
        match &self.0 {
            Source::System(begin) => begin.elapsed(),
            Source::Fixed(microseconds) => {
                Duration::from_micros(microseconds.load(Ordering::SeqCst))
            }
        }
    }

    /// Moves a fixed one; the machine's does not listen.
    pub fn advance(&self, by: Duration) {
        if let Source::Fixed(microseconds) = &self.0 {
            let by = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
            microseconds.fetch_add(by, Ordering::SeqCst);
        }
    }
}
