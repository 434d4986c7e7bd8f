//! Cross-origin rules for services that browsers read.

use http::{HeaderName, Method};
use tower_http::cors::{Any, CorsLayer};

/// Anyone may read and post, without credentials: for public logs and issuers, whose answers are the same for everyone
/// and whose requests carry their own proof. Never put it on a service that trusts a cookie or the network address.
pub fn public() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        .allow_headers([
            http::header::CONTENT_TYPE,
            http::header::AUTHORIZATION,
            http::header::ACCEPT,
            // What older libraries of browsers send with everything; upstream's services take it.
            HeaderName::from_static("x-requested-with"),
        ])
        .expose_headers([crate::observe::REQUEST_ID])
}
