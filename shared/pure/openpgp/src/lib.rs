//! OpenPGP (RFC 9580, and RFC 4880 before it) as far as a log needs it: certificates, detached signatures and the cleartext signature framework,
//! all of version 4. There is nothing secret here: no private key is read and nothing is signed or decrypted.
//!
//! ```text
//! armor or bytes --packets--> Keyring { certificate .. }     --to_armor--> the bytes that stand in a log
//!                             Signature  --verify(keyring, data)
//! ```
//!
//! A certificate counts for what its own key has signed: user ids and subkeys without a valid self-signature do not exist, and a subkey that
//! signs has signed its primary key in return (RFC 9580 5.2.1.8). Where the RFC leaves room, the reading is that of go-crypto 1.4, which
//! Rekor 1.5.5 verifies with, since the entry must be the same byte for byte. Stricter on purpose: a private key is refused, and so is a signature
//! over data with SHA-1 (self-signatures with it stand, as in GnuPG: they have no attacker's text in them).
//!
//! Not here: versions 3, 5 and 6, DSA, Ed448, curves other than NIST's and Curve25519, RSA of other sizes than 2048, 3072 and 4096 bits, SHA-224,
//! SHA-3. Such keys and signatures may stand in a certificate and are carried along; nothing is verified with them.

pub mod armor;

mod certificate;
mod cleartext;
mod crypto;
mod error;
mod key;
mod keyring;
mod packet;
mod reader;
mod signature;
mod subpacket;

pub use certificate::Certificate;
pub use cleartext::Cleartext;
pub use error::PgpError;
pub use keyring::Keyring;
pub use signature::Signature;
