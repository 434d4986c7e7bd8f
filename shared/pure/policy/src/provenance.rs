//! Who built something, out of what: what a SLSA provenance says.

use serde::Deserialize;

const SLSA_02: &str = "https://slsa.dev/provenance/v0.2";
const SLSA_1: &str = "https://slsa.dev/provenance/v1";

/// What a provenance states. Other predicates state none of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Provenance {
    pub(crate) builder: Option<String>,
    pub(crate) source: Option<String>,
}

/// Reads it; none for another predicate type. A member that stands there twice is an error: two readers could take another one each.
pub(crate) fn read(
    predicate_type: &str,
    predicate: Option<&str>,
) -> Result<Option<Provenance>, String> {
    let text = predicate.unwrap_or("{}");
    let unreadable = |error: serde_json::Error| format!("the provenance cannot be read: {error}");
    match predicate_type {
        SLSA_02 => {
            let slsa: Slsa02 = serde_json::from_str(text).map_err(unreadable)?;
            Ok(Some(Provenance {
                builder: slsa.builder.and_then(|builder| builder.id),
                source: slsa
                    .invocation
                    .and_then(|invocation| invocation.config_source)
                    .and_then(|source| source.uri),
            }))
        }
        SLSA_1 => {
            let slsa: Slsa1 = serde_json::from_str(text).map_err(unreadable)?;
            Ok(Some(Provenance {
                builder: slsa
                    .run_details
                    .and_then(|run| run.builder)
                    .and_then(|builder| builder.id),
                source: slsa
                    .build_definition
                    .and_then(|build| build.external_parameters)
                    .and_then(|parameters| parameters.workflow)
                    .and_then(|workflow| workflow.repository),
            }))
        }
        _ => Ok(None),
    }
}

/// A repository's address without what is around it: `git+https://host/o/r.git@refs/heads/main` is `https://host/o/r`.
pub(crate) fn repository(uri: &str) -> String {
    let uri = uri.strip_prefix("git+").unwrap_or(uri);
    let path_begins = uri
        .find("://")
        .map(|scheme| scheme.saturating_add(3))
        .and_then(|after| {
            let rest = uri.get(after..)?;
            Some(after.saturating_add(rest.find('/')?))
        });
    let end = path_begins
        .and_then(|begin| {
            let path = uri.get(begin..)?;
            Some(begin.saturating_add(path.find('@')?))
        })
        .unwrap_or(uri.len());
    let bare = uri.get(..end).unwrap_or(uri).trim_end_matches('/');
    bare.strip_suffix(".git").unwrap_or(bare).to_owned()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Slsa02 {
    builder: Option<Builder>,
    invocation: Option<Invocation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    config_source: Option<ConfigSource>,
}

#[derive(Deserialize)]
struct ConfigSource {
    uri: Option<String>,
}

#[derive(Deserialize)]
struct Builder {
    id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Slsa1 {
    build_definition: Option<BuildDefinition>,
    run_details: Option<RunDetails>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BuildDefinition {
    external_parameters: Option<ExternalParameters>,
}

#[derive(Deserialize)]
struct ExternalParameters {
    workflow: Option<Workflow>,
}

#[derive(Deserialize)]
struct Workflow {
    repository: Option<String>,
}

#[derive(Deserialize)]
struct RunDetails {
    builder: Option<Builder>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_the_same_however_it_is_written() {
        for (uri, bare) in [
            ("https://github.com/o/r", "https://github.com/o/r"),
            (
                "git+https://github.com/o/r@refs/heads/main",
                "https://github.com/o/r",
            ),
            (
                "git+https://github.com/o/r.git@refs/heads/a@b",
                "https://github.com/o/r",
            ),
            ("git+ssh://git@host/o/r", "ssh://git@host/o/r"),
            ("https://github.com/o/r/", "https://github.com/o/r"),
            ("o/r", "o/r"),
            ("", ""),
        ] {
            assert_eq!(repository(uri), bare, "{uri}");
        }
    }

    #[test]
    fn both_versions_state_builder_and_source() {
        let two = r#"{"builder": {"id": "b"}, "invocation": {"configSource": {"uri": "s", "digest": {}}}, "materials": []}"#;
        let one = r#"{"runDetails": {"builder": {"id": "b"}}, "buildDefinition": {"externalParameters": {"workflow": {"repository": "s", "ref": "x"}}}}"#;
        let both = Provenance {
            builder: Some("b".into()),
            source: Some("s".into()),
        };
        assert_eq!(read(SLSA_02, Some(two)), Ok(Some(both)));
        assert_eq!(
            read(SLSA_1, Some(one)).unwrap().unwrap().source.unwrap(),
            "s"
        );
        assert_eq!(read(SLSA_1, None), Ok(Some(Provenance::default())));
        assert_eq!(read("https://spdx.dev/Document", Some(two)), Ok(None));
        let twice = r#"{"builder": {"id": "b", "id": "c"}}"#;
        assert!(read(SLSA_02, Some(twice)).is_err());
    }
}
