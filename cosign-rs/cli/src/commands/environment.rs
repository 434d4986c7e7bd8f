//! The environment: which variables this program reads, and which surroundings could give a token.

use std::fmt::Write as _;

use anyhow::Result;
use client::ambient::Kind;

use crate::args::{self, DebugCommand, Env};
use crate::{consent, identity, report};

/// A variable that is read beside those that stand for flags.
struct Variable {
    name: &'static str,
    what: &'static str,
    secret: bool,
}

const fn plain(name: &'static str, what: &'static str) -> Variable {
    Variable {
        name,
        what,
        secret: false,
    }
}

const fn secret(name: &'static str, what: &'static str) -> Variable {
    Variable {
        name,
        what,
        secret: true,
    }
}

#[rustfmt::skip]
const VARIABLES: &[Variable] = &[
    secret("COSIGN_PASSWORD", "password of an encrypted private key"),
    secret("COSIGN_IMPORT_PASSWORD", "password of a private key that import-key-pair reads"),
    plain("COSIGN_PKCS11_MODULE_PATH", "PKCS#11 module of key URIs that name none"),
    secret("COSIGN_PKCS11_PIN", "PIN of key URIs that have none"),
    plain("COSIGN_K8S_SECRETS_DIR", "where Secrets of k8s:// keys are mounted: NAMESPACE/NAME below it"),
    plain("COSIGN_REPOSITORY", "repository that holds the signatures"),
    plain(consent::VARIABLE, "what may be published though it looks private, separated by commas"),
    plain("TUF_ROOT", "folder with the caches of trust domains"),
    plain("TUF_MIRROR", "trust domain, by its address"),
    plain("TUF_ROOT_JSON", "root that the trust domain is followed from"),
    secret("SIGSTORE_ID_TOKEN", "identity token"),
    plain("ACTIONS_ID_TOKEN_REQUEST_URL", "where GitHub Actions gives identity tokens"),
    secret("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "what allows to ask there"),
    secret("BUILDKITE_AGENT_ACCESS_TOKEN", "what allows to ask Buildkite for identity tokens"),
    plain("BUILDKITE_AGENT_ENDPOINT", "where Buildkite gives them"),
    plain("BUILDKITE_JOB_ID", "for which job"),
    plain("GOOGLE_SERVICE_ACCOUNT_NAME", "service account to act for"),
    plain("GCE_METADATA_HOST", "Google's metadata server"),
    plain("K_SERVICE", "says that this is Google's Cloud Run"),
    plain("SPIFFE_ENDPOINT_SOCKET", "socket of the SPIFFE workload API"),
    plain("VAULT_ADDR", "server of hashivault:// keys"),
    secret("VAULT_TOKEN", "token for it"),
    plain("VAULT_NAMESPACE", "namespace in it"),
    plain("VAULT_CACERT", "certificate authority of it"),
    plain("TRANSIT_SECRET_ENGINE_PATH", "where the Transit engine is in it"),
    plain("DOCKER_CONFIG", "folder with the logins of registries"),
    plain("BROWSER", "browser to sign in with"),
    plain("HTTPS_PROXY", "proxy for calls to other machines"),
    plain("NO_PROXY", "hosts that are called without it"),
    plain("XDG_CONFIG_HOME", "folder for settings"),
];

pub(super) fn print(arguments: &Env) -> Result<()> {
    let read = |name: &str| std::env::var(name).ok();
    report::print(text(arguments, &read, &args::variables_in_use()).trim_end())
}

/// A value without what may be secret in it: who logs in at a URL, and the PIN of a token (RFC 7512).
fn masked(value: &str) -> String {
    const PIN: &str = "pin-value=";
    let mut shown = value.to_owned();
    if let Some((before, pin)) = value.split_once(PIN) {
        let rest = pin.find(['&', ';', '?']).and_then(|end| pin.get(end..));
        shown = format!("{before}{PIN}******{}", rest.unwrap_or_default());
    }
    if let Some((scheme, rest)) = shown.split_once("://") {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        if let Some((authority, tail)) = rest.split_at_checked(end)
            && let Some((_, host)) = authority.rsplit_once('@')
        {
            return format!("{scheme}://******@{host}{tail}");
        }
    }
    shown
}

fn text(
    arguments: &Env,
    read: &dyn Fn(&str) -> Option<String>,
    standing_for_flags: &[String],
) -> String {
    let mut text = String::new();
    for variable in VARIABLES {
        let value = read(variable.name);
        let value = match value {
            Some(value)
                if variable.secret && !value.is_empty() && !arguments.show_sensitive_values =>
            {
                "******".to_owned()
            }
            Some(value) if !arguments.show_sensitive_values => masked(&value),
            value => value.unwrap_or_default(),
        };
        if arguments.show_descriptions {
            let _infallible = writeln!(text, "# {} {}", variable.name, variable.what);
        }
        let _infallible = writeln!(text, "{}={value:?}", variable.name);
    }
    for name in standing_for_flags {
        if VARIABLES.iter().any(|variable| variable.name == name) {
            continue;
        }
        if arguments.show_descriptions {
            let flag = name.trim_start_matches("COSIGN_").to_ascii_lowercase();
            let _infallible = writeln!(text, "# {name} stands for --{}", flag.replace('_', "-"));
        }
        // A flag may be a password or a token.
        let value = read(name).unwrap_or_default();
        let hide = ["PASSWORD", "TOKEN", "PIN"]
            .iter()
            .any(|word| name.contains(word));
        let value = if hide && !arguments.show_sensitive_values {
            "******".to_owned()
        } else if arguments.show_sensitive_values {
            value
        } else {
            masked(&value)
        };
        let _infallible = writeln!(text, "{name}={value:?}");
    }
    text
}

pub(super) fn debug(command: &DebugCommand) -> Result<()> {
    let DebugCommand::Providers = command;
    let mut first = true;
    for kind in Kind::ALL {
        let state = match kind.find(identity::surroundings()) {
            Some(_) if first => {
                first = false;
                "here, and the one that is asked".to_owned()
            }
            Some(_) => "here".to_owned(),
            None => format!("not here: {}", kind.wants()),
        };
        report::print(&format!("{:<26}{state}", kind.name()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_shown_only_when_asked_for() {
        let read = |name: &str| match name {
            "COSIGN_PASSWORD" | "SIGSTORE_ID_TOKEN" | "COSIGN_REGISTRY_TOKEN" => {
                Some("s3cret".to_owned())
            }
            "TUF_ROOT" => Some("/a \"folder\"".to_owned()),
            "HTTPS_PROXY" => Some("http://me:s3cret@proxy.example:3128/".to_owned()),
            "COSIGN_KEY" => Some("pkcs11:token=a?pin-value=s3cret&module-name=b".to_owned()),
            _ => None,
        };
        let flags = ["COSIGN_REGISTRY_TOKEN", "COSIGN_YES", "COSIGN_KEY"].map(str::to_owned);
        let show = |descriptions, sensitive| {
            let arguments = Env {
                show_descriptions: descriptions,
                show_sensitive_values: sensitive,
            };
            text(&arguments, &read, &flags)
        };
        let hidden = show(true, false);
        assert!(!hidden.contains("s3cret"), "{hidden}");
        for rest in [
            "HTTPS_PROXY=\"http://******@proxy.example:3128/\"\n",
            "COSIGN_KEY=\"pkcs11:token=a?pin-value=******&module-name=b\"\n",
        ] {
            assert!(hidden.contains(rest), "{hidden}");
        }
        assert!(
            hidden.contains("\nCOSIGN_PASSWORD=\"******\"\n")
                || hidden.contains("COSIGN_PASSWORD=\"******\"\n")
        );
        assert!(
            hidden.contains("TUF_ROOT=\"/a \\\"folder\\\"\"\n"),
            "{hidden}"
        );
        assert!(
            hidden.contains("# COSIGN_YES stands for --yes\n"),
            "{hidden}"
        );
        assert!(hidden.contains("BROWSER=\"\"\n"));
        let shown = show(false, true);
        assert_eq!(shown.matches("s3cret").count(), 5, "{shown}");
        assert!(!shown.contains('#'), "{shown}");
    }
}
