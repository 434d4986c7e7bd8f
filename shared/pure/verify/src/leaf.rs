//! Step 3: was the certificate good at that time?

use jiff::Timestamp;
use keys::PublicKey;
use pki::{Certificate, PathError, Purpose, VerifiedPath, path};
use trust::TrustedRoot;

use crate::error::VerifyError;
use crate::record::{Recorded, named};
use crate::time::ObservedTimes;

/// A key that may sign: a certificate that held at every observed time, or the key that the caller trusts. Only this module makes one.
#[derive(Debug)]
pub struct TrustedLeaf(Kind);

#[derive(Debug)]
enum Kind {
    Certificate(Certified),
    Key(PublicKey),
}

/// A certificate that held, and who vouches for it.
#[derive(Debug, Clone)]
pub struct Certified {
    certificate: Certificate,
    authority: String,
    ct_logs: Vec<CtLog>,
}

/// A CT log whose SCT held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CtLog {
    /// Its URL.
    pub url: String,
    /// Who runs it, where the trusted root says so.
    pub operator: Option<String>,
    /// When it says that it saw the certificate.
    pub time: Timestamp,
}

impl Certified {
    /// The certificate.
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The certificate authority, by its URL in the trusted root.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The CT logs that saw it; none only where [`Expect::UnwatchedCertificate`](crate::Expect::UnwatchedCertificate) asked for none.
    pub fn ct_logs(&self) -> &[CtLog] {
        &self.ct_logs
    }
}

impl TrustedLeaf {
    /// The key.
    pub fn key(&self) -> &PublicKey {
        match &self.0 {
            Kind::Certificate(certified) => certified.certificate.public_key(),
            Kind::Key(key) => key,
        }
    }

    /// The certificate, where there is one.
    pub const fn certificate(&self) -> Option<&Certificate> {
        match &self.0 {
            Kind::Certificate(certified) => Some(&certified.certificate),
            Kind::Key(_) => None,
        }
    }

    /// The certificate with those who vouch for it, where there is one.
    pub const fn certified(&self) -> Option<&Certified> {
        match &self.0 {
            Kind::Certificate(certified) => Some(certified),
            Kind::Key(_) => None,
        }
    }

    pub(crate) const fn owner(&self) -> &'static str {
        match &self.0 {
            Kind::Certificate(_) => "certificate's",
            Kind::Key(_) => "given",
        }
    }
}

pub(crate) fn trust_key(key: &PublicKey) -> TrustedLeaf {
    TrustedLeaf(Kind::Key(key.clone()))
}

/// Whether a CT log must vouch for the certificate. What there is of trusted logs has to hold in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sct {
    Needed,
    NotNeeded,
}

pub(crate) fn trust(
    leaf: &Certificate,
    intermediates: &[Certificate],
    times: &ObservedTimes,
    recorded: &Recorded,
    root: &TrustedRoot,
    sct: Sct,
) -> Result<TrustedLeaf, VerifyError> {
    let mut issuer = None;
    for observed in times.times() {
        let (path, authority) = path_at(
            leaf,
            intermediates,
            observed.time,
            &observed.witness.to_string(),
            root,
        )?;
        issuer = path.issuer().cloned().map(|issuer| (issuer, authority));
    }
    let (issuer, authority) = issuer.ok_or(VerifyError::NoTime)?;
    // A time that the log states without a promise is nobody's word, and must not contradict the certificate all the same.
    for entry in recorded.entries() {
        if let Some(time) = entry.entry().integrated_time
            && !leaf.is_valid_at(time)
        {
            path_at(leaf, intermediates, time, entry.log(), root)?;
        }
    }
    Ok(TrustedLeaf(Kind::Certificate(Certified {
        certificate: leaf.clone(),
        authority: authority.to_owned(),
        ct_logs: check_sct(leaf, &issuer, root, sct)?,
    })))
}

/// Checks a certificate that was issued a moment ago, before it is used: chain and SCT, at its first moment.
pub fn fresh_leaf(
    leaf: &Certificate,
    intermediates: &[Certificate],
    root: &TrustedRoot,
) -> Result<TrustedLeaf, VerifyError> {
    let (path, authority) = path_at(leaf, intermediates, leaf.not_before(), "its issuance", root)?;
    let issuer = path.issuer().ok_or(VerifyError::NoTime)?;
    Ok(TrustedLeaf(Kind::Certificate(Certified {
        certificate: leaf.clone(),
        authority: authority.to_owned(),
        ct_logs: check_sct(leaf, issuer, root, Sct::Needed)?,
    })))
}

/// A path at this time to an authority that is trusted at this time, and that authority's URL.
fn path_at<'a>(
    leaf: &Certificate,
    intermediates: &[Certificate],
    at: Timestamp,
    witness: &str,
    root: &'a TrustedRoot,
) -> Result<(VerifiedPath, &'a str), VerifyError> {
    let mut furthest: Option<PathError> = None;
    for authority in root
        .authorities
        .iter()
        .filter(|authority| authority.validity.contains(at))
    {
        let between: Vec<Certificate> = authority
            .intermediates()
            .iter()
            .chain(intermediates)
            .cloned()
            .collect();
        let anchors: Vec<Certificate> = authority.anchor().cloned().into_iter().collect();
        match path::verify(leaf, &between, &anchors, at, Purpose::CodeSigning) {
            Ok(path) => return Ok((path, &authority.uri)),
            // "No path" says least: it is what all authorities but the right one answer.
            Err(error) if furthest.is_none() || matches!(furthest, Some(PathError::NoPath(_))) => {
                furthest = Some(error);
            }
            Err(_) => {}
        }
    }
    match furthest {
        Some(source) => Err(VerifyError::Chain {
            at,
            witness: witness.to_owned(),
            source,
        }),
        None => Err(VerifyError::NoAuthorityAt { at }),
    }
}

/// At least one embedded SCT of a trusted log, if it is needed; every SCT of a trusted log must hold.
fn check_sct(
    leaf: &Certificate,
    issuer: &Certificate,
    root: &TrustedRoot,
    sct: Sct,
) -> Result<Vec<CtLog>, VerifyError> {
    let wrong = |why: String| VerifyError::Sct { why };
    let scts = match ct::embedded_scts(leaf) {
        Err(ct::CtError::NoSct) if sct == Sct::NotNeeded => return Ok(Vec::new()),
        scts => scts.map_err(|error| wrong(error.to_string()))?,
    };
    let entry = ct::entry_of_leaf(leaf, issuer).map_err(|error| wrong(error.to_string()))?;
    let mut vouched = Vec::new();
    for sct in &scts {
        let mut logs = root
            .ctlogs
            .iter()
            .filter(|log| log.id == sct.log_id)
            .peekable();
        if logs.peek().is_none() {
            continue;
        }
        let at = i64::try_from(sct.timestamp_ms)
            .ok()
            .and_then(|milliseconds| Timestamp::from_millisecond(milliseconds).ok())
            .ok_or_else(|| wrong(format!("an SCT of the time {}", sct.timestamp_ms)))?;
        let log = logs
            .find(|log| log.validity.contains(at))
            .ok_or_else(|| wrong(format!("an SCT of {at}, when its log's key did not sign")))?;
        sct.verify(&entry, &log.key)
            .map_err(|error| wrong(format!("{}: {error}", log.base_url)))?;
        vouched.push(CtLog {
            url: log.base_url.clone(),
            operator: named(&log.operator),
            time: at,
        });
    }
    if !vouched.is_empty() || sct == Sct::NotNeeded {
        return Ok(vouched);
    }
    let ids: Vec<String> = scts.iter().map(|sct| hex::encode(sct.log_id)).collect();
    Err(wrong(format!(
        "its {} SCT(s) are of unknown logs: {}",
        scts.len(),
        ids.join(", ")
    )))
}
