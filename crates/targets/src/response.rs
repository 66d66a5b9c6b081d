//! How a destination's reply, or an error, becomes events (contract 4.3).

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::Value;
use tributary_domain::{hook_event, limits};
use tributary_template::{Budget, Piece, RenderError, Scope, Var, json};

use crate::{Reply, Variables, fields::Reader, json::JsonTemplate, text::Text, variables::is_predefined};

/// Longest name of an event that a topic gives, without its number, in bytes.
const TOPIC_BYTES: usize = 256;
/// The type in a data URL of a reply that names none.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// The fields of a configuration that say how replies and errors become events.
#[derive(Clone, Debug, Default)]
pub struct ResponseSettings {
    // Boxed: most have none of them.
    topic: Option<Box<Text>>,
    error_topic: Option<Box<Text>>,
    template: Option<Box<Template>>,
    unchunked: bool,
    data_url: bool,
    own: Option<OwnResponse>,
}

/// What a kind does with replies in a way of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnResponse {
    /// The default topic, made of the device and the event.
    pub(crate) topic: fn(&str, &str) -> String,
    /// The data made of a reply; `None` publishes the reply as it is.
    pub(crate) data: fn(&[u8]) -> Option<String>,
}

#[derive(Clone, Debug)]
enum Template {
    Text(Text),
    Json(JsonTemplate),
}

impl ResponseSettings {
    /// Reads them; errors go to `reader`.
    pub(crate) fn read(reader: &mut Reader<'_>) -> ResponseSettings {
        ResponseSettings {
            topic: reader.text_template("responseTopic").map(Box::new),
            error_topic: reader.text_template("errorResponseTopic").map(Box::new),
            template: Template::read(reader).map(Box::new),
            unchunked: reader.flag("unchunked", false),
            data_url: reader.flag("dataUrlResponseEvent", false),
            own: None,
        }
    }

    /// Whether a template picks something out of replies.
    pub(crate) fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// The same with a kind's own default topic, and data where there is no `responseTemplate`.
    pub(crate) fn with_own(self, own: OwnResponse) -> ResponseSettings {
        ResponseSettings { own: Some(own), ..self }
    }

    /// How much of a reply is read at most, in bytes.
    pub fn reply_bytes(&self) -> usize {
        limits::REPLY_BYTES
    }

    /// Whether events have other names than the usual ones.
    pub fn names_topics(&self) -> bool {
        self.topic.is_some() || self.error_topic.is_some()
    }

    /// The events that a reply causes, as full names and data; none when it has no body.
    ///
    /// `sandbox` chooses the default topic. The data is at most the first 100 KB of the reply, as [`Reply::text`] reads
    /// it, unless its bytes are published as a data URL. Where a template cannot be applied to a reply that is long or
    /// not whole, an error event says so: the beginning of it would be of no use to a device.
    ///
    /// `hide` takes sensitive values out of a text; its flag says that the text may have been cut.
    pub fn events(
        &self,
        variables: &Variables<'_>,
        sandbox: bool,
        reply: &Reply,
        hide: &dyn Fn(&str, bool) -> String,
    ) -> Vec<(String, String)> {
        if reply.body.is_empty() {
            return Vec::new();
        }
        let (device, event) = (&*variables.event.coreid, &*variables.event.name);
        let default = || match self.own {
            Some(own) => (own.topic)(device, event),
            None => hook_event::response_topic(sandbox, device, event),
        };
        let topic = topic(self.topic.as_deref(), variables, default);
        let rendered = match &self.template {
            Some(template) => match template.render(variables, reply) {
                Ok(rendered) => rendered,
                Err(why) => return self.error_events(variables, &why),
            },
            None => self.own.and_then(|own| (own.data)(&reply.body)),
        };
        let cut = rendered.is_none() && reply.body.len() >= limits::REPLY_BYTES;
        let data = match rendered {
            _ if self.data_url => {
                let body = rendered.as_ref().map_or(&reply.body[..], String::as_bytes);
                match std::str::from_utf8(body) {
                    Ok(text) => data_url(reply, hide(text, cut).as_bytes()),
                    Err(_) => hide(&data_url(reply, body), cut),
                }
            }
            Some(rendered) => hide(&rendered, cut),
            None => hide(&reply.text(), cut),
        };
        if self.unchunked {
            let whole = &data[..data.floor_char_boundary(limits::REPLY_BYTES)];
            return if whole.is_empty() {
                Vec::new()
            } else {
                vec![(format!("{topic}/0"), whole.to_owned())]
            };
        }
        let chunks = hook_event::chunks(&data).into_iter().enumerate();
        chunks.map(|(n, chunk)| (format!("{topic}/{n}"), chunk.to_owned())).collect()
    }

    /// The event that an error causes, as full name and data.
    pub fn error_events(&self, variables: &Variables<'_>, error: &str) -> Vec<(String, String)> {
        let default = || hook_event::error_topic(&variables.event.name);
        let topic = topic(self.error_topic.as_deref(), variables, default);
        let end = error.floor_char_boundary(limits::RESPONSE_CHUNK_BYTES);
        vec![(format!("{topic}/0"), error[..end].to_owned())]
    }
}

impl Template {
    fn read(reader: &mut Reader<'_>) -> Option<Template> {
        const FIELD: &str = "responseTemplate";
        match reader.given(FIELD)? {
            Value::Object(object) => Some(Template::Json(JsonTemplate::compile(reader, FIELD, object))),
            Value::Array(_) => {
                reader.error(FIELD, "must be an object or a text");
                None
            }
            _ => reader.text_template(FIELD).map(Template::Text),
        }
    }

    /// The rendering, cut at 100 KB; `None` for a short reply that is neither a JSON object nor a list, which is published
    /// as it is. The error is the text of an error event.
    fn render(&self, event: &Variables<'_>, reply: &Reply) -> Result<Option<String>, String> {
        let json = json::parse(&reply.whole_text()).filter(|json| json.is_object() || json.is_array());
        let Some(json) = json else {
            let is_long = reply.is_long() || reply.body.len() >= limits::REPLY_BYTES;
            return match reply.note() {
                Some(note) => Err(note.to_owned()),
                None if is_long => {
                    Err("responseTemplate: the reply is neither a JSON object nor a list".to_owned())
                }
                None => Ok(None),
            };
        };
        let scope = ReplyScope { event, reply: &json };
        let mut out = String::new();
        match self {
            Template::Text(text) => push_up_to(limits::REPLY_BYTES, text, &scope, &mut out),
            Template::Json(json) => {
                out.push('{');
                // Half an object is of no use to anyone.
                json.push_members(&scope, &mut out, limits::REPLY_BYTES - 1)
                    .map_err(|error| format!("responseTemplate: {error}"))?;
                out.push('}');
            }
        }
        Ok(Some(out))
    }
}

/// What a response template sees: the predefined names and secrets as everywhere, then the reply. Not the event's data:
/// a key that the reply lacks would be answered by the device's own.
struct ReplyScope<'a> {
    event: &'a Variables<'a>,
    reply: &'a Value,
}

impl Scope for ReplyScope<'_> {
    fn lookup(&self, name: &str) -> Option<Var<'_>> {
        self.fixed(name).or_else(|| self.reply.lookup(name))
    }

    fn fixed(&self, name: &str) -> Option<Var<'_>> {
        let known = is_predefined(name) || self.event.secrets.0.contains_key(name);
        if known { self.event.fixed(name) } else { None }
    }

    fn budget(&self) -> Option<&Budget> {
        self.event.budget()
    }
}

/// Renders at most the first `limit` bytes, cut between characters.
fn push_up_to(limit: usize, text: &Text, scope: &dyn Scope, out: &mut String) {
    let mut append = |piece: &str| {
        let fits = piece.floor_char_boundary(limit - out.len());
        out.push_str(&piece[..fits]);
        if fits < piece.len() { Err(RenderError::TooLong { limit }) } else { Ok(()) }
    };
    // An error only says that there is more than fits.
    let _: Result<(), RenderError> = match text {
        Text::Literal(literal) => append(literal),
        Text::Template(template) => template.render_pieces(scope, &mut |piece| match piece {
            Piece::Literal(text) | Piece::Value(text) => append(text),
        }),
    };
}

/// A topic as an event's name: on one line, bounded, and the default one if nothing is left of it.
fn topic(template: Option<&Text>, variables: &Variables<'_>, default: impl Fn() -> String) -> String {
    let Some(template) = template else { return default() };
    let mut name = String::new();
    push_up_to(TOPIC_BYTES, template, variables, &mut name);
    if name.contains(char::is_control) {
        name = name.replace(char::is_control, " ");
    }
    if name.trim().is_empty() { default() } else { name }
}

/// A data URL of at most 100 KB: a longer body is cut so that what is there can be decoded.
fn data_url(reply: &Reply, body: &[u8]) -> String {
    let is_type = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("content-type");
    let given = reply.headers.iter().find(is_type).map_or("", |(_, value)| value);
    let mut kind: String = given.chars().filter(|c| c.is_ascii_graphic() && *c != ',').collect();
    if kind.is_empty() || kind.len() > TOPIC_BYTES {
        UNKNOWN_TYPE.clone_into(&mut kind);
    }
    let mut url = format!("data:{kind};base64,");
    let most = (limits::REPLY_BYTES - url.len()) / 4 * 3;
    BASE64.encode_string(&body[..body.len().min(most)], &mut url);
    url
}

#[cfg(test)]
mod tests;
