//! To which trace an effect belongs: what a sampled command leaves behind for those that carry its effect on.
//!
//! The thread that runs such a command says so for as long as it runs, and whatever it commits meanwhile is noted. Must not know
//! what a span is, nor who collects them.

use std::cell::Cell;

use super::Dot;

/// A place within somebody's trace, by W3C's identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; not 0.
    pub trace: u128,
    /// The span in it that causes what comes next; not 0.
    pub span: u64,
}

/// An effect that belongs to a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracedEffect {
    /// Which.
    pub dot: Dot,
    /// Where it belongs.
    pub context: TraceContext,
}

thread_local! {
    static CURRENT: Cell<Option<TraceContext>> = const { Cell::new(None) };
}

/// Where what this thread does at the moment belongs, if anywhere.
pub fn current_trace() -> Option<TraceContext> {
    CURRENT.get()
}

/// While it lives, what this thread does belongs to a trace.
#[derive(Debug)]
pub struct TraceScope {
    before: Option<TraceContext>,
}

impl TraceScope {
    /// From now on.
    pub fn enter(context: TraceContext) -> TraceScope {
        TraceScope { before: CURRENT.replace(Some(context)) }
    }
}

impl Drop for TraceScope {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_ends_with_its_guard_and_gives_back_what_was_before() {
        let (outer, inner) = (TraceContext { trace: 1, span: 2 }, TraceContext { trace: 3, span: 4 });
        assert_eq!(current_trace(), None);
        let guard = TraceScope::enter(outer);
        {
            let _inner = TraceScope::enter(inner);
            assert_eq!(current_trace(), Some(inner));
        }
        assert_eq!(current_trace(), Some(outer));
        drop(guard);
        assert_eq!(current_trace(), None);
    }
}
