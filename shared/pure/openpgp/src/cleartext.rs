//! The cleartext signature framework (RFC 9580 7): a text that people can read, and a detached signature below it.

use crate::PgpError;
use crate::signature::Signature;

const BEGIN: &[u8] = b"-----BEGIN PGP SIGNED MESSAGE-----";
const BEGIN_SIGNATURE: &[u8] = b"-----BEGIN PGP SIGNATURE-----";
const END_SIGNATURE: &[u8] = b"-----END PGP SIGNATURE-----";
const MALFORMED: PgpError = PgpError::Malformed("cleartext signature");
/// The longest message; the one of a chart has the metadata of the chart in it.
const MAX_BYTES: usize = 1 << 20;
/// What a `Hash:` line may name. It is a hint and says nothing that counts.
const HASHES: [&str; 9] = [
    "MD5",
    "SHA1",
    "RIPEMD160",
    "SHA224",
    "SHA256",
    "SHA384",
    "SHA512",
    "SHA3-256",
    "SHA3-512",
];

/// A message, not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleartext {
    /// What it says: lines without spaces at their ends and without the dashes that escape others, line feeds between them.
    pub text: Vec<u8>,
    /// The same with CR LF, which is what is signed.
    pub signed: Vec<u8>,
    /// What stands below.
    pub signature: Signature,
}

impl Cleartext {
    /// Reads the first message in a text. What stands around it is passed over, and not signed.
    pub fn parse(bytes: &[u8]) -> Result<Self, PgpError> {
        if bytes.len() > MAX_BYTES {
            return Err(PgpError::TooLarge {
                what: "bytes of a cleartext signature",
                limit: MAX_BYTES,
            });
        }
        let mut lines = Lines(bytes);
        if !lines.by_ref().any(|line| line == BEGIN) {
            return Err(MALFORMED);
        }
        loop {
            let line = lines.next().ok_or(MALFORMED)?;
            if line.trim_ascii().is_empty() {
                break;
            }
            check_header(line)?;
        }
        let mut text: Vec<&[u8]> = Vec::new();
        let signature = loop {
            let from_here = lines.0;
            let line = lines.next().ok_or(MALFORMED)?;
            if line == BEGIN_SIGNATURE {
                break from_here;
            }
            let line = line.strip_prefix(b"- ").unwrap_or(line);
            let spaces = line
                .iter()
                .rev()
                .take_while(|byte| matches!(byte, b' ' | b'\t'));
            let length = line.len().saturating_sub(spaces.count());
            text.push(line.get(..length).unwrap_or_default());
        };
        if !lines.any(|line| line.starts_with(END_SIGNATURE)) {
            return Err(MALFORMED);
        }
        let armor = crate::armor::decode(signature)?.ok_or(MALFORMED)?;
        Ok(Self {
            text: text.join(b"\n".as_slice()),
            signed: text.join(b"\r\n".as_slice()),
            signature: Signature::from_packets(&armor.data)?,
        })
    }
}

/// Nothing but names of hashes may stand there, so that nobody takes a header for text that is signed.
fn check_header(line: &[u8]) -> Result<(), PgpError> {
    let line = std::str::from_utf8(line).map_err(|_| MALFORMED)?;
    let (name, value) = line.split_once(':').ok_or(MALFORMED)?;
    let known = |value: &str| HASHES.contains(&value.trim().to_ascii_uppercase().as_str());
    if name.trim() == "Hash" && value.split(',').all(known) {
        Ok(())
    } else {
        Err(MALFORMED)
    }
}

/// Lines that end with LF or CR LF.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.iter().position(|byte| *byte == b'\n');
        let (line, rest) = match end {
            Some(end) => (self.0.get(..end)?, self.0.get(end + 1..)?),
            None => (self.0, [].as_slice()),
        };
        self.0 = rest;
        Some(match (end, line.strip_suffix(b"\r")) {
            (Some(_), Some(line)) => line,
            _ => line,
        })
    }
}
