//! Keys of one's own: generate-key-pair, import-key-pair, public-key.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use signer::Signer;
use zeroize::Zeroizing;

use crate::args::{GenerateKeyPair, ImportKeyPair, Pkcs11Command, PublicKey};
use crate::failure::{advice, in_line, say};
use crate::{private_key, report, trust_files};

/// The largest file with a private key to import.
const KEY_MAX: u64 = 64 << 10;
/// The password of a private key that is imported.
const IMPORT_PASSWORD: &str = "COSIGN_IMPORT_PASSWORD";

pub(super) async fn generate(arguments: &GenerateKeyPair) -> Result<()> {
    let files = Files::free(&arguments.output_key_prefix)?;
    let password = private_key::new_password().await?;
    let signer = Signer::generate(arguments.signing_algorithm).context("making a key")?;
    files.write(&signer, &password)
}

pub(super) async fn import(arguments: &ImportKeyPair) -> Result<()> {
    let files = Files::free(&arguments.output_key_prefix)?;
    let shown = arguments.key.display();
    let text = Zeroizing::new(trust_files::read_at_most(&arguments.key, KEY_MAX)?);
    let text = std::str::from_utf8(&text).with_context(|| format!("{shown} is no PEM"))?;
    let old = std::env::var(IMPORT_PASSWORD).ok().map(Zeroizing::new);
    let old = old.as_ref().map(|password| password.as_bytes());
    let signer = Signer::from_pem(text, old).map_err(|error| match error {
        signer::SignerError::NoPassword => advice(
            format!("{shown} is encrypted"),
            format!("set {IMPORT_PASSWORD} to its password"),
        ),
        error => anyhow::Error::from(error).context(format!("the private key {shown}")),
    })?;
    let password = private_key::new_password().await?;
    files.write(&signer, &password)
}

pub(super) async fn public(arguments: &PublicKey) -> Result<()> {
    let pem = private_key::open(&arguments.key)
        .await?
        .public_key()
        .to_pem();
    let Some(path) = &arguments.outfile else {
        return report::print(pem.trim_end());
    };
    std::fs::write(path, pem).with_context(|| format!("writing {}", path.display()))?;
    say(&format!("wrote {}", path.display()));
    Ok(())
}

/// What there is in PKCS#11 tokens, as cosign prints it.
pub(super) fn list(command: Pkcs11Command) -> Result<()> {
    let mut lines = Vec::new();
    match command {
        Pkcs11Command::ListTokens { module_path } => {
            lines.push(format!(
                "Listing tokens of PKCS11 module '{}'",
                module_path.display()
            ));
            for token in signer::tokens(&module_path)? {
                lines.push(format!("Token in slot {}", token.slot));
                for (name, value) in [
                    ("Label", &token.label),
                    ("Manufacturer", &token.manufacturer),
                    ("Model", &token.model),
                    ("S/N", &token.serial),
                ] {
                    lines.push(format!("\t{name}: {}", in_line(value)));
                }
            }
        }
        Pkcs11Command::ListKeysUris {
            module_path,
            slot_id,
            pin,
        } => {
            let pin = pin.map(Zeroizing::new);
            let keys =
                signer::token_keys(&module_path, slot_id, pin.as_ref().map(|pin| pin.as_str()))?;
            lines.push(format!(
                "Listing URIs of keys of PKCS11 module '{}'",
                module_path.display()
            ));
            for (number, key) in keys.iter().enumerate() {
                lines.push(format!("Object {number}"));
                lines.push(format!("\tLabel: {}", in_line(&key.label)));
                lines.push(format!("\tID: {}", hex::encode(&key.id)));
                lines.push(format!("\tURI: {}", key.uri));
            }
        }
    }
    report::print(&lines.join("\n"))
}

/// Where a pair of keys goes; neither file is ever replaced, since a key that is gone cannot be made again.
struct Files {
    private: PathBuf,
    public: PathBuf,
}

impl Files {
    fn free(prefix: &Path) -> Result<Self> {
        let name = prefix
            .file_name()
            .with_context(|| format!("--output-key-prefix {} names no file", prefix.display()))?;
        let with = |ending: &str| {
            let mut name = name.to_owned();
            name.push(ending);
            prefix.with_file_name(name)
        };
        let files = Self {
            private: with(".key"),
            public: with(".pub"),
        };
        for path in [&files.private, &files.public] {
            if path.symlink_metadata().is_ok() {
                return Err(advice(
                    format!("{} is there already, and is not replaced", path.display()),
                    "move it away, or name another place with --output-key-prefix",
                ));
            }
        }
        Ok(files)
    }

    /// The private key first: a public key without it would be of no use.
    fn write(&self, signer: &Signer, password: &str) -> Result<()> {
        let boxed = signer.to_cosign_pem(password.as_bytes())?;
        signer::write_private(&self.private, &boxed)?;
        let writing = || format!("writing {}", self.public.display());
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&self.public)
            .with_context(writing)?;
        file.write_all(signer.public_key().to_pem().as_bytes())
            .and_then(|()| file.sync_all())
            .with_context(writing)?;
        if password.is_empty() {
            say("note: the password is empty: whoever can read the private key can sign with it");
        }
        say(&format!(
            "wrote the private key to {} and the public key to {}",
            self.private.display(),
            self.public.display()
        ));
        Ok(())
    }
}
