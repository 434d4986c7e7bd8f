//! Tokens that were used, for operators who want each to be good for one certificate.
//!
//! Kept in memory until the token would have expired anyway: a restart forgets them, and instances do not tell each other. When there is no
//! room for one more, nobody gets a certificate until one expires; to forget one early would be to take it twice.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use oidc::{Claims, Token};

use super::IdentityError;

/// How many are remembered: some 20 MB when it is full.
const MAX_SPENT: usize = 250_000;
/// How long a token is remembered beyond its end: longer than any request lasts, and than clocks are set back.
const MARGIN: SignedDuration = SignedDuration::from_mins(10);

/// What a token is remembered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Once {
    /// Half of SHA-256.
    id: u128,
    until: Timestamp,
}

impl Once {
    /// The issuer's word for this token (`jti`, RFC 7519 section 4.1.7), and else the token itself.
    pub(super) fn of(token: &Token, claims: &Claims) -> Result<Self, IdentityError> {
        let digest = match (claims.issuer(), claims.written("jti")) {
            (Ok(issuer), Some(jti)) if !jti.is_empty() => {
                keys::digest::sha256(format!("{issuer}\0{jti}").as_bytes())
            }
            _ => token.digest(),
        };
        let (half, _) = digest.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
        let until = claims.expiry()?;
        Ok(Self {
            id: u128::from_be_bytes(*half),
            // Verified tokens have one.
            until: until.unwrap_or(Timestamp::MAX),
        })
    }
}

#[derive(Debug)]
pub(super) struct Spent {
    room: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    seen: HashSet<u128>,
    by_end: BTreeSet<(Timestamp, u128)>,
}

impl Default for Spent {
    fn default() -> Self {
        Self::with_room(MAX_SPENT)
    }
}

impl Spent {
    fn with_room(room: usize) -> Self {
        Self {
            room,
            state: Mutex::default(),
        }
    }

    /// Takes a token, the first time. `now` may be from when the request came, which is some time ago for one that had to wait.
    pub(super) fn spend(&self, once: Once, now: Timestamp) -> Result<(), IdentityError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten = now.checked_sub(MARGIN).unwrap_or(Timestamp::MIN);
        while let Some((end, id)) = state.by_end.first().copied()
            && end <= forgotten
        {
            state.by_end.pop_first();
            state.seen.remove(&id);
        }
        if state.seen.contains(&once.id) {
            return Err(IdentityError::Used);
        }
        if state.seen.len() >= self.room {
            return Err(IdentityError::NoRoom);
        }
        state.seen.insert(once.id);
        state.by_end.insert((once.until, once.id));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_memory_takes_nobody_until_one_has_expired() {
        let spent = Spent::with_room(2);
        let at = |second| Timestamp::from_second(second).unwrap();
        let once = |id, end| Once { id, until: at(end) };
        spent.spend(once(1, 100), at(0)).unwrap();
        spent.spend(once(2, 50), at(0)).unwrap();
        assert!(matches!(
            spent.spend(once(1, 100), at(0)),
            Err(IdentityError::Used)
        ));
        assert!(matches!(
            spent.spend(once(3, 90), at(49)),
            Err(IdentityError::NoRoom)
        ));
        assert!(matches!(
            spent.spend(once(2, 50), at(49)),
            Err(IdentityError::Used)
        ));
        // A request that came before the end and waited comes after others.
        assert!(matches!(
            spent.spend(once(3, 90), at(60)),
            Err(IdentityError::NoRoom)
        ));
        assert!(matches!(
            spent.spend(once(2, 50), at(49)),
            Err(IdentityError::Used)
        ));
        let later = 50 + MARGIN.as_secs();
        spent.spend(once(3, 90), at(later)).unwrap();
        assert!(matches!(
            spent.spend(once(1, 100), at(later)),
            Err(IdentityError::Used)
        ));
    }
}
