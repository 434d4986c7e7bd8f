//! The crate sigstore-verify as a program, for the bench of the command lines: BUNDLE TRUSTED_ROOT IDENTITY ISSUER ARTIFACT.

use std::error::Error;

use sigstore_verify::trust_root::TrustedRoot;
use sigstore_verify::types::Bundle;
use sigstore_verify::{VerificationPolicy, verify};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [bundle, root, identity, issuer, artifact] = words.as_slice() else {
        return Err("BUNDLE TRUSTED_ROOT IDENTITY ISSUER ARTIFACT".into());
    };
    let bundle = Bundle::from_json(&std::fs::read_to_string(bundle)?)?;
    let root = TrustedRoot::from_json(&std::fs::read_to_string(root)?)?;
    let policy = VerificationPolicy::any_identity()
        .require_identity(identity)
        .require_issuer(issuer);
    verify(std::fs::read(artifact)?.as_slice(), &bundle, &policy, &root)?;
    println!("verified");
    Ok(())
}
