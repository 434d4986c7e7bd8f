//! Flags of older cosigns: refused with the name of what took their place. None is silently ignored, because each of them once decided
//! what is trusted, who is called, or what is written.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::failure;

const ONE_BUNDLE: &str = "everything is in one bundle: write it and read it with --bundle";
const SERVICES: &str = "name the services in a signing config: --signing-config, or --trust-config";
const ROOT: &str = "name what is trusted in a trusted root: --trusted-root, or --trust-config";
const ALWAYS: &str = "this check cannot be left out";

/// Flag and what to do instead.
const RETIRED: &[(&str, &str)] = &[
    ("--output-signature", ONE_BUNDLE),
    ("--output-certificate", ONE_BUNDLE),
    ("--output-cert", ONE_BUNDLE),
    ("--output-payload", ONE_BUNDLE),
    ("--output-attestation", ONE_BUNDLE),
    ("--b64", ONE_BUNDLE),
    ("--signature", ONE_BUNDLE),
    ("--certificate", ONE_BUNDLE),
    ("--cert", ONE_BUNDLE),
    ("--payload", ONE_BUNDLE),
    ("--sct", ONE_BUNDLE),
    ("--rfc3161-timestamp", ONE_BUNDLE),
    ("--rfc3161-timestamp-bundle", ONE_BUNDLE),
    ("--fulcio-url", SERVICES),
    ("--rekor-url", SERVICES),
    ("--timestamp-server-url", SERVICES),
    ("--use-signing-config", SERVICES),
    (
        "--tlog-upload",
        "a signature under a short-lived certificate is always logged",
    ),
    (
        "--rekor-entry-type",
        "every signature is logged as a hashedrekord of Rekor v2",
    ),
    (
        "--issue-certificate",
        "a certificate is always issued: there is no signing with a key of one's own yet",
    ),
    ("--certificate-chain", ROOT),
    ("--cert-chain", ROOT),
    ("--ca-roots", ROOT),
    ("--ca-intermediates", ROOT),
    ("--timestamp-certificate-chain", ROOT),
    ("--insecure-ignore-tlog", ALWAYS),
    ("--insecure-ignore-sct", ALWAYS),
    ("--insecure-skip-verify", ALWAYS),
    ("--private-infrastructure", ALWAYS),
    (
        "--check-claims",
        "a signature is always compared with what it is about",
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
    ("--sk", "hardware keys are not supported yet"),
    ("--slot", "hardware keys are not supported yet"),
];

/// Prints clap's own message (help to standard output) and, for a flag that once was, what to do instead.
pub(crate) fn explain(error: &clap::Error) -> ExitCode {
    let _unread = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    if let Some(hint) = hint(error) {
        failure::say(&format!("hint: {hint}"));
    }
    ExitCode::FAILURE
}

fn hint(error: &clap::Error) -> Option<&'static str> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let name = flag.split('=').next().unwrap_or_default();
    RETIRED
        .iter()
        .find(|(retired, _)| *retired == name)
        .map(|(_, hint)| *hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Arguments;
    use clap::Parser as _;

    #[test]
    fn each_retired_flag_is_refused_and_explained_by_every_command() {
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
            for (flag, expected) in RETIRED {
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
