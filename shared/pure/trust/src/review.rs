//! Before anybody signs them: what would break a client in a trusted root and a signing config, and what they change, in words.

use std::fmt;

use jiff::Timestamp;
use keys::PublicKey;
use note::VerifierKey;
use wire::common::TimeRange;
use wire::trustroot::{self as shape, Service};

use crate::author::{Rollout, place_base, same_url, service_base, services};
use crate::{ServiceKind, SigningConfig, TRUSTED_ROOT_V01, TrustedRoot};

/// Something that a client cannot live with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Stable, for programs.
    pub code: &'static str,
    /// What is wrong, with the value.
    pub what: String,
    /// Who stumbles.
    pub breaks: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, what, breaks } = self;
        write!(formatter, "{what} ({code}; breaks {breaks})")
    }
}

const KINDS: [(ServiceKind, &str); 4] = [
    (ServiceKind::Fulcio, "certificate authority"),
    (ServiceKind::Oidc, "identity provider"),
    (ServiceKind::Rekor, "log"),
    (ServiceKind::Tsa, "timestamp authority"),
];

/// Looks through a trusted root.
pub fn root(bytes: &[u8]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |code, what, breaks| found.push(Finding { code, what, breaks });
    let parsed = TrustedRoot::parse(bytes);
    let root = match (wire::parse::<shape::TrustedRoot>(bytes), &parsed) {
        (Ok(root), Ok(_)) => root,
        (Err(error), _) => {
            add("trusted-root", error.to_string(), "every client");
            return found;
        }
        (_, Err(error)) => {
            add("trusted-root", error.to_string(), "every client");
            return found;
        }
    };
    if root.media_type != TRUSTED_ROOT_V01 {
        let what = format!("mediaType is {}", root.media_type);
        add("media-type", what, "sigstore-go, sigstore-python");
    }
    for log in root.tlogs.iter().chain(&root.ctlogs) {
        if log.checkpoint_key_id.is_some() || !log.operator.is_empty() {
            let what = format!("the log {} has fields of version 0.2", log.base_url);
            add("v0.2-field", what, "clients that only know version 0.1");
        }
    }
    for authority in root
        .certificate_authorities
        .iter()
        .chain(&root.timestamp_authorities)
    {
        if !authority.operator.is_empty() {
            let what = format!("the authority {} has a field of version 0.2", authority.uri);
            add("v0.2-field", what, "clients that only know version 0.1");
        }
    }
    let parsed = parsed.unwrap_or_default();
    for authority in parsed
        .authorities
        .iter()
        .chain(&parsed.timestamp_authorities)
    {
        let name = &authority.uri;
        for pair in authority.chain.windows(2) {
            if let [lower, upper] = pair
                && !lower.is_signed_by(upper.public_key())
            {
                let what = format!(
                    "in the chain of {name}, {} is not signed by the next one, {}",
                    lower.subject_text(),
                    upper.subject_text()
                );
                add("chain-order", what, "every client");
            }
        }
        if authority.anchor().is_some_and(|anchor| !anchor.is_ca()) && authority.chain.len() > 1 {
            add(
                "chain-order",
                format!("the chain of {name} does not end with an authority"),
                "every client",
            );
        }
        for certificate in &authority.chain {
            let over = certificate.not_after() < authority.validity.start;
            let ahead = authority
                .validity
                .end
                .is_some_and(|end| end < certificate.not_before());
            if over || ahead {
                let what = format!(
                    "{} is valid from {} to {}, and {name} issues {}",
                    certificate.subject_text(),
                    certificate.not_before(),
                    certificate.not_after(),
                    authority.validity
                );
                add("chain-validity", what, "every client");
            }
        }
    }
    found
}

/// Looks through a signing config, and whether the trusted root knows whom it names.
pub fn config(bytes: &[u8], root: Option<&[u8]>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |code, what, breaks| found.push(Finding { code, what, breaks });
    let config = match SigningConfig::parse(bytes) {
        Ok(config) => config.to_wire().clone(),
        Err(error) => {
            add("signing-config", error.to_string(), "every client");
            return found;
        }
    };
    let root = root.and_then(|bytes| TrustedRoot::parse(bytes).ok());
    for (kind, name) in KINDS {
        let list = services(&config, kind);
        for (position, service) in list.iter().enumerate() {
            let url = &service.url;
            let versions: &[u32] = if kind == ServiceKind::Rekor {
                &[1, 2]
            } else {
                &[1]
            };
            if !versions.contains(&service.major_api_version) {
                let what = format!(
                    "the {name} {url} has majorApiVersion {}, expected {versions:?}",
                    service.major_api_version
                );
                add("api-version", what, "every client: none selects it");
            }
            if service.valid_for.and_then(|window| window.start).is_none() {
                add(
                    "window",
                    format!("the {name} {url} has no start"),
                    "every client: none selects it",
                );
            }
            for other in list.iter().skip(position + 1) {
                let same = service.operator == other.operator
                    && service.major_api_version == other.major_api_version;
                if same && overlap(service.valid_for, other.valid_for) {
                    let what = format!(
                        "the {name}s {url} and {} of one operator are open at the same time",
                        other.url
                    );
                    add(
                        "two-open",
                        what,
                        "sigstore-python takes the old one, sigstore-go the new one",
                    );
                }
            }
            if let Some(root) = &root
                && !knows(root, kind, service)
            {
                let what =
                    format!("the trusted root does not know the {name} {url} from its start on");
                add(
                    "unknown-service",
                    what,
                    "every client: what it signs does not verify",
                );
            }
        }
    }
    let v2 = config
        .rekor_tlog_urls
        .iter()
        .any(|service| service.major_api_version == 2);
    if v2 && config.tsa_urls.is_empty() {
        let what = "a Rekor v2 log needs a timestamp authority beside it".to_owned();
        add(
            "no-time",
            what,
            "every client: no signature of a certificate verifies",
        );
    }
    if let Some(root) = &root {
        wrong_ids(&config, root, &mut found);
    }
    found
}

/// What a new version of both may not do to clients that have the old one.
pub fn rollout(
    old: (&shape::TrustedRoot, &shape::SigningConfig),
    new: (&shape::TrustedRoot, &shape::SigningConfig),
    published: Timestamp,
    rollout: &Rollout,
) -> Vec<Finding> {
    let mut found = Vec::new();
    let known = rollout.known(published);
    for (kind, name) in KINDS {
        // Identity providers stand in no trusted root: clients that know the new one have the config that names it.
        if kind == ServiceKind::Oidc {
            continue;
        }
        for service in services(new.1, kind) {
            let before = services(old.1, kind).iter().any(|old| {
                old.url == service.url && old.major_api_version == service.major_api_version
            });
            let start = service.valid_for.and_then(|window| window.start);
            let trusted =
                TrustedRoot::from_wire(old.0.clone()).is_ok_and(|root| knows(&root, kind, service));
            if !before && !trusted && start.is_some_and(|start| start < known) {
                found.push(Finding {
                    code: "too-soon",
                    what: format!(
                        "clients sign with the {name} {} from {} on, and some of them do not trust it before {known}",
                        service.url,
                        start.unwrap_or_default()
                    ),
                    breaks: "clients that refreshed just before the publication",
                });
            }
        }
    }
    for gone in removed(old.0, new.0) {
        found.push(Finding {
            code: "removed",
            what: format!("{gone} is not listed any more"),
            breaks: "everybody who verifies what it signed",
        });
    }
    found
}

/// What changes, in words.
pub fn words(
    old: Option<(&shape::TrustedRoot, &shape::SigningConfig)>,
    new: (&shape::TrustedRoot, &shape::SigningConfig),
) -> Vec<String> {
    let mut said = Vec::new();
    let windows = |root: &shape::TrustedRoot| -> Vec<(String, Option<TimeRange>)> {
        let logs = [("the log", &root.tlogs), ("the CT log", &root.ctlogs)];
        let authorities = [
            ("the certificate authority", &root.certificate_authorities),
            ("the timestamp authority", &root.timestamp_authorities),
        ];
        let logs = logs.into_iter().flat_map(|(kind, list)| {
            list.iter().map(move |log| {
                let id = log
                    .log_id
                    .as_ref()
                    .map(|id| hint(&id.key_id.0))
                    .unwrap_or_default();
                (
                    format!("{kind} {} ({id})", log.base_url),
                    log.public_key.valid_for,
                )
            })
        });
        let authorities = authorities.into_iter().flat_map(|(kind, list)| {
            list.iter().map(move |one| {
                let first = one.cert_chain.certificates.first();
                let id = first.map(|first| hint(&keys::sha256(&first.raw_bytes.0)));
                (
                    format!("{kind} {} ({})", one.uri, id.unwrap_or_default()),
                    one.valid_for,
                )
            })
        });
        logs.chain(authorities).collect()
    };
    let before = old.map(|(root, _)| windows(root)).unwrap_or_default();
    let after = windows(new.0);
    for (name, window) in &after {
        match before.iter().find(|(known, _)| known == name) {
            None => said.push(format!("clients trust {name} {}", range(*window))),
            Some((_, old)) if old != window => said.push(format!(
                "clients trust {name} {} (so far {})",
                range(*window),
                range(*old)
            )),
            Some(_) => {}
        }
    }
    for (name, _) in before
        .iter()
        .filter(|(name, _)| !after.iter().any(|(known, _)| known == name))
    {
        said.push(format!(
            "clients trust {name} no more, not for what it signed either"
        ));
    }
    for (kind, name) in KINDS {
        let list = services(new.1, kind);
        let list_before = old
            .map(|(_, config)| services(config, kind))
            .unwrap_or_default();
        for service in list {
            let same = |other: &&Service| {
                other.url == service.url && other.major_api_version == service.major_api_version
            };
            let shown = format!(
                "the {name} {} (version {}, operator {})",
                service.url, service.major_api_version, service.operator
            );
            match list_before.iter().find(same) {
                None => said.push(format!(
                    "clients sign with {shown} {}",
                    range(service.valid_for)
                )),
                Some(old) if old != service => said.push(format!(
                    "clients sign with {shown} {} (so far {})",
                    range(service.valid_for),
                    range(old.valid_for)
                )),
                Some(_) => {}
            }
        }
        for gone in list_before
            .iter()
            .filter(|old| !list.iter().any(|one| one.url == old.url))
        {
            said.push(format!("clients sign with the {name} {} no more", gone.url));
        }
    }
    let counts = |config: &shape::SigningConfig| {
        (config.rekor_tlog_config.clone(), config.tsa_config.clone())
    };
    if old.is_some_and(|(_, config)| counts(config) != counts(new.1)) {
        said.push("how many logs or timestamp authorities sign along changes".to_owned());
    }
    said
}

/// Instances that a signing config no longer sends anybody to, though the trusted root still has them open: step 4 of a rollout.
pub fn to_be_closed(
    root: &shape::TrustedRoot,
    config: &shape::SigningConfig,
    now: Timestamp,
) -> Vec<String> {
    let logs = root.tlogs.iter().map(|log| {
        (
            ServiceKind::Rekor,
            log.base_url.as_str(),
            log.public_key.valid_for,
        )
    });
    let authorities = root
        .certificate_authorities
        .iter()
        .map(|one| (ServiceKind::Fulcio, one.uri.as_str(), one.valid_for));
    let timestamps = root
        .timestamp_authorities
        .iter()
        .map(|one| (ServiceKind::Tsa, one.uri.as_str(), one.valid_for));
    let mut open = Vec::new();
    for (kind, url, window) in logs.chain(authorities).chain(timestamps) {
        let listed: Vec<&Service> = services(config, kind)
            .iter()
            .filter(|service| same_url(&service_base(service), place_base(url)))
            .collect();
        let ended = listed
            .iter()
            .filter_map(|service| service.valid_for.and_then(|window| window.end))
            .max();
        let all_ended = !listed.is_empty()
            && listed.iter().all(|service| {
                service
                    .valid_for
                    .and_then(|window| window.end)
                    .is_some_and(|end| end < now)
            });
        if window.is_some_and(|window| window.end.is_none()) && all_ended {
            open.push(format!(
                "nobody signs with {url} since {}: close it with `retire` when nothing is written to it any more",
                ended.unwrap_or_default()
            ));
        }
    }
    open
}

fn removed(old: &shape::TrustedRoot, new: &shape::TrustedRoot) -> Vec<String> {
    let mut gone = Vec::new();
    for (before, after) in [(&old.tlogs, &new.tlogs), (&old.ctlogs, &new.ctlogs)] {
        for log in before {
            if !after
                .iter()
                .any(|other| other.public_key.raw_bytes == log.public_key.raw_bytes)
            {
                gone.push(format!("the log {}", log.base_url));
            }
        }
    }
    for (before, after) in [
        (&old.certificate_authorities, &new.certificate_authorities),
        (&old.timestamp_authorities, &new.timestamp_authorities),
    ] {
        for one in before {
            if !after.iter().any(|other| other.cert_chain == one.cert_chain) {
                gone.push(format!("the authority {}", one.uri));
            }
        }
    }
    gone
}

/// Does what a service signs from its start on verify with this trusted root?
fn knows(root: &TrustedRoot, kind: ServiceKind, service: &Service) -> bool {
    let start = service
        .valid_for
        .and_then(|window| window.start)
        .unwrap_or_default();
    let base = service_base(service);
    let authority = |list: &[crate::CertificateAuthority]| {
        list.iter()
            .any(|one| same_url(place_base(&one.uri), &base) && covers(&one.validity, start))
    };
    match kind {
        ServiceKind::Oidc => true,
        ServiceKind::Rekor => root
            .tlogs
            .iter()
            .any(|log| same_url(&log.base_url, &base) && covers(&log.validity, start)),
        ServiceKind::Fulcio => authority(&root.authorities),
        ServiceKind::Tsa => authority(&root.timestamp_authorities),
    }
}

fn covers(validity: &crate::Validity, start: Timestamp) -> bool {
    validity.contains(start)
}

/// For Rekor v2 the id has to be the note key id, or sigstore-go and cosign find no key for a checkpoint.
fn wrong_ids(config: &shape::SigningConfig, root: &TrustedRoot, found: &mut Vec<Finding>) {
    for service in config
        .rekor_tlog_urls
        .iter()
        .filter(|service| service.major_api_version == 2)
    {
        let logs: Vec<_> = root
            .tlogs
            .iter()
            .filter(|log| same_url(&log.base_url, &service.url))
            .collect();
        let fits = logs
            .iter()
            .any(|log| note_id(&log.base_url, &log.key).is_some_and(|id| id == log.id));
        if !logs.is_empty() && !fits {
            found.push(Finding {
                code: "log-id",
                what: format!(
                    "the id of the Rekor v2 log {} is not its note key id",
                    service.url
                ),
                breaks: "sigstore-go, cosign",
            });
        }
    }
}

fn note_id(url: &str, key: &PublicKey) -> Option<Vec<u8>> {
    let url = url::Url::parse(url).ok()?;
    let key = VerifierKey::new(url.host_str()?, key.clone()).ok()?;
    Some(key.id().to_vec())
}

fn overlap(one: Option<TimeRange>, other: Option<TimeRange>) -> bool {
    let (one, other) = (one.unwrap_or_default(), other.unwrap_or_default());
    let before = |end: Option<Timestamp>, start: Option<Timestamp>| {
        // Windows that touch in one moment are how a rollout is written.
        matches!((end, start), (Some(end), Some(start)) if end <= start)
    };
    !before(one.end, other.start) && !before(other.end, one.start)
}

fn range(window: Option<TimeRange>) -> String {
    match window.map(|window| (window.start, window.end)) {
        Some((Some(start), Some(end))) => format!("from {start} to {end}"),
        Some((Some(start), None)) => format!("from {start} on"),
        _ => "at no time".to_owned(),
    }
}

fn hint(id: &[u8]) -> String {
    let head = id.first_chunk().copied().map_or(0, u32::from_be_bytes);
    format!("{head:08x}")
}
