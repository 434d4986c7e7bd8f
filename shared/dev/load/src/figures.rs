//! What a run measured.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// The figures of one run. Latencies are in microseconds, from the first byte of a request to the last byte of its answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// How many connections asked at the same time.
    pub connections: usize,
    /// Requests that got what they asked for.
    pub answered: usize,
    /// Requests that did not.
    pub errors: usize,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// `answered` in a second.
    pub per_second: f64,
    /// Half of the requests took no longer than this.
    pub p50: u64,
    /// 95 of 100.
    pub p95: u64,
    /// 99 of 100.
    pub p99: u64,
    /// The slowest.
    pub max: u64,
    /// What went wrong, and how often.
    pub reasons: BTreeMap<String, usize>,
}

impl Figures {
    /// From the latencies of the requests that were answered, in any order, and the reasons of those that were not.
    pub fn of(
        connections: usize,
        mut latencies: Vec<Duration>,
        reasons: BTreeMap<String, usize>,
        took: Duration,
    ) -> Self {
        latencies.sort_unstable();
        let answered = latencies.len();
        let seconds = took.as_secs_f64();
        let count = f64::from(u32::try_from(answered).unwrap_or(u32::MAX));
        Self {
            connections,
            answered,
            errors: reasons.values().sum(),
            seconds,
            per_second: if seconds > 0.0 { count / seconds } else { 0.0 },
            p50: percentile(&latencies, 50),
            p95: percentile(&latencies, 95),
            p99: percentile(&latencies, 99),
            max: percentile(&latencies, 100),
            reasons,
        }
    }
}

/// The nearest rank: the smallest latency that `percent` of all requests do not exceed, in microseconds.
fn percentile(sorted: &[Duration], percent: usize) -> u64 {
    let rank = sorted.len().saturating_mul(percent).div_ceil(100);
    let latency = sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default();
    u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |micros: u64| Duration::from_micros(micros).as_secs_f64() * 1e3;
        writeln!(
            formatter,
            "{} connections, {} requests in {:.1} s: {:.1} requests/s, p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms, max {:.2} ms, {} errors",
            self.connections,
            self.answered,
            self.seconds,
            self.per_second,
            millis(self.p50),
            millis(self.p95),
            millis(self.p99),
            millis(self.max),
            self.errors
        )?;
        for (reason, count) in &self.reasons {
            writeln!(formatter, "ERROR {count} times: {reason}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let latencies = (1..=200).rev().map(Duration::from_micros).collect();
        let figures = Figures::of(4, latencies, BTreeMap::new(), Duration::from_secs(2));
        assert_eq!(
            (figures.p50, figures.p95, figures.p99, figures.max),
            (100, 190, 198, 200)
        );
        assert!((figures.per_second - 100.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_answered_is_no_speed_and_errors_are_told() {
        let reasons = BTreeMap::from([("503".to_owned(), 2), ("connection refused".to_owned(), 1)]);
        let figures = Figures::of(1, Vec::new(), reasons, Duration::ZERO);
        assert_eq!((figures.answered, figures.errors, figures.max), (0, 3, 0));
        assert!(figures.to_string().contains("ERROR 2 times: 503"));
    }
}
