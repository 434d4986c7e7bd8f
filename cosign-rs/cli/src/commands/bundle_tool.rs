//! Bundles as such: made of the pieces that older cosigns wrote, shown, and written in the newest version.
//!
//! What comes out is as good as what went in, and `verify-blob` says how good that is. What a log answers is compared with the entry that is asked about, and
//! its proof and promise are verified against the trusted root, so that a wrong answer is told here and not years later.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bundle::{Bundle, Content, Signer, Version};
use client::{Agent, Call};
use dsse::{Envelope, Statement};
use entry::LogEntry;
use jiff::Timestamp;
use keys::{HashAlgorithm, PublicKey};
use pki::{Certificate, FulcioExtensions};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trust::TrustedRoot;
use url::Url;
use wire::encoding::{Bytes, Int64};
use wire::rekor_v1::LogEntries;
use wire::{bundle as shape, common::LogId};

use crate::args::{BundleCommand, BundleCreate, BundleUpgrade, Output, Trust};
use crate::artifact::Source;
use crate::bundle_file::BundleFile;
use crate::failure::{Outcome, advice, advice_of, in_line, say, usage};
use crate::{private_key, report, trust_files};

/// The largest of the pieces.
const PIECE_MAX: u64 = 16 << 20;
/// Entries about one file that are looked through.
const FOUND_MAX: usize = 50;

pub(super) async fn run(command: BundleCommand) -> Result<()> {
    match command {
        BundleCommand::Create(create) => make(create).await,
        BundleCommand::Inspect { file, output } => inspect(&file, output),
        BundleCommand::Upgrade(upgrade) => renew(upgrade).await,
    }
}

fn write(bundle: &Bundle, out: Option<&Path>, inputs: &[&Path]) -> Result<()> {
    let json = bundle.to_json()?;
    // What we write we can read.
    Bundle::parse(&json).context("the pieces make no bundle")?;
    let path = out.unwrap_or(Path::new("-"));
    BundleFile::prepare(path, inputs.iter().copied())?.write(&json)
}

/// Nothing is verified here, so that a file which is no bundle is a wrong name, and not a signature that does not hold.
fn open(path: &Path) -> Result<Bundle> {
    let bytes = trust_files::read(path)?;
    Bundle::parse(&bytes).map_err(|error| {
        let why = format!("{:#}", anyhow::Error::from(error));
        advice_of(
            Outcome::Usage,
            Some("malformed-bundle"),
            format!("the bundle {}: {}", path.display(), in_line(&why)),
            "is it the right file? `cosign-rs bundle create` makes a bundle of what older cosigns wrote",
        )
    })
}

async fn renew(arguments: BundleUpgrade) -> Result<()> {
    let mut bundle = open(&arguments.file)?;
    let shown = arguments.file.display();
    if bundle.version == Version::V03 {
        say(&format!("{shown} is of version 0.3 already"));
    }
    let unproven = |entry: &LogEntry| {
        let proof = entry.proof.as_ref();
        proof.is_none_or(|proof| proof.checkpoint.is_empty())
    };
    if bundle.entries.iter().any(unproven) {
        let log = Log::new(&arguments.rekor_url, &arguments.trust).await?;
        for entry in bundle.entries.iter_mut().filter(|entry| unproven(entry)) {
            *entry = log.proven(entry).await?;
        }
    }
    bundle.version = Version::V03;
    if let Signer::Certificate { intermediates, .. } = &mut bundle.signer {
        // Version 0.3 has the leaf alone; the rest is in the verifiers' trusted root.
        intermediates.clear();
    }
    write(&bundle, arguments.out.as_deref(), &[&arguments.file])
}

/// A log of Rekor version 1, and what its answers are checked by.
struct Log {
    agent: Agent,
    base: Url,
    root: TrustedRoot,
}

impl Log {
    async fn new(base: &Url, trust: &Trust) -> Result<Self> {
        if trust.following.offline {
            return Err(usage(
                format!("--offline, and the log {base} has to be asked for a proof"),
                "leave --offline out",
            ));
        }
        Ok(Self {
            agent: Agent::new(client::Settings::default()),
            base: base.clone(),
            root: trust_files::trusted_root(trust).await?,
        })
    }

    fn url(&self, path: &str) -> Result<Url> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| anyhow::anyhow!("--rekor-url {} is no address", self.base))?
            .pop_if_empty()
            .extend(path.split('/'));
        Ok(url)
    }

    async fn entries(&self, call: Call) -> Result<Vec<LogEntry>> {
        let asking = || format!("asking the log {}", self.base);
        let answer = self.agent.send(&call).await.with_context(asking)?;
        let answer = answer.expect(&[200]).with_context(asking)?;
        let entries: LogEntries = wire::parse(&answer.body).with_context(asking)?;
        let read = entries.into_values().map(LogEntry::from_rekor_v1);
        read.collect::<Result<_, _>>().with_context(asking)
    }

    async fn at(&self, index: u64) -> Result<LogEntry> {
        let mut url = self.url("api/v1/log/entries")?;
        url.query_pairs_mut()
            .append_pair("logIndex", &index.to_string());
        let entries = self.entries(Call::get(url)).await?;
        let found = entries.into_iter().next();
        found.with_context(|| format!("the log {} has no entry {index}", self.base))
    }

    /// The entry with a proof that it is in the log.
    async fn proven(&self, entry: &LogEntry) -> Result<LogEntry> {
        let found = self.at(entry.index).await?;
        renewed(entry, found, &self.root)
            .with_context(|| format!("the answer of the log {}", self.base))
    }

    /// The entry with this signature, among those about a file.
    async fn with_signature(&self, digest: &keys::Digest, signature: &[u8]) -> Result<LogEntry> {
        let body = json!({ "hash": digest.to_string() }).to_string();
        let call = Call::post(self.url("api/v1/index/retrieve")?, "application/json", body);
        let asking = || format!("searching the log {}", self.base);
        let answer = self.agent.send(&call).await.with_context(asking)?;
        let answer = answer.expect(&[200]).with_context(asking)?;
        let ids: Vec<String> = serde_json::from_slice(&answer.body).with_context(asking)?;
        let wanted = STANDARD.encode(signature);
        for id in ids.iter().take(FOUND_MAX) {
            let url = self.url(&format!("api/v1/log/entries/{id}"))?;
            for entry in self.entries(Call::get(url)).await? {
                if String::from_utf8_lossy(&entry.body).contains(&wanted) {
                    let answer = || format!("the answer of the log {}", self.base);
                    holds(&entry, &self.root).with_context(answer)?;
                    return Ok(entry);
                }
            }
        }
        Err(advice(
            format!(
                "the log {} has {} {} about {digest}, and none with this signature",
                self.base,
                ids.len(),
                if ids.len() == 1 { "entry" } else { "entries" }
            ),
            "is it in another log (--rekor-url), or in none (--ignore-tlog)?",
        ))
    }
}

/// What a log answered in place of an entry, if it is this very entry with a proof that holds.
fn renewed(entry: &LogEntry, found: LogEntry, root: &TrustedRoot) -> Result<LogEntry> {
    if found.body != entry.body || found.log_id != entry.log_id || found.index != entry.index {
        return Err(advice(
            format!(
                "it has another entry at index {}, so the bundle is of another log",
                entry.index
            ),
            "name the log that it is in with --rekor-url",
        ));
    }
    // The promise that the signer got is over the time that the signer was told.
    if found.integrated_time != entry.integrated_time {
        let told = |time: Option<Timestamp>| time.map_or("none".to_owned(), |at| at.to_string());
        return Err(advice(
            format!(
                "entry {} has the time {} there, and {} in the bundle",
                entry.index,
                told(found.integrated_time),
                told(entry.integrated_time)
            ),
            "one of the two was changed: verify the old bundle with verify-blob",
        ));
    }
    let renewed = LogEntry {
        promise: entry.promise.clone().or(found.promise),
        ..found
    };
    holds(&renewed, root)?;
    Ok(renewed)
}

/// Whether an entry is in a log that is trusted, by a proof and not by a promise alone.
fn holds(entry: &LogEntry, root: &TrustedRoot) -> Result<()> {
    verify::recorded(std::slice::from_ref(entry), root).map_err(|error| {
        advice(
            in_line(&error.to_string()),
            "if it is a log of your own, pass its trusted root with --trusted-root",
        )
    })?;
    let proven = entry.proof.as_ref();
    if proven.is_none_or(|proof| proof.checkpoint.is_empty()) {
        bail!(
            "it has no proof with a checkpoint for entry {}",
            entry.index
        );
    }
    Ok(())
}

fn kind_of(body: &[u8]) -> Result<(String, String)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind {
        kind: String,
        api_version: String,
    }
    let kind: Kind = serde_json::from_slice(body).context("the log entry's body")?;
    Ok((kind.kind, kind.api_version))
}

/// What cosign wrote before there were bundles.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Old {
    #[serde(default)]
    base64_signature: String,
    #[serde(default)]
    cert: String,
    #[serde(default)]
    rekor_bundle: Option<OldEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OldEntry {
    signed_entry_timestamp: Bytes,
    payload: OldPayload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldPayload {
    body: Bytes,
    integrated_time: i64,
    log_index: i64,
    #[serde(rename = "logID")]
    log_id: String,
}

impl OldEntry {
    fn entry(self) -> Result<LogEntry> {
        let (kind, version) = kind_of(&self.payload.body.0)?;
        let id = hex::decode(&self.payload.log_id).context("the old bundle's logID")?;
        Ok(LogEntry::from_wire(shape::TransparencyLogEntry {
            log_index: Int64(self.payload.log_index),
            log_id: Some(LogId { key_id: Bytes(id) }),
            kind_version: Some(shape::KindVersion { kind, version }),
            integrated_time: Int64(self.payload.integrated_time),
            inclusion_promise: Some(shape::InclusionPromise {
                signed_entry_timestamp: self.signed_entry_timestamp,
            }),
            inclusion_proof: None,
            canonicalized_body: self.payload.body,
        })?)
    }
}

fn piece(path: &Path) -> Result<String> {
    let bytes = trust_files::read_at_most(path, PIECE_MAX)?;
    String::from_utf8(bytes).with_context(|| format!("{} is no text", path.display()))
}

fn base64(text: &str, what: impl std::fmt::Display) -> Result<Vec<u8>> {
    STANDARD
        .decode(text.trim())
        .with_context(|| format!("{what} is no base64"))
}

/// PEM, or base64 of it.
fn certificate(text: &str, what: impl std::fmt::Display) -> Result<Certificate> {
    let text = if text.contains("-----BEGIN") {
        text.to_owned()
    } else {
        String::from_utf8(base64(text, &what)?).with_context(|| format!("{what}"))?
    };
    let chain = Certificate::chain_from_pem(&text).with_context(|| format!("{what}"))?;
    let leaf = chain.into_iter().next();
    leaf.with_context(|| format!("{what} has no certificate"))
}

async fn make(arguments: BundleCreate) -> Result<()> {
    let old: Option<Old> = match &arguments.bundle {
        None => None,
        Some(path) => {
            let parsed = serde_json::from_str(&piece(path)?);
            Some(parsed.with_context(|| format!("the old bundle {}", path.display()))?)
        }
    };
    let (old_signature, old_certificate, old_entry) = match old {
        None => (None, None, None),
        Some(old) => (
            Some(old.base64_signature).filter(|text| !text.is_empty()),
            Some(old.cert).filter(|text| !text.is_empty()),
            old.rekor_bundle,
        ),
    };
    let (signer, key) = signer(&arguments, old_certificate).await?;
    let hash = key.default_algorithm().hash();
    let hash = hash.unwrap_or(HashAlgorithm::Sha512);
    // Once: standard input cannot be read again.
    let source = Source::of_path(&arguments.artifact);
    let read = move || source.digests(&[hash, HashAlgorithm::Sha256]);
    let artifact = tokio::task::spawn_blocking(read).await??;
    let known = |hash| artifact.digest(hash).copied().context("no digest");
    let (digest, sha256) = (known(hash)?, known(HashAlgorithm::Sha256)?);
    let content = content(&arguments, old_signature, digest)?;
    let entries = match old_entry {
        Some(_) if arguments.ignore_tlog => {
            return Err(advice(
                "--ignore-tlog, and the old bundle has a log's promise",
                "leave one of the two out",
            ));
        }
        None if arguments.ignore_tlog => Vec::new(),
        Some(entry) => {
            let log = Log::new(&arguments.rekor_url, &arguments.trust).await?;
            vec![log.proven(&entry.entry()?).await?]
        }
        None => {
            let log = Log::new(&arguments.rekor_url, &arguments.trust).await?;
            let about = match &content {
                Content::Message { .. } => digest,
                Content::Envelope(envelope) => HashAlgorithm::Sha256.digest(&envelope.payload),
            };
            // A log knows an envelope by its payload, and by the file that it is about.
            match log.with_signature(&about, content.signature()).await {
                Err(_) if about != sha256 => {
                    vec![log.with_signature(&sha256, content.signature()).await?]
                }
                outcome => vec![outcome?],
            }
        }
    };
    let timestamps = match &arguments.rfc3161_timestamp {
        None => Vec::new(),
        Some(path) => vec![timestamp(path)?],
    };
    let bundle = Bundle {
        version: Version::V03,
        signer,
        entries,
        timestamps,
        content,
    };
    let inputs = [
        Some(&arguments.artifact),
        arguments.bundle.as_ref(),
        arguments.signature.as_ref(),
        arguments.attestation.as_ref(),
        arguments.certificate.as_ref(),
    ];
    let inputs: Vec<&Path> = inputs
        .into_iter()
        .flatten()
        .map(std::path::PathBuf::as_path)
        .collect();
    write(&bundle, arguments.out.as_deref(), &inputs)
}

/// Who signed, and the key to it.
async fn signer(arguments: &BundleCreate, old: Option<String>) -> Result<(Signer, PublicKey)> {
    let hinted = |key: PublicKey| {
        let hint = STANDARD.encode(key.key_id());
        (Signer::Key { hint }, key)
    };
    if let Some(key) = &arguments.key {
        return Ok(hinted(private_key::public(key).await?));
    }
    let (text, what) = match (&arguments.certificate, old) {
        (Some(path), _) => (piece(path)?, path.display().to_string()),
        (None, Some(text)) => (text, "the old bundle's cert".to_owned()),
        (None, None) => {
            return Err(advice(
                "nothing says who signed",
                "pass --certificate or --key",
            ));
        }
    };
    // Old bundles have a public key where a key signed.
    let decoded = base64(&text, &what).ok();
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    if let Some(Ok(key)) = decoded
        .filter(|text| text.contains("PUBLIC KEY"))
        .map(|text| PublicKey::from_pem(&text))
    {
        return Ok(hinted(key));
    }
    let leaf = certificate(&text, what)?;
    let key = leaf.public_key().clone();
    let intermediates = Vec::new();
    Ok((
        Signer::Certificate {
            leaf,
            intermediates,
        },
        key,
    ))
}

fn content(arguments: &BundleCreate, old: Option<String>, digest: keys::Digest) -> Result<Content> {
    let envelope = |text: &[u8]| -> Result<Envelope> {
        let parsed: shape::Envelope = wire::parse(text)?;
        Ok(Envelope::from_wire(parsed)?)
    };
    if let Some(path) = &arguments.attestation {
        let read = envelope(piece(path)?.as_bytes());
        let read = read.with_context(|| format!("the attestation {}", path.display()))?;
        return Ok(Content::Envelope(read));
    }
    let signature = match (&arguments.signature, old) {
        (Some(path), _) => base64(&piece(path)?, path.display())?,
        (None, Some(text)) => base64(&text, "the old bundle's base64Signature")?,
        (None, None) => bail!("the old bundle has no signature: pass --signature"),
    };
    // An old bundle of a statement has the whole envelope there.
    if signature.starts_with(b"{") {
        return Ok(Content::Envelope(envelope(&signature)?));
    }
    Ok(Content::Message {
        signature,
        digest: Some(digest),
    })
}

/// The answer of an authority, or what an older cosign wrapped it into.
fn timestamp(path: &Path) -> Result<Vec<u8>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Wrapped {
        #[serde(rename = "SignedRFC3161Timestamp")]
        signed: Bytes,
    }
    let bytes = trust_files::read_at_most(path, PIECE_MAX)?;
    if !bytes.starts_with(b"{") {
        return Ok(bytes);
    }
    let wrapped: Wrapped = serde_json::from_slice(&bytes)
        .with_context(|| format!("the timestamp {}", path.display()))?;
    Ok(wrapped.signed.0)
}

/// What a bundle shows of itself.
#[derive(Serialize)]
#[serde(untagged)]
enum Item {
    Text(String),
    Number(u64),
    List(Vec<Item>),
    Tree(Tree),
    Json(Value),
}

/// Members in their order.
struct Tree(Vec<(String, Item)>);

impl Serialize for Tree {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, item)| (name, item)))
    }
}

impl Tree {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn text(&mut self, name: &str, value: impl std::fmt::Display) {
        self.0
            .push((name.to_owned(), Item::Text(format!("{value}"))));
    }

    fn number(&mut self, name: &str, value: u64) {
        self.0.push((name.to_owned(), Item::Number(value)));
    }

    fn item(&mut self, name: &str, item: Item) {
        self.0.push((name.to_owned(), item));
    }
}

fn inspect(path: &Path, output: Option<Output>) -> Result<()> {
    let bundle = open(path)?;
    say("note: this is what the bundle says; nothing of it was verified");
    let tree = tree(&bundle);
    if output == Some(Output::Json) {
        return report::print_json(&tree);
    }
    let mut text = String::new();
    draw(&tree, 0, &mut text);
    report::print(text.trim_end())
}

fn draw(tree: &Tree, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    for (name, item) in &tree.0 {
        match item {
            Item::Text(value) => line(text, &indent, name, &in_line(value)),
            Item::Number(value) => line(text, &indent, name, &value.to_string()),
            Item::Json(value) => line(text, &indent, name, &in_line(&value.to_string())),
            Item::Tree(inner) => {
                line(text, &indent, name, "");
                draw(inner, depth.saturating_add(1), text);
            }
            Item::List(items) => {
                line(text, &indent, name, &items.len().to_string());
                for (index, item) in items.iter().enumerate() {
                    let label = format!("[{index}]");
                    match item {
                        Item::Tree(inner) => {
                            line(text, &format!("{indent}  "), &label, "");
                            draw(inner, depth.saturating_add(2), text);
                        }
                        Item::Text(value) => {
                            line(text, &format!("{indent}  "), &label, &in_line(value));
                        }
                        _ => {}
                    }
                }
            }
        }
    }
}

fn line(text: &mut String, indent: &str, name: &str, value: &str) {
    text.push_str(indent);
    text.push_str("- ");
    text.push_str(&in_line(name));
    text.push(':');
    if !value.is_empty() {
        text.push(' ');
        text.push_str(value);
    }
    text.push('\n');
}

fn tree(bundle: &Bundle) -> Tree {
    let mut tree = Tree::new();
    tree.text(
        "version",
        match bundle.version {
            Version::V01 => "0.1",
            Version::V02 => "0.2",
            Version::V03 => "0.3",
        },
    );
    match &bundle.signer {
        Signer::Certificate {
            leaf,
            intermediates,
        } => {
            tree.item("certificate", Item::Tree(certificate_tree(leaf)));
            if !intermediates.is_empty() {
                let others = intermediates.iter();
                let others = others.map(|one| Item::Tree(certificate_tree(one)));
                tree.item("otherCertificates", Item::List(others.collect()));
            }
        }
        Signer::Key { hint } => tree.text("keyHint", hint),
    }
    let entries = bundle.entries.iter();
    let entries = entries.map(|entry| Item::Tree(entry_tree(entry))).collect();
    tree.item("logEntries", Item::List(entries));
    let timestamps = bundle.timestamps.iter();
    let timestamps = timestamps.map(|stamp| Item::Text(format!("{} bytes", stamp.len())));
    tree.item("timestamps", Item::List(timestamps.collect()));
    tree.item("content", Item::Tree(content_tree(&bundle.content)));
    tree
}

fn certificate_tree(certificate: &Certificate) -> Tree {
    let mut tree = Tree::new();
    tree.text("subject", certificate.subject_text());
    let names = certificate.subject_names().iter();
    let names = names.map(|name| Item::Text(name.value().to_owned()));
    tree.item("names", Item::List(names.collect()));
    tree.text("serial", hex::encode(certificate.serial()));
    tree.text("notBefore", certificate.not_before());
    tree.text("notAfter", certificate.not_after());
    let key = certificate.public_key();
    tree.text("key", key.default_algorithm().registry_name());
    tree.text("keyId", format!("sha256:{}", hex::encode(key.key_id())));
    if let Ok(extensions) = FulcioExtensions::from_certificate(certificate) {
        let mut inner = Tree::new();
        for (field, value) in extensions.iter() {
            inner.text(field.name(), value);
        }
        tree.item("extensions", Item::Tree(inner));
    }
    tree
}

fn entry_tree(entry: &LogEntry) -> Tree {
    let mut tree = Tree::new();
    tree.number("index", entry.index);
    tree.text("logId", hex::encode(&entry.log_id));
    tree.text("kind", format!("{} {}", entry.kind, entry.version));
    if let Some(time) = entry.integrated_time {
        tree.text("integratedTime", Timestamp::to_string(&time));
    }
    if let Some(promise) = &entry.promise {
        tree.text("promise", format!("{} bytes", promise.len()));
    }
    if let Some(proof) = &entry.proof {
        let mut inner = Tree::new();
        inner.number("index", proof.index.get());
        inner.number("treeSize", proof.size.get());
        inner.text("rootHash", hex::encode(proof.root.as_ref()));
        inner.number(
            "hashes",
            u64::try_from(proof.hashes.len()).unwrap_or(u64::MAX),
        );
        let origin = proof.checkpoint.lines().next().unwrap_or_default();
        inner.text("checkpointOf", origin);
        tree.item("inclusionProof", Item::Tree(inner));
    }
    if let Ok(body) = serde_json::from_slice(&entry.body) {
        tree.item("body", Item::Json(body));
    }
    tree
}

fn content_tree(content: &Content) -> Tree {
    let mut tree = Tree::new();
    match content {
        Content::Message { signature, digest } => {
            tree.text("kind", "message-signature");
            if let Some(digest) = digest {
                tree.text("digest", digest);
            }
            tree.text("signature", STANDARD.encode(signature));
        }
        Content::Envelope(envelope) => {
            tree.text("kind", "dsse-envelope");
            tree.text("payloadType", &envelope.payload_type);
            tree.text("signature", STANDARD.encode(&envelope.signature));
            match Statement::parse(&envelope.payload) {
                Ok(statement) => tree.item("statement", Item::Tree(statement_tree(&statement))),
                Err(error) => tree.text("statement", format!("cannot be read: {error}")),
            }
        }
    }
    tree
}

fn statement_tree(statement: &Statement) -> Tree {
    let mut tree = Tree::new();
    tree.text("type", &statement.statement_type);
    tree.text("predicateType", &statement.predicate_type);
    let subjects = statement.subject.iter().map(|subject| {
        let digests = subject.digest.iter();
        let digests: Vec<String> = digests.map(|(name, hex)| format!("{name}:{hex}")).collect();
        Item::Text(
            format!("{} {}", subject.name, digests.join(" "))
                .trim()
                .to_owned(),
        )
    });
    tree.item("subjects", Item::List(subjects.collect()));
    let predicate = statement.predicate.as_ref();
    if let Some(Ok(value)) = predicate.map(|raw| serde_json::from_str(raw.get())) {
        tree.item("predicate", Item::Json(value));
    }
    tree
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use testkit::{Log, Sigstore};

    use super::*;

    #[test]
    fn a_log_is_believed_only_what_it_proves_about_this_entry() {
        let sigstore = Sigstore::default();
        let root = sigstore.root();
        let honest = sigstore.sign(b"file").bundle.entries.remove(0);
        let old = LogEntry {
            proof: None,
            ..honest.clone()
        };
        let renewed = |found: LogEntry, root: &TrustedRoot| super::renewed(&old, found, root);
        assert_eq!(renewed(honest.clone(), &root).unwrap(), honest);
        let refused = |found: LogEntry, root: &TrustedRoot, why: &str| {
            let error = format!("{:#}", renewed(found, root).unwrap_err());
            assert!(error.contains(why), "expected {why}: {error}");
        };
        let index = honest.index + 1;
        refused(
            LogEntry {
                index,
                ..honest.clone()
            },
            &root,
            "another entry",
        );
        let body = b"{}".to_vec();
        refused(
            LogEntry {
                body,
                ..honest.clone()
            },
            &root,
            "another entry",
        );
        let at = Some(sigstore.now + SignedDuration::from_secs(1));
        refused(
            LogEntry {
                integrated_time: at,
                ..honest.clone()
            },
            &root,
            "has the time",
        );
        refused(
            LogEntry {
                proof: None,
                ..honest.clone()
            },
            &root,
            "",
        );
        // A proof that leads to another root, and a root that somebody else signed.
        let mut bent = honest.clone();
        if let Some(proof) = &mut bent.proof {
            proof.hashes.push(proof.root);
        }
        refused(bent, &root, "");
        let strange =
            Log::new("rekor.example.org").add(&honest.kind, &honest.version, &honest.body);
        refused(
            LogEntry {
                proof: strange.proof,
                ..honest.clone()
            },
            &root,
            "checkpoint",
        );
        refused(honest.clone(), &TrustedRoot::default(), "");
    }
}
