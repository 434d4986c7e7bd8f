//! The commands. Each reads what it needs to know first (trust, expectation, references) and does the slow and the lasting things after.

mod blob;
mod candidates;
mod domains;
mod image;
mod program;
mod tuf_conformance;

use anyhow::Result;
use client::Agent;
use jiff::Timestamp;
use sign::{Services, Session};
use trust::{SigningConfig, TrustedRoot};

use crate::args::{Arguments, Command, Identity};
use crate::failure::advice;
use crate::identity;

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    // It waits for people and for signals.
    if let Command::Root(root) = arguments.command {
        return crate::root::run(root).await;
    }
    let patience = arguments.timeout;
    let work = async {
        match arguments.command {
            Command::Sign(sign) => image::sign(sign).await,
            Command::Verify(verify) => image::verify(verify).await,
            Command::Attest(attest) => image::attest(attest).await,
            Command::VerifyAttestation(verify) => image::verify_attestation(verify).await,
            Command::SignBlob(sign) => blob::sign(sign).await,
            Command::VerifyBlob(verify) => blob::verify(&verify).await,
            Command::AttestBlob(attest) => blob::attest(attest).await,
            Command::VerifyBlobAttestation(verify) => blob::verify_attestation(&verify).await,
            Command::VerifyBundle(verify) => blob::verify_bundle(verify).await,
            Command::SignBundle(sign) => blob::sign_bundle(sign).await,
            Command::TufConformance(client) => tuf_conformance::run(client).await,
            Command::Initialize(initialize) => domains::initialize(initialize).await,
            Command::Trust(commands) => domains::run(commands.command).await,
            Command::Root(root) => crate::root::run(root).await,
            Command::Version { json } => program::version(json),
            Command::Completion { shell } => program::completion(shell),
            Command::Man { folder } => program::man(&folder),
        }
    };
    tokio::time::timeout(patience, work).await.map_err(|_| {
        advice(
            format!("not done after {} s", patience.as_secs()),
            "give it longer with --timeout",
        )
    })?
}

/// Signs in and gets a certificate. Whom to trust and whom to call is read before, and with it everything that can be wrong without anybody
/// being asked.
async fn session(
    identity: &Identity,
    (root, config): (TrustedRoot, SigningConfig),
) -> Result<Session> {
    let now = Timestamp::now();
    let called = Services::select(&config, now, rotation()?)?;
    let agent = Agent::new(client::Settings::default());
    let token = identity::token(&agent, identity, &config, now).await?;
    // Signing in takes a person's time.
    Session::start(&agent, called, root, token, Timestamp::now())
        .await
        .map_err(Into::into)
}

/// Among equal services a random one, so that none gets all the work.
fn rotation() -> Result<usize> {
    Ok(usize::from(u16::from_ne_bytes(signer::random::bytes()?)))
}
