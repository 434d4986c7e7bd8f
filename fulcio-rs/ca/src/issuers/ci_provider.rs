//! Type `ci-provider`: whatever CI service has templates in `ci-issuer-metadata`.

use std::sync::Arc;

use oidc::{Claims, TokenError};
use pki::{Field, FulcioExtensions, SubjectName};

use super::address::Address;
use super::file::{self, RawProvider};
use super::template::{Template, TemplateError, Values};
use super::{IdentityError, Principal};

/// How claims of one service become a certificate.
#[derive(Debug)]
pub(super) struct CiProvider {
    defaults: Values,
    extensions: Vec<(Field, Template)>,
    subject: Template,
}

impl CiProvider {
    pub(super) fn new(raw: RawProvider) -> Result<Arc<Self>, String> {
        let subject = raw.subject.unwrap_or_default();
        if subject.trim().is_empty() {
            return Err("subject-alternative-name-template is missing".to_owned());
        }
        let template = |text: &str| Template::parse(text).map_err(|error| error.to_string());
        let extensions = raw
            .extensions
            .0
            .iter()
            .filter_map(|(key, text)| {
                let text = text.as_deref().filter(|text| !text.trim().is_empty())?;
                // Issuer and subject are the token's own, and other keys nobody knows: there is a warning.
                let field = file::field(key).filter(|field| {
                    !matches!(field, Field::Issuer | Field::IssuerV1 | Field::TokenSubject)
                })?;
                Some(template(text).map(|template| (field, template)))
            })
            .collect::<Result<_, _>>()?;
        let defaults = raw.defaults.0.into_iter();
        Ok(Arc::new(Self {
            defaults: defaults
                .map(|(name, value)| (name, value.unwrap_or_default()))
                .collect(),
            extensions,
            subject: template(&subject)?,
        }))
    }

    pub(super) fn principal(&self, claims: &Claims) -> Result<Principal, IdentityError> {
        // Claims go before defaults. One that is null, a list or an object is no word, and as good as missing.
        let mut values = self.defaults.clone();
        let said = claims
            .iter()
            .filter_map(|(name, _)| Some((name.to_owned(), claims.written(name)?)));
        values.extend(said);
        let evaluate = |template: &Template| {
            template.evaluate(&values).map_err(|error| match error {
                TemplateError::Missing(name) => TokenError::MissingClaim(name).into(),
                other => IdentityError::Template(other),
            })
        };
        let subject = Address::parse(&evaluate(&self.subject)?).ok_or(
            IdentityError::UnfitClaim("subject-alternative-name-template"),
        )?;
        let mut extensions = FulcioExtensions::default();
        extensions.set_issuer(claims.issuer()?);
        for (field, template) in &self.extensions {
            extensions.set(*field, evaluate(template)?);
        }
        Ok(Principal::new(
            SubjectName::Uri(subject.to_string()),
            extensions,
            claims.text("sub")?,
        ))
    }
}
