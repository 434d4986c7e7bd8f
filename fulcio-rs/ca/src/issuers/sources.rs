//! The keys of issuers that match a pattern: as many as there are tenants, so they are kept within bounds.
//!
//! Anybody can send tokens that name issuers which do not exist. So those whose keys we have, and those that were only named, are kept
//! apart, and the second never push out the first; and few of the second are asked at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::Settings;
use jiff::Timestamp;
use oidc::Jwks;
use tokio::sync::Semaphore;

use super::keys::{KeyError, KeySource};

/// How many issuers of a pattern are kept: those with keys, and those without.
const MAX_KNOWN: usize = 1000;
const MAX_NAMED: usize = 200;
/// How many issuers without keys are asked at a time.
const FIRST_MEETINGS: usize = 16;
/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Sources {
    pattern: String,
    settings: Settings,
    state: Mutex<State>,
    meetings: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    turn: u64,
    known: HashMap<String, (u64, KeySource)>,
    named: HashMap<String, (u64, KeySource)>,
}

impl Sources {
    pub(super) fn new(pattern: &str, settings: Settings) -> Self {
        Self {
            pattern: pattern.to_owned(),
            settings,
            state: Mutex::default(),
            meetings: Semaphore::new(FIRST_MEETINGS),
        }
    }

    /// The issuer's keys, and where newer ones come from.
    pub(super) async fn current(
        &self,
        issuer: &str,
        now: Timestamp,
    ) -> Result<(KeySource, Arc<Jwks>), KeyError> {
        let (source, known) = self.source(issuer)?;
        if known {
            let keys = source.current(now).await?;
            return Ok((source, keys));
        }
        let permit = tokio::time::timeout(PATIENCE, self.meetings.acquire()).await;
        let Ok(Ok(_permit)) = permit else {
            return Err(KeyError::Busy);
        };
        let keys = source.current(now).await?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = state.next_turn();
        state.named.remove(issuer);
        keep(&mut state.known, MAX_KNOWN, issuer, turn, source.clone());
        Ok((source, keys))
    }

    fn source(&self, issuer: &str) -> Result<(KeySource, bool), KeyError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = state.next_turn();
        if let Some((used, source)) = state.known.get_mut(issuer) {
            *used = turn;
            return Ok((source.clone(), true));
        }
        if let Some((used, source)) = state.named.get_mut(issuer) {
            *used = turn;
            return Ok((source.clone(), false));
        }
        let source = KeySource::new(issuer, &self.pattern, self.settings.clone())?;
        keep(&mut state.named, MAX_NAMED, issuer, turn, source.clone());
        Ok((source, false))
    }
}

impl State {
    const fn next_turn(&mut self) -> u64 {
        self.turn = self.turn.saturating_add(1);
        self.turn
    }
}

/// Keeps one more, and lets go of the one that was asked for longest ago if there is no room.
fn keep(
    sources: &mut HashMap<String, (u64, KeySource)>,
    room: usize,
    issuer: &str,
    turn: u64,
    source: KeySource,
) {
    if sources.len() >= room && !sources.contains_key(issuer) {
        let oldest = sources.iter().min_by_key(|(_, (used, _))| *used);
        if let Some(oldest) = oldest.map(|(issuer, _)| issuer.clone()) {
            sources.remove(&oldest);
        }
    }
    sources.insert(issuer.to_owned(), (turn, source));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn issuers_that_do_not_exist_push_out_nobody() {
        let settings = Settings {
            attempts: 1,
            connect_timeout: Duration::from_millis(200),
            ..Settings::default()
        };
        let sources = Sources::new("http://127.0.0.1:1/*", settings);
        let now = Timestamp::UNIX_EPOCH;
        let real = KeySource::new("http://127.0.0.1:1/real", "", Settings::default()).unwrap();
        sources
            .state
            .lock()
            .unwrap()
            .known
            .insert("http://127.0.0.1:1/real".into(), (0, real));
        for number in 0..MAX_NAMED + 50 {
            let issuer = format!("http://127.0.0.1:1/{number}");
            assert!(sources.current(&issuer, now).await.is_err());
        }
        let state = sources.state.lock().unwrap();
        assert_eq!((state.known.len(), state.named.len()), (1, MAX_NAMED));
    }
}
