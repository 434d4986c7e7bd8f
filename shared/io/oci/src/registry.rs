//! The registry client: manifests and blobs.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use client::{Agent, Answer, Call, CallError, Redirects, Response, is_loopback};
use http::Method;
use http::header::{CONTENT_TYPE, LOCATION};
use keys::{Digest, HashAlgorithm};
use url::Url;

use crate::auth::{Access, Auth};
use crate::credentials::Keychain;
use crate::error::OciError;
use crate::manifest::{ACCEPT, Descriptor, IMAGE_TYPE, Image, MANIFEST_MAX, Typed};
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
    /// Registries that said that they have no lists of referrers. They are asked again each time, and the tag at the same time.
    without_referrers: Mutex<HashSet<String>>,
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
            without_referrers: Mutex::default(),
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
        let url = self.url(at, &format!("manifests/{target}"))?;
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
        let url = self.blob_url(at, &descriptor.digest)?;
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

    /// Has the repository this blob?
    pub async fn has_blob(&self, at: &Repository, digest: &Digest) -> Result<bool, OciError> {
        let what = format!("looking for {digest} in {at}");
        let call = Call::new(Method::HEAD, self.blob_url(at, digest)?);
        let answer = self.send(&what, at, Access::Read, call).await?;
        match answer.status.as_u16() {
            404 => Ok(false),
            _ => self.check(&what, at, answer, &[200]).map(|_| true),
        }
    }

    /// Uploads a blob, unless it is there already.
    pub async fn push_blob(
        &self,
        at: &Repository,
        media_type: &str,
        content: Bytes,
    ) -> Result<Descriptor, OciError> {
        let descriptor = Descriptor::of(media_type, &content);
        self.push_blob_from(at, &descriptor, &mut &content[..])
            .await?;
        Ok(descriptor)
    }

    /// Asked with the right to write, since that is what comes next.
    pub(crate) async fn has_blob_to_write(
        &self,
        what: &str,
        at: &Repository,
        digest: &Digest,
    ) -> Result<bool, OciError> {
        let call = Call::new(Method::HEAD, self.blob_url(at, digest)?);
        let there = self.send(what, at, Access::Write, call).await?;
        Ok(there.status.is_success())
    }

    pub(crate) async fn begin_upload(
        &self,
        what: &str,
        at: &Repository,
    ) -> Result<Answer, OciError> {
        let url = self.url(at, "blobs/uploads/")?;
        let begin = Call::post(url, "application/octet-stream", Bytes::new());
        let begun = self.send(what, at, Access::Write, begin).await?;
        self.check(what, at, begun, &[202])
    }

    /// Uploads a blob in one piece.
    pub(crate) async fn put_blob(
        &self,
        what: &str,
        at: &Repository,
        digest: &Digest,
        content: Bytes,
    ) -> Result<(), OciError> {
        let begun = self.begin_upload(what, at).await?;
        let target = upload_target(what, &begun)?;
        self.finish_upload(what, at, target, digest, content).await
    }

    /// Closes an upload, with what is left to send.
    pub(crate) async fn finish_upload(
        &self,
        what: &str,
        at: &Repository,
        mut target: Url,
        digest: &Digest,
        rest: Bytes,
    ) -> Result<(), OciError> {
        target
            .query_pairs_mut()
            .append_pair("digest", &digest.to_string());
        let put = Call::new(Method::PUT, target).body("application/octet-stream", rest);
        let done = self.send_upload(what, at, put).await?;
        if done.status.is_success() {
            return Ok(());
        }
        // The upload may have been closed by an attempt whose answer was lost.
        if self.has_blob(at, digest).await.unwrap_or(false) {
            return Ok(());
        }
        self.check(what, at, done, &[]).map(drop)
    }

    pub(crate) async fn cancel_upload(&self, what: &str, at: &Repository, target: Url) {
        let cancel = Call::new(Method::DELETE, target);
        let _gone_anyway = self.send_upload(what, at, cancel).await;
    }

    /// Makes a blob of another repository of the same registry known in this one; false if the registry wants it uploaded.
    pub async fn mount(
        &self,
        at: &Repository,
        digest: &Digest,
        from: &Repository,
    ) -> Result<bool, OciError> {
        let what = format!("mounting {digest} of {from} in {at}");
        let mut url = self.url(at, "blobs/uploads/")?;
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
        if let Ok(target) = upload_target(&what, &answer) {
            self.cancel_upload(&what, at, target).await;
        }
        Ok(false)
    }

    /// Writes a manifest under its digest or a tag; says whether the registry took note of its subject (`OCI-Subject`).
    pub async fn push_manifest(
        &self,
        at: &Repository,
        target: &str,
        media_type: &str,
        manifest: Bytes,
    ) -> Result<bool, OciError> {
        let what = format!("writing the manifest {target} to {at}");
        let expected = Digest::of(HashAlgorithm::Sha256, &manifest).to_string();
        let url = self.url(at, &format!("manifests/{target}"))?;
        let call = Call::new(Method::PUT, url)
            .body(IMAGE_TYPE, manifest)
            .header(CONTENT_TYPE, media_type);
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

    /// Deletes a manifest by digest, or a tag; false if there is none.
    pub async fn delete_manifest(&self, at: &Repository, target: &str) -> Result<bool, OciError> {
        let what = format!("deleting {target} of {at}");
        let url = self.url(at, &format!("manifests/{target}"))?;
        let answer = self
            .send(&what, at, Access::Delete, Call::new(Method::DELETE, url))
            .await?;
        match answer.status.as_u16() {
            404 => Ok(false),
            _ => self
                .check(&what, at, answer, &[200, 202, 204])
                .map(|_| true),
        }
    }

    /// Asks who we are, without doing anything: fails if the registry does not let us in.
    pub async fn ping(&self, at: &Repository) -> Result<(), OciError> {
        let what = format!("asking {} who we are", at.host());
        let mut url = self.base(at)?;
        url.set_path("/v2/");
        let answer = self.send(&what, at, Access::Login, Call::get(url)).await?;
        self.check(&what, at, answer, &[200]).map(drop)
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
        let (call, asked) = self.first_call(at, call).await?;
        let answer = if let Some(answer) = asked {
            answer
        } else {
            let first = match auth.known(at, access) {
                Some(authorization) => authorization.on(call.clone()),
                None => call.clone(),
            };
            self.0.agent.send(&first).await.map_err(failed)?
        };
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

    /// [`send`](Self::send) for an answer that the caller reads piece by piece.
    pub(crate) async fn open(
        &self,
        what: &str,
        at: &Repository,
        access: Access,
        call: Call,
    ) -> Result<Response, OciError> {
        let failed = |source| unanswered(what, source);
        let auth = &self.0.auth;
        let base = self.settle_base(at).await?;
        let call = self.moved(at, call, &base)?;
        let first = match auth.known(at, access) {
            Some(authorization) => authorization.on(call.clone()),
            None => call.clone(),
        };
        let response = self.0.agent.open(&first).await.map_err(failed)?;
        if response.status().as_u16() != 401 || response.url().origin() != call.url().origin() {
            return Ok(response);
        }
        let refusal = Answer {
            status: response.status(),
            headers: response.headers().clone(),
            body: Bytes::new(),
            url: response.url().clone(),
        };
        match auth
            .answer(&self.0.tokens, at, access, &refusal)
            .await
            .map_err(failed)?
        {
            Some(authorization) => self
                .0
                .agent
                .open(&authorization.on(call))
                .await
                .map_err(failed),
            None => Ok(response),
        }
    }

    pub(crate) fn agent(&self) -> &Agent {
        &self.0.agent
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
                    anonymous: Access::ALL
                        .into_iter()
                        .filter_map(|access| self.0.auth.known(at, access))
                        .all(|known| known.anonymous),
                    refused,
                },
                404 => OciError::NotFound { what },
                _ => OciError::Refused { what, refused },
            })
    }

    pub(crate) fn blob_url(&self, at: &Repository, digest: &Digest) -> Result<Url, OciError> {
        self.url(at, &format!("blobs/{digest}"))
    }

    pub(crate) fn url(&self, at: &Repository, path: &str) -> Result<Url, OciError> {
        let mut url = self.base(at)?;
        url.set_path(&format!("/v2/{}/{path}", at.name()));
        Ok(url)
    }

    /// Scheme and host of a registry: HTTPS, or what it speaks where plain HTTP may be. Of one that was never called the likelier.
    pub(crate) fn base(&self, at: &Repository) -> Result<Url, OciError> {
        if let Some(base) = self.known_base(at) {
            return Ok(base);
        }
        let [likely, _] = self.bases(at)?;
        Ok(likely)
    }

    fn known_base(&self, at: &Repository) -> Option<Url> {
        let bases = self.0.bases.lock().unwrap_or_else(PoisonError::into_inner);
        bases.get(at.api_host()).cloned()
    }

    fn keep_base(&self, at: &Repository, base: &Url) {
        let mut base = base.clone();
        base.set_path("/");
        base.set_query(None);
        let mut bases = self.0.bases.lock().unwrap_or_else(PoisonError::into_inner);
        bases.insert(at.api_host().to_owned(), base);
    }

    /// What a registry may speak, the likelier first; twice the same where there is no question.
    fn bases(&self, at: &Repository) -> Result<[Url; 2], OciError> {
        let host = at.api_host();
        let parse = |scheme: &str| {
            Url::parse(&format!("{scheme}://{host}/")).map_err(|error| OciError::Malformed {
                what: format!("calling {host}"),
                why: error.to_string(),
            })
        };
        let (https, http) = (parse("https")?, parse("http")?);
        Ok(if is_loopback(&https) {
            [http, https]
        } else if self.0.plain_http {
            [https, http]
        } else {
            [https.clone(), https]
        })
    }

    /// Where nobody knows yet whether a registry speaks TLS, the first call to it is the question: mostly it is also the answer, and no
    /// request was made for nothing.
    async fn first_call(
        &self,
        at: &Repository,
        call: Call,
    ) -> Result<(Call, Option<Answer>), OciError> {
        let [likely, other] = self.bases(at)?;
        if let Some(base) = self.known_base(at) {
            // It may have become known after the call was made.
            return Ok((self.moved(at, call, &base)?, None));
        }
        if likely == other || call.url().origin() != likely.origin() {
            return Ok((call, None));
        }
        if let Ok(answer) = self.0.probe.send(&call).await
            // What servers say to plain HTTP on a port for TLS.
            && answer.status.as_u16() != 400
        {
            self.keep_base(at, &likely);
            let may_pass = answer.status.as_u16() == 429 || answer.status.is_server_error();
            return Ok((call, (!may_pass).then_some(answer)));
        }
        let base = self.settle_base(at).await?;
        Ok((self.moved(at, call, &base)?, None))
    }

    /// A call to the registry goes to where it is, whatever was likely when the call was made.
    fn moved(&self, at: &Repository, call: Call, base: &Url) -> Result<Call, OciError> {
        let origin = call.url().origin();
        let ours = self.bases(at)?.iter().any(|may| may.origin() == origin);
        if !ours || origin == base.origin() {
            return Ok(call);
        }
        let mut url = base.clone();
        url.set_path(call.url().path());
        url.set_query(call.url().query());
        Ok(call.with_url(url))
    }

    pub(crate) fn is_without_referrers(&self, at: &Repository) -> bool {
        let known = &self.0.without_referrers;
        let known = known.lock().unwrap_or_else(PoisonError::into_inner);
        known.contains(at.api_host())
    }

    pub(crate) fn keep_without_referrers(&self, at: &Repository) {
        let known = &self.0.without_referrers;
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(at.api_host().to_owned());
    }

    /// Asks which of the two it is, if nobody knows; the first one if neither is a registry: then the call itself says why.
    async fn settle_base(&self, at: &Repository) -> Result<Url, OciError> {
        if let Some(base) = self.known_base(at) {
            return Ok(base);
        }
        let [first, second] = self.bases(at)?;
        if first == second {
            return Ok(first);
        }
        for base in [&first, &second] {
            let mut url = base.clone();
            url.set_path("/v2/");
            if let Ok(answer) = self.0.probe.send(&Call::get(url)).await
                && matches!(answer.status.as_u16(), 200 | 401 | 403 | 404 | 429)
            {
                self.keep_base(at, base);
                return Ok(base.clone());
            }
        }
        Ok(first)
    }
}

pub(crate) fn upload_target(what: &str, begun: &Answer) -> Result<Url, OciError> {
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
