//! PEM (RFC 7468), bounded.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

/// The largest text that is read: a chain of ten certificates of 4 KiB with much room.
pub const MAX_TEXT: usize = 256 * 1024;
/// The most blocks that one text may hold; a trust bundle has a handful.
pub const MAX_BLOCKS: usize = 64;

/// Text that is no PEM, or not the PEM that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PemError {
    /// More than [`MAX_TEXT`] bytes or [`MAX_BLOCKS`] blocks.
    #[error("PEM text of {0} bytes is over the limit of {MAX_TEXT} bytes or {MAX_BLOCKS} blocks")]
    TooLarge(usize),
    /// No BEGIN line at all.
    #[error("no PEM block found: expected a line -----BEGIN ...-----")]
    NoBlock,
    /// A BEGIN line without its END line.
    #[error("PEM block {0:?} does not end")]
    Unterminated(String),
    /// The lines between are not base64.
    #[error("PEM block {0:?} is not base64")]
    Base64(String),
    /// Another kind of block than the caller reads.
    #[error("found a PEM block {found:?}, expected {expected}")]
    Label {
        /// The label on the BEGIN line.
        found: String,
        /// What would have been read.
        expected: String,
    },
}

/// One block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The label of the BEGIN line, such as `CERTIFICATE`.
    pub label: String,
    /// The decoded contents.
    pub der: Vec<u8>,
}

/// All blocks of a text, in order; text around them is passed over, as RFC 7468 allows.
pub fn decode_all(text: &str) -> Result<Vec<Block>, PemError> {
    if text.len() > MAX_TEXT {
        return Err(PemError::TooLarge(text.len()));
    }
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(label) = between(line, "-----BEGIN ", "-----") else {
            continue;
        };
        if blocks.len() == MAX_BLOCKS {
            return Err(PemError::TooLarge(text.len()));
        }
        let mut encoded = String::new();
        loop {
            let line = lines
                .next()
                .ok_or_else(|| PemError::Unterminated(label.to_owned()))?
                .trim();
            if between(line, "-----END ", "-----") == Some(label) {
                break;
            }
            encoded.push_str(line);
        }
        let der = STANDARD
            .decode(&encoded)
            .map_err(|_| PemError::Base64(label.to_owned()))?;
        blocks.push(Block {
            label: label.to_owned(),
            der,
        });
    }
    if blocks.is_empty() {
        Err(PemError::NoBlock)
    } else {
        Ok(blocks)
    }
}

/// The first block of a text, which must carry one of these labels.
pub fn decode(text: &str, labels: &[&str]) -> Result<Block, PemError> {
    let block = decode_all(text)?
        .into_iter()
        .next()
        .ok_or(PemError::NoBlock)?;
    if labels.contains(&block.label.as_str()) {
        Ok(block)
    } else {
        Err(PemError::Label {
            found: block.label,
            expected: labels.join(" or "),
        })
    }
}

/// Writes one block: lines of 64 characters and a newline at the end.
pub fn encode(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----");
    let encoded = STANDARD.encode(der);
    let mut rest = encoded.as_str();
    loop {
        let (line, later) = rest.split_at_checked(64).unwrap_or((rest, ""));
        text.push('\n');
        text.push_str(line);
        if later.is_empty() {
            break;
        }
        rest = later;
    }
    text + "\n-----END " + label + "-----\n"
}

fn between<'a>(line: &'a str, start: &str, end: &str) -> Option<&'a str> {
    line.trim().strip_prefix(start)?.strip_suffix(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for length in [0_u8, 1, 47, 48, 49, 200] {
            let der: Vec<u8> = (0..length).collect();
            let text = format!("words before\n{}words after", encode("THING", &der));
            assert_eq!(decode(&text, &["THING"]).unwrap().der, der, "{length}");
        }
    }

    #[test]
    fn broken_text_is_refused_with_its_reason() {
        assert_eq!(decode_all("nothing"), Err(PemError::NoBlock));
        assert_eq!(
            decode_all("-----BEGIN A-----\nAAAA\n"),
            Err(PemError::Unterminated("A".into()))
        );
        assert_eq!(
            decode_all("-----BEGIN A-----\n!\n-----END A-----"),
            Err(PemError::Base64("A".into()))
        );
        assert!(matches!(
            decode(&encode("A", b"x"), &["B"]),
            Err(PemError::Label { .. })
        ));
        assert!(matches!(
            decode_all(&"x".repeat(MAX_TEXT + 1)),
            Err(PemError::TooLarge(_))
        ));
        assert!(matches!(
            decode_all(&encode("A", b"x").repeat(MAX_BLOCKS + 1)),
            Err(PemError::TooLarge(_))
        ));
    }
}
