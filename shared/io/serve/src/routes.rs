//! What a service answers, which may become something else while it runs.

use axum::Router;
use axum::response::Response;
use tokio::sync::watch;

use crate::problem::Problem;

/// How a refusal is said on a route (its pattern) whose clients expect another body than a [`Problem`]'s; nothing for a route like all others.
/// It is asked for what no handler of the route has answered: too much, too large, too late.
pub type Manner = fn(route: &str, problem: &Problem) -> Option<Response>;

/// A router, and those that replace it. A request is answered by the one that is there when it comes.
#[derive(Clone, Debug)]
pub struct Routes {
    router: watch::Receiver<Router>,
    manner: Option<Manner>,
}

/// Replaces a service's router.
#[derive(Clone, Debug)]
pub struct Switch(watch::Sender<Router>);

impl Routes {
    /// A router that can be replaced.
    pub fn switchable(router: Router) -> (Switch, Self) {
        let (sender, receiver) = watch::channel(router);
        let routes = Self {
            router: receiver,
            manner: None,
        };
        (Switch(sender), routes)
    }

    /// The same, where some routes refuse in a manner of their own.
    #[must_use]
    pub fn in_the_manner(self, manner: Manner) -> Self {
        Self {
            manner: Some(manner),
            ..self
        }
    }

    /// How refusals are said on some routes.
    pub(crate) const fn manner(&self) -> Option<Manner> {
        self.manner
    }

    /// The router of now.
    pub fn now(&self) -> Router {
        self.router.borrow().clone()
    }

    /// Waits for the next one; for ever when there will be none.
    pub(crate) async fn next(&mut self) -> Router {
        if self.router.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.router.borrow_and_update().clone()
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
