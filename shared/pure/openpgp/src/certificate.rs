//! Certificates, which OpenPGP also calls transferable public keys (RFC 9580 10.1): a key, names and subkeys, and what the key has signed of them.

use crate::PgpError;
use crate::key::Key;
use crate::packet::{Budget, Packet, put_key, put_signature, put_user_id};
use crate::signature::{Packet as Signature, ends, kind};

/// May sign data (RFC 9580 5.2.3.29).
const FLAG_SIGN: u8 = 2;

/// A certificate whose self-signatures hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    primary: Key,
    revocations: Vec<Signature>,
    identities: Vec<Identity>,
    subkeys: Vec<Subkey>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    id: Vec<u8>,
    /// The latest one that does not revoke.
    own: Option<Signature>,
    revocations: Vec<Signature>,
    /// All, also those by others.
    signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Subkey {
    key: Key,
    /// The latest one.
    binding: Signature,
    revocations: Vec<Signature>,
}

/// A key that may sign data.
pub(crate) struct Signer<'a> {
    certificate: &'a Certificate,
    identity: &'a Identity,
    own: &'a Signature,
    subkey: Option<&'a Subkey>,
}

type Packets = std::iter::Peekable<std::vec::IntoIter<Packet>>;

impl Certificate {
    /// Takes what follows a primary key, up to the next one.
    pub(crate) fn read(
        primary: Key,
        packets: Vec<Packet>,
        budget: &mut Budget,
    ) -> Result<Self, PgpError> {
        if !primary.can_sign() {
            return Err(PgpError::Certificate("its primary key cannot sign"));
        }
        let mut certificate = Self {
            primary,
            revocations: Vec::new(),
            identities: Vec::new(),
            subkeys: Vec::new(),
        };
        let mut packets = packets.into_iter().peekable();
        while let Some(packet) = packets.next() {
            match packet {
                Packet::UserId(id) => certificate.take_identity(id, &mut packets, budget)?,
                Packet::Subkey(key) => certificate.take_subkey(key, &mut packets, budget)?,
                Packet::Signature(signature) if signature.kind() == kind::KEY_REVOCATION => {
                    certificate.revocations.push(*signature);
                }
                // What is signed directly, or belongs to a picture.
                Packet::Signature(_) | Packet::UserAttribute | Packet::PrimaryKey(_) => {}
            }
        }
        if certificate.identities.is_empty() {
            return Err(PgpError::Certificate("it has no user id that it signed"));
        }
        let mut signed = Vec::new();
        certificate.primary.hashed(&mut signed);
        for revocation in &certificate.revocations {
            budget.own_signature()?;
            revocation
                .is_by(&certificate.primary, &signed)
                .map_err(|_| PgpError::Certificate("it is revoked by another key"))?;
        }
        Ok(certificate)
    }

    /// A user id, if the key has signed it.
    fn take_identity(
        &mut self,
        id: Vec<u8>,
        packets: &mut Packets,
        budget: &mut Budget,
    ) -> Result<(), PgpError> {
        let mut signed = Vec::new();
        self.primary.hashed(&mut signed);
        let length = u32::try_from(id.len()).map_err(|_| PgpError::Malformed("user id"))?;
        signed.push(0xb4);
        signed.extend(length.to_be_bytes());
        signed.extend_from_slice(&id);
        let mut identity = Identity {
            id,
            own: None,
            revocations: Vec::new(),
            signatures: Vec::new(),
        };
        let mut is_own = false;
        while let Some(signature) = next_signature(packets) {
            let revokes = match signature.kind() {
                kind::CERTIFICATION..=kind::POSITIVE_CERTIFICATION => false,
                kind::CERTIFICATION_REVOCATION => true,
                _ => {
                    return Err(PgpError::Certificate(
                        "a signature over a user id is of another kind",
                    ));
                }
            };
            if signature.names(&self.primary) {
                budget.own_signature()?;
                signature.is_by(&self.primary, &signed).map_err(|error| {
                    not_own(error, "what it signed of a user id does not verify")
                })?;
                is_own = true;
                if revokes {
                    identity.revocations.push(signature.clone());
                } else if is_later(&signature, identity.own.as_ref()) {
                    identity.own = Some(signature.clone());
                }
            }
            identity.signatures.push(signature);
        }
        if is_own {
            self.identities.retain(|other| other.id != identity.id);
            self.identities.push(identity);
        }
        Ok(())
    }

    fn take_subkey(
        &mut self,
        key: Key,
        packets: &mut Packets,
        budget: &mut Budget,
    ) -> Result<(), PgpError> {
        let mut signed = Vec::new();
        self.primary.hashed(&mut signed);
        key.hashed(&mut signed);
        let mut binding = None;
        let mut revocations = Vec::new();
        while let Some(signature) = next_signature(packets) {
            budget.own_signature()?;
            signature
                .is_by(&self.primary, &signed)
                .map_err(|error| not_own(error, "what it signed of a subkey does not verify"))?;
            let signs = signature.says().flags.unwrap_or_default() & FLAG_SIGN != 0;
            if signs {
                // Or else anybody could call the key of somebody else a subkey of theirs.
                let answer = signature.says().embedded.as_ref();
                let answer = answer.ok_or(PgpError::Certificate(
                    "a signing subkey has not signed its primary key",
                ))?;
                budget.own_signature()?;
                answer.is_by(&key, &signed).map_err(|error| {
                    not_own(
                        error,
                        "what a subkey signed of its primary key does not verify",
                    )
                })?;
            }
            match signature.kind() {
                kind::SUBKEY_REVOCATION => revocations.push(signature),
                kind::SUBKEY_BINDING if is_later(&signature, binding.as_ref()) => {
                    binding = Some(signature);
                }
                kind::SUBKEY_BINDING => {}
                _ => {
                    return Err(PgpError::Certificate(
                        "a signature over a subkey is of another kind",
                    ));
                }
            }
        }
        let binding = binding.ok_or(PgpError::Certificate(
            "it has not signed one of its subkeys",
        ))?;
        self.subkeys.push(Subkey {
            key,
            binding,
            revocations,
        });
        Ok(())
    }

    /// Its packets, as they stand in a log.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        put_key(true, &self.primary, out);
        for revocation in &self.revocations {
            put_signature(revocation, out);
        }
        for identity in &self.identities {
            put_user_id(&identity.id, out);
            for signature in &identity.signatures {
                put_signature(signature, out);
            }
        }
        for subkey in &self.subkeys {
            put_key(false, &subkey.key, out);
            for revocation in &subkey.revocations {
                put_signature(revocation, out);
            }
            put_signature(&subkey.binding, out);
        }
    }

    /// What it says whose it is, in the order in which it stands there; by convention `Name (remark) <address>` in UTF-8.
    pub fn user_ids(&self) -> impl Iterator<Item = &[u8]> {
        self.identities
            .iter()
            .map(|identity| identity.id.as_slice())
    }

    /// Its keys of this key id that may sign data.
    pub(crate) fn signers(&self, id: u64) -> impl Iterator<Item = Signer<'_>> {
        let own = self.main_identity().and_then(|identity| {
            let own = identity.own.as_ref()?;
            Some((identity, own))
        });
        let primary = own
            .filter(|(_, own)| self.primary.id() == id && may_sign(own))
            .map(|(identity, own)| (identity, own, None));
        let subkeys = self.subkeys.iter().filter_map(move |subkey| {
            let (identity, own) = own?;
            (subkey.key.id() == id && may_sign(&subkey.binding)).then_some((
                identity,
                own,
                Some(subkey),
            ))
        });
        let signers = primary.into_iter().chain(subkeys);
        signers.map(|(identity, own, subkey)| Signer {
            certificate: self,
            identity,
            own,
            subkey,
        })
    }

    /// The user id that speaks for the key: one that is not revoked rather than one that is, then one that is marked, then the latest.
    fn main_identity(&self) -> Option<&Identity> {
        self.identities.iter().reduce(|best, other| {
            let rank = |identity: &Identity| {
                let own = identity.own.as_ref();
                (
                    own.is_some(),
                    std::cmp::Reverse(identity.revocations.len()),
                    own.is_some_and(|own| own.says().primary_user_id),
                    own.map(Signature::created),
                )
            };
            if rank(other) > rank(best) {
                other
            } else {
                best
            }
        })
    }
}

impl<'a> Signer<'a> {
    pub(crate) const fn key(&self) -> &'a Key {
        match self.subkey {
            Some(subkey) => &subkey.key,
            None => &self.certificate.primary,
        }
    }

    /// Whether the key was valid when it made this signature.
    pub(crate) fn could_sign_at(&self, signature: &Signature) -> Result<(), PgpError> {
        let then = signature.created();
        let binding = self.subkey.map(|subkey| &subkey.binding);
        let answer = binding.and_then(|binding| binding.says().embedded.as_deref());
        let said = [Some(signature), Some(self.own), binding, answer];
        let said = || said.iter().copied().flatten();
        if said().any(|signature| signature.says().critical_notation) {
            return Err(PgpError::Unsupported("a critical notation".to_owned()));
        }
        let revoked = |by: &[Signature]| by.iter().any(|by| by.revokes_at(then));
        if revoked(&self.certificate.revocations) || revoked(&self.identity.revocations) {
            return Err(PgpError::NotThen("the key was revoked"));
        }
        if self
            .subkey
            .is_some_and(|subkey| revoked(&subkey.revocations))
        {
            return Err(PgpError::NotThen("the subkey was revoked"));
        }
        let valid = |key: &Key, own: &Signature| {
            key.created() <= then && u64::from(then) <= ends(key.created(), own.says().key_lifetime)
        };
        if !valid(&self.certificate.primary, self.own) {
            return Err(PgpError::NotThen("the key was expired or not yet made"));
        }
        if self
            .subkey
            .is_some_and(|subkey| !valid(&subkey.key, &subkey.binding))
        {
            return Err(PgpError::NotThen("the subkey was expired or not yet made"));
        }
        if said().any(|signature| signature.is_expired_at(then)) {
            return Err(PgpError::NotThen(
                "a signature that it depends on was expired or not yet made",
            ));
        }
        Ok(())
    }
}

fn next_signature(packets: &mut Packets) -> Option<Signature> {
    match packets.next_if(|packet| matches!(packet, Packet::Signature(_)))? {
        Packet::Signature(signature) => Some(*signature),
        _ => None,
    }
}

fn is_later(signature: &Signature, than: Option<&Signature>) -> bool {
    than.is_none_or(|than| signature.created() > than.created())
}

/// Only a key that says so.
fn may_sign(own: &Signature) -> bool {
    own.says().flags.is_some_and(|flags| flags & FLAG_SIGN != 0)
}

/// What cannot be verified here is said as that.
fn not_own(error: PgpError, why: &'static str) -> PgpError {
    match error {
        PgpError::Unsupported(_) => error,
        _ => PgpError::Certificate(why),
    }
}
