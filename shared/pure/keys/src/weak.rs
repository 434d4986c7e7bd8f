//! RSA keys that can be broken although they are large enough: what an authority asks of a key before it certifies it.
//!
//! The rules are those of Let's Encrypt's and Sigstore's `goodkey`:
//!
//! | rule | against |
//! | --- | --- |
//! | the exponent is 65537 | low exponents, on which forgeries of sloppy verifiers build, and slow ones |
//! | no prime below 752 divides the modulus | broken generators |
//! | the modulus has not the fingerprint of Infineon's library (ROCA, CVE-2017-15361) | a hundred-dollar factorisation |
//! | 100 rounds of Fermat's method do not factor it (CVE-2022-26320) | primes that are neighbours |
//!
//! Keys on curves have their rules in [`PublicKey`] itself: a point that is on its curve and not of small order.

use crypto_bigint::{BoxedUint, CheckedAdd as _, CheckedSub as _};
use der::{Decode as _, Sequence, asn1::UintRef};

use crate::alg::KeyType;
use crate::public::{KeyError, PublicKey};

/// The rounds of upstream's `goodkey`.
const FERMAT_ROUNDS: usize = 100;

/// Primes below this are tried.
const SMALL: u32 = 752;

/// Infineon's primes are k * M + (65537^a mod M), M the product of the first primes up to this one for the shortest keys; longer keys have
/// more primes in M, so these are in all of them.
const ROCA_LAST: u32 = 167;

#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

impl PublicKey {
    /// Is it a key that an authority may certify? See the module's table; an error is [`KeyError::Insecure`] with the rule.
    pub fn check_strength(&self) -> Result<(), KeyError> {
        if !matches!(
            self.key_type(),
            KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096
        ) {
            return Ok(());
        }
        let weak = |why: &str| Err(KeyError::Insecure(why.to_owned()));
        let key = RsaPublicKey::from_der(self.raw())
            .map_err(|error| KeyError::Malformed(error.to_string()))?;
        if key.exponent.as_bytes() != [1, 0, 1] {
            return weak("the exponent of RSA is not 65537");
        }
        let modulus = key.modulus.as_bytes();
        let small = (2..SMALL).filter(|number| is_prime(*number));
        if small.clone().any(|prime| remainder(modulus, prime) == 0) {
            return weak("a small prime divides the RSA modulus");
        }
        let roca = small.filter(|prime| (3..=ROCA_LAST).contains(prime));
        if roca
            .clone()
            .all(|prime| is_power(remainder(modulus, prime), prime))
        {
            return weak("the RSA key has the fingerprint of ROCA (CVE-2017-15361)");
        }
        if has_near_factors(modulus) {
            return weak("the primes of the RSA modulus are too near each other");
        }
        Ok(())
    }
}

fn is_prime(number: u32) -> bool {
    (2..number)
        .take_while(|divisor| divisor.saturating_mul(*divisor) <= number)
        .all(|divisor| number.checked_rem(divisor) != Some(0))
}

fn remainder(number: &[u8], divisor: u32) -> u32 {
    number.iter().fold(0_u32, |rest, byte| {
        // Below 2^18: the divisor is below 2^10.
        let next = rest.wrapping_shl(8).wrapping_add(u32::from(*byte));
        next.checked_rem(divisor).unwrap_or_default()
    })
}

/// Is `rest` a power of 65537 modulo the prime?
fn is_power(rest: u32, prime: u32) -> bool {
    let step = 65537_u32.checked_rem(prime).unwrap_or_default();
    let mut power = 1;
    for _ in 0..prime {
        if power == rest {
            return true;
        }
        power = remainder(&power.saturating_mul(step).to_be_bytes(), prime);
    }
    false
}

/// Fermat: n = a^2 - b^2 with a small b where the factors are near.
fn has_near_factors(modulus: &[u8]) -> bool {
    // Room for a^2, a little above n, and for sums.
    let bits = u32::try_from(modulus.len())
        .unwrap_or(u32::MAX)
        .saturating_mul(8)
        .saturating_add(64);
    let Ok(number) = BoxedUint::from_be_slice(&[&[0; 8], modulus].concat(), bits) else {
        return true;
    };
    let one = BoxedUint::one_with_precision(bits);
    let mut root = number.floor_sqrt_vartime();
    let mut square = root.wrapping_mul(&root);
    if square < number {
        // (a + 1)^2 = a^2 + a + a + 1
        let next: Option<_> = (|| {
            let sum = square.checked_add(&root).into_option()?;
            let sum = sum.checked_add(&root).into_option()?;
            sum.checked_add(&one).into_option()
        })();
        let Some(next) = next else { return true };
        (square, root) = (next, root.wrapping_add(&one));
    }
    let Some(mut rest) = square.checked_sub(&number).into_option() else {
        return true;
    };
    for _ in 0..FERMAT_ROUNDS {
        if rest.checked_sqrt_vartime().is_some() {
            return true;
        }
        // (a + 1)^2 - n
        rest = rest
            .wrapping_add(&root)
            .wrapping_add(&root)
            .wrapping_add(&one);
        root = root.wrapping_add(&one);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    // Moduli of 2048 bits, made for this test from primes that have the weakness, and one from two random primes.
    const GOOD: &str = "96e2117f53762cdc7dd538db92f71c8744ca1e3b7d454b5b15aa6208036f4bc46e8e2983c3a57a1d8d2c27b73681245697fd8e0a61ac1caedd317be23b58a84bc3da4780a612b9ee8862623ee5d645a7705e28dcfa93c0df2dc238c3961b464fbd30bacc004f1b0cc15a442363bebce86aef8961a6e0436b48e8fce6eaa71eefe335987709253849a1a87fa53db819583a342ffbb90c0f54cce51e7beefe355507cd54fbc2e9fac36d042c7fe1695b1790685d0232ccc996ede0bebcd3deaeae0c7335435eae12f357862ffe1e65965812169b2a550855c2100d6bde906a58284ad3d100de087596e9f649ac42a09b9978364efd774a5e1fd068acbc77a801c9";
    /// p - q is about 2^515: the factors come out after some rounds.
    const NEAR: &str = "90000011c07dca747574d5d3328a364c76d944ac0d59784222f9dcac327f8a20d703f84831983592d168657c58f58049729eddd4340cc94d595368667d2f8b5be73575e16bc224184935195aee3c945a3e2f229a66ebd9e3060d109e5c0a10f98db1c9e6fc1079ebe2803841780f121ac0488c2a5a14fbe0bb72f87f81b5379b2898fb9974afc7f6223dfcfd132c32ccb2f9f9f737f215a84cff0999b450ce05b55ba4021c874617cefafd14902c4984589a06887231f17c4c219c541a7daf25e27252d2670f85c8b2a1caaf0421a2b995f28d95def622ceab792c9642cc9ad588d43cd725181e445a13852f0ea253ef9564e9a946b0b1aaa170151041a00f2b";
    /// Both primes are k * M + (65537^a mod M).
    const ROCA: &str = "bf2743895899489ec2d5de1cd9a5b4f22da0e9195c8c6a0dc23653ddf7720d92dbed5e76c3c4dd5aea68945b0a70c067ff14654af6424c3843ce2629138d54916d6b35cf9e5305cb205e876fd9edc81d1864d23d8fdfba4a43ac26ed6c01cb754668450f4cebe385b3b9327a9e0fe99fbfd641879d389697d8d28ae948f1e9fb72d1d3ac2f8f80ac50c4ccf4e4db2772a501d175e143180e7d4f7c5c210446a1b94a7c3cd6f72d2f6f824a9d7b9ae4411bbc8fef5e1e401b99481bbc9c3086e84e184a28774a12ee85c73d3a264e1c915ad2dde82891568f4c7b8b69acf31c10a63ad84aca05fb8f71b95aa9ae2d615a10e34a5fd312fba45a0994b559c2046b";

    fn check(modulus: &str, exponent: &[u8]) -> Result<(), String> {
        let key = PublicKey::from_rsa_components(&hex::decode(modulus).unwrap(), exponent).unwrap();
        key.check_strength().map_err(|error| error.to_string())
    }

    #[test]
    fn weak_rsa_keys_are_known_by_their_weakness() {
        assert_eq!(check(GOOD, &[1, 0, 1]), Ok(()));
        // Divisible by 3, as 2^2047 + 1 is, and by many others.
        let thrice = format!("80{}01", "00".repeat(254));
        for (modulus, exponent, why) in [
            (GOOD, [3].as_slice(), "65537"),
            (GOOD, &[1, 0, 3], "65537"),
            (&thrice, &[1, 0, 1], "small prime"),
            (NEAR, &[1, 0, 1], "near each other"),
            (ROCA, &[1, 0, 1], "ROCA"),
        ] {
            let error = check(modulus, exponent).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn curves_have_no_more_rules() {
        let key = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        let key = PublicKey::from_raw(KeyType::Ed25519, &hex::decode(key).unwrap()).unwrap();
        assert_eq!(key.check_strength(), Ok(()));
    }

    #[test]
    fn remainders_are_those_of_arithmetic() {
        assert_eq!(remainder(&[1, 0, 1], 7), 65537 % 7);
        assert_eq!(remainder(&[0xff; 4], 751), u32::MAX % 751);
        assert!(is_power(65537 % 167, 167) && is_power(1, 167));
        assert_eq!((2..SMALL).filter(|number| is_prime(*number)).count(), 133);
    }
}
