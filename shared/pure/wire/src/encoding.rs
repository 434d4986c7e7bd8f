//! Scalars of proto3 JSON.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD_ENGINE: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const URL_SAFE_ENGINE: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// `bytes`: base64 in JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    /// Decodes base64 of either alphabet, padded or not.
    pub fn decode(text: &str) -> Result<Self, base64::DecodeError> {
        let engine = if text.contains(['-', '_']) {
            &URL_SAFE_ENGINE
        } else {
            &STANDARD_ENGINE
        };
        engine.decode(text).map(Self)
    }

    /// The standard alphabet with padding.
    pub fn encode(bytes: &[u8]) -> String {
        STANDARD_ENGINE.encode(bytes)
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Self::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Bytes;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("base64 text")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
                Bytes::decode(text).map_err(|error| E::custom(format!("not base64: {error}")))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// `int64`: a string in JSON, read as a number too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Int64(pub i64);

impl Serialize for Int64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Int64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Int64;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a 64-bit integer, as a number or as text")
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Int64, E> {
                Ok(Int64(number))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Int64, E> {
                i64::try_from(number)
                    .map(Int64)
                    .map_err(|_| E::custom("beyond 64 bits"))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Int64, E> {
                text.parse()
                    .map(Int64)
                    .map_err(|_| E::custom(format!("{text:?} is no 64-bit integer")))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// A value of an enumeration, by name or by number; what it means is the reader's business.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EnumValue {
    /// Its number in the protobuf file.
    Number(i32),
    /// Its name.
    Name(String),
}

impl Default for EnumValue {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl EnumValue {
    /// By name.
    pub fn name(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl fmt::Display for EnumValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(formatter, "{number}"),
            Self::Name(name) => formatter.write_str(name),
        }
    }
}

/// `null` is the same as absent.
pub(crate) fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_in_every_spelling_and_garbage_is_not() {
        for text in ["+/8=", "+/8", "-_8=", "-_8"] {
            assert_eq!(
                serde_json::from_str::<Bytes>(&format!("\"{text}\""))
                    .unwrap()
                    .0,
                [0xfb, 0xff],
                "{text}"
            );
        }
        for text in ["+_8=", "a", "a b=", "ab==\\n", "====", "ü"] {
            assert!(
                serde_json::from_str::<Bytes>(&format!("\"{text}\"")).is_err(),
                "{text}"
            );
        }
        assert_eq!(
            serde_json::to_string(&Bytes(vec![0xfb, 0xff])).unwrap(),
            "\"+/8=\""
        );
    }

    #[test]
    fn integers_are_text_or_numbers() {
        for text in ["7", "\"7\""] {
            assert_eq!(serde_json::from_str::<Int64>(text).unwrap(), Int64(7));
        }
        for text in ["\"7.5\"", "7.5", "\"\"", "18446744073709551615", "true"] {
            assert!(serde_json::from_str::<Int64>(text).is_err(), "{text}");
        }
        assert_eq!(serde_json::to_string(&Int64(-1)).unwrap(), "\"-1\"");
    }
}
