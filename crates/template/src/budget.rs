//! What several renderings may cost together.

use std::cell::Cell;

/// Steps and bytes of output that are left. A rendering that needs more than is left fails with
/// [`RenderError::OverBudget`](crate::RenderError::OverBudget), and so does every later one.
#[derive(Debug)]
pub struct Budget {
    steps: Cell<usize>,
    bytes: Cell<usize>,
    over: Cell<bool>,
}

impl Budget {
    /// Room for this many steps (see [`MAX_RENDER_STEPS`](crate::MAX_RENDER_STEPS)) and bytes of output.
    pub fn new(steps: usize, bytes: usize) -> Budget {
        Budget { steps: Cell::new(steps), bytes: Cell::new(bytes), over: Cell::new(false) }
    }

    /// Whether a rendering needed more than was left.
    pub fn is_over(&self) -> bool {
        self.over.get()
    }

    /// The steps that are left.
    pub fn steps_left(&self) -> usize {
        self.steps.get()
    }

    /// Takes steps. False, and nothing is left, when there are fewer.
    pub(crate) fn take(&self, steps: usize) -> bool {
        Budget::take_from(&self.steps, steps) || self.end()
    }

    /// Takes bytes of output, as [`Budget::take`].
    pub(crate) fn take_bytes(&self, bytes: usize) -> bool {
        Budget::take_from(&self.bytes, bytes) || self.end()
    }

    fn take_from(left: &Cell<usize>, n: usize) -> bool {
        let rest = left.get().checked_sub(n);
        left.set(rest.unwrap_or_default());
        rest.is_some()
    }

    fn end(&self) -> bool {
        self.over.set(true);
        self.steps.set(0);
        false
    }
}
