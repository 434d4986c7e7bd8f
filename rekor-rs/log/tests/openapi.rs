//! The description of the interface, against the interface: what it names is there, what is there it names, and answers have its shapes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a panic is a test's report"
)]

mod common;

use std::collections::BTreeSet;

use common::{Service, Site, v1, v2};
use serde_json::Value;

/// Follows a reference.
fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(path) => document.pointer(path.strip_prefix('#').unwrap()).unwrap(),
        None => schema,
    }
}

/// Whether a value has the shape of a schema, in the part of OpenAPI that the document uses.
fn check(document: &Value, schema: &Value, value: &Value, at: &str) {
    let schema = resolve(document, schema);
    if let Some(all) = schema["allOf"].as_array() {
        for part in all {
            check(document, part, value, at);
        }
        return;
    }
    if schema["nullable"] == true && value.is_null() {
        return;
    }
    match schema["type"].as_str() {
        Some("object") => {
            let members = value.as_object().unwrap_or_else(|| panic!("{at}: {value}"));
            for name in schema["required"].as_array().into_iter().flatten() {
                let name = name.as_str().unwrap();
                assert!(members.contains_key(name), "{at} has no {name}");
            }
            for (name, member) in members {
                let known = &schema["properties"][name];
                if !known.is_null() {
                    check(document, known, member, &format!("{at}.{name}"));
                } else if schema["additionalProperties"].is_object() {
                    check(
                        document,
                        &schema["additionalProperties"],
                        member,
                        &format!("{at}.*"),
                    );
                }
            }
        }
        Some("array") => {
            for (place, item) in value
                .as_array()
                .unwrap_or_else(|| panic!("{at}"))
                .iter()
                .enumerate()
            {
                check(document, &schema["items"], item, &format!("{at}[{place}]"));
            }
        }
        Some("string") => assert!(value.is_string(), "{at}: {value}"),
        Some("integer") => assert!(value.is_i64() || value.is_u64(), "{at}: {value}"),
        other => panic!("{at}: a schema of type {other:?}"),
    }
}

struct Client {
    service: Service,
    document: Value,
}

impl Client {
    /// Asks, and compares the answer with what the document says of this status.
    fn ask(&self, method: &str, path: &str, place: &str, body: &str) -> (u16, String) {
        let (status, answer) = self.service.ask(method, path, body).expect("an answer");
        let operation = &self.document["paths"][place][method.to_lowercase()];
        let described = &operation["responses"][status.to_string()];
        assert!(
            !described.is_null(),
            "{method} {path}: {status} is not described: {answer}"
        );
        let described = resolve(&self.document, described);
        if let Some(schema) = described.pointer("/content/application~1json/schema") {
            let value: Value =
                serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{path}: {answer}"));
            check(&self.document, schema, &value, path);
        }
        (status, answer)
    }
}

#[test]
fn the_description_is_true() {
    let site = Site::init(&[]);
    let service = site.serve(&[]);
    let (status, text) = service.get("/openapi.json");
    assert_eq!(status, 200);
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["openapi"], "3.0.3");
    let client = Client { service, document };

    let (status, _) = client.ask("POST", "/api/v2/log/entries", "/api/v2/log/entries", &v2(1));
    assert_eq!(status, 201);
    let entry = v2(2);
    assert_eq!(
        client
            .ask(
                "POST",
                "/api/v2/log/entries?wait=committed",
                "/api/v2/log/entries",
                &entry
            )
            .0,
        201
    );
    assert_eq!(
        client
            .ask("POST", "/api/v2/log/entries", "/api/v2/log/entries", &entry)
            .0,
        409
    );
    assert_eq!(
        client
            .ask("POST", "/api/v2/log/entries", "/api/v2/log/entries", "{")
            .0,
        400
    );
    let (status, key) = client.ask("GET", "/api/v2/log/publicKey", "/api/v2/log/publicKey", "");
    assert!(
        status == 200 && key.starts_with("-----BEGIN PUBLIC KEY-----"),
        "{key}"
    );
    for prefix in ["", "/api/v2"] {
        for (path, place) in [
            ("/checkpoint", "/checkpoint"),
            ("/checkpoint/latest", "/checkpoint/latest"),
            ("/tile/0/000.p/2", "/tile/{path}"),
            ("/tile/entries/000.p/2", "/tile/{path}"),
        ] {
            assert_eq!(
                client
                    .ask(
                        "GET",
                        &format!("{prefix}{path}"),
                        &format!("{prefix}{place}"),
                        ""
                    )
                    .0,
                200
            );
        }
        assert_eq!(
            client
                .ask(
                    "GET",
                    &format!("{prefix}/tile/9/9"),
                    &format!("{prefix}/tile/{{path}}"),
                    ""
                )
                .0,
            404
        );
    }
    let proposal = v1(1);
    let (status, answer) = client.ask(
        "POST",
        "/api/v1/log/entries",
        "/api/v1/log/entries",
        &proposal,
    );
    assert_eq!(status, 201);
    let entries: Value = serde_json::from_str(&answer).unwrap();
    let id = entries.as_object().unwrap().keys().next().unwrap().clone();
    assert_eq!(
        client
            .ask(
                "POST",
                "/api/v1/log/entries",
                "/api/v1/log/entries",
                &proposal
            )
            .0,
        409
    );
    assert_eq!(
        client
            .ask("POST", "/api/v1/log/entries", "/api/v1/log/entries", "{}")
            .0,
        422
    );
    assert_eq!(
        client
            .ask("POST", "/api/v1/log/entries", "/api/v1/log/entries", "[")
            .0,
        400
    );
    assert_eq!(
        client
            .ask(
                "GET",
                "/api/v1/log/entries?logIndex=0",
                "/api/v1/log/entries",
                ""
            )
            .0,
        200
    );
    assert_eq!(
        client
            .ask(
                "GET",
                "/api/v1/log/entries?logIndex=9",
                "/api/v1/log/entries",
                ""
            )
            .0,
        404
    );
    assert_eq!(
        client
            .ask(
                "GET",
                "/api/v1/log/entries?logIndex=x",
                "/api/v1/log/entries",
                ""
            )
            .0,
        422
    );
    let by_id = "/api/v1/log/entries/{entryUUID}";
    assert_eq!(
        client
            .ask("GET", &format!("/api/v1/log/entries/{id}"), by_id, "")
            .0,
        200
    );
    assert_eq!(
        client.ask("GET", "/api/v1/log/entries/xyz", by_id, "").0,
        422
    );
    let retrieve = "/api/v1/log/entries/retrieve";
    assert_eq!(
        client
            .ask("POST", retrieve, retrieve, "{\"logIndexes\":[0]}")
            .0,
        200
    );
    assert_eq!(client.ask("GET", "/api/v1/log", "/api/v1/log", "").0, 200);
    assert_eq!(
        client
            .ask(
                "GET",
                "/api/v1/log/proof?lastSize=1",
                "/api/v1/log/proof",
                ""
            )
            .0,
        200
    );
    assert_eq!(
        client
            .ask(
                "GET",
                "/api/v1/log/proof?lastSize=5",
                "/api/v1/log/proof",
                ""
            )
            .0,
        400
    );
    assert_eq!(
        client
            .ask("GET", "/api/v1/log/publicKey", "/api/v1/log/publicKey", "")
            .0,
        200
    );
    let hash = format!(
        "{{\"hash\":\"sha256:{}\"}}",
        hex::encode(keys::sha256(&1_u32.to_be_bytes()))
    );
    assert_eq!(
        client
            .ask(
                "POST",
                "/api/v1/index/retrieve",
                "/api/v1/index/retrieve",
                &hash
            )
            .0,
        200
    );
    let (_, found) = client.ask("POST", "/api/v2/search", "/api/v2/search", &hash);
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(
        found["entries"].as_array().unwrap().len(),
        2,
        "of v2 and of v1"
    );
    for path in ["/healthz", "/readyz", "/metrics", "/ping", "/openapi.json"] {
        assert_eq!(client.ask("GET", path, path, "").0, 200);
    }
    // All that was asked is all that there is.
    let paths: BTreeSet<&str> = client.document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(paths.len(), 21, "{paths:?}");
}
