//! What is pending between two requests: authorization codes and device grants. Time and randomness come as arguments, so that
//! expiry and polling are tested without waiting.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};

/// RFC 6749 4.1.2 recommends at most ten minutes.
const CODE_LIFE: SignedDuration = SignedDuration::from_mins(5);

/// Time to walk to another device.
pub(super) const DEVICE_LIFE: SignedDuration = SignedDuration::from_mins(10);

/// Seconds between two polls (RFC 8628 3.5: five if nothing is said).
pub(super) const INTERVAL: i64 = 5;

/// Pending grants of one kind. A flood makes new logins fail and takes no memory.
const PENDING_MAX: usize = 1000;

/// RFC 8628 6.1: letters without vowels and look-alikes.
const USER_CODE_LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// The errors of RFC 6749 5.2 and RFC 8628 3.5, by their names on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrantError {
    InvalidRequest,
    InvalidGrant,
    AuthorizationPending,
    SlowDown,
    ExpiredToken,
    Unavailable,
}

impl GrantError {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidGrant => "invalid_grant",
            Self::AuthorizationPending => "authorization_pending",
            Self::SlowDown => "slow_down",
            Self::ExpiredToken => "expired_token",
            Self::Unavailable => "temporarily_unavailable",
        }
    }
}

/// Who logged in, for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) email: String,
    pub(super) client: String,
    pub(super) nonce: Option<String>,
}

/// A login that a browser has completed.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) login: Login,
    pub(super) redirect: String,
    /// BASE64URL(SHA256(verifier)), RFC 7636 4.2.
    pub(super) challenge: String,
}

#[derive(Debug)]
struct Device {
    client: String,
    nonce: Option<String>,
    challenge: Option<String>,
    user_code: String,
    email: Option<String>,
    end: Timestamp,
    next_poll: Timestamp,
    interval: i64,
}

/// Both tables.
#[derive(Debug, Default)]
pub(super) struct Grants {
    codes: HashMap<String, (Pending, Timestamp)>,
    devices: HashMap<String, Device>,
}

/// What a device is told.
pub(super) struct DeviceCodes {
    pub(super) device_code: String,
    pub(super) user_code: String,
}

impl Grants {
    /// Keeps a login until its code comes back.
    pub(super) fn issue(
        &mut self,
        pending: Pending,
        random: [u8; 32],
        now: Timestamp,
    ) -> Result<String, GrantError> {
        self.codes.retain(|_, (_, end)| *end > now);
        if self.codes.len() >= PENDING_MAX {
            return Err(GrantError::Unavailable);
        }
        let code = URL_SAFE_NO_PAD.encode(random);
        self.codes.insert(code.clone(), (pending, now + CODE_LIFE));
        Ok(code)
    }

    /// Takes a code back. It is gone after this, whatever the outcome: a stolen code is tried once.
    pub(super) fn redeem(
        &mut self,
        code: &str,
        client: &str,
        redirect: &str,
        verifier: &str,
        now: Timestamp,
    ) -> Result<Login, GrantError> {
        let (pending, end) = self.codes.remove(code).ok_or(GrantError::InvalidGrant)?;
        let valid = end > now
            && pending.login.client == client
            && pending.redirect == redirect
            && answers(&pending.challenge, verifier);
        if valid {
            Ok(pending.login)
        } else {
            Err(GrantError::InvalidGrant)
        }
    }

    /// Begins a device grant.
    pub(super) fn begin_device(
        &mut self,
        client: String,
        nonce: Option<String>,
        challenge: Option<String>,
        random: [u8; 40],
        now: Timestamp,
    ) -> Result<DeviceCodes, GrantError> {
        self.devices.retain(|_, device| device.end > now);
        if self.devices.len() >= PENDING_MAX {
            return Err(GrantError::Unavailable);
        }
        let (secret, letters) = random.split_at(32);
        let user_code: String = letters
            .iter()
            .filter_map(|byte| USER_CODE_LETTERS.get(usize::from(*byte) % USER_CODE_LETTERS.len()))
            .map(|letter| char::from(*letter))
            .collect();
        if self
            .devices
            .values()
            .any(|device| device.user_code == user_code)
        {
            return Err(GrantError::Unavailable);
        }
        let device_code = URL_SAFE_NO_PAD.encode(secret);
        let device = Device {
            client,
            nonce,
            challenge,
            user_code: user_code.clone(),
            email: None,
            end: now + DEVICE_LIFE,
            next_poll: now,
            interval: INTERVAL,
        };
        self.devices.insert(device_code.clone(), device);
        let user_code = match user_code.split_at_checked(4) {
            Some((first, second)) => format!("{first}-{second}"),
            None => user_code,
        };
        Ok(DeviceCodes {
            device_code,
            user_code,
        })
    }

    /// A person typed the code that the device shows; case and dashes do not matter.
    pub(super) fn approve(
        &mut self,
        user_code: &str,
        email: &str,
        now: Timestamp,
    ) -> Result<(), GrantError> {
        let typed: String = user_code
            .chars()
            .filter(char::is_ascii_alphabetic)
            .map(|letter| letter.to_ascii_uppercase())
            .collect();
        let device = self
            .devices
            .values_mut()
            .find(|device| device.user_code == typed && device.end > now && device.email.is_none())
            .ok_or(GrantError::InvalidGrant)?;
        device.email = Some(email.to_owned());
        Ok(())
    }

    /// The device asks whether somebody did.
    pub(super) fn poll(
        &mut self,
        device_code: &str,
        client: &str,
        verifier: Option<&str>,
        now: Timestamp,
    ) -> Result<Login, GrantError> {
        let device = self
            .devices
            .get_mut(device_code)
            .ok_or(GrantError::InvalidGrant)?;
        if device.client != client {
            return Err(GrantError::InvalidGrant);
        }
        if device.end <= now {
            self.devices.remove(device_code);
            return Err(GrantError::ExpiredToken);
        }
        if now < device.next_poll {
            // RFC 8628 3.5: five seconds more, from now on.
            device.interval += 5;
            device.next_poll = now + SignedDuration::from_secs(device.interval);
            return Err(GrantError::SlowDown);
        }
        device.next_poll = now + SignedDuration::from_secs(device.interval);
        let Some(email) = device.email.clone() else {
            return Err(GrantError::AuthorizationPending);
        };
        let device = self
            .devices
            .remove(device_code)
            .ok_or(GrantError::InvalidGrant)?;
        let answered = match (&device.challenge, verifier) {
            (None, _) => true,
            (Some(challenge), Some(verifier)) => answers(challenge, verifier),
            (Some(_), None) => false,
        };
        if answered {
            Ok(Login {
                email,
                client: device.client,
                nonce: device.nonce,
            })
        } else {
            Err(GrantError::InvalidGrant)
        }
    }
}

/// RFC 7636 4.6, method S256; 4.1 gives the length.
fn answers(challenge: &str, verifier: &str) -> bool {
    (43..=128).contains(&verifier.len())
        && URL_SAFE_NO_PAD.encode(keys::sha256(verifier.as_bytes())) == challenge
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 7636 appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn start() -> Timestamp {
        "2026-11-22T10:00:00Z".parse().unwrap()
    }

    fn seconds(count: i64) -> SignedDuration {
        SignedDuration::from_secs(count)
    }

    fn pending() -> Pending {
        let login = Login {
            email: "a@b".to_owned(),
            client: "sigstore".to_owned(),
            nonce: Some("n".to_owned()),
        };
        Pending {
            login,
            redirect: "http://localhost:1/cb".to_owned(),
            challenge: CHALLENGE.to_owned(),
        }
    }

    #[test]
    fn a_code_works_once() {
        let mut grants = Grants::default();
        let code = grants.issue(pending(), [1; 32], start()).unwrap();
        let mut take = || {
            grants.redeem(
                &code,
                "sigstore",
                "http://localhost:1/cb",
                VERIFIER,
                start(),
            )
        };
        assert_eq!(take(), Ok(pending().login));
        assert_eq!(take(), Err(GrantError::InvalidGrant));
    }

    #[test]
    fn a_code_is_bound_to_client_redirect_verifier_and_time() {
        let other = "x".repeat(43);
        let redirect = "http://localhost:1/cb";
        for (client, redirect, verifier, after) in [
            ("other", redirect, VERIFIER, 0),
            ("sigstore", "http://localhost:2/cb", VERIFIER, 0),
            ("sigstore", redirect, other.as_str(), 0),
            ("sigstore", redirect, "", 0),
            ("sigstore", redirect, VERIFIER, 300),
        ] {
            let mut grants = Grants::default();
            let code = grants.issue(pending(), [1; 32], start()).unwrap();
            let late = start() + seconds(after);
            assert_eq!(
                grants.redeem(&code, client, redirect, verifier, late),
                Err(GrantError::InvalidGrant)
            );
            // A wrong attempt uses the code up as well.
            assert_eq!(
                grants.redeem(&code, "sigstore", redirect, VERIFIER, start()),
                Err(GrantError::InvalidGrant)
            );
        }
    }

    #[test]
    fn the_tables_are_bounded_and_expired_entries_make_room() {
        let mut grants = Grants::default();
        for count in 0..PENDING_MAX {
            let mut random = [0; 32];
            random[..8].copy_from_slice(&u64::try_from(count).unwrap().to_be_bytes());
            grants.issue(pending(), random, start()).unwrap();
        }
        assert_eq!(
            grants.issue(pending(), [9; 32], start()),
            Err(GrantError::Unavailable)
        );
        assert!(
            grants
                .issue(pending(), [9; 32], start() + seconds(300))
                .is_ok()
        );
    }

    fn device(grants: &mut Grants, challenge: Option<&str>) -> DeviceCodes {
        grants
            .begin_device(
                "sigstore".to_owned(),
                None,
                challenge.map(str::to_owned),
                [7; 40],
                start(),
            )
            .unwrap()
    }

    #[test]
    fn a_device_waits_until_somebody_types_its_code() {
        let mut grants = Grants::default();
        let codes = device(&mut grants, None);
        let at = |count| start() + seconds(count);
        assert_eq!(
            grants.poll(&codes.device_code, "sigstore", None, at(0)),
            Err(GrantError::AuthorizationPending)
        );
        assert_eq!(
            grants.poll(&codes.device_code, "sigstore", None, at(2)),
            Err(GrantError::SlowDown)
        );
        assert_eq!(
            grants.approve("wrong", "a@b", at(3)),
            Err(GrantError::InvalidGrant)
        );
        grants
            .approve(&codes.user_code.to_lowercase(), "a@b", at(3))
            .unwrap();
        assert_eq!(
            grants.approve(&codes.user_code, "c@d", at(3)),
            Err(GrantError::InvalidGrant)
        );
        assert_eq!(
            grants.poll(&codes.device_code, "sigstore", None, at(8)),
            Err(GrantError::SlowDown)
        );
        assert_eq!(
            grants
                .poll(&codes.device_code, "sigstore", None, at(30))
                .unwrap()
                .email,
            "a@b"
        );
        assert_eq!(
            grants.poll(&codes.device_code, "sigstore", None, at(60)),
            Err(GrantError::InvalidGrant)
        );
    }

    #[test]
    fn a_device_grant_expires_and_keeps_its_client_and_challenge() {
        let mut grants = Grants::default();
        let codes = device(&mut grants, Some(CHALLENGE));
        assert_eq!(
            grants.poll(&codes.device_code, "other", None, start()),
            Err(GrantError::InvalidGrant)
        );
        assert_eq!(
            grants.poll(&codes.device_code, "sigstore", None, start() + DEVICE_LIFE),
            Err(GrantError::ExpiredToken)
        );

        let codes = device(&mut grants, Some(CHALLENGE));
        grants.approve(&codes.user_code, "a@b", start()).unwrap();
        assert_eq!(
            grants.poll(&codes.device_code, "sigstore", None, start()),
            Err(GrantError::InvalidGrant)
        );

        let codes = device(&mut grants, Some(CHALLENGE));
        grants.approve(&codes.user_code, "a@b", start()).unwrap();
        assert!(
            grants
                .poll(&codes.device_code, "sigstore", Some(VERIFIER), start())
                .is_ok()
        );
    }
}
