//! The registry, as the demo needs it besides the signing client: pushing an image, and playing somebody who alters what is stored.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::header::{CONTENT_TYPE, LOCATION};
use serde_json::{Value, json};

use super::image::{Image, MANIFEST, descriptor, digest};

/// Largest answer that is read: a bundle or a manifest.
const ANSWER_MAX: usize = 8 << 20;

/// One repository.
pub(super) struct Remote {
    client: reqwest::Client,
    base: String,
    name: String,
}

impl Remote {
    /// `base` is the registry's URL.
    pub(super) fn new(base: &str, name: &str) -> Result<Self> {
        let client = reqwest::Client::builder()
            .timeout(Duration::from_mins(2))
            .no_proxy()
            .build()?;
        Ok(Self {
            client,
            base: base.to_owned(),
            name: name.to_owned(),
        })
    }

    /// `localhost:5000/name@sha256:..`, as it is given to a client.
    pub(super) fn reference(&self, digest: &str) -> String {
        format!(
            "{}/{}@{digest}",
            self.base.trim_start_matches("http://"),
            self.name
        )
    }

    fn url(&self, path: &str) -> String {
        format!("{}/v2/{}/{path}", self.base, self.name)
    }

    /// Pushes layers, configuration and manifest, in this order.
    pub(super) async fn push(&self, image: &Image, tag: &str) -> Result<()> {
        for layer in &image.layers {
            self.push_blob(&layer.content).await?;
        }
        self.push_blob(&image.config).await?;
        self.push_manifest(tag, &image.manifest).await
    }

    async fn push_blob(&self, content: &[u8]) -> Result<()> {
        let begun = self
            .client
            .post(self.url("blobs/uploads/"))
            .send()
            .await?
            .error_for_status()?;
        let location = begun
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .context("no place to upload to")?;
        let target = begun.url().join(location)?;
        let digest = digest(content);
        self.client
            .put(target)
            .query(&[("digest", &digest)])
            .body(content.to_vec())
            .send()
            .await?
            .error_for_status()?;
        Ok(())
    }

    async fn push_manifest(&self, reference: &str, content: &[u8]) -> Result<()> {
        let url = self.url(&format!("manifests/{reference}"));
        self.client
            .put(url)
            .header(CONTENT_TYPE, MANIFEST)
            .body(content.to_vec())
            .send()
            .await?
            .error_for_status()?;
        Ok(())
    }

    async fn read(&self, path: &str) -> Result<Vec<u8>> {
        let mut response = self
            .client
            .get(self.url(path))
            .header("accept", MANIFEST)
            .send()
            .await?
            .error_for_status()?;
        let mut content = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            content.extend_from_slice(&chunk);
            ensure!(content.len() <= ANSWER_MAX, "more than {ANSWER_MAX} bytes");
        }
        Ok(content)
    }

    /// The bundles that are attached to an image, each with its manifest.
    pub(super) async fn attached(&self, image: &str) -> Result<Vec<Attached>> {
        let index: Value =
            serde_json::from_slice(&self.read(&format!("referrers/{image}")).await?)?;
        let mut found = Vec::new();
        for entry in index
            .get("manifests")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let digest = entry
                .get("digest")
                .and_then(Value::as_str)
                .context("an entry without a digest")?;
            let manifest: Value =
                serde_json::from_slice(&self.read(&format!("manifests/{digest}")).await?)?;
            let blob = manifest
                .pointer("/layers/0/digest")
                .and_then(Value::as_str)
                .context("a manifest without a layer")?;
            let bundle = serde_json::from_slice(&self.read(&format!("blobs/{blob}")).await?)?;
            found.push(Attached { manifest, bundle });
        }
        Ok(found)
    }

    /// Attaches a bundle to `image`, as its signer did to another one or with other content.
    pub(super) async fn attach(&self, attached: &Attached, image: &Image) -> Result<()> {
        let bundle = serde_json::to_vec(&attached.bundle)?;
        let mut manifest = attached.manifest.clone();
        let subject = descriptor(MANIFEST, &image.manifest);
        let media_type = manifest
            .pointer("/layers/0/mediaType")
            .and_then(Value::as_str)
            .context("a layer without a type")?;
        let layer = descriptor(media_type, &bundle);
        let parts = manifest
            .as_object_mut()
            .context("a manifest that is no object")?;
        parts.insert("subject".to_owned(), subject);
        parts.insert("layers".to_owned(), json!([layer]));
        self.push_blob(&bundle).await?;
        // The configuration of an attached bundle is the empty object.
        self.push_blob(b"{}").await?;
        let manifest = serde_json::to_vec(&manifest)?;
        self.push_manifest(&digest(&manifest), &manifest).await
    }
}

/// A bundle in a registry.
#[derive(Clone, Debug)]
pub(super) struct Attached {
    manifest: Value,
    pub(super) bundle: Value,
}
