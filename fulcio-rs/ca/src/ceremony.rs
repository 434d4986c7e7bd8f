//! Certificates of authorities: prepared, signed by whoever keeps the key, closed.

use jiff::{SignedDuration, Timestamp};
use keys::Algorithm;
use pki::profile::{self, Authority, AuthorityParameters, ProfileError};
use pki::{Certificate, Csr};
use signer::{Signer, SignerError, random};
use thiserror::Error;

/// Why there is no certificate.
#[derive(Debug, Error)]
pub(crate) enum CeremonyError {
    #[error("the certificate")]
    Profile(#[from] ProfileError),
    #[error("the key")]
    Signer(#[from] SignerError),
}

/// Who an authority is, and for how long.
#[derive(Debug, Clone)]
pub(crate) struct Named<'a> {
    pub(crate) organization: &'a str,
    pub(crate) common_name: &'a str,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

/// A self-signed root.
pub(crate) async fn root(named: &Named<'_>, key: &Signer) -> Result<Certificate, CeremonyError> {
    let unsigned = profile::prepare_authority(&parameters(named, Authority::Root, key)?, None)?;
    let signature = key.sign(unsigned.to_be_signed()).await?;
    Ok(unsigned.seal(&signature)?)
}

/// An intermediate that issues leaves, signed by the key of a root.
pub(crate) async fn intermediate(
    named: &Named<'_>,
    key: &Signer,
    root: &Certificate,
    root_key: &Signer,
) -> Result<Certificate, CeremonyError> {
    let parameters = parameters(named, Authority::CodeSigningIntermediate, key)?;
    let unsigned = profile::prepare_authority(&parameters, Some(root))?;
    let signature = root_key.sign(unsigned.to_be_signed()).await?;
    Ok(unsigned.seal(&signature)?)
}

/// The intermediate of a request.
pub(crate) async fn requested_intermediate(
    request: &Csr,
    not_before: Timestamp,
    not_after: Timestamp,
    root: &Certificate,
    root_key: &Signer,
) -> Result<Certificate, CeremonyError> {
    let unsigned = profile::prepare_requested_intermediate(
        request,
        &random::bytes()?,
        not_before,
        not_after,
        root,
    )?;
    let signature = root_key.sign(unsigned.to_be_signed()).await?;
    Ok(unsigned.seal(&signature)?)
}

/// The request of an intermediate, for a root that is elsewhere.
pub(crate) async fn request(
    organization: &str,
    common_name: &str,
    key: &Signer,
) -> Result<Csr, CeremonyError> {
    let unsigned = profile::prepare_request(organization, common_name, key.public_key())?;
    let signature = key.sign(unsigned.to_be_signed()).await?;
    Ok(unsigned.seal(&signature)?)
}

/// An authority that ends with this process.
pub(crate) struct Ephemeral {
    pub(crate) signer: Signer,
    pub(crate) chain: Vec<Certificate>,
}

pub(crate) async fn ephemeral(now: Timestamp) -> Result<Ephemeral, CeremonyError> {
    let (root_key, signer) = (
        Signer::generate(Algorithm::EcdsaP384Sha384)?,
        Signer::generate(Algorithm::EcdsaP384Sha384)?,
    );
    let named = |common_name| Named {
        organization: "fulcio-rs",
        common_name,
        not_before: now,
        // Longer than a process of development lives.
        not_after: now + SignedDuration::from_hours(24 * 365),
    };
    let root = root(&named("ephemeral root"), &root_key).await?;
    let named = named("ephemeral intermediate");
    let issuing = intermediate(&named, &signer, &root, &root_key).await?;
    Ok(Ephemeral {
        signer,
        chain: vec![issuing, root],
    })
}

fn parameters(
    named: &Named<'_>,
    authority: Authority,
    key: &Signer,
) -> Result<AuthorityParameters, SignerError> {
    Ok(AuthorityParameters {
        authority,
        organization: named.organization.to_owned(),
        common_name: named.common_name.to_owned(),
        key: key.public_key().clone(),
        serial: random::bytes()?,
        not_before: named.not_before,
        not_after: named.not_after,
    })
}
