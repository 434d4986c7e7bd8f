//! From the bytes of a request to an entry that may go into the log.

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use entry::{AdmitError, Proposed, REKOR_V2_ALGORITHMS};
use thiserror::Error;
use tokio::sync::Semaphore;

use crate::leaf::{Entry, MAX_BODY};

/// Requests that may wait for a signature check. At some 150 microseconds each this is well under a second of one core.
const WAITING: usize = 2048;

/// The door: parses, checks signatures, makes the canonical bytes.
///
/// The work takes tens to hundreds of microseconds of CPU, so it runs on the blocking pool, as many at a time as there
/// are cores, and never on the threads that serve connections.
#[derive(Clone, Debug)]
pub struct Door {
    waiting: Arc<Semaphore>,
    running: Arc<Semaphore>,
    dsse: bool,
}

/// An entry that may go in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// What the log keeps.
    pub leaf: Entry,
    /// Its canonical body.
    pub body: Vec<u8>,
    /// `hashedrekord` or `dsse`.
    pub kind: &'static str,
    /// `0.0.2`.
    pub version: &'static str,
}

/// Why an entry may not go in.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Too many requests wait.
    #[error("too many requests wait for their signature check")]
    Busy,
    /// The request is wrong.
    #[error(transparent)]
    Request(#[from] AdmitError),
    /// This log takes no envelopes.
    #[error(
        "this log takes no dsseRequestV002: send a hashedRekordRequestV002 over the digest of the envelope's PAE"
    )]
    DsseIsOff,
    /// The body does not fit into a bundle.
    #[error("the entry has {0} bytes, and an entry has at most {MAX_BODY}")]
    TooLong(usize),
    /// The check ended without an answer: the process is going down.
    #[error("the signature check was interrupted")]
    Interrupted,
}

impl Door {
    /// A door that lets dsse requests in, or not.
    pub fn new(dsse: bool) -> Self {
        let cores = available_parallelism().map_or(1, NonZero::get);
        Self {
            waiting: Arc::new(Semaphore::new(WAITING)),
            running: Arc::new(Semaphore::new(cores)),
            dsse,
        }
    }

    /// Admits a request, or refuses it.
    pub async fn admit<B>(&self, request: B) -> Result<Admitted, Refusal>
    where
        B: AsRef<[u8]> + Send + 'static,
    {
        let place = self.waiting.clone().try_acquire_owned();
        let place = place.map_err(|_| Refusal::Busy)?;
        let turn = self.running.clone().acquire_owned().await;
        let turn = turn.map_err(|_| Refusal::Interrupted)?;
        let dsse = self.dsse;
        let check = move || {
            // The permits live as long as the work, even when nobody waits for it any more.
            let _permits = (place, turn);
            check(request.as_ref(), dsse)
        };
        tokio::task::spawn_blocking(check)
            .await
            .map_err(|_| Refusal::Interrupted)?
    }
}

fn check(request: &[u8], dsse: bool) -> Result<Admitted, Refusal> {
    let proposed = Proposed::parse(request)?;
    if !dsse && matches!(proposed, Proposed::Dsse(_)) {
        return Err(Refusal::DsseIsOff);
    }
    let accepted = proposed.admit(&REKOR_V2_ALGORITHMS)?;
    let leaf = Entry::new(accepted.body()).ok_or(Refusal::TooLong(accepted.body().len()))?;
    Ok(Admitted {
        leaf,
        kind: accepted.kind(),
        version: accepted.version(),
        body: accepted.into_body(),
    })
}
