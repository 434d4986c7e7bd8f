//! Keys of OpenSSH (a line as in `authorized_keys`) and its file signatures (`ssh-keygen -Y sign -n file`).
//!
//! ```text
//! key          string "ssh-ed25519" | string 32 bytes                 string = length u32 | bytes (RFC 4251 5)
//! signature    "SSHSIG" | u32 1 | string key | string namespace | string reserved | string hash | string (string algorithm | string bytes ..)
//! what it signs "SSHSIG" | string namespace | string reserved | string hash | string H(data)
//! ```
//!
//! Sources: RFC 4251, RFC 4253 6.6, RFC 5656 3.1, RFC 8332, RFC 8709; openssh-portable `PROTOCOL.sshsig`, `PROTOCOL.u2f`.
//!
//! The namespace is `file` and the hash SHA-512, which `ssh-keygen` takes unless it is told otherwise: upstream writes every signature down with
//! that hash, and so can verify no other. RSA with SHA-1, DSA and certificates are refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keys::{Algorithm, HashAlgorithm, KeyType, PublicKey, ecdsa, pem};

use crate::format::Known;
use crate::rekord::unverified;
use crate::{ProposeError, invalid};

/// The longest key file, as upstream reads it.
const MAX_KEY: usize = 64 << 10;
const MAGIC: &[u8; 6] = b"SSHSIG";
const LABEL: &str = "SSH SIGNATURE";
const NAMESPACE: &[u8] = b"file";
const HASH: &[u8] = b"sha512";

/// A public key.
#[derive(Debug)]
pub(crate) struct SshKey {
    blob: Vec<u8>,
    algorithm: String,
    key: PublicKey,
    /// On a security key, what it was made for: it signs the hash of this.
    application: Option<Vec<u8>>,
    comment: String,
}

/// A signature over a file.
#[derive(Debug)]
pub(crate) struct SshSignature {
    key: Vec<u8>,
    signature: Vec<u8>,
}

impl SshKey {
    /// The first key of a file, without options before it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ProposeError> {
        if bytes.len() > MAX_KEY {
            return Err(no_key(format_args!(
                "{} bytes, at most {MAX_KEY}",
                bytes.len()
            )));
        }
        let text = std::str::from_utf8(bytes).map_err(no_key)?;
        let line = text
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty() && !line.starts_with('#'))
            .ok_or_else(|| no_key("no key found"))?;
        let mut words = line.splitn(3, [' ', '\t']);
        let (Some(algorithm), Some(encoded)) = (words.next(), words.next()) else {
            return Err(no_key("expected \"TYPE BASE64 COMMENT\""));
        };
        let blob = STANDARD
            .decode(encoded)
            .map_err(|_| no_key("expected \"TYPE BASE64 COMMENT\", without options before it"))?;
        let mut reader = Reader(&blob);
        if reader.string()? != algorithm.as_bytes() {
            return Err(no_key("the line and the key name different types"));
        }
        let (key, application) = read_key(algorithm, &mut reader)?;
        reader.end()?;
        Ok(Self {
            algorithm: algorithm.to_owned(),
            key,
            application,
            comment: words.next().unwrap_or_default().trim().to_owned(),
            blob,
        })
    }

    /// The comment, where it is a mail address, is a name of the key.
    pub(crate) fn known(&self) -> Known {
        let line = format!("{} {}\n", self.algorithm, STANDARD.encode(&self.blob));
        let name = is_mail(&self.comment).then(|| self.comment.clone());
        Known::new(line.into_bytes(), name)
    }
}

impl SshSignature {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ProposeError> {
        let text = std::str::from_utf8(bytes).map_err(no_signature)?;
        let block = pem::decode(text, &[LABEL]).map_err(no_signature)?;
        let rest = block.der.strip_prefix(MAGIC);
        let mut reader = Reader(rest.ok_or_else(|| no_signature("it does not begin with SSHSIG"))?);
        let version = reader.take(4)?;
        if version != [0, 0, 0, 1] {
            return Err(no_signature("its version is not 1"));
        }
        let key = reader.string()?.to_vec();
        for (what, expected) in [("namespace", NAMESPACE), ("reserved", b""), ("hash", HASH)] {
            let found = reader.string()?;
            if found != expected {
                return Err(no_signature(format_args!(
                    "its {what} is {:?}, expected {:?}",
                    String::from_utf8_lossy(found),
                    String::from_utf8_lossy(expected)
                )));
            }
        }
        let signature = reader.string()?.to_vec();
        reader.end()?;
        Ok(Self { key, signature })
    }

    pub(crate) fn verify(&self, key: &SshKey, data: &[u8]) -> Result<(), ProposeError> {
        if self.key != key.blob {
            return Err(no_signature(
                "it was made with another key than the given one",
            ));
        }
        let digest = HashAlgorithm::Sha512.digest(data);
        let mut message = MAGIC.to_vec();
        for part in [NAMESPACE, b"", HASH, digest.bytes()] {
            put_string(&mut message, part);
        }
        let mut reader = Reader(&self.signature);
        let algorithm = reader.string()?;
        let signature = reader.string()?;
        if let Some(application) = &key.application {
            // The flags, and how often the security key has signed.
            let state = reader.take(5)?;
            message = [
                keys::sha256(application).as_slice(),
                state,
                &keys::sha256(&message),
            ]
            .concat();
        }
        reader.end()?;
        let verified = match (algorithm, key.key.key_type()) {
            (b"rsa-sha2-256", _) => key
                .key
                .verify_rsa(HashAlgorithm::Sha256, &message, signature),
            (b"rsa-sha2-512", _) => key
                .key
                .verify_rsa(HashAlgorithm::Sha512, &message, signature),
            (named, KeyType::Ed25519) if named == key.algorithm.as_bytes() => {
                key.key.verify(Algorithm::Ed25519, &message, signature)
            }
            (named, _) if named == key.algorithm.as_bytes() && named != b"ssh-rsa" => {
                let mut numbers = Reader(signature);
                let (r, s) = (numbers.number()?, numbers.number()?);
                numbers.end()?;
                let der = ecdsa::to_der(r, s).ok_or_else(|| no_signature("an empty number"))?;
                key.key.verify(key.key.default_algorithm(), &message, &der)
            }
            (other, _) => {
                return Err(no_signature(format_args!(
                    "{} does not go with the key or is not accepted",
                    String::from_utf8_lossy(other)
                )));
            }
        };
        verified.map_err(|_| unverified("the given SSH key"))
    }

    pub(crate) fn to_pem(&self, key: &SshKey) -> Vec<u8> {
        let mut blob = [MAGIC.as_slice(), &[0, 0, 0, 1]].concat();
        for part in [&key.blob, NAMESPACE, b"", HASH, &self.signature] {
            put_string(&mut blob, part);
        }
        pem::encode(LABEL, &blob).into_bytes()
    }
}

fn read_key(
    algorithm: &str,
    reader: &mut Reader<'_>,
) -> Result<(PublicKey, Option<Vec<u8>>), ProposeError> {
    let (name, on_security_key) = match algorithm {
        "sk-ssh-ed25519@openssh.com" => ("ssh-ed25519", true),
        "sk-ecdsa-sha2-nistp256@openssh.com" => ("ecdsa-sha2-nistp256", true),
        other => (other, false),
    };
    let key = match name {
        "ssh-ed25519" => PublicKey::from_raw(KeyType::Ed25519, reader.string()?),
        "ssh-rsa" => {
            let (exponent, modulus) = (reader.number()?, reader.number()?);
            PublicKey::from_rsa_components(modulus, exponent)
        }
        "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" | "ecdsa-sha2-nistp521" => {
            let curve = reader.string()?;
            if name.strip_prefix("ecdsa-sha2-").map(str::as_bytes) != Some(curve) {
                return Err(no_key("the key and its curve do not go together"));
            }
            let key_type = match curve {
                b"nistp256" => KeyType::EcdsaP256,
                b"nistp384" => KeyType::EcdsaP384,
                _ => KeyType::EcdsaP521,
            };
            PublicKey::from_raw(key_type, reader.string()?)
        }
        other => {
            return Err(no_key(format_args!(
                "keys of type {other:?} are not accepted"
            )));
        }
    };
    let application = on_security_key
        .then(|| reader.string().map(<[u8]>::to_vec))
        .transpose()?;
    Ok((key.map_err(no_key)?, application))
}

/// Reads the fields of RFC 4251 5.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], ProposeError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or_else(|| invalid("an SSH key or signature ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn string(&mut self) -> Result<&'a [u8], ProposeError> {
        let length = self.take(4)?.iter().fold(0_usize, |length, byte| {
            length
                .saturating_mul(256)
                .saturating_add(usize::from(*byte))
        });
        self.take(length)
    }

    /// An `mpint` that is not negative.
    fn number(&mut self) -> Result<&'a [u8], ProposeError> {
        let number = self.string()?;
        if number.first().is_none_or(|first| *first >= 0x80) {
            return Err(invalid(
                "an SSH key or signature has a number that is not positive",
            ));
        }
        Ok(number)
    }

    fn end(&self) -> Result<(), ProposeError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(invalid("an SSH key or signature has bytes after its end"))
        }
    }
}

fn put_string(out: &mut Vec<u8>, part: &[u8]) {
    // No part is longer than a request.
    out.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(part);
}

/// One `@` with something on both sides and no space: enough to tell a name from a remark.
pub(crate) fn is_mail(text: &str) -> bool {
    let sides = text.split_once('@');
    sides.is_some_and(|(user, host)| !user.is_empty() && host.contains('.') && !host.contains('@'))
        && !text.contains(|character: char| character.is_whitespace() || character.is_control())
}

fn no_key(why: impl std::fmt::Display) -> ProposeError {
    invalid(format!("invalid SSH public key: {why}"))
}

fn no_signature(why: impl std::fmt::Display) -> ProposeError {
    invalid(format!("invalid SSH signature: {why}"))
}
