//! Messages that every service has, field by field as the `.proto` files number them: `google/api/httpbody.proto`, `google/protobuf/empty.proto`
//! and `any.proto`, `google/rpc/status.proto` and `error_details.proto`, `grpc/health/v1/health.proto`.

use std::collections::BTreeMap;

use prost::Message;

/// `google.protobuf.Empty`, and every other message without fields.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Empty {}

/// `google.api.HttpBody`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct HttpBody {
    /// Media type.
    #[prost(string, tag = "1")]
    pub content_type: String,
    /// The bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub data: Vec<u8>,
}

/// `grpc.health.v1.HealthCheckRequest`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct HealthCheckRequest {
    /// A service, or nothing for all.
    #[prost(string, tag = "1")]
    pub service: String,
}

/// `grpc.health.v1.HealthCheckResponse`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct HealthCheckResponse {
    /// 1 serving, 2 not serving.
    #[prost(int32, tag = "1")]
    pub status: i32,
}

/// `google.rpc.Status`: what `grpc-status-details-bin` carries.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RpcStatus {
    /// A code of gRPC.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// A sentence for people.
    #[prost(string, tag = "2")]
    pub message: String,
    /// Of the types below.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

/// `google.protobuf.Any`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Any {
    /// `type.googleapis.com/` and the message's name.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The message.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

impl Any {
    /// A message of that name.
    pub fn of(name: &str, message: &impl Message) -> Self {
        Self {
            type_url: format!("type.googleapis.com/{name}"),
            value: message.encode_to_vec(),
        }
    }
}

/// `google.rpc.ErrorInfo`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ErrorInfo {
    /// A word for machines.
    #[prost(string, tag = "1")]
    pub reason: String,
    // 2 is the domain, which none of our services has.
    /// What the word is about.
    #[prost(btree_map = "string, string", tag = "3")]
    pub metadata: BTreeMap<String, String>,
}

/// `google.rpc.RequestInfo`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RequestInfo {
    /// The request's id in our log.
    #[prost(string, tag = "1")]
    pub request_id: String,
}
