//! What there is in PKCS#11 tokens: for people who look for the URI of a key.

use std::fmt::Write as _;
use std::path::Path;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::Error;
use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

use crate::SignerError;

/// A token, as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// The slot that it is in; it may change when tokens are put in and taken out.
    pub slot: u64,
    /// Its label.
    pub label: String,
    /// Who made it.
    pub manufacturer: String,
    /// What it is.
    pub model: String,
    /// Its serial number.
    pub serial: String,
}

/// A private key in a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its label (CKA_LABEL).
    pub label: String,
    /// Its id (CKA_ID).
    pub id: Vec<u8>,
    /// The URI that means it, with the module and without a PIN (RFC 7512).
    pub uri: String,
}

/// The tokens that a module knows. Blocks as long as the module does: for programs that have nothing else to do.
pub fn tokens(module: &Path) -> Result<Vec<TokenInfo>, SignerError> {
    let library = load(module)?;
    let slots = library
        .get_slots_with_initialized_token()
        .map_err(failed(module, "looking for tokens"))?;
    slots
        .into_iter()
        .map(|slot| about(module, &library, slot))
        .collect()
}

/// The private keys of a token: of the one in this slot, or of the only one. Most tokens show them only to who has logged in. Blocks.
pub fn token_keys(
    module: &Path,
    slot: Option<u64>,
    pin: Option<&str>,
) -> Result<Vec<KeyInfo>, SignerError> {
    let library = load(module)?;
    let wrong = |what: &str| SignerError::Token {
        place: module.display().to_string(),
        what: what.to_owned(),
    };
    let mut slots = library
        .get_slots_with_initialized_token()
        .map_err(failed(module, "looking for tokens"))?;
    slots.retain(|found| slot.is_none_or(|wanted| wanted == found.id()));
    let [slot] = slots.as_slice() else {
        return Err(wrong(if slots.is_empty() {
            "no such token is there"
        } else {
            "there are several tokens: say which by its slot"
        }));
    };
    let token = about(module, &library, *slot)?;
    let session = library
        .open_ro_session(*slot)
        .map_err(failed(module, "opening a session"))?;
    if let Some(pin) = pin {
        session
            .login(UserType::User, Some(&AuthPin::new(pin.into())))
            .map_err(failed(module, "logging in"))?;
    }
    let found = session
        .find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)])
        .map_err(failed(module, "looking for keys"))?;
    let mut keys = Vec::new();
    for key in found {
        let attributes = session
            .get_attributes(key, &[AttributeType::Label, AttributeType::Id])
            .map_err(failed(module, "asking about a key"))?;
        let (mut label, mut id) = (String::new(), Vec::new());
        for attribute in attributes {
            match attribute {
                Attribute::Label(bytes) => label = String::from_utf8_lossy(&bytes).into_owned(),
                Attribute::Id(bytes) => id = bytes,
                _ => {}
            }
        }
        let uri = uri(module, &token, &label, &id);
        keys.push(KeyInfo { label, id, uri });
    }
    Ok(keys)
}

fn load(module: &Path) -> Result<Pkcs11, SignerError> {
    let library = Pkcs11::new(module).map_err(failed(module, "loading the module"))?;
    library
        .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        .map_err(failed(module, "starting the module"))?;
    Ok(library)
}

fn failed(module: &Path, doing: &'static str) -> impl FnOnce(Error) -> SignerError + use<> {
    let place = module.display().to_string();
    move |error| SignerError::Token {
        place,
        what: format!("{doing}: {error}"),
    }
}

fn about(module: &Path, library: &Pkcs11, slot: Slot) -> Result<TokenInfo, SignerError> {
    let token = library
        .get_token_info(slot)
        .map_err(failed(module, "asking the token"))?;
    Ok(TokenInfo {
        slot: slot.id(),
        label: token.label().to_owned(),
        manufacturer: token.manufacturer_id().to_owned(),
        model: token.model().to_owned(),
        serial: token.serial_number().to_owned(),
    })
}

fn uri(module: &Path, token: &TokenInfo, label: &str, id: &[u8]) -> String {
    let mut uri = format!("pkcs11:token={}", escaped(token.label.as_bytes()));
    if !token.serial.is_empty() {
        let _infallible = write!(uri, ";serial={}", escaped(token.serial.as_bytes()));
    }
    if !id.is_empty() {
        uri.push_str(";id=");
        for byte in id {
            let _infallible = write!(uri, "%{byte:02x}");
        }
    }
    if !label.is_empty() {
        let _infallible = write!(uri, ";object={}", escaped(label.as_bytes()));
    }
    let module = escaped(module.as_os_str().as_encoded_bytes());
    let _infallible = write!(uri, "?module-path={module}");
    uri
}

/// RFC 7512 2.3: what is not unreserved is written as its octets.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/') {
            text.push(char::from(*byte));
        } else {
            let _infallible = write!(text, "%{byte:02X}");
        }
    }
    text
}
