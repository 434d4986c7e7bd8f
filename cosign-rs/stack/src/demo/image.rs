//! A real container image, built without a container engine: layers of files of this machine, configuration, manifest.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

/// Media types of the OCI image specification 1.1.
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// How much of the machine's own files goes into one layer, before compression.
const LAYER_BYTES: u64 = 6 << 20;

/// Files larger than this are left out: a layer should have several.
const FILE_BYTES: u64 = 3 << 20;

/// One layer, compressed.
pub(super) struct Layer {
    pub(super) content: Vec<u8>,
    files: usize,
    diff_id: String,
}

/// An image, ready to be pushed.
pub(super) struct Image {
    pub(super) layers: Vec<Layer>,
    pub(super) config: Vec<u8>,
    pub(super) manifest: Vec<u8>,
    /// Of the manifest: `sha256:..`.
    pub(super) digest: String,
}

impl Image {
    /// Two layers of programs and libraries of this machine, and one with an application that says `greeting`.
    pub(super) fn build(greeting: &str) -> Result<Self> {
        let script = format!("#!/bin/sh\necho '{greeting}'\n");
        let layers = vec![
            machine_layer(&["/usr/lib", "/lib"], "so")?,
            machine_layer(&["/usr/bin", "/bin"], "")?,
            layer(&[
                ("app/run".into(), 0o755, script.into_bytes()),
                (
                    "app/README".into(),
                    0o644,
                    b"The demo's application.\n".to_vec(),
                ),
            ])?,
        ];
        Self::of(layers)
    }

    fn of(layers: Vec<Layer>) -> Result<Self> {
        let architecture = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "amd64"
        };
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": { "Entrypoint": ["/app/run"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = serde_json::to_vec(&config)?;
        let parts: Vec<Value> = layers
            .iter()
            .map(|layer| descriptor(LAYER, &layer.content))
            .collect();
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, &config), "layers": parts });
        let manifest = serde_json::to_vec(&manifest)?;
        let digest = digest(&manifest);
        Ok(Self {
            layers,
            config,
            manifest,
            digest,
        })
    }

    /// Compressed size of all layers in bytes.
    pub(super) fn size(&self) -> usize {
        self.layers.iter().map(|layer| layer.content.len()).sum()
    }

    /// Files in all layers.
    pub(super) fn files(&self) -> usize {
        self.layers.iter().map(|layer| layer.files).sum()
    }
}

/// `sha256:` and the hash in hex.
pub(super) fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex::encode(keys::sha256(content)))
}

pub(super) fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(content), "size": content.len() })
}

/// Files of the first of these folders that is there, in the order of their names, until the layer is full.
fn machine_layer(folders: &[&str], name_part: &str) -> Result<Layer> {
    let mut entries = Vec::new();
    let mut total = 0;
    let found = folders
        .iter()
        .map(Path::new)
        .find(|folder| folder.is_dir())
        .context("neither /usr nor /bin on this machine")?;
    for path in candidates(found, name_part) {
        let Ok(metadata) = fs::metadata(&path) else {
            continue;
        };
        if !metadata.is_file()
            || metadata.len() == 0
            || metadata.len() > FILE_BYTES
            || total + metadata.len() > LAYER_BYTES
        {
            continue;
        }
        let Ok(content) = fs::read(&path) else {
            continue;
        };
        total += metadata.len();
        let name = path
            .strip_prefix("/")
            .unwrap_or(&path)
            .to_string_lossy()
            .into_owned();
        entries.push((name, 0o755, content));
    }
    ensure!(
        !entries.is_empty(),
        "no readable file in {}",
        found.display()
    );
    layer(&entries)
}

/// Files up to two folders deep, sorted; libraries have their names in a folder of the architecture.
fn candidates(folder: &Path, name_part: &str) -> Vec<PathBuf> {
    let list = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect()
    };
    let matches = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().contains(name_part))
    };
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) =
        list(folder).into_iter().partition(|path| path.is_dir());
    let inner = folders
        .iter()
        .flat_map(|inner| list(inner))
        .filter(|path| path.is_file());
    let mut all: Vec<PathBuf> = files.into_iter().chain(inner).filter(matches).collect();
    all.sort();
    all
}

/// A layer in which nothing depends on the clock or on who builds it.
fn layer(entries: &[(String, u32, Vec<u8>)]) -> Result<Layer> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, mode, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(content.len())?);
        header.set_mode(*mode);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, name, content.as_slice())?;
    }
    let archive = archive.into_inner()?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&archive)?;
    Ok(Layer {
        content: gzip.finish()?,
        files: entries.len(),
        diff_id: digest(&archive),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_the_same_each_time_and_another_one_if_a_file_changes() {
        let one = Image::build("hello").unwrap();
        assert_eq!(one.digest, Image::build("hello").unwrap().digest);
        assert_ne!(one.digest, Image::build("hallo").unwrap().digest);
        assert!(
            one.size() > 100_000 && one.files() > 3,
            "{} bytes in {} files",
            one.size(),
            one.files()
        );
        let manifest: Value = serde_json::from_slice(&one.manifest).unwrap();
        assert_eq!(
            manifest["layers"][2]["digest"],
            digest(&one.layers[2].content)
        );
        let config: Value = serde_json::from_slice(&one.config).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 3);
    }
}
