//! Where a private key is, as settings name it.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::pkcs11_uri::{Pin, Pkcs11Uri, UriError};

/// The forms, as an error names them.
const FORMS: &str = "a path, env://NAME, pkcs11:ATTRIBUTES?module-path=FILE, hashivault://NAME[?version=N] or, by a plug-in, awskms://, gcpkms://, azurekms:// and others";

/// What looks like the name of a plug-in and is something else wherever keys are named: nobody should be asked for a program of that name.
const NO_PLUGINS: [&str; 7] = ["http", "https", "file", "k8s", "github", "gitlab", "oci"];

/// Where a private key is, and the file of the secret that goes with it. Made once, from the text of a setting:
///
/// | text | the key is | the secret is |
/// | --- | --- | --- |
/// | a path | in a file, PEM, mode 0600 | its password, where it is encrypted |
/// | `env://NAME` | in an environment variable, PEM | its password, where it is encrypted |
/// | `pkcs11:token=T;object=O?module-path=FILE` | in a token, asked through its module (RFC 7512) | the user's PIN, unless the URI has it |
/// | `hashivault://NAME` | in the Transit engine of Vault or OpenBao | the token, unless `VAULT_TOKEN` has it |
/// | `NAME://RESOURCE` | kept by the program `sigstore-kms-NAME`, as for awskms, gcpkms, azurekms | the program's own matter |
#[derive(Clone, PartialEq, Eq)]
pub struct KeyRef {
    pub(crate) place: Place,
    pub(crate) secret_file: Option<PathBuf>,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Place {
    File(PathBuf),
    Variable(String),
    Token(Box<Pkcs11Uri>),
    Transit { name: String, version: Option<u64> },
    Plugin { name: String, resource: String },
}

/// A setting's text names no key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RefError {
    /// Nothing, or bytes that no path and no URI has.
    #[error("names no key: expected {FORMS}")]
    Empty,
    /// Another scheme, and not that of a plug-in.
    #[error(
        "keys of {0}: are not known here: expected {FORMS} (a path whose first part has a colon begins with ./)"
    )]
    Scheme(String),
    /// Not the name of a variable.
    #[error("after env:// expected the name of a variable: letters, digits and _, no digit first")]
    Variable,
    /// Not the name of a key in Transit.
    #[error(
        "after hashivault:// expected the key's name (letters, digits, _, - and .), and perhaps ?version= with a number from 1"
    )]
    Transit,
    /// Not an RFC 7512 URI that we can use.
    #[error(transparent)]
    Pkcs11(#[from] UriError),
    /// A secret file, and nobody who reads it.
    #[error(
        "keys of {0}:// are asked of the plug-in sigstore-kms-{0}, which has its own credentials: take key_secret_file out"
    )]
    PluginSecret(String),
    /// Two PINs.
    #[error(
        "the URI has a PIN, and key_secret_file names another: take pin-value or pin-source out of it"
    )]
    TwoSecrets,
}

impl KeyRef {
    /// Reads a setting. Paths are seen from `folder`, that of the settings file; absolute ones stay what they are.
    pub fn parse(text: &str, secret_file: Option<&Path>, folder: &Path) -> Result<Self, RefError> {
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(RefError::Empty);
        }
        // RFC 3986 3.1: schemes have no case.
        let scheme = scheme(text).map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest));
        let scheme = scheme
            .as_ref()
            .map(|(scheme, rest)| (scheme.as_str(), *rest));
        let place = match scheme {
            None => Place::File(folder.join(text)),
            Some(("env", rest)) => Place::Variable(variable(rest)?),
            Some(("pkcs11", rest)) => Place::Token(Box::new(Pkcs11Uri::parse(rest, folder)?)),
            Some(("hashivault", rest)) => transit(rest)?,
            Some((other, rest)) => {
                let resource = rest.strip_prefix("//").filter(|rest| !rest.is_empty());
                let resource = resource.filter(|_| !NO_PLUGINS.contains(&other));
                let Some(resource) = resource else {
                    return Err(RefError::Scheme(other.to_owned()));
                };
                if secret_file.is_some() {
                    return Err(RefError::PluginSecret(other.to_owned()));
                }
                Place::Plugin {
                    name: other.to_owned(),
                    resource: resource.to_owned(),
                }
            }
        };
        if let Place::Token(uri) = &place
            && uri.pin.is_some()
            && secret_file.is_some()
        {
            return Err(RefError::TwoSecrets);
        }
        Ok(Self {
            place,
            secret_file: secret_file.map(|file| folder.join(file)),
        })
    }

    /// The files that the key depends on: where it is one, and where its secret is one. Other text there may mean another key.
    pub fn files(&self) -> Vec<&Path> {
        let key = match &self.place {
            Place::File(path) => Some(path.as_path()),
            Place::Variable(_) | Place::Token(_) | Place::Transit { .. } | Place::Plugin { .. } => {
                None
            }
        };
        key.into_iter().chain(self.secret_file.as_deref()).collect()
    }

    /// Does the text itself have a PIN? Then it is not for a file that others read.
    pub fn has_pin_value(&self) -> bool {
        let Place::Token(uri) = &self.place else {
            return false;
        };
        matches!(uri.pin, Some(Pin::Value(_)))
    }

    /// A key file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self {
            place: Place::File(path.into()),
            secret_file: None,
        }
    }
}

/// RFC 3986 3.1: a letter, then letters, digits, `+`, `-` and `.`, then a colon.
fn scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let first = scheme.bytes().next()?;
    (first.is_ascii_alphabetic() && scheme.bytes().all(known)).then_some((scheme, rest))
}

fn variable(rest: &str) -> Result<String, RefError> {
    let name = rest.strip_prefix("//").ok_or(RefError::Variable)?;
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let digit = name.starts_with(|first: char| first.is_ascii_digit());
    if name.is_empty() || digit || !name.bytes().all(known) {
        return Err(RefError::Variable);
    }
    Ok(name.to_owned())
}

fn transit(rest: &str) -> Result<Place, RefError> {
    let rest = rest.strip_prefix("//").ok_or(RefError::Transit)?;
    let (name, version) = match rest.split_once("?version=") {
        None => (rest, None),
        Some((name, version)) => {
            let digits = version.bytes().all(|byte| byte.is_ascii_digit());
            let number = version.parse().ok().filter(|number| digits && *number > 0);
            (name, Some(number.ok_or(RefError::Transit)?))
        }
    };
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let inner = |byte: u8| word(byte) || matches!(byte, b'-' | b'.');
    let ends = [name.bytes().next(), name.bytes().next_back()];
    if !ends.iter().all(|end| end.is_some_and(word)) || !name.bytes().all(inner) {
        return Err(RefError::Transit);
    }
    Ok(Place::Transit {
        name: name.to_owned(),
        version,
    })
}

impl fmt::Display for KeyRef {
    /// The place, without the PIN that a URI may have.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File(path) => write!(formatter, "{}", path.display()),
            Place::Variable(name) => write!(formatter, "env://{name}"),
            Place::Token(uri) => write!(formatter, "{uri}"),
            Place::Transit { name, version } => {
                write!(formatter, "hashivault://{name}")?;
                match version {
                    Some(version) => write!(formatter, "?version={version}"),
                    None => Ok(()),
                }
            }
            Place::Plugin { name, resource } => write!(formatter, "{name}://{resource}"),
        }
    }
}

impl fmt::Debug for KeyRef {
    /// As [`Display`](fmt::Display): no PIN.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "KeyRef({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<KeyRef, RefError> {
        KeyRef::parse(text, None, Path::new("/etc/log"))
    }

    #[test]
    fn each_form_is_known_by_its_beginning() {
        for (text, shown) in [
            ("key.pem", "/etc/log/key.pem"),
            ("/k/key.pem", "/k/key.pem"),
            ("./env:KEY", "/etc/log/./env:KEY"),
            ("env://LOG_KEY", "env://LOG_KEY"),
            ("hashivault://rekor-2026", "hashivault://rekor-2026"),
            ("hashivault://a.b?version=3", "hashivault://a.b?version=3"),
            ("awskms:///alias/x", "awskms:///alias/x"),
            (
                "gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k/versions/1",
                "gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k/versions/1",
            ),
            ("my-hsm://a b?c=d", "my-hsm://a b?c=d"),
            (
                "pkcs11:object=log;token=a%20b?module-path=/m.so&pin-value=1234",
                "pkcs11:token=a%20b;object=log?module-path=/m.so",
            ),
        ] {
            let key = parse(text).unwrap();
            assert_eq!(key.to_string(), shown, "{text}");
            assert_eq!(format!("{key:?}"), format!("KeyRef({shown})"));
        }
    }

    #[test]
    fn a_scheme_has_no_case_and_a_pin_in_the_text_is_told_of() {
        let token = "object=log;token=t?module-path=/m.so";
        for (text, has_pin) in [
            (format!("PKCS11:{token}&pin-value=1234"), true),
            (format!("Pkcs11:{token}&pin-source=/p"), false),
            (format!("pkcs11:{token}"), false),
            ("HASHIVAULT://key".to_owned(), false),
            ("ENV://KEY".to_owned(), false),
            ("pin-value=1".to_owned(), false),
        ] {
            let key = parse(&text).unwrap();
            assert_eq!(key.has_pin_value(), has_pin, "{text}");
            assert!(!key.to_string().contains("1234"));
        }
    }

    #[test]
    fn what_names_no_key_is_refused() {
        for (text, expected) in [
            ("", RefError::Empty),
            ("a\nb", RefError::Empty),
            ("awskms:alias/x", RefError::Scheme("awskms".into())),
            ("awskms://", RefError::Scheme("awskms".into())),
            ("k8s://a/b", RefError::Scheme("k8s".into())),
            ("https://a/b", RefError::Scheme("https".into())),
            ("env:KEY", RefError::Variable),
            ("env://", RefError::Variable),
            ("env://1KEY", RefError::Variable),
            ("env://A=B", RefError::Variable),
            ("hashivault:key", RefError::Transit),
            ("hashivault://", RefError::Transit),
            ("hashivault://../sys", RefError::Transit),
            ("hashivault://a/b", RefError::Transit),
            ("hashivault://-a", RefError::Transit),
            ("hashivault://a?version=0", RefError::Transit),
            ("hashivault://a?version=+1", RefError::Transit),
            ("hashivault://a?version=", RefError::Transit),
        ] {
            assert_eq!(parse(text), Err(expected), "{text}");
        }
        let error = parse("k8s://x").unwrap_err().to_string();
        assert!(error.contains("pkcs11:") && error.contains("hashivault://"));
        let secret = KeyRef::parse("awskms:///x", Some(Path::new("s")), Path::new("/"));
        assert_eq!(secret, Err(RefError::PluginSecret("awskms".into())));
    }

    #[test]
    fn one_pin_is_enough() {
        let secret = Some(Path::new("pin"));
        let parse = |text| KeyRef::parse(text, secret, Path::new("/etc/log"));
        let without = parse("pkcs11:token=t;object=o?module-path=/m.so").unwrap();
        assert_eq!(without.secret_file, Some(PathBuf::from("/etc/log/pin")));
        assert_eq!(
            parse("pkcs11:token=t;object=o?module-path=/m.so&pin-value=1"),
            Err(RefError::TwoSecrets)
        );
    }
}
