//! Type `kubernetes`: a service account of a cluster.

use oidc::{ClaimPath, Claims, TokenError};
use pki::{FulcioExtensions, SubjectName};

use super::{IdentityError, Principal};

/// Where the token names the account.
const NAMESPACE: &str = "$['kubernetes.io'].namespace";
const ACCOUNT: &str = "$['kubernetes.io'].serviceaccount.name";

pub(super) fn principal(claims: &Claims) -> Result<Principal, IdentityError> {
    let (namespace, account) = (label(claims, NAMESPACE)?, label(claims, ACCOUNT)?);
    let uri = format!("https://kubernetes.io/namespaces/{namespace}/serviceaccounts/{account}");
    let mut extensions = FulcioExtensions::default();
    extensions.set_issuer(claims.issuer()?);
    Ok(Principal::new(
        SubjectName::Uri(uri),
        extensions,
        claims.text("sub")?,
    ))
}

/// A name of Kubernetes (RFC 1123, in small letters): nothing in it could end the path step that it becomes, or lead upwards.
fn label(claims: &Claims, path: &'static str) -> Result<String, IdentityError> {
    let missing = || TokenError::MissingClaim(path.to_owned());
    let value = ClaimPath::parse(path).map_err(|_| missing())?;
    let name = value
        .written(claims)
        .filter(|name| !name.is_empty())
        .ok_or_else(missing)?;
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &str| {
        let ends = [label.bytes().next(), label.bytes().next_back()];
        ends.iter().all(|end| end.is_some_and(word))
            && label.bytes().all(|byte| word(byte) || byte == b'-')
    };
    if name.len() <= 253 && name.split('.').all(is_label) {
        Ok(name)
    } else {
        Err(IdentityError::UnfitClaim("kubernetes.io"))
    }
}
