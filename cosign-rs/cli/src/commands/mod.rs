//! The commands. Each reads what it needs to know first (trust, expectation, references) and does the slow and the lasting things after.

mod already;
mod attach;
mod batch;
mod blob;
mod blob_signing;
mod bundle_tool;
mod candidates;
mod create;
mod doctor;
mod domains;
mod download;
mod environment;
mod image;
mod image_old;
mod image_signing;
mod key;
mod kit;
mod lines;
mod login;
mod own_certificate;
mod program;
mod questions;
mod server;
mod storage;
mod targets;
mod tuf_conformance;

use anyhow::{Context as _, Result};
use client::{Agent, IdentityToken};
use jiff::Timestamp;
use keys::{Algorithm, HashAlgorithm};
use oci::Repository;
use sign::{OwnCertificate, Services, Session};
use signer::Signer;
use trust::{SigningConfig, TrustedRoot};
use verify::{Expect, Identities, IdentityPolicy, Matcher};

use crate::args::{
    self, Arguments, Command, Identity, SigningConfigCommand, SigningConfigCommands, SigningKey,
    TrustedRootCommand, TrustedRootCommands,
};
use crate::consent::{self, By};
use crate::failure::advice;
use crate::patience::Patience;
use crate::tls_files::TlsFiles;
use crate::{identity, private_key, trust_files};

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let patience = Patience::new(arguments.timeout);
    match arguments.command {
        // They wait for people and for signals.
        Command::Root(root) => crate::root::run(root).await,
        Command::VerifyServer(server) => server::run(server).await,
        // They may not be broken off at every moment, and know when they may.
        Command::Sign(sign) => Box::pin(image_signing::sign(sign, &patience)).await,
        Command::Attest(attest) => Box::pin(image_signing::attest(attest, &patience)).await,
        Command::SignBlob(sign) => Box::pin(blob_signing::sign(sign, &patience)).await,
        Command::AttestBlob(attest) => Box::pin(blob_signing::attest(attest, &patience)).await,
        Command::SignBundle(sign) => Box::pin(blob_signing::sign_bundle(sign, &patience)).await,
        command => patience.limit(Box::pin(other(command))).await,
    }
}

/// What may be broken off.
async fn other(command: Command) -> Result<()> {
    match command {
        Command::Sign(_)
        | Command::Attest(_)
        | Command::SignBlob(_)
        | Command::AttestBlob(_)
        | Command::SignBundle(_)
        | Command::Root(_)
        | Command::VerifyServer(_) => anyhow::bail!("not to be broken off"),
        Command::Verify(verify) if verify.stdin => questions::verify(verify).await,
        Command::Verify(verify) => image::verify(verify).await,
        Command::VerifyAttestation(verify) => image::verify_attestation(verify).await,
        Command::VerifyBlob(verify) => blob::verify(&verify).await,
        Command::VerifyBlobAttestation(verify) => blob::verify_attestation(&verify).await,
        Command::VerifyBundle(verify) => blob::verify_bundle(verify).await,
        Command::TufConformance(client) => tuf_conformance::run(client).await,
        Command::Initialize(initialize) => domains::initialize(initialize).await,
        Command::Trust(commands) => domains::run(commands.command).await,
        Command::TrustedRoot(TrustedRootCommands {
            command: TrustedRootCommand::Create(arguments),
        }) => create::trusted_root(&arguments).await,
        Command::SigningConfig(SigningConfigCommands {
            command: SigningConfigCommand::Create(arguments),
        }) => create::signing_config(&arguments).await,
        Command::Copy(copy) => storage::copy(&copy).await,
        Command::Save(save) => storage::save(&save).await,
        Command::Load(load) => storage::load(&load).await,
        Command::Tree(tree) => storage::tree(&tree).await,
        Command::Clean(clean) => storage::clean(&clean).await,
        Command::Triangulate(triangulate) => storage::triangulate(&triangulate).await,
        Command::Attach(attach) => attach::run(attach.what).await,
        Command::Download(download) => download::run(download.what).await,
        Command::Login(login) => login::run(login).await,
        Command::GenerateKeyPair(generate) => key::generate(&generate).await,
        Command::ImportKeyPair(import) => key::import(&import).await,
        Command::PublicKey(public) => key::public(&public).await,
        Command::Bundle(commands) => bundle_tool::run(commands.command).await,
        Command::Doctor(doctor) => doctor::run(doctor).await,
        Command::Env(arguments) => environment::print(&arguments),
        Command::Debug(commands) => environment::debug(&commands.command),
        Command::Pkcs11Tool(tool) => key::list(tool.command),
        Command::Version { json } => program::version(json),
        Command::Completion { shell } => program::completion(shell),
        Command::Kit(commands) => kit::run(commands.command).await,
        Command::Schema { of } => program::schema(of),
        Command::Man { folder } => program::man(&folder),
    }
}

/// Everything that signing takes and that can be wrong without anybody being asked: the key, whom to trust, whom to call.
struct Prepared {
    holder: Holder,
    /// None where nothing but the key takes part.
    trusted: Option<(TrustedRoot, SigningConfig)>,
    logged: bool,
    /// Among the logs that make promises: cosign before 3 asks for them.
    promising: bool,
    /// How timestamp authorities are called, if otherwise than everybody else.
    stamping: Option<Agent>,
}

/// By what right something is signed.
enum Holder {
    /// With a fresh key of this algorithm.
    Identity(Algorithm),
    Key(Keyed),
}

/// A key of one's own, and the certificate for it, where there is one.
#[derive(Clone)]
struct Keyed {
    signer: Signer,
    certificate: Option<Box<OwnCertificate>>,
}

impl Prepared {
    async fn new(key: &SigningKey, trust: &args::Trust, services: &args::Services) -> Result<Self> {
        let stamping = stamping(services)?;
        let Some(reference) = &key.key else {
            if !key.tlog_upload {
                return Err(advice(
                    "--tlog-upload=false without --key: a short-lived certificate proves nothing without a log",
                    "sign with a key of your own (--key), or let the signature be logged",
                ));
            }
            let algorithm = key.signing_algorithm.unwrap_or(sign::ALGORITHM);
            loggable(algorithm)?;
            return Ok(Self {
                holder: Holder::Identity(algorithm),
                trusted: Some(trust_files::for_signing(trust, services).await?),
                logged: true,
                promising: false,
                stamping,
            });
        };
        let signer = private_key::open(reference).await?;
        let signer = match key.signing_algorithm {
            Some(algorithm) => signer
                .with_algorithm(algorithm)
                .with_context(|| format!("--signing-algorithm {}", algorithm.registry_name()))?,
            // It signs digests only so, and what is logged or read as a stream is a digest. Keepers elsewhere cannot, which is said below.
            None if signer.algorithm() == Algorithm::Ed25519 => {
                let prehashed = signer.clone().with_algorithm(Algorithm::Ed25519Ph);
                prehashed.unwrap_or(signer)
            }
            None => signer,
        };
        if key.tlog_upload {
            loggable(signer.algorithm())?;
        }
        let certificate = own_certificate::read(key, signer.public_key())?.map(Box::new);
        let trusted = trust_files::for_signing_with_key(trust, services, key.tlog_upload).await?;
        Ok(Self {
            holder: Holder::Key(Keyed {
                signer,
                certificate,
            }),
            trusted,
            logged: key.tlog_upload,
            promising: false,
            stamping,
        })
    }

    /// With an identity, and what most people sign with.
    fn with_identity(
        trusted: (TrustedRoot, SigningConfig),
        services: &args::Services,
    ) -> Result<Self> {
        Ok(Self {
            holder: Holder::Identity(sign::ALGORITHM),
            trusted: Some(trusted),
            logged: true,
            promising: false,
            stamping: stamping(services)?,
        })
    }

    /// The services to call with an identity.
    fn services(&self, config: &SigningConfig) -> Result<Services> {
        let now = Timestamp::now();
        Ok(Services::select(config, self.promising, now, rotation()?)?)
    }

    /// The hash of the digests that will be signed.
    fn hash(&self) -> Result<HashAlgorithm> {
        let algorithm = match &self.holder {
            Holder::Identity(algorithm) => *algorithm,
            Holder::Key(keyed) => keyed.signer.algorithm(),
        };
        algorithm.hash().ok_or_else(|| {
            advice(
                format!(
                    "a key of algorithm {} signs whole messages, and a log takes their digests",
                    algorithm.registry_name()
                ),
                "sign with an ECDSA or RSA key, or with an Ed25519 key in a file: generate-key-pair makes one",
            )
        })
    }

    /// Who signs, as far as nobody has to be asked: none where somebody has to sign in.
    async fn at_hand(&self, identity: &Identity) -> Result<Option<Ready>> {
        let agent = Agent::new(client::Settings::default());
        match &self.holder {
            Holder::Key(keyed) => Ok(Some(self.with_key(agent, keyed.clone(), identity)?)),
            Holder::Identity(_) => match identity::token_at_hand(&agent, identity).await? {
                Some(token) => self.with_token(agent, token, false, identity).map(Some),
                None => Ok(None),
            },
        }
    }

    /// Who signs, whom a person is asked for.
    async fn sign_in(&self, identity: &Identity) -> Result<Ready> {
        let agent = Agent::new(client::Settings::default());
        let (_, config) = self.trusted.as_ref().context("no signing config")?;
        let now = Timestamp::now();
        let called = self.services(config)?;
        let mut by_hand = false;
        let token = identity::sign_in(&agent, identity, config, now, || {
            by_hand = true;
            consent::foresee(&called, identity.yes)
        })
        .await?;
        self.with_token(agent, token, by_hand, identity)
    }

    /// Who signs.
    async fn ready(&self, identity: &Identity) -> Result<Ready> {
        match self.at_hand(identity).await? {
            Some(ready) => Ok(ready),
            None => self.sign_in(identity).await,
        }
    }

    fn with_key(&self, agent: Agent, keyed: Keyed, identity: &Identity) -> Result<Ready> {
        let (root, called) = match &self.trusted {
            Some((root, config)) => {
                let now = Timestamp::now();
                let called = Services::for_key(config, self.promising, now, rotation()?)?;
                (root.clone(), called)
            }
            None => (TrustedRoot::default(), Services::default()),
        };
        let called = if self.logged {
            if called.logs().is_empty() {
                return Err(advice(
                    "the signing config names no log",
                    "if nobody needs to see that the key was used, say --tlog-upload=false",
                ));
            }
            called
        } else {
            called.without_logs()
        };
        Ok(Ready {
            agent,
            called,
            root,
            who: Who::Key(keyed),
            agreed: identity.yes,
            stamping: self.stamping.clone(),
        })
    }

    fn with_token(
        &self,
        agent: Agent,
        token: IdentityToken,
        by_hand: bool,
        identity: &Identity,
    ) -> Result<Ready> {
        let (root, config) = self.trusted.as_ref().context("no signing config")?;
        let algorithm = match &self.holder {
            Holder::Identity(algorithm) => *algorithm,
            Holder::Key(keyed) => keyed.signer.algorithm(),
        };
        Ok(Ready {
            agent,
            // Signing in takes a person's time.
            called: self.services(config)?,
            root: root.clone(),
            who: Who::Token {
                token,
                algorithm,
                by_hand,
            },
            agreed: identity.yes,
            stamping: self.stamping.clone(),
        })
    }
}

/// Somebody who could sign now. Nothing is published yet, and no certificate is there.
struct Ready {
    agent: Agent,
    called: Services,
    root: TrustedRoot,
    who: Who,
    agreed: bool,
    stamping: Option<Agent>,
}

enum Who {
    Key(Keyed),
    Token {
        token: IdentityToken,
        algorithm: Algorithm,
        by_hand: bool,
    },
}

impl Ready {
    /// What a bundle by the same signer is verified with; none where that is not known before there is a certificate. It may miss bundles by the same
    /// identity, where the certificate authority has rules of its own, and takes none by another.
    fn own(&self) -> Option<Expect> {
        match &self.who {
            Who::Key(keyed) => {
                let key = keyed.signer.public_key().clone();
                Some(if self.called.logs().is_empty() {
                    Expect::UnloggedKey(key)
                } else {
                    Expect::Key(key)
                })
            }
            Who::Token { token, .. } => {
                let names = token.foreseeable_names().into_iter();
                let policies = names.map(|(subject, issuer)| IdentityPolicy {
                    subject: Matcher::Exact(subject),
                    issuer: Matcher::Exact(issuer),
                    extensions: Vec::new(),
                });
                Identities::new(policies.collect()).map(Expect::AnyOf)
            }
        }
    }

    /// Whether [`own`](Self::own) misses nothing.
    const fn is_certain(&self) -> bool {
        matches!(self.who, Who::Key(_))
    }

    /// Asks about what becomes public, if that has to be asked, and gets a certificate, where no key of one's own signs; `images` are the repositories
    /// of what is signed.
    async fn session(self, images: &[&Repository]) -> Result<Session> {
        let by = match &self.who {
            Who::Key(keyed) => By::Key(
                keyed.signer.public_key(),
                keyed.certificate.as_ref().map(|own| own.leaf()),
            ),
            Who::Token {
                token,
                by_hand: true,
                ..
            } => By::Person(token),
            Who::Token { token, .. } => By::Token(token),
        };
        consent::ask(by, images, &self.called, self.agreed).await?;
        let (agent, called, root) = (&self.agent, self.called, self.root);
        let session = match self.who {
            Who::Key(Keyed {
                signer,
                certificate: None,
            }) => Session::with_key(agent, called, root, signer)?,
            Who::Key(Keyed {
                signer,
                certificate: Some(own),
            }) => Session::with_certificate(agent, called, root, signer, *own)?,
            Who::Token {
                token, algorithm, ..
            } => {
                let now = Timestamp::now();
                Session::start_with(agent, called, root, token, algorithm, now).await?
            }
        };
        Ok(match self.stamping {
            Some(stamping) => session.stamping_by(stamping),
            None => session,
        })
    }
}

/// How timestamp authorities are called, where the flags say how.
fn stamping(services: &args::Services) -> Result<Option<Agent>> {
    let flags = &services.timestamps;
    let tls = TlsFiles {
        authorities: flags.timestamp_client_cacert.as_ref(),
        certificate: flags.timestamp_client_cert.as_ref(),
        key: flags.timestamp_client_key.as_ref(),
        server_name: flags.timestamp_server_name.as_ref(),
    };
    if !tls.say_something() {
        return Ok(None);
    }
    let mut settings = client::Settings::default();
    tls.put_into(&mut settings)?;
    Ok(Some(Agent::new(settings)))
}

/// Is it one that public logs take?
fn loggable(algorithm: Algorithm) -> Result<()> {
    if sign::LOGGED.contains(&algorithm) {
        return Ok(());
    }
    Err(advice(
        format!(
            "no log takes signatures of algorithm {}",
            algorithm.registry_name()
        ),
        format!(
            "sign with one of {}, or with --key into no log (--tlog-upload=false)",
            sign::LOGGED.map(Algorithm::registry_name).join(", ")
        ),
    ))
}

/// Among equal services a random one, so that none gets all the work.
fn rotation() -> Result<usize> {
    Ok(usize::from(u16::from_ne_bytes(signer::random::bytes()?)))
}
