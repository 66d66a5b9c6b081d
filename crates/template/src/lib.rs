//! Mustache templates: parse once, render many (contract, section 3.3).
//!
//! [`Template::parse`] turns a text into a flat list of nodes; [`Template::render_into`] and
//! [`Template::render_pieces`] walk that list with the names of a [`Scope`]. The language is the
//! Mustache specification without partials and lambdas: `{{x}}` is escaped, `{{{x}}}` and `{{&x}}`
//! are not, `a.b.0.c` walks objects and lists, `{{#x}}`, `{{^x}}`, `{{!…}}` and `{{=<% %>=}}` do
//! what they do elsewhere. Where the specification is silent, mustache.js decides.
//!
//! What this crate never does: IO, waiting, lookups in anything but the scope it was given,
//! rendering a value as a template.
//!
//! Everything that can grow has a limit: the constants below, the caller's own limit on the
//! output, and a [`Budget`] for what several renderings cost together. Neither a template nor its data can make parsing or rendering run for long, recurse
//! deeply, or panic.
//!
//! Modules in reading order: `program` (what a parsed template is), `parse`, `scope` (names and
//! values), `budget`, `render`, `escape`, `json` (how values are read and written).

mod budget;
mod escape;
pub mod json;
mod parse;
mod program;
mod render;
mod scope;

use std::fmt;

pub use budget::Budget;
pub use parse::ParseError;
pub use render::{Piece, RenderError};
pub use scope::{Scope, Var};

use program::Program;
use render::{Appender, Pieces};

/// The longest template, in bytes.
pub const MAX_SOURCE_BYTES: usize = 1024 * 1024;
/// How many sections may be open inside each other.
pub const MAX_NESTING: usize = 64;
/// The longest name in a tag, dots included, in bytes.
pub const MAX_NAME_BYTES: usize = 256;
/// The longest opening or closing delimiter, in bytes.
pub const MAX_DELIMITER_BYTES: usize = 32;
/// The most work of one rendering, in steps: a step is a node rendered, an element of a list
/// begun, a context searched for a name, or [`BYTES_PER_STEP`] bytes produced.
pub const MAX_RENDER_STEPS: usize = 1_000_000;
/// How many bytes of output cost one step, in bytes.
pub const BYTES_PER_STEP: usize = 64;

/// A parsed template. Cheap to render, and to share between threads behind an `Arc`.
#[derive(Clone)]
pub struct Template {
    program: Program,
}

impl Template {
    /// Parses `source`.
    ///
    /// # Errors
    /// [`ParseError`] says where the template is wrong and what to do: an unclosed tag or section,
    /// a partial, delimiters that cannot be used, or one of the limits of this crate.
    pub fn parse(source: &str) -> Result<Template, ParseError> {
        Ok(Template { program: parse::parse(source)? })
    }

    /// The text itself when there is no tag in it at all, so that callers can skip rendering.
    pub fn as_literal(&self) -> Option<&str> {
        self.program.as_literal()
    }

    /// The names that the template looks up: the first part of the path of each tag and section,
    /// each once, in order of appearance. The implicit iterator `.` is no name.
    ///
    /// A name is listed even where a section around it would answer it at render time.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.program.variables()
    }

    /// Appends the rendering to `out`. When it fails, `out` is as it was.
    ///
    /// # Errors
    /// [`RenderError::TooLong`] when more than `limit` bytes would be appended,
    /// [`RenderError::TooMuchWork`] past [`MAX_RENDER_STEPS`], [`RenderError::OverBudget`].
    pub fn render_into(&self, scope: &dyn Scope, out: &mut String, limit: usize) -> Result<(), RenderError> {
        let before = out.len();
        let result = render::render(&self.program, scope, Appender::new(out, limit));
        if result.is_err() {
            out.truncate(before);
        }
        result
    }

    /// Like [`Template::render_into`], for callers that need to know which bytes came from a
    /// variable: the pieces are handed to `sink` in order, each value whole and none of them empty.
    /// There is no limit on the output but the one that the sink sets, and [`MAX_RENDER_STEPS`].
    ///
    /// # Errors
    /// What the sink returned, [`RenderError::TooMuchWork`], or [`RenderError::OverBudget`].
    pub fn render_pieces(
        &self,
        scope: &dyn Scope,
        sink: &mut dyn FnMut(Piece<'_>) -> Result<(), RenderError>,
    ) -> Result<(), RenderError> {
        render::render(&self.program, scope, Pieces::new(sink))
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.program.source()).finish()
    }
}
