//! What every service has and none should write again: settings, listener, limits, problem bodies, metrics, health,
//! logging and an orderly stop.
//!
//! A service is an [`axum::Router`] made by its `app::build`; this crate puts it on a socket. What stands here holds for
//! all of them:
//!
//! * every connection and every request has an end: a deadline for the request head, one for the whole request, one for
//!   the connection; a cap on connections, on the body, and on all bodies and all large answers together ([`Limits`]);
//! * a panic in a handler is a 500 and not the end of the process;
//! * gRPC comes in at the same socket ([`grpc`]), and whatever refuses a request says so in its manner;
//! * logs name method, route, status, duration and request id, and never a body, a query string or a header;
//! * `SIGINT` and `SIGTERM` stop the accepting, let running requests finish, and then end ([`Stop`]).
//!
//! Not here: any knowledge of what a service does.
//!
//! ```no_run
//! # async fn example(router: axum::Router) -> Result<(), Box<dyn std::error::Error>> {
//! let listeners = serve::Listeners::bind(&"localhost:0".parse()?).await?;
//! println!("listening on {}", listeners.base_url());
//! serve::run(listeners, "example", router, serve::Limits::default(), serve::Stop::on_signals()?).await;
//! # Ok(()) }
//! ```

pub mod clock;
pub mod cors;
pub mod grpc;
pub mod health;
pub mod limits;
pub mod listen;
pub mod logging;
pub mod metrics;
pub mod problem;
pub mod program;
pub mod reload;
pub mod settings;
pub mod stop;

mod answers;
mod observe;
mod places;
mod rate;
mod room;
mod routes;
mod run;
pub mod tls;

pub use clock::Clock;
pub use health::Health;
pub use limits::{Limits, Rate};
pub use listen::{ListenAddress, ListenError, Listeners};
pub use observe::{RequestId, deadline, method_label};
pub use problem::{Code, Problem};
pub use program::{Closing, Service, program};
pub use rate::Allowance;
pub use reload::Live;
pub use routes::{Manner, Routes, Switch};
pub use run::run;
pub use settings::{Server, ServerSettings, SettingsError};
pub use stop::{Stop, StopHandle};
pub use tls::{Tls, TlsError, TlsFiles};
