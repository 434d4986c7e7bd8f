//! The signed entry timestamp of Rekor v1: what it is a signature over.

use serde::Serialize;
use wire::encoding::Bytes;

use crate::propose::canonical_json;

/// Above, a number of JSON may be another one after RFC 8785.
const MAX_INDEX: u64 = 1 << 53;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Promise {
    body: String,
    integrated_time: i64,
    #[serde(rename = "logID")]
    log_id: String,
    log_index: u64,
}

/// The bytes that the log signs to promise an entry: RFC 8785 JSON of body, time (seconds since 1970), log id and index (over all shards).
/// `None` when the index has no exact form in JSON (2^53 and above).
pub fn promise(body: &[u8], integrated_time: i64, log_id: &[u8], index: u64) -> Option<Vec<u8>> {
    let promise = Promise {
        body: Bytes::encode(body),
        integrated_time,
        log_id: hex::encode(log_id),
        log_index: index,
    };
    (index < MAX_INDEX).then(|| canonical_json(&promise))?
}
