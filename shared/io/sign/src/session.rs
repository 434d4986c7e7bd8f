//! The session.

use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bundle::{Bundle, Content, Signer as BundleSigner, Version};
use client::{Agent, Fulcio, IdentityToken, Rekor, RekorError, RekorV1, Tsa};
use dsse::{Envelope, IN_TOTO, Statement};
use entry::{LogEntry, Proposed, ProposedV1, Signed, Verifier};
use futures_util::future::{join_all, try_join_all};
use jiff::{SignedDuration, Timestamp};
use keys::{Algorithm, Digest, HashAlgorithm, PublicKey};
use pki::{Certificate, FulcioExtensions};
use signer::Signer;
use tokio::sync::Mutex;
use trust::TrustedRoot;
use url::Url;
use verify::{Artifact, Expect, IdentityPolicy, Matcher, Step, Verified, VerifyError};

use crate::error::{Logged, SignError};
use crate::own::{OwnCertificate, OwnCertificateError};
use crate::services::{LogVersion, Services};

/// The fresh keys' algorithm, unless another one is asked for: what every client of Sigstore signs with.
pub const ALGORITHM: Algorithm = Algorithm::EcdsaP256Sha256;
/// The algorithms of which logs take signatures over digests.
pub const LOGGED: [Algorithm; 7] = entry::REKOR_V2_ALGORITHMS;
/// A certificate that ends within this time is not used for the next signature: log and timestamp authority need some of it. The longest
/// that one call may take, with a moment for clocks that differ.
const MARGIN: SignedDuration = SignedDuration::from_secs(75);
/// How often a signature is made anew because the log has it already, from an attempt whose answer was lost.
const ATTEMPTS: u32 = 2;

/// A signing session. All calls take `&self`: many artifacts may be signed at the same time.
#[derive(Debug)]
pub struct Session {
    agent: Agent,
    /// For timestamp authorities, which may want to know who calls.
    stamping: Agent,
    services: Services,
    root: TrustedRoot,
    holder: Holder,
}

/// By what right the session signs.
#[derive(Debug)]
enum Holder {
    /// An identity, for which a certificate authority vouches.
    Identity(Box<Login>),
    /// A key that verifiers know already, or the authority of its certificate.
    Key {
        credential: Arc<Credential>,
        certificate: Option<OwnCertificate>,
    },
}

#[derive(Debug)]
struct Login {
    authority: Url,
    token: IdentityToken,
    /// Of the fresh keys.
    algorithm: Algorithm,
    /// The hash that goes with it.
    hash: HashAlgorithm,
    /// Held while a certificate is asked for, so that signatures at the same time ask once; not while anything else is.
    credential: Mutex<Arc<Credential>>,
}

/// A key, and the certificate for it, which held, where there is one.
#[derive(Debug)]
struct Credential {
    signer: Signer,
    leaf: Option<Certificate>,
}

impl Credential {
    /// The hash of digests that the key signs.
    fn hash(&self) -> Result<HashAlgorithm, SignError> {
        hash_of(self.signer.algorithm())
    }
}

fn hash_of(algorithm: Algorithm) -> Result<HashAlgorithm, SignError> {
    let none = SignError::Key(signer::SignerError::NoDigests(algorithm));
    algorithm.hash().ok_or(none)
}

/// A bundle that verifies.
#[derive(Debug)]
pub struct SignedBundle {
    json: Vec<u8>,
    bundle: Bundle,
    verified: Verified,
}

impl SignedBundle {
    /// The bundle: JSON on one line, without a newline at the end.
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// The bundle's bytes, given away.
    pub fn into_json(self) -> Vec<u8> {
        self.json
    }

    /// The bundle as it was read from [`json`](Self::json).
    pub const fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// What verifying it told: who signed, at what time, where it is recorded.
    pub const fn verified(&self) -> &Verified {
        &self.verified
    }
}

/// What is to be signed.
enum What {
    Message(Digest),
    Envelope {
        payload: Vec<u8>,
        /// One of the subjects' digests, to verify the bundle with.
        about: Digest,
    },
}

impl Session {
    /// Makes a key and gets a certificate for it. `root` is what the people who will verify trust; nothing that it would refuse is used or given
    /// out.
    pub async fn start(
        agent: &Agent,
        services: Services,
        root: TrustedRoot,
        token: IdentityToken,
        now: Timestamp,
    ) -> Result<Self, SignError> {
        Self::start_with(agent, services, root, token, ALGORITHM, now).await
    }

    /// [`start`](Self::start) with fresh keys of another algorithm: one of [`LOGGED`].
    pub async fn start_with(
        agent: &Agent,
        services: Services,
        root: TrustedRoot,
        token: IdentityToken,
        algorithm: Algorithm,
        now: Timestamp,
    ) -> Result<Self, SignError> {
        let authority = services.fulcio().ok_or(SignError::NoAuthority)?.clone();
        let hash = hash_of(algorithm)?;
        let credential = certify(agent, &authority, &root, &token, algorithm, now).await?;
        Ok(Self {
            agent: agent.clone(),
            stamping: agent.clone(),
            services,
            root,
            holder: Holder::Identity(Box::new(Login {
                authority,
                token,
                algorithm,
                hash,
                credential: Mutex::new(Arc::new(credential)),
            })),
        })
    }

    /// Signs with a key of one's own, which verifiers must have: ECDSA or RSA. What logs and timestamp authorities say must hold against
    /// `root`; without services nothing of it is looked at.
    pub fn with_key(
        agent: &Agent,
        services: Services,
        root: TrustedRoot,
        signer: Signer,
    ) -> Result<Self, SignError> {
        Self::with_own(agent, services, root, signer, None)
    }

    /// [`with_key`](Self::with_key) and a certificate for the key, which bundles and logs have instead of the key. `root` need not know its authority: that the
    /// bundles hold is seen with the key.
    pub fn with_certificate(
        agent: &Agent,
        services: Services,
        root: TrustedRoot,
        signer: Signer,
        certificate: OwnCertificate,
    ) -> Result<Self, SignError> {
        if certificate.leaf().public_key() != signer.public_key() {
            return Err(SignError::OwnCertificate(OwnCertificateError::OtherKey));
        }
        Self::with_own(agent, services, root, signer, Some(certificate))
    }

    fn with_own(
        agent: &Agent,
        services: Services,
        root: TrustedRoot,
        signer: Signer,
        certificate: Option<OwnCertificate>,
    ) -> Result<Self, SignError> {
        let leaf = certificate.as_ref().map(|own| own.leaf().clone());
        let credential = Credential { signer, leaf };
        credential.hash()?;
        Ok(Self {
            agent: agent.clone(),
            stamping: agent.clone(),
            services,
            root,
            holder: Holder::Key {
                credential: Arc::new(credential),
                certificate,
            },
        })
    }

    /// Calls timestamp authorities by another agent, as where they ask for a certificate of the client's.
    #[must_use]
    pub fn stamping_by(self, agent: Agent) -> Self {
        Self {
            stamping: agent,
            ..self
        }
    }

    /// The certificate that was brought along for a key of one's own.
    pub const fn own_certificate(&self) -> Option<&OwnCertificate> {
        match &self.holder {
            Holder::Key { certificate, .. } => certificate.as_ref(),
            Holder::Identity(_) => None,
        }
    }

    /// The hash of the digests that this session signs.
    pub fn hash(&self) -> HashAlgorithm {
        match &self.holder {
            Holder::Identity(login) => login.hash,
            // There is one, or there would be no session.
            Holder::Key { credential, .. } => credential.hash().unwrap_or(HashAlgorithm::Sha256),
        }
    }

    /// The certificate of the next signature, if it is made soon; none where a key of one's own signs without one.
    pub async fn certificate(&self) -> Option<Certificate> {
        match &self.holder {
            Holder::Identity(login) => login.credential.lock().await.leaf.clone(),
            Holder::Key { credential, .. } => credential.leaf.clone(),
        }
    }

    /// What a bundle of this session's own signer is verified with: the identity in its certificate, or its key. It takes as well what the same signer
    /// signed at another time; as for a log, what this session asks for. None when the certificate names nobody.
    pub async fn own(&self) -> Option<Expect> {
        match &self.holder {
            Holder::Identity(login) => {
                let credential = Arc::clone(&*login.credential.lock().await);
                let leaf = credential.leaf.as_ref()?;
                let extensions = FulcioExtensions::from_certificate(leaf).ok()?;
                Some(Expect::Identity(IdentityPolicy {
                    subject: Matcher::Exact(leaf.subject_names().first()?.value().to_owned()),
                    issuer: Matcher::Exact(extensions.issuer()?.to_owned()),
                    extensions: Vec::new(),
                }))
            }
            Holder::Key { credential, .. } => Some(self.key(credential)),
        }
    }

    /// Whoever verifies with the key.
    fn key(&self, credential: &Credential) -> Expect {
        let key = credential.signer.public_key().clone();
        if self.services.logs().is_empty() {
            Expect::UnloggedKey(key)
        } else {
            Expect::Key(key)
        }
    }

    /// What those who will verify trust.
    pub const fn root(&self) -> &TrustedRoot {
        &self.root
    }

    /// Whom the session calls.
    pub const fn services(&self) -> &Services {
        &self.services
    }

    /// Signs an artifact of which the digest by [`hash`](Self::hash) is known.
    pub async fn sign_digest(
        &self,
        digest: Digest,
        now: Timestamp,
    ) -> Result<SignedBundle, SignError> {
        if digest.algorithm() != self.hash() {
            return Err(SignError::OtherHash {
                needed: self.hash(),
                found: digest.algorithm(),
            });
        }
        self.sign(&What::Message(digest), now).await
    }

    /// Signs an in-toto statement in an envelope. Its bytes are signed as they are.
    pub async fn sign_statement(
        &self,
        statement: Vec<u8>,
        now: Timestamp,
    ) -> Result<SignedBundle, SignError> {
        // A statement that no verifier reads is refused before it is in a log for ever.
        let parsed = Statement::parse(&statement).map_err(SignError::Statement)?;
        let what = What::Envelope {
            about: known_digest(&parsed).ok_or(SignError::NoKnownDigest)?,
            payload: statement,
        };
        self.sign(&what, now).await
    }

    async fn sign(&self, what: &What, now: Timestamp) -> Result<SignedBundle, SignError> {
        let credential = self.credential(now).await?;
        let mut attempt = 1;
        loop {
            match self.sign_with(&credential, what).await {
                // ECDSA signatures differ each time, so that the next one is new to the log; those of the other algorithms do not.
                Err(error)
                    if attempt < ATTEMPTS
                        && is_duplicate(&error)
                        && is_ecdsa(credential.signer.algorithm()) =>
                {
                    tracing::debug!(%error, "making a new signature");
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// The certificate in use, or the next one if that is about to end.
    async fn credential(&self, now: Timestamp) -> Result<Arc<Credential>, SignError> {
        let login = match &self.holder {
            Holder::Identity(login) => login,
            Holder::Key {
                credential,
                certificate,
            } => {
                if let Some(certificate) = certificate {
                    let holds = certificate.check_time(now);
                    holds.map_err(SignError::OwnCertificate)?;
                }
                return Ok(Arc::clone(credential));
            }
        };
        let mut current = login.credential.lock().await;
        let good = now.checked_add(MARGIN).is_ok_and(|end| {
            let leaf = current.leaf.as_ref();
            leaf.is_some_and(|leaf| leaf.not_after() >= end)
        });
        if !good {
            let (url, token) = (&login.authority, &login.token);
            let next = certify(&self.agent, url, &self.root, token, login.algorithm, now).await?;
            *current = Arc::new(next);
        }
        Ok(Arc::clone(&current))
    }

    async fn sign_with(
        &self,
        credential: &Credential,
        what: &What,
    ) -> Result<SignedBundle, SignError> {
        let (content, digest) = content(credential, what).await?;
        let signature = content.signature();
        let by_key = || BundleSigner::Key {
            hint: hint(credential.signer.public_key()),
        };
        let signer = match &credential.leaf {
            Some(leaf) => BundleSigner::Certificate {
                leaf: leaf.clone(),
                intermediates: Vec::new(),
            },
            None => by_key(),
        };
        // An entry in a log is there for ever, and without the rest of its bundle it is worth nothing. So the log comes last: by then all else that may fail
        // has not. That costs one artifact the time of one answer more, milliseconds before the seconds that a log takes; of artifacts that are signed at
        // the same time the requests to both run side by side.
        let timestamps = self.timestamps(signature).await?;
        if !self.services.logs().is_empty() {
            // As in the end, when it is the key that is looked at.
            let seen = match &self.holder {
                Holder::Identity(_) => &signer,
                Holder::Key { .. } => &by_key(),
            };
            verify::before_logging(seen, &timestamps, signature, &self.root).map_err(|source| {
                SignError::Refused {
                    services: self.answerable(&source),
                    source: Box::new(source),
                }
            })?;
        }
        let entries = self.entries(credential, &content, &digest).await?;
        let (logged, entries): (Vec<Logged>, Vec<LogEntry>) = entries.into_iter().unzip();
        let bundle = Bundle {
            version: Version::V03,
            signer,
            entries,
            timestamps,
            content,
        };
        let json = bundle
            .to_json()
            .map_err(|error| SignError::Bundle(bundle::BundleError::Wire(error.into())));
        json.and_then(|json| self.close(json, credential, what))
            .map_err(|error| after_logging(logged, error))
    }

    async fn timestamps(&self, signature: &[u8]) -> Result<Vec<Vec<u8>>, SignError> {
        try_join_all(self.services.timestamp_authorities().iter().map(|url| {
            timed("timestamp", url, async {
                Tsa::new(&self.stamping, url)
                    .timestamp(signature)
                    .await
                    .map_err(|source| SignError::Timestamp {
                        url: url.clone(),
                        source: Box::new(source),
                    })
            })
        }))
        .await
    }

    async fn entries(
        &self,
        credential: &Credential,
        content: &Content,
        digest: &Digest,
    ) -> Result<Vec<(Logged, LogEntry)>, SignError> {
        let signed = Signed {
            signature: content.signature().to_vec(),
            verifier: match &credential.leaf {
                Some(leaf) => Verifier::Certificate(leaf.clone()),
                None => Verifier::Key(credential.signer.public_key().clone()),
            },
        };
        let algorithm = credential.signer.algorithm();
        let request = match (self.services.log_version(), content) {
            (LogVersion::V2, _) => Request::V2(Proposed::hashedrekord(digest, &signed, algorithm)),
            (LogVersion::V1, Content::Message { .. }) => {
                Request::V1(ProposedV1::hashedrekord(digest, &signed))
            }
            // Verifiers of before version 3 of cosign know an envelope in a log by its payload.
            (LogVersion::V1, Content::Envelope(envelope)) => {
                let proposed = ProposedV1::dsse(envelope, &signed.verifier);
                Request::V1(
                    proposed.map_err(|error| {
                        SignError::Bundle(bundle::BundleError::Wire(error.into()))
                    })?,
                )
            }
        };
        // Each of them to its end: what one log took is told when another one refuses.
        let answers = join_all(self.services.logs().iter().map(|url| {
            let request = &request;
            timed("log", url, async move {
                let added = match request {
                    Request::V1(proposed) => RekorV1::new(&self.agent, url).add(proposed).await,
                    Request::V2(proposed) => {
                        let request = proposed.to_wire();
                        Rekor::new(&self.agent, url).add(&request).await
                    }
                };
                let entry = added.map_err(|source| SignError::Record {
                    url: url.clone(),
                    source: Box::new(source),
                })?;
                let (url, index) = (url.clone(), entry.index);
                Ok((Logged { url, index }, entry))
            })
        }))
        .await;
        let mut entries = Vec::new();
        let mut failed = None;
        for answer in answers {
            match answer {
                Ok(entry) => entries.push(entry),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            None => Ok(entries),
            Some(error) => {
                let logged = entries.into_iter().map(|(logged, _)| logged).collect();
                Err(after_logging(logged, error))
            }
        }
    }

    /// Reads the bytes back and verifies them, as whoever gets them will.
    fn close(
        &self,
        json: Vec<u8>,
        credential: &Credential,
        what: &What,
    ) -> Result<SignedBundle, SignError> {
        let bundle = Bundle::parse(&json).map_err(SignError::Bundle)?;
        let artifact = Artifact::from_digest(match what {
            What::Message(digest) => *digest,
            What::Envelope { about, .. } => *about,
        });
        let expect = match (&self.holder, &credential.leaf) {
            (Holder::Identity(_), Some(leaf)) => Expect::ExactCertificate(leaf.clone()),
            _ => self.key(credential),
        };
        let verified =
            verify::bundle(&bundle, &artifact, &self.root, &expect).map_err(|source| {
                SignError::Refused {
                    services: self.answerable(&source),
                    source: Box::new(source),
                }
            })?;
        Ok(SignedBundle {
            json,
            bundle,
            verified,
        })
    }

    /// Whose answer a refused step is about.
    fn answerable(&self, error: &VerifyError) -> Vec<Url> {
        match error.step() {
            Step::Record | Step::Binding => self.services.logs().to_vec(),
            Step::Time => self.services.timestamp_authorities().to_vec(),
            // The certificate held at its first moment; at the stated times it may not.
            Step::Leaf => self
                .services
                .fulcio()
                .into_iter()
                .chain(self.services.timestamp_authorities())
                .cloned()
                .collect(),
            Step::Signature | Step::Identity => Vec::new(),
        }
    }
}

/// Asks for a certificate for a fresh key and checks it as a verifier will.
async fn certify(
    agent: &Agent,
    url: &Url,
    root: &TrustedRoot,
    token: &IdentityToken,
    algorithm: Algorithm,
    now: Timestamp,
) -> Result<Credential, SignError> {
    token.check_time(now).map_err(SignError::Token)?;
    let subject = token.subject_for_proof().map_err(SignError::Token)?;
    let signer = Signer::generate(algorithm).map_err(SignError::Key)?;
    let proof = signer
        .sign(subject.as_bytes())
        .await
        .map_err(SignError::Key)?;
    let fulcio = Fulcio::new(agent, url);
    let asked = async {
        fulcio
            .certificate(token, signer.public_key(), &proof)
            .await
            .map_err(|source| SignError::Certificate {
                url: url.clone(),
                source: Box::new(source),
            })
    };
    let chain = timed("certificate", url, asked).await?;
    let leaf = chain
        .into_iter()
        .next()
        .ok_or_else(|| SignError::Certificate {
            url: url.clone(),
            source: Box::new(client::FulcioError::Empty),
        })?;
    if leaf.public_key() != signer.public_key() {
        return Err(SignError::OtherKey { url: url.clone() });
    }
    // Without the intermediates that came along: a bundle carries the leaf alone, and the rest is in the verifiers' trusted root or nowhere.
    verify::fresh_leaf(&leaf, &[], root).map_err(|source| SignError::Leaf {
        url: url.clone(),
        source: Box::new(source),
    })?;
    Ok(Credential {
        signer,
        leaf: Some(leaf),
    })
}

/// What logs are asked for.
enum Request {
    V1(ProposedV1),
    V2(Proposed),
}

/// An error, and where the signature is by then.
fn after_logging(logged: Vec<Logged>, error: SignError) -> SignError {
    if logged.is_empty() {
        return error;
    }
    SignError::AfterLogging {
        logged,
        source: Box::new(error),
    }
}

/// Does a log have the entry already?
fn is_duplicate(error: &SignError) -> bool {
    match error {
        SignError::Record { source, .. } => matches!(**source, RekorError::Duplicate { .. }),
        SignError::AfterLogging { source, .. } => is_duplicate(source),
        _ => false,
    }
}

const fn is_ecdsa(algorithm: Algorithm) -> bool {
    matches!(
        algorithm,
        Algorithm::EcdsaP256Sha256 | Algorithm::EcdsaP384Sha384 | Algorithm::EcdsaP521Sha512
    )
}

/// What cosign writes beside a signature with a key: the SHA-256 of its SubjectPublicKeyInfo, base64. It helps to find the key, and proves nothing.
fn hint(key: &PublicKey) -> String {
    STANDARD.encode(key.key_id())
}

/// Signs; the digest is what the signature is over, which is what the log keeps.
async fn content(credential: &Credential, what: &What) -> Result<(Content, Digest), SignError> {
    let signer = &credential.signer;
    match what {
        What::Message(digest) => {
            let signature = signer.sign_digest(digest).await.map_err(SignError::Key)?;
            let content = Content::Message {
                signature,
                digest: Some(*digest),
            };
            Ok((content, *digest))
        }
        What::Envelope { payload, .. } => {
            // rekor-v2-spec: an envelope is logged as the digest of its pre-authentication encoding, so that the log never sees the payload.
            let digest = Digest::of(credential.hash()?, &dsse::pae(IN_TOTO, payload));
            let signature = signer.sign_digest(&digest).await.map_err(SignError::Key)?;
            let envelope = Envelope {
                payload: payload.clone(),
                payload_type: IN_TOTO.to_owned(),
                signature,
                keyid: String::new(),
            };
            Ok((Content::Envelope(envelope), digest))
        }
    }
}

fn known_digest(statement: &Statement) -> Option<Digest> {
    HashAlgorithm::ALL.into_iter().find_map(|hash| {
        statement
            .subject
            .iter()
            .filter_map(|subject| subject.digest.get(hash.name()))
            .find_map(|digits| {
                Digest::parse(&format!("{}:{}", hash.name(), digits.to_ascii_lowercase())).ok()
            })
    })
}

/// Tells how long a service took.
async fn timed<T>(
    step: &'static str,
    url: &Url,
    call: impl Future<Output = Result<T, SignError>>,
) -> Result<T, SignError> {
    let start = Instant::now();
    let outcome = call.await;
    let milliseconds = start.elapsed().as_millis();
    tracing::debug!(step, %url, milliseconds, ok = outcome.is_ok(), "asked");
    outcome
}
