//! From [`Program`] and [`Scope`] to text. Recursion is as deep as sections are nested, which the
//! parser bounds; work is counted in steps.

use std::borrow::Cow;
use std::io;
use std::ops::Range;

use serde_json::Value;

use crate::budget::Budget;
use crate::escape::{escape, needs_escape};
use crate::json;
use crate::program::{Node, Path, Program};
use crate::scope::{Item, Scope, Var, member};
use crate::{BYTES_PER_STEP, MAX_RENDER_STEPS};

/// A part of a rendering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Text of the template.
    Literal(&'a str),
    /// The value of one tag, already escaped when the tag asked for it.
    Value(&'a str),
}

/// Why a rendering was given up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// More output than the caller allowed.
    #[error("the rendered text is longer than {limit} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// More work than [`MAX_RENDER_STEPS`].
    #[error("rendering takes more than {limit} steps; nest fewer lists")]
    TooMuchWork {
        /// The limit, in steps.
        limit: usize,
    },
    /// More work or output than is left of what several renderings may cost together.
    #[error(
        "rendering all texts of this delivery takes too much work or output; nest fewer lists, or send less"
    )]
    OverBudget,
}

/// Renders the whole program.
pub(crate) fn render(program: &Program, scope: &dyn Scope, out: impl Output) -> Result<(), RenderError> {
    let steps = Steps { left: MAX_RENDER_STEPS, shared: scope.budget() };
    let mut renderer = Renderer { program, scope, out, steps };
    renderer.nodes(0..program.nodes().len(), None)
}

/// Where a rendering goes. Both methods return how many bytes they handed on.
pub(crate) trait Output {
    fn literal(&mut self, text: &str) -> Result<usize, RenderError>;
    fn value(&mut self, item: Item<'_>, escaped: bool) -> Result<usize, RenderError>;
}

/// Appends to a string, up to a limit.
pub(crate) struct Appender<'o> {
    out: &'o mut String,
    limit: usize,
    left: usize,
}

impl<'o> Appender<'o> {
    pub(crate) fn new(out: &'o mut String, limit: usize) -> Appender<'o> {
        Appender { out, limit, left: limit }
    }

    fn push(&mut self, text: &str) -> Result<(), RenderError> {
        let left = self.left.checked_sub(text.len()).ok_or(RenderError::TooLong { limit: self.limit })?;
        self.left = left;
        self.out.push_str(text);
        Ok(())
    }
}

impl Output for Appender<'_> {
    fn literal(&mut self, text: &str) -> Result<usize, RenderError> {
        self.push(text)?;
        Ok(text.len())
    }

    fn value(&mut self, item: Item<'_>, escaped: bool) -> Result<usize, RenderError> {
        let before = self.left;
        write_value(item, escaped, &mut |text| self.push(text))?;
        Ok(before - self.left)
    }
}

/// Hands pieces to a caller's function.
pub(crate) struct Pieces<'o> {
    sink: &'o mut dyn FnMut(Piece<'_>) -> Result<(), RenderError>,
    /// For values that are not in the data as they are rendered; allocated at the first of them.
    scratch: String,
}

impl<'o> Pieces<'o> {
    pub(crate) fn new(sink: &'o mut dyn FnMut(Piece<'_>) -> Result<(), RenderError>) -> Pieces<'o> {
        Pieces { sink, scratch: String::new() }
    }
}

impl Output for Pieces<'_> {
    fn literal(&mut self, text: &str) -> Result<usize, RenderError> {
        (self.sink)(Piece::Literal(text))?;
        Ok(text.len())
    }

    fn value(&mut self, item: Item<'_>, escaped: bool) -> Result<usize, RenderError> {
        let text = match item.as_text() {
            Some(text) if !(escaped && needs_escape(text)) => text,
            _ => {
                self.scratch.clear();
                write_value(item, escaped, &mut |text| {
                    self.scratch.push_str(text);
                    Ok(())
                })?;
                &self.scratch
            }
        };
        if !text.is_empty() {
            (self.sink)(Piece::Value(text))?;
        }
        Ok(text.len())
    }
}

/// Hands the text of a value to `push` in chunks. What is no text is compact JSON.
fn write_value(
    item: Item<'_>,
    escaped: bool,
    push: &mut impl FnMut(&str) -> Result<(), RenderError>,
) -> Result<(), RenderError> {
    let value = match (item.as_text(), item) {
        (Some(text), _) | (None, Item::Text(text)) => {
            return if escaped { escape(text, push) } else { push(text) };
        }
        (None, Item::Json(value)) => value,
    };
    let mut writer = JsonWriter { push, escaped, failure: None };
    // The only error is our own, from `push`; it is kept aside as `io::Error` has no room for it.
    let _ = json::write(value, &mut writer);
    writer.failure.map_or(Ok(()), Err)
}

/// Takes the chunks of a value that is written as JSON.
struct JsonWriter<'p, F> {
    push: &'p mut F,
    escaped: bool,
    failure: Option<RenderError>,
}

impl<F: FnMut(&str) -> Result<(), RenderError>> io::Write for JsonWriter<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Whoever writes JSON writes whole characters at once.
        let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
        let result = if self.escaped { escape(text, self.push) } else { (self.push)(text) };
        result.map(|()| bytes.len()).map_err(|error| {
            self.failure = Some(error);
            io::ErrorKind::Other.into()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is left of the work limit.
struct Steps<'p> {
    left: usize,
    shared: Option<&'p Budget>,
}

impl Steps<'_> {
    fn take(&mut self, steps: usize) -> Result<(), RenderError> {
        if self.shared.is_some_and(|shared| !shared.take(steps)) {
            return Err(RenderError::OverBudget);
        }
        self.left =
            self.left.checked_sub(steps).ok_or(RenderError::TooMuchWork { limit: MAX_RENDER_STEPS })?;
        Ok(())
    }

    fn take_bytes(&mut self, bytes: usize) -> Result<(), RenderError> {
        if self.shared.is_some_and(|shared| !shared.take_bytes(bytes)) {
            return Err(RenderError::OverBudget);
        }
        self.take(bytes / BYTES_PER_STEP)
    }
}

/// The value of a section that is being rendered, and those around it.
struct Context<'c> {
    item: Item<'c>,
    outer: Option<&'c Context<'c>>,
}

struct Renderer<'p, O> {
    program: &'p Program,
    scope: &'p dyn Scope,
    out: O,
    steps: Steps<'p>,
}

impl<'p, O: Output> Renderer<'p, O> {
    fn nodes(&mut self, range: Range<usize>, top: Option<&Context<'_>>) -> Result<(), RenderError> {
        let program = self.program;
        let mut at = range.start;
        while at < range.end {
            self.steps.take(1)?;
            let node = program.nodes()[at];
            at += 1;
            match node {
                Node::Text(span) => {
                    let text = program.text(span);
                    // A literal is empty when the standalone rule took all of it.
                    if !text.is_empty() {
                        let bytes = self.out.literal(text)?;
                        self.steps.take_bytes(bytes)?;
                    }
                }
                Node::Value { path, escape } => {
                    let found = self.resolve(path, top)?;
                    self.scope.rendered(program.path_text(path), found.as_ref());
                    if let Some(var) = found {
                        let bytes = self.out.value(Item::of(&var), escape)?;
                        self.steps.take_bytes(bytes)?;
                    }
                }
                Node::Section { path, inverted, end } => {
                    let body = at..end as usize;
                    at = body.end;
                    let var = self.resolve(path, top)?;
                    self.scope.rendered(program.path_text(path), var.as_ref());
                    let item = var.as_ref().map(Item::of).filter(|item| item.is_true());
                    match (inverted, item) {
                        (false, Some(item)) => self.section(body, item, top)?,
                        (true, None) => self.nodes(body, top)?,
                        (false, None) | (true, Some(_)) => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// Renders the body once, or once for each element of a list.
    fn section(
        &mut self,
        body: Range<usize>,
        item: Item<'_>,
        outer: Option<&Context<'_>>,
    ) -> Result<(), RenderError> {
        let Item::Json(Value::Array(list)) = item else {
            return self.nodes(body, Some(&Context { item, outer }));
        };
        for element in list {
            self.steps.take(1)?;
            self.nodes(body.clone(), Some(&Context { item: Item::Json(element), outer }))?;
        }
        Ok(())
    }

    /// The first part of a path is what the scope says that it is everywhere, else it is searched from the innermost
    /// section outwards, and in the scope at last; the others only in what the one before gave.
    fn resolve<'c>(&mut self, path: Path, top: Option<&Context<'c>>) -> Result<Option<Var<'c>>, RenderError>
    where
        'p: 'c,
    {
        let mut parts = self.program.parts(path);
        let Some(first) = parts.next() else {
            return Ok(top.map_or_else(|| self.scope.lookup("."), |context| Some(context.item.to_var())));
        };
        let mut context = top;
        let mut found = top.and_then(|_| self.scope.fixed(first.name));
        while let (None, Some(here)) = (&found, context) {
            self.steps.take(1)?;
            found = here.item.member(first).map(Var::Json);
            context = here.outer;
        }
        if found.is_none() {
            found = self.scope.lookup(first.name);
        }
        if let Some(Var::Text(Cow::Owned(text))) = &found {
            // Made for this lookup, so it is work even when it is not rendered.
            self.steps.take_bytes(text.len())?;
        }
        for part in parts {
            found = match found {
                Some(Var::Json(value)) => member(value, part).map(Var::Json),
                Some(Var::Text(_)) | None => return Ok(None),
            };
        }
        Ok(found)
    }
}
