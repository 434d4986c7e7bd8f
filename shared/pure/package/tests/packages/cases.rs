//! Cases of `testdata/packages`: a package, and what upstream's code says of it.

use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::bufread::GzDecoder;
use serde_json::Value;

pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) package: Vec<u8>,
    /// The key that it is to be verified under, where the package does not bring it along.
    pub(crate) key: Option<String>,
    /// The body of upstream's entry.
    pub(crate) body: Option<Value>,
    /// Upstream's search keys.
    pub(crate) keys: Vec<String>,
    /// Why we refuse it.
    pub(crate) error: Option<String>,
}

/// All cases of one kind.
pub(crate) fn read(kind: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../testdata/packages")
        .join(format!("{kind}.jsonl.gz"));
    #[expect(
        clippy::disallowed_methods,
        reason = "a test reads its cases; the crate has no files"
    )]
    let packed = std::fs::read(path).unwrap();
    let mut text = String::new();
    GzDecoder::new(&packed[..])
        .read_to_string(&mut text)
        .unwrap();
    text.lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            let string = |member: &str| row.get(member).map(|v| v.as_str().unwrap().to_owned());
            Case {
                name: string("name").unwrap(),
                package: STANDARD.decode(string("package").unwrap()).unwrap(),
                key: string("key"),
                body: string("body").map(|body| serde_json::from_str(&body).unwrap()),
                keys: row
                    .get("keys")
                    .map(|keys| serde_json::from_value(keys.clone()).unwrap())
                    .unwrap_or_default(),
                error: string("error"),
            }
        })
        .collect()
}

/// Runs each case: what we find must be what upstream's body says, or the refusal must be the one that the case names.
pub(crate) fn walk(
    kind: &str,
    at_least: usize,
    check: impl Fn(&Case) -> Result<Value, String>,
    expected: impl Fn(&Value) -> Value,
) {
    let cases = read(kind);
    assert!(cases.len() >= at_least, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let name = &case.name;
        match (check(case), &case.error, &case.body) {
            (Ok(found), None, Some(body)) if found == expected(body) => {}
            (Err(found), Some(error), _) if found == *error => {}
            (Ok(found), _, _) => wrong.push(format!("{name}: accepted: {found}")),
            (Err(found), _, _) => wrong.push(format!("{name}: refused: {found}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
