//! Tokens.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use keys::{Algorithm, PublicKey};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::TokenError;
use crate::jwks::{self, Jwks};

/// The largest token that is read; GitHub's have 2 kB.
pub const MAX_TOKEN: usize = 16 * 1024;
/// Google's issuer, and what some of its tokens say instead (OpenID Connect Core 1.0 section 15.6.2).
const GOOGLE: (&str, &str) = ("https://accounts.google.com", "accounts.google.com");
/// How far the issuer's clock may be ahead for "not before"; expiry has no leeway (both as go-oidc).
const NOT_BEFORE_LEEWAY: SignedDuration = SignedDuration::from_mins(5);

/// A token, parsed and not believed. `Debug` shows nothing of it.
pub struct Token {
    signed: String,
    signature: Vec<u8>,
    algorithm: String,
    key_id: Option<String>,
    claims: Claims,
}

/// What a token must be.
#[derive(Debug, Clone)]
pub struct Expect<'a> {
    /// Exactly this issuer.
    pub issuer: &'a str,
    /// Among its audiences.
    pub audience: &'a str,
}

/// What a token says. Where it came from [`Token::verify`] its issuer said so; where from [`Token::unverified`] nobody knows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claims(BTreeMap<String, Value>);

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

impl Token {
    /// Takes a compact JWS apart.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.len() > MAX_TOKEN {
            return Err(TokenError::Malformed("too large"));
        }
        // At most four parts are ever looked for: a text of dots costs nothing.
        let mut parts = text.splitn(4, '.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Malformed("not three parts"));
        };
        let decode = |part: &str| {
            URL_SAFE_NO_PAD
                .decode(part)
                .map_err(|_| TokenError::Malformed("not base64url"))
        };
        let header_bytes = decode(header)?;
        // serde would take an array for the members in our order.
        if header_bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(TokenError::Malformed("header is no object"));
        }
        let parsed: Header =
            serde_json::from_slice(&header_bytes).map_err(|_| TokenError::Malformed("header"))?;
        // RFC 7515 4.1.11: who does not understand a critical parameter must refuse.
        if parsed.crit.is_some() {
            return Err(TokenError::Malformed("critical header parameters"));
        }
        let claims: Strict = serde_json::from_slice(&decode(payload)?)
            .map_err(|_| TokenError::Malformed("payload (or a claim twice)"))?;
        let Value::Object(claims) = claims.0 else {
            return Err(TokenError::Malformed("payload is no object"));
        };
        Ok(Self {
            signed: format!("{header}.{payload}"),
            signature: decode(signature)?,
            algorithm: parsed.alg,
            key_id: parsed.kid,
            claims: Claims(claims.into_iter().collect()),
        })
    }

    /// What the token claims, before anything was checked: for choosing the issuer to ask, and for clients that own the token.
    pub const fn unverified(&self) -> &Claims {
        &self.claims
    }

    /// Checks signature, issuer, audience and times.
    pub fn verify(
        &self,
        keys: &Jwks,
        expect: &Expect<'_>,
        now: Timestamp,
    ) -> Result<Claims, TokenError> {
        self.check_signature(keys)?;
        let claims = &self.claims;
        let issuer = claims.text("iss")?;
        let schemeless = (expect.issuer, issuer) == GOOGLE;
        if issuer != expect.issuer && !schemeless {
            return Err(TokenError::Issuer {
                found: issuer.to_owned(),
                expected: expect.issuer.to_owned(),
            });
        }
        let audiences = claims.audiences();
        if !audiences.iter().any(|audience| audience == expect.audience) {
            return Err(TokenError::Audience {
                found: audiences,
                expected: expect.audience.to_owned(),
            });
        }
        let expiry = claims
            .time("exp")?
            .ok_or_else(|| TokenError::MissingClaim("exp".into()))?;
        if now >= expiry {
            return Err(TokenError::Expired(expiry));
        }
        if let Some(not_before) = claims.time("nbf")?
            && now
                .checked_add(NOT_BEFORE_LEEWAY)
                .is_ok_and(|latest| latest < not_before)
        {
            return Err(TokenError::NotYetValid(not_before));
        }
        // Nobody asks when it was made, but what is no time there is no token.
        claims.time("iat")?;
        let mut claims = claims.clone();
        // One issuer has one name from here on.
        claims.0.insert("iss".to_owned(), expect.issuer.into());
        Ok(claims)
    }

    /// SHA-256 of header and payload as they were signed. Two texts of one token have the same, since the signature, which may have
    /// several forms, is not in it.
    pub fn digest(&self) -> [u8; 32] {
        keys::digest::sha256(self.signed.as_bytes())
    }

    fn check_signature(&self, keys: &Jwks) -> Result<(), TokenError> {
        if !keys.takes(&self.algorithm) {
            return Err(TokenError::Algorithm(
                self.algorithm.chars().take(16).collect(),
            ));
        }
        let mut outcome = TokenError::UnknownKey(self.key_id.clone().unwrap_or_default());
        for candidate in keys.candidates(self.key_id.as_deref()) {
            let named = candidate
                .algorithm
                .as_ref()
                .is_none_or(|algorithm| *algorithm == self.algorithm);
            match jwks::algorithm(&self.algorithm, &candidate.public) {
                Some(algorithm) if named => {
                    if self.holds(&candidate.public, algorithm) {
                        return Ok(());
                    }
                    outcome = TokenError::Signature;
                }
                _ if outcome != TokenError::Signature => {
                    outcome = TokenError::Algorithm(self.algorithm.clone());
                }
                _ => {}
            }
        }
        Err(outcome)
    }

    fn holds(&self, key: &PublicKey, algorithm: Algorithm) -> bool {
        let signature = match algorithm {
            Algorithm::EcdsaP256Sha256 => fixed(&self.signature, 32),
            Algorithm::EcdsaP384Sha384 => fixed(&self.signature, 48),
            Algorithm::EcdsaP521Sha512 => fixed(&self.signature, 66),
            _ => Some(self.signature.clone()),
        };
        signature.is_some_and(|signature| {
            key.verify(algorithm, self.signed.as_bytes(), &signature)
                .is_ok()
        })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(..)")
    }
}

impl Claims {
    /// A claim.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A claim that must be a non-empty text.
    pub fn text(&self, name: &str) -> Result<&str, TokenError> {
        self.0
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .ok_or_else(|| TokenError::MissingClaim(name.into()))
    }

    /// All claims, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// A claim's value as templates and rules see it: texts as they are, truth values and numbers written out, numbers without exponent.
    /// None where it is missing, null, a list or an object.
    pub fn written(&self, name: &str) -> Option<String> {
        self.0.get(name).and_then(written)
    }

    /// The issuer of this token under the name that it is configured by: Google's tokens may leave the scheme out.
    pub fn configured_issuer(&self) -> Result<&str, TokenError> {
        let named = self.issuer()?;
        Ok(if named == GOOGLE.1 { GOOGLE.0 } else { named })
    }

    /// Who issued it.
    pub fn issuer(&self) -> Result<&str, TokenError> {
        self.text("iss")
    }

    /// `email_verified`: a boolean, or the texts that some providers write.
    pub fn is_email_verified(&self) -> bool {
        match self.0.get("email_verified") {
            Some(Value::Bool(verified)) => *verified,
            Some(Value::String(text)) => text == "true" || text == "True",
            _ => false,
        }
    }

    /// What a client signs as proof that it holds its key: the mail address where there is one, else the subject.
    pub fn proof_subject(&self) -> Result<&str, TokenError> {
        self.text("email").or_else(|_| self.text("sub"))
    }

    /// When it ends.
    pub fn expiry(&self) -> Result<Option<Timestamp>, TokenError> {
        self.time("exp")
    }

    fn audiences(&self) -> Vec<String> {
        match self.0.get("aud") {
            Some(Value::String(audience)) => vec![audience.clone()],
            Some(Value::Array(audiences)) => audiences
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        }
    }

    /// RFC 7519 NumericDate: a JSON number in any of its forms, as `1.7e9`; a fraction is cut off. go-oidc reads it in the same way, a whole
    /// number as it is and any other as a float of 64 bits. What is no number, or no time, is no token.
    fn time(&self, name: &str) -> Result<Option<Timestamp>, TokenError> {
        let Some(value) = self.0.get(name) else {
            return Ok(None);
        };
        let number = value
            .as_number()
            .ok_or(TokenError::Malformed("a time that is no number"))?;
        let seconds = match number.as_i64() {
            Some(whole) => Some(whole),
            None => number
                .as_f64()
                .and_then(|float| SignedDuration::try_from_secs_f64(float).ok())
                .map(|duration| duration.as_secs()),
        };
        seconds
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .map(Some)
            .ok_or(TokenError::Malformed(
                "a time before the year -9999 or after 9999",
            ))
    }
}

/// A value as [`Claims::written`] writes it.
pub fn written(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Number(number) if number.is_f64() => number.as_f64().map(|float| float.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// RFC 7518 3.4: r and s, each as long as the curve.
fn fixed(signature: &[u8], length: usize) -> Option<Vec<u8>> {
    (signature.len() == length.saturating_mul(2)).then(|| keys::ecdsa::fixed_to_der(signature))?
}

/// JSON in which no member stands twice, at any depth.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Strict;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("JSON")
            }
            fn visit_bool<E>(self, value: bool) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Strict, E> {
                Ok(Strict(
                    Number::from_f64(value).map_or(Value::Null, Value::Number),
                ))
            }
            fn visit_str<E>(self, value: &str) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }
            fn visit_unit<E>(self) -> Result<Strict, E> {
                Ok(Strict(Value::Null))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Strict, A::Error> {
                let mut values = Vec::new();
                while let Some(Strict(value)) = items.next_element()? {
                    values.push(value);
                }
                Ok(Strict(Value::Array(values)))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Strict, A::Error> {
                let mut object = Map::new();
                while let Some((name, Strict(value))) = members.next_entry::<String, Strict>()? {
                    if object.insert(name, value).is_some() {
                        return Err(serde::de::Error::custom("a member stands there twice"));
                    }
                }
                Ok(Strict(Value::Object(object)))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
