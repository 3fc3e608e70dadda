//! What happened, in lines that a person can read. Costs nothing when nobody asked for it.

/// The lines so far.
#[derive(Debug)]
pub struct Trace {
    lines: Option<Vec<String>>,
}

impl Trace {
    /// Collects lines, or lets them pass.
    pub fn new(collects: bool) -> Trace {
        Trace { lines: collects.then(Vec::new) }
    }

    /// Something happened at `time` (simulated milliseconds), at a node or to the world as a whole.
    pub fn note(&mut self, time: u64, node: Option<usize>, what: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            let node = node.map_or("world".to_owned(), |node| format!("node {node}"));
            lines.push(format!("{:>6}.{:03} {node:<7} {}", time / 1000, time % 1000, what()));
        }
    }

    /// All lines.
    pub fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}
