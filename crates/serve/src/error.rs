//! What can be wrong, in OpenAI's format and with its status.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use reft_rollout::RolloutError;
use serde_json::{Value, json};

/// A server that cannot begin, or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address that is not to be had.
    #[error("cannot listen on {address}: {message}")]
    Address {
        /// Which.
        address: std::net::SocketAddr,
        /// What the system says.
        message: String,
    },
    /// A model or an adapter that cannot be opened.
    #[error(transparent)]
    Model(#[from] reft_vlm::VlmError),
    /// The runtime of the server.
    #[error("the server's threads cannot be started: {0}")]
    Runtime(std::io::Error),
    /// Two models of one name.
    #[error("two models are called `{0}`; each adapter needs a name of its own")]
    Name(String),
}

/// A request that is refused, or not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{message}")]
    Invalid { message: String, param: Option<&'static str> },
    #[error("no key was given, or another than the server's; send `Authorization: Bearer KEY`")]
    Unauthorized,
    #[error("there is no model `{0}` here; `/v1/models` lists those that there are")]
    NoModel(String),
    #[error(
        "no route `{0}`; there are /v1/chat/completions, /v1/completions, /v1/models, /health and /metrics"
    )]
    NoRoute(String),
    #[error("the body is larger than {0} bytes; send smaller pictures")]
    TooLarge(usize),
    #[error("{0} requests wait already; come back later")]
    Busy(usize),
    #[error("not answered within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("the server is stopping")]
    Stopping,
    #[error("{0}")]
    Internal(String),
}

impl ApiError {
    /// Something that the caller can put right.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), param: None }
    }

    /// Of one parameter.
    pub(crate) fn param(param: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), param: Some(param) }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Invalid { .. } => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NoModel(_) | Self::NoRoute(_) => StatusCode::NOT_FOUND,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// `{"error": {"message", "type", "param", "code"}}`.
    pub(crate) fn body(&self) -> Value {
        let (kind, code) = match self {
            Self::Invalid { .. } | Self::TooLarge(_) => ("invalid_request_error", Value::Null),
            Self::Unauthorized => ("authentication_error", json!("invalid_api_key")),
            Self::NoModel(_) => ("invalid_request_error", json!("model_not_found")),
            Self::NoRoute(_) => ("invalid_request_error", json!("unknown_url")),
            Self::Busy(_) => ("rate_limit_error", json!("rate_limit_exceeded")),
            Self::Timeout(_) => ("timeout_error", Value::Null),
            Self::Stopping | Self::Internal(_) => ("server_error", Value::Null),
        };
        let param = if let Self::Invalid { param, .. } = self { *param } else { None };
        json!({"error": {"message": self.to_string(), "type": kind, "param": param, "code": code}})
    }
}

impl From<RolloutError> for ApiError {
    fn from(error: RolloutError) -> Self {
        match error {
            RolloutError::NonFinite { .. } => Self::Internal(error.to_string()),
            other => Self::invalid(other.to_string()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(self.body())).into_response();
        if matches!(self, Self::Busy(_) | Self::Stopping) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
