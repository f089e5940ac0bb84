//! What a client is told when a request is refused: one type, three bodies (contract 3.3).
//!
//! Everything that lb-model and lb-store can say becomes an [`ApiError`] in one step here, so a
//! status code is chosen in no other place of the crate.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use lb_model::fault::Fault;
use lb_store::{NetworkError, SecretError, StoreError};
use serde_json::{Value, json};

/// When to ask again after a 503.
const RETRY_AFTER_SECONDS: &str = "1";

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {text}")]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    shape: Shape,
}

/// Which layer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A resource handler: `faultcode`, `faultstring`, `debuginfo`.
    Fault,
    /// Routing and request checks: the same and `code`, `title`, `description`.
    Router,
    /// The body was too large: `code` is a string.
    Size,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            shape: Shape::Fault,
        }
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub(crate) fn not_found(kind: &str, id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("{kind} {id} not found."))
    }

    /// The cause is for the log, never for the client.
    pub(crate) fn internal(cause: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = cause, "request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The request could not be completed.",
        )
    }

    /// The database is away: the same request may be sent again, which a header says when.
    pub(crate) fn unavailable(cause: &(dyn std::error::Error + 'static)) -> Self {
        tracing::warn!(error = cause, "request cannot be answered now");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The database does not answer; try again.",
        )
    }

    pub(crate) fn router(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            shape: Shape::Router,
        }
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            text: format!("The request body is larger than {limit} bytes."),
            shape: Shape::Size,
        }
    }

    fn body(&self) -> Value {
        let title = self.status.canonical_reason().unwrap_or("Error");
        match self.shape {
            Shape::Fault => fault(self.status, &self.text),
            Shape::Router => {
                // Clients print the fault's text, which must not be none.
                let text = Some(self.text.as_str()).filter(|text| !text.is_empty());
                let mut body = fault(self.status, text.unwrap_or(title));
                if let Value::Object(map) = &mut body {
                    map.insert("code".to_owned(), json!(self.status.as_u16()));
                    map.insert("title".to_owned(), json!(title));
                    map.insert("description".to_owned(), json!(self.text));
                }
                body
            }
            // The middleware that Octavia stands behind spells this title its own way.
            Shape::Size => {
                let mut body = fault(self.status, &self.text);
                if let Value::Object(map) = &mut body {
                    map.insert("message".to_owned(), json!(self.text));
                    map.insert("code".to_owned(), json!("413 Request Entity Too Large"));
                    map.insert("title".to_owned(), json!("Request Entity Too Large"));
                }
                body
            }
        }
    }
}

fn fault(status: StatusCode, text: &str) -> Value {
    let side = if status.is_server_error() {
        "Server"
    } else {
        "Client"
    };
    json!({"faultcode": side, "faultstring": text, "debuginfo": null})
}

/// Layer: the same refusal as the Key Manager API words it. Its client wants a title in every one.
pub(crate) async fn with_title(mut response: Response) -> Response {
    match response.extensions_mut().remove::<ApiError>() {
        Some(error) if error.shape == Shape::Fault => {
            ApiError::router(error.status, error.text).into_response()
        }
        _other => response,
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        response.extensions_mut().insert(self.clone());
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let seconds = HeaderValue::from_static(RETRY_AFTER_SECONDS);
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        response
    }
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        let status = match &fault {
            Fault::NotFound { .. } => StatusCode::NOT_FOUND,
            Fault::Immutable { .. } | Fault::Conflict(_) => StatusCode::CONFLICT,
            Fault::Invalid(_) | Fault::InvalidOption { .. } => StatusCode::BAD_REQUEST,
            Fault::Forbidden | Fault::QuotaReached { .. } => StatusCode::FORBIDDEN,
            Fault::NotImplemented { .. } => StatusCode::NOT_IMPLEMENTED,
            Fault::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Fault::Bug(_) => {
                tracing::error!(error = %fault, "request failed");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self::new(status, fault.public())
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(fault) => (*fault).into(),
            StoreError::Network(error) => error.into(),
            StoreError::Secret(error) => error.into(),
            StoreError::Unavailable(_) | StoreError::Contended(_) => Self::unavailable(&error),
            other => Self::internal(&other),
        }
    }
}

/// What a body refers to and does not exist is 400; only an address that is taken is a conflict.
impl From<NetworkError> for ApiError {
    fn from(error: NetworkError) -> Self {
        let status = match error {
            NetworkError::AddressInUse(_) => StatusCode::CONFLICT,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, sentence(&error))
    }
}

impl From<SecretError> for ApiError {
    fn from(error: SecretError) -> Self {
        let status = match error {
            SecretError::NotFound(_) => StatusCode::NOT_FOUND,
            SecretError::InUse(_) | SecretError::HasPayload(_) => StatusCode::CONFLICT,
            SecretError::TooMany(_) => StatusCode::FORBIDDEN,
            SecretError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, sentence(&error))
    }
}

/// An error's text as clients show it to people.
fn sentence(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), chars.as_str()),
        None => text,
    }
}
