//! `headers` and `auth`.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::{HeaderName, HeaderValue};
use tributary_domain::{limits::RENDERED_BYTES, sensitive::is_sensitive_header};
use tributary_template::Scope;

use crate::{
    fields::{Reader, scalar},
    text::Text,
};

/// Headers that belong to the connection, or that follow from the url and the body.
const NOT_SETTABLE: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const BAD_NAME: &str = "is not the name of a header";
const BAD_VALUE: &str = "must not have line breaks or other control characters";

/// The user's headers and credentials.
#[derive(Debug, Default)]
pub(super) struct Headers {
    headers: Vec<(Text, Text)>,
    /// Boxed: most have none.
    auth: Option<Box<(Text, Text)>>,
}

impl Headers {
    /// Reads the two fields; values that logs must not show go to `sensitive`.
    pub(super) fn read(reader: &mut Reader<'_>, sensitive: &mut Vec<String>) -> Headers {
        let mut headers = Vec::new();
        for (name, value) in reader.object("headers").into_iter().flatten() {
            let path = format!("headers.{name}");
            if value.is_null() {
                continue;
            }
            let Some(source) = scalar(value) else {
                reader.error(path, "must be a text");
                continue;
            };
            let (name, value) = (reader.template(&path, name), reader.template(&path, &source));
            let (Some(name), Some(value)) = (name, value) else { continue };
            if let Some(wrong) = name.literal().and_then(wrong_name) {
                reader.error(&path, wrong);
            }
            if value
                .literal()
                .is_some_and(|value| HeaderValue::from_bytes(trimmed(value).as_bytes()).is_err())
            {
                reader.error(&path, BAD_VALUE);
            }
            if let (Some(name), Some(value)) = (name.literal(), value.literal())
                && is_sensitive_header(name)
            {
                sensitive.push(value.to_owned());
                // `Bearer x`: the second word alone is no less secret.
                sensitive.extend(value.split_once(' ').map(|(_, credentials)| credentials.trim().to_owned()));
            }
            headers.push((name, value));
        }
        let auth = read_auth(reader, sensitive).map(Box::new);
        Headers { headers, auth }
    }

    /// Appends the user's headers.
    pub(super) fn push(&self, scope: &dyn Scope, out: &mut Vec<(String, String)>) -> Result<(), String> {
        for (named, value) in &self.headers {
            // A rendered name is not repeated: it may be made of a secret.
            let shown = named.literal().map_or("headers".to_owned(), |name| format!("headers.{name}"));
            let name = named.render(scope, RENDERED_BYTES).map_err(|error| format!("headers: {error}"))?;
            if let Some(wrong) = wrong_name(&name) {
                let named =
                    if wrong == BAD_NAME { "a rendered name".to_owned() } else { format!("{name:?}") };
                return Err(format!("{shown}: {named} {wrong}"));
            }
            let value = value.render(scope, RENDERED_BYTES).map_err(|error| format!("{shown}: {error}"))?;
            let value = trimmed(&value);
            if HeaderValue::from_bytes(value.as_bytes()).is_err() {
                return Err(format!("{shown}: {BAD_VALUE}"));
            }
            let header = (name, value.to_owned());
            // One line for a name in two spellings: two types or two credentials are what servers refuse.
            match out.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(&header.0)) {
                Some(earlier) => *earlier = header,
                None => out.push(header),
            }
        }
        Ok(())
    }

    /// The value of the `Authorization` header that `auth` makes.
    pub(super) fn authorization(&self, scope: &dyn Scope) -> Result<Option<String>, String> {
        let Some((username, password)) = self.auth.as_deref() else { return Ok(None) };
        let render = |field: &str, text: &Text| {
            let rendered =
                text.render(scope, RENDERED_BYTES).map_err(|error| format!("auth.{field}: {error}"))?;
            Ok::<_, String>(rendered.trim_end_matches(['\r', '\n']).to_owned())
        };
        Ok(Some(basic(&render("username", username)?, &render("password", password)?)))
    }
}

/// HTTP Basic credentials.
pub(super) fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{username}:{password}")))
}

fn read_auth(reader: &mut Reader<'_>, sensitive: &mut Vec<String>) -> Option<(Text, Text)> {
    let auth = reader.object("auth")?;
    let mut part = |name: &str| {
        let path = format!("auth.{name}");
        let value = auth.get(name).filter(|value| !value.is_null());
        let Some(value) = value else { return Some(Text::Literal("".into())) };
        match scalar(value) {
            Some(source) => reader.template(&path, &source),
            None => {
                reader.error(path, "must be a text");
                None
            }
        }
    };
    let (username, password) = (part("username")?, part("password")?);
    let is_empty = |text: &Text| text.literal().is_some_and(str::is_empty);
    if is_empty(&username) && is_empty(&password) {
        return None;
    }
    if let Some(literal) = password.literal().filter(|literal| !literal.is_empty()) {
        sensitive.push(literal.to_owned());
        if let Some(username) = username.literal() {
            sensitive.push(BASE64.encode(format!("{username}:{literal}")));
        }
    }
    Some((username, password))
}

/// Without what HTTP does not carry at the ends of a value: secrets are often pasted with a line break.
fn trimmed(value: &str) -> &str {
    value.trim_matches([' ', '\t', '\r', '\n'])
}

fn wrong_name(name: &str) -> Option<&'static str> {
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Some(BAD_NAME);
    }
    let taken = NOT_SETTABLE.iter().any(|header| header.eq_ignore_ascii_case(name));
    taken.then_some("is set by the server itself")
}
