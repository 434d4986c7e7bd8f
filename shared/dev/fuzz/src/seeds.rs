//! Bytes that go deep: files of `testdata/`.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Bytes of seeds above this size make a target slow and find nothing that smaller ones do not.
const LARGEST: usize = 64 << 10;

/// Seeds of one target at most.
const MOST: usize = 24;

/// `testdata/` of the checkout.
pub(crate) fn testdata() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(3).unwrap_or(here).join("testdata")
}

/// Every file below `folder` (of `testdata/`) whose name `wanted` takes, in order of their paths.
pub(crate) fn files(folder: &str, wanted: fn(&str) -> bool) -> Vec<Vec<u8>> {
    let mut paths = Vec::new();
    let mut folders = vec![testdata().join(folder)];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).expect("a folder of testdata");
        for entry in entries {
            let path = entry.expect("an entry of testdata").path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .file_name()
                .is_some_and(|name| wanted(&name.to_string_lossy()))
            {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let read = |path: PathBuf| fs::read(path).expect("a file of testdata");
    spread(paths.into_iter().map(read).collect())
}

/// The member `name` of each line of a file of JSON lines, gzip or not.
pub(crate) fn lines(file: &str, member: &str) -> Vec<Value> {
    let bytes = fs::read(testdata().join(file)).expect("a file of testdata");
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        flate2::read::GzDecoder::new(bytes.as_slice())
            .read_to_string(&mut text)
            .expect("gzip");
    } else {
        text = String::from_utf8(bytes).expect("UTF-8");
    }
    text.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|value| value.get(member).cloned())
        .collect()
}

/// Base64 in JSON strings.
pub(crate) fn decoded(values: Vec<Value>) -> Vec<Vec<u8>> {
    let decode = |value: Value| STANDARD.decode(value.as_str()?).ok();
    spread(values.into_iter().filter_map(decode).collect())
}

/// JSON values as they would come over the wire.
pub(crate) fn written(values: Vec<Value>) -> Vec<Vec<u8>> {
    let write = |value: Value| value.to_string().into_bytes();
    spread(values.into_iter().map(write).collect())
}

/// Small ones, evenly over the list.
fn spread(mut seeds: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    seeds.retain(|seed| !seed.is_empty() && seed.len() <= LARGEST);
    seeds.dedup();
    let step = seeds.len().div_ceil(MOST).max(1);
    seeds.into_iter().step_by(step).collect()
}
