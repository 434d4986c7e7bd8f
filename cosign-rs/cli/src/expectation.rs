//! Who must have signed, out of the flags. Identity and issuer are both needed: a mail address means nothing without the provider that checked it.

use anyhow::Result;
use pki::Field;
use policy::Policy;
use verify::{Expect, Identities, IdentityPolicy, Matcher};

use crate::args::{Expected, Trust};
use crate::failure::{say, usage};
use crate::forge::Forge;
use crate::{loose, private_key};

/// Whom the flags and the policy name, one after the other: a bundle is good if one of them made it. Where both name somebody, the flags
/// decide here and the policy afterwards, so that both must agree.
pub(crate) async fn of_all(
    expected: &Expected,
    trust: &Trust,
    policy: Option<&Policy>,
) -> Result<Vec<Expect>> {
    match policy {
        Some(policy) if !expected.names_somebody() => {
            nothing_is_empty(expected)?;
            Ok(policy.expectations())
        }
        _ => Ok(vec![of(expected, trust).await?]),
    }
}

/// The expectation that the flags state; how trust is followed says whether a service may be asked for a key.
pub(crate) async fn of(expected: &Expected, trust: &Trust) -> Result<Expect> {
    nothing_is_empty(expected)?;
    is_at_hand(expected, trust)?;
    let forge = Forge::of(expected)?;
    let mut extensions = extensions(expected);
    if let Some(reference) = &expected.key {
        if !extensions.is_empty() || forge.is_some() {
            return Err(usage(
                "--key with what a certificate must say: a key has no certificate",
                "leave one of the two out",
            ));
        }
        if expected.insecure_ignore_sct {
            return Err(usage(
                "--insecure-ignore-sct with --key: a key has no certificate",
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
        return Err(usage(
            "--insecure-ignore-tlog without --key: for a short-lived certificate this check cannot be left out",
            "leave it out, or name the key that must have signed with --key",
        ));
    }
    let mut subjects = subjects(expected)?;
    let mut issuer = issuer(expected)?;
    if let Some(forge) = forge {
        if subjects.is_empty() {
            subjects.push(forge.subject);
        } else if expected.github_workflow.is_some() {
            return Err(usage(
                "--github-workflow with --certificate-identity: both say what the subject is",
                "leave one of the two out; --github-repo and --github-ref may stay",
            ));
        }
        issuer = issuer.or(forge.issuer.map(Matcher::Exact));
        extensions.extend(forge.extensions);
    }
    let issuer = match (subjects.is_empty(), issuer) {
        (false, Some(issuer)) => issuer,
        (false, None) => {
            return Err(usage(
                "an identity without its provider: anybody may be called that at another one",
                "pass --certificate-oidc-issuer (or --certificate-oidc-issuer-regexp) too",
            ));
        }
        (true, Some(_)) => {
            return Err(usage(
                "a provider without an identity: everybody there could have signed",
                "pass --certificate-identity (or --certificate-identity-regexp) too",
            ));
        }
        (true, None) => {
            return Err(usage(
                "nobody is named who must have signed",
                "pass --certificate-identity (or --certificate-identity-regexp) and --certificate-oidc-issuer (or --certificate-oidc-issuer-regexp), --github-repo, --gitlab-project, --key, or a --policy",
            ));
        }
    };
    let policies: Vec<IdentityPolicy> = subjects
        .into_iter()
        .map(|subject| IdentityPolicy {
            subject,
            issuer: issuer.clone(),
            extensions: extensions.clone(),
        })
        .collect();
    if expected.insecure_ignore_sct {
        return Identities::new(policies)
            .map(Expect::UnwatchedCertificate)
            .ok_or_else(|| usage("nobody is named who must have signed", "name somebody"));
    }
    if let [single] = policies.as_slice() {
        return Ok(Expect::Identity(single.clone()));
    }
    Identities::new(policies)
        .map(Expect::AnyOf)
        .ok_or_else(|| usage("nobody is named who must have signed", "name somebody"))
}

/// A flag that says nothing, as of a variable that was not set in a script: left out it would be one condition less, and nobody would notice.
fn nothing_is_empty(expected: &Expected) -> Result<()> {
    let single = [
        (
            "--certificate-oidc-issuer",
            &expected.certificate_oidc_issuer,
        ),
        (
            "--certificate-oidc-issuer-regexp",
            &expected.certificate_oidc_issuer_regexp,
        ),
        (
            "--certificate-github-workflow-trigger",
            &expected.certificate_github_workflow_trigger,
        ),
        (
            "--certificate-github-workflow-sha",
            &expected.certificate_github_workflow_sha,
        ),
        (
            "--certificate-github-workflow-name",
            &expected.certificate_github_workflow_name,
        ),
        (
            "--certificate-github-workflow-repository",
            &expected.certificate_github_workflow_repository,
        ),
        (
            "--certificate-github-workflow-ref",
            &expected.certificate_github_workflow_ref,
        ),
        ("--github-repo", &expected.github_repo),
        ("--github-workflow", &expected.github_workflow),
        ("--github-ref", &expected.github_ref),
        ("--gitlab-project", &expected.gitlab_project),
        ("--key", &expected.key),
    ];
    let single = single
        .into_iter()
        .find(|(_, value)| value.as_ref().is_some_and(String::is_empty));
    // Of several identities any is enough, so that an empty one among them leaves nothing out.
    let lists = [
        ("--certificate-identity", &expected.certificate_identity),
        (
            "--certificate-identity-regexp",
            &expected.certificate_identity_regexp,
        ),
    ];
    let list = lists
        .into_iter()
        .find(|(_, values)| !values.is_empty() && values.iter().all(String::is_empty));
    let empty = single
        .map(|(flag, _)| flag)
        .or_else(|| list.map(|(flag, _)| flag));
    match empty {
        None => Ok(()),
        Some(flag) => Err(usage(
            format!("{flag} is empty"),
            "say what is expected, or leave the flag out where any will do",
        )),
    }
}

/// Whom the flags name can be known without a connection, where none may be made.
fn is_at_hand(expected: &Expected, trust: &Trust) -> Result<()> {
    match &expected.key {
        Some(key) if trust.following.offline && private_key::is_elsewhere(key) => Err(usage(
            "--offline with a key that a service keeps: it would have to be asked",
            "write its public half into a file with `cosign-rs public-key`, and name that with --key",
        )),
        _ => Ok(()),
    }
}

/// An empty value is no value: a variable that was not set in a script must not become an expectation that nobody thought of.
fn subjects(expected: &Expected) -> Result<Vec<Matcher>> {
    let given = |values: &[String]| -> Vec<String> {
        values
            .iter()
            .filter(|value| !value.is_empty())
            .cloned()
            .collect()
    };
    let mut subjects: Vec<Matcher> = given(&expected.certificate_identity)
        .into_iter()
        .map(Matcher::Exact)
        .collect();
    for pattern in given(&expected.certificate_identity_regexp) {
        warn_if_loose("--certificate-identity-regexp", &pattern);
        subjects.push(pattern_of(&pattern)?);
    }
    Ok(subjects)
}

fn issuer(expected: &Expected) -> Result<Option<Matcher>> {
    let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    if let Some(exact) = given(&expected.certificate_oidc_issuer) {
        return Ok(Some(Matcher::Exact(exact)));
    }
    let Some(pattern) = given(&expected.certificate_oidc_issuer_regexp) else {
        return Ok(None);
    };
    warn_if_loose("--certificate-oidc-issuer-regexp", &pattern);
    Ok(Some(pattern_of(&pattern)?))
}

fn pattern_of(pattern: &str) -> Result<Matcher> {
    Matcher::pattern(pattern).map_err(|error| {
        usage(
            error.to_string(),
            "brackets and braces that are meant as such are written with a \\ before them",
        )
    })
}

fn warn_if_loose(flag: &str, pattern: &str) {
    for why in loose::reasons(pattern) {
        say(&format!("warning: {flag} {pattern}: {why}"));
    }
}

fn extensions(expected: &Expected) -> Vec<(Field, Matcher)> {
    let github = [
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
    ];
    let github = github
        .into_iter()
        .filter_map(|(field, value)| Some((field, Matcher::Exact(value.clone()?))));
    let by_number = expected
        .oid
        .iter()
        .map(|(field, value)| (*field, Matcher::Exact(value.clone())));
    github.chain(by_number).collect()
}

/// The value of `--oid`: an extension of Fulcio by its number N of 1.3.6.1.4.1.57264.1.N, its whole identifier, or its name in JSON output.
pub(crate) fn oid(text: &str) -> Result<(Field, String), String> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, value)| !name.is_empty() && !value.is_empty())
        .ok_or("expected N=VALUE")?;
    let number = name.strip_prefix("1.3.6.1.4.1.57264.1.").unwrap_or(name);
    if number == "7" {
        return Err(
            "1.3.6.1.4.1.57264.1.7 is a kind of name: pass it with --certificate-identity".into(),
        );
    }
    Field::all()
        .find(|field| field.number().to_string() == number || field.name() == name)
        .map(|field| (field, value.to_owned()))
        .ok_or_else(|| {
            let names: Vec<String> = Field::all()
                .map(|field| format!("{} {}", field.number(), field.name()))
                .collect();
            format!(
                "no extension is called {name}; there are {}",
                names.join(", ")
            )
        })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Arguments, Command};

    fn parse(flags: &[&str]) -> Result<crate::args::VerifyBlob> {
        let all = ["cosign-rs", "verify-blob", "--bundle", "b", "f"];
        let arguments = Arguments::try_parse_from(all.iter().chain(flags))?;
        let Command::VerifyBlob(verify) = arguments.command else {
            panic!("another command")
        };
        Ok(verify)
    }

    fn parsed(flags: &[&str]) -> crate::args::VerifyBlob {
        parse(flags).unwrap()
    }

    fn expectation(flags: &[&str]) -> Result<Expect> {
        let verify = parse(flags)?;
        tokio::runtime::Builder::new_current_thread()
            .build()?
            .block_on(of(&verify.expected, &verify.trust))
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

    /// Beside a policy, which says by itself who must have signed, and beside another identity.
    #[test]
    fn what_is_left_empty_is_not_left_out() {
        let named = r#"{"certificateIdentities": {"identities": [{"issuer": "https://i", "san": {"value": "a@b.c"}}]}}"#;
        let policy = Policy::parse(named.as_bytes()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let beside = |flags: &[&str]| {
            let verify = parsed(flags);
            runtime.block_on(of_all(&verify.expected, &verify.trust, Some(&policy)))
        };
        assert_eq!(beside(&[]).unwrap().len(), 1);
        for flag in [
            "--certificate-identity",
            "--certificate-identity-regexp",
            "--certificate-oidc-issuer",
            "--certificate-oidc-issuer-regexp",
            "--certificate-github-workflow-trigger",
            "--certificate-github-workflow-sha",
            "--certificate-github-workflow-name",
            "--certificate-github-workflow-repository",
            "--certificate-github-workflow-ref",
            "--github-repo",
            "--github-workflow",
            "--github-ref",
            "--gitlab-project",
            "--key",
        ] {
            let error = beside(&[flag, ""]).unwrap_err().to_string();
            assert_eq!(error, format!("{flag} is empty"));
        }
        let whose = [
            "--certificate-identity-regexp",
            "https://github\\.com/.+",
            "--certificate-oidc-issuer",
            "https://i",
        ];
        for flag in ["--github-repo", "--gitlab-project"] {
            let flags: Vec<&str> = whose.into_iter().chain([flag, ""]).collect();
            let error = expectation(&flags).unwrap_err().to_string();
            assert_eq!(error, format!("{flag} is empty"));
        }
    }

    #[test]
    fn a_key_that_a_service_keeps_is_not_asked_for_offline() {
        for (key, elsewhere) in [
            ("hashivault://k", true),
            ("awskms:///alias/k", true),
            ("env://KEY", false),
            ("k8s://a/b", false),
            ("key.pub", false),
            ("pkcs11:object=k?pin-source=file:///pin", false),
        ] {
            for (offline, refused) in [("--offline", elsewhere), ("--timeout=1s", false)] {
                let verify = parsed(&["--key", key, offline]);
                let outcome = is_at_hand(&verify.expected, &verify.trust);
                assert_eq!(outcome.is_err(), refused, "{key} {offline}");
            }
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
    fn any_of_several_identities() {
        let flags = [
            "--cert-identity",
            "a@b.c",
            "--certificate-identity",
            "d@e.f",
            "--cert-oidc-issuer",
            "https://i",
        ];
        let Expect::AnyOf(identities) = expectation(&flags).unwrap() else {
            panic!("one identity")
        };
        let named: Vec<String> = identities
            .iter()
            .map(|policy| policy.subject.to_string())
            .collect();
        assert_eq!(named, ["a@b.c", "d@e.f"]);
        let both = [
            "--certificate-identity",
            "a",
            "--certificate-identity-regexp",
            "b",
        ];
        assert!(expectation(&both).is_err());
    }

    #[test]
    fn every_extension_has_a_number_a_name_and_an_identifier() {
        for field in Field::all() {
            for name in [
                field.number().to_string(),
                field.name().to_owned(),
                field.oid().to_string(),
            ] {
                assert_eq!(
                    oid(&format!("{name}=a=b")),
                    Ok((field, "a=b".to_owned())),
                    "{name}"
                );
            }
        }
        for wrong in [
            "", "12", "12=", "=x", "0=x", "7=x", "25=x", "1.2.3=x", "Issuer=x",
        ] {
            assert!(oid(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_extension_alone_is_nobody() {
        assert!(expectation(&["--oid", "12=https://github.com/o/r"]).is_err());
        let flags = [
            "--certificate-identity",
            "a@b.c",
            "--certificate-oidc-issuer",
            "https://i",
            "--oid",
            "buildTrigger=push",
        ];
        let Expect::Identity(policy) = expectation(&flags).unwrap() else {
            panic!("no identity")
        };
        assert_eq!(policy.extensions[0].0, Field::BuildTrigger);
    }

    #[test]
    fn a_repository_is_an_identity_with_its_provider() {
        let Expect::Identity(policy) = expectation(&[
            "--github-repo",
            "o/r.x",
            "--github-workflow",
            "release.yml",
            "--github-ref",
            "refs/tags/v*",
        ])
        .unwrap() else {
            panic!("no identity")
        };
        let base = "https://github.com/o/r.x/.github/workflows/release.yml@refs/tags/v1";
        assert!(policy.subject.matches(base));
        assert!(!policy.subject.matches(&base.replace("r.x", "rax")));
        assert!(!policy.subject.matches(&base.replace("release", "other")));
        assert!(
            policy
                .issuer
                .matches("https://token.actions.githubusercontent.com")
        );
        let source = |field: Field| {
            let found = policy.extensions.iter().find(|(known, _)| *known == field);
            found.unwrap().1.clone()
        };
        assert!(source(Field::SourceRepositoryUri).matches("https://github.com/o/r.x"));
        assert!(source(Field::SourceRepositoryRef).matches("refs/tags/v1.2"));
        assert!(!source(Field::SourceRepositoryRef).matches("refs/tags/v1/x"));
        let Expect::Identity(policy) = expectation(&["--gitlab-project", "g/s/p"]).unwrap() else {
            panic!("no identity")
        };
        assert!(
            policy
                .subject
                .matches("https://gitlab.com/g/s/p//.gitlab-ci.yml@refs/heads/main")
        );
        assert!(
            !policy
                .subject
                .matches("https://gitlab.com/g/s/p2//.gitlab-ci.yml@refs/heads/main")
        );
        assert!(policy.issuer.matches("https://gitlab.com"));
        for wrong in [
            &["--github-workflow", "x.yml"][..],
            &["--github-ref", "refs/heads/main"],
            &["--github-repo", "o"],
            &["--github-repo", "o/r/s"],
            &["--github-repo", "https://ghe.example/o/r"],
            &["--github-repo", "o/r", "--gitlab-project", "g/p"],
            &["--gitlab-project", "p"],
            &["--github-repo", "o/r", "--key", "k"],
            &["--github-repo", "o/r", "--github-ref", ""],
            &["--github-repo", "o/r", "--github-workflow", ""],
            &[
                "--github-repo",
                "o/r",
                "--github-workflow",
                "release.yml",
                "--certificate-identity-regexp",
                "https://github\\.com/o/r/.+",
            ],
        ] {
            assert!(expectation(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_key_excludes_an_identity() {
        let flags = ["--key", "k", "--certificate-identity", "a@b.c"];
        assert!(expectation(&flags).is_err());
    }
}
