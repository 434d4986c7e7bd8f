//! The files that tell clients whom to trust and whom to call (protobuf-specs: sigstore_trustroot.proto, as JSON).
//!
//! Written here as plain JSON and not with the crate that reads them: a mistake in that crate's names then shows in the tests instead
//! of being made twice.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use keys::PublicKey;
use note::VerifierKey;
use pki::cert::Certificate;
use serde_json::{Value, json};

use crate::material::Material;
use crate::state::Addresses;

/// The only one that sigstore-go and sigstore-python take.
const TRUSTED_ROOT: &str = "application/vnd.dev.sigstore.trustedroot+json;version=0.1";
const SIGNING_CONFIG: &str = "application/vnd.dev.sigstore.signingconfig.v0.2+json";
const CLIENT_TRUST_CONFIG: &str = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json";

/// Who runs these services; clients count operators, not instances.
const OPERATOR: &str = "sigstack";

/// Rekor's name in its checkpoints: the host of its base URL, without the port, which is what sigstore-go compares.
pub const REKOR_ORIGIN: &str = "localhost";

/// The files, in the forms that clients read.
#[derive(Clone, Debug)]
pub struct TrustFiles {
    /// `trusted_root.json`, and a TUF target of that name.
    pub trusted_root: Vec<u8>,
    /// `signing_config.json`, and the TUF target `signing_config.v0.2.json`.
    pub signing_config: Vec<u8>,
    /// Both in one file, for sigstore-python.
    pub client_trust_config: Vec<u8>,
    /// For clients that are to sign with the Rekor v1 log.
    pub rekor_v1: SigningFiles,
}

/// Where to sign.
#[derive(Clone, Debug)]
pub struct SigningFiles {
    /// `signing_config_rekor_v1.json`.
    pub signing_config: Vec<u8>,
    /// The same with the trusted root in one file.
    pub client_trust_config: Vec<u8>,
}

impl TrustFiles {
    /// Describes a stack with these keys at these addresses.
    pub fn describe(material: &Material, addresses: &Addresses) -> Result<Self> {
        let trusted_root = trusted_root(material, addresses)?;
        let text = |value: &Value| format!("{value:#}\n").into_bytes();
        let signing = |rekor_version| {
            let signing_config = signing_config(addresses, material.since(), rekor_version);
            let client_trust_config = json!({ "mediaType": CLIENT_TRUST_CONFIG, "trustedRoot": trusted_root, "signingConfig": signing_config });
            SigningFiles {
                signing_config: text(&signing_config),
                client_trust_config: text(&client_trust_config),
            }
        };
        let SigningFiles {
            signing_config,
            client_trust_config,
        } = signing(2);
        Ok(Self {
            trusted_root: text(&trusted_root),
            signing_config,
            client_trust_config,
            rekor_v1: signing(1),
        })
    }
}

fn trusted_root(material: &Material, addresses: &Addresses) -> Result<Value> {
    let since = material.since();
    // For a Rekor v2 log the id is the whole hash of which a note's key id is the beginning (rekor-tiles: pkg/note).
    let rekor = material.rekor.public_key();
    let rekor_id = VerifierKey::new(REKOR_ORIGIN, rekor.clone())
        .context("Rekor's key cannot sign notes")?
        .id()
        .to_vec();
    // For Rekor v1 and CT logs it is the SHA-256 of the key (RFC 6962 3.2).
    let rekor_v1 = material.rekor_v1.public_key();
    let ctlog = material.ctlog.public_key();
    Ok(json!({
        "mediaType": TRUSTED_ROOT,
        "tlogs": [
            log(&addresses.rekor, rekor, &rekor_id, since),
            log(&addresses.rekor, rekor_v1, &rekor_v1.key_id(), since),
        ],
        "certificateAuthorities": [authority(&addresses.fulcio, &material.fulcio_chain, "sigstack intermediate", since)],
        "ctlogs": [log(&addresses.ctlog, ctlog, &ctlog.key_id(), since)],
        "timestampAuthorities": [authority(&addresses.tsa, &material.tsa_chain, "sigstack timestamp authority", since)],
    }))
}

fn log(url: &str, key: &PublicKey, id: &[u8], since: Timestamp) -> Value {
    json!({
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": STANDARD.encode(key.spki_der()),
            "keyDetails": key.default_algorithm().wire_name(),
            "validFor": { "start": since.to_string() },
        },
        "logId": { "keyId": STANDARD.encode(id) },
    })
}

fn authority(url: &str, chain: &[Certificate], name: &str, since: Timestamp) -> Value {
    let certificates: Vec<Value> = chain
        .iter()
        .map(|certificate| json!({ "rawBytes": STANDARD.encode(certificate.der()) }))
        .collect();
    json!({
        "subject": { "organization": "sigstack development", "commonName": name },
        "uri": url,
        "certChain": { "certificates": certificates },
        "validFor": { "start": since.to_string() },
    })
}

fn signing_config(addresses: &Addresses, since: Timestamp, rekor_version: u32) -> Value {
    let service = |url: &str, version: u32| json!([{ "url": url, "majorApiVersion": version, "validFor": { "start": since.to_string() }, "operator": OPERATOR }]);
    json!({
        "mediaType": SIGNING_CONFIG,
        "caUrls": service(&addresses.fulcio, 1),
        "oidcUrls": service(&addresses.issuer, 1),
        "rekorTlogUrls": service(&addresses.rekor, rekor_version),
        "rekorTlogConfig": { "selector": "ANY" },
        // The whole path: clients post to it as it is.
        "tsaUrls": service(&format!("{}/api/v1/timestamp", addresses.tsa), 1),
        "tsaConfig": { "selector": "ANY" },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::State;
    use trust::{ClientTrustConfig, ServiceKind, SigningConfig, TrustedRoot};

    #[test]
    fn our_own_reader_takes_all_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let now: Timestamp = "2026-11-22T10:00:00.5Z".parse().unwrap();
        let material = Material::load_or_make(&state, now).unwrap();
        let addresses = Addresses::on_localhost(|_| 7710);
        let files = TrustFiles::describe(&material, &addresses).unwrap();

        let root = TrustedRoot::parse(&files.trusted_root).unwrap();
        assert_eq!(
            root.to_wire(),
            TrustedRoot::parse(root.to_json().unwrap().as_bytes())
                .unwrap()
                .to_wire()
        );
        SigningConfig::parse(&files.rekor_v1.signing_config).unwrap();
        ClientTrustConfig::parse(&files.rekor_v1.client_trust_config).unwrap();
        let config = SigningConfig::parse(&files.signing_config).unwrap();
        assert_eq!(
            config.service(ServiceKind::Fulcio, now).unwrap().url,
            "http://localhost:7710"
        );
        assert!(
            config
                .service(
                    ServiceKind::Fulcio,
                    material.since() - jiff::SignedDuration::from_secs(1)
                )
                .is_err()
        );
        ClientTrustConfig::parse(&files.client_trust_config).unwrap();
    }
}
