//! Removals from lists that are made again: which elements here do they mean? (See `made_again`.)

use super::Causes;
use crate::effects::{Action, Dot, End, NodeId, Prints, Ranges, Sight};
use crate::keyspace::causality::Seen;
use crate::keyspace::sequence::Sequence;
use crate::keyspace::value::{Collection, ListValue, Value};

/// So many elements are looked at for each that was removed.
const MOST_LOOKED_AT: usize = 4_096;

/// An effect that nobody makes.
const NOBODY: Dot = Dot { node: NodeId(0), seq: 0 };

/// What an effect that is made again has done to a list so far, which is not done here yet.
#[derive(Debug, Default)]
pub struct RemovedBefore {
    /// Indices in the list here.
    taken: Vec<usize>,
    /// It has done more than can be told that way: where a push lands that is made again, shows only when it is done.
    is_unclear: bool,
}

impl RemovedBefore {
    /// It does this to the list.
    pub fn note(&mut self, action: &Action<'_>) {
        match action {
            Action::ListSet { .. } | Action::Deadline { .. } => {}
            _ => self.is_unclear = true,
        }
    }

    /// The elements that a removal means which is made again: where they are in the list from the left by then, ascending, and what they
    /// look like.
    pub fn find(
        &mut self,
        value: &Value,
        causes: Option<&Causes>,
        from: End,
        (ranges, prints): (Ranges<'_>, Prints<'_>),
        sight: &Sight<'_>,
    ) -> Vec<(usize, u32)> {
        let Some(list) = ListValue::of(value).filter(|_| !self.is_unclear) else { return Vec::new() };
        let mut found = Vec::new();
        for (position, print) in ranges.iter().flatten().zip(prints.iter()) {
            let position = usize::try_from(position).unwrap_or(usize::MAX);
            if let Some(at) = self.find_one(list, causes, from, (position, print), sight) {
                found.push((at, print));
                self.taken.push(at);
            }
        }
        // The positions of one removal count in the list before all of it, and after what the effect did earlier.
        let earlier = &self.taken[..self.taken.len() - found.len()];
        let place = |at: usize| at - earlier.iter().filter(|&&taken| taken < at).count();
        found.iter_mut().for_each(|(at, _)| *at = place(*at));
        found.sort_unstable();
        found
    }

    fn find_one(
        &self,
        list: &ListValue,
        causes: Option<&Causes>,
        from: End,
        (position, print): (usize, u32),
        sight: &Sight<'_>,
    ) -> Option<usize> {
        let is_free = |at: usize| !self.taken.contains(&at);
        let looks_so = |at: usize| is_free(at) && list.get(at).is_some_and(|element| Prints::of(&element) == print);
        let sequence = causes.and_then(|causes| causes.list.sequence());
        let is_own = |dot: Option<Dot>| dot.is_some_and(|dot| sight.names.contains(&dot.node));
        let is_reached = |dot: Option<Dot>| match dot {
            Some(dot) => sight.reach.frontier.includes(dot),
            None => sight.reach.stable,
        };
        let nearest = |wanted: &dyn Fn(Option<Dot>) -> bool| {
            indices((sequence, list.len()), from, wanted).find(|&at| looks_so(at))
        };
        if let Some(at) = nearest(&is_own) {
            return Some(at);
        }
        let seen = Seen { frontier: &sight.reach.frontier, own: NOBODY, stable: sight.reach.stable };
        let counted = match (sequence, from) {
            (Some(sequence), _) => sequence.find(from, position, &seen),
            (None, _) if !sight.reach.stable => None,
            (None, End::Left) => Some(position),
            (None, End::Right) => list.len().checked_sub(position + 1),
        };
        // What was counted is gone already: somebody else has taken it, too.
        let counted = counted?;
        if looks_so(counted) { Some(counted) } else { nearest(&|dot| !is_own(dot) && is_reached(dot)) }
    }
}

/// The indices of the elements of some insertions into a list of so many elements, beginning at an end; not of very many.
fn indices<'a>(
    (sequence, len): (Option<&'a Sequence>, usize),
    from: End,
    wanted: &'a dyn Fn(Option<Dot>) -> bool,
) -> impl Iterator<Item = usize> + 'a {
    let insertions: Box<dyn Iterator<Item = (usize, Option<Dot>)> + 'a> = match (sequence, from) {
        (None, _) => Box::new(std::iter::once((len, None))),
        (Some(sequence), End::Left) => Box::new(sequence.insertions()),
        (Some(sequence), End::Right) => Box::new(sequence.insertions().rev()),
    };
    let mut passed = 0;
    let ranges = insertions.take(MOST_LOOKED_AT).map(move |(count, dot)| {
        let start = passed;
        passed += count;
        start..if wanted(dot) { passed } else { start }
    });
    let each = ranges.flatten().take(MOST_LOOKED_AT);
    each.map(move |number| if from == End::Left { number } else { len - 1 - number })
}
