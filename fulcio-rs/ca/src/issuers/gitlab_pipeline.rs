//! Type `gitlab-pipeline`: a job of a GitLab pipeline. Claims, subject and extensions as in sigstore/fulcio `docs/oid-info.md`.

use oidc::{Claims, TokenError};
use pki::{Field, FulcioExtensions, SubjectName};

use super::address::Address;
use super::{IdentityError, Principal, base, below};

#[derive(Debug)]
pub(super) struct GitlabPipeline {
    /// Where the projects are.
    base: Address,
}

/// Extensions that are a claim, and those whose claim may be missing.
const CLAIMS: [(Field, &str); 5] = [
    (Field::RunnerEnvironment, "runner_environment"),
    (Field::SourceRepositoryDigest, "sha"),
    (Field::SourceRepositoryIdentifier, "project_id"),
    (Field::SourceRepositoryOwnerIdentifier, "namespace_id"),
    (Field::BuildTrigger, "pipeline_source"),
];
const OPTIONAL: [(Field, &str); 4] = [
    (Field::BuildSignerDigest, "ci_config_sha"),
    (Field::BuildConfigDigest, "ci_config_sha"),
    (
        Field::SourceRepositoryVisibilityAtSigning,
        "project_visibility",
    ),
    (Field::DeploymentEnvironment, "environment"),
];

impl GitlabPipeline {
    /// `base_url` for an instance of one's own.
    pub(super) fn new(base_url: Option<&str>) -> Result<Self, String> {
        Ok(Self {
            base: base(base_url, "https://gitlab.com")?,
        })
    }

    pub(super) fn principal(&self, claims: &Claims) -> Result<Principal, IdentityError> {
        let mut extensions = FulcioExtensions::default();
        for (field, claim) in CLAIMS {
            extensions.set(field, claims.text(claim)?);
        }
        for (field, claim) in OPTIONAL {
            extensions.set(field, claims.text(claim).unwrap_or_default());
        }
        extensions.set_issuer(claims.issuer()?);
        // Two that are not written; a token without them is none of a job.
        claims.text("pipeline_id")?;
        let runner = claims.get("runner_id").and_then(serde_json::Value::as_i64);
        if runner.is_none_or(|number| number == 0) {
            return Err(TokenError::MissingClaim("runner_id".into()).into());
        }
        let name = claims.text("ref")?;
        let reference = match claims.text("ref_type")? {
            "branch" => format!("refs/heads/{name}"),
            "tag" => format!("refs/tags/{name}"),
            _ => return Err(IdentityError::UnfitClaim("ref_type")),
        };
        extensions.set(Field::SourceRepositoryRef, reference);
        // The claim is a URL without its scheme.
        let config = claims.text("ci_config_ref_uri")?;
        let config = Address::parse(&format!("{}://{config}", self.scheme_for(config)))
            .ok_or(IdentityError::UnfitClaim("ci_config_ref_uri"))?
            .to_string();
        extensions.set(Field::BuildSignerUri, config.clone());
        extensions.set(Field::BuildConfigUri, config.clone());
        let project = claims.text("project_path")?;
        let at = |steps: &[&str], claim| below(&self.base, steps, claim);
        extensions.set(Field::SourceRepositoryUri, at(&[project], "project_path")?);
        let owner = claims.text("namespace_path")?;
        extensions.set(
            Field::SourceRepositoryOwnerUri,
            at(&[owner], "namespace_path")?,
        );
        let job = [project, "-/jobs", claims.text("job_id")?];
        extensions.set(Field::RunInvocationUri, at(&job, "job_id")?);
        Ok(Principal::new(
            SubjectName::Uri(config),
            extensions,
            claims.text("sub")?,
        ))
    }

    /// An instance's own files have its scheme, others https.
    fn scheme_for(&self, config: &str) -> &str {
        let own = config
            .split('/')
            .next()
            .is_some_and(|host| host == self.base.host_name());
        if own { self.base.scheme() } else { "https" }
    }
}
