//! Step 5: are the entries about this very signature?

use bundle::{Content, Signer};
use entry::{Body, Content as EntryContent, Verifier};
use keys::{Digest, HashAlgorithm};

use crate::error::VerifyError;
use crate::leaf::TrustedLeaf;
use crate::record::Recorded;
use crate::signature::Signed;

/// Every entry is about the signature that holds. Only `check` makes it.
#[derive(Debug)]
pub struct Bound {
    hash: Option<HashAlgorithm>,
}

impl Bound {
    pub(crate) const fn hash(&self) -> Option<HashAlgorithm> {
        self.hash
    }
}

pub(crate) fn check(
    recorded: &Recorded,
    content: &Content,
    signer: &Signer,
    signed: &Signed,
    leaf: &TrustedLeaf,
    document: Option<&[u8]>,
) -> Result<Bound, VerifyError> {
    let signer = match signer {
        Signer::Certificate { leaf, .. } => Verifier::Certificate(leaf.clone()),
        Signer::Key { .. } => Verifier::Key(leaf.key().clone()),
    };
    for recorded in recorded.entries() {
        let index = recorded.index();
        let (kind, version) = recorded.kind();
        let body = Body::parse(kind, version, &recorded.entry().body)
            .map_err(|source| VerifyError::Body { index, source })?;
        bind(&body, content, &signer, signed, document)
            .map_err(|source| VerifyError::Binding { index, source })?;
    }
    Ok(Bound {
        hash: signed.hash(),
    })
}

fn bind(
    body: &Body,
    content: &Content,
    signer: &Verifier,
    signed: &Signed,
    document: Option<&[u8]>,
) -> Result<(), entry::BindError> {
    match content {
        Content::Envelope(envelope) => {
            let content = document.map_or(EntryContent::Envelope(envelope), |document| {
                EntryContent::Document(envelope, document)
            });
            body.bind(content, &envelope.signature, signer)
        }
        Content::Message { signature, .. } => {
            // The digest in the entry must be the one that the signature was checked over: the entry's own word is not taken for it.
            let digest = message_digest(body, signed).ok_or(entry::BindError::Digest)?;
            body.bind(EntryContent::Message(&digest), signature, signer)
        }
    }
}

fn message_digest(body: &Body, signed: &Signed) -> Option<Digest> {
    match body {
        Body::HashedRekord { digest, .. } if Some(digest.algorithm()) == signed.hash() => {
            signed.artifact_digest()
        }
        // bind() says which kind goes with what
        Body::Dsse { payload, .. } => Some(*payload),
        Body::Intoto { document, .. } => Some(*document),
        Body::HashedRekord { .. } => None,
    }
}
