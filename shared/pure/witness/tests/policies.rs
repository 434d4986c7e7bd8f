//! Policies: the example of the specification, each rule that refuses, and quorums against a naive count.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a panic is a test's report"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;

use keys::Algorithm;
use note::{CosignerKey, VerifierKey};
use proptest::prelude::*;
use signer::Signer;
use witness::{MAX_POLICY, Policy, PolicyError};

fn vkey(name: &str) -> String {
    let signer = Signer::generate(Algorithm::Ed25519).unwrap();
    let key = CosignerKey::ed25519(name, signer.public_key().clone());
    key.unwrap().to_vkey()
}

fn log_vkey() -> String {
    let signer = Signer::generate(Algorithm::Ed25519).unwrap();
    let key = VerifierKey::new("log.example", signer.public_key().clone());
    key.unwrap().to_vkey().unwrap()
}

/// The example of C2SP tlog-policy, with comments and odd spacing.
fn example() -> String {
    let mut text = format!(
        "# a comment\n\n  log\t{}  https://log.example/\n",
        log_vkey()
    );
    for name in ["X1", "X2", "X3", "Y1", "Y2", "Y3"] {
        let _ = writeln!(text, "witness {name} {} ", vkey(name));
    }
    text += "group X-witnesses 2 X1 X2 X3\ngroup Y-witnesses any Y1 Y2 Y3\n";
    text + "group X-and-Y all X-witnesses Y-witnesses\n\tquorum X-and-Y"
}

/// One witness with an old and a new key, and another one.
#[test]
fn a_witness_with_two_keys_is_one() {
    let names = ["w.example", "w.example", "x.example"];
    let mut text = String::new();
    for (place, name) in names.into_iter().enumerate() {
        let _ = writeln!(text, "witness w{place} {}", vkey(name));
    }
    let two = Policy::parse((text.clone() + "group g 2 w0 w1 w2\nquorum g\n").as_bytes()).unwrap();
    for (cosigned, enough) in [
        (&[0, 1][..], false),
        (&[0, 2], true),
        (&[1, 2], true),
        (&[0, 1, 2], true),
        (&[2], false),
    ] {
        let met = two.met_by(|place| cosigned.contains(&place));
        assert_eq!(met, enough, "{cosigned:?}");
    }
    let either = text + "group w any w0 w1\nquorum w\n";
    let either = Policy::parse(either.as_bytes()).unwrap();
    assert!((0..2).all(|place| either.met_by(|cosigned| cosigned == place)));
    assert!(!either.met_by(|cosigned| cosigned == 2));
}

#[test]
fn the_example_of_the_specification() {
    let policy = Policy::parse(example().as_bytes()).unwrap();
    assert_eq!(policy.logs()[0].key.name(), "log.example");
    assert_eq!(
        policy.logs()[0].url.as_deref(),
        Some("https://log.example/")
    );
    assert!(policy.asks());
    let names: Vec<&str> = policy
        .witnesses()
        .iter()
        .map(|witness| witness.name.as_str())
        .collect();
    for set in 0_u32..64 {
        let has = |place: usize| set & (1 << place) != 0;
        let xs = (0..3).filter(|place| has(*place)).count();
        let ys = (3..6).filter(|place| has(*place)).count();
        let chosen: Vec<&str> = (0..6)
            .filter(|place| has(*place))
            .map(|at| names[at])
            .collect();
        assert_eq!(policy.met_by(has), xs >= 2 && ys >= 1, "{chosen:?}");
    }
}

#[test]
fn nothing_asked_is_said_in_words() {
    let policy = Policy::parse(b"quorum none\n").unwrap();
    assert!(!policy.asks() && policy.met_by(|_| false));
    assert_eq!(Policy::parse(b"").unwrap_err(), PolicyError::NoQuorum);
}

#[test]
fn each_rule_refuses() {
    let (one, two) = (vkey("w1"), vkey("w2"));
    let w = format!("witness a {one}\nwitness b {two}\n");
    let log = format!("log {}\n", log_vkey());
    for (text, line, what) in [
        (format!("{w}quorum a\nquorum b\n"), 4, "a second quorum"),
        (
            format!("{w}quorum c\n"),
            3,
            "no line before this one defines \"c\"",
        ),
        (
            format!("quorum a\n{w}"),
            1,
            "no line before this one defines \"a\"",
        ),
        (
            format!("{w}group g any a c\n"),
            3,
            "no line before this one defines \"c\"",
        ),
        (
            format!("{w}group g any g\n"),
            3,
            "no line before this one defines \"g\"",
        ),
        (
            format!("{w}group g any a\ngroup h any a\n"),
            4,
            "\"a\" is a member already",
        ),
        (
            format!("{w}group g 2 a a\n"),
            3,
            "\"a\" is a member already",
        ),
        (
            format!("{w}group g 0 a b\n"),
            3,
            "the threshold \"0\" is not",
        ),
        (
            format!("{w}group g 3 a b\n"),
            3,
            "the threshold \"3\" is not",
        ),
        (
            format!("{w}group g +1 a b\n"),
            3,
            "the threshold \"+1\" is not",
        ),
        (format!("{w}group g all\n"), 3, "too few or too many items"),
        (format!("{w}group a any b\n"), 3, "the name \"a\" is taken"),
        (
            format!("{w}group none any b\n"),
            3,
            "the name \"none\" is taken",
        ),
        (
            format!("{w}group g any none\n"),
            3,
            "no line before this one defines \"none\"",
        ),
        (
            format!("witness a {one}\nwitness b {one}\n"),
            2,
            "this witness's key is there already",
        ),
        (
            format!("witness a {one} u v\n"),
            1,
            "too few or too many items",
        ),
        (format!("{log}{log}"), 2, "this log's key is there already"),
        ("mirror x\n".to_owned(), 1, "\"mirror\" is none of"),
        ("quorum\n".to_owned(), 1, "too few or too many items"),
    ] {
        let Err(PolicyError::Line {
            line: at,
            what: why,
        }) = Policy::parse(text.as_bytes())
        else {
            panic!("taken: {text}");
        };
        assert_eq!(at, line, "{text}: {why}");
        assert!(why.starts_with(what), "{text}: {why}");
    }
    for (text, line) in [
        (format!("witness a {}\n", log_vkey()), 1),
        (format!("\nlog {one}\n"), 2),
        ("witness a b\n".to_owned(), 1),
    ] {
        let Err(PolicyError::Key { line: at, .. }) = Policy::parse(text.as_bytes()) else {
            panic!("taken: {text}");
        };
        assert_eq!(at, line, "{text}");
    }
    for text in [&b"quorum none\r\n"[..], b"quorum\0none", b"\xff", b"#\x7f"] {
        assert_eq!(Policy::parse(text).unwrap_err(), PolicyError::NotText);
    }
    assert_eq!(
        Policy::parse(&vec![b'\n'; MAX_POLICY + 1]).unwrap_err(),
        PolicyError::TooLong(MAX_POLICY + 1)
    );
}

#[test]
fn thirty_two_of_each_are_taken_and_257_are_not() {
    let text = |count: usize| {
        let mut text = String::new();
        for n in 0..count {
            let _ = writeln!(text, "witness w{n} {}\ngroup g{n} any w{n}", vkey("w"));
        }
        text + "quorum g0\n"
    };
    assert_eq!(
        Policy::parse(text(32).as_bytes())
            .unwrap()
            .witnesses()
            .len(),
        32
    );
    assert!(Policy::parse(text(257).as_bytes()).is_err());
}

proptest! {
    /// Groups over groups, against a recursive count over the text's own terms.
    #[test]
    fn quorums_count(sizes in proptest::collection::vec((1_usize..5, 1_usize..5), 1..6), cosigned in any::<u32>()) {
        let mut text = String::new();
        let mut next = 0;
        let mut tops: Vec<(String, bool)> = Vec::new();
        let mut all = BTreeSet::new();
        for (number, (size, threshold)) in sizes.iter().enumerate() {
            let mut members = Vec::new();
            let mut count = 0;
            for _ in 0..*size {
                let name = format!("w{next}");
                let _ = writeln!(text, "witness {name} {}", vkey(&name));
                count += usize::from(cosigned & (1 << next) != 0);
                all.insert(next);
                members.push(name);
                next += 1;
            }
            let last = tops.pop();
            if let Some((name, met)) = last {
                count += usize::from(met);
                members.push(name);
            }
            let threshold = (*threshold).min(members.len());
            let _ = writeln!(text, "group g{number} {threshold} {}", members.join(" "));
            tops.push((format!("g{number}"), count >= threshold));
        }
        let (name, expected) = tops.pop().unwrap();
        let _ = writeln!(text, "quorum {name}");
        let policy = Policy::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(policy.met_by(|place| cosigned & (1 << place) != 0), expected);
    }
}
