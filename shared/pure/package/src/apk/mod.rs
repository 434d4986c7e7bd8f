//! Alpine packages, version 2 of the format (`apk-tools` 2).
//!
//! ```text
//! package = gzip(tar of .SIGN.RSA.<key name>)     the signature
//!           gzip(tar of .PKGINFO, scripts)        the control member: its compressed bytes are what is signed
//!           gzip(tar of the files)                the data: .PKGINFO's `datahash` is the SHA-256 of its compressed bytes
//! ```
//!
//! The data is hashed as it came and never inflated. Signatures are RSA PKCS#1 v1.5 with SHA-1: upstream knows nothing else, so `.SIGN.RSA256.*`,
//! which `apk-tools` would verify, is a signature that does not hold.

mod pkginfo;

use std::collections::BTreeMap;
use std::io::Read as _;

use flate2::bufread::GzDecoder;
use keys::{KeyType, PublicKey, pem};

use crate::crypto::{self, Hash, Scheme};
use crate::{PackageError, tar};

/// The largest signature member, inflated, and the largest `.PKGINFO`: the default of upstream's setting `max_apk_metadata_size`.
pub const MAX_METADATA: u64 = 1024 * 1024;
/// The largest control member, inflated. Upstream has no limit; real ones have some kilobytes, scripts and triggers included.
pub const MAX_CONTROL: u64 = 16 * 1024 * 1024;

/// A package whose data is the one that its `.PKGINFO` names. Whether that is signed says [`verify`](Self::verify).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Apk<'a> {
    control: &'a [u8],
    signature: Vec<u8>,
    pkginfo: BTreeMap<String, String>,
}

impl<'a> Apk<'a> {
    /// Takes a package apart and checks the digest of its data. Of several signatures the first one counts, of several `.PKGINFO` the last
    /// one, as upstream has it.
    pub fn parse(package: &'a [u8]) -> Result<Self, PackageError> {
        let (signatures, after) = inflate(package, "apk: signature member", MAX_METADATA)?;
        let (control_tar, data) = inflate(after, "apk: control member", MAX_CONTROL)?;
        let control = after
            .get(..after.len().saturating_sub(data.len()))
            .unwrap_or_default();
        let signature = tar::members(&signatures)?
            .into_iter()
            .find(|member| member.name.starts_with(b".SIGN"))
            .map(|member| unarmored(member.contents))
            .ok_or(PackageError::Unsigned("apk: no file .SIGN.*"))?;
        let mut pkginfo = None;
        for member in tar::members(&control_tar)? {
            if member.name == b".PKGINFO" {
                pkginfo = Some(pkginfo::parse(member.contents)?);
            }
        }
        let pkginfo = pkginfo.ok_or(PackageError::Malformed("apk: no file .PKGINFO"))?;
        let stated = pkginfo
            .get("datahash")
            .and_then(|text| hex::decode(text).ok())
            .ok_or(PackageError::Malformed("apk: no datahash in .PKGINFO"))?;
        if stated != Hash::Sha256.digest(data).as_ref() {
            return Err(PackageError::Digest("the data member".into()));
        }
        Ok(Self {
            control,
            signature,
            pkginfo,
        })
    }

    /// Verifies the signature over the control member, and so over everything in [`pkginfo`](Self::pkginfo) and, through `datahash`, the data.
    ///
    /// The hash is SHA-1: a signer who signs what a stranger prepared can be tricked into signing two packages at once.
    pub fn verify(&self, key: &PublicKey) -> Result<(), PackageError> {
        let is_rsa = matches!(
            key.key_type(),
            KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096
        );
        match crypto::verify(
            key,
            Scheme::Pkcs1,
            Hash::Sha1,
            self.control,
            &self.signature,
        ) {
            Some(true) => Ok(()),
            Some(false) if is_rsa => Err(PackageError::Signature("the control member")),
            _ => Err(PackageError::Unsupported(format!(
                "Alpine packages under a key of type {:?}: RSA is needed",
                key.key_type()
            ))),
        }
    }

    /// The keys and values of `.PKGINFO` as they stand in a log entry; of a key that stands there more than once, the last value.
    pub fn pkginfo(&self) -> &BTreeMap<String, String> {
        &self.pkginfo
    }

    /// The bytes that are signed: the control member as it came, compressed.
    pub fn control(&self) -> &'a [u8] {
        self.control
    }

    /// The signature's bytes, taken out of PEM where they stood in PEM.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

/// Inflates one gzip member (RFC 1952); what follows it is returned untouched.
fn inflate<'a>(
    input: &'a [u8],
    what: &'static str,
    limit: u64,
) -> Result<(Vec<u8>, &'a [u8]), PackageError> {
    let mut decoder = GzDecoder::new(input);
    let mut contents = Vec::new();
    // One byte more than is allowed, to know the difference between the end and the limit.
    decoder
        .by_ref()
        .take(limit + 1)
        .read_to_end(&mut contents)
        .map_err(|_| PackageError::Malformed(what))?;
    if u64::try_from(contents.len()).is_ok_and(|length| length <= limit) {
        Ok((contents, decoder.into_inner()))
    } else {
        Err(PackageError::TooLarge { what, limit })
    }
}

/// A signature may stand in PEM, under whatever label.
fn unarmored(signature: &[u8]) -> Vec<u8> {
    std::str::from_utf8(signature)
        .ok()
        .and_then(|text| pem::decode_all(text).ok())
        .and_then(|blocks| blocks.into_iter().next())
        .map_or_else(|| signature.to_vec(), |block| block.der)
}
