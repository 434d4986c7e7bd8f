//! Stopping: one signal, many listeners.

use std::io;

use tokio::sync::watch;

/// Tells a task that the service is to stop. Cloning is cheap; all clones hear the same signal.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

/// Stops what holds the matching [`Stop`]. Dropping it stops too, so that nothing outlives its owner.
#[derive(Debug)]
pub struct StopHandle(watch::Sender<bool>);

impl Stop {
    /// A signal that the program gives itself.
    pub fn new() -> (StopHandle, Self) {
        let (sender, receiver) = watch::channel(false);
        (StopHandle(sender), Self(receiver))
    }

    /// Fires at the first `SIGINT` or `SIGTERM`; the second one ends the process at once, for people who cannot wait.
    pub fn on_signals() -> io::Result<Self> {
        let (handle, stop) = Self::new();
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let mut interrupt =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
        tokio::spawn(async move {
            for turn in 0.. {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if turn > 0 {
                    tracing::warn!("second signal: ending without waiting");
                    crate::logging::flush();
                    std::process::exit(130);
                }
                tracing::info!("stopping");
                handle.stop();
            }
        });
        Ok(stop)
    }

    /// Waits for the signal.
    pub async fn wait(&mut self) {
        // An Err means that the handle is gone, which is a stop as well.
        let _stopped = self.0.wait_for(|stopped| *stopped).await;
    }

    /// Whether the signal was given.
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

impl StopHandle {
    /// Gives the signal. A second time changes nothing.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}
