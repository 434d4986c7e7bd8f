//! How closely a service looks at its own signatures before they leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use keys::Algorithm;

use crate::Signer;

/// One of so many is verified. Verifying P-256 takes four times as long as signing, and what it can find is a machine that computes wrongly: that will
/// show in one of the next.
const CHECKED: u64 = 16;

/// For signatures that whoever gets one verifies before he relies on it: some of them are verified here too, and all of them once one was wrong.
/// Clones are the same.
///
/// Those of a key elsewhere were verified by [`Signer::sign`]. Those of RSA and Ed25519 keys are verified each, as a wrong one may give the key
/// away; an ECDSA signature has randomness of its own, so that a wrong one says nothing.
#[derive(Clone, Debug, Default)]
pub struct Watch(Arc<State>);

#[derive(Debug, Default)]
struct State {
    made: AtomicU64,
    /// One did not verify: from then on every one is.
    wary: AtomicBool,
}

impl Watch {
    /// Whether whoever asked this key for a signature has to verify it; the first one of its own is, so that a start with a bad machine is noticed at once.
    pub fn looks(&self, signer: &Signer) -> bool {
        if !signer.is_local() {
            return false;
        }
        let harmless = matches!(
            signer.algorithm(),
            Algorithm::EcdsaP256Sha256 | Algorithm::EcdsaP384Sha384 | Algorithm::EcdsaP521Sha512
        );
        !harmless || self.is_next()
    }

    fn is_next(&self) -> bool {
        let made = self.0.made.fetch_add(1, Ordering::Relaxed);
        made.is_multiple_of(CHECKED) || self.0.wary.load(Ordering::Relaxed)
    }

    /// A signature did not verify. It must not leave.
    pub fn found_a_wrong_one(&self) {
        self.0.wary.store(true, Ordering::Relaxed);
        tracing::error!(
            "a signature of our own key does not verify: this machine computes wrongly; every signature is verified from now on"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_signatures_are_looked_at_and_all_of_them_once_one_was_wrong() {
        let key = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        let watch = Watch::default();
        let looked = |count: usize| (0..count).filter(|_| watch.looks(&key)).count();
        assert_eq!((looked(1), looked(15), looked(1)), (1, 0, 1));
        assert_eq!(looked(1600), 100);
        watch.clone().found_a_wrong_one();
        assert_eq!(looked(100), 100);
    }

    #[test]
    fn a_key_that_a_wrong_signature_gives_away_is_looked_at_each_time() {
        for algorithm in [Algorithm::Ed25519, Algorithm::RsaPkcs1Sha256_2048] {
            let key = Signer::generate(algorithm).unwrap();
            let watch = Watch::default();
            assert!((0..20).all(|_| watch.looks(&key)), "{algorithm:?}");
        }
    }
}
