//! Lists of a request that may have some items and no more.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};

/// The first `MAX` items of a list, and how many it has: the others are passed over and take no memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Few<T, const MAX: usize> {
    pub(super) items: Vec<T>,
    pub(super) count: usize,
}

impl<T, const MAX: usize> Default for Few<T, MAX> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            count: 0,
        }
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Few<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Items(PhantomData))
    }
}

struct Items<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Items<T, MAX> {
    type Value = Few<T, MAX>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut few = Few::default();
        while few.items.len() < MAX {
            let Some(item) = list.next_element()? else {
                few.count = few.items.len();
                return Ok(few);
            };
            few.items.push(item);
        }
        few.count = MAX;
        while list.next_element::<IgnoredAny>()?.is_some() {
            few.count = few.count.saturating_add(1);
        }
        Ok(few)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn what_is_too_many_is_counted_and_not_kept() {
        for (text, items, count) in [
            ("[]", vec![], 0),
            ("[1]", vec![1], 1),
            ("[1,2]", vec![1, 2], 2),
            (r#"[1,2,3,"x",{}]"#, vec![1, 2], 5),
        ] {
            let few: Few<i64, 2> = wire::parse(text.as_bytes()).unwrap();
            assert_eq!(few, Few { items, count }, "{text}");
        }
        let few = wire::parse::<Few<Box<RawValue>, 2>>(br#"[{"a" : [0, 0]}, 7, 8]"#).unwrap();
        let texts: Vec<_> = few.items.iter().map(|item| item.get()).collect();
        assert_eq!(texts, [r#"{"a" : [0, 0]}"#, "7"]);
        assert_eq!(few.count, 3);
        for wrong in ["{}", "7", "[1,", "[1,2,3,]", r#"["x"]"#] {
            let parsed = wire::parse::<Few<i64, 2>>(wrong.as_bytes());
            assert!(parsed.is_err(), "{wrong}");
        }
    }
}
