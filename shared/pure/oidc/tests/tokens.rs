//! Tokens of every algorithm verify, and each way of being wrong has its own answer.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is the failure report"
)]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use keys::{Algorithm, KeyType};
use oidc::{Expect, Jwks, Token, TokenError};
use signer::Signer;

const CLAIMS: &str = r#"{"iss":"https://issuer.example","aud":["other","sigstore"],"sub":"me","exp":1000,"nbf":900,"email":"dev@example.com","email_verified":true}"#;
const EXPECT: Expect<'_> = Expect {
    issuer: "https://issuer.example",
    audience: "sigstore",
};

fn at(second: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(second).unwrap()
}

fn jwk(signer: &Signer, kid: &str) -> String {
    let raw = signer.public_key().raw();
    let part = |bytes: &[u8]| BASE64.encode(bytes);
    let key = match signer.public_key().key_type() {
        KeyType::Ed25519 => format!(r#""kty":"OKP","crv":"Ed25519","x":"{}""#, part(raw)),
        KeyType::EcdsaP256 => format!(
            r#""kty":"EC","crv":"P-256","x":"{}","y":"{}""#,
            part(&raw[1..33]),
            part(&raw[33..])
        ),
        KeyType::EcdsaP384 => format!(
            r#""kty":"EC","crv":"P-384","x":"{}","y":"{}""#,
            part(&raw[1..49]),
            part(&raw[49..])
        ),
        KeyType::EcdsaP521 => format!(
            r#""kty":"EC","crv":"P-521","x":"{}","y":"{}""#,
            part(&raw[1..67]),
            part(&raw[67..])
        ),
        // SEQUENCE (4) INTEGER (4) 00 modulus INTEGER (2) exponent
        _ => format!(r#""kty":"RSA","n":"{}","e":"AQAB""#, part(&raw[9..9 + 256])),
    };
    format!(r#"{{{key},"kid":"{kid}","use":"sig"}}"#)
}

fn jwks(keys: &[String]) -> Jwks {
    Jwks::parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes()).unwrap()
}

/// r || s out of the DER of an ECDSA signature.
fn fixed(der: &[u8], length: usize) -> Vec<u8> {
    let start = if der[1] == 0x81 { 3 } else { 2 };
    let (mut rest, mut out) = (&der[start..], Vec::new());
    for _ in 0..2 {
        let size = usize::from(rest[1]);
        let number: Vec<u8> = rest[2..2 + size]
            .iter()
            .copied()
            .skip_while(|byte| *byte == 0)
            .collect();
        out.extend(std::iter::repeat_n(0, length - number.len()));
        out.extend(number);
        rest = &rest[2 + size..];
    }
    out
}

fn token(signer: &Signer, header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
    let signature = signer.sign_local(signed.as_bytes()).unwrap();
    let signature = match signer.public_key().key_type() {
        KeyType::EcdsaP256 => fixed(&signature, 32),
        KeyType::EcdsaP384 => fixed(&signature, 48),
        KeyType::EcdsaP521 => fixed(&signature, 66),
        _ => signature,
    };
    format!("{signed}.{}", BASE64.encode(signature))
}

#[test]
fn every_algorithm_verifies() {
    for (algorithm, name) in [
        (Algorithm::RsaPkcs1Sha256_2048, "RS256"),
        (Algorithm::EcdsaP256Sha256, "ES256"),
        (Algorithm::EcdsaP384Sha384, "ES384"),
        (Algorithm::EcdsaP521Sha512, "ES512"),
        (Algorithm::Ed25519, "EdDSA"),
    ] {
        let signer = Signer::generate(algorithm).unwrap();
        for _ in 0..8 {
            let text = token(&signer, &format!(r#"{{"alg":"{name}","kid":"a"}}"#), CLAIMS);
            let claims = Token::parse(&text)
                .unwrap()
                .verify(&jwks(&[jwk(&signer, "a")]), &EXPECT, at(950))
                .unwrap();
            assert_eq!(claims.proof_subject(), Ok("dev@example.com"));
            assert!(claims.is_email_verified());
        }
    }
}

#[test]
fn each_way_of_being_wrong_has_its_answer() {
    let (signer, other) = (
        Signer::generate(Algorithm::EcdsaP256Sha256).unwrap(),
        Signer::generate(Algorithm::EcdsaP256Sha256).unwrap(),
    );
    let keys = jwks(&[jwk(&signer, "a")]);
    let check = |text: String, keys: &Jwks, second| {
        Token::parse(&text).and_then(|token| token.verify(keys, &EXPECT, at(second)))
    };
    let header = r#"{"alg":"ES256","kid":"a"}"#;
    let good = || token(&signer, header, CLAIMS);
    assert!(check(good(), &keys, 999).is_ok());
    assert_eq!(
        check(good(), &keys, 1000),
        Err(TokenError::Expired(at(1000)))
    );
    assert!(check(good(), &keys, 600).is_ok(), "five minutes of leeway");
    assert_eq!(
        check(good(), &keys, 599),
        Err(TokenError::NotYetValid(at(900)))
    );
    assert_eq!(
        check(good(), &jwks(&[jwk(&other, "a")]), 950),
        Err(TokenError::Signature)
    );
    assert_eq!(
        check(good(), &jwks(&[jwk(&other, "b")]), 950),
        Err(TokenError::UnknownKey("a".into()))
    );
    assert!(check(good(), &jwks(&[jwk(&other, "b"), jwk(&signer, "a")]), 950).is_ok());
    for algorithm in ["none", "HS256", "RS1"] {
        let text = token(
            &signer,
            &format!(r#"{{"alg":"{algorithm}","kid":"a"}}"#),
            CLAIMS,
        );
        assert_eq!(
            check(text, &keys, 950),
            Err(TokenError::Algorithm(algorithm.into()))
        );
    }
    let text = token(&signer, r#"{"alg":"RS256","kid":"a"}"#, CLAIMS);
    assert_eq!(
        check(text, &keys, 950),
        Err(TokenError::Algorithm("RS256".into())),
        "not with this key"
    );
    let changed = |from: &str, to: &str| token(&signer, header, &CLAIMS.replace(from, to));
    assert!(matches!(
        check(changed("issuer.example", "issuer.evil"), &keys, 950),
        Err(TokenError::Issuer { .. })
    ));
    assert!(matches!(
        check(changed("\"sigstore\"", "\"sigstor\""), &keys, 950),
        Err(TokenError::Audience { .. })
    ));
    assert_eq!(
        check(changed("\"exp\":1000,", ""), &keys, 950),
        Err(TokenError::MissingClaim("exp".into()))
    );
    assert!(matches!(
        check(changed("\"exp\":1000", "\"exp\":\"1000\""), &keys, 950),
        Err(TokenError::Malformed(_))
    ));
    assert!(
        matches!(
            check(changed("\"sub\"", "\"iss\""), &keys, 950),
            Err(TokenError::Malformed(_))
        ),
        "a claim twice"
    );
    assert!(matches!(
        check(
            token(&signer, r#"{"alg":"ES256","crit":["x"]}"#, CLAIMS),
            &keys,
            950
        ),
        Err(TokenError::Malformed(_))
    ));
    for text in [
        token(&signer, r#"["ES256","a",null]"#, CLAIMS),
        String::new(),
        "a.b".into(),
        ".".repeat(1_000_000),
        "a.b.c.d".into(),
        good() + "!",
        format!("{}.", good()),
    ] {
        assert!(matches!(Token::parse(&text), Err(TokenError::Malformed(_))));
    }
    assert_eq!(format!("{:?}", Token::parse(&good()).unwrap()), "Token(..)");
}

#[test]
fn weak_and_foreign_keys_do_not_count() {
    for keys in [
        "[]",
        r#"[{"kty":"oct","k":"AA"}]"#,
        r#"[{"kty":"RSA","n":"AQAB","e":"AQAB"}]"#,
        r#"[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]"#,
    ] {
        assert!(
            Jwks::parse(format!(r#"{{"keys":{keys}}}"#).as_bytes()).is_err(),
            "{keys}"
        );
    }
    assert!(Jwks::parse(&vec![b' '; 300_000]).is_err());
    assert!(Jwks::parse(b"{}").is_err());
}

#[test]
fn googles_issuer_has_two_spellings_and_one_name() {
    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let keys = jwks(&[jwk(&signer, "a")]);
    let verify = |iss: &str, expected: &str| {
        let claims = CLAIMS.replace("https://issuer.example", iss);
        let text = token(&signer, r#"{"alg":"ES256","kid":"a"}"#, &claims);
        let token = Token::parse(&text).unwrap();
        let named = token.unverified().configured_issuer().unwrap().to_owned();
        let expect = Expect {
            issuer: expected,
            audience: "sigstore",
        };
        let claims = token.verify(&keys, &expect, at(950));
        (
            named,
            claims.map(|claims| claims.issuer().unwrap().to_owned()),
        )
    };
    let google = "https://accounts.google.com";
    for iss in [google, "accounts.google.com"] {
        assert_eq!(verify(iss, google), (google.into(), Ok(google.into())));
    }
    for (iss, expected) in [
        ("accounts.google.com", "https://other.example"),
        ("other.example", "https://other.example"),
        (google, "accounts.google.com"),
    ] {
        assert!(
            matches!(verify(iss, expected).1, Err(TokenError::Issuer { .. })),
            "{iss}"
        );
    }
}

#[test]
fn an_issuer_may_narrow_the_algorithms_and_not_widen_them() {
    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let check = |header: &str, announced: &[&str]| {
        let keys = jwks(&[jwk(&signer, "a")])
            .announced(announced.iter().map(|name| (*name).to_owned()).collect());
        let text = token(&signer, header, CLAIMS);
        Token::parse(&text)
            .unwrap()
            .verify(&keys, &EXPECT, at(950))
            .map(drop)
    };
    let es256 = r#"{"alg":"ES256","kid":"a"}"#;
    assert_eq!(check(es256, &["RS256", "ES256"]), Ok(()));
    for announced in [&["RS256"][..], &[]] {
        assert_eq!(
            check(es256, announced),
            Err(TokenError::Algorithm("ES256".into()))
        );
    }
    for name in ["none", "HS256"] {
        let header = format!(r#"{{"alg":"{name}","kid":"a"}}"#);
        assert_eq!(
            check(&header, &[name]),
            Err(TokenError::Algorithm(name.into()))
        );
    }
}

#[test]
fn a_token_is_one_whatever_form_its_signature_has() {
    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let header = r#"{"alg":"ES256","kid":"a"}"#;
    let digest = |text: &str| Token::parse(text).unwrap().digest();
    // ECDSA signs the same thing in another way each time.
    let (one, other) = (
        token(&signer, header, CLAIMS),
        token(&signer, header, CLAIMS),
    );
    assert_ne!(one, other);
    assert_eq!(digest(&one), digest(&other));
    let changed = token(&signer, header, &CLAIMS.replace("me", "you"));
    assert_ne!(digest(&one), digest(&changed));
}

/// What go-oidc's `jsonTime` makes of a number: `json.Number`'s Int64, else its Float64 cut to whole seconds.
#[test]
fn times_are_numbers_in_any_form_of_json() {
    let signer = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    let keys = jwks(&[jwk(&signer, "a")]);
    let header = r#"{"alg":"ES256","kid":"a"}"#;
    let check = |claim: &str, written: &str, second| {
        let claims = CLAIMS
            .replace("\"exp\":1000", "\"exp\":2e9")
            .replace("\"nbf\":900", "\"nbf\":0")
            .replacen('{', "{\"iat\":0,", 1);
        let claims = match claim {
            "exp" => claims.replace("2e9", written),
            "nbf" => claims.replace("\"nbf\":0", &format!("\"nbf\":{written}")),
            _ => claims.replace("\"iat\":0", &format!("\"iat\":{written}")),
        };
        Token::parse(&token(&signer, header, &claims))
            .and_then(|token| token.verify(&keys, &EXPECT, at(second)))
            .map(drop)
    };
    // Of "expires", the second before is in time and the second itself is not; of "not before" there are five minutes of leeway.
    for (written, second) in [
        ("1.7e9", 1_700_000_000),
        ("17E8", 1_700_000_000),
        ("170000000000e-2", 1_700_000_000),
        ("1700000000.0", 1_700_000_000),
        ("1700000000.9", 1_700_000_000),
        // The nearest float is the next second, for Go as well.
        ("1700000000.99999999999", 1_700_000_001),
        ("1.7000000009e9", 1_700_000_000),
        ("253402207200", 253_402_207_200),
    ] {
        assert_eq!(check("exp", written, second - 1), Ok(()), "{written}");
        assert_eq!(
            check("exp", written, second),
            Err(TokenError::Expired(at(second))),
            "{written}"
        );
        if second > 1_999_999_000 {
            continue;
        }
        assert_eq!(check("nbf", written, second - 300), Ok(()), "{written}");
        assert_eq!(
            check("nbf", written, second - 301),
            Err(TokenError::NotYetValid(at(second))),
            "{written}"
        );
        assert_eq!(check("iat", written, 950), Ok(()));
    }
    for (written, second) in [("-0", 0), ("-0.9", 0), ("0.9e0", 0), ("1e-400", 0)] {
        assert_eq!(
            check("exp", written, 0),
            Err(TokenError::Expired(at(second))),
            "{written}"
        );
        assert_eq!(check("exp", written, -1), Ok(()), "{written}");
    }
    for claim in ["exp", "nbf", "iat"] {
        for written in [
            "253402207201",
            "1e12",
            "9223372036854775808",
            "1e300",
            "1e400",
            "\"1700000000\"",
            "null",
            "true",
            "[1700000000]",
        ] {
            assert!(
                matches!(check(claim, written, 950), Err(TokenError::Malformed(_))),
                "{claim} {written}"
            );
        }
    }
}
