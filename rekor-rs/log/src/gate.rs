//! Where signature checks wait for a core.

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use thiserror::Error;
use tokio::sync::Semaphore;

/// Requests that may wait for a signature check. At some 150 microseconds each this is well under a second of one core. A package (v1) of some
/// megabytes takes tens of milliseconds, and the worst that can be made of one about a second; how many of those one client sends is
/// for `client_rate` to say.
const WAITING: usize = 2048;

/// Runs work of hundreds of microseconds of CPU and more on the blocking pool, as much at a time as there are cores, and
/// never on the threads that serve connections. Clones share their places.
#[derive(Clone, Debug)]
pub struct Gate {
    waiting: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

/// Why work was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Turned {
    /// Too many requests wait.
    #[error("too many requests wait for their signature check")]
    Busy,
    /// The check ended without an answer: the process is going down.
    #[error("the signature check was interrupted")]
    Interrupted,
}

impl Gate {
    /// A gate as wide as the machine.
    pub fn new() -> Self {
        let cores = available_parallelism().map_or(1, NonZero::get);
        Self {
            waiting: Arc::new(Semaphore::new(WAITING)),
            running: Arc::new(Semaphore::new(cores)),
        }
    }

    /// One that lets nobody in.
    #[cfg(test)]
    pub(crate) fn closed() -> Self {
        Self {
            waiting: Arc::new(Semaphore::new(0)),
            running: Arc::new(Semaphore::new(0)),
        }
    }

    /// Does the work when it is its turn.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Turned> {
        let place = self.waiting.clone().try_acquire_owned();
        let place = place.map_err(|_| Turned::Busy)?;
        let turn = self.running.clone().acquire_owned().await;
        let turn = turn.map_err(|_| Turned::Interrupted)?;
        let work = move || {
            // The permits live as long as the work, even when nobody waits for it any more.
            let _permits = (place, turn);
            work()
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| Turned::Interrupted)
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}
