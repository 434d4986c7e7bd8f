//! Private keys that another program keeps: Sigstore's plug-ins for key management, as those of clouds (sigstore/sigstore
//! `pkg/signature/kms/cliplugin`, protocol v1).
//!
//! ```text
//! NAME://RESOURCE   is asked of   sigstore-kms-NAME v1 '{"initOptions":{..},"methodName":"signMessage","signMessage":{..}}'
//!                   standard input: the message      standard output: {"signMessage":{"signature":"BASE64"}}
//! ```
//!
//! The program is looked for on PATH when the key is opened, in folders with an absolute path only, and started without a shell, once for each
//! question. It has our environment, where it finds the credentials of its service: they are its matter. Its exit code says nothing, as the
//! protocol has it; what it answers does, and what it writes to standard error stands in the error when there is no answer.
//!
//! Who controls the program controls the key, and whatever the user of this process may do. What we hold against a plug-in that is merely
//! broken: its answer and its complaints have a limit, it is ended when it takes too long, with all that it has started, few of them run at a
//! time, and no signature is released that the public key does not verify.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::printable;
use keys::{Digest, HashAlgorithm, PublicKey};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::SignerError;
use crate::env::Environment;

/// In front of every plug-in's name.
const PROGRAM: &str = "sigstore-kms-";
const PROTOCOL: &str = "v1";
/// An answer has a key or a signature: RSA-4096 in base64 of PEM has 1.1 kB.
const ANSWER_MAX: usize = 64 * 1024;
/// Of what it writes to standard error, the end is kept: where programs say what was wrong.
const COMPLAINT_MAX: usize = 400;
/// How many of one key run at a time.
const AT_A_TIME: usize = 16;
/// For the rest of its complaint, when it has answered.
const GRACE: Duration = Duration::from_millis(100);

/// A key that a plug-in keeps.
pub(crate) struct PluginKey {
    plugin: Plugin,
    public: PublicKey,
}

struct Plugin {
    program: PathBuf,
    /// What it calls the key.
    resource: String,
    /// As a setting has it, for errors.
    place: String,
    turns: Semaphore,
}

/// Numbers of Go's `crypto.Hash`.
const fn go_hash(hash: HashAlgorithm) -> u8 {
    match hash {
        HashAlgorithm::Sha256 => 5,
        HashAlgorithm::Sha384 => 6,
        HashAlgorithm::Sha512 => 7,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Question<'a> {
    init_options: InitOptions<'a>,
    #[serde(flatten)]
    method: Method,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InitOptions<'a> {
    protocol_version: &'static str,
    #[serde(rename = "keyResourceID")]
    resource: &'a str,
    hash_func: u8,
    rpc_options: RpcOptions,
}

#[derive(Serialize)]
#[serde(tag = "methodName")]
enum Method {
    #[serde(rename = "publicKey")]
    PublicKey {
        #[serde(rename = "publicKey")]
        arguments: PublicKeyArguments,
    },
    #[serde(rename = "signMessage")]
    SignMessage {
        #[serde(rename = "signMessage")]
        arguments: SignArguments,
    },
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct PublicKeyArguments {
    public_key_options: PublicKeyOptions,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct PublicKeyOptions {
    rpc_options: RpcOptions,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct SignArguments {
    sign_options: SignOptions,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct SignOptions {
    rpc_options: RpcOptions,
    message_options: MessageOptions,
}

/// What upstream writes where nobody says otherwise: a key's version stands in its resource.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct RpcOptions {
    key_version: &'static str,
    remote_verification: bool,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageOptions {
    /// Base64. The plug-in signs it, and does not read standard input.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash_func: Option<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    error_message: Option<String>,
    public_key: Option<PublicKeyAnswer>,
    sign_message: Option<SignAnswer>,
}

#[derive(Deserialize)]
struct PublicKeyAnswer {
    /// Base64 of PEM.
    #[serde(rename = "publicKeyPEM")]
    pem: String,
}

#[derive(Deserialize)]
struct SignAnswer {
    /// Base64.
    signature: String,
}

impl PluginKey {
    /// Finds the program and asks it for the public key, which stays: a signature by another one is refused.
    pub(crate) async fn open(
        name: &str,
        resource: &str,
        environment: Environment<'_>,
    ) -> Result<Self, SignerError> {
        let place = format!("{name}://{resource}");
        let program = format!("{PROGRAM}{name}");
        let path = environment("PATH").unwrap_or_default();
        let Some(found) = find(&program, &path) else {
            let what = format!(
                "there is no program {program} on PATH: it is the plug-in that keys of {name}:// are asked of"
            );
            return Err(SignerError::Plugin { place, what });
        };
        let plugin = Plugin {
            program: found,
            resource: resource.to_owned(),
            place,
            turns: Semaphore::new(AT_A_TIME),
        };
        let method = Method::PublicKey {
            arguments: PublicKeyArguments::default(),
        };
        let answer = plugin.ask(method, HashAlgorithm::Sha256, &[]).await?;
        let answer = answer.public_key;
        let answer = answer.ok_or_else(|| plugin.wrong("answered without a public key"))?;
        let pem = STANDARD.decode(&answer.pem).ok();
        let pem = pem.and_then(|pem| String::from_utf8(pem).ok());
        let pem = pem.ok_or_else(|| plugin.wrong("answered with a public key that is no text"))?;
        let public = PublicKey::from_pem(&pem);
        let public =
            public.map_err(|error| plugin.wrong(format!("has a public key of no use: {error}")))?;
        Ok(Self { plugin, public })
    }

    pub(crate) fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The plug-in hashes, if its key is one that signs hashes.
    pub(crate) async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        // An Ed25519 key has none; upstream says SHA-256 to every plug-in.
        let hash = self.public.default_algorithm().hash();
        let hash = hash.unwrap_or(HashAlgorithm::Sha256);
        self.signature(MessageOptions::default(), hash, message)
            .await
    }

    /// For ECDSA and RSA, which the caller has checked.
    pub(crate) async fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, SignerError> {
        let hash = digest.algorithm();
        let options = MessageOptions {
            digest: Some(STANDARD.encode(digest.bytes())),
            hash_func: Some(go_hash(hash)),
        };
        self.signature(options, hash, &[]).await
    }

    async fn signature(
        &self,
        message_options: MessageOptions,
        hash: HashAlgorithm,
        message: &[u8],
    ) -> Result<Vec<u8>, SignerError> {
        let sign_options = SignOptions {
            message_options,
            ..SignOptions::default()
        };
        let arguments = SignArguments { sign_options };
        let method = Method::SignMessage { arguments };
        let answer = self.plugin.ask(method, hash, message).await?;
        let answer = answer.sign_message;
        let answer = answer.ok_or_else(|| self.plugin.wrong("answered without a signature"))?;
        let decoded = STANDARD.decode(&answer.signature);
        decoded.map_err(|_| {
            self.plugin
                .wrong("answered with a signature that is not base64")
        })
    }
}

impl fmt::Debug for PluginKey {
    /// The place and the public key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.plugin.place;
        write!(formatter, "PluginKey({place}, {:?})", self.public)
    }
}

/// The first of this name on PATH that may be executed. A relative folder there, such as the one that an empty entry means, would make it a
/// matter of where we were started.
fn find(program: &str, path: &str) -> Option<PathBuf> {
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

impl Plugin {
    fn wrong(&self, what: impl Into<String>) -> SignerError {
        SignerError::Plugin {
            place: self.place.clone(),
            what: what.into(),
        }
    }

    /// One question, one process. It is ended with this future.
    async fn ask(
        &self,
        method: Method,
        hash: HashAlgorithm,
        message: &[u8],
    ) -> Result<Answer, SignerError> {
        let question = serde_json::to_string(&Question {
            init_options: InitOptions {
                protocol_version: PROTOCOL,
                resource: &self.resource,
                hash_func: go_hash(hash),
                rpc_options: RpcOptions::default(),
            },
            method,
        });
        let question = question.map_err(|_| SignerError::Failed)?;
        let turn = self.turns.acquire().await;
        let _turn = turn.map_err(|_| SignerError::Failed)?;
        let (said, complaint, code) = self.run(&question, message).await?;
        tracing::debug!(key = %self.place, complaint, "the plug-in has answered");
        let answer: Answer = serde_json::from_slice(&said).map_err(|error| {
            let code = code.map_or_else(|| "by a signal".to_owned(), |code| format!("with {code}"));
            let complaint = if complaint.is_empty() {
                String::new()
            } else {
                format!("; it wrote: {complaint}")
            };
            // The reader quotes what it does not like, at any length.
            let error = printable(&error.to_string());
            self.wrong(format!(
                "the plug-in gave no answer ({error}) and ended {code}{complaint}"
            ))
        })?;
        match answer
            .error_message
            .as_deref()
            .filter(|why| !why.is_empty())
        {
            Some(why) => Err(self.wrong(format!("the plug-in says: {}", printable(why.trim())))),
            // Its code is not looked at, but who was killed has not finished what he said.
            None if code.is_none() => Err(self.wrong("the plug-in was ended by a signal")),
            None => Ok(answer),
        }
    }

    /// What it says, the end of what it complains of, and the code that it ends with, unless a signal has ended it.
    async fn run(
        &self,
        question: &str,
        message: &[u8],
    ) -> Result<(Vec<u8>, String, Option<i32>), SignerError> {
        let failed = |what: &str, error: &io::Error| {
            let program = self.program.display();
            self.wrong(format!("cannot {what} {program}: {error}"))
        };
        let mut command = Command::new(&self.program);
        command
            .args([PROTOCOL, question])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // A group of its own, so that what it has started ends with it. Not where a person sits at a terminal: one of another group could not
        // ask for a PIN there, and would not hear their Ctrl-C.
        let apart = !io::stdin().is_terminal();
        if apart {
            command.process_group(0);
        }
        let spawned = command.spawn();
        let mut child = spawned.map_err(|error| failed("start", &error))?;
        // Declared behind the child, so that it goes first: the number is the child's as long as nobody has waited for it.
        let mut group = Group(child.id().filter(|_| apart));
        let ends = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut input), Some(output), Some(errors)) = ends else {
            return Err(SignerError::Failed);
        };
        let tell = async {
            // One that needs no message does not read it.
            let _ = input.write_all(message).await;
            drop(input);
            Ok::<_, SignerError>(())
        };
        let hear = async {
            let most = u64::try_from(ANSWER_MAX).unwrap_or(u64::MAX);
            let mut said = Vec::new();
            let mut output = output.take(most.saturating_add(1));
            let read = output.read_to_end(&mut said);
            read.await.map_err(|error| failed("hear", &error))?;
            if said.len() > ANSWER_MAX {
                let what = format!("the plug-in answered with more than {ANSWER_MAX} bytes");
                return Err(self.wrong(what));
            }
            Ok(said)
        };
        let complaint = Mutex::new(Vec::new());
        let mut complaining = std::pin::pin!(keep_the_end(errors, &complaint));
        let answering = async {
            let ((), said) = tokio::try_join!(tell, hear)?;
            let status = child.wait().await;
            let status = status.map_err(|error| failed("wait for", &error))?;
            Ok::<_, SignerError>((said, status.code()))
        };
        let mut answering = std::pin::pin!(answering);
        let (said, code) = tokio::select! {
            answer = answering.as_mut() => {
                let answer = answer?;
                group.answered();
                // A process that it has left behind may hold that end open for ever.
                let _ = tokio::time::timeout(GRACE, complaining).await;
                answer
            }
            () = complaining.as_mut() => {
                let answer = answering.await?;
                group.answered();
                answer
            }
        };
        let complaint = complaint.lock().unwrap_or_else(PoisonError::into_inner);
        let complaint = String::from_utf8_lossy(&complaint);
        Ok((said, printable(complaint.trim()), code))
    }
}

/// The processes of a plug-in that has not answered yet: they end with this, as whoever asked has gone away.
struct Group(Option<u32>);

impl Group {
    /// The plug-in has ended, and its number may be another process's. What it leaves behind is its own matter.
    const fn answered(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let leader = self.0.and_then(|id| i32::try_from(id).ok());
        if let Some(leader) = leader.and_then(Pid::from_raw) {
            // It fails when none of them is left.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Reads all of it, so that nobody waits for us, and keeps the last of it.
async fn keep_the_end(mut from: impl AsyncRead + Unpin, kept: &Mutex<Vec<u8>>) {
    let mut piece = [0; 1024];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(piece.get(..count).unwrap_or_default());
        let over = kept.len().saturating_sub(COMPLAINT_MAX);
        kept.drain(..over);
    }
}
