//! Type `chainguard-identity`: an identity of Chainguard's, by its number below the issuer.

use oidc::Claims;
use pki::{FulcioExtensions, SubjectName};

use super::{IdentityError, Principal, base, below};

pub(super) fn principal(claims: &Claims) -> Result<Principal, IdentityError> {
    let (issuer, subject) = (claims.issuer()?, claims.text("sub")?);
    let base = base(Some(issuer), issuer).map_err(|_| IdentityError::UnfitClaim("iss"))?;
    let uri = below(&base, &[subject], "sub")?;
    // What a client signs here is the mail address where there is one, and then it must be verified.
    let proof = match claims.text("email") {
        Ok(_) if !claims.is_email_verified() => return Err(IdentityError::EmailNotVerified),
        Ok(email) => email,
        Err(_) => subject,
    };
    let mut extensions = FulcioExtensions::default();
    extensions.set_issuer(issuer);
    Ok(Principal::new(SubjectName::Uri(uri), extensions, proof))
}
