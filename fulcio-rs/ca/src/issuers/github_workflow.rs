//! Type `github-workflow`: a run of a GitHub Actions workflow. Claims, subject and extensions as in sigstore/fulcio `docs/oid-info.md`.

use oidc::Claims;
use pki::{Field, FulcioExtensions, SubjectName};

use super::address::Address;
use super::{IdentityError, Principal, base, below};

#[derive(Debug)]
pub(super) struct GithubWorkflow {
    /// Where the repositories are.
    base: Address,
}

/// Each extension and how its value is made of claims.
const ROWS: &[(Field, Value)] = &[
    (Field::GithubWorkflowTrigger, Value::Claim("event_name")),
    (Field::GithubWorkflowSha, Value::Claim("sha")),
    (Field::GithubWorkflowName, Value::Claim("workflow")),
    (Field::GithubWorkflowRepository, Value::Claim("repository")),
    (Field::GithubWorkflowRef, Value::Claim("ref")),
    (Field::BuildSignerUri, Value::Url("job_workflow_ref")),
    (Field::BuildSignerDigest, Value::Claim("job_workflow_sha")),
    (Field::RunnerEnvironment, Value::Claim("runner_environment")),
    (Field::SourceRepositoryUri, Value::Url("repository")),
    (Field::SourceRepositoryDigest, Value::Claim("sha")),
    (Field::SourceRepositoryRef, Value::Claim("ref")),
    (
        Field::SourceRepositoryIdentifier,
        Value::Claim("repository_id"),
    ),
    (
        Field::SourceRepositoryOwnerUri,
        Value::Url("repository_owner"),
    ),
    (
        Field::SourceRepositoryOwnerIdentifier,
        Value::Claim("repository_owner_id"),
    ),
    (Field::BuildConfigUri, Value::Url("workflow_ref")),
    (Field::BuildConfigDigest, Value::Claim("workflow_sha")),
    (Field::BuildTrigger, Value::Claim("event_name")),
    (Field::RunInvocationUri, Value::Run),
    (
        Field::SourceRepositoryVisibilityAtSigning,
        Value::Claim("repository_visibility"),
    ),
    (Field::DeploymentEnvironment, Value::Optional("environment")),
];

enum Value {
    /// The claim as it is.
    Claim(&'static str),
    /// The claim below the service's address.
    Url(&'static str),
    /// The claim, where it is there.
    Optional(&'static str),
    /// The address of the run.
    Run,
}

impl GithubWorkflow {
    /// `base_url` for an Enterprise Server.
    pub(super) fn new(base_url: Option<&str>) -> Result<Self, String> {
        Ok(Self {
            base: base(base_url, "https://github.com")?,
        })
    }

    pub(super) fn principal(&self, claims: &Claims) -> Result<Principal, IdentityError> {
        let mut extensions = FulcioExtensions::default();
        extensions.set_issuer(claims.issuer()?);
        for (field, value) in ROWS {
            extensions.set(*field, self.value(value, claims)?);
        }
        let subject = self.value(&Value::Url("job_workflow_ref"), claims)?;
        Ok(Principal::new(
            SubjectName::Uri(subject),
            extensions,
            claims.text("sub")?,
        ))
    }

    fn value(&self, value: &Value, claims: &Claims) -> Result<String, IdentityError> {
        Ok(match value {
            Value::Claim(name) => claims.text(name)?.to_owned(),
            Value::Url(name) => below(&self.base, &[claims.text(name)?], name)?,
            Value::Optional(name) => claims.text(name).unwrap_or_default().to_owned(),
            Value::Run => below(
                &self.base,
                &[
                    claims.text("repository")?,
                    "actions/runs",
                    claims.text("run_id")?,
                    "attempts",
                    claims.text("run_attempt")?,
                ],
                "repository",
            )?,
        })
    }
}
