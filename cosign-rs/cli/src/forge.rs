//! Workflows of GitHub and pipelines of GitLab by the names that people know, as what their certificates say (sigstore/fulcio: docs/oid-info.md).
//!
//! | flag | certificate |
//! | --- | --- |
//! | `--github-repo o/r` | source repository (.12) `https://github.com/o/r`; subject a workflow of that repository |
//! | `--github-workflow f` | subject `.../.github/workflows/f@...`; with owner and repository in it a reusable workflow of theirs |
//! | `--github-ref r` | ref of the source repository (.14) |
//! | `--gitlab-project g/p` | source repository (.12) `https://gitlab.com/g/p`; subject a pipeline of that project |

use std::fmt::Write as _;

use anyhow::Result;
use pki::Field;
use url::Url;
use verify::Matcher;

use crate::args::Expected;
use crate::failure::usage;

const GITHUB: &str = "https://github.com";
const GITHUB_ISSUER: &str = "https://token.actions.githubusercontent.com";
const GITLAB: &str = "https://gitlab.com";

/// What a certificate of that workflow or pipeline says.
pub(crate) struct Forge {
    pub(crate) subject: Matcher,
    /// None for a server of one's own whose provider has no known name.
    pub(crate) issuer: Option<String>,
    pub(crate) extensions: Vec<(Field, Matcher)>,
}

impl Forge {
    /// None where no such flag is there.
    pub(crate) fn of(expected: &Expected) -> Result<Option<Self>> {
        let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        // An empty condition would be one less, and nobody would notice.
        for (flag, value) in [
            ("--github-workflow", &expected.github_workflow),
            ("--github-ref", &expected.github_ref),
        ] {
            if value.as_ref().is_some_and(String::is_empty) {
                return Err(usage(
                    format!("{flag} is empty"),
                    "say which, or leave it out where any will do",
                ));
            }
        }
        let workflow = given(&expected.github_workflow);
        let git_ref = given(&expected.github_ref);
        match (
            given(&expected.github_repo),
            given(&expected.gitlab_project),
        ) {
            (Some(_), Some(_)) => Err(usage(
                "--github-repo and --gitlab-project: nobody is both",
                "leave one of the two out",
            )),
            (Some(repository), None) => github(
                &repository,
                workflow.as_deref(),
                git_ref.as_deref(),
                expected,
            )
            .map(Some),
            (None, project) if workflow.is_some() || git_ref.is_some() => Err(usage(
                "--github-workflow or --github-ref without --github-repo: everybody has a workflow of that name",
                match project {
                    Some(_) => "for a GitLab project, pass --oid 14=REF",
                    None => "pass --github-repo OWNER/NAME too",
                },
            )),
            (None, Some(project)) => gitlab(&project).map(Some),
            (None, None) => Ok(None),
        }
    }
}

fn github(
    repository: &str,
    workflow: Option<&str>,
    git_ref: Option<&str>,
    expected: &Expected,
) -> Result<Forge> {
    let (server, path) = place(repository, GITHUB);
    if !has_parts(&path, 2, 2) {
        return Err(usage(
            format!("--github-repo {repository} is no repository"),
            "pass it as OWNER/NAME, or as its address",
        ));
    }
    let issuer = (server == GITHUB).then(|| GITHUB_ISSUER.to_owned());
    let other_issuer = expected.certificate_oidc_issuer.is_some()
        || expected.certificate_oidc_issuer_regexp.is_some();
    if issuer.is_none() && !other_issuer {
        return Err(usage(
            format!(
                "--github-repo {repository}: which provider vouches for the workflows of {server}?"
            ),
            "pass --certificate-oidc-issuer too",
        ));
    }
    let source = format!("{server}/{path}");
    let pattern = match workflow {
        None => format!("{}/.+", escaped(&source)),
        Some(file) if file.contains('/') => {
            let file = file.trim_start_matches('/');
            // A path within the repository, or a reusable workflow of another one.
            if file.starts_with(".github/") {
                format!("{}/{}@.+", escaped(&source), escaped(file))
            } else {
                format!("{}/{}@.+", escaped(&server), escaped(file))
            }
        }
        Some(file) => format!(
            "{}/\\.github/workflows/{}@.+",
            escaped(&source),
            escaped(file)
        ),
    };
    let mut extensions = vec![(Field::SourceRepositoryUri, Matcher::Exact(source))];
    if let Some(git_ref) = git_ref {
        extensions.push((Field::SourceRepositoryRef, glob(git_ref)?));
    }
    Ok(Forge {
        subject: Matcher::pattern(&pattern)?,
        issuer,
        extensions,
    })
}

fn gitlab(project: &str) -> Result<Forge> {
    let (server, path) = place(project, GITLAB);
    if !has_parts(&path, 2, usize::MAX) {
        return Err(usage(
            format!("--gitlab-project {project} is no project"),
            "pass it as GROUP/PROJECT, or as its address",
        ));
    }
    let source = format!("{server}/{path}");
    Ok(Forge {
        subject: Matcher::pattern(&format!("{}//.+@.+", escaped(&source)))?,
        // Each server of GitLab is its own provider.
        issuer: Some(server),
        extensions: vec![(Field::SourceRepositoryUri, Matcher::Exact(source))],
    })
}

/// Server and path of an address, or of a path on the usual server.
fn place(text: &str, usual: &str) -> (String, String) {
    let trimmed = text.trim_end_matches('/');
    match Url::parse(trimmed) {
        Ok(url) if url.has_host() => (
            url.origin().ascii_serialization(),
            url.path().trim_matches('/').to_owned(),
        ),
        _ => (usual.to_owned(), trimmed.to_owned()),
    }
}

fn has_parts(path: &str, least: usize, most: usize) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let plain = |part: &&str| {
        !part.is_empty()
            && part
                .chars()
                .all(|letter| letter.is_alphanumeric() || "-_.".contains(letter))
    };
    (least..=most).contains(&parts.len()) && parts.iter().all(plain)
}

/// A git ref; `*` is any run of characters without `/`, and `**` any run.
fn glob(text: &str) -> Result<Matcher> {
    if !text.contains('*') {
        return Ok(Matcher::Exact(text.to_owned()));
    }
    let pattern = text
        .split("**")
        .map(|piece| {
            let pieces: Vec<String> = piece.split('*').map(escaped).collect();
            pieces.join("[^/]*")
        })
        .collect::<Vec<_>>()
        .join(".*");
    Ok(Matcher::pattern(&pattern)?)
}

/// The text itself as a regular expression.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_alphanumeric() || "/:_-@".contains(letter) {
            escaped.push(letter);
        } else {
            let _infallible = write!(escaped, "\\x{{{:x}}}", u32::from(letter));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_matched_as_it_is() {
        let text = "a.b*c(d)[e]{f}^$|\\ü -@/:+?";
        let matcher = Matcher::pattern(&escaped(text)).unwrap();
        assert!(matcher.matches(text));
        assert!(!matcher.matches(&text.replace("a.b", "axb")));
    }

    #[test]
    fn a_star_stays_within_a_part() {
        let one = glob("refs/tags/v*").unwrap();
        assert!(one.matches("refs/tags/v1.2") && !one.matches("refs/tags/v1/x"));
        let any = glob("refs/**").unwrap();
        assert!(any.matches("refs/heads/a/b") && !any.matches("heads/a"));
        assert!(!glob("refs/heads/main").unwrap().matches("refs/heads/main2"));
    }
}
