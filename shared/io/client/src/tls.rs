//! TLS, with the system's certificate authorities read when the first server shows its certificate.
//!
//! Reading them takes some ten milliseconds, since a system keeps them in a hundred files or more: longer than most of our commands
//! take for everything else. A call to this machine needs none of them, and several agents in one process need them once. A system
//! that has none is a failure only for those who call with TLS.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_platform_verifier::Verifier;

use crate::agent::Versions;

/// The verifier with nothing but the system's authorities, once for this process.
static SYSTEM: OnceLock<Arc<Verifier>> = OnceLock::new();

/// HTTP/2 where the server has it.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// How connections are made that verify the server: by the system's authorities and these others (PEM).
pub(crate) fn config(extra_roots_pem: &[u8], versions: Versions) -> Result<ClientConfig, Error> {
    let extra: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(extra_roots_pem).collect();
    let extra = extra.map_err(|error| Error::General(format!("extra roots: {error}")))?;
    let builder = ClientConfig::builder();
    let verifier = Lazy {
        provider: builder.crypto_provider().clone(),
        own: OnceLock::new(),
        extra,
    };
    let mut config = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let protocols = match versions {
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
        self.verifier()?.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
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
