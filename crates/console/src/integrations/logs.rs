//! What was sent and what came back, as a page shows it.

use serde_json::Value;
use tributary_domain::Timestamp;

use crate::format::{Moment, number};

/// One delivery.
pub(crate) struct LogRow {
    pub(crate) id: String,
    pub(crate) at: Moment,
    pub(crate) outcome: String,
    pub(crate) product: String,
    pub(crate) device: String,
    pub(crate) event: String,
    pub(crate) data: String,
    pub(crate) status: String,
    pub(crate) duration: String,
    pub(crate) attempt: String,
    pub(crate) test: bool,
    /// Whether its event is kept, so that it can be delivered again.
    pub(crate) kept: bool,
    pub(crate) redelivered: bool,
    pub(crate) error: String,
    pub(crate) request: String,
    pub(crate) response: String,
    pub(crate) curl: String,
}

impl LogRow {
    /// Reads an entry in the form of the API (contract 4.3). A product is shown by its name where one is known.
    pub(crate) fn new(row: &Value, now: Timestamp, name_of: impl Fn(i64) -> Option<String>) -> LogRow {
        let text = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let (event, request, response) = (&row["event"], &row["request"], &row["response"]);
        let status = match (&response["status"], text(&row["outcome"]).as_str()) {
            (Value::Number(status), _) => status.to_string(),
            (_, "skipped") => "skipped".to_owned(),
            _ => "no reply".to_owned(),
        };
        LogRow {
            id: text(&row["id"]),
            at: Moment::parse(&text(&row["at"]), now),
            outcome: text(&row["outcome"]),
            product: row["product_id"]
                .as_i64()
                .map(|id| name_of(id).unwrap_or_else(|| format!("product {id}")))
                .unwrap_or_default(),
            device: text(&event["coreid"]),
            event: text(&event["name"]),
            data: text(&event["data"]),
            status,
            duration: format!("{} ms", number(row["duration_ms"].as_i64().unwrap_or_default())),
            attempt: text(&row["attempt"]),
            test: row["test"] == Value::Bool(true),
            kept: row["kept"] == Value::Bool(true),
            redelivered: row["redelivered"] == Value::Bool(true),
            // What became of the body of a reply that was a success all the same.
            error: text(if row["error"].is_null() { &row["note"] } else { &row["error"] }),
            request: if request.is_null() { String::new() } else { request_text(request) },
            response: if response.is_null() { String::new() } else { response_text(response) },
            curl: if request.is_null() { String::new() } else { curl(request) },
        }
    }
}

fn headers(of: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    of["headers"].as_object().into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect()
}

fn lines(of: &Value) -> String {
    headers(of).into_iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
}

fn body(of: &Value) -> &str {
    of["body"].as_str().unwrap_or_default()
}

/// A request as its lines.
pub(super) fn request_text(request: &Value) -> String {
    let part = |name: &str| request[name].as_str().unwrap_or_default();
    format!("{} {}\n{}\n{}", part("method"), part("url"), lines(request), body(request)).trim_end().to_owned()
}

fn response_text(response: &Value) -> String {
    format!("{}\n{}\n{}", response["status"], lines(response), body(response)).trim_end().to_owned()
}

/// The request as a command line for a POSIX shell. Masked values stay masked.
fn curl(request: &Value) -> String {
    let part = |name: &str| request[name].as_str().unwrap_or_default();
    let mut command = format!("curl -X {} {}", quoted(part("method")), quoted(part("url")));
    for (name, value) in headers(request) {
        command += &format!(" \\\n  -H {}", quoted(&format!("{name}: {value}")));
    }
    if !body(request).is_empty() {
        command += &format!(" \\\n  --data-raw {}", quoted(body(request)));
    }
    command
}

/// A text as one word of a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_is_copied_as_one_command_whatever_it_contains() {
        let request = json!({
            "method": "POST", "url": "https://example.com/it's?a=1&b=$(reboot)",
            "headers": {"content-type": "text/plain"}, "body": "it's `that`",
        });
        assert_eq!(
            curl(&request),
            "curl -X 'POST' 'https://example.com/it'\\''s?a=1&b=$(reboot)' \\\n  -H 'content-type: text/plain' \\\n  \
             --data-raw 'it'\\''s `that`'"
        );
    }

    #[test]
    fn a_delivery_without_a_reply_says_so() {
        let row = json!({"outcome": "error", "request": {"method": "GET", "url": "http://a"}, "response": null,
            "error": "ECONNREFUSED", "event": {"name": "e"}, "duration_ms": 1_234, "at": "2026-01-01T00:00:00.000Z"});
        let shown = LogRow::new(&row, Timestamp(1_767_225_605_000), |_| None);
        assert_eq!((shown.status.as_str(), shown.duration.as_str()), ("no reply", "1,234 ms"));
        assert_eq!(shown.at.ago, "5 s ago");
        assert!(shown.response.is_empty());
    }
}
