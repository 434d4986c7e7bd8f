//! rfc3161 0.0.1: a timestamp token, whole. It is signed by a certificate that it carries; whose, the reader has to ask.

use serde::{Deserialize, Serialize};
use wire::encoding::Bytes;

use crate::{Accepted, Admit, Hash, Kind, ProposeError, Rules, invalid};

/// The largest response, as upstream.
const MAX_RESPONSE: usize = 10 << 10;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    tsr: Response,
}

#[derive(Debug, Serialize, Deserialize)]
struct Response {
    content: Bytes,
}

impl Admit for Spec {
    fn admit(self, _rules: &Rules<'_>) -> Result<Accepted, ProposeError> {
        let response = &self.tsr.content.0;
        if response.is_empty() {
            return Err(invalid("'content' must be specified for data"));
        }
        if response.len() > MAX_RESPONSE {
            return Err(invalid(format!(
                "tsr exceeds maximum allowed size (10kB): it has {} bytes",
                response.len()
            )));
        }
        tsp::verify_embedded(response)
            .map_err(|error| invalid(format!("tsr verification error: {error}")))?;
        let keys = vec![Hash::sha256(response).key()];
        Accepted::new(Kind::Rfc3161, "0.0.1", self, keys)
    }
}
