//! Tiles that were read, kept in memory: they never change, and a bucket takes 20 to 100 ms for each.

use bytes::Bytes;
use hashlink::LruCache;
use store::Path;

/// Bytes that are kept for one tree: four thousand tiles of hashes, which are all but the lowest ones of any tree, or some hundred bundles.
const MOST: usize = 32 << 20;

/// What was read last.
pub(crate) struct Kept {
    tiles: LruCache<Path, Bytes>,
    bytes: usize,
    most: usize,
}

impl Default for Kept {
    fn default() -> Self {
        Self::up_to(MOST)
    }
}

impl Kept {
    fn up_to(most: usize) -> Self {
        Self {
            tiles: LruCache::new_unbounded(),
            bytes: 0,
            most,
        }
    }

    /// A tile that is kept, which stays for longer now.
    pub(crate) fn read(&mut self, path: &Path) -> Option<Bytes> {
        self.tiles.get(path).cloned()
    }

    /// Keeps a tile, and lets go of those that nobody has read for longest.
    pub(crate) fn keep(&mut self, path: &Path, bytes: &[u8]) {
        // One that is large would be all that there is.
        if bytes.len() > self.most / 8 {
            return;
        }
        let bytes = Bytes::copy_from_slice(bytes);
        self.bytes = self.bytes.saturating_add(bytes.len());
        let old = self.tiles.insert(path.clone(), bytes);
        self.forget(old);
        while self.bytes > self.most {
            let Some((_, oldest)) = self.tiles.remove_lru() else {
                return;
            };
            self.forget(Some(oldest));
        }
    }

    fn forget(&mut self, bytes: Option<Bytes>) {
        let bytes = bytes.map_or(0, |bytes| bytes.len());
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Kept")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_last_stays() {
        let path = |number: usize| Path::new(format!("tile/0/{number:03}")).unwrap();
        let mut kept = Kept::up_to(800);
        for number in 0..8 {
            kept.keep(&path(number), &[7; 100]);
        }
        assert_eq!((kept.tiles.len(), kept.bytes), (8, 800));
        assert_eq!(kept.read(&path(0)).unwrap(), [7; 100].as_slice());
        kept.keep(&path(8), &[8; 60]);
        assert_eq!(kept.read(&path(1)), None, "nobody has read it for longest");
        assert!(kept.read(&path(0)).is_some());
        assert_eq!(kept.bytes, 760);
        // Two have read it at the same time.
        kept.keep(&path(8), &[8; 60]);
        assert_eq!(kept.bytes, 760);
        kept.keep(&path(9), &[9; 101]);
        assert_eq!(kept.read(&path(9)), None, "too much of all of it");
        assert_eq!((kept.tiles.len(), kept.bytes), (8, 760));
    }
}
