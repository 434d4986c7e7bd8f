//! The worlds of keys: how each writes a key, and what it is found by.

use crate::minisign::MinisignKey;
use crate::signer::Signer;
use crate::ssh::SshKey;
use crate::{ProposeError, invalid, pgp, tuf};

/// How a key is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A key, a certificate or a chain in PEM.
    X509,
    /// A line of OpenSSH's `authorized_keys`.
    Ssh,
    /// A key of minisign or signify.
    Minisign,
    /// OpenPGP certificates, armored or not.
    Pgp,
    /// TUF root metadata.
    Tuf,
}

/// A key in the one form that stands in the log, with what it is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) canonical: Vec<u8>,
    pub(crate) keys: Vec<String>,
}

impl Known {
    /// `names` are those that stand beside the key.
    pub(crate) fn new(canonical: Vec<u8>, names: impl IntoIterator<Item = String>) -> Self {
        let mut keys = Vec::new();
        entry::digest_keys(&canonical, &mut keys);
        keys.extend(names);
        Self { canonical, keys }
    }
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 5] = [Self::X509, Self::Ssh, Self::Minisign, Self::Pgp, Self::Tuf];

    /// As Rekor v1 names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X509 => "x509",
            Self::Ssh => "ssh",
            Self::Minisign => "minisign",
            Self::Pgp => "pgp",
            Self::Tuf => "tuf",
        }
    }

    /// The format of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The search key of a key in any form that this format allows.
    pub fn search_key(self, key: &[u8]) -> Result<String, ProposeError> {
        let known = match self {
            Self::X509 => Signer::from_pem(key)?.known(),
            Self::Ssh => SshKey::parse(key)?.known(),
            Self::Minisign => MinisignKey::parse(key)?.known(),
            Self::Pgp => pgp::known(&pgp::keyring(key)?),
            Self::Tuf => tuf::root(key)?,
        };
        let first = known.keys.into_iter().next();
        first.ok_or_else(|| invalid("no public key found"))
    }
}
