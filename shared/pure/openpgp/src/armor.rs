//! ASCII armor (RFC 9580 6).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::PgpError;

/// What a public key stands in.
pub const PUBLIC_KEY: &str = "PGP PUBLIC KEY BLOCK";
/// What a private key stands in.
pub const PRIVATE_KEY: &str = "PGP PRIVATE KEY BLOCK";
/// What a detached signature stands in.
pub const SIGNATURE: &str = "PGP SIGNATURE";

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
const MALFORMED: PgpError = PgpError::Malformed("armor");
/// The longest line of base64; the RFC has 76.
const MAX_LINE: usize = 96;
/// Characters in a line that is written.
const LINE: usize = 64;
/// The generator of the checksum (RFC 9580 6.1.1).
const CRC24: u32 = 0x0186_4cfb;

/// A block of armor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Between `BEGIN` and the dashes.
    pub label: String,
    /// What was armored. The checksum is not looked at, as the RFC has it since 2024.
    pub data: Vec<u8>,
}

/// The first block in a text; lines before and behind it are passed over. `None` when there is no line that begins one.
pub fn decode(text: &[u8]) -> Result<Option<Block>, PgpError> {
    let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let label = lines.by_ref().find_map(label_of);
    let Some(label) = label else { return Ok(None) };
    let label = String::from_utf8(label.to_vec()).map_err(|_| MALFORMED)?;
    // Headers, which say nothing that counts, and an empty line behind them.
    loop {
        let line = lines.next().ok_or(MALFORMED)?;
        if line.is_empty() {
            break;
        }
        if !line.contains(&b':') {
            return Err(MALFORMED);
        }
    }
    let mut encoded = Vec::new();
    loop {
        let line = lines.next().ok_or(MALFORMED)?;
        if line.starts_with(END) {
            break;
        }
        if line.starts_with(b"=") && line.len() == 5 {
            if !lines.next().is_some_and(|line| line.starts_with(END)) {
                return Err(MALFORMED);
            }
            break;
        }
        if line.len() > MAX_LINE {
            return Err(MALFORMED);
        }
        encoded.extend_from_slice(line);
    }
    let data = STANDARD.decode(encoded).map_err(|_| MALFORMED)?;
    Ok(Some(Block { label, data }))
}

fn label_of(line: &[u8]) -> Option<&[u8]> {
    let label = line.strip_prefix(BEGIN)?.strip_suffix(DASHES)?;
    (!label.is_empty()).then_some(label)
}

/// One block, with checksum, and no line feed at its end.
pub fn encode(label: &str, data: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n\n");
    let encoded = STANDARD.encode(data);
    for (at, character) in encoded.chars().enumerate() {
        if at > 0 && at.is_multiple_of(LINE) {
            text.push('\n');
        }
        text.push(character);
    }
    let [_, checksum @ ..] = crc24(data).to_be_bytes();
    text.push_str("\n=");
    STANDARD.encode_string(checksum, &mut text);
    text.push_str("\n-----END ");
    text.push_str(label);
    text.push_str("-----");
    text
}

fn crc24(data: &[u8]) -> u32 {
    data.iter().fold(0x00b7_04ce, |crc, byte| {
        let crc = crc ^ (u32::from(*byte) << 16);
        (0..8).fold(crc, |crc, _| {
            let shifted = crc << 1;
            if shifted & 0x0100_0000 == 0 {
                shifted
            } else {
                shifted ^ CRC24
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for length in [0, 1, 47, 48, 49, 96, 1000] {
            let data: Vec<u8> = (0..length)
                .map(|number: u32| number.to_le_bytes()[0])
                .collect();
            let text = encode(SIGNATURE, &data);
            let block = decode(format!("Dear all,\n{text}\nbye\n").as_bytes()).unwrap();
            assert_eq!(block.unwrap().data, data, "{length}");
        }
    }

    /// `gpg --store` of the text "123456789" has this checksum; it is the check value of CRC-24/OPENPGP in the catalogue of CRCs.
    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        assert_eq!(crc24(b"123456789"), 0x0021_cf02);
    }

    #[test]
    fn half_a_block_is_refused() {
        assert_eq!(decode(b"nothing\nhere"), Ok(None));
        let text = encode(SIGNATURE, b"some bytes");
        for broken in [
            text.replace("\n\n", "\n"),
            text.replace("-----END", "-----AND"),
            text.replace("c29t", "c2!t"),
            text.replace("\n=", &format!("\n{}\n=", "A".repeat(100))),
        ] {
            assert_eq!(decode(broken.as_bytes()), Err(MALFORMED), "{broken}");
        }
    }
}
