//! Keys of one's own: where they are, and how their passwords are come by.

use std::fmt::Write as _;
use std::fs::File;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use keys::PublicKey;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use signer::{KeyRef, Signer, SignerError};
use zeroize::Zeroizing;

use crate::failure::advice;
use crate::trust_files::read_at_most;

/// The password of encrypted keys, as in cosign. Set to nothing it is the empty password.
const PASSWORD: &str = "COSIGN_PASSWORD";
/// A PKCS#11 module and PIN for URIs that name none, as in cosign.
const MODULE: &str = "COSIGN_PKCS11_MODULE_PATH";
const PIN: &str = "COSIGN_PKCS11_PIN";
/// Where Kubernetes Secrets are mounted: below it NAMESPACE/NAME/ with the files that cosign puts into such a Secret. The API of the cluster is not
/// asked: a workload that may read Secrets by it may usually read all of its namespace, and one that has a file mounted has that file.
const SECRETS: &str = "COSIGN_K8S_SECRETS_DIR";
const SECRETS_USUAL: &str = "/var/run/secrets/cosign";
/// The largest file with a public key.
const PUBLIC_MAX: u64 = 64 << 10;

/// Opens a private key to sign with.
pub(crate) async fn open(text: &str) -> Result<Signer> {
    let reference = reference(text)?;
    let opened = match Signer::open(&reference).await {
        Err(SignerError::NoPassword) => {
            let password = password(&format!("Password of the private key {reference}")).await?;
            Signer::open_under(&reference, &password)
        }
        opened => opened,
    };
    opened.with_context(|| format!("the private key {reference}"))
}

/// Whether it takes a connection to know the key.
pub(crate) fn is_elsewhere(text: &str) -> bool {
    let here = ["env://", "k8s://", "pkcs11:"];
    text.contains("://") && !here.iter().any(|scheme| text.starts_with(scheme))
}

/// The public key that a verifier names: itself, or the public half of a key elsewhere.
pub(crate) async fn public(text: &str) -> Result<PublicKey> {
    if is_elsewhere(text) || text.starts_with("pkcs11:") {
        let reference = reference(text)?;
        let opened = Signer::open(&reference).await;
        // As the reference shows itself: the text may have a PIN.
        let signer = opened.with_context(|| format!("the public key {reference}"))?;
        return Ok(signer.public_key().clone());
    }
    let reading = || format!("the public key {text}");
    let mounted = mounted(text)?.map(|folder| folder.join("cosign.pub"));
    let text = match &mounted {
        Some(path) => path.to_str().with_context(reading)?,
        None => text,
    };
    let pem = match text.strip_prefix("env://") {
        Some(name) => std::env::var(name)
            .map_err(|_| {
                advice(
                    format!("the variable {name} of --key {text} is not set, or is no text"),
                    "set it to the public key in PEM",
                )
            })?
            .into_bytes(),
        None => read_at_most(Path::new(text), PUBLIC_MAX)?,
    };
    let pem = std::str::from_utf8(&pem).with_context(reading)?;
    PublicKey::from_pem(pem).map_err(|error| {
        if pem.contains("PRIVATE KEY-----") {
            return advice(
                format!("{text} is a private key, and nobody needs it to verify"),
                format!("pass the public one: cosign-rs public-key --key {text}"),
            );
        }
        anyhow::Error::from(error).context(reading())
    })
}

/// Where a key is. A URI of a token may leave out module and PIN if the variables of cosign have them.
fn reference(text: &str) -> Result<KeyRef> {
    if let Some(folder) = mounted(text)? {
        let (key, password) = (folder.join("cosign.key"), folder.join("cosign.password"));
        let key = key.to_str().context("the folder's name is no text")?;
        let password = password.is_file().then_some(password);
        return KeyRef::parse(key, password.as_deref(), Path::new("")).context("--key");
    }
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let text = if text.starts_with("pkcs11:") {
        completed(text, variable(MODULE), variable(PIN))
    } else {
        Zeroizing::new(text.to_owned())
    };
    KeyRef::parse(&text, None, Path::new("")).context("--key")
}

/// The folder of a mounted Secret, of `k8s://NAMESPACE/NAME`.
fn mounted(text: &str) -> Result<Option<PathBuf>> {
    let Some(place) = text.strip_prefix("k8s://") else {
        return Ok(None);
    };
    // Names of Kubernetes' objects (RFC 1123), and so no way out of the folder.
    let named = |part: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !part.is_empty()
            && part.bytes().all(|byte| plain(byte) || byte == b'.')
            && !part.starts_with('.')
    };
    let parts = place.split_once('/');
    let Some((namespace, name)) = parts.filter(|(one, two)| named(one) && named(two)) else {
        return Err(advice(
            format!("{text} names no Secret"),
            "expected k8s://NAMESPACE/NAME",
        ));
    };
    let folder = std::env::var_os(SECRETS).unwrap_or_else(|| SECRETS_USUAL.into());
    let folder = PathBuf::from(folder).join(namespace).join(name);
    if folder.is_dir() {
        return Ok(Some(folder));
    }
    Err(advice(
        format!("{text}: nothing is mounted at {}", folder.display()),
        format!(
            "mount the Secret there with defaultMode 0400 (the cluster's API is not asked), or say with {SECRETS} where Secrets are mounted"
        ),
    ))
}

fn completed(uri: &str, module: Option<String>, pin: Option<String>) -> Zeroizing<String> {
    let mut uri = Zeroizing::new(uri.to_owned());
    let mut add = |name: &str, value: Option<String>, unless: &[&str]| {
        let Some(value) = value.map(Zeroizing::new) else {
            return;
        };
        if unless.iter().any(|name| uri.contains(&format!("{name}="))) {
            return;
        }
        let separator = if uri.contains('?') { '&' } else { '?' };
        uri.push(separator);
        uri.push_str(name);
        uri.push('=');
        for byte in value.bytes() {
            let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_');
            let _infallible = if plain {
                write!(*uri, "{}", char::from(byte))
            } else {
                write!(*uri, "%{byte:02X}")
            };
        }
    };
    add("module-path", module, &["module-path", "module-name"]);
    add("pin-value", pin, &["pin-value", "pin-source"]);
    uri
}

/// The password of a key that is there.
pub(crate) async fn password(prompt: &str) -> Result<Zeroizing<String>> {
    match given() {
        Some(password) => Ok(password),
        None => ask(prompt).await,
    }
}

/// The password of a new key: typed twice.
pub(crate) async fn new_password() -> Result<Zeroizing<String>> {
    if let Some(password) = given() {
        return Ok(password);
    }
    let first = ask("Password for the new private key").await?;
    if first != ask("The same again").await? {
        return Err(advice(
            "the two passwords differ",
            "nothing was written; try again",
        ));
    }
    Ok(first)
}

fn given() -> Option<Zeroizing<String>> {
    std::env::var(PASSWORD).ok().map(Zeroizing::new)
}

/// Asks on a thread of its own, so that whoever waits for the answer may give up; the terminal shows again then what is typed.
async fn ask(prompt: &str) -> Result<Zeroizing<String>> {
    if !std::io::stdin().is_terminal() {
        return Err(advice(
            "the private key is encrypted, and nobody is there to type its password",
            format!("set {PASSWORD} (to nothing for an empty password)"),
        ));
    }
    let _shown = Terminal::now();
    let prompt = format!("{prompt}: ");
    let typed = tokio::task::spawn_blocking(move || rpassword::prompt_password(prompt)).await?;
    typed.map(Zeroizing::new).context("reading the password")
}

/// The terminal as it was, which it is again in the end.
struct Terminal(Option<(File, Termios)>);

impl Terminal {
    fn now() -> Self {
        let terminal = File::open("/dev/tty").ok();
        Self(terminal.and_then(|terminal| {
            let was = tcgetattr(&terminal).ok()?;
            Some((terminal, was))
        }))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some((terminal, was)) = &self.0 {
            // It may be gone.
            let _gone = tcsetattr(terminal, OptionalActions::Now, was);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_completed_from_the_variables_of_cosign() {
        let some = |text: &str| Some(text.to_owned());
        for (uri, module, pin, expected) in [
            ("pkcs11:token=t", None, None, "pkcs11:token=t"),
            (
                "pkcs11:token=t",
                some("/m o.so"),
                some("1&2"),
                "pkcs11:token=t?module-path=/m%20o.so&pin-value=1%262",
            ),
            (
                "pkcs11:token=t?module-path=/a.so",
                some("/b.so"),
                some("1"),
                "pkcs11:token=t?module-path=/a.so&pin-value=1",
            ),
            (
                "pkcs11:token=t?pin-source=file:/p",
                some("/b.so"),
                some("1"),
                "pkcs11:token=t?pin-source=file:/p&module-path=/b.so",
            ),
        ] {
            assert_eq!(*completed(uri, module, pin), expected);
        }
    }
}
