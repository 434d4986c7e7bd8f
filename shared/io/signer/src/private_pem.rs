//! The PEM labels of private keys, and what is below each.

use keys::pem::{self, Block, PemError};
use zeroize::Zeroizing;

use crate::local::LocalKey;
use crate::{SignerError, encrypted, old_pem};

/// What is read, as an error names it.
const LABELS: &str = "PRIVATE KEY, ENCRYPTED PRIVATE KEY, EC PRIVATE KEY, RSA PRIVATE KEY, ENCRYPTED SIGSTORE PRIVATE KEY or ENCRYPTED \
                      COSIGN PRIVATE KEY";

/// What cosign writes now; older ones said `COSIGN`.
pub(crate) const COSIGN: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";

/// Reads the first private key of a text. A password for a key that has none is an error: somebody believes that it is encrypted.
pub(crate) fn read(text: &str, password: Option<&[u8]>) -> Result<LocalKey, SignerError> {
    let old = old_pem::take_headers(text)?;
    let text = old.as_ref().map_or(text, |(rest, _)| rest.as_str());
    let malformed = |error: PemError| SignerError::Malformed(error.to_string());
    let blocks = pem::decode_all(text).map_err(malformed)?;
    let mut blocks = blocks.into_iter().map(|Block { label, der }| {
        // Each of them, also those that are not asked for, is wiped.
        (label, Zeroizing::new(der))
    });
    // `openssl ecparam -genkey` puts the curve's name before the key.
    let (label, der) = blocks
        .find(|(label, _)| label != "EC PARAMETERS")
        .ok_or_else(|| malformed(PemError::NoBlock))?;
    let encrypted = old.is_some() || label.starts_with("ENCRYPTED ");
    let password = match (encrypted, password) {
        (true, None) => return Err(SignerError::NoPassword),
        (false, Some(_)) => return Err(SignerError::NotEncrypted),
        (_, password) => password.unwrap_or_default(),
    };
    let der = match &old {
        Some((_, sealed)) => sealed.open(der, password)?,
        None => der,
    };
    match label.as_str() {
        "PRIVATE KEY" => LocalKey::from_pkcs8_der(der),
        "EC PRIVATE KEY" => LocalKey::from_sec1_der(&der),
        "RSA PRIVATE KEY" => LocalKey::from_pkcs1_der(&der),
        "ENCRYPTED PRIVATE KEY" => LocalKey::from_pkcs8_der(encrypted::open_pkcs8(&der, password)?),
        COSIGN | "ENCRYPTED COSIGN PRIVATE KEY" => {
            LocalKey::from_pkcs8_der(encrypted::open_cosign(&der, password)?)
        }
        _ => Err(malformed(PemError::Label {
            found: label,
            expected: LABELS.to_owned(),
        })),
    }
}
