//! Rollouts: what is refused, what clients are told, and what the review finds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use jiff::{SignedDuration, Timestamp};
use trust::author::{self, AuthorError, LogKind, Part, Rollout};
use trust::{ServiceKind, SigningConfig, TrustedRoot, review};
use wire::trustroot as shape;

const PUBLIC_GOOD: &[u8] = include_bytes!("../../../../testdata/trust/public-good.json");
const PUBLIC_GOOD_SIGNING: &[u8] =
    include_bytes!("../../../../testdata/trust/public-good-signing.json");

const ROLLOUT: Rollout = Rollout {
    life: SignedDuration::from_hours(24 * 7),
    margin: SignedDuration::from_hours(24 * 5),
};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-11-28T10:00:30Z")
}

fn key(number: usize) -> keys::PublicKey {
    let root = TrustedRoot::parse(PUBLIC_GOOD).unwrap();
    let logs = root.tlogs.into_iter().chain(root.ctlogs);
    logs.map(|log| log.key).nth(number).unwrap()
}

/// One Rekor v2 log, which clients sign with since January.
fn one_log() -> (shape::TrustedRoot, shape::SigningConfig) {
    let (mut root, mut config) = (author::empty_root(), author::empty_config());
    let start = at("2026-01-01T00:00:00Z");
    author::add_log(
        &mut root,
        LogKind::RekorV2,
        "https://log1.example.com/",
        &key(0),
        start,
    )
    .unwrap();
    author::open_service(
        &mut config,
        ServiceKind::Rekor,
        "https://log1.example.com",
        2,
        "example.com",
        start,
    )
    .unwrap();
    (root, config)
}

fn codes(findings: &[review::Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.code).collect()
}

#[test]
fn a_start_is_computed_and_a_sooner_one_refused() {
    let start = author::start(None, now(), &ROLLOUT).unwrap();
    assert_eq!(start, at("2026-12-10T10:01:00Z"));
    assert_eq!(author::start(Some(start), now(), &ROLLOUT), Ok(start));
    let soon = at("2026-12-10T10:00:00Z");
    let error = author::start(Some(soon), now(), &ROLLOUT).unwrap_err();
    assert!(
        matches!(error, AuthorError::TooSoon { earliest, .. } if earliest == at("2026-12-10T10:00:30Z")),
        "{error}"
    );
}

#[test]
fn a_new_shard_is_trusted_at_once_and_signed_with_later() {
    let (old_root, old_config) = one_log();
    let (mut root, mut config) = (old_root.clone(), old_config.clone());
    let start = author::start(None, now(), &ROLLOUT).unwrap();
    author::add_log(
        &mut root,
        LogKind::RekorV2,
        "https://log2.example.com",
        &key(1),
        now(),
    )
    .unwrap();
    author::open_service(
        &mut config,
        ServiceKind::Rekor,
        "https://log2.example.com",
        2,
        "example.com",
        start,
    )
    .unwrap();

    // Newest first, and the old window closes in the moment in which the new one opens.
    let urls: Vec<&str> = config
        .rekor_tlog_urls
        .iter()
        .map(|service| service.url.as_str())
        .collect();
    assert_eq!(
        urls,
        ["https://log2.example.com", "https://log1.example.com"]
    );
    assert_eq!(
        config.rekor_tlog_urls[1].valid_for.unwrap().end,
        Some(start)
    );
    let parsed = SigningConfig::from_wire(config.clone()).unwrap();
    let called = |time| {
        parsed
            .service(ServiceKind::Rekor, time)
            .unwrap()
            .url
            .clone()
    };
    assert_eq!(
        called(start - SignedDuration::from_secs(1)),
        "https://log1.example.com"
    );
    assert_eq!(
        called(start + SignedDuration::from_secs(1)),
        "https://log2.example.com"
    );

    assert_eq!(
        codes(&review::rollout(
            (&old_root, &old_config),
            (&root, &config),
            now(),
            &ROLLOUT
        )),
        [""; 0]
    );
    // Published too late for its date.
    let late = start - SignedDuration::from_hours(24);
    assert_eq!(
        codes(&review::rollout(
            (&old_root, &old_config),
            (&root, &config),
            late,
            &ROLLOUT
        )),
        ["too-soon"]
    );
    let words = review::words(Some((&old_root, &old_config)), (&root, &config));
    assert!(
        words.iter().any(|word| word
            .contains("clients sign with the log https://log2.example.com")
            && word.contains("from 2026-12-10T10:01:00Z on")),
        "{words:?}"
    );
    assert!(
        words
            .iter()
            .any(|word| word.contains("clients trust the log https://log2.example.com")),
        "{words:?}"
    );

    // Closing the old one in the trusted root: not while clients sign with it, and somebody is reminded afterwards.
    let early = author::close(
        &mut root,
        &config,
        Part::Tlogs,
        "https://log1.example.com",
        now(),
    )
    .unwrap_err();
    assert!(matches!(early, AuthorError::InUse { .. }), "{early}");
    assert_eq!(review::to_be_closed(&root, &config, now()), [""; 0]);
    let after = start + SignedDuration::from_hours(24);
    assert!(review::to_be_closed(&root, &config, after)[0].contains("https://log1.example.com"));
    author::close(
        &mut root,
        &config,
        Part::Tlogs,
        "https://log1.example.com/",
        after,
    )
    .unwrap();
    assert_eq!(review::to_be_closed(&root, &config, after), [""; 0]);
    assert_eq!(root.tlogs.len(), 2);
    let again = author::close(
        &mut root,
        &config,
        Part::Tlogs,
        "https://log1.example.com",
        after,
    )
    .unwrap_err();
    assert!(matches!(again, AuthorError::Unknown { .. }), "{again}");
}

#[test]
fn what_is_listed_stays_listed_and_is_listed_once() {
    let (old_root, config) = one_log();
    let mut root = old_root.clone();
    let twice = author::add_log(
        &mut root,
        LogKind::RekorV2,
        "https://log1.example.com",
        &key(0),
        now(),
    );
    assert!(matches!(twice, Err(AuthorError::Listed { .. })));
    root.tlogs.clear();
    let found = review::rollout((&old_root, &config), (&root, &config), now(), &ROLLOUT);
    assert_eq!(codes(&found), ["removed"]);
    for url in [
        "ftp://log.example.com",
        "log.example.com",
        "https://user@log.example.com",
        "https://log.example.com?x",
    ] {
        let added = author::add_log(&mut root, LogKind::Ct, url, &key(1), now());
        assert!(matches!(added, Err(AuthorError::Url { .. })), "{url}");
    }
}

#[test]
fn the_public_goods_files_pass_the_review_and_damaged_ones_do_not() {
    assert_eq!(codes(&review::root(PUBLIC_GOOD)), [""; 0]);
    let both = review::config(PUBLIC_GOOD_SIGNING, Some(PUBLIC_GOOD));
    assert_eq!(codes(&both), [""; 0]);
    let change = |from: &str, to: &str| {
        let text = String::from_utf8(PUBLIC_GOOD.to_vec()).unwrap();
        assert!(text.contains(from), "{from}");
        codes(&review::root(text.replacen(from, to, 1).as_bytes()))
    };
    assert_eq!(
        change(
            "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "application/vnd.dev.sigstore.trustedroot.v0.2+json"
        ),
        ["media-type"]
    );
    assert_eq!(change("logId", "logID"), ["trusted-root"]);

    let (root, mut config) = one_log();
    let json = |document: &shape::SigningConfig| author::to_json(document).unwrap().into_bytes();
    let root_json = author::to_json(&root).unwrap().into_bytes();
    assert_eq!(
        codes(&review::config(&json(&config), Some(&root_json))),
        ["no-time"]
    );
    config.rekor_tlog_urls[0].major_api_version = 3;
    assert!(codes(&review::config(&json(&config), None)).contains(&"api-version"));
    config.rekor_tlog_urls[0].major_api_version = 1;
    let mut other = config.rekor_tlog_urls[0].clone();
    other.url = "https://elsewhere.example.com".to_owned();
    config.rekor_tlog_urls.push(other);
    assert_eq!(
        codes(&review::config(&json(&config), Some(&root_json))),
        ["two-open", "unknown-service"]
    );
}

/// The public repository's trusted root has the whole endpoint of its timestamp authority, ours has the base; either is found by either.
#[test]
fn a_timestamp_authority_is_closed_by_either_of_its_addresses_and_only_when_nobody_is_sent_there() {
    let root: shape::TrustedRoot = wire::parse(PUBLIC_GOOD).unwrap();
    let mut config: shape::SigningConfig = wire::parse(PUBLIC_GOOD_SIGNING).unwrap();
    let (base, later) = ("https://timestamp.sigstore.dev", at("2027-01-01T00:00:00Z"));
    let endpoint = format!("{base}/api/v1/timestamp");
    let part = Part::TimestampAuthorities;
    for url in [base, endpoint.as_str()] {
        let mut closed = root.clone();
        let refused = author::close(&mut closed, &config, part, url, now());
        assert!(matches!(refused, Err(AuthorError::InUse { .. })), "{url}");
    }
    author::close_service(&mut config, ServiceKind::Tsa, &endpoint, now()).unwrap();
    let open = review::to_be_closed(&root, &config, later);
    assert!(open.len() == 1 && open[0].contains(base), "{open:?}");
    for url in [base, endpoint.as_str()] {
        let mut closed = root.clone();
        author::close(&mut closed, &config, part, url, later).unwrap();
        assert_eq!(review::to_be_closed(&closed, &config, later), [""; 0]);
    }
}

#[test]
fn a_rekor_v2_log_has_its_note_key_id() {
    let (_, config) = one_log();
    let config = author::to_json(&config).unwrap().into_bytes();
    let mut root = author::empty_root();
    // Of an Ed25519 key: for ECDSA both ids are the same.
    let (url, start) = (
        "https://log1.example.com",
        "2026-01-01T00:00:00Z".parse().unwrap(),
    );
    author::add_log(&mut root, LogKind::RekorV2, url, &key(1), start).unwrap();
    let right = author::to_json(&root).unwrap().into_bytes();
    assert!(!codes(&review::config(&config, Some(&right))).contains(&"log-id"));
    root.tlogs[0].log_id = Some(wire::common::LogId {
        key_id: wire::encoding::Bytes(key(1).key_id().to_vec()),
    });
    let root = author::to_json(&root).unwrap().into_bytes();
    assert!(codes(&review::config(&config, Some(&root))).contains(&"log-id"));
    assert!(!codes(&review::config(PUBLIC_GOOD_SIGNING, Some(PUBLIC_GOOD))).contains(&"log-id"));
}
