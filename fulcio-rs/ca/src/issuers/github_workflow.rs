//! Type `github-workflow`: a run of a GitHub Actions workflow. Claims, subject and extensions as in sigstore/fulcio `docs/oid-info.md`.

use oidc::{Claims, TokenError};
use pki::{Field, FulcioExtensions, SubjectName};

use super::{IdentityError, Principal};

/// Where the repositories are.
const GITHUB: &str = "https://github.com";

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
    /// The claim below <https://github.com>.
    Url(&'static str),
    /// The claim, where it is there.
    Optional(&'static str),
    /// The address of the run.
    Run,
}

pub(super) fn principal(claims: &Claims) -> Result<Principal, IdentityError> {
    let mut extensions = FulcioExtensions::default();
    extensions.set_issuer(claims.issuer()?);
    for (field, value) in ROWS {
        extensions.set(*field, value.of(claims)?);
    }
    let subject = SubjectName::Uri(Value::Url("job_workflow_ref").of(claims)?);
    Ok(Principal {
        subject,
        extensions,
        proofs: vec![claims.text("sub")?.to_owned()],
    })
}

impl Value {
    fn of(&self, claims: &Claims) -> Result<String, TokenError> {
        Ok(match self {
            Self::Claim(name) => claims.text(name)?.to_owned(),
            Self::Url(name) => format!("{GITHUB}/{}", claims.text(name)?),
            Self::Optional(name) => claims.text(name).unwrap_or_default().to_owned(),
            Self::Run => format!(
                "{GITHUB}/{}/actions/runs/{}/attempts/{}",
                claims.text("repository")?,
                claims.text("run_id")?,
                claims.text("run_attempt")?
            ),
        })
    }
}
