//! The commands that make and show keys.

use std::path::PathBuf;

use clap::Args;
use keys::Algorithm;

/// `generate-key-pair`.
#[derive(Debug, Args)]
pub(crate) struct GenerateKeyPair {
    /// Where to write: PREFIX.key and PREFIX.pub
    #[arg(long, value_name = "PREFIX", default_value = "cosign")]
    pub(crate) output_key_prefix: PathBuf,
    /// What the key signs with
    #[arg(long, value_name = "ALGORITHM", default_value = "ecdsa-sha2-256-nistp256", value_parser = key_algorithm)]
    pub(crate) signing_algorithm: Algorithm,
}

/// `import-key-pair`.
#[derive(Debug, Args)]
pub(crate) struct ImportKeyPair {
    /// The private key, PEM: PKCS#8, SEC1 or PKCS#1; an encrypted one takes the password in $COSIGN_IMPORT_PASSWORD
    #[arg(short, long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// Where to write: PREFIX.key and PREFIX.pub
    #[arg(short, long, value_name = "PREFIX", default_value = "import-cosign")]
    pub(crate) output_key_prefix: PathBuf,
}

/// `public-key`.
#[derive(Debug, Args)]
pub(crate) struct PublicKey {
    /// The private key: a file, env://NAME, pkcs11:..., hashivault://NAME, or awskms://... and others by a plug-in
    #[arg(long, value_name = "KEY")]
    pub(crate) key: String,
    /// Where to write it instead of to standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) outfile: Option<PathBuf>,
}

/// Those that a session signs with: a log takes the digest, and pure Ed25519 signs none.
fn key_algorithm(text: &str) -> Result<Algorithm, String> {
    let known = [
        Algorithm::EcdsaP256Sha256,
        Algorithm::EcdsaP384Sha384,
        Algorithm::EcdsaP521Sha512,
        Algorithm::RsaPkcs1Sha256_2048,
        Algorithm::RsaPkcs1Sha256_3072,
        Algorithm::RsaPkcs1Sha256_4096,
    ];
    known
        .into_iter()
        .find(|algorithm| algorithm.registry_name() == text)
        .ok_or_else(|| {
            let names = known.map(Algorithm::registry_name);
            format!("expected one of {}", names.join(", "))
        })
}
