//! What a service answers, which may become something else while it runs.

use axum::Router;
use tokio::sync::watch;

/// A router, and those that replace it. A request is answered by the one that is there when it comes.
#[derive(Clone, Debug)]
pub struct Routes(watch::Receiver<Router>);

/// Replaces a service's router.
#[derive(Clone, Debug)]
pub struct Switch(watch::Sender<Router>);

impl Routes {
    /// A router that can be replaced.
    pub fn switchable(router: Router) -> (Switch, Self) {
        let (sender, receiver) = watch::channel(router);
        (Switch(sender), Self(receiver))
    }

    /// The router of now.
    pub fn now(&self) -> Router {
        self.0.borrow().clone()
    }

    /// Waits for the next one; for ever when there will be none.
    pub(crate) async fn next(&mut self) -> Router {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.0.borrow_and_update().clone()
    }
}

impl From<Router> for Routes {
    fn from(router: Router) -> Self {
        Self::switchable(router).1
    }
}

impl Switch {
    /// Resolves when nobody answers with this router any more, nor will with another one.
    pub async fn unused(&self) {
        self.0.closed().await;
    }

    /// From now on requests are answered by this router. Those that are under way are finished by the old one.
    pub fn set(&self, router: Router) {
        drop(self.0.send_replace(router));
    }
}
