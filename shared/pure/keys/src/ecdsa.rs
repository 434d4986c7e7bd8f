//! `Ecdsa-Sig-Value` from the other forms in which protocols carry an ECDSA signature.

use der::asn1::UintRef;
use der::{Encode as _, Sequence};

/// RFC 3279 2.2.3.
#[derive(Sequence)]
struct EcdsaSigValue<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// DER of the two numbers of a signature, each big-endian; zeros before them are left out. `None` when one is empty.
pub fn to_der(r: &[u8], s: &[u8]) -> Option<Vec<u8>> {
    if r.is_empty() || s.is_empty() {
        return None;
    }
    let signature = EcdsaSigValue {
        r: UintRef::new(r).ok()?,
        s: UintRef::new(s).ok()?,
    };
    signature.to_der().ok()
}

/// DER of `r || s`, both of one length (RFC 7518 3.4, RFC 9053 2.1, PKCS#11 2.3.1). `None` when it has no two equal halves.
pub fn fixed_to_der(fixed: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = fixed.split_at_checked(fixed.len() / 2)?;
    (r.len() == s.len()).then(|| to_der(r, s))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_der() {
        assert_eq!(
            fixed_to_der(&[0, 1, 0, 0x80]).unwrap(),
            [0x30, 7, 2, 1, 1, 2, 2, 0, 0x80]
        );
        assert_eq!(to_der(&[0, 0], &[5]).unwrap(), [0x30, 6, 2, 1, 0, 2, 1, 5]);
        assert_eq!(fixed_to_der(&[]), None);
        assert_eq!(fixed_to_der(&[1, 2, 3]), None);
        assert_eq!(to_der(&[], &[1]), None);
        // Beyond 127 bytes, as of P-521, the length has a byte of its own.
        assert_eq!(
            fixed_to_der(&[0x7f; 132]).unwrap().get(..3),
            Some([0x30, 0x81, 136].as_slice())
        );
    }
}
