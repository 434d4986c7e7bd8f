//! Flags of older cosigns: refused with the name of what took their place. None is silently ignored, because each of them once decided
//! what is trusted, who is called, or what is written.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::{args, failure};

const ONE_BUNDLE: &str = "everything is in one bundle: write it and read it with --bundle; `cosign-rs bundle create` makes one of what older cosigns wrote";
const SERVICES: &str = "name the services in a signing config: --signing-config, or --trust-config";
const ROOT: &str = "name what is trusted in a trusted root: --trusted-root, or --trust-config";
/// Commands of a protocol for test suites.
const HIDDEN: [&str; 3] = ["verify-bundle", "sign-bundle", "tuf-conformance"];
const HARDWARE: &str = "a hardware key is used by the PKCS#11 module of its maker: --key pkcs11:token=...;object=...?module-path=...";
const TIMESTAMPS: &str = "only signing calls a timestamp authority";
const CLIENT_CERTIFICATE: &str = "no registry is called here that could ask for a certificate";
const IN_THE_BUNDLE: &str = "the certificate is in the bundle (--bundle), and whose it must be is said with --certificate-identity";
const ALWAYS: &str = "this check cannot be left out";

/// Flag and what to do instead.
const RETIRED: &[(&str, &str)] = &[
    // Of the commands that sign: those that verify have a flag of that name.
    ("--output", ONE_BUNDLE),
    ("--output-signature", ONE_BUNDLE),
    ("--output-certificate", ONE_BUNDLE),
    ("--output-cert", ONE_BUNDLE),
    ("--output-payload", ONE_BUNDLE),
    ("--output-attestation", ONE_BUNDLE),
    ("--b64", ONE_BUNDLE),
    ("--signature", ONE_BUNDLE),
    ("--certificate", IN_THE_BUNDLE),
    ("--cert", IN_THE_BUNDLE),
    ("--payload", ONE_BUNDLE),
    ("--sct", ONE_BUNDLE),
    ("--rfc3161-timestamp", ONE_BUNDLE),
    ("--rfc3161-timestamp-bundle", ONE_BUNDLE),
    ("--fulcio-url", SERVICES),
    ("--rekor-url", SERVICES),
    ("--timestamp-server-url", SERVICES),
    (
        "--rekor-entry-type",
        "every signature is logged as a hashedrekord of Rekor v2",
    ),
    (
        "--issue-certificate",
        "a certificate is issued for a fresh key, and none for a key of one's own: leave --key out",
    ),
    ("--certificate-chain", ROOT),
    ("--cert-chain", ROOT),
    ("--ca-roots", ROOT),
    ("--ca-intermediates", ROOT),
    ("--timestamp-certificate-chain", ROOT),
    (
        "--insecure-ignore-sct",
        "it is said to those that verify: a certificate from Fulcio is asked for with its SCT",
    ),
    ("--insecure-skip-verify", ALWAYS),
    ("--private-infrastructure", ALWAYS),
    (
        "--allow-certificate-chain",
        "a bundle of version 0.3 has one certificate: name those between it and the root in a trusted root",
    ),
    (
        "--signature-digest-algorithm",
        "the digest's algorithm follows from the key, as the bundle's",
    ),
    (
        "--sign-container-identity",
        "a signature is about a digest, whatever the image is called",
    ),
    (
        "--replace",
        "each signature stands by itself, none replaces another",
    ),
    (
        "--record-creation-timestamp",
        "the manifest that attaches a bundle always states when",
    ),
    (
        "--attachment",
        "attach the thing as an attestation, or sign its digest",
    ),
    (
        "--attachment-tag-prefix",
        "bundles are attached as referrers",
    ),
    (
        "--registry-referrers-mode",
        "bundles are attached as referrers",
    ),
    ("--experimental-oci11", "bundles are attached as referrers"),
    ("--sk", HARDWARE),
    ("--slot", HARDWARE),
    (
        "--digest",
        "name the digest instead of the file, as sha256:HEX",
    ),
    (
        "--digestAlg",
        "name the digest instead of the file, as sha256:HEX",
    ),
    (
        "--use-signed-timestamps",
        "whatever time a bundle states has to hold, and one is always needed",
    ),
    (
        "--max-workers",
        "what can be read at the same time is read so already",
    ),
    (
        "--yes",
        "nothing is asked here, and a key that is there is never replaced",
    ),
    (
        "--kms",
        "generate-key-pair --kms says with what a key is made there, and --key names it",
    ),
    ("--timestamp-client-cacert", TIMESTAMPS),
    ("--timestamp-client-cert", TIMESTAMPS),
    ("--timestamp-client-key", TIMESTAMPS),
    ("--timestamp-server-name", TIMESTAMPS),
    (
        "--k8s-keychain",
        "credential helpers of Docker's configuration are asked, which know the workload's identity too: name the registry's there (\"credHelpers\": ecr-login for Amazon, gcloud or gcr for Google, acr-env for Azure)",
    ),
    ("--registry-client-cert", CLIENT_CERTIFICATE),
    ("--registry-client-key", CLIENT_CERTIFICATE),
    ("--registry-server-name", CLIENT_CERTIFICATE),
    ("--local-image", "the image has to be in a registry"),
    (
        "--recursive",
        "name each image by its digest; several in one command take one login and one certificate",
    ),
    (
        "--predicate-type",
        "verify-attestation --type prints the statements of one type",
    ),
    (
        "--experimental",
        "what was an experiment in cosign 1 is how it works",
    ),
];

/// Commands of cosign that are not here.
const COMMANDS: &[(&str, &str)] = &[
    ("upload", "oras push uploads files"),
    ("dockerfile", "name the images in it: verify takes several"),
    ("manifest", "name the images in it: verify takes several"),
    ("generate", "sign --format legacy signs that payload"),
    ("piv-tool", HARDWARE),
];

/// Prints clap's own message (help to standard output) and, for a flag or command that is not here, what to do instead.
pub(crate) fn explain(mut error: clap::Error) -> ExitCode {
    let hint = hint(&error);
    // Its guesses are about the spelling, and would lead away from the hint; and nobody is led to a hidden command.
    if hint.is_some() {
        for guess in [
            ContextKind::SuggestedArg,
            ContextKind::SuggestedSubcommand,
            ContextKind::Suggested,
            // It is made with the guess in it.
            ContextKind::Usage,
        ] {
            error.remove(guess);
        }
    }
    if let Some(ContextValue::Strings(mut names)) = error.remove(ContextKind::SuggestedSubcommand) {
        names.retain(|name| !HIDDEN.contains(&name.as_str()));
        if !names.is_empty() {
            let names = ContextValue::Strings(names);
            error.insert(ContextKind::SuggestedSubcommand, names);
        }
    }
    let _unread = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    if let Some(hint) = hint {
        failure::say(&format!("hint: {hint}"));
    }
    let variables = args::variables_in_use();
    if !variables.is_empty() {
        failure::say(&format!(
            "note: these variables count as flags: {}",
            variables.join(", ")
        ));
    }
    ExitCode::from(failure::Outcome::Usage.code())
}

fn hint(error: &clap::Error) -> Option<&'static str> {
    let (kind, table) = match error.kind() {
        ErrorKind::UnknownArgument => (ContextKind::InvalidArg, RETIRED),
        ErrorKind::InvalidSubcommand => (ContextKind::InvalidSubcommand, COMMANDS),
        _ => return None,
    };
    let Some(ContextValue::String(given)) = error.get(kind) else {
        return None;
    };
    let name = given.split('=').next().unwrap_or_default();
    table
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, hint)| *hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Arguments;
    use clap::{CommandFactory as _, Parser as _};

    #[test]
    fn commands_of_cosign_that_are_not_here_are_explained() {
        for (command, expected) in COMMANDS {
            let error = Arguments::try_parse_from(["cosign-rs", command]).unwrap_err();
            assert_eq!(hint(&error), Some(*expected), "{command}: {error}");
        }
    }

    /// What cosign 3 calls deprecated, of the commands that sign and of those that verify (sigstore/cosign: cmd/cosign/cli/options).
    const DEPRECATED: [(&[&str], &[&str]); 2] = [
        (
            &["sign", "sign-blob", "attest", "attest-blob"],
            &[
                "--output",
                "--output-signature",
                "--output-certificate",
                "--output-payload",
                "--output-attestation",
                "--b64",
                "--rfc3161-timestamp",
                "--rfc3161-timestamp-bundle",
                "--timestamp-server-url",
                "--fulcio-url",
                "--rekor-url",
                "--oidc-issuer",
                "--tlog-upload",
                "--rekor-entry-type",
                "--issue-certificate",
                "--insecure-skip-verify",
                "--record-creation-timestamp",
                "--replace",
                "--attachment",
                "--attachment-tag-prefix",
                "--sign-container-identity",
                "--payload",
                "--new-bundle-format",
            ],
        ),
        (
            &[
                "verify",
                "verify-attestation",
                "verify-blob",
                "verify-blob-attestation",
            ],
            &[
                "--certificate",
                "--certificate-chain",
                "--ca-roots",
                "--ca-intermediates",
                "--sct",
                "--signature",
                "--payload",
                "--signature-digest-algorithm",
                "--timestamp-certificate-chain",
                "--rfc3161-timestamp",
                "--rekor-url",
                "--offline",
                "--private-infrastructure",
                "--experimental-oci11",
                "--attachment",
                "--new-bundle-format",
                "--insecure-ignore-sct",
                "--allow-certificate-chain",
            ],
        ),
    ];

    #[test]
    fn what_cosign_calls_deprecated_is_taken_or_explained() {
        for (commands, flags) in DEPRECATED {
            for (command, flag) in commands
                .iter()
                .flat_map(|command| flags.iter().map(move |flag| (command, flag)))
            {
                let error = Arguments::try_parse_from(["cosign-rs", command, flag]).unwrap_err();
                let unknown = error.kind() == ErrorKind::UnknownArgument;
                assert!(
                    !unknown || hint(&error).is_some(),
                    "{command} {flag}: {error}"
                );
            }
        }
    }

    #[test]
    fn nothing_stands_twice() {
        for table in [RETIRED, COMMANDS] {
            let mut names: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
            names.sort_unstable();
            let all = names.len();
            names.dedup();
            assert_eq!(names.len(), all, "{names:?}");
        }
    }

    #[test]
    fn each_retired_flag_is_known_to_a_command_or_refused_and_explained() {
        for command in [
            "sign",
            "verify",
            "attest",
            "verify-attestation",
            "sign-blob",
            "verify-blob",
            "attest-blob",
            "verify-blob-attestation",
        ] {
            let mut known = Arguments::command();
            known.build();
            let known = known.find_subcommand(command).unwrap();
            for (flag, expected) in RETIRED {
                let named = |name: Option<&str>| name == Some(flag.trim_start_matches("--"));
                if known.get_arguments().any(|argument| {
                    let aliases = argument.get_all_aliases().unwrap_or_default();
                    let mut names = aliases.into_iter().chain(argument.get_long());
                    names.any(|name| named(Some(name)))
                }) {
                    continue;
                }
                for argument in [(*flag).to_owned(), format!("{flag}=x")] {
                    let error =
                        Arguments::try_parse_from(["cosign-rs", command, &argument]).unwrap_err();
                    assert_eq!(
                        hint(&error),
                        Some(*expected),
                        "{command} {argument}: {error}"
                    );
                }
            }
        }
    }
}
