//! Type `buildkite-job`: a job of a Buildkite pipeline. The built-in type names the pipeline only; upstream's template says more.

use oidc::Claims;
use pki::{FulcioExtensions, SubjectName};

use super::address::Address;
use super::{IdentityError, Principal, base, below};

#[derive(Debug)]
pub(super) struct BuildkiteJob {
    base: Address,
}

impl BuildkiteJob {
    pub(super) fn new(base_url: Option<&str>) -> Result<Self, String> {
        Ok(Self {
            base: base(base_url, "https://buildkite.com")?,
        })
    }

    pub(super) fn principal(&self, claims: &Claims) -> Result<Principal, IdentityError> {
        let pipeline = [
            claims.text("organization_slug")?,
            claims.text("pipeline_slug")?,
        ];
        let mut extensions = FulcioExtensions::default();
        extensions.set_issuer(claims.issuer()?);
        Ok(Principal::new(
            SubjectName::Uri(below(&self.base, &pipeline, "pipeline_slug")?),
            extensions,
            claims.text("sub")?,
        ))
    }
}
