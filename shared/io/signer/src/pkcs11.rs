//! Private keys in PKCS#11 tokens: smart cards, HSMs, SoftHSM. Nothing is linked: the module is loaded at run time.
//!
//! A module is foreign code in this process, and whoever can replace its file has the process. Its calls block and may hang for good, so
//! they run on threads of their own, one session each: no tokio worker waits for them, and a hung one keeps neither the service from
//! answering "unavailable" nor the process from ending (tokio waits for its own blocking threads). The token gets the PIN once for
//! each login; a PIN that was refused is not tried again, since tokens lock themselves after a few wrong ones.

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{
    Attribute, AttributeType, KeyType as TokenKeyType, ObjectClass, ObjectHandle,
};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use der::Decode as _;
use der::asn1::{ObjectIdentifier, OctetStringRef};
use keys::{Algorithm, Digest, KeyType, PublicKey};
use pki::Certificate;
use tokio::sync::{mpsc, oneshot};

use crate::SignerError;
use crate::file;
use crate::pkcs11_uri::{Pin, Pkcs11Uri};

/// Sessions that sign at the same time. A log needs one; a CA or timestamp authority has a few requests at once, and small tokens have
/// room for few sessions.
const SESSIONS: usize = 4;
/// Signatures that may wait for a session; further callers wait too, each within its own time.
const WAITING: usize = 64;
/// The longest wait for the threads of a key that is let go of. One that hangs in the module is not waited for.
const END_TIME: Duration = Duration::from_secs(1);

/// A key in a token.
pub(crate) struct TokenKey {
    public: PublicKey,
    threads: Threads,
    place: String,
}

/// The way to the threads of a key.
struct Threads {
    jobs: mpsc::Sender<Job>,
    /// Ends when the last of them has closed its session; nothing is ever sent.
    ended: Mutex<Receiver<Infallible>>,
}

impl Drop for Threads {
    /// Waits for the threads, which end at once when they have nothing to do. A module that closes a session while the process ends runs beside its
    /// own destructors, and may crash there.
    fn drop(&mut self) {
        self.jobs = mpsc::channel(1).0;
        let _ = lock(&self.ended).recv_timeout(END_TIME);
    }
}

struct Job {
    input: Input,
    reply: oneshot::Sender<Result<Vec<u8>, SignerError>>,
}

/// What goes to the token, and what is asked of it.
enum Input {
    /// A digest for ECDSA, which every token can; few hash for themselves.
    Ecdsa(Vec<u8>),
    /// A message for pure Ed25519.
    Ed25519(Vec<u8>),
    /// A message for RSA PKCS#1 v1.5 with SHA-256.
    Rsa(Vec<u8>),
    /// The SHA-256 of one, as the `DigestInfo` that is padded (RFC 8017 9.2).
    RsaDigest(Vec<u8>),
}

/// `DigestInfo` of SHA-256 before the digest (RFC 8017 9.2, note 1).
const SHA256_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

impl TokenKey {
    /// Loads the module, finds token and key, and reads the public key. `secret_file` has the PIN where the URI has none.
    pub(crate) async fn open(
        uri: &Pkcs11Uri,
        secret_file: Option<&Path>,
    ) -> Result<Self, SignerError> {
        let pin = match (&uri.pin, secret_file) {
            (Some(Pin::Value(pin)), _) => Some(pin.clone()),
            (Some(Pin::File(path)), _) => Some(file::read_secret(path)?),
            (None, Some(path)) => Some(file::read_secret(path)?),
            (None, None) => None,
        };
        let access = Arc::new(Access {
            uri: uri.clone(),
            place: uri.to_string(),
            pin: pin.map(|pin| AuthPin::from(pin.as_str())),
            refused: Mutex::new(false),
        });
        let (opened, first) = oneshot::channel();
        let (jobs, queue) = mpsc::channel(WAITING);
        let queue = Arc::new(Mutex::new(queue));
        let (running, ended) = std::sync::mpsc::channel();
        let threads = Threads {
            jobs,
            ended: Mutex::new(ended),
        };
        let (place, waiting) = (access.place.clone(), queue.clone());
        let opener = access.clone();
        let until = running.clone();
        spawn(0, move || {
            let found = opener.session().and_then(|held| {
                let public = opener.public_key(&held)?;
                Ok((held, public))
            });
            // Nobody may be waiting any more: then the queue is closed too.
            match found {
                Ok((held, public)) => {
                    let _ = opened.send(Ok(public));
                    work(&opener, Some(held), &waiting);
                }
                Err(error) => drop(opened.send(Err(error))),
            }
            drop(until);
        });
        for number in 1..SESSIONS {
            let (access, queue, until) = (access.clone(), queue.clone(), running.clone());
            spawn(number, move || {
                work(&access, None, &queue);
                drop(until);
            });
        }
        drop(running);
        let public = first.await.map_err(|_| SignerError::Failed)??;
        Ok(Self {
            public,
            threads,
            place,
        })
    }

    pub(crate) fn public_key(&self) -> &PublicKey {
        &self.public
    }

    pub(crate) async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let algorithm = self.public.default_algorithm();
        self.ask(match (algorithm, algorithm.hash()) {
            (Algorithm::Ed25519, _) => Input::Ed25519(message.to_vec()),
            (
                Algorithm::EcdsaP256Sha256
                | Algorithm::EcdsaP384Sha384
                | Algorithm::EcdsaP521Sha512,
                Some(hash),
            ) => Input::Ecdsa(hash.digest(message).bytes().to_vec()),
            _ => Input::Rsa(message.to_vec()),
        })
        .await
    }

    /// For ECDSA and RSA, with the hash of the key's algorithm, which the caller has checked.
    pub(crate) async fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, SignerError> {
        let bytes = digest.bytes();
        self.ask(match self.public.key_type() {
            KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => {
                Input::RsaDigest([SHA256_INFO.as_slice(), bytes].concat())
            }
            _ => Input::Ecdsa(bytes.to_vec()),
        })
        .await
    }

    async fn ask(&self, input: Input) -> Result<Vec<u8>, SignerError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.threads.jobs.send(Job { input, reply }).await;
        sent.map_err(|_| SignerError::Failed)?;
        answer.await.map_err(|_| SignerError::Failed)?
    }
}

impl fmt::Debug for TokenKey {
    /// The place, without a PIN, and the public key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TokenKey({}, {:?})", self.place, self.public)
    }
}

fn spawn(number: usize, work: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().name(format!("pkcs11-{number}"));
    // Without the thread its work's channels close, and whoever waits hears of it.
    if let Err(error) = thread.spawn(work) {
        tracing::error!(%error, "a thread for the PKCS#11 module could not be started");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Signs what comes until the key is dropped. The session is opened when it is needed, and again when it was lost.
fn work(access: &Access, mut held: Option<Held>, queue: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        // Only one of the idle threads waits for the next job; the others wait for the lock.
        let job = lock(queue).blocking_recv();
        let Some(Job { input, reply }) = job else {
            return;
        };
        // Whoever asked has given up: the token has enough to do.
        if reply.is_closed() {
            continue;
        }
        let had_session = held.is_some();
        let mut answer = access.sign(&mut held, &input);
        // The session may have ended with a restart of the token or its service: one more try, with a new one.
        if had_session && let Err(error) = &answer {
            tracing::warn!(%error, "the token did not sign: logging in again");
            answer = access.sign(&mut held, &input);
        }
        let _ = reply.send(answer);
    }
}

/// How to get to the key.
struct Access {
    uri: Pkcs11Uri,
    place: String,
    pin: Option<AuthPin>,
    /// The token has refused the PIN. Held during a login, so that the sessions do not try a wrong one at the same time.
    refused: Mutex<bool>,
}

/// A session, and the key in it.
struct Held {
    session: Session,
    key: ObjectHandle,
}

/// Modules that are loaded. C_Initialize is for the whole process, and two keys may be in tokens of one module.
static MODULES: Mutex<Vec<(PathBuf, Pkcs11)>> = Mutex::new(Vec::new());

impl Access {
    fn wrong(&self, what: impl Into<String>) -> SignerError {
        SignerError::Token {
            place: self.place.clone(),
            what: what.into(),
        }
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(Error) -> SignerError {
        move |error| self.wrong(format!("{doing}: {error}"))
    }

    fn module(&self) -> Result<Pkcs11, SignerError> {
        let mut modules = lock(&MODULES);
        if let Some((_, module)) = modules.iter().find(|(path, _)| *path == self.uri.module) {
            return Ok(module.clone());
        }
        let module = Pkcs11::new(&self.uri.module).map_err(self.failed("loading the module"))?;
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(self.failed("starting the module")(error)),
        }
        modules.push((self.uri.module.clone(), module.clone()));
        Ok(module)
    }

    /// The one slot whose token the URI means.
    fn slot(&self, module: &Pkcs11) -> Result<Slot, SignerError> {
        let failed = || self.failed("looking for the token");
        let matches = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        };
        let mut found = Vec::new();
        for slot in module.get_slots_with_token().map_err(failed())? {
            if self.uri.slot.is_some_and(|wanted| wanted != slot.id()) {
                continue;
            }
            // A reader whose token cannot be read is not the one, or the search ends empty.
            let Ok(token) = module.get_token_info(slot) else {
                continue;
            };
            if token.token_initialized()
                && matches(&self.uri.token, token.label())
                && matches(&self.uri.serial, token.serial_number())
                && matches(&self.uri.manufacturer, token.manufacturer_id())
                && matches(&self.uri.model, token.model())
            {
                found.push(slot);
            }
        }
        match found.as_slice() {
            [slot] => Ok(*slot),
            [] => Err(self.wrong("no such token is there")),
            _ => Err(self.wrong("several tokens are meant: add serial= or slot-id=")),
        }
    }

    fn session(&self) -> Result<Held, SignerError> {
        let module = self.module()?;
        let slot = self.slot(&module)?;
        let token = module
            .get_token_info(slot)
            .map_err(self.failed("asking the token"))?;
        let session = module
            .open_ro_session(slot)
            .map_err(self.failed("opening a session"))?;
        // A service that is started again and again must not be what locks the token.
        if token.user_pin_locked() || token.user_pin_final_try() {
            return Err(self.wrong(
                "the token's PIN is locked, or the next wrong one locks it: log in once with another program (pkcs11-tool --login) first",
            ));
        }
        // With a path of its own (a pad on the reader) the token asks a person.
        if token.login_required() && (self.pin.is_some() || token.protected_authentication_path()) {
            self.login(&session)?;
        } else if token.login_required() {
            return Err(self.wrong(
                "the token asks for a PIN: name its file in key_secret_file, or in the URI's pin-source",
            ));
        }
        let key = self.private_key(&session)?;
        Ok(Held { session, key })
    }

    fn login(&self, session: &Session) -> Result<(), SignerError> {
        let refused = || {
            self.wrong("the token has refused the PIN; it is not tried again, since tokens lock themselves")
        };
        let mut tried = lock(&self.refused);
        if *tried {
            return Err(refused());
        }
        match session.login(UserType::User, self.pin.as_ref()) {
            // The login holds for all sessions of this process.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(Error::Pkcs11(
                RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange,
                _,
            )) => {
                *tried = true;
                Err(refused())
            }
            Err(error) => Err(self.failed("logging in")(error)),
        }
    }

    fn private_key(&self, session: &Session) -> Result<ObjectHandle, SignerError> {
        let mut wanted = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
        if let Some(id) = &self.uri.id {
            wanted.push(Attribute::Id(id.clone()));
        }
        if let Some(label) = &self.uri.object {
            wanted.push(Attribute::Label(label.clone().into_bytes()));
        }
        let found = session.find_objects(&wanted);
        match found
            .map_err(self.failed("looking for the key"))?
            .as_slice()
        {
            [key] => Ok(*key),
            [] => Err(self.wrong("the token has no such private key")),
            _ => Err(self.wrong("several private keys are meant: give id= and object=")),
        }
    }

    /// From the public key that belongs to the private one, or from a certificate about it.
    fn public_key(&self, held: &Held) -> Result<PublicKey, SignerError> {
        let read = |object, attributes: &[AttributeType]| {
            let read = held.session.get_attributes(object, attributes);
            read.map_err(self.failed("reading the key's attributes"))
        };
        let own = read(held.key, &[AttributeType::Id, AttributeType::Label])?;
        // Both halves have the same id; a token without ids has the same label.
        let same = own.into_iter().find(|attribute| match attribute {
            Attribute::Id(bytes) | Attribute::Label(bytes) => !bytes.is_empty(),
            _ => false,
        });
        let same = same.ok_or_else(|| self.wrong("the private key has neither id nor label"))?;
        let find = |class| {
            let found = held
                .session
                .find_objects(&[Attribute::Class(class), same.clone()]);
            found.map_err(self.failed("looking for the public key"))
        };
        let refused = |error: keys::KeyError| self.wrong(format!("its public key: {error}"));
        if let [object] = find(ObjectClass::PUBLIC_KEY)?.as_slice() {
            let attributes = read(
                *object,
                &[
                    AttributeType::KeyType,
                    AttributeType::EcParams,
                    AttributeType::EcPoint,
                    AttributeType::Modulus,
                    AttributeType::PublicExponent,
                ],
            )?;
            return from_attributes(&attributes)
                .ok_or_else(|| {
                    self.wrong(
                        "its key is neither ECDSA on P-256, P-384 or P-521, nor Ed25519, nor RSA",
                    )
                })?
                .map_err(refused);
        }
        if let [object] = find(ObjectClass::CERTIFICATE)?.as_slice()
            && let Some(Attribute::Value(der)) = read(*object, &[AttributeType::Value])?.first()
        {
            let certificate = Certificate::from_der(der)
                .map_err(|error| self.wrong(format!("its certificate: {error}")))?;
            return Ok(certificate.public_key().clone());
        }
        Err(self.wrong("the token has neither a public key nor a certificate with the private key's id (one of them is needed)"))
    }

    /// The signature as the rest of the house has it. A session that failed is dropped.
    fn sign(&self, held: &mut Option<Held>, input: &Input) -> Result<Vec<u8>, SignerError> {
        let open = match held.take() {
            Some(open) => open,
            None => self.session()?,
        };
        let (mechanism, bytes) = match input {
            Input::Ecdsa(bytes) => (Mechanism::Ecdsa, bytes),
            Input::Ed25519(bytes) => {
                let pure = EddsaParams::new(EddsaSignatureScheme::Ed25519);
                (Mechanism::Eddsa(pure), bytes)
            }
            Input::Rsa(bytes) => (Mechanism::Sha256RsaPkcs, bytes),
            Input::RsaDigest(bytes) => (Mechanism::RsaPkcs, bytes),
        };
        let signature = open.session.sign(&mechanism, open.key, bytes);
        let signature = signature.map_err(self.failed("signing"))?;
        *held = Some(open);
        match input {
            // PKCS#11 2.3.1: r and s, each as long as the curve's order.
            Input::Ecdsa(_) => keys::ecdsa::fixed_to_der(&signature)
                .ok_or_else(|| self.wrong("signing: the answer is no ECDSA signature")),
            Input::Ed25519(_) | Input::Rsa(_) | Input::RsaDigest(_) => Ok(signature),
        }
    }
}

/// None when it is no kind of key that we know.
fn from_attributes(attributes: &[Attribute]) -> Option<Result<PublicKey, keys::KeyError>> {
    let (mut kind, mut parameters, mut point) = (None, None, None);
    let (mut modulus, mut exponent) = (None, None);
    for attribute in attributes {
        match attribute {
            Attribute::KeyType(found) => kind = Some(*found),
            Attribute::EcParams(bytes) => parameters = Some(bytes),
            Attribute::EcPoint(bytes) => point = Some(bytes),
            Attribute::Modulus(bytes) => modulus = Some(bytes),
            Attribute::PublicExponent(bytes) => exponent = Some(bytes),
            _ => {}
        }
    }
    match kind? {
        TokenKeyType::RSA => Some(PublicKey::from_rsa_components(modulus?, exponent?)),
        TokenKeyType::EC | TokenKeyType::EC_EDWARDS => {
            let key_type = curve(parameters?)?;
            // The standard wraps the point into an OCTET STRING; some tokens do not.
            let point = point?;
            let wrapped = <&OctetStringRef>::from_der(point)
                .ok()
                .and_then(|inner| PublicKey::from_raw(key_type, inner.as_bytes()).ok());
            Some(wrapped.map_or_else(|| PublicKey::from_raw(key_type, point), Ok))
        }
        _ => None,
    }
}

/// CKA_EC_PARAMS: the curve's object identifier, or for Ed25519 also its name (PKCS#11 3.0 2.3.5).
fn curve(parameters: &[u8]) -> Option<KeyType> {
    if parameters.ends_with(b"edwards25519") {
        return Some(KeyType::Ed25519);
    }
    let oid: ObjectIdentifier = ObjectIdentifier::from_der(parameters).ok()?;
    match oid.to_string().as_str() {
        "1.2.840.10045.3.1.7" => Some(KeyType::EcdsaP256),
        "1.3.132.0.34" => Some(KeyType::EcdsaP384),
        "1.3.132.0.35" => Some(KeyType::EcdsaP521),
        "1.3.101.112" => Some(KeyType::Ed25519),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use der::Encode as _;

    use super::*;

    #[test]
    fn points_are_read_with_and_without_their_wrapping() {
        let signer = crate::Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        let raw = signer.public_key().raw().to_vec();
        let wrapped = [&[4, 65], raw.as_slice()].concat();
        let oid = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
        for point in [raw, wrapped] {
            let attributes = [
                Attribute::KeyType(TokenKeyType::EC),
                Attribute::EcParams(oid.to_der().unwrap()),
                Attribute::EcPoint(point),
            ];
            let key = from_attributes(&attributes).unwrap().unwrap();
            assert_eq!(&key, signer.public_key());
        }
        assert!(from_attributes(&[Attribute::KeyType(TokenKeyType::AES)]).is_none());
        assert!(from_attributes(&[]).is_none());
        assert_eq!(curve(b"\x13\x0cedwards25519"), Some(KeyType::Ed25519));
        assert_eq!(curve(b"\x06\x05\x2b\x81\x04\x00\x0a"), None);
    }
}
