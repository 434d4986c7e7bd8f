//! The commands. Each reads what it needs to know first (trust, expectation, references) and does the slow and the lasting things after.

mod batch;
mod blob;
mod candidates;
mod create;
mod domains;
mod image;
mod key;
mod kit;
mod lines;
mod program;
mod server;
mod tuf_conformance;

use anyhow::{Context as _, Result};
use client::Agent;
use jiff::Timestamp;
use keys::HashAlgorithm;
use sign::{Services, Session};
use signer::Signer;
use trust::{SigningConfig, TrustedRoot};

use crate::args::{
    self, Arguments, Command, Identity, SigningConfigCommand, SigningConfigCommands, SigningKey,
    TrustedRootCommand, TrustedRootCommands,
};
use crate::failure::advice;
use crate::{identity, private_key, trust_files};

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    // They wait for people and for signals.
    let arguments = match arguments.command {
        Command::Root(root) => return crate::root::run(root).await,
        Command::VerifyServer(server) => return server::run(server).await,
        _ => arguments,
    };
    let patience = arguments.timeout;
    let work = async {
        match arguments.command {
            Command::Sign(sign) => image::sign(sign).await,
            Command::Verify(verify) if verify.stdin => batch::verify(verify).await,
            Command::Verify(verify) => image::verify(verify).await,
            Command::VerifyServer(server) => server::run(server).await,
            Command::Attest(attest) => image::attest(attest).await,
            Command::VerifyAttestation(verify) => image::verify_attestation(verify).await,
            Command::SignBlob(sign) => blob::sign(sign).await,
            Command::VerifyBlob(verify) => blob::verify(&verify).await,
            Command::AttestBlob(attest) => blob::attest(attest).await,
            Command::VerifyBlobAttestation(verify) => blob::verify_attestation(&verify).await,
            Command::VerifyBundle(verify) => blob::verify_bundle(verify).await,
            Command::SignBundle(sign) => blob::sign_bundle(sign).await,
            Command::TufConformance(client) => tuf_conformance::run(client).await,
            Command::Initialize(initialize) => domains::initialize(initialize).await,
            Command::Trust(commands) => domains::run(commands.command).await,
            Command::TrustedRoot(TrustedRootCommands {
                command: TrustedRootCommand::Create(arguments),
            }) => create::trusted_root(&arguments).await,
            Command::SigningConfig(SigningConfigCommands {
                command: SigningConfigCommand::Create(arguments),
            }) => create::signing_config(&arguments).await,
            Command::Root(root) => crate::root::run(root).await,
            Command::GenerateKeyPair(generate) => key::generate(&generate),
            Command::ImportKeyPair(import) => key::import(&import),
            Command::PublicKey(public) => key::public(&public).await,
            Command::Version { json } => program::version(json),
            Command::Completion { shell } => program::completion(shell),
            Command::Kit(commands) => kit::run(commands.command).await,
            Command::Schema { of } => program::schema(of),
            Command::Man { folder } => program::man(&folder),
        }
    };
    tokio::time::timeout(patience, work).await.map_err(|_| {
        advice(
            format!("not done after {} s", patience.as_secs()),
            "give it longer with --timeout",
        )
    })?
}

/// Everything that signing takes and that can be wrong without anybody being asked: the key, whom to trust, whom to call.
struct Prepared {
    holder: Holder,
    /// None where nothing but the key takes part.
    trusted: Option<(TrustedRoot, SigningConfig)>,
    logged: bool,
}

/// By what right something is signed.
enum Holder {
    Identity,
    Key(Signer),
}

impl Prepared {
    async fn new(
        key: &SigningKey,
        identity: &Identity,
        trust: &args::Trust,
        services: &args::Services,
    ) -> Result<Self> {
        let Some(reference) = &key.key else {
            if !key.tlog_upload {
                return Err(advice(
                    "--tlog-upload=false without --key: a short-lived certificate proves nothing without a log",
                    "sign with a key of your own (--key), or let the signature be logged",
                ));
            }
            return Ok(Self {
                holder: Holder::Identity,
                trusted: Some(trust_files::for_signing(trust, services).await?),
                logged: true,
            });
        };
        let signer = private_key::open(reference).await?;
        let trusted = trust_files::for_signing_with_key(trust, services, key.tlog_upload).await?;
        if key.tlog_upload && trust_files::is_public_by_default(trust, services)? {
            identity::consent_to_publish_key(identity.yes)?;
        }
        Ok(Self {
            holder: Holder::Key(signer),
            trusted,
            logged: key.tlog_upload,
        })
    }

    /// The hash of the digests that will be signed.
    fn hash(&self) -> Result<HashAlgorithm> {
        match &self.holder {
            Holder::Identity => Ok(sign::HASH),
            Holder::Key(signer) => signer.algorithm().hash().ok_or_else(|| {
                advice(
                    "an Ed25519 key signs whole messages, and a log takes their digests",
                    "sign with an ECDSA or RSA key: generate-key-pair makes one",
                )
            }),
        }
    }

    /// Signs in and gets a certificate, where no key of one's own signs.
    async fn session(self, identity: &Identity) -> Result<Session> {
        let now = Timestamp::now();
        let agent = Agent::new(client::Settings::default());
        match self.holder {
            Holder::Key(signer) => {
                let (root, called) = match self.trusted {
                    Some((root, config)) => {
                        let called = Services::for_key(&config, now, rotation()?)?;
                        (root, called)
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
                Ok(Session::with_key(&agent, called, root, signer)?)
            }
            Holder::Identity => {
                let (root, config) = self.trusted.context("no signing config")?;
                let called = Services::select(&config, now, rotation()?)?;
                let token = identity::token(&agent, identity, &config, now).await?;
                // Signing in takes a person's time.
                Session::start(&agent, called, root, token, Timestamp::now())
                    .await
                    .map_err(Into::into)
            }
        }
    }
}

/// Among equal services a random one, so that none gets all the work.
fn rotation() -> Result<usize> {
    Ok(usize::from(u16::from_ne_bytes(signer::random::bytes()?)))
}
