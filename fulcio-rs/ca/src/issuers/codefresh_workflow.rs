//! Type `codefresh-workflow`: a run of a Codefresh pipeline. Claims, subject and extensions as in sigstore/fulcio `docs/oid-info.md`.

use oidc::Claims;
use pki::{Field, FulcioExtensions, SubjectName};

use super::{IdentityError, Principal, base, below};

/// Where pipelines are unless the token says otherwise.
const PLATFORM: &str = "https://g.codefresh.io";

const OPTIONAL: [(Field, &str); 3] = [
    (Field::RunnerEnvironment, "runner_environment"),
    (Field::SourceRepositoryUri, "scm_repo_url"),
    (Field::SourceRepositoryRef, "scm_ref"),
];

pub(super) fn principal(claims: &Claims) -> Result<Principal, IdentityError> {
    let (account, pipeline, workflow) = (
        claims.text("account_id")?,
        claims.text("pipeline_id")?,
        claims.text("workflow_id")?,
    );
    let platform = base(claims.text("platform_url").ok(), PLATFORM)
        .map_err(|_| IdentityError::UnfitClaim("platform_url"))?;
    let mut extensions = FulcioExtensions::default();
    extensions.set_issuer(claims.issuer()?);
    for (field, claim) in OPTIONAL {
        extensions.set(field, claims.text(claim).unwrap_or_default());
    }
    let build = below(&platform, &["build", workflow], "workflow_id")?;
    extensions.set(Field::BuildSignerUri, build.clone());
    extensions.set(Field::RunInvocationUri, build);
    let config = below(&platform, &["api", "pipelines", pipeline], "pipeline_id")?;
    extensions.set(Field::BuildConfigUri, config);
    // Names may be changed by their owners, the numbers behind the colon never.
    let names = (claims.text("account_name"), claims.text("pipeline_name"));
    let names = (names.0.unwrap_or_default(), names.1.unwrap_or_default());
    let last = format!("{}:{account}/{pipeline}", names.1);
    let subject = below(&platform, &[names.0, &last], "pipeline_name")?;
    Ok(Principal::new(
        SubjectName::Uri(subject),
        extensions,
        claims.text("sub")?,
    ))
}
