//! OpenSSL's old encryption of PEM (`Proc-Type: 4,ENCRYPTED`, the headers of RFC 1421), as `openssl ec -aes256` wrote it before version 3, and as
//! the keys of many an authority still are.
//!
//! It is read and never written: the cipher's key is MD5, once, over password and salt, so whoever has the file tries passwords as fast as he
//! likes. Of its ciphers AES is read.

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, Algorithm, DecryptionContext, PaddedBlockDecryptingKey,
    UnboundCipherKey,
};
use client::printable;
use der::asn1::AnyRef;
use der::{Decode as _, Tag, Tagged as _};
use md5::{Digest as _, Md5};
use zeroize::Zeroizing;

use crate::SignerError;

const ENCRYPTED: &str = "Proc-Type: 4,ENCRYPTED";
const INFO: &str = "DEK-Info:";

/// How what is below the headers is encrypted.
pub(crate) struct Sealed {
    cipher: &'static Algorithm,
    /// Of its key, in bytes.
    length: usize,
    iv: [u8; 16],
}

/// The text without the headers, and what they say; nothing where there are none.
pub(crate) fn take_headers(text: &str) -> Result<Option<(Zeroizing<String>, Sealed)>, SignerError> {
    if !text.lines().any(|line| line.trim() == ENCRYPTED) {
        return Ok(None);
    }
    let mut infos = text.lines().filter_map(info);
    let (Some(found), None) = (infos.next(), infos.next()) else {
        return Err(unread("expected one line DEK-Info"));
    };
    let sealed = Sealed::parse(found)?;
    let mut rest = Zeroizing::new(String::with_capacity(text.len()));
    for line in text.lines() {
        if line.trim() != ENCRYPTED && info(line).is_none() {
            rest.push_str(line);
            rest.push('\n');
        }
    }
    Ok(Some((rest, sealed)))
}

fn info(line: &str) -> Option<&str> {
    line.trim().strip_prefix(INFO).map(str::trim)
}

impl Sealed {
    /// `AES-256-CBC,` and the initial vector in hexadecimal.
    fn parse(info: &str) -> Result<Self, SignerError> {
        let (name, iv) = info.split_once(',').unwrap_or((info, ""));
        let (cipher, length) = match name {
            "AES-128-CBC" => (&AES_128, 16),
            "AES-192-CBC" => (&AES_192, 24),
            "AES-256-CBC" => (&AES_256, 32),
            other => return Err(unread(&format!("{:?}", printable(other)))),
        };
        let mut bytes = [0; 16];
        hex::decode_to_slice(iv.trim(), &mut bytes)
            .map_err(|_| unread("DEK-Info has no initial vector of 16 bytes"))?;
        Ok(Self {
            cipher,
            length,
            iv: bytes,
        })
    }

    /// What was encrypted. Only padding and shape tell whether it was with this password.
    pub(crate) fn open(
        &self,
        mut bytes: Zeroizing<Vec<u8>>,
        password: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SignerError> {
        let key = self.key(password);
        let key = UnboundCipherKey::new(self.cipher, &key).map_err(|_| SignerError::Failed)?;
        let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).map_err(|_| SignerError::Failed)?;
        let context = DecryptionContext::Iv128((&self.iv).into());
        let opened = key.decrypt(&mut bytes, context);
        let opened = opened.map_err(|_| SignerError::WrongPassword)?;
        // One wrong password in 256 leaves what looks like padding.
        let shaped = AnyRef::from_der(opened).is_ok_and(|any| any.tag() == Tag::Sequence);
        if shaped {
            Ok(Zeroizing::new(opened.to_vec()))
        } else {
            Err(SignerError::WrongPassword)
        }
    }

    /// OpenSSL's `EVP_BytesToKey` with MD5 and one round; the salt is the first half of the vector.
    fn key(&self, password: &[u8]) -> Zeroizing<Vec<u8>> {
        let salt = self.iv.first_chunk::<8>().copied().unwrap_or_default();
        let mut key = Zeroizing::new(Vec::with_capacity(48));
        let mut block = Zeroizing::new(Vec::new());
        while key.len() < self.length {
            let hash = Md5::new().chain_update(&*block).chain_update(password);
            block = Zeroizing::new(hash.chain_update(salt).finalize().to_vec());
            key.extend_from_slice(&block);
        }
        key.truncate(self.length);
        key
    }
}

fn unread(what: &str) -> SignerError {
    SignerError::Encryption(format!(
        "OpenSSL's old encryption of PEM: {what}; if openssl pkey reads it, openssl pkcs8 -topk8 writes it as it is read here"
    ))
}
