//! TLS, with the system's certificate authorities read when the first server shows its certificate.
//!
//! Reading them takes some ten milliseconds, since a system keeps them in a hundred files or more: longer than most of our commands
//! take for everything else. A call to this machine needs none of them, and several agents in one process need them once. A system
//! that has none is a failure only for those who call with TLS.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_platform_verifier::Verifier;

use crate::agent::{Settings, Versions};

/// The verifier with nothing but the system's authorities, once for this process.
static SYSTEM: OnceLock<Arc<Verifier>> = OnceLock::new();

/// HTTP/2 where the server has it.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// How connections are made: the server verified by the system's authorities and the settings' own, unless they say that it need not be, and
/// ourselves shown to it where they say who we are.
pub(crate) fn config(settings: &Settings) -> Result<ClientConfig, Error> {
    let extra: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(&settings.extra_roots_pem).collect();
    let extra = extra.map_err(|error| Error::General(format!("extra roots: {error}")))?;
    let expected = settings
        .server_name
        .clone()
        .map(ServerName::try_from)
        .transpose()
        .map_err(|_| Error::General("the server name is no host name".to_owned()))?;
    let builder = ClientConfig::builder();
    let verifier = Lazy {
        provider: builder.crypto_provider().clone(),
        own: OnceLock::new(),
        extra,
        expected,
        any: settings.any_certificate,
    };
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &settings.client_identity_pem {
        Some(pem) => {
            let wrong = |error: &dyn std::fmt::Display| {
                Error::General(format!("client certificate: {error}"))
            };
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| wrong(&error))?;
            builder.with_client_auth_cert(chain.map_err(|error| wrong(&error))?, key)?
        }
        None => builder.with_no_client_auth(),
    };
    let protocols = match settings.versions {
        Versions::Newest => PROTOCOLS.as_slice(),
        Versions::Http1 => PROTOCOLS.get(1..).unwrap_or_default(),
    };
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// The platform's verifier, made when it is asked for the first time.
#[derive(Debug)]
struct Lazy {
    provider: Arc<CryptoProvider>,
    extra: Vec<CertificateDer<'static>>,
    /// Where there are extra roots, they are nobody else's.
    own: OnceLock<Arc<Verifier>>,
    /// Instead of the name that was called.
    expected: Option<ServerName<'static>>,
    /// Whoever it is. Signatures of the handshake are checked all the same.
    any: bool,
}

impl Lazy {
    /// A failure is not kept: it is told again, or is gone, with the next connection.
    fn verifier(&self) -> Result<&Verifier, Error> {
        let cell = if self.extra.is_empty() {
            &SYSTEM
        } else {
            &self.own
        };
        if let Some(made) = cell.get() {
            return Ok(made);
        }
        let made = Verifier::new_with_extra_roots(self.extra.clone(), self.provider.clone())?;
        Ok(cell.get_or_init(|| Arc::new(made)))
    }
}

impl ServerCertVerifier for Lazy {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.any {
            return Ok(ServerCertVerified::assertion());
        }
        self.verifier()?.verify_server_cert(
            end_entity,
            intermediates,
            self.expected.as_ref().unwrap_or(server_name),
            ocsp_response,
            now,
        )
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
