//! C2SP tlog-tiles: tiles of up to 256 hashes, bundles of up to 256 entries, and their paths.
//!
//! ```text
//! tile/<L>/<N>[.p/<W>]          hashes of level 8*L, from position 256*N on; each 32 bytes, one after the other
//! tile/entries/<N>[.p/<W>]      the entries 256*N and following, in the log's own framing (static-ct: tile/data/...)
//! <N> = 3-digit groups, all but the last with an x before them: 1234067 -> x001/x234/067
//! <W> = 1 to 255: a tile that is not full yet, with this many hashes or entries
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::hash::{self, Hash};
use crate::tree::{LeafIndex, Node, Nodes, TreeSize};

/// Hashes of a full tile, entries of a full bundle.
pub const FULL_WIDTH: u16 = 256;
/// Levels of the tree that one tile spans: 256 = 2^8.
pub const HEIGHT: u8 = 8;
/// C2SP tlog-tiles allows levels 0 to 63; a tree of 2^64 leaves has no tile above level 7.
const MAX_LEVEL: u8 = 63;
/// Longest accepted path below `tile/`: u64::MAX has 20 digits, hence 7 groups of at most 5 bytes.
const MAX_PATH: usize = 64;

/// How many hashes or entries a tile or bundle has: 1 to 256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Width(u16);

impl Width {
    /// 256.
    pub const FULL: Self = Self(FULL_WIDTH);

    /// `None` unless `width` is 1 to 256.
    pub fn new(width: u16) -> Option<Self> {
        (1..=FULL_WIDTH).contains(&width).then_some(Self(width))
    }

    /// As a number.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Whether this is 256.
    pub const fn is_full(self) -> bool {
        self.0 == FULL_WIDTH
    }

    /// Width of block `index` when there are `total` hashes or entries; `None` when the block has not begun.
    fn of_block(index: u64, total: u64) -> Option<Self> {
        let start = index.checked_mul(u64::from(FULL_WIDTH))?;
        let rest = total.checked_sub(start)?.min(u64::from(FULL_WIDTH));
        Self::new(u16::try_from(rest).ok()?)
    }
}

/// Names one tile at one width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    /// Tile level: its hashes stand at tree level 8 * `level`.
    pub level: u8,
    /// Position among the tiles of that level.
    pub index: u64,
    /// Number of hashes.
    pub width: Width,
}

impl TileId {
    /// The tile that holds a subtree, at its width in a tree of `size` leaves; `None` when that tree lacks the subtree.
    pub fn holding(node: Node, size: TreeSize) -> Option<Self> {
        let level = node.level / HEIGHT;
        let row = node.level % HEIGHT;
        let index = node.index >> (HEIGHT - row);
        let width = Self::width_in(level, index, size)?;
        let last = (node.index.checked_add(1)?)
            .checked_shl(u32::from(row))?
            .checked_sub(index.checked_mul(256)?)?;
        (last <= u64::from(width.get())).then_some(Self {
            level,
            index,
            width,
        })
    }

    /// Width that tile `index` of `level` has in a tree of `size` leaves; `None` when it is not there.
    pub fn width_in(level: u8, index: u64, size: TreeSize) -> Option<Width> {
        let complete = size
            .get()
            .checked_shr(u32::from(level).checked_mul(u32::from(HEIGHT))?)
            .unwrap_or(0);
        Width::of_block(index, complete)
    }

    /// Whether a tree of `size` leaves has this tile at this width (or wider).
    pub fn is_in(&self, size: TreeSize) -> bool {
        Self::width_in(self.level, self.index, size).is_some_and(|widest| self.width <= widest)
    }

    /// The same tile with all its hashes.
    #[must_use]
    pub const fn full(self) -> Self {
        Self {
            width: Width::FULL,
            ..self
        }
    }
}

/// `tile/<L>/<N>[.p/<W>]`
impl fmt::Display for TileId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "tile/{}/{}",
            self.level,
            Block {
                index: self.index,
                width: self.width
            }
        )
    }
}

/// Reads `tile/<L>/<N>[.p/<W>]`.
impl FromStr for TileId {
    type Err = PathError;

    fn from_str(path: &str) -> Result<Self, PathError> {
        let rest = path.strip_prefix("tile/").ok_or(PathError)?;
        let (level, block) = rest.split_once('/').ok_or(PathError)?;
        let level = decimal(level)
            .and_then(|level| u8::try_from(level).ok())
            .ok_or(PathError)?;
        if level > MAX_LEVEL {
            return Err(PathError);
        }
        let Block { index, width } = block.parse()?;
        Ok(Self {
            level,
            index,
            width,
        })
    }
}

/// Names one bundle of entries at one width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleId {
    /// The bundle starts with the entry 256 * `index`.
    pub index: u64,
    /// Number of entries.
    pub width: Width,
}

impl BundleId {
    /// The bundle that holds an entry, at its width in a tree of `size` leaves; `None` when the tree lacks the entry.
    pub fn holding(entry: LeafIndex, size: TreeSize) -> Option<Self> {
        if !size.holds(entry) {
            return None;
        }
        let index = entry.get() / u64::from(FULL_WIDTH);
        Some(Self {
            index,
            width: Width::of_block(index, size.get())?,
        })
    }

    /// Whether a tree of `size` leaves has this bundle at this width (or wider).
    pub fn is_in(&self, size: TreeSize) -> bool {
        Width::of_block(self.index, size.get()).is_some_and(|widest| self.width <= widest)
    }

    /// The same bundle with all its entries.
    #[must_use]
    pub const fn full(self) -> Self {
        Self {
            width: Width::FULL,
            ..self
        }
    }

    /// `tile/<name>/<N>[.p/<W>]`, where `name` is `entries` (tlog-tiles) or `data` (static-ct-api).
    pub fn path(&self, name: &str) -> String {
        format!(
            "tile/{name}/{}",
            Block {
                index: self.index,
                width: self.width
            }
        )
    }

    /// Reads what [`BundleId::path`] writes.
    pub fn parse(path: &str, name: &str) -> Result<Self, PathError> {
        let block = path
            .strip_prefix("tile/")
            .and_then(|rest| rest.strip_prefix(name)?.strip_prefix('/'));
        let Block { index, width } = block.ok_or(PathError)?.parse()?;
        Ok(Self { index, width })
    }
}

/// The path names no tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a tile path")]
pub struct PathError;

/// The `<N>[.p/<W>]` part.
struct Block {
    index: u64,
    width: Width,
}

impl fmt::Display for Block {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut groups = Vec::new();
        let mut rest = self.index;
        loop {
            groups.push(rest % 1000);
            rest /= 1000;
            if rest == 0 {
                break;
            }
        }
        for (place, group) in groups.iter().enumerate().rev() {
            if place > 0 {
                write!(out, "x{group:03}/")?;
            } else {
                write!(out, "{group:03}")?;
            }
        }
        if !self.width.is_full() {
            write!(out, ".p/{}", self.width.get())?;
        }
        Ok(())
    }
}

impl FromStr for Block {
    type Err = PathError;

    fn from_str(path: &str) -> Result<Self, PathError> {
        if path.len() > MAX_PATH {
            return Err(PathError);
        }
        let (number, width) = match path.split_once(".p/") {
            None => (path, Width::FULL),
            Some((number, width)) => {
                let width = decimal(width)
                    .and_then(|width| u16::try_from(width).ok())
                    .and_then(Width::new);
                (
                    number,
                    width.filter(|width| !width.is_full()).ok_or(PathError)?,
                )
            }
        };
        let mut index = 0_u64;
        let mut groups = number.split('/').peekable();
        while let Some(group) = groups.next() {
            let digits = if groups.peek().is_some() {
                group.strip_prefix('x').ok_or(PathError)?
            } else {
                group
            };
            if digits.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(PathError);
            }
            let value: u64 = digits.parse().map_err(|_| PathError)?;
            index = index
                .checked_mul(1000)
                .and_then(|index| index.checked_add(value))
                .ok_or(PathError)?;
        }
        let block = Self { index, width };
        // One name per tile: leading groups of zeros would be a second one.
        if block.to_string() == path {
            Ok(block)
        } else {
            Err(PathError)
        }
    }
}

/// A decimal number without sign or leading zeros.
fn decimal(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (plain && (text.len() == 1 || !text.starts_with('0')))
        .then(|| text.parse().ok())
        .flatten()
}

/// A tile with every perfect subtree inside it: row 0 are its own hashes, row r has `width >> r` of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tile {
    rows: [Vec<Hash>; 9],
}

impl Tile {
    /// A tile without hashes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the bytes of a tile: 1 to 256 hashes, nothing else.
    pub fn parse(bytes: &[u8]) -> Result<Self, TileError> {
        let (hashes, rest) = bytes.as_chunks::<{ Hash::LEN }>();
        if hashes.is_empty() || hashes.len() > usize::from(FULL_WIDTH) || !rest.is_empty() {
            return Err(TileError { bytes: bytes.len() });
        }
        let mut tile = Self::new();
        for hash in hashes {
            tile.push(Hash::new(*hash));
        }
        Ok(tile)
    }

    /// Number of hashes, 0 to 256.
    pub fn width(&self) -> u16 {
        u16::try_from(self.hashes().len()).unwrap_or(FULL_WIDTH)
    }

    /// Whether there are 256.
    pub fn is_full(&self) -> bool {
        self.width() == FULL_WIDTH
    }

    /// The hashes of the tile's own level.
    pub fn hashes(&self) -> &[Hash] {
        let [hashes, ..] = &self.rows;
        hashes
    }

    /// Root over all 256 hashes; `None` until the tile is full.
    pub fn root(&self) -> Option<Hash> {
        self.subtree(HEIGHT, 0)
    }

    /// The hash of the perfect subtree of height `row` at position `index` within this tile.
    pub fn subtree(&self, row: u8, index: u64) -> Option<Hash> {
        self.rows
            .get(usize::from(row))?
            .get(usize::try_from(index).ok()?)
            .copied()
    }

    /// The bytes of the tile as served: its first `width` hashes. `None` when it has fewer.
    pub fn bytes(&self, width: Width) -> Option<Vec<u8>> {
        let hashes = self.hashes().get(..usize::from(width.get()))?;
        Some(hashes.iter().flat_map(Hash::as_bytes).copied().collect())
    }

    /// Adds a hash. A full tile stays as it is: the caller starts the next one ([`crate::Edge`] does).
    pub(crate) fn push(&mut self, hash: Hash) {
        if self.is_full() {
            return;
        }
        let mut carry = Some(hash);
        for row in &mut self.rows {
            let Some(hash) = carry.take() else { break };
            let left = if row.len() % 2 == 1 {
                row.last().copied()
            } else {
                None
            };
            row.push(hash);
            carry = left.map(|left| hash::node(&left, &hash));
        }
    }
}

/// The bytes are no tile: not 1 to 256 times 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes are not a tile of 1 to 256 hashes")]
pub struct TileError {
    /// Number of bytes given.
    pub bytes: usize,
}

/// Tiles that were fetched for a proof.
#[derive(Clone, Debug, Default)]
pub struct TileSet<T = Tile> {
    tiles: BTreeMap<(u8, u64), T>,
}

impl<T: AsRef<Tile>> TileSet<T> {
    /// No tile yet.
    pub const fn new() -> Self {
        Self {
            tiles: BTreeMap::new(),
        }
    }

    /// Adds a tile of any width.
    pub fn insert(&mut self, level: u8, index: u64, tile: T) {
        self.tiles.insert((level, index), tile);
    }

    /// The tile at this place.
    pub fn get(&self, level: u8, index: u64) -> Option<&T> {
        self.tiles.get(&(level, index))
    }
}

impl AsRef<Tile> for Tile {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl<T: AsRef<Tile>> Nodes for TileSet<T> {
    fn node(&self, at: Node) -> Option<Hash> {
        let row = at.level % HEIGHT;
        let index = at.index >> (HEIGHT - row);
        let tile = self.tiles.get(&(at.level / HEIGHT, index))?.as_ref();
        tile.subtree(row, at.index.checked_sub(index << (HEIGHT - row))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_the_specification() {
        let tile = |level, index, width| TileId {
            level,
            index,
            width: Width::new(width).unwrap(),
        };
        for (id, path) in [
            (tile(0, 0, 256), "tile/0/000"),
            (tile(3, 999, 1), "tile/3/999.p/1"),
            (tile(0, 1000, 256), "tile/0/x001/000"),
            (tile(0, 1_234_067, 256), "tile/0/x001/x234/067"),
            (tile(63, 273, 112), "tile/63/273.p/112"),
            (
                tile(0, u64::MAX, 255),
                "tile/0/x018/x446/x744/x073/x709/x551/615.p/255",
            ),
        ] {
            assert_eq!(id.to_string(), path);
            assert_eq!(path.parse(), Ok(id));
        }
        let bundle = BundleId {
            index: 1234,
            width: Width::new(17).unwrap(),
        };
        assert_eq!(bundle.path("entries"), "tile/entries/x001/234.p/17");
        assert_eq!(
            BundleId::parse("tile/data/x001/234.p/17", "data"),
            Ok(bundle)
        );
        assert_eq!(
            BundleId::parse("tile/data/x001/234.p/17", "entries"),
            Err(PathError)
        );
    }

    #[test]
    fn other_spellings_are_refused() {
        for path in [
            "",
            "tile",
            "tile/",
            "tile/0",
            "tile/0/",
            "tile/0/1",
            "tile/0/01",
            "tile/0/0000",
            "tile/00/000",
            "tile/64/000",
            "tile/+1/000",
            "tile/-1/000",
            "tile/0/x000/001",
            "tile/0/001/000",
            "tile/0/x001",
            "tile/0/x001/",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/",
            "tile/0/000.p",
            "tile/0/000/p/1",
            "tile/0/000.p/1.p/1",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
            "tile/0/é00",
            "/tile/0/000",
            "tile/0/000?",
            "tile/0/x1/000",
            "tile/0/../000",
        ] {
            assert_eq!(path.parse::<TileId>(), Err(PathError), "{path}");
        }
        assert_eq!(
            format!("tile/0/{}", "x000/".repeat(1_000_000)).parse::<TileId>(),
            Err(PathError)
        );
    }

    #[test]
    fn widths_follow_the_size() {
        let width = |level, index, size| {
            TileId::width_in(level, index, TreeSize::new(size)).map(Width::get)
        };
        assert_eq!(width(0, 0, 0), None);
        assert_eq!(width(0, 0, 1), Some(1));
        assert_eq!(width(0, 0, 70_000), Some(256));
        assert_eq!(width(0, 273, 70_000), Some(112));
        assert_eq!(width(1, 1, 70_000), Some(17));
        assert_eq!(width(2, 0, 70_000), Some(1));
        assert_eq!(width(3, 0, 70_000), None);
        assert_eq!(width(8, 0, u64::MAX), None);
        assert_eq!(width(255, u64::MAX, u64::MAX), None);
        let id = TileId {
            level: 0,
            index: 273,
            width: Width::new(113).unwrap(),
        };
        assert!(!id.is_in(TreeSize::new(70_000)) && id.is_in(TreeSize::new(70_001)));
    }

    #[test]
    fn tiles_read_what_they_write() {
        assert_eq!(Tile::parse(&[]), Err(TileError { bytes: 0 }));
        assert_eq!(Tile::parse(&[0; 33]), Err(TileError { bytes: 33 }));
        assert_eq!(Tile::parse(&[0; 257 * 32]), Err(TileError { bytes: 8224 }));
        let bytes: Vec<u8> = (0..=255_u8).flat_map(|byte| [byte; 32]).collect();
        for width in [1_u16, 2, 255, 256] {
            let bytes = &bytes[..usize::from(width) * 32];
            let tile = Tile::parse(bytes).unwrap();
            assert_eq!(tile.bytes(Width::new(width).unwrap()).unwrap(), bytes);
            assert_eq!(tile.root().is_some(), width == 256);
            assert_eq!(tile.bytes(Width::FULL).is_some(), width == 256);
        }
    }
}
