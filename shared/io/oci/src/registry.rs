//! The registry client: manifests and blobs.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use client::{Agent, Answer, Call, CallError, Redirects, is_loopback};
use http::Method;
use http::header::LOCATION;
use keys::{Digest, HashAlgorithm, Hasher};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use url::Url;

use crate::auth::{Access, Auth};
use crate::credentials::Keychain;
use crate::error::OciError;
use crate::manifest::{ACCEPT, Descriptor, Image, MANIFEST_MAX, Typed};
use crate::reference::{Reference, Repository};

/// How registries are called.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who we are.
    pub keychain: Keychain,
    /// Plain HTTP, where a registry has no HTTPS; registries on this machine are always called so.
    pub plain_http: bool,
    /// How calls are made. [`Settings::default`] follows redirects to other hosts, as registries need.
    pub agent: client::Settings,
    /// How long another writer may need between reading a fallback tag and writing it. After that time we look whether our entry is
    /// still there.
    pub settle: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keychain: Keychain::Empty,
            plain_http: false,
            agent: client::Settings {
                redirects: Redirects::AnyTls,
                decompress: false,
                ..client::Settings::default()
            },
            settle: Duration::from_millis(300),
        }
    }
}

/// A client of registries. Cheap to clone; clones share connections and tokens.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    agent: Agent,
    /// For token services.
    tokens: Agent,
    /// For the question which scheme a registry speaks: no answer is an answer.
    probe: Agent,
    auth: Auth,
    plain_http: bool,
    settle: Duration,
    bases: Mutex<HashMap<String, Url>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Registry")
            .field("agent", &self.0.agent)
            .field("auth", &self.0.auth)
            .finish_non_exhaustive()
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

impl Registry {
    /// A client.
    pub fn new(settings: Settings) -> Self {
        let mut agent = settings.agent;
        agent.plain_http = settings.plain_http;
        let probe = client::Settings {
            attempts: 1,
            ..agent.clone()
        };
        Self(Arc::new(Inner {
            // What it sends is a password or a token, perhaps in the body: it stays with whom it was sent to.
            tokens: Agent::new(client::Settings {
                redirects: Redirects::SameOrigin,
                ..agent.clone()
            }),
            agent: Agent::new(agent),
            probe: Agent::new(probe),
            auth: Auth::new(settings.keychain),
            plain_http: settings.plain_http,
            settle: settings.settle,
            bases: Mutex::default(),
        }))
    }

    pub(crate) fn settle(&self) -> Duration {
        self.0.settle
    }

    /// Reads an image's manifest, and computes its digest from the bytes; where the reference has a digest, the two must agree.
    pub async fn image(&self, reference: &Reference) -> Result<Image, OciError> {
        let target = match (&reference.digest, &reference.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        };
        let what = format!("reading {reference}");
        let answer = self
            .manifest(&what, &reference.repository, &target, ACCEPT)
            .await?
            .ok_or(OciError::NotFound { what: what.clone() })?;
        let algorithm = reference
            .digest
            .map_or(HashAlgorithm::Sha256, |digest| digest.algorithm());
        let found = Digest::of(algorithm, &answer.body);
        if reference.digest.is_some_and(|wanted| wanted != found) {
            return Err(OciError::Digest {
                what,
                found: found.to_string(),
            });
        }
        let typed: Typed =
            serde_json::from_slice(&answer.body).map_err(|error| OciError::Malformed {
                what,
                why: format!("the manifest is no JSON object: {error}"),
            })?;
        Ok(Image {
            descriptor: Descriptor {
                digest: found,
                ..Descriptor::of(
                    &typed.media_type.unwrap_or_else(|| answer.media_type()),
                    &answer.body,
                )
            },
            manifest: answer.body,
        })
    }

    /// A manifest by tag or digest, as it came; none if there is no such manifest or repository.
    pub(crate) async fn manifest(
        &self,
        what: &str,
        at: &Repository,
        target: &str,
        accept: &str,
    ) -> Result<Option<Answer>, OciError> {
        let url = self.url(at, &format!("manifests/{target}")).await?;
        let call = Call::get(url).accept(accept).limit(MANIFEST_MAX);
        let answer = self.send(what, at, Access::Read, call).await?;
        if answer.status.as_u16() == 404 {
            return Ok(None);
        }
        self.check(what, at, answer, &[200]).map(Some)
    }

    /// Reads a blob of at most `limit` bytes into memory; digest and size must be those of the descriptor.
    pub async fn blob(
        &self,
        at: &Repository,
        descriptor: &Descriptor,
        limit: usize,
    ) -> Result<Bytes, OciError> {
        let what = format!("reading {} of {at}", descriptor.digest);
        let size = usize::try_from(descriptor.size)
            .ok()
            .filter(|size| *size <= limit)
            .ok_or_else(|| OciError::Malformed {
                what: what.clone(),
                why: format!("it has {} bytes, at most {limit} are read", descriptor.size),
            })?;
        let url = self.blob_url(at, &descriptor.digest).await?;
        // A refusal may be longer than a small blob.
        let call = Call::get(url).limit(size.max(4096));
        let answer = self.send(&what, at, Access::Read, call).await?;
        let answer = self.check(&what, at, answer, &[200])?;
        let found = Digest::of(descriptor.digest.algorithm(), &answer.body);
        if found != descriptor.digest || answer.body.len() != size {
            return Err(OciError::Digest {
                what,
                found: found.to_string(),
            });
        }
        Ok(answer.body)
    }

    /// Reads a blob of any size, piece by piece. What was written to `sink` is the blob only if this succeeds.
    pub async fn blob_into(
        &self,
        at: &Repository,
        descriptor: &Descriptor,
        sink: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), OciError> {
        let what = format!("reading {} of {at}", descriptor.digest);
        let failed = |why: &dyn fmt::Display| OciError::Malformed {
            what: what.clone(),
            why: why.to_string(),
        };
        let url = self.blob_url(at, &descriptor.digest).await?;
        let call = Call::get(url);
        // A small call first, so that the token is there: a stream cannot be begun again halfway.
        self.has_blob(at, &descriptor.digest).await?;
        let call = match self.0.auth.known(at, Access::Read) {
            Some(authorization) => authorization.on(call),
            None => call,
        };
        let mut response = self
            .0
            .agent
            .open(&call)
            .await
            .map_err(|source| unanswered(&what, source))?;
        if response.status().as_u16() != 200 {
            return Err(failed(&format!(
                "{} answers {}",
                at.host(),
                response.status()
            )));
        }
        let mut hasher = Hasher::new(descriptor.digest.algorithm());
        let mut left = descriptor.size;
        while let Some(piece) = response
            .chunk()
            .await
            .map_err(|error| failed(&error.without_url()))?
        {
            let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            left = left
                .checked_sub(length)
                .ok_or_else(|| failed(&"more bytes than the descriptor says"))?;
            hasher.update(&piece);
            sink.write_all(&piece)
                .await
                .map_err(|error| failed(&error))?;
        }
        sink.flush().await.map_err(|error| failed(&error))?;
        let found = hasher.finish();
        if left != 0 || found != descriptor.digest {
            return Err(OciError::Digest {
                what,
                found: found.to_string(),
            });
        }
        Ok(())
    }

    /// Has the repository this blob?
    pub async fn has_blob(&self, at: &Repository, digest: &Digest) -> Result<bool, OciError> {
        let what = format!("looking for {digest} in {at}");
        let call = Call::new(Method::HEAD, self.blob_url(at, digest).await?);
        let answer = self.send(&what, at, Access::Read, call).await?;
        match answer.status.as_u16() {
            404 => Ok(false),
            _ => self.check(&what, at, answer, &[200]).map(|_| true),
        }
    }

    /// Uploads a blob in one piece, unless it is there already.
    pub async fn push_blob(
        &self,
        at: &Repository,
        media_type: &str,
        content: Bytes,
    ) -> Result<Descriptor, OciError> {
        let descriptor = Descriptor::of(media_type, &content);
        let what = format!("writing {} to {at}", descriptor.digest);
        // Asked with the right to write, since that is what comes next.
        let url = self.blob_url(at, &descriptor.digest).await?;
        let there = self
            .send(
                &what,
                at,
                Access::Write,
                Call::new(Method::HEAD, url.clone()),
            )
            .await?;
        if there.status.is_success() {
            return Ok(descriptor);
        }
        let begin = Call::post(
            self.url(at, "blobs/uploads/").await?,
            "application/octet-stream",
            Bytes::new(),
        );
        let begun = self.send(&what, at, Access::Write, begin).await?;
        let begun = self.check(&what, at, begun, &[202])?;
        let mut target = upload_target(&what, &begun)?;
        target
            .query_pairs_mut()
            .append_pair("digest", &descriptor.digest.to_string());
        // Not whoever answered after redirects: only the registry itself may have our token.
        let foreign = target.origin() != self.base(at).await?.origin();
        let put = Call::new(Method::PUT, target).body("application/octet-stream", content);
        let done = if foreign {
            // A signed URL of somebody else's storage, who is not to have our token.
            self.0
                .agent
                .send(&put)
                .await
                .map_err(|source| unanswered(&what, source))?
        } else {
            self.send(&what, at, Access::Write, put).await?
        };
        if done.status.is_success() {
            return Ok(descriptor);
        }
        // The upload may have been closed by an attempt whose answer was lost.
        if self.has_blob(at, &descriptor.digest).await.unwrap_or(false) {
            return Ok(descriptor);
        }
        self.check(&what, at, done, &[]).map(|_| descriptor)
    }

    /// Makes a blob of another repository of the same registry known in this one; false if the registry wants it uploaded.
    pub async fn mount(
        &self,
        at: &Repository,
        digest: &Digest,
        from: &Repository,
    ) -> Result<bool, OciError> {
        let what = format!("mounting {digest} of {from} in {at}");
        let mut url = self.url(at, "blobs/uploads/").await?;
        url.query_pairs_mut()
            .append_pair("mount", &digest.to_string())
            .append_pair("from", from.name());
        let call = Call::post(url, "application/octet-stream", Bytes::new());
        let answer = self.send(&what, at, Access::Write, call).await?;
        let answer = self.check(&what, at, answer, &[201, 202])?;
        if answer.status.as_u16() == 201 {
            return Ok(true);
        }
        // The registry began an upload instead. An abandoned one goes away by itself; this only makes it sooner.
        if let Ok(target) = upload_target(&what, &answer)
            && target.origin() == self.base(at).await?.origin()
        {
            let cancel = Call::new(Method::DELETE, target);
            let _gone_anyway = self.send(&what, at, Access::Write, cancel).await;
        }
        Ok(false)
    }

    /// Writes a manifest under its digest or a tag; says whether the registry took note of its subject (`OCI-Subject`).
    pub async fn push_manifest(
        &self,
        at: &Repository,
        target: &str,
        media_type: &'static str,
        manifest: Bytes,
    ) -> Result<bool, OciError> {
        let what = format!("writing the manifest {target} to {at}");
        let expected = Digest::of(HashAlgorithm::Sha256, &manifest).to_string();
        let url = self.url(at, &format!("manifests/{target}")).await?;
        let call = Call::new(Method::PUT, url).body(media_type, manifest);
        let answer = self.send(&what, at, Access::Write, call).await?;
        let answer = self.check(&what, at, answer, &[200, 201, 202])?;
        match answer.header("docker-content-digest") {
            Some(stored) if stored.starts_with("sha256:") && stored != expected => {
                Err(OciError::Digest {
                    what,
                    found: stored.to_owned(),
                })
            }
            _ => Ok(answer.header("oci-subject").is_some()),
        }
    }

    /// Makes a call as whoever the registry wants us to be.
    pub(crate) async fn send(
        &self,
        what: &str,
        at: &Repository,
        access: Access,
        call: Call,
    ) -> Result<Answer, OciError> {
        let failed = |source| unanswered(what, source);
        let auth = &self.0.auth;
        let first = match auth.known(at, access) {
            Some(authorization) => authorization.on(call.clone()),
            None => call.clone(),
        };
        let answer = self.0.agent.send(&first).await.map_err(failed)?;
        // A host that we were sent on to may not ask who we are: it would name a token service of its own.
        if answer.status.as_u16() != 401 || answer.url.origin() != call.url().origin() {
            return Ok(answer);
        }
        match auth
            .answer(&self.0.tokens, at, access, &answer)
            .await
            .map_err(failed)?
        {
            Some(authorization) => self
                .0
                .agent
                .send(&authorization.on(call))
                .await
                .map_err(failed),
            None => Ok(answer),
        }
    }

    pub(crate) fn check(
        &self,
        what: &str,
        at: &Repository,
        answer: Answer,
        statuses: &[u16],
    ) -> Result<Answer, OciError> {
        let what = what.to_owned();
        answer
            .expect(statuses)
            .map_err(|refused| match refused.status.as_u16() {
                401 | 403 => OciError::Denied {
                    what,
                    registry: at.host().to_owned(),
                    anonymous: [Access::Read, Access::Write]
                        .into_iter()
                        .filter_map(|access| self.0.auth.known(at, access))
                        .all(|known| known.anonymous),
                    refused,
                },
                404 => OciError::NotFound { what },
                _ => OciError::Refused { what, refused },
            })
    }

    async fn blob_url(&self, at: &Repository, digest: &Digest) -> Result<Url, OciError> {
        self.url(at, &format!("blobs/{digest}")).await
    }

    pub(crate) async fn url(&self, at: &Repository, path: &str) -> Result<Url, OciError> {
        let mut url = self.base(at).await?;
        url.set_path(&format!("/v2/{}/{path}", at.name()));
        Ok(url)
    }

    /// Scheme and host of a registry: HTTPS, or what it speaks where plain HTTP may be.
    async fn base(&self, at: &Repository) -> Result<Url, OciError> {
        let host = at.api_host();
        let known = || {
            let bases = self.0.bases.lock().unwrap_or_else(PoisonError::into_inner);
            bases.get(host).cloned()
        };
        if let Some(base) = known() {
            return Ok(base);
        }
        let parse = |scheme: &str| {
            Url::parse(&format!("{scheme}://{host}/")).map_err(|error| OciError::Malformed {
                what: format!("calling {host}"),
                why: error.to_string(),
            })
        };
        let (https, http) = (parse("https")?, parse("http")?);
        let base = if is_loopback(&https) {
            self.first_that_answers([http, https]).await
        } else if self.0.plain_http {
            self.first_that_answers([https, http]).await
        } else {
            https
        };
        let mut bases = self.0.bases.lock().unwrap_or_else(PoisonError::into_inner);
        bases.insert(host.to_owned(), base.clone());
        Ok(base)
    }

    /// The first of the two if neither is a registry: then the call itself says why.
    async fn first_that_answers(&self, [first, second]: [Url; 2]) -> Url {
        for base in [&first, &second] {
            let mut url = base.clone();
            url.set_path("/v2/");
            if let Ok(answer) = self.0.probe.send(&Call::get(url)).await
                && matches!(answer.status.as_u16(), 200 | 401 | 403 | 404 | 429)
            {
                return base.clone();
            }
        }
        first
    }
}

fn upload_target(what: &str, begun: &Answer) -> Result<Url, OciError> {
    begun
        .header(LOCATION.as_str())
        .and_then(|location| begun.url.join(location).ok())
        .ok_or_else(|| OciError::Malformed {
            what: what.to_owned(),
            why: "the registry does not say where to upload to".to_owned(),
        })
}

pub(crate) fn unanswered(what: &str, source: CallError) -> OciError {
    OciError::Call {
        what: what.to_owned(),
        source,
    }
}
