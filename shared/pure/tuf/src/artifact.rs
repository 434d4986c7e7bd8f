//! A repository as an OCI artifact: one manifest, one layer for each file, so that a tag moves from one whole repository to the next.
//!
//! ```text
//! { "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
//!   "artifactType": "application/vnd.tuf.repository.v1",
//!   "config": the empty descriptor,
//!   "layers": [ { "mediaType": "application/vnd.tuf.metadata+json", "digest": .., "size": ..,
//!                 "annotations": { "tuf.io/filename": "1.root.json", "org.opencontainers.image.title": "1.root.json" } },
//!               { "mediaType": "application/vnd.tuf.target",
//!                 "annotations": { "tuf.io/filename": "targets/<sha256>.trusted_root.json", .. } } ] }
//! ```
//!
//! Names are those under which a web server shows the files. Media types of the layers and the annotation are those of the mirrors that Docker
//! publishes (docker/attest); the title is what `oras pull` names files by. Nothing in it is believed: what a file is worth its signatures say.

/// What the artifact is.
pub const ARTIFACT_TYPE: &str = "application/vnd.tuf.repository.v1";
/// A metadata file.
pub const METADATA_TYPE: &str = "application/vnd.tuf.metadata+json";
/// The content of a target.
pub const TARGET_TYPE: &str = "application/vnd.tuf.target";
/// The annotation with a file's name.
pub const FILE_NAME: &str = "tuf.io/filename";

/// The media type of a file, by its name.
pub fn media_type(name: &str) -> &'static str {
    if name.starts_with("targets/") {
        TARGET_TYPE
    } else {
        METADATA_TYPE
    }
}
