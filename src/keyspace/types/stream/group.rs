//! What is not stable about one group: its bases. The group in the stream is the view over them.
//!
//! Several bases come from creations that had not seen each other, several positions from such XGROUP SETIDs. For the view an
//! entry has passed when it has for one of the positions; a pending entry is shown as the delivery or claim with the highest
//! stamp has it; a consumer is there if it is in one of the bases.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::base::{Base, Claim};
use super::entries::{Entries, Key};
use super::position::Position;
use crate::effects::{Action, Dot, Frontier, StreamId};
use crate::keyspace::Millis;
use crate::keyspace::causality::{Mark, Seen};
use crate::keyspace::value::{Group, StreamValue};

/// See the module's text.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct GroupCauses {
    bases: Vec<Base>,
}

/// What of a view an action may have changed.
#[derive(Debug, Default)]
pub struct Changed {
    /// Entries that may be pending now, or not any more.
    pending: Vec<StreamId>,
    consumer: Option<Arc<[u8]>>,
    /// When that was.
    at: Millis,
    /// Did a position move, or what it delivered change?
    position: bool,
}

impl GroupCauses {
    /// Those of a group of which all is stable.
    pub fn resting(group: &Group) -> GroupCauses {
        GroupCauses { bases: vec![Base::resting(group)] }
    }

    /// Does the one base rest on the view?
    fn rests(&self) -> bool {
        matches!(&self.bases[..], [only] if only.can_rest())
    }

    /// All positions.
    pub fn positions(&self) -> impl Iterator<Item = &Position> {
        self.bases.iter().flat_map(|base| &base.positions)
    }

    fn positions_mut(&mut self) -> impl Iterator<Item = &mut Position> {
        self.bases.iter_mut().flat_map(|base| &mut base.positions)
    }

    /// XGROUP CREATE. The view is to be made anew.
    pub fn create(&mut self, view: Option<&Group>, position: Position, mark: &Mark<'_>) {
        if self.rests()
            && let Some(view) = view
        {
            self.bases[0].spell_out(view);
        }
        self.bases.retain(|base| !base.is_seen(&mark.seen));
        self.bases.push(Base::begin(position, mark));
    }

    /// Observed-remove. False when nothing is left; otherwise whether the view is to be made anew.
    pub fn destroy(&mut self, seen: &Seen<'_>) -> Option<bool> {
        let before = self.bases.len();
        self.bases.retain(|base| !base.is_seen(seen));
        (!self.bases.is_empty()).then_some(self.bases.len() < before)
    }

    /// XGROUP SETID: acts on the bases that it has seen, in the place of the positions that it has seen.
    pub fn set_position(&mut self, position: &Position, mark: &Mark<'_>) {
        for base in self.bases.iter_mut().filter(|base| base.is_seen(&mark.seen)) {
            base.positions.retain(|position| !position.is_seen(&mark.seen));
            base.positions.push(position.clone());
        }
    }

    /// Merges an action on what is in the group.
    pub fn change(&mut self, entries: Entries<'_>, view: &Group, action: &Action<'_>, mark: &Mark<'_>) -> Changed {
        let view = Some(view).filter(|_| self.rests());
        let mut changed = Changed::default();
        let bases = self.bases.iter_mut().filter(|base| base.is_seen(&mark.seen));
        match *action {
            Action::GroupDeliver { consumer, ids, at, pending, entries_read, .. } => {
                let ids: Vec<StreamId> = ids.iter().collect();
                let name: Arc<[u8]> = consumer.into();
                for base in bases {
                    for position in base.positions.iter_mut().filter(|position| position.is_seen(&mark.seen)) {
                        position.deliver(&ids, entries_read, entries, mark);
                    }
                    base.touch(view, &name, Some(at), mark);
                    for &id in ids.iter().filter(|_| pending) {
                        base.give(view, id, Claim { consumer: name.clone(), delivered_at: at, deliveries: 1 }, mark);
                    }
                }
                changed = Changed { pending: ids, consumer: Some(name), at, position: true };
            }
            Action::GroupClaim { consumer, claims, at, last, .. } => {
                let name: Arc<[u8]> = consumer.into();
                for base in bases {
                    base.touch(view, &name, at, mark);
                    for claim in claims.iter() {
                        let (delivered_at, deliveries) = (claim.delivered_at, claim.deliveries);
                        base.give(view, claim.id, Claim { consumer: name.clone(), delivered_at, deliveries }, mark);
                    }
                    if let Some(last) = last {
                        let seen = base.positions.iter_mut().filter(|position| position.is_seen(&mark.seen));
                        seen.for_each(|position| position.skip(last, entries, mark));
                    }
                }
                changed.pending = claims.iter().map(|claim| claim.id).collect();
                changed.at = claims.iter().map(|claim| claim.delivered_at).max().unwrap_or_default();
                changed.consumer = Some(name);
                changed.position = last.is_some();
            }
            Action::GroupAcknowledge { ids, .. } => {
                for base in bases {
                    ids.iter().for_each(|id| base.acknowledge(view, id, mark));
                }
                changed.pending = ids.iter().collect();
            }
            Action::ConsumerCreate { consumer, at, .. } => {
                let name: Arc<[u8]> = consumer.into();
                bases.into_iter().for_each(|base| base.touch(view, &name, None, mark));
                changed = Changed { consumer: Some(name), at, ..Changed::default() };
            }
            Action::ConsumerRemove { consumer, .. } => {
                for base in bases {
                    changed.pending.append(&mut base.remove_consumer(view, consumer, mark));
                }
                changed.consumer = Some(consumer.into());
            }
            _ => unreachable!("not an action on what is in a group"),
        }
        changed
    }

    /// Lets the view have what has changed.
    pub fn show(&mut self, view: &mut Group, changed: &Changed) {
        // What is not mentioned is as it was.
        for &id in &changed.pending {
            if self.bases.iter().any(|base| base.mentions(id)) {
                self.show_pending(view, id);
            }
        }
        if let Some(name) = changed.consumer.as_ref().filter(|name| self.bases.iter().any(|base| base.names_one(name)))
        {
            self.show_consumer(view, name, changed.at);
        }
        if changed.position {
            self.show_position(view);
        }
        let rests = self.rests();
        self.bases.iter_mut().for_each(|base| base.tidy(rests));
    }

    fn show_pending(&self, view: &mut Group, id: StreamId) {
        match self.bases.iter().filter_map(|base| base.claim(id)).max_by_key(|(stamp, _)| *stamp) {
            Some((_, claim)) => view.give(id, &claim.consumer, claim.delivered_at, claim.deliveries),
            None => {
                view.acknowledge(id);
            }
        }
    }

    fn show_consumer(&self, view: &mut Group, name: &[u8], at: Millis) {
        match self.bases.iter().filter_map(|base| base.presence(name)).max() {
            Some(active) => {
                view.create_consumer(name, at);
                view.set_active(name, active);
            }
            None => {
                view.remove_consumer(name);
            }
        }
    }

    /// Shows how far the group is, and what is late.
    pub fn show_position(&self, view: &mut Group) {
        let Some(farthest) = self.positions().max_by_key(|position| position.delivered()) else { return };
        view.last_delivered = farthest.delivered();
        let mut counts: Vec<_> = self.positions().flat_map(Position::counts).collect();
        counts.sort_unstable();
        counts.dedup_by(|one, other| one.0.is_some() && one.0 == other.0);
        view.entries_read = match &counts[..] {
            [(_, count)] => *count,
            _ => None,
        };
        if farthest.late().is_empty() {
            if !view.late().is_empty() {
                view.set_late(BTreeSet::new());
            }
            return;
        }
        let positions: Vec<_> = self.positions().map(|position| (position, position.delivered())).collect();
        let is_late =
            |key: &&Key| positions.iter().all(|(position, delivered)| !position.has_passed(**key, *delivered));
        view.set_late(farthest.late().iter().filter(is_late).map(|key| key.0).collect());
    }

    /// The view, made anew. `before` had all of this and something more, or less.
    pub fn view(&mut self, before: Option<&Group>) -> Group {
        let mut view = Group::default();
        self.show_position(&mut view);
        let names: BTreeSet<Arc<[u8]>> = self.bases.iter().flat_map(Base::names).cloned().collect();
        for name in &names {
            let seen_at = before.and_then(|before| before.consumer(name)).map_or(0, |consumer| consumer.seen_at);
            self.show_consumer(&mut view, name, seen_at);
        }
        let ids: BTreeSet<StreamId> = self.bases.iter().flat_map(Base::ids).collect();
        ids.into_iter().for_each(|id| self.show_pending(&mut view, id));
        let rests = self.rests();
        self.bases.iter_mut().for_each(|base| base.tidy(rests));
        view
    }

    /// An entry arrives. True when it is late for some position.
    pub fn arrive(&mut self, id: StreamId, mark: &Mark<'_>) -> bool {
        // Each of them is to know.
        self.positions_mut().filter_map(|position| position.arrive(id, mark).then_some(())).count() > 0
    }

    /// Entries are gone. True when some may have been late.
    pub fn depart(&mut self, gone: &[Key]) -> bool {
        self.positions_mut().for_each(|position| position.depart(gone));
        self.positions().count() > 1
    }

    /// Only these entries are there still.
    pub fn keep(&mut self, entries: Entries<'_>) {
        self.positions_mut().for_each(|position| position.keep(entries));
    }

    /// Is this entry late? Only where there is one position.
    pub fn is_late(&self, id: StreamId) -> bool {
        self.positions().any(|position| position.late().range((id, None)..).next().is_some_and(|key| key.0 == id))
    }

    /// Drops what is stable. Additions in `settled` are stable now.
    pub fn fold(&mut self, stable: &Frontier, settled: &[(StreamId, Dot)]) {
        self.positions_mut().for_each(|position| position.settle(settled));
        let mut united: Option<Base> = None;
        for base in std::mem::take(&mut self.bases) {
            match &mut united {
                Some(united) if base.is_stable(stable) => united.unite(base),
                None if base.is_stable(stable) => united = Some(base),
                _ => self.bases.push(base),
            }
        }
        self.bases.extend(united);
        let is_only = self.bases.len() == 1;
        self.bases.iter_mut().for_each(|base| base.fold(stable, is_only));
        let rests = self.rests();
        self.bases.iter_mut().for_each(|base| base.tidy(rests));
    }

    /// Is all of it stable?
    pub fn is_resting(&self) -> bool {
        matches!(&self.bases[..], [only] if only.is_resting())
    }

    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        self.bases.iter().map(Base::len).sum::<usize>() * 128
    }
}

/// The view of a group, made anew in its stream.
pub fn show_anew(stream: &mut StreamValue, name: &[u8], causes: &mut GroupCauses) {
    let view = causes.view(stream.group(name));
    stream.put_group(name, view);
}
