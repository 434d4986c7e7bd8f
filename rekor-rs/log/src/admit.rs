//! From the bytes of a request to an entry that may go into the log.

use entry::{AdmitError, Proposed, REKOR_V2_ALGORITHMS};
use thiserror::Error;

use crate::gate::{Gate, Turned};
use crate::leaf::{Entry, MAX_BODY};

/// The door: parses, checks signatures, makes the canonical bytes.
#[derive(Clone, Debug)]
pub struct Door {
    gate: Gate,
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
    /// Nobody looked at it.
    #[error(transparent)]
    Turned(#[from] Turned),
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
}

impl Door {
    /// A door that lets dsse requests in, or not.
    pub const fn new(gate: Gate, dsse: bool) -> Self {
        Self { gate, dsse }
    }

    /// Admits a request, or refuses it.
    pub async fn admit<B>(&self, request: B) -> Result<Admitted, Refusal>
    where
        B: AsRef<[u8]> + Send + 'static,
    {
        let dsse = self.dsse;
        let parse = move || check(Proposed::parse(request.as_ref())?, dsse);
        self.gate.run(parse).await?
    }

    /// Admits a request that was read already, or refuses it.
    pub async fn admit_proposed(&self, proposed: Proposed) -> Result<Admitted, Refusal> {
        let dsse = self.dsse;
        self.gate.run(move || check(proposed, dsse)).await?
    }
}

fn check(proposed: Proposed, dsse: bool) -> Result<Admitted, Refusal> {
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
