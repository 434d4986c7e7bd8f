//! Names of v1 entries: 16 hexadecimal digits of the tree and 64 of the leaf hash, or the leaf hash alone.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use tlog::Hash;

/// Names an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryId {
    /// The tree; without it, in any tree.
    pub tree: Option<u64>,
    /// The Merkle leaf hash: the UUID.
    pub leaf: Hash,
}

/// The text is no entry id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected 64 or 80 hexadecimal digits")]
pub struct NotAnId;

impl FromStr for EntryId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let (tree, leaf) = match text.len() {
            64 => (None, text),
            80 => {
                let (tree, leaf) = text.split_at_checked(16).ok_or(NotAnId)?;
                let mut bytes = [0; 8];
                hex::decode_to_slice(tree, &mut bytes).map_err(|_| NotAnId)?;
                (Some(u64::from_be_bytes(bytes)), leaf)
            }
            _ => return Err(NotAnId),
        };
        let mut bytes = [0; Hash::LEN];
        hex::decode_to_slice(leaf, &mut bytes).map_err(|_| NotAnId)?;
        Ok(Self {
            tree,
            leaf: Hash::new(bytes),
        })
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tree) = self.tree {
            write!(out, "{tree:016x}")?;
        }
        out.write_str(&hex::encode(self.leaf.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_and_written() {
        let leaf = "ab".repeat(32);
        let long = format!("00000000000004d2{leaf}");
        let id: EntryId = long.parse().unwrap();
        assert_eq!((id.tree, id.leaf), (Some(1234), Hash::new([0xab; 32])));
        assert_eq!(id.to_string(), long);
        let short: EntryId = leaf.to_uppercase().parse().unwrap();
        assert_eq!(short.tree, None);
        assert_eq!(short.to_string(), leaf);
        for wrong in [
            "",
            "ab",
            &leaf[1..],
            &format!("{leaf}0"),
            &"zz".repeat(32),
            &"é".repeat(32),
            &"é".repeat(40),
        ] {
            assert_eq!(wrong.parse::<EntryId>(), Err(NotAnId), "{wrong}");
        }
    }
}
