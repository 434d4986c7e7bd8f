//! The commands that make and show keys.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use keys::Algorithm;

use super::signing::signing_algorithm;

/// Make a pair of keys: the private one encrypted under a password
#[derive(Debug, Args)]
pub(crate) struct GenerateKeyPair {
    /// Where cosign puts the pair: refused, with what to do instead
    #[arg(value_name = "PLACE", hide = true)]
    pub(crate) place: Option<String>,
    /// The same for a key that a service makes and keeps
    #[arg(long, value_name = "KEY", hide = true, conflicts_with = "place")]
    pub(crate) kms: Option<String>,
    /// Where to write: PREFIX.key and PREFIX.pub
    #[arg(long, value_name = "PREFIX", default_value = "cosign")]
    pub(crate) output_key_prefix: PathBuf,
    /// What the key signs with
    #[arg(long, value_name = "ALGORITHM", default_value = "ecdsa-sha2-256-nistp256", value_parser = signing_algorithm)]
    pub(crate) signing_algorithm: Algorithm,
}

/// Take over a private key that another program made
#[derive(Debug, Args)]
pub(crate) struct ImportKeyPair {
    /// The private key, PEM: PKCS#8, SEC1 or PKCS#1; an encrypted one takes the password in $COSIGN_IMPORT_PASSWORD
    #[arg(short, long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// Where to write: PREFIX.key and PREFIX.pub
    #[arg(short, long, value_name = "PREFIX", default_value = "import-cosign")]
    pub(crate) output_key_prefix: PathBuf,
    /// Replace the files, if they are there. A key that is replaced is gone
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// Print the public half of a key
#[derive(Debug, Args)]
pub(crate) struct PublicKey {
    /// The private key: a file, env://NAME, pkcs11:..., hashivault://NAME, or awskms://... and others by a plug-in
    #[arg(long, value_name = "KEY")]
    pub(crate) key: String,
    /// Where to write it instead of to standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) outfile: Option<PathBuf>,
}

/// Look for keys in PKCS#11 tokens
#[derive(Debug, Args)]
pub(crate) struct Pkcs11Tool {
    #[command(subcommand)]
    pub(crate) command: Pkcs11Command,
}

/// What can be asked of PKCS#11 tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum Pkcs11Command {
    /// The tokens that a module knows
    ListTokens {
        /// The module's file
        #[arg(long, value_name = "FILE", env = "COSIGN_PKCS11_MODULE_PATH")]
        module_path: PathBuf,
    },
    /// The private keys of a token, by the URIs that mean them
    ListKeysUris {
        /// The module's file
        #[arg(long, value_name = "FILE", env = "COSIGN_PKCS11_MODULE_PATH")]
        module_path: PathBuf,
        /// Slot of the token, where there are several
        #[arg(long, value_name = "N")]
        slot_id: Option<u64>,
        /// The user's PIN
        #[arg(
            long,
            value_name = "PIN",
            env = "COSIGN_PKCS11_PIN",
            hide_env_values = true
        )]
        pin: Option<String>,
    },
}
