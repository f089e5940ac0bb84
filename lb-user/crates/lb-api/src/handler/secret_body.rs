//! Bodies that make secrets.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use lb_model::{request::reader::Reader, time::Timestamp};
use lb_store::secret::SecretAbout;
use serde_json::Value;

use crate::error::ApiError;

pub(super) const OCTET_STREAM: &str = "application/octet-stream";
pub(super) const TEXT: &str = "text/plain";

const SECRET_TYPES: &[&str] = &[
    "symmetric",
    "public",
    "private",
    "certificate",
    "passphrase",
    "opaque",
];
/// Most characters in a name or type.
pub(super) const TEXT_MAX: usize = 255;
/// Most characters in an encoded payload; the store limits what comes out of it.
const PAYLOAD_CHARS_MAX: usize = 256 << 10;
const BIT_LENGTH_MAX: i64 = 32_767;

/// A secret's body, understood. Its `Debug` would show the payload, so it has none.
pub(super) struct NewSecret {
    pub(super) about: SecretAbout,
    pub(super) content_type: Option<String>,
    pub(super) payload: Option<Vec<u8>>,
}

impl NewSecret {
    pub(super) fn read(document: &Value, now: Timestamp) -> Result<Self, ApiError> {
        let mut reader = Reader::object(document, "secret")?;
        let mut text = |key: &'static str| -> Result<Option<String>, ApiError> {
            Ok(reader.string(key, TEXT_MAX)?.into_value())
        };
        let about = SecretAbout {
            name: text("name")?.unwrap_or_default(),
            secret_type: text("secret_type")?.unwrap_or_else(|| "opaque".to_owned()),
            algorithm: text("algorithm")?,
            mode: text("mode")?,
            bit_length: None,
            expires_at: text("expiration")?
                .filter(|it| !it.trim().is_empty())
                .map(|it| moment(&it, now))
                .transpose()?,
            creator_id: None,
        };
        let kind = text("payload_content_type")?;
        let encoding = text("payload_content_encoding")?;
        let payload = reader.string("payload", PAYLOAD_CHARS_MAX)?.into_value();
        let bit_length = reader.integer("bit_length", 1..=BIT_LENGTH_MAX)?;
        reader.finish()?;
        if !SECRET_TYPES.contains(&about.secret_type.as_str()) {
            return Err(ApiError::invalid(format!(
                "secret_type must be one of: {}.",
                SECRET_TYPES.join(", ")
            )));
        }
        let about = SecretAbout {
            bit_length: bit_length.into_value(),
            ..about
        };
        let (payload, content_type) = content(payload, kind, encoding.as_deref())?;
        Ok(Self {
            about,
            content_type,
            payload,
        })
    }
}

type Content = (Option<Vec<u8>>, Option<String>);

/// The payload and its media type, or that it is to come.
fn content(
    payload: Option<String>,
    kind: Option<String>,
    encoding: Option<&str>,
) -> Result<Content, ApiError> {
    let (text, kind) = match (payload, kind) {
        (None, None) if encoding.is_none() => return Ok((None, None)),
        (None, _) => {
            return Err(ApiError::invalid(
                "payload_content_type and payload_content_encoding need a payload.",
            ));
        }
        (Some(_), None) => {
            return Err(ApiError::invalid(
                "payload_content_type is needed with a payload.",
            ));
        }
        (Some(text), Some(kind)) => (text, kind),
    };
    let base = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let payload = match (encoding, base.as_str()) {
        (Some("base64"), OCTET_STREAM) => {
            // Some clients wrap lines.
            let joined: String = text.split_ascii_whitespace().collect();
            BASE64_STANDARD.decode(joined).map_err(|_bad| {
                ApiError::invalid("payload is not valid base64, as payload_content_encoding says.")
            })?
        }
        (None, TEXT) => text.into_bytes(),
        (None, OCTET_STREAM) => {
            return Err(ApiError::invalid(format!(
                "payload_content_encoding must be 'base64' for payload_content_type '{kind}'."
            )));
        }
        (Some(other), TEXT | OCTET_STREAM) => {
            return Err(ApiError::invalid(format!(
                "payload_content_encoding '{other}' is not supported for '{kind}'."
            )));
        }
        _other => {
            return Err(ApiError::invalid(format!(
                "payload_content_type '{kind}' is not supported; use {TEXT} or {OCTET_STREAM}."
            )));
        }
    };
    if payload.is_empty() {
        return Err(ApiError::invalid("payload must not be empty."));
    }
    Ok((Some(payload), Some(base)))
}

/// A moment to come in ISO 8601, with an offset or without (then UTC).
fn moment(text: &str, now: Timestamp) -> Result<Timestamp, ApiError> {
    let wrong = || {
        ApiError::invalid(format!(
            "expiration '{text}' must be a moment to come in ISO 8601, such as 2030-01-31T12:00:00."
        ))
    };
    let text = text.trim();
    let moment = Timestamp::parse_iso8601(text).ok_or_else(wrong)?;
    if moment <= now {
        return Err(wrong());
    }
    Ok(moment)
}
