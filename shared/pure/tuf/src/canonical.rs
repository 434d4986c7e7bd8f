//! OLPC canonical JSON, the form that is signed: no space, keys sorted by their bytes, only `"` and `\` escaped, integers only.
//!
//! It is not RFC 8785: control characters stand as they are, so the result is not always JSON.

use serde_json::Value;
use thiserror::Error;

/// The largest integer that every client reads exactly: JavaScript has 53 bits.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// Deepest nesting. serde_json stops at 128 when it parses; a value made by code has no such end.
const DEPTH_MAX: usize = 128;

/// The value has no canonical form that all clients agree on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CanonicalError {
    /// A fraction or an exponent.
    #[error("{0} is not an integer; canonical JSON has no other numbers")]
    NotAnInteger(String),
    /// An integer that JavaScript cannot hold.
    #[error("{0} is beyond 2^53-1, which some clients read as another number")]
    TooLarge(String),
    /// Lists in lists in lists ...
    #[error("more than {DEPTH_MAX} levels")]
    TooDeep,
}

/// The canonical bytes of `value`, which we write: every client has to read the same numbers.
pub fn encode(value: &Value) -> Result<Vec<u8>, CanonicalError> {
    let mut out = Vec::new();
    write(value, &mut out, 0, INTEGER_MAX)?;
    Ok(out)
}

/// The canonical bytes of a value of others: with any integer that we read exactly, also one that JavaScript does not.
pub(crate) fn encode_received(value: &Value) -> Result<Vec<u8>, CanonicalError> {
    let mut out = Vec::new();
    write(value, &mut out, 0, u64::MAX)?;
    Ok(out)
}

fn write(
    value: &Value,
    out: &mut Vec<u8>,
    depth: usize,
    integer_max: u64,
) -> Result<(), CanonicalError> {
    if depth > DEPTH_MAX {
        return Err(CanonicalError::TooDeep);
    }
    match value {
        Value::Null => out.extend(b"null"),
        Value::Bool(true) => out.extend(b"true"),
        Value::Bool(false) => out.extend(b"false"),
        Value::Number(number) => {
            let size = match (number.as_u64(), number.as_i64()) {
                (Some(size), _) => size,
                (None, Some(negative)) => negative.unsigned_abs(),
                (None, None) => return Err(CanonicalError::NotAnInteger(number.to_string())),
            };
            if size > integer_max {
                return Err(CanonicalError::TooLarge(number.to_string()));
            }
            out.extend(number.to_string().as_bytes());
        }
        Value::String(text) => string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write(item, out, depth + 1, integer_max)?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            // Sorted here, since the map keeps the order of insertion if any crate in the build asks serde_json to.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| name.as_bytes());
            out.push(b'{');
            for (position, (name, member)) in members.into_iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                string(name, out);
                out.push(b':');
                write(member, out, depth + 1, integer_max)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' || byte == b'\\' {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn known_forms() {
        for (value, expected) in [
            (
                json!({"b": 1, "a": [true, null, "x"]}),
                r#"{"a":[true,null,"x"],"b":1}"#,
            ),
            (
                json!({"B": 1, "a": 2, "ä": 3, "Z": 4}),
                r#"{"B":1,"Z":4,"a":2,"ä":3}"#,
            ),
            (
                json!("quote \" back \\ slash /"),
                r#""quote \" back \\ slash /""#,
            ),
            (
                json!("line\nfeed \u{1} \u{2028} 🔑"),
                "\"line\nfeed \u{1} \u{2028} 🔑\"",
            ),
            (json!(-5), "-5"),
            (json!({}), "{}"),
        ] {
            assert_eq!(
                String::from_utf8(encode(&value).unwrap()).unwrap(),
                expected
            );
        }
    }

    #[test]
    fn numbers_that_clients_read_differently_are_refused() {
        assert_eq!(
            encode(&json!(1.5)),
            Err(CanonicalError::NotAnInteger("1.5".to_owned()))
        );
        assert_eq!(encode(&json!(INTEGER_MAX)).unwrap(), b"9007199254740991");
        assert!(matches!(
            encode(&json!(INTEGER_MAX + 1)),
            Err(CanonicalError::TooLarge(_))
        ));
        assert_eq!(
            encode_received(&json!([u64::MAX, i64::MIN])).unwrap(),
            b"[18446744073709551615,-9223372036854775808]"
        );
        assert!(encode_received(&json!(1e30)).is_err());
        assert!(matches!(
            encode(&json!(i64::MIN)),
            Err(CanonicalError::TooLarge(_))
        ));
    }

    #[test]
    fn depth_has_an_end() {
        let mut value = json!(1);
        for _level in 0..200 {
            value = json!([value]);
        }
        assert_eq!(encode(&value), Err(CanonicalError::TooDeep));
    }
}
