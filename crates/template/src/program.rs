//! What a parsed template is: the source, and nodes that point into it. Literals and names are
//! stored once, as ranges of the source; paths are split at parse time.

use std::ops::Range;

/// A range of the source, in bytes. `u32` is enough: see [`crate::MAX_SOURCE_BYTES`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn new(range: Range<usize>) -> Span {
        Span { start: to_u32(range.start), end: to_u32(range.end) }
    }
}

/// One step of the rendering. The nodes of a section's body follow its own node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Node {
    Text(Span),
    Value {
        path: Path,
        escape: bool,
    },
    Section {
        path: Path,
        inverted: bool,
        /// The index of the first node behind the body.
        end: u32,
    },
}

/// A dotted name: a range of the program's parts. Empty for the implicit iterator `.`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    first: u32,
    end: u32,
}

#[derive(Clone, Copy, Debug)]
struct PartSpan {
    name: Span,
    index: Option<u32>,
}

/// One part of a dotted name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'p> {
    /// The key, in an object.
    pub(crate) name: &'p str,
    /// The position, in a list, when the name is a decimal number as JSON writes it.
    pub(crate) index: Option<usize>,
}

/// A template ready to be rendered.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    // Boxed slices: a server holds a hundred thousand of these, most of them with one or two nodes.
    source: Box<str>,
    nodes: Box<[Node]>,
    parts: Box<[PartSpan]>,
    variables: Box<[Span]>,
    has_tags: bool,
}

impl Program {
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    pub(crate) fn as_literal(&self) -> Option<&str> {
        (!self.has_tags).then_some(&*self.source)
    }

    pub(crate) fn variables(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|span| self.text(*span))
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(crate) fn text(&self, span: Span) -> &str {
        &self.source[span.start as usize..span.end as usize]
    }

    /// The path as it is written; empty for the implicit iterator.
    pub(crate) fn path_text(&self, path: Path) -> &str {
        match &self.parts[path.first as usize..path.end as usize] {
            [] => "",
            [first, .., last] => &self.source[first.name.start as usize..last.name.end as usize],
            [only] => self.text(only.name),
        }
    }

    /// The parts of a path; none for the implicit iterator.
    pub(crate) fn parts(&self, path: Path) -> impl Iterator<Item = Part<'_>> {
        self.parts[path.first as usize..path.end as usize]
            .iter()
            .map(|part| Part { name: self.text(part.name), index: part.index.map(|i| i as usize) })
    }
}

/// A program under construction.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    nodes: Vec<Node>,
    parts: Vec<PartSpan>,
    variables: Vec<Span>,
}

impl Builder {
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn push(&mut self, node: Node) {
        self.nodes.push(node);
    }

    /// Splits `name`, which stands in the source at `at`, into a path.
    pub(crate) fn path(&mut self, name: &str, at: usize) -> Path {
        let first = to_u32(self.parts.len());
        if name != "." {
            let mut start = at;
            for part in name.split('.') {
                let span = Span::new(start..start + part.len());
                self.parts.push(PartSpan { name: span, index: list_index(part) });
                start += part.len() + 1;
            }
        }
        Path { first, end: to_u32(self.parts.len()) }
    }

    pub(crate) fn add_variable(&mut self, span: Span) {
        self.variables.push(span);
    }

    /// Ends the body of the section whose node is at `index`.
    pub(crate) fn end_section(&mut self, index: usize) {
        let here = to_u32(self.nodes.len());
        if let Some(Node::Section { end, .. }) = self.nodes.get_mut(index) {
            *end = here;
        }
    }

    /// Removes from the literals at `nodes` what stands in the source at `from` or behind it.
    pub(crate) fn cut_literals(&mut self, nodes: Range<usize>, from: usize) {
        let from = to_u32(from);
        for node in &mut self.nodes[nodes] {
            if let Node::Text(span) = node {
                span.end = span.end.min(from).max(span.start);
            }
        }
    }

    pub(crate) fn finish(self, source: &str, has_tags: bool) -> Program {
        Program {
            source: source.into(),
            nodes: self.nodes.into(),
            parts: self.parts.into(),
            variables: self.variables.into(),
            has_tags,
        }
    }
}

/// The list position that a name stands for: digits without a superfluous zero in front.
pub(crate) fn list_index(name: &str) -> Option<u32> {
    let digits = name.bytes().all(|b| b.is_ascii_digit());
    let canonical = name.len() == 1 || !name.starts_with('0');
    if digits && canonical { name.parse().ok() } else { None }
}

/// The source is at most [`crate::MAX_SOURCE_BYTES`] long, so nothing counted in it is cut off.
fn to_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
