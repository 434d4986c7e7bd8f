//! `rekor-rs keygen --out FILE`: a private key for a log or a witness.

use std::io::Write as _;

use anyhow::{Context as _, bail};
use keys::Algorithm;
use note::{CosignerKey, VerifierKey};
use signer::{MlDsa44Signer, Signer};

use crate::args::{KeyKind, Keygen};

/// Makes the key and prints its verifier key (C2SP signed-note), which is what others need.
pub fn run(keygen: &Keygen) -> anyhow::Result<()> {
    let name = keygen.name.as_deref();
    let vkey = match keygen.kind {
        KeyKind::Ed25519 | KeyKind::EcdsaP256 => {
            let algorithm = match keygen.kind {
                KeyKind::EcdsaP256 => Algorithm::EcdsaP256Sha256,
                _ => Algorithm::Ed25519,
            };
            if keygen.witness && algorithm != Algorithm::Ed25519 {
                bail!("a witness cosigns with --kind ed25519 or ml-dsa44");
            }
            let key = Signer::create(&keygen.out, algorithm)?;
            let key = key.public_key().clone();
            match name {
                None => None,
                Some(name) if keygen.witness => Some(CosignerKey::ed25519(name, key)?.to_vkey()),
                Some(name) => VerifierKey::new(name, key)?.to_vkey(),
            }
        }
        KeyKind::MlDsa44 => {
            let key = MlDsa44Signer::create(&keygen.out)?;
            let key = key.public_key().clone();
            let cosigner = name.map(|name| CosignerKey::ml_dsa_44(name, key));
            cosigner.transpose()?.map(|key| key.to_vkey())
        }
    };
    match vkey {
        Some(vkey) => writeln!(std::io::stdout(), "{vkey}").context("standard output"),
        None => Ok(()),
    }
}
