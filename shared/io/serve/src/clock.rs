//! The time of day, injected: services ask a [`Clock`] and pass the answer on as a value.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

/// Where a service reads the time. Cloning is cheap, and clones of a fixed clock move together.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    /// Nanosecond precision is of no use to anyone here; microseconds since 1970 fit an `i64` for 290,000 years.
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's clock.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `at` (to the microsecond) until [`Clock::advance`] moves it.
    pub fn fixed(at: Timestamp) -> Self {
        Self(Source::Fixed(Arc::new(AtomicI64::new(at.as_microsecond()))))
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::now(),
            Source::Fixed(at) => {
                // The range of jiff is smaller than the range of i64, and only `advance` can leave it.
                Timestamp::from_microsecond(at.load(Ordering::SeqCst)).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// Moves a fixed clock forward; a system clock does not listen.
    pub fn advance(&self, by: Duration) {
        if let Source::Fixed(at) = &self.0 {
            let step = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
            at.fetch_add(step, Ordering::SeqCst);
        }
    }

    /// Puts a fixed clock somewhere else, before or behind where it stands, as an operator or a time service might; a system clock does not
    /// listen.
    pub fn set(&self, to: Timestamp) {
        if let Source::Fixed(at) = &self.0 {
            at.store(to.as_microsecond(), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_clock_moves_only_when_told_and_with_its_clones() {
        let start: Timestamp = "2026-11-22T10:00:00.5Z".parse().unwrap();
        let clock = Clock::fixed(start);
        let other = clock.clone();
        assert_eq!(clock.now(), start);
        other.advance(Duration::from_secs(90));
        assert_eq!(clock.now(), "2026-11-22T10:01:30.5Z".parse().unwrap());
        other.set(start);
        assert_eq!(clock.now(), start);
    }
}
