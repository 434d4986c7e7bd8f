//! Bytes that should be UTF-8 and go into a JSON body.

/// Text as upstream's JSON encoder writes it: each byte that is part of no UTF-8 character becomes one U+FFFD. (Rust's own lossy conversion
/// writes one for several bytes of a cut character.)
pub(crate) fn replacing(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_that_fits_nowhere_is_replaced_by_itself() {
        assert_eq!(replacing("Jürgen".as_bytes()), "Jürgen");
        // Two bytes of a character of three; encoding/json in Go writes two replacements.
        assert_eq!(replacing(b"a\xe2\x82b\xff"), "a\u{fffd}\u{fffd}b\u{fffd}");
    }
}
