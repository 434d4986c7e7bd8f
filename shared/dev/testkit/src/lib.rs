//! A small Sigstore in memory, for tests: it issues, stamps and records what it is told to, also what no real one would.
//!
//! Every answer comes from the arguments, the random keys apart; nothing listens anywhere. The tree is computed by a naive recursion that
//! shares no code with `tlog`, so that a mistake there is not repeated here. A panic is the failure report of the test that caused it.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "used by tests only, where a panic is the failure report"
)]

mod ca;
mod log;
mod mint;
mod promises;
mod tsa;

pub use ca::{Ca, CtLog, Leaf, SctList};
pub use log::Log;
pub use mint::{Minted, Sigstore, statement};
pub use promises::PromisingLog;
pub use tsa::Tsa;

use jiff::{SignedDuration, Timestamp};
use pki::Certificate;
use pki::profile::{self, AuthorityParameters};
use signer::Signer;

/// How long authorities live.
const LIFE: SignedDuration = SignedDuration::from_hours(24 * 365);

/// A certificate of an authority, valid from `since` on; a root signs itself.
fn authority(
    kind: profile::Authority,
    key: &Signer,
    issuer: Option<(&Certificate, &Signer)>,
    since: Timestamp,
) -> Certificate {
    let parameters = AuthorityParameters {
        authority: kind,
        organization: "testkit".into(),
        common_name: format!("{kind:?}"),
        key: key.public_key().clone(),
        serial: signer::random::bytes().unwrap(),
        not_before: since,
        not_after: since + LIFE,
    };
    let unsigned = profile::prepare_authority(&parameters, issuer.map(|issuer| issuer.0)).unwrap();
    let by = issuer.map_or(key, |issuer| issuer.1);
    let signature = by.sign_local(unsigned.to_be_signed()).unwrap();
    unsigned.seal(&signature).unwrap()
}
