//! From text to [`Program`]: one pass over the source that finds tags, pairs sections, and takes
//! standalone lines out.
//!
//! A line is standalone when nothing but whitespace and tags that render nothing themselves
//! (sections, comments, delimiters) stands on it; it is removed whole, with its line break.

use std::collections::HashSet;

use crate::program::{Builder, Node, Program, Span};
use crate::{MAX_DELIMITER_BYTES, MAX_NAME_BYTES, MAX_NESTING, MAX_SOURCE_BYTES};

/// Why a template cannot be used, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ParseError {
    /// The line of the tag in question, from 1.
    pub line: usize,
    /// The column where that tag begins, from 1, in characters.
    pub column: usize,
    /// What is wrong and what to do about it.
    pub message: String,
}

/// Parses a template.
pub(crate) fn parse(source: &str) -> Result<Program, ParseError> {
    if source.len() > MAX_SOURCE_BYTES {
        let message =
            format!("the template has {} bytes; make it at most {MAX_SOURCE_BYTES} bytes", source.len());
        return Err(ParseError { line: 1, column: 1, message });
    }
    let mut parser = Parser {
        source,
        pos: 0,
        delimiters: Delimiters { open: "{{", close: "}}" },
        sections: Vec::new(),
        seen: HashSet::new(),
        line: Line::starting(0, 0),
        has_tags: false,
        out: Builder::default(),
    };
    parser.run()?;
    Ok(parser.out.finish(source, parser.has_tags))
}

#[derive(Clone, Copy)]
struct Delimiters<'s> {
    open: &'s str,
    close: &'s str,
}

/// A section whose end has not been seen yet.
struct OpenSection<'s> {
    name: &'s str,
    /// The index of its node.
    node: usize,
    /// Where its tag begins in the source.
    at: usize,
    delimiters: Delimiters<'s>,
}

/// The line that is being read, for the standalone rule.
struct Line {
    /// Where it starts in the source.
    start: usize,
    /// The first node that may have text of this line.
    first_node: usize,
    /// Only whitespace and tags that render nothing so far.
    blank: bool,
    /// There is such a tag.
    has_tag: bool,
}

impl Line {
    fn starting(start: usize, first_node: usize) -> Line {
        Line { start, first_node, blank: true, has_tag: false }
    }
}

struct Parser<'s> {
    source: &'s str,
    pos: usize,
    delimiters: Delimiters<'s>,
    sections: Vec<OpenSection<'s>>,
    /// The variables noted so far.
    seen: HashSet<&'s str>,
    line: Line,
    has_tags: bool,
    out: Builder,
}

impl<'s> Parser<'s> {
    fn run(&mut self) -> Result<(), ParseError> {
        while let Some(found) = self.source[self.pos..].find(self.delimiters.open) {
            let at = self.pos + found;
            self.text(at);
            self.has_tags = true;
            self.tag(at)?;
        }
        self.text(self.source.len());
        self.end_line(self.out.len());
        let Some(open) = self.sections.last() else { return Ok(()) };
        let Delimiters { open: o, close: c } = open.delimiters;
        Err(self.error(
            open.at,
            format!(
                "the section `{name}` is not closed; add `{o}/{name}{c}` where it ends",
                name = open.name
            ),
        ))
    }

    /// Takes the literal text up to `end`.
    fn text(&mut self, end: usize) {
        let start = self.pos;
        self.pos = end;
        let text = &self.source[start..end];
        if text.is_empty() {
            return;
        }
        let node = self.out.len();
        let mut kept = start;
        if let (Some(first), Some(last)) = (text.find('\n'), text.rfind('\n')) {
            self.line.blank &= is_blank(&text[..first]);
            if self.end_line(node) {
                kept = start + first + 1;
            }
            self.line = Line::starting(start + last + 1, node);
            self.line.blank = is_blank(&text[last + 1..]);
        } else {
            self.line.blank &= is_blank(text);
        }
        self.out.push(Node::Text(Span::new(kept..end)));
    }

    /// Removes the whitespace of the line that ends before `node` when it is standalone; says
    /// whether it is.
    fn end_line(&mut self, node: usize) -> bool {
        let standalone = self.line.blank && self.line.has_tag;
        if standalone {
            self.out.cut_literals(self.line.first_node..node, self.line.start);
        }
        standalone
    }

    /// Reads the tag that begins at `at`.
    fn tag(&mut self, at: usize) -> Result<(), ParseError> {
        self.pos = at + self.delimiters.open.len();
        self.skip_whitespace();
        let rest = &self.source[self.pos..];
        let sigil = if rest.starts_with(self.delimiters.close) { None } else { rest.chars().next() };
        match sigil {
            Some('!') => {
                self.content(at)?;
                self.line.has_tag = true;
            }
            Some('=') => {
                self.pos += 1;
                self.set_delimiters(at)?;
                self.line.has_tag = true;
            }
            Some('#') => self.section(at, false)?,
            Some('^') => self.section(at, true)?,
            Some('/') => self.section_end(at)?,
            Some('>') => {
                let Delimiters { open, close } = self.delimiters;
                let message = format!(
                    "partials are not supported; write the text itself in place of `{open}>…{close}`"
                );
                return Err(self.error(at, message));
            }
            Some('&') => {
                self.pos += 1;
                self.value(at, false)?;
            }
            Some('{') => {
                self.pos += 1;
                self.braced_value(at)?;
            }
            _ => self.value(at, true)?,
        }
        Ok(())
    }

    fn value(&mut self, at: usize, escape: bool) -> Result<(), ParseError> {
        let content = self.content(at)?;
        self.push_value(at, content, escape)
    }

    /// `{{{x}}}`: the opening brace has been read.
    fn braced_value(&mut self, at: usize) -> Result<(), ParseError> {
        let Delimiters { open, close } = self.delimiters;
        let closing = format!("}}{close}");
        let rest = &self.source[self.pos..];
        // A tag that ends with too few braces must not run on into the next one.
        let content = rest.find(&closing).map(|end| &rest[..end]).filter(|content| !content.contains(close));
        let Some(content) = content else {
            return Err(self
                .error(at, format!("the tag opened with `{open}{{` is not closed; add `{closing}` to it")));
        };
        self.pos += content.len() + closing.len();
        self.push_value(at, content, false)
    }

    fn push_value(&mut self, at: usize, content: &'s str, escape: bool) -> Result<(), ParseError> {
        let name = self.name(at, content)?;
        self.line.blank = false;
        let path = self.path(name);
        self.out.push(Node::Value { path, escape });
        Ok(())
    }

    fn section(&mut self, at: usize, inverted: bool) -> Result<(), ParseError> {
        self.pos += 1;
        let content = self.content(at)?;
        let name = self.name(at, content)?;
        if self.sections.len() == MAX_NESTING {
            let message = format!("more than {MAX_NESTING} sections inside each other; nest fewer");
            return Err(self.error(at, message));
        }
        self.line.has_tag = true;
        self.sections.push(OpenSection { name, node: self.out.len(), at, delimiters: self.delimiters });
        let path = self.path(name);
        self.out.push(Node::Section { path, inverted, end: 0 });
        Ok(())
    }

    fn section_end(&mut self, at: usize) -> Result<(), ParseError> {
        self.pos += 1;
        let content = self.content(at)?;
        let name = self.name(at, content)?;
        let Delimiters { open, close } = self.delimiters;
        let Some(section) = self.sections.pop() else {
            let message = format!(
                "`{open}/{name}{close}` closes a section that is not open; remove it, or add `{open}#{name}{close}` \
                 before it"
            );
            return Err(self.error(at, message));
        };
        if section.name != name {
            let (line, column) = self.position(section.at);
            let message = format!(
                "`{open}/{name}{close}` closes a section while `{inner}` (line {line}, column {column}) is open; \
                 add `{open}/{inner}{close}` before it",
                inner = section.name,
            );
            return Err(self.error(at, message));
        }
        self.line.has_tag = true;
        self.out.end_section(section.node);
        Ok(())
    }

    /// `{{=<% %>=}}`: the first equals sign has been read.
    fn set_delimiters(&mut self, at: usize) -> Result<(), ParseError> {
        let Delimiters { open, close } = self.delimiters;
        let rest = &self.source[self.pos..];
        let inside = rest.find('=').and_then(|end| {
            let behind = rest[end + 1..].trim_start().strip_prefix(close)?;
            let mut words = rest[..end].split_whitespace();
            let pair = Delimiters { open: words.next()?, close: words.next()? };
            let usable = |delimiter: &str| delimiter.len() <= MAX_DELIMITER_BYTES;
            (words.next().is_none() && usable(pair.open) && usable(pair.close)).then_some((pair, behind))
        });
        let Some((pair, behind)) = inside else {
            let message = format!(
                "delimiters cannot be set like this; write `{open}=<% %>={close}`: two delimiters with a space between, \
                 without equals signs, of up to {MAX_DELIMITER_BYTES} bytes"
            );
            return Err(self.error(at, message));
        };
        self.delimiters = pair;
        self.pos = self.source.len() - behind.len();
        Ok(())
    }

    /// What stands between here and the closing delimiter; goes on behind that.
    fn content(&mut self, at: usize) -> Result<&'s str, ParseError> {
        let Delimiters { open, close } = self.delimiters;
        let rest = &self.source[self.pos..];
        let Some(end) = rest.find(close) else {
            let message = format!("the tag opened with `{open}` is not closed; add `{close}` to it");
            return Err(self.error(at, message));
        };
        self.pos += end + close.len();
        Ok(&rest[..end])
    }

    /// The name in a tag.
    fn name(&self, at: usize, content: &'s str) -> Result<&'s str, ParseError> {
        let Delimiters { open, close } = self.delimiters;
        let name = content.trim();
        if name.is_empty() {
            return Err(
                self.error(at, format!("the tag has no name; write it between `{open}` and `{close}`"))
            );
        }
        if name.contains(open) {
            let message =
                format!("there is a `{open}` inside this tag; add the `{close}` that is missing before it");
            return Err(self.error(at, message));
        }
        if name.len() > MAX_NAME_BYTES {
            let message =
                format!("the name has {} bytes; use one of up to {MAX_NAME_BYTES} bytes", name.len());
            return Err(self.error(at, message));
        }
        Ok(name)
    }

    /// Splits a name and notes which variable it needs.
    fn path(&mut self, name: &'s str) -> crate::program::Path {
        // `name` is a slice of the source, so the distance of their ends is where it stands.
        let at = name.as_ptr() as usize - self.source.as_ptr() as usize;
        let first = name.split('.').next().unwrap_or(name);
        if name != "." && self.seen.insert(first) {
            self.out.add_variable(Span::new(at..at + first.len()));
        }
        self.out.path(name, at)
    }

    fn skip_whitespace(&mut self) {
        let rest = &self.source[self.pos..];
        self.pos += rest.len() - rest.trim_start().len();
    }

    fn error(&self, at: usize, message: String) -> ParseError {
        let (line, column) = self.position(at);
        ParseError { line, column, message }
    }

    /// Line and column of a place in the source, both from 1.
    fn position(&self, at: usize) -> (usize, usize) {
        let before = &self.source[..at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

fn is_blank(text: &str) -> bool {
    text.chars().all(char::is_whitespace)
}
