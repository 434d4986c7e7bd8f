//! Keys of one's own: generate-key-pair, import-key-pair, public-key.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use signer::Signer;
use zeroize::Zeroizing;

use crate::args::{GenerateKeyPair, ImportKeyPair, Pkcs11Command, PublicKey};
use crate::failure::{advice, in_line, say, usage};
use crate::{private_key, report, trust_files};

/// The largest file with a private key to import.
const KEY_MAX: u64 = 64 << 10;
/// The password of a private key that is imported.
const IMPORT_PASSWORD: &str = "COSIGN_IMPORT_PASSWORD";

pub(super) async fn generate(arguments: &GenerateKeyPair) -> Result<()> {
    if let Some(place) = arguments.place.as_ref().or(arguments.kms.as_ref()) {
        return Err(elsewhere(place));
    }
    let files = Files::of(&arguments.output_key_prefix)?;
    files.check_free("")?;
    let password = private_key::new_password().await?;
    let signer = Signer::generate(arguments.signing_algorithm).context("making a key")?;
    files.write(&signer, &password)
}

pub(super) async fn import(arguments: &ImportKeyPair) -> Result<()> {
    let files = Files::of(&arguments.output_key_prefix)?;
    if !arguments.yes {
        files.check_free(", or replace it with --yes")?;
    }
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
    if arguments.yes {
        // Not before there is something to put in their place.
        return files.replace(&signer, &password);
    }
    files.write(&signer, &password)
}

/// A pair that is to be made elsewhere: with what it is made there, and how it gets there.
fn elsewhere(place: &str) -> anyhow::Error {
    let (scheme, rest) = place.split_once("://").unwrap_or(("", place));
    let files = |how: String| {
        (
            format!("{place}: the pair is made in files, and not put there"),
            format!(
                "make it with generate-key-pair, put it there, and remove the private key here: {how}"
            ),
        )
    };
    let service = |how: String| {
        (
            format!("{place}: no key is made there"),
            format!("make it with the service's own tool, and name it with --key {place}: {how}"),
        )
    };
    let name = |otherwise: &'static str| {
        let last = rest.rsplit('/').next().unwrap_or_default();
        if last.is_empty() { otherwise } else { last }.to_owned()
    };
    let (problem, hint) = match scheme {
        "k8s" => {
            let (namespace, secret) = rest.split_once('/').unwrap_or(("NAMESPACE", "NAME"));
            files(format!(
                "kubectl -n {namespace} create secret generic {secret} --from-file=cosign.key --from-file=cosign.pub --from-file=cosign.password (the password alone in that file)"
            ))
        }
        "github" => files(format!(
            "gh secret set COSIGN_PRIVATE_KEY --repo {rest} < cosign.key, and so COSIGN_PASSWORD and COSIGN_PUBLIC_KEY; sign there with --key env://COSIGN_PRIVATE_KEY"
        )),
        "gitlab" => files(format!(
            "glab variable set COSIGN_PRIVATE_KEY --repo {rest} < cosign.key, and so COSIGN_PASSWORD (--masked) and COSIGN_PUBLIC_KEY; sign there with --key env://COSIGN_PRIVATE_KEY"
        )),
        "hashivault" => service(format!(
            "vault write transit/keys/{} type=ecdsa-p256",
            name("NAME")
        )),
        "awskms" => service(
            "aws kms create-key --key-usage SIGN_VERIFY --key-spec ECC_NIST_P256".to_owned(),
        ),
        "gcpkms" => service(format!(
            "gcloud kms keys create {} --purpose asymmetric-signing --default-algorithm ec-sign-p256-sha256, with its --keyring, --location and --project",
            name("NAME")
        )),
        "azurekms" => service(format!(
            "az keyvault key create --name {} --kty EC --curve P-256, with its --vault-name",
            name("NAME")
        )),
        _ => (
            format!("{place} is no place for a pair of keys that is known"),
            "leave it out: the pair is written to files, which --output-key-prefix names"
                .to_owned(),
        ),
    };
    usage(in_line(&problem), in_line(&hint))
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

/// Where a pair of keys goes; neither file is replaced unless it is asked for, since a key that is gone cannot be made again.
struct Files {
    private: PathBuf,
    public: PathBuf,
}

impl Files {
    fn of(prefix: &Path) -> Result<Self> {
        let name = prefix
            .file_name()
            .with_context(|| format!("--output-key-prefix {} names no file", prefix.display()))?;
        let with = |ending: &str| {
            let mut name = name.to_owned();
            name.push(ending);
            prefix.with_file_name(name)
        };
        Ok(Self {
            private: with(".key"),
            public: with(".pub"),
        })
    }

    /// Nothing is there yet; `or` is what else can be done.
    fn check_free(&self, or: &str) -> Result<()> {
        for path in [&self.private, &self.public] {
            if path.symlink_metadata().is_ok() {
                return Err(advice(
                    format!("{} is there already, and is not replaced", path.display()),
                    format!("move it away, or name another place with --output-key-prefix{or}"),
                ));
            }
        }
        Ok(())
    }

    /// Writes them beside those that may be there, and puts them in their place. After a crash between the two the private key is the new one, and public-key
    /// prints its other half.
    fn replace(&self, signer: &Signer, password: &str) -> Result<()> {
        let random = signer::random::bytes::<8>().map(u64::from_be_bytes)?;
        let beside = |path: &Path, ending: &str| {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(format!(".{random:016x}{ending}"));
            path.with_file_name(name)
        };
        let new = Self {
            private: beside(&self.private, ".key"),
            public: beside(&self.public, ".pub"),
        };
        let written = new.write_quietly(signer, password);
        let placed = written.and_then(|()| {
            for (from, to) in [(&new.private, &self.private), (&new.public, &self.public)] {
                fs::rename(from, to).with_context(|| format!("writing {}", to.display()))?;
            }
            Ok(())
        });
        if placed.is_err() {
            for path in [&new.private, &new.public] {
                // It may be in its place, or not there at all.
                let _gone = fs::remove_file(path);
            }
        }
        placed?;
        self.tell(password);
        Ok(())
    }

    /// The private key first: a public key without it would be of no use.
    fn write(&self, signer: &Signer, password: &str) -> Result<()> {
        self.write_quietly(signer, password)?;
        self.tell(password);
        Ok(())
    }

    fn write_quietly(&self, signer: &Signer, password: &str) -> Result<()> {
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
            .with_context(writing)
    }

    fn tell(&self, password: &str) {
        if password.is_empty() {
            say("note: the password is empty: whoever can read the private key can sign with it");
        }
        say(&format!(
            "wrote the private key to {} and the public key to {}",
            self.private.display(),
            self.public.display()
        ));
    }
}
