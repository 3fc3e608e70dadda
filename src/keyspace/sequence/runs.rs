//! The runs of a sequence, in order, in blocks that can be passed over as a whole.
//!
//! While many operations are not stable, there are many runs. What looks for a position passes over blocks by what is
//! known of all their runs: how many items are visible here, and whose effects made them.

use super::End;
use super::run::{Run, SetBy, View};
use crate::effects::{Dot, NodeId, Stamp};

/// The most runs in a block. Few in tests, so that small histories fill several.
const MAX_RUNS: usize = if cfg!(test) { 4 } else { 64 };

/// Points to a run, and to the gap before it. Any insertion or cut may make it invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    block: usize,
    run: usize,
}

impl Cursor {
    /// Just after the run.
    pub fn next(self) -> Cursor {
        Cursor { run: self.run + 1, ..self }
    }
}

/// One item.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub cursor: Cursor,
    /// Its number in the run.
    pub offset: usize,
}

/// See the module's text.
#[derive(Clone, Debug)]
pub(super) struct Runs {
    /// Never none; only the sole one may be empty.
    blocks: Vec<Block>,
    visible: usize,
    count: usize,
}

#[derive(Clone, Debug, Default)]
struct Block {
    runs: Vec<Run>,
    /// How many items are visible here.
    visible: usize,
    has_anchors: bool,
    spans: Vec<Span>,
}

/// The effects of one node that a block knows of.
#[derive(Clone, Copy, Debug)]
struct Span {
    node: NodeId,
    /// The earliest that inserted, if one did.
    first_insertion: Option<u64>,
    /// The latest that inserted or removed.
    last: u64,
}

impl Block {
    fn new(runs: Vec<Run>) -> Block {
        let mut block = Block { runs: Vec::new(), visible: 0, has_anchors: false, spans: Vec::new() };
        runs.iter().for_each(|run| block.count_in(run));
        block.runs = runs;
        block
    }

    /// Adds a run to what is known of all.
    fn count_in(&mut self, run: &Run) {
        match &run.named {
            Some(named) => self.count_dot(named.dot, true),
            None => self.has_anchors = true,
        }
        run.removals.iter().for_each(|dot| self.count_dot(*dot, false));
        if run.is_visible() {
            self.visible += run.count;
        }
    }

    fn count_dot(&mut self, dot: Dot, inserts: bool) {
        let seq = inserts.then_some(dot.seq);
        match self.spans.iter_mut().find(|span| span.node == dot.node) {
            Some(span) => {
                span.last = span.last.max(dot.seq);
                span.first_insertion = span.first_insertion.into_iter().chain(seq).min();
            }
            None => self.spans.push(Span { node: dot.node, first_insertion: seq, last: dot.seq }),
        }
    }

    /// Is nothing of this block in view?
    fn is_out_of(&self, view: &View<'_>) -> bool {
        let out = |span: &Span| span.first_insertion.is_none_or(|seq| view.has_none_from(Dot { node: span.node, seq }));
        !(self.has_anchors && view.seen.stable) && self.spans.iter().all(out)
    }

    /// How many items are visible to an effect.
    fn visible_in(&self, view: &View<'_>) -> usize {
        if view.seen.stable && self.spans.iter().all(|span| view.has_up_to(Dot { node: span.node, seq: span.last })) {
            return self.visible;
        }
        if self.is_out_of(view) {
            return 0;
        }
        self.runs.iter().filter(|run| run.is_visible_in(view)).map(|run| run.count).sum()
    }

    /// The item of that number, from an end of this block, of those that an effect saw.
    fn locate(&self, at: usize, view: &View<'_>, from: End, number: usize) -> Item {
        let mut left = number;
        for step in 0..self.runs.len() {
            let run = match from {
                End::Left => step,
                End::Right => self.runs.len() - 1 - step,
            };
            if !self.runs[run].is_visible_in(view) {
                continue;
            }
            let count = self.runs[run].count;
            if left < count {
                let offset = if from == End::Left { left } else { count - 1 - left };
                return Item { cursor: Cursor { block: at, run }, offset };
            }
            left -= count;
        }
        unreachable!("a block has as many visible items as it was counted to have")
    }
}

impl Runs {
    pub fn new(runs: Vec<Run>) -> Runs {
        let (count, mut blocks) = (runs.len(), Vec::new());
        let mut runs = runs.into_iter().peekable();
        // Half full: there is room to insert.
        while runs.peek().is_some() {
            blocks.push(Block::new(runs.by_ref().take(MAX_RUNS / 2).collect()));
        }
        if blocks.is_empty() {
            blocks.push(Block::default());
        }
        let visible = blocks.iter().map(|block| block.visible).sum();
        Runs { blocks, visible, count }
    }

    /// How many items are visible here.
    pub fn visible(&self) -> usize {
        self.visible
    }

    /// How many runs.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        let run = size_of::<Run>() + size_of::<Dot>();
        self.count * run + self.blocks.len() * (size_of::<Block>() + 2 * size_of::<Span>())
    }

    pub fn into_vec(self) -> Vec<Run> {
        self.blocks.into_iter().flat_map(|block| block.runs).collect()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Run> {
        self.blocks.iter().flat_map(|block| &block.runs)
    }

    pub fn get(&self, cursor: Cursor) -> &Run {
        &self.blocks[cursor.block].runs[cursor.run]
    }

    /// Before everything.
    pub fn start(&self) -> Cursor {
        Cursor { block: 0, run: 0 }
    }

    /// The run after a gap.
    pub fn following(&self, gap: Cursor) -> Option<Cursor> {
        if gap.run < self.blocks[gap.block].runs.len() {
            return Some(gap);
        }
        (gap.block + 1 < self.blocks.len()).then(|| Cursor { block: gap.block + 1, run: 0 })
    }

    /// The run before a gap.
    pub fn preceding(&self, gap: Cursor) -> Option<Cursor> {
        if gap.run > 0 {
            return Some(Cursor { run: gap.run - 1, ..gap });
        }
        let block = gap.block.checked_sub(1)?;
        Some(Cursor { block, run: self.blocks[block].runs.len() - 1 })
    }

    /// The first run after a gap that is in view, visible or not.
    pub fn following_in(&self, mut gap: Cursor, view: &View<'_>) -> Option<Cursor> {
        loop {
            let cursor = self.following(gap)?;
            let block = &self.blocks[cursor.block];
            if cursor.run == 0 && block.is_out_of(view) {
                gap = Cursor { run: block.runs.len(), ..cursor };
                continue;
            }
            if block.runs[cursor.run].is_in(view) {
                return Some(cursor);
            }
            gap = cursor.next();
        }
    }

    /// The item of that number, from an end, of the list that an effect saw; if there are not so many, how many there are.
    pub fn locate(&self, view: &View<'_>, from: End, number: usize) -> Result<Item, usize> {
        let mut left = number;
        for step in 0..self.blocks.len() {
            let at = match from {
                End::Left => step,
                End::Right => self.blocks.len() - 1 - step,
            };
            let block = &self.blocks[at];
            let count = block.visible_in(view);
            if left < count {
                return Ok(block.locate(at, view, from, left));
            }
            left -= count;
        }
        Err(number - left)
    }

    /// How many items before a run are visible here.
    pub fn visible_before(&self, cursor: Cursor) -> usize {
        let sum = |blocks: &[Block]| blocks.iter().map(|block| block.visible).sum::<usize>();
        let (before, from) = self.blocks.split_at(cursor.block);
        let outside = if before.len() < from.len() { sum(before) } else { self.visible - sum(from) };
        let inside = from[0].runs[..cursor.run].iter().filter(|run| run.is_visible());
        outside + inside.map(|run| run.count).sum::<usize>()
    }

    /// Inserts a run into a gap. Returns where it is.
    pub fn insert(&mut self, gap: Cursor, run: Run) -> Cursor {
        let block = &mut self.blocks[gap.block];
        if run.is_visible() {
            self.visible += run.count;
        }
        self.count += 1;
        block.count_in(&run);
        block.runs.insert(gap.run, run);
        self.divide(gap)
    }

    /// Divides the block of a run if it has become too large. Returns where the run is then.
    fn divide(&mut self, cursor: Cursor) -> Cursor {
        let is_last = cursor.block + 1 == self.blocks.len();
        let runs = &mut self.blocks[cursor.block].runs;
        if runs.len() <= MAX_RUNS {
            return cursor;
        }
        // A list that grows at an end leaves full blocks behind.
        let at = match cursor.run {
            0 if cursor.block == 0 => 1,
            last if last + 1 == runs.len() && is_last => last,
            _ => runs.len() / 2,
        };
        let rest = runs.split_off(at);
        let first = std::mem::take(runs);
        self.blocks[cursor.block] = Block::new(first);
        self.blocks.insert(cursor.block + 1, Block::new(rest));
        if cursor.run < at { cursor } else { Cursor { block: cursor.block + 1, run: cursor.run - at } }
    }

    /// Cuts a run after so many items. Returns where the rest is.
    pub fn split(&mut self, cursor: Cursor, count: usize) -> Cursor {
        let block = &mut self.blocks[cursor.block];
        let rest = block.runs[cursor.run].split_off(count);
        // The block's counts stay as they are.
        block.runs.insert(cursor.run + 1, rest);
        self.count += 1;
        self.divide(cursor.next())
    }

    /// Cuts a run so that these items are a run of their own. Returns where it is.
    pub fn carve(&mut self, mut cursor: Cursor, offset: usize, count: usize) -> Cursor {
        if offset > 0 {
            cursor = self.split(cursor, offset);
        }
        if count < self.get(cursor).count {
            let rest = self.split(cursor, count);
            cursor = self.preceding(rest).expect("what was cut is before the rest");
        }
        cursor
    }

    /// Notes a removal of all items of a run. Were they visible here?
    pub fn mark_removed(&mut self, cursor: Cursor, dot: Dot) -> bool {
        let block = &mut self.blocks[cursor.block];
        let run = &mut block.runs[cursor.run];
        let was_visible = run.is_visible();
        if was_visible {
            block.visible -= run.count;
            self.visible -= run.count;
        }
        run.removals.push(dot);
        block.count_dot(dot, false);
        was_visible
    }

    /// Notes the set that decides the value of the one item of a run.
    pub fn mark_set(&mut self, cursor: Cursor, dot: Dot, stamp: Stamp) {
        self.blocks[cursor.block].runs[cursor.run].set = Some(Box::new(SetBy { dot, stamp }));
    }
}
