//! SPIFFE: the workload API gives JWT-SVIDs (SPIFFE Workload API 6.2, profile JWT-SVID), by gRPC over a Unix socket.
//!
//! Who can open the socket is a workload; the agent behind it decides which one. Messages are written out with their field numbers, as
//! elsewhere in this project.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;
use zeroize::Zeroizing;

use super::{AmbientError, Surroundings};

const SOCKET: &str = "SPIFFE_ENDPOINT_SOCKET";
/// Where SPIRE's agent has it unless it is told otherwise, seen from the root of the file system.
const USUAL: &str = "tmp/spire-agent/public/api.sock";
const METHOD: &str = "/SpiffeWorkloadAPI/FetchJWTSVID";
/// An agent on this machine answers at once, or has no identity for us.
const PATIENCE: Duration = Duration::from_secs(10);
/// A handful of tokens.
const ANSWER_MAX: usize = 1 << 20;

/// `message JWTSVIDRequest`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Request {
    #[prost(string, repeated, tag = "1")]
    audience: Vec<String>,
    #[prost(string, tag = "2")]
    spiffe_id: String,
}

/// `message JWTSVIDResponse`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Response {
    #[prost(message, repeated, tag = "1")]
    svids: Vec<Svid>,
}

/// `message JWTSVID`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Svid {
    #[prost(string, tag = "1")]
    spiffe_id: String,
    #[prost(string, tag = "2")]
    svid: String,
}

/// The socket: the one that is named, or the usual one if it is there. Only Unix sockets: another machine's workload API has no say in who we are.
pub(super) fn socket(around: Surroundings<'_>) -> Option<PathBuf> {
    if let Some(named) = around.set(SOCKET) {
        let path = named
            .strip_prefix("unix://")
            .or_else(|| named.strip_prefix("unix:"))
            .unwrap_or(&named);
        return path.starts_with('/').then(|| PathBuf::from(path));
    }
    let usual = around.root.join(USUAL);
    // It is in a folder where everybody may put one: somebody else's would say who we are.
    let folder = usual.parent()?;
    (is_trusted(&usual) && is_trusted(folder)).then_some(usual)
}

/// It is the administrator's, or our own.
fn is_trusted(path: &Path) -> bool {
    let owner = |path: &Path| std::fs::metadata(path).ok().map(|about| about.uid());
    owner(path).is_some_and(|uid| uid == 0 || Some(uid) == owner(Path::new("/proc/self")))
}

pub(super) async fn token(
    socket: &Path,
    audience: &str,
) -> Result<Zeroizing<String>, AmbientError> {
    let failed = |why: String| AmbientError::Spiffe {
        socket: socket.display().to_string(),
        why,
    };
    let asked = tokio::time::timeout(PATIENCE, ask(socket, audience)).await;
    let response = asked
        .map_err(|_| failed(format!("no answer within {} s", PATIENCE.as_secs())))?
        .map_err(failed)?;
    // The first one is the workload's default identity.
    let svid = response.svids.into_iter().next();
    svid.map(|svid| Zeroizing::new(svid.svid))
        .ok_or_else(|| failed("it has no identity for this process".to_owned()))
}

async fn ask(socket: &Path, audience: &str) -> Result<Response, String> {
    let channel = Endpoint::try_from(format!("unix:{}", socket.display()))
        .map_err(|error| error.to_string())?
        .connect()
        .await
        .map_err(|error| crate::agent::with_causes(&error))?;
    let mut client = Grpc::new(channel).max_decoding_message_size(ANSWER_MAX);
    client
        .ready()
        .await
        .map_err(|error| crate::agent::with_causes(&error))?;
    let mut request = tonic::Request::new(Request {
        audience: vec![audience.to_owned()],
        spiffe_id: String::new(),
    });
    // Workload API 3: so that nobody can be led to ask in our place.
    request
        .metadata_mut()
        .insert("workload.spiffe.io", MetadataValue::from_static("true"));
    let answer = client
        .unary(
            request,
            PathAndQuery::from_static(METHOD),
            ProstCodec::<Request, Response>::default(),
        )
        .await;
    match answer {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) => Err(crate::agent::printable(&format!(
            "{:?}: {}",
            status.code(),
            status.message()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::{Body, Bytes};
    use axum::http::{HeaderMap, HeaderValue};
    use axum::response::Response as HttpResponse;
    use axum::routing::post;
    use prost::Message as _;

    /// A workload API of one method, as gRPC over HTTP/2 has it: a length before each message, and the status in trailers or headers.
    async fn fetch(headers: HeaderMap, body: Bytes) -> HttpResponse {
        let request = Request::decode(body.slice(5..)).unwrap();
        let mut response = HttpResponse::new(Body::empty());
        let told = |response: &mut HttpResponse, name: &'static str, value: &'static str| {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        };
        told(&mut response, "content-type", "application/grpc");
        if headers
            .get("workload.spiffe.io")
            .is_none_or(|value| value != "true")
        {
            told(&mut response, "grpc-status", "3");
            return response;
        }
        if request.audience == ["nobody"] {
            told(&mut response, "grpc-status", "7");
            told(&mut response, "grpc-message", "no identity issued");
            return response;
        }
        let svid = Svid {
            spiffe_id: "spiffe://example.org/ci".to_owned(),
            svid: format!("svid-for-{}", request.audience.join(",")),
        };
        let message = Response { svids: vec![svid] }.encode_to_vec();
        let mut frame = vec![0];
        frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend(message);
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let body = http_body_util::BodyExt::with_trailers(
            http_body_util::Full::new(Bytes::from(frame)),
            async move { Some(Ok(trailers)) },
        );
        *response.body_mut() = Body::new(body);
        response
    }

    #[tokio::test]
    async fn a_workload_gets_its_token_by_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let router = Router::new().route(METHOD, post(fetch));
        tokio::spawn(async move { axum::serve(listener, router).await });
        assert_eq!(
            *token(&path, "sigstore").await.unwrap(),
            "svid-for-sigstore"
        );
        let refused = token(&path, "nobody").await.unwrap_err().to_string();
        assert!(refused.contains("no identity issued"), "{refused}");
        let absent = token(&folder.path().join("other"), "x").await.unwrap_err();
        assert!(absent.to_string().contains("other"), "{absent}");
    }
}
