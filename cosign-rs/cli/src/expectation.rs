//! Who must have signed, out of the flags. Identity and issuer are both needed: a mail address means nothing without the provider that checked it.

use anyhow::Result;
use pki::Field;
use verify::{Expect, IdentityPolicy, Matcher};

use crate::args::Expected;
use crate::failure::advice;
use crate::private_key;

/// The expectation that the flags state.
pub(crate) async fn of(expected: &Expected) -> Result<Expect> {
    let extensions = extensions(expected);
    if let Some(reference) = &expected.key {
        if !extensions.is_empty() {
            return Err(advice(
                "--key with --certificate-github-workflow-...: a key has no certificate",
                "leave one of the two out",
            ));
        }
        let key = private_key::public(reference).await?;
        return Ok(if expected.insecure_ignore_tlog {
            Expect::UnloggedKey(key)
        } else {
            Expect::Key(key)
        });
    }
    // clap's `requires` does not hold where the flag that is required excludes another one that is there.
    if expected.insecure_ignore_tlog {
        return Err(advice(
            "--insecure-ignore-tlog without --key: for a short-lived certificate this check cannot be left out",
            "leave it out, or name the key that must have signed with --key",
        ));
    }
    let subject = matcher(
        expected.certificate_identity.as_deref(),
        expected.certificate_identity_regexp.as_deref(),
    )?;
    let issuer = matcher(
        expected.certificate_oidc_issuer.as_deref(),
        expected.certificate_oidc_issuer_regexp.as_deref(),
    )?;
    let (subject, issuer) = match (subject, issuer) {
        (Some(subject), Some(issuer)) => (subject, issuer),
        (Some(_), None) => {
            return Err(advice(
                "an identity without its provider: anybody may be called that at another one",
                "pass --certificate-oidc-issuer (or --certificate-oidc-issuer-regexp) too",
            ));
        }
        (None, Some(_)) => {
            return Err(advice(
                "a provider without an identity: everybody there could have signed",
                "pass --certificate-identity (or --certificate-identity-regexp) too",
            ));
        }
        (None, None) => {
            return Err(advice(
                "nobody is named who must have signed",
                "pass --certificate-identity (or --certificate-identity-regexp) and --certificate-oidc-issuer (or --certificate-oidc-issuer-regexp), or --key",
            ));
        }
    };
    Ok(Expect::Identity(IdentityPolicy {
        subject,
        issuer,
        extensions,
    }))
}

/// An empty value is no value: a variable that was not set in a script must not become an expectation that nobody thought of.
fn matcher(exact: Option<&str>, pattern: Option<&str>) -> Result<Option<Matcher>> {
    let given = |value: Option<&str>| value.filter(|value| !value.is_empty()).map(str::to_owned);
    Ok(match (given(exact), given(pattern)) {
        (Some(exact), _) => Some(Matcher::Exact(exact)),
        (None, Some(pattern)) => Some(Matcher::pattern(&pattern)?),
        (None, None) => None,
    })
}

fn extensions(expected: &Expected) -> Vec<(Field, Matcher)> {
    [
        (
            Field::GithubWorkflowTrigger,
            &expected.certificate_github_workflow_trigger,
        ),
        (
            Field::GithubWorkflowSha,
            &expected.certificate_github_workflow_sha,
        ),
        (
            Field::GithubWorkflowName,
            &expected.certificate_github_workflow_name,
        ),
        (
            Field::GithubWorkflowRepository,
            &expected.certificate_github_workflow_repository,
        ),
        (
            Field::GithubWorkflowRef,
            &expected.certificate_github_workflow_ref,
        ),
    ]
    .into_iter()
    .filter_map(|(field, value)| Some((field, Matcher::Exact(value.clone()?))))
    .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Arguments, Command};

    fn expectation(flags: &[&str]) -> Result<Expect> {
        let all = ["cosign-rs", "verify-blob", "--bundle", "b", "f"];
        let arguments = Arguments::try_parse_from(all.iter().chain(flags))?;
        let Command::VerifyBlob(verify) = arguments.command else {
            panic!("another command")
        };
        tokio::runtime::Builder::new_current_thread()
            .build()?
            .block_on(of(&verify.expected))
    }

    #[test]
    fn nobody_is_no_expectation() {
        for flags in [
            &[][..],
            &["--certificate-identity", "a@b.c"],
            &["--certificate-oidc-issuer", "https://i"],
            &[
                "--certificate-identity",
                "",
                "--certificate-oidc-issuer",
                "https://i",
            ],
            &[
                "--certificate-identity-regexp",
                "",
                "--certificate-oidc-issuer-regexp",
                "",
            ],
            &["--certificate-github-workflow-ref", "refs/heads/main"],
            &[
                "--certificate-identity-regexp",
                "(",
                "--certificate-oidc-issuer",
                "https://i",
            ],
            &["--key", "/nonexistent"],
        ] {
            assert!(expectation(flags).is_err(), "{flags:?}");
        }
    }

    #[test]
    fn a_pattern_must_match_the_whole_value() {
        let Expect::Identity(policy) = expectation(&[
            "--certificate-identity-regexp",
            "a|b@example.com",
            "--certificate-oidc-issuer",
            "https://i",
            "--certificate-github-workflow-ref",
            "refs/heads/main",
        ])
        .unwrap() else {
            panic!("no identity")
        };
        assert!(policy.subject.matches("b@example.com"));
        assert!(!policy.subject.matches("b@example.com.evil.example"));
        assert!(!policy.subject.matches("abc"));
        assert!(policy.issuer.matches("https://i"));
        assert_eq!(policy.extensions.len(), 1);
    }

    #[test]
    fn a_key_excludes_an_identity() {
        let flags = ["--key", "k", "--certificate-identity", "a@b.c"];
        assert!(expectation(&flags).is_err());
    }
}
