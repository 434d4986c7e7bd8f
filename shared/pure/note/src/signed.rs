//! The note itself: text, and signature lines that nobody has checked yet.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::key::{KeyHint, is_key_name};

/// Longest accepted note: room for [`MAX_SIGNATURES`] cosignatures of ML-DSA-44 (3.3 kB each) but a few.
pub const MAX_NOTE_BYTES: usize = 1 << 20;
/// Most accepted signature lines: a policy has at most 256 witnesses, and all of them may cosign. C2SP signed-note asks verifiers to take at
/// least 16.
pub const MAX_SIGNATURES: usize = 300;

/// U+2014 and a space begin each signature line.
const LINE_START: &str = "\u{2014} ";

/// A parsed note. Its signatures are claims until somebody verified them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<SignatureLine>,
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureLine {
    name: String,
    hint: KeyHint,
    signature: Vec<u8>,
}

/// Why bytes are not a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Longer than [`MAX_NOTE_BYTES`].
    #[error("the note has {0} bytes, more than {MAX_NOTE_BYTES}")]
    TooLong(usize),
    /// Not UTF-8, or with control characters other than newline.
    #[error("the note is not plain UTF-8 text")]
    NotText,
    /// No empty line between text and signatures, or no newline at the end.
    #[error("the note has no signature part after an empty line")]
    NoSignaturePart,
    /// Nothing stands where the signatures should be.
    #[error("the note has no signature")]
    NoSignature,
    /// More than [`MAX_SIGNATURES`].
    #[error("the note has more than {MAX_SIGNATURES} signatures")]
    TooManySignatures,
    /// A line of the signature part is no signature line; counted from 1.
    #[error("signature line {0} is malformed")]
    MalformedSignature(usize),
}

impl Note {
    /// Reads a note, bounded in size and in number of signatures.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLong(bytes.len()));
        }
        let whole = std::str::from_utf8(bytes).map_err(|_| NoteError::NotText)?;
        if whole.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
            return Err(NoteError::NotText);
        }
        // The last empty line separates: signature lines are never empty, the text may have empty lines.
        let end_of_text = whole.rfind("\n\n").ok_or(NoteError::NoSignaturePart)?;
        let (text, rest) = whole
            .split_at_checked(end_of_text.saturating_add(1))
            .ok_or(NoteError::NoSignaturePart)?;
        let block = rest.strip_prefix('\n').ok_or(NoteError::NoSignaturePart)?;
        Ok(Self {
            text: text.to_owned(),
            signatures: lines(block)?,
        })
    }

    /// The signed text, with its final newline.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines in their order.
    pub fn signatures(&self) -> &[SignatureLine] {
        &self.signatures
    }

    /// The bytes of the note.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut note = self.text.clone();
        note.push('\n');
        for line in &self.signatures {
            line.write(&mut note);
        }
        note.into_bytes()
    }

    /// The same note with further signature lines behind those it has, each once; the note stays readable for [`Note::parse`], so lines
    /// beyond [`MAX_SIGNATURES`] or [`MAX_NOTE_BYTES`] are left out.
    #[must_use]
    pub fn with_signatures<'a>(
        &self,
        further: impl IntoIterator<Item = &'a SignatureLine>,
    ) -> Self {
        let mut note = self.clone();
        let mut bytes = note.to_bytes().len();
        for line in further {
            if note.signatures.contains(line) || note.signatures.len() >= MAX_SIGNATURES {
                continue;
            }
            let longer = bytes.saturating_add(line.to_text().len());
            if longer <= MAX_NOTE_BYTES {
                bytes = longer;
                note.signatures.push(line.clone());
            }
        }
        note
    }

    /// The same note with only some of its signature lines.
    #[must_use]
    pub fn keeping(&self, keep: impl Fn(&SignatureLine) -> bool) -> Self {
        let signatures = self.signatures.iter().filter(|line| keep(line));
        Self {
            text: self.text.clone(),
            signatures: signatures.cloned().collect(),
        }
    }

    pub(crate) const fn assemble(text: String, signatures: Vec<SignatureLine>) -> Self {
        Self { text, signatures }
    }
}

/// Reads signature lines that stand alone, as a witness answers with them (C2SP tlog-witness). Their signatures are claims.
pub fn signature_lines(bytes: &[u8]) -> Result<Vec<SignatureLine>, NoteError> {
    if bytes.len() > MAX_NOTE_BYTES {
        return Err(NoteError::TooLong(bytes.len()));
    }
    lines(std::str::from_utf8(bytes).map_err(|_| NoteError::NotText)?)
}

fn lines(block: &str) -> Result<Vec<SignatureLine>, NoteError> {
    if block.is_empty() {
        return Err(NoteError::NoSignature);
    }
    let block = block.strip_suffix('\n').ok_or(NoteError::NoSignaturePart)?;
    let mut signatures = Vec::new();
    for (place, line) in block.split('\n').enumerate() {
        if signatures.len() >= MAX_SIGNATURES {
            return Err(NoteError::TooManySignatures);
        }
        let line = SignatureLine::parse(line)
            .ok_or(NoteError::MalformedSignature(place.saturating_add(1)))?;
        signatures.push(line);
    }
    Ok(signatures)
}

impl SignatureLine {
    pub(crate) const fn new(name: String, hint: KeyHint, signature: Vec<u8>) -> Self {
        Self {
            name,
            hint,
            signature,
        }
    }

    /// Key name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// First four bytes of the key id.
    pub const fn hint(&self) -> KeyHint {
        self.hint
    }

    /// The bytes after the hint; their meaning depends on the key.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(LINE_START)?.split_once(' ')?;
        if !is_key_name(name) {
            return None;
        }
        let bytes = STANDARD.decode(encoded).ok()?;
        let (hint, signature) = bytes.split_first_chunk::<4>()?;
        if signature.is_empty() {
            return None;
        }
        Some(Self {
            name: name.to_owned(),
            hint: KeyHint::new(*hint),
            signature: signature.to_vec(),
        })
    }

    /// The line with its newline.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    fn write(&self, note: &mut String) {
        let mut bytes = self.hint.as_bytes().to_vec();
        bytes.extend_from_slice(&self.signature);
        note.push_str(LINE_START);
        note.push_str(&self.name);
        note.push(' ');
        STANDARD.encode_string(bytes, note);
        note.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "text\n\n\u{2014} log.example AAAAAQI=\n";

    #[test]
    fn reads_text_and_signatures() {
        let note = Note::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(note.text(), "text\n");
        let [line] = note.signatures() else {
            panic!("one line")
        };
        assert_eq!(
            (line.name(), line.hint(), line.signature()),
            ("log.example", KeyHint::new([0, 0, 0, 1]), &[2_u8][..])
        );
        assert_eq!(note.to_bytes(), GOOD.as_bytes());
        let inner = "a\n\nb\n\n\u{2014} log.example AAAAAQI=\n";
        assert_eq!(Note::parse(inner.as_bytes()).unwrap().text(), "a\n\nb\n");
    }

    /// All witnesses of the largest policy, each with the largest cosignature.
    #[test]
    fn holds_the_cosignatures_of_a_whole_policy() {
        let cosignature = STANDARD.encode(vec![7; 4 + 8 + 2420]);
        let name = "name".repeat(40);
        let line = |n| format!("\u{2014} {name}.{n}.example.org/w {cosignature}\n");
        let lines: Vec<_> = (0..256).map(line).collect();
        let note = Note::parse(GOOD.as_bytes()).unwrap();
        let further = Note::parse(format!("text\n\n{}", lines.concat()).as_bytes()).unwrap();
        let cosigned = note.with_signatures(further.signatures());
        assert_eq!(cosigned.signatures().len(), 257);
        assert_eq!(Note::parse(&cosigned.to_bytes()), Ok(cosigned));
    }

    #[test]
    fn refuses_what_is_no_note() {
        let signature = "\u{2014} log.example AAAAAQI=\n";
        let many = format!("text\n\n{}", signature.repeat(MAX_SIGNATURES + 1));
        for (bytes, expected) in [
            (&b""[..], NoteError::NoSignaturePart),
            (b"text\n", NoteError::NoSignaturePart),
            (b"text\n\n", NoteError::NoSignature),
            (b"text\n\n\n", NoteError::NoSignature),
            (
                "text\n\n\u{2014} log.example AAAAAQI=".as_bytes(),
                NoteError::NoSignaturePart,
            ),
            (
                "te\rxt\n\n\u{2014} log.example AAAAAQI=\n".as_bytes(),
                NoteError::NotText,
            ),
            (b"text\xff\n\n", NoteError::NotText),
            (
                b"text\n\n- log.example AAAAAQI=\n",
                NoteError::MalformedSignature(1),
            ),
            (
                "text\n\n\u{2014} log.example AAAAAQI\n".as_bytes(),
                NoteError::MalformedSignature(1),
            ),
            (
                "text\n\n\u{2014} log.example AAAAAQ==\n".as_bytes(),
                NoteError::MalformedSignature(1),
            ),
            (
                "text\n\n\u{2014} log.example  AAAAAQI=\n".as_bytes(),
                NoteError::MalformedSignature(1),
            ),
            (
                "text\n\n\u{2014}  AAAAAQI=\n".as_bytes(),
                NoteError::MalformedSignature(1),
            ),
            (
                "text\n\n\u{2014} log+example AAAAAQI=\n".as_bytes(),
                NoteError::MalformedSignature(1),
            ),
            (
                "text\n\n\u{2014} log.example AAAAAQI=\nmore\n".as_bytes(),
                NoteError::MalformedSignature(2),
            ),
            (many.as_bytes(), NoteError::TooManySignatures),
            (
                &vec![b'a'; MAX_NOTE_BYTES + 1],
                NoteError::TooLong(MAX_NOTE_BYTES + 1),
            ),
        ] {
            assert_eq!(
                Note::parse(bytes),
                Err(expected),
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }

    proptest! {
        #[test]
        fn what_it_reads_it_writes(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0..GOOD.len()) {
            let mut mixed = GOOD.as_bytes()[..cut].to_vec();
            mixed.extend(bytes);
            mixed.extend(&GOOD.as_bytes()[cut..]);
            if let Ok(note) = Note::parse(&mixed) {
                prop_assert_eq!(note.to_bytes(), mixed);
            }
        }
    }
}
