//! OpenPGP keys as Rekor v1 writes and finds them.

use openpgp::{Keyring, PgpError};

use crate::format::Known;
use crate::ssh::is_mail;
use crate::{ProposeError, invalid};

pub(crate) fn keyring(bytes: &[u8]) -> Result<Keyring, ProposeError> {
    Keyring::parse(bytes).map_err(|error| invalid(format!("invalid PGP public key: {error}")))
}

/// A key is found by its armor and by the addresses in its user ids.
pub(crate) fn known(keyring: &Keyring) -> Known {
    let ids = keyring
        .certificates()
        .iter()
        .flat_map(openpgp::Certificate::user_ids);
    let addresses = ids.filter_map(address).collect::<Vec<_>>();
    Known::new(keyring.to_armor().into_bytes(), addresses)
}

pub(crate) fn unverified(error: &PgpError) -> ProposeError {
    invalid(format!("verifying signature: {error}"))
}

/// What stands between angle brackets behind a name and a remark in round ones, or a user id that is nothing but an address. Only a mail
/// address counts.
fn address(id: &[u8]) -> Option<String> {
    let id = std::str::from_utf8(id).ok()?;
    let (before, after) = match id.find(['(', '<']) {
        Some(at) if id.get(at..)?.starts_with('(') => {
            let remark_on = id.get(at..)?;
            let end = remark_on.find(')').map_or(remark_on.len(), |end| end + 1);
            (id.get(..at)?, remark_on.get(end..)?)
        }
        Some(at) => (id.get(..at)?, id.get(at..)?),
        None => (id, ""),
    };
    let bracketed = after.split_once('<').map_or("", |(_, rest)| rest);
    let bracketed = bracketed
        .split_once('>')
        .map_or(bracketed, |(address, _)| address);
    let address = match bracketed.trim() {
        "" => before.trim(),
        address => address,
    };
    is_mail(address).then(|| address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_where_people_write_it() {
        for (id, expected) in [
            ("Name <a@example.com>", Some("a@example.com")),
            (
                "Name (remark <b@example.com>) < a@example.com >",
                Some("a@example.com"),
            ),
            ("<a@example.com>", Some("a@example.com")),
            ("a@example.com", Some("a@example.com")),
            ("a@example.com (remark)", Some("a@example.com")),
            ("Name <a@example.com", Some("a@example.com")),
            ("Name (remark a@example.com", None),
            ("Name", None),
            ("Name <not an address>", None),
        ] {
            assert_eq!(address(id.as_bytes()).as_deref(), expected, "{id}");
        }
        assert_eq!(address(b"caf\xe9 <a@example.com>"), None);
    }
}
