//! `requestType`: one of four words, or a template that renders to one.

use tributary_domain::limits::RENDERED_BYTES;
use tributary_template::Scope;

use crate::{fields::Reader, text::Text};

const FIELD: &str = "requestType";
const METHODS: [&str; 4] = ["POST", "GET", "PUT", "DELETE"];
const WRONG: &str = "must be GET, POST, PUT or DELETE";
/// How much of a wrong word is shown, in bytes.
const SHOWN_BYTES: usize = 50;

/// The method of a request.
#[derive(Debug)]
pub(super) enum Method {
    Fixed(&'static str),
    Rendered(Text),
}

impl Method {
    /// Reads the field.
    pub(super) fn read(reader: &mut Reader<'_>) -> Method {
        let Some(text) = reader.text_template(FIELD) else { return Method::Fixed(METHODS[0]) };
        let Some(literal) = text.literal() else { return Method::Rendered(text) };
        Method::Fixed(known(literal).unwrap_or_else(|| {
            reader.error(FIELD, WRONG);
            METHODS[0]
        }))
    }

    /// The method for an event; the error is the text of a final error outcome.
    pub(super) fn render(&self, scope: &dyn Scope) -> Result<&'static str, String> {
        let text = match self {
            Method::Fixed(method) => return Ok(method),
            Method::Rendered(text) => text,
        };
        let rendered = text.render(scope, RENDERED_BYTES).map_err(|error| format!("{FIELD}: {error}"))?;
        known(&rendered).ok_or_else(|| {
            let shown = &rendered[..rendered.floor_char_boundary(SHOWN_BYTES)];
            format!("{FIELD}: {WRONG}, not {shown:?}")
        })
    }
}

/// In any case of letters.
fn known(text: &str) -> Option<&'static str> {
    METHODS.into_iter().find(|method| method.eq_ignore_ascii_case(text.trim()))
}
