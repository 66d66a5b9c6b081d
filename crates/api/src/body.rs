//! Request bodies: JSON, or a form in the bracket notation of the public clients (contract 3.1), as one shape.

use axum::{
    body::{Body as RawBody, Bytes},
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
};
use bytes::BytesMut;
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value};
use tributary_domain::limits;

use crate::{
    auth::{FormBytes, PARAMETER, Presented, Proven, TooLong},
    error::{ApiError, TWO_TOKENS},
    form,
};

/// The media type of forms.
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";
/// Of a body that is too large, how much is still read and thrown away, so that the client gets to read the answer.
const DRAINED_BYTES: usize = 8 * 1024 * 1024;

/// Most of a body that is read before it is known whose it is, in bytes: more than a form of the largest event.
pub(crate) const UNPROVEN_BYTES: usize = 64 * 1024;

/// The body as an object. A form gives the same nested shape with texts as leaves; an empty body is an empty object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Body(pub Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(mut request: Request, _state: &S) -> Result<Body, ApiError> {
        let already_read = request.extensions_mut().remove::<FormBytes>();
        let (parts, body) = request.into_parts();
        let most =
            if parts.extensions.get::<Proven>().is_some() { limits::BODY_BYTES } else { UNPROVEN_BYTES };
        let bytes = match already_read {
            _ if parts.extensions.get::<TooLong>().is_some() => return Err(too_large(UNPROVEN_BYTES)),
            Some(FormBytes(bytes)) => bytes,
            None => read_bytes(&parts.headers, body, most).await?,
        };
        let kind = media_type(&parts.headers);
        let presented = parts.extensions.get::<Presented>();
        if kind.as_deref() == Some(FORM) && presented.is_some_and(|found| found.is_one_too_many(&bytes)) {
            return Err(ApiError::bad_request(TWO_TOKENS));
        }
        read_object(kind.as_deref(), &bytes).map(Body)
    }
}

/// The media type of a body without its parameters, in lower case.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let kind = value.split(';').next().unwrap_or_default().trim();
    (!kind.is_empty()).then(|| kind.to_ascii_lowercase())
}

fn too_large(most: usize) -> ApiError {
    let told = (most < limits::BODY_BYTES).then(|| {
        format!("the body is larger than {} KiB, the limit for callers who are not signed in", most / 1_024)
    });
    ApiError::of_status(StatusCode::PAYLOAD_TOO_LARGE, told)
}

/// Why a body could not be read to its end.
fn broken(error: &(dyn std::error::Error + 'static)) -> ApiError {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    let slow = causes.any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
    });
    if slow {
        let text = "the body came too slowly; send it again";
        return ApiError::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", text);
    }
    ApiError::bad_request(format!("the body could not be read: {error}"))
}

/// The whole body, up to so many bytes.
async fn read_bytes(headers: &HeaderMap, body: RawBody, most: usize) -> Result<Bytes, ApiError> {
    if announced(headers).is_some_and(|length| length > most) {
        // Who waits for consent before sending is answered at once.
        if !headers.contains_key(header::EXPECT) {
            drain(body).await;
        }
        return Err(too_large(most));
    }
    match Limited::new(body, most).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(most)),
        Err(error) => Err(broken(&*error)),
    }
}

fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok())
}

/// What was read of a body.
pub(crate) enum First {
    /// All of it.
    Whole(Bytes),
    /// The beginning, and the rest.
    Beginning(Bytes, RawBody),
}

/// Reads the beginning of a body.
pub(crate) async fn first_part(headers: &HeaderMap, mut body: RawBody) -> Result<First, ApiError> {
    if announced(headers).is_some_and(|length| length > limits::BODY_BYTES) {
        if !headers.contains_key(header::EXPECT) {
            drain(body).await;
        }
        return Err(too_large(limits::BODY_BYTES));
    }
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&error))?;
        read.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        if read.len() > UNPROVEN_BYTES {
            return Ok(First::Beginning(read.freeze(), body));
        }
    }
    Ok(First::Whole(read.freeze()))
}

/// The body again whose beginning was read.
pub(crate) fn beginning_with(beginning: Bytes, rest: RawBody) -> RawBody {
    let rest = rest.into_data_stream();
    RawBody::from_stream(stream::iter([Ok(beginning)]).chain(rest))
}

/// Reads the rest of a body and throws it away, so that the client gets to read the answer.
pub(crate) async fn drain(body: RawBody) {
    let mut body = Limited::new(body, DRAINED_BYTES);
    while let Some(Ok(_)) = body.frame().await {}
}

/// A body of this media type as an object.
fn read_object(media_type: Option<&str>, bytes: &[u8]) -> Result<Map<String, Value>, ApiError> {
    let blank = bytes.iter().all(u8::is_ascii_whitespace);
    match media_type {
        Some(FORM) => {
            let mut object = form::read(bytes).map_err(ApiError::bad_request)?;
            object.remove(PARAMETER);
            Ok(object)
        }
        _ if blank => Ok(Map::new()),
        Some(kind) if kind == "application/json" || kind.ends_with("+json") => read_json(bytes),
        None if bytes.trim_ascii_start().starts_with(b"{") => read_json(bytes),
        _ => Err(ApiError::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, None)),
    }
}

/// A JSON object. Nesting is bounded by the parser, at 128 levels.
fn read_json(bytes: &[u8]) -> Result<Map<String, Value>, ApiError> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(ApiError::bad_request("the body must be a JSON object")),
        Err(error) => Err(ApiError::bad_request(format!("the body is not valid JSON: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn json_and_forms_give_the_same_shape() {
        let json = Some("application/json");
        for (kind, body, object) in [
            (json, r#"{"a": {"b": "1"}}"#, json!({"a": {"b": "1"}})),
            (Some(FORM), "a[b]=1&access_token=x", json!({"a": {"b": "1"}})),
            (None, r#" {"a": 1}"#, json!({"a": 1})),
            (Some("application/vnd.api+json"), r#"{"a": 1}"#, json!({"a": 1})),
            (json, "", json!({})),
            (None, "", json!({})),
            (Some("text/plain"), " \n", json!({})),
            (Some(FORM), "", json!({})),
            (json, r#"{"a": 1, "a": 2}"#, json!({"a": 2})),
        ] {
            let read = read_object(kind, body.as_bytes()).unwrap();
            assert_eq!(Value::Object(read), object, "{body}");
        }
    }

    #[test]
    fn bodies_that_cannot_be_read_say_why() {
        let json = Some("application/json");
        let deep = "[".repeat(100_000);
        for (kind, body, status, said) in [
            (json, "{\n\"a\": x}", 400, "line 2 column 6"),
            (json, "[1]", 400, "must be a JSON object"),
            (json, "null", 400, "must be a JSON object"),
            (json, "\"text\"", 400, "must be a JSON object"),
            (json, &deep, 400, "recursion limit"),
            (Some("text/plain"), "a=1", 415, "application/json"),
            (Some("application/xml"), "<a/>", 415, "application/json"),
            (None, "a=1", 415, "application/json"),
        ] {
            let shown = read_object(kind, body.as_bytes()).unwrap_err();
            let text = shown.to_json()["error_description"].as_str().unwrap().to_owned();
            assert!(text.contains(said), "{body:.20}: {text}");
            let response = axum::response::IntoResponse::into_response(shown);
            assert_eq!(response.status().as_u16(), status, "{body:.20}");
        }
        assert!(read_object(json, b"{\"a\": \"\xff\"}").is_err());
    }
}
