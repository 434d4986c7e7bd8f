//! ML-DSA-44 private keys (FIPS 204), with which a witness cosigns.

use std::fmt;
use std::path::Path;

use aws_lc_rs::signature::{KeyPair as _, ML_DSA_44_SIGNING, PqdsaKeyPair};
use keys::{MlDsa44Key, pem};
use zeroize::Zeroizing;

use crate::{SignerError, file};

/// A private key in this process.
pub struct MlDsa44Signer {
    pair: PqdsaKeyPair,
    public: MlDsa44Key,
}

impl MlDsa44Signer {
    /// Reads a PKCS#8 PEM file (RFC 9881) that [`Self::create`] wrote, and that only its owner may be able to read.
    pub fn load(path: &Path) -> Result<Self, SignerError> {
        let text = file::read(path)?;
        let block = pem::decode(&text, &["PRIVATE KEY"])
            .map_err(|error| SignerError::Malformed(error.to_string()))?;
        let der = Zeroizing::new(block.der);
        let pair = PqdsaKeyPair::from_pkcs8(&ML_DSA_44_SIGNING, &der);
        let odd = |_| SignerError::Malformed("not an ML-DSA-44 key".to_owned());
        Self::new(pair.map_err(odd)?)
    }

    /// Makes a new key and writes it to a new file; an existing file is an error. The key is durable when this returns.
    pub fn create(path: &Path) -> Result<Self, SignerError> {
        let pair = PqdsaKeyPair::generate(&ML_DSA_44_SIGNING).map_err(|_| SignerError::Failed)?;
        let der = pair.to_pkcs8v1().map_err(|_| SignerError::Failed)?;
        let text = Zeroizing::new(pem::encode("PRIVATE KEY", der.as_ref()));
        file::write_new(path, &text)?;
        Self::new(pair)
    }

    fn new(pair: PqdsaKeyPair) -> Result<Self, SignerError> {
        let public = MlDsa44Key::from_raw(pair.public_key().as_ref());
        let public = public.ok_or(SignerError::Failed)?;
        Ok(Self { pair, public })
    }

    /// The public half.
    pub const fn public_key(&self) -> &MlDsa44Key {
        &self.public
    }

    /// Signs a message, with an empty context string.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let mut signature = vec![0; keys::ml_dsa::SIGNATURE_LEN];
        let len = self.pair.sign(message, &mut signature);
        signature.truncate(len.map_err(|_| SignerError::Failed)?);
        Ok(signature)
    }
}

impl fmt::Debug for MlDsa44Signer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("MlDsa44Signer")
            .field(&self.public)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_signs_verifies_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let made = MlDsa44Signer::create(&path).unwrap();
        let read = MlDsa44Signer::load(&path).unwrap();
        assert_eq!(made.public_key(), read.public_key());
        let mut signature = read.sign(b"message").unwrap();
        made.public_key().verify(b"message", &signature).unwrap();
        assert!(made.public_key().verify(b"massage", &signature).is_err());
        signature[100] ^= 1;
        assert!(made.public_key().verify(b"message", &signature).is_err());
        assert!(matches!(
            MlDsa44Signer::create(&path),
            Err(SignerError::File { .. })
        ));
        let other = folder.path().join("other.pem");
        crate::Signer::create(&other, keys::Algorithm::Ed25519).unwrap();
        assert!(matches!(
            MlDsa44Signer::load(&other),
            Err(SignerError::Malformed(_))
        ));
    }
}
