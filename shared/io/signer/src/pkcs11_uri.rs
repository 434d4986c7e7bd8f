//! URIs of keys in PKCS#11 tokens (RFC 7512), as far as they name one private key that this program can reach.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

/// The longest URI that is read; with all attributes at PKCS#11's own limits one has about 500 bytes.
const MAX_URI: usize = 4096;

/// A private key in a token, and how to reach it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pkcs11Uri {
    /// The module, an absolute path.
    pub(crate) module: PathBuf,
    /// Label of the token.
    pub(crate) token: Option<String>,
    /// Its serial number.
    pub(crate) serial: Option<String>,
    /// Its maker.
    pub(crate) manufacturer: Option<String>,
    /// Its model.
    pub(crate) model: Option<String>,
    /// The slot that it is in.
    pub(crate) slot: Option<u64>,
    /// The key's label (CKA_LABEL).
    pub(crate) object: Option<String>,
    /// The key's id (CKA_ID), any bytes.
    pub(crate) id: Option<Vec<u8>>,
    /// The user's PIN, or where it is.
    pub(crate) pin: Option<Pin>,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Pin {
    Value(Zeroizing<String>),
    File(PathBuf),
}

/// Not a URI of a key that we can use.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UriError {
    /// Longer than any that makes sense.
    #[error("pkcs11: URI of more than 4096 bytes")]
    TooLong,
    /// A part without `=`, an escape that is none, text that is not UTF-8, a number that is none. The value is not shown: it may be a PIN.
    #[error(
        "pkcs11: URI: the attribute {0:?} has no value that can be read (RFC 7512; other characters than letters, digits and -._~ are %XX)"
    )]
    Value(String),
    /// The same attribute twice, which RFC 7512 2.3 forbids.
    #[error("pkcs11: URI: the attribute {0:?} is there twice")]
    Twice(String),
    /// One that would make the URI narrower in a way that we cannot check.
    #[error(
        "pkcs11: URI: the attribute {0:?} is not known here: expected token, serial, manufacturer, model, slot-id, object, id and \
         type=private, then ? and module-path, and pin-source or pin-value"
    )]
    Unknown(String),
    /// Neither object nor id.
    #[error("pkcs11: URI: names no key: give object= (its label) or id= (its CKA_ID as %XX%XX)")]
    NoKey,
    /// Nothing about the token: keys of any token would do.
    #[error("pkcs11: URI: names no token: give token= (its label), serial= or slot-id=")]
    NoToken,
    /// No module, or one whose place depends on where the program was started.
    #[error(
        "pkcs11: URI: give the module as an absolute path: ?module-path=/usr/lib/softhsm/libsofthsm2.so"
    )]
    NoModule,
    /// Two PINs, or a PIN that a command prints.
    #[error("pkcs11: URI: give pin-value or pin-source, not both, and a file as pin-source")]
    Pin,
}

impl Pkcs11Uri {
    /// Reads what is after `pkcs11:`. A relative pin-source is seen from `folder`.
    pub(crate) fn parse(rest: &str, folder: &Path) -> Result<Self, UriError> {
        if rest.len() > MAX_URI {
            return Err(UriError::TooLong);
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (mut path, mut query) = (
            Attributes::parse(path, ';')?,
            Attributes::parse(query, '&')?,
        );
        if let Some(kind) = path.text("type")?
            && kind != "private"
        {
            return Err(UriError::Value("type".to_owned()));
        }
        let slot = path.text("slot-id")?;
        let slot = slot
            .map(|text| text.parse())
            .transpose()
            .map_err(|_| UriError::Value("slot-id".to_owned()))?;
        let pin = match (query.text("pin-value")?, query.text("pin-source")?) {
            (None, None) => None,
            (Some(value), None) => Some(Pin::Value(Zeroizing::new(value))),
            (None, Some(source)) => Some(Pin::File(pin_file(&source, folder)?)),
            (Some(_), Some(_)) => return Err(UriError::Pin),
        };
        let module = query
            .text("module-path")?
            .map(PathBuf::from)
            .filter(|module| module.is_absolute())
            .ok_or(UriError::NoModule)?;
        let uri = Self {
            module,
            token: path.text("token")?,
            serial: path.text("serial")?,
            manufacturer: path.text("manufacturer")?,
            model: path.text("model")?,
            slot,
            object: path.text("object")?,
            id: path.bytes("id"),
            pin,
        };
        path.end()?;
        query.end()?;
        if uri.object.is_none() && uri.id.as_ref().is_none_or(Vec::is_empty) {
            return Err(UriError::NoKey);
        }
        if uri.token.is_none() && uri.serial.is_none() && uri.slot.is_none() {
            return Err(UriError::NoToken);
        }
        Ok(uri)
    }
}

/// A path or a `file:` URI without a host (RFC 7512 2.4). A command (`|...`) is not run.
fn pin_file(source: &str, folder: &Path) -> Result<PathBuf, UriError> {
    let path = match source.strip_prefix("file:") {
        None => source,
        Some(path) => path.strip_prefix("//").unwrap_or(path),
    };
    let relative_uri = source.starts_with("file:") && !path.starts_with('/');
    if path.is_empty() || path.starts_with('|') || relative_uri {
        return Err(UriError::Pin);
    }
    Ok(folder.join(path))
}

/// Attributes that nobody has asked for yet.
struct Attributes(Vec<(String, Zeroizing<Vec<u8>>)>);

impl Attributes {
    fn parse(text: &str, separator: char) -> Result<Self, UriError> {
        let mut all: Vec<(String, Zeroizing<Vec<u8>>)> = Vec::new();
        for part in text.split(separator).filter(|part| !part.is_empty()) {
            // A part without `=` is not shown: it could be a PIN.
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| UriError::Value("(one without =)".to_owned()))?;
            if all.iter().any(|(seen, _)| seen == name) {
                return Err(UriError::Twice(name.to_owned()));
            }
            let value = unescape(value).ok_or_else(|| UriError::Value(name.to_owned()))?;
            all.push((name.to_owned(), value));
        }
        Ok(Self(all))
    }

    fn bytes(&mut self, name: &str) -> Option<Vec<u8>> {
        let position = self.0.iter().position(|(found, _)| found == name)?;
        let (_, value) = self.0.swap_remove(position);
        Some(value.to_vec())
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, UriError> {
        let bytes = self.bytes(name);
        let text = bytes.map(String::from_utf8).transpose();
        // No C string, path or label has a zero in it.
        text.ok()
            .filter(|text| !text.as_ref().is_some_and(|text| text.contains('\0')))
            .ok_or_else(|| UriError::Value(name.to_owned()))
    }

    fn end(self) -> Result<(), UriError> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => Err(UriError::Unknown(name)),
        }
    }
}

/// RFC 3986 2.1.
fn unescape(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes().iter();
    while let Some(byte) = rest.next() {
        let byte = if *byte == b'%' {
            let mut digit = || char::from(*rest.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            u8::try_from(high * 16 + low).ok()?
        } else {
            *byte
        };
        bytes.push(byte);
    }
    Some(bytes)
}

fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(byte) {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

impl fmt::Display for Pkcs11Uri {
    /// Without the PIN, and without where it is.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slot = self.slot.map(|slot| slot.to_string());
        let path = [
            ("token", self.token.as_deref()),
            ("serial", self.serial.as_deref()),
            ("manufacturer", self.manufacturer.as_deref()),
            ("model", self.model.as_deref()),
            ("slot-id", slot.as_deref()),
            ("object", self.object.as_deref()),
        ];
        let path = path
            .into_iter()
            .map(|(name, text)| (name, text.map(str::as_bytes)));
        let parts: Vec<String> = path
            .chain([("id", self.id.as_deref())])
            .filter_map(|(name, bytes)| Some(format!("{name}={}", escape(bytes?))))
            .collect();
        let module = escape(self.module.as_os_str().as_encoded_bytes());
        write!(formatter, "pkcs11:{}?module-path={module}", parts.join(";"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rest: &str) -> Result<Pkcs11Uri, UriError> {
        Pkcs11Uri::parse(rest, Path::new("/etc/log"))
    }

    #[test]
    fn all_attributes_are_read() {
        let uri = parse(
            "token=My%20Token;manufacturer=Snake%20Oil;serial=00ff;model=1.0;slot-id=7;object=k%3by;id=%00%ff;type=private\
             ?module-path=/usr/lib/m.so&pin-source=file:/etc/pin",
        )
        .unwrap();
        assert_eq!(uri.token.as_deref(), Some("My Token"));
        assert_eq!(uri.manufacturer.as_deref(), Some("Snake Oil"));
        assert_eq!(uri.serial.as_deref(), Some("00ff"));
        assert_eq!(uri.model.as_deref(), Some("1.0"));
        assert_eq!(uri.slot, Some(7));
        assert_eq!(uri.object.as_deref(), Some("k;y"));
        assert_eq!(uri.id.as_deref(), Some(&[0, 0xff][..]));
        assert_eq!(uri.module, Path::new("/usr/lib/m.so"));
        assert!(matches!(&uri.pin, Some(Pin::File(path)) if path == Path::new("/etc/pin")));
        // What is shown is the same URI again, less the way to the PIN.
        let shown = uri.to_string();
        let again = parse(shown.strip_prefix("pkcs11:").unwrap()).unwrap();
        assert!(again.pin.is_none() && again == Pkcs11Uri { pin: None, ..uri });
    }

    #[test]
    fn a_pin_is_a_value_or_a_file() {
        let pin = |query: &str| {
            parse(&format!("token=t;object=o?module-path=/m&{query}")).map(|uri| uri.pin)
        };
        assert!(
            matches!(pin("pin-value=12%2034"), Ok(Some(Pin::Value(value))) if *value == "12 34")
        );
        for (source, expected) in [
            ("pin", "/etc/log/pin"),
            ("/run/pin", "/run/pin"),
            ("file:/run/pin", "/run/pin"),
            ("file:///run/pin", "/run/pin"),
        ] {
            let pin = pin(&format!("pin-source={source}"));
            assert!(matches!(pin, Ok(Some(Pin::File(path))) if path == Path::new(expected)));
        }
        for wrong in [
            "pin-value=1&pin-source=/p",
            "pin-source=%7Ccat%20/p",
            "pin-source=file:",
            "pin-source=file://host",
        ] {
            assert!(matches!(pin(wrong), Err(UriError::Pin)), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_no_pin_is_shown() {
        let named = |name: &str| name.to_owned();
        for (rest, expected) in [
            ("", UriError::NoModule),
            ("token=t;object=o", UriError::NoModule),
            ("token=t;object=o?module-path=m.so", UriError::NoModule),
            ("token=t?module-path=/m", UriError::NoKey),
            ("token=t;id=?module-path=/m", UriError::NoKey),
            ("object=o?module-path=/m", UriError::NoToken),
            (
                "token=t;token=u;object=o?module-path=/m",
                UriError::Twice(named("token")),
            ),
            (
                "token=t;object=o;x-k=1?module-path=/m",
                UriError::Unknown(named("x-k")),
            ),
            (
                "token=t;object=o?module-path=/m&module-name=m",
                UriError::Unknown(named("module-name")),
            ),
            (
                "token=%f;object=o?module-path=/m",
                UriError::Value(named("token")),
            ),
            (
                "token=%ff;object=o?module-path=/m",
                UriError::Value(named("token")),
            ),
            (
                "token=%zz;object=o?module-path=/m",
                UriError::Value(named("token")),
            ),
            (
                "token=a%00b;object=o?module-path=/m",
                UriError::Value(named("token")),
            ),
            (
                "token=t;object=o;slot-id=x?module-path=/m",
                UriError::Value(named("slot-id")),
            ),
            (
                "token=t;object=o;type=cert?module-path=/m",
                UriError::Value(named("type")),
            ),
            (
                "token=t;object=o?module-path=/m&pin-value=secret%",
                UriError::Value(named("pin-value")),
            ),
        ] {
            let error = parse(rest).err();
            assert_eq!(error, Some(expected), "{rest}");
            assert!(!format!("{error:?}").contains("secret"));
        }
        assert_eq!(
            parse(&"x".repeat(MAX_URI + 1)).err(),
            Some(UriError::TooLong)
        );
    }
}
