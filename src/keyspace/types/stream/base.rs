//! One creation of a group, with everything that was done to it: positions, pending entries, consumers.
//!
//! Of what is not mentioned in the maps, all is stable and as the group in the stream has it: that is so only in the base of a
//! group that has no other, and whose creation is stable (it *rests on the view*).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::position::{self, Position};
use crate::effects::{Dot, Frontier, Stamp, StreamId};
use crate::keyspace::Millis;
use crate::keyspace::causality::{Mark, Seen};
use crate::keyspace::value::{Group, Pending};

/// Who has a pending entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    pub consumer: Arc<[u8]>,
    pub delivered_at: Millis,
    pub deliveries: u64,
}

impl From<&Pending> for Claim {
    fn from(pending: &Pending) -> Claim {
        let Pending { consumer, delivered_at, deliveries } = pending;
        Claim { consumer: consumer.clone(), delivered_at: *delivered_at, deliveries: *deliveries }
    }
}

/// The deliveries and claims of one entry that are pending and that none has replaced.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Claims {
    stable: Option<Claim>,
    /// In the order of their stamps, which are higher than that of the stable one.
    others: Vec<(Dot, Stamp, Claim)>,
}

impl Claims {
    fn resting(view: Option<&Group>, id: StreamId) -> Claims {
        let stable = view.and_then(|view| view.pending().get(&id)).map(Claim::from);
        Claims { stable, others: Vec::new() }
    }

    fn end(&mut self, seen: &Seen<'_>, of: impl Fn(&Claim) -> bool) {
        self.stable.take_if(|claim| seen.stable && of(claim));
        self.others.retain(|(dot, _, claim)| !(seen.removes(*dot) && of(claim)));
    }

    fn insert(&mut self, dot: Dot, stamp: Stamp, claim: Claim) {
        let place = self.others.partition_point(|other| other.1 <= stamp);
        self.others.insert(place, (dot, stamp, claim));
    }

    fn unite(&mut self, other: Claims) {
        self.stable = self.stable.take().or(other.stable);
        for (dot, stamp, claim) in other.others {
            if self.others.iter().all(|mine| mine.0 != dot) {
                self.insert(dot, stamp, claim);
            }
        }
    }

    fn fold(&mut self, stable: &Frontier) {
        // What has the higher stamp is shown for as long as the lower ones are not stable.
        let folds = self.others.iter().take_while(|(dot, ..)| stable.includes(*dot)).count();
        if let Some((_, _, claim)) = self.others.drain(..folds).next_back() {
            self.stable = Some(claim);
        }
    }
}

/// What makes a consumer: each with the time at which it got something.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Presence {
    stable: Option<Option<Millis>>,
    others: Vec<(Dot, Option<Millis>)>,
}

impl Presence {
    fn resting(view: Option<&Group>, name: &[u8]) -> Presence {
        let stable = view.and_then(|view| view.consumer(name)).map(|consumer| consumer.active_at);
        Presence { stable, others: Vec::new() }
    }

    fn end(&mut self, seen: &Seen<'_>, at_most: Option<Millis>) {
        self.stable.take_if(|at| seen.stable && *at <= at_most);
        self.others.retain(|(dot, at)| !(seen.removes(*dot) && *at <= at_most));
    }

    fn unite(&mut self, other: Presence) {
        self.stable = self.stable.max(other.stable);
        for (dot, at) in other.others {
            match self.others.iter_mut().find(|(mine, _)| *mine == dot) {
                Some((_, mine)) => *mine = at.max(*mine),
                None => self.others.push((dot, at)),
            }
        }
    }

    fn fold(&mut self, stable: &Frontier) {
        let rest = &mut self.stable;
        self.others.retain(|(dot, at)| {
            let folds = stable.includes(*dot);
            *rest = (*rest).max(folds.then_some(*at));
            !folds
        });
    }
}

/// See the module's text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Base {
    /// `None`: it is stable.
    dot: Option<Dot>,
    pub positions: Vec<Position>,
    pending: BTreeMap<StreamId, Claims>,
    consumers: BTreeMap<Arc<[u8]>, Presence>,
}

impl Base {
    /// That of a group of which all is stable.
    pub fn resting(group: &Group) -> Base {
        let positions = vec![Position::resting(group)];
        Base { dot: None, positions, pending: BTreeMap::new(), consumers: BTreeMap::new() }
    }

    /// A new one.
    pub fn begin(position: Position, mark: &Mark<'_>) -> Base {
        let positions = vec![position];
        Base { dot: Some(mark.dot), positions, pending: BTreeMap::new(), consumers: BTreeMap::new() }
    }

    /// Had the effect seen it begin? If so, it acts on it.
    pub fn is_seen(&self, seen: &Seen<'_>) -> bool {
        self.dot.map_or(seen.stable, |dot| seen.includes(dot))
    }

    /// Is its creation stable, or will it be with this?
    pub fn is_stable(&self, stable: &Frontier) -> bool {
        self.dot.is_none_or(|dot| stable.includes(dot))
    }

    /// A consumer gets an entry. `view`: what it rests on, here and below.
    pub fn give(&mut self, view: Option<&Group>, id: StreamId, claim: Claim, mark: &Mark<'_>) {
        let claims = self.pending.entry(id).or_insert_with(|| Claims::resting(view, id));
        claims.end(&mark.seen, |_| true);
        claims.insert(mark.dot, mark.stamp, claim);
    }

    /// An entry is pending no longer.
    pub fn acknowledge(&mut self, view: Option<&Group>, id: StreamId, mark: &Mark<'_>) {
        let claims = self.pending.entry(id).or_insert_with(|| Claims::resting(view, id));
        claims.end(&mark.seen, |_| true);
    }

    /// A consumer is there, and got something at that time.
    pub fn touch(&mut self, view: Option<&Group>, name: &Arc<[u8]>, at: Option<Millis>, mark: &Mark<'_>) {
        let presence = self.consumers.entry(name.clone()).or_insert_with(|| Presence::resting(view, name));
        presence.end(&mark.seen, at);
        presence.others.push((mark.dot, at));
    }

    /// Observed-remove of a consumer, and of what is pending for it. Returns the entries that are concerned.
    pub fn remove_consumer(&mut self, view: Option<&Group>, name: &[u8], mark: &Mark<'_>) -> Vec<StreamId> {
        let presence = self.consumers.entry(name.into()).or_insert_with(|| Presence::resting(view, name));
        presence.end(&mark.seen, Some(Millis::MAX));
        let resting = view.and_then(|view| view.consumer(name)).filter(|_| mark.seen.stable);
        for &id in resting.iter().flat_map(|consumer| consumer.pending()) {
            self.pending.entry(id).or_insert_with(|| Claims::resting(view, id));
        }
        for claims in self.pending.values_mut() {
            claims.end(&mark.seen, |claim| *claim.consumer == *name);
        }
        self.pending.keys().copied().collect()
    }

    /// The claim with the highest stamp of an entry that is mentioned here.
    pub fn claim(&self, id: StreamId) -> Option<(Stamp, &Claim)> {
        let claims = self.pending.get(&id)?;
        let stable = claims.stable.as_ref().map(|claim| (Stamp::default(), claim));
        claims.others.last().map(|(_, stamp, claim)| (*stamp, claim)).or(stable)
    }

    /// A consumer that is mentioned here: when it last got something, if it is there.
    pub fn presence(&self, name: &[u8]) -> Option<Option<Millis>> {
        let presence = self.consumers.get(name)?;
        presence.others.iter().map(|(_, at)| *at).max().max(presence.stable)
    }

    /// The pending entries that are mentioned here.
    pub fn ids(&self) -> impl Iterator<Item = StreamId> {
        self.pending.keys().copied()
    }

    /// The consumers that are mentioned here.
    pub fn names(&self) -> impl Iterator<Item = &Arc<[u8]>> {
        self.consumers.keys()
    }

    /// Is this entry mentioned here?
    pub fn mentions(&self, id: StreamId) -> bool {
        self.pending.contains_key(&id)
    }

    /// Is this consumer mentioned here?
    pub fn names_one(&self, name: &[u8]) -> bool {
        self.consumers.contains_key(name)
    }

    /// Mentions all that it rests on.
    pub fn spell_out(&mut self, view: &Group) {
        for &id in view.pending().keys() {
            self.pending.entry(id).or_insert_with(|| Claims::resting(Some(view), id));
        }
        for name in view.consumers().keys() {
            self.consumers.entry(name.clone()).or_insert_with(|| Presence::resting(Some(view), name));
        }
    }

    /// Two bases that are both stable become one.
    pub fn unite(&mut self, other: Base) {
        self.positions.extend(other.positions);
        position::dedup(&mut self.positions);
        for (id, claims) in other.pending {
            self.pending.entry(id).or_default().unite(claims);
        }
        for (name, presence) in other.consumers {
            self.consumers.entry(name).or_default().unite(presence);
        }
    }

    /// Drops what is stable. Stamps of pending entries still count where there are other bases.
    pub fn fold(&mut self, stable: &Frontier, is_only: bool) {
        self.dot = self.dot.filter(|dot| !stable.includes(*dot));
        position::fold(&mut self.positions, stable);
        if is_only {
            self.pending.values_mut().for_each(|claims| claims.fold(stable));
        }
        self.consumers.values_mut().for_each(|presence| presence.fold(stable));
    }

    /// Mentions only what is not stable, if it rests on the view; else only what is there.
    pub fn tidy(&mut self, rests: bool) {
        self.pending.retain(|_, claims| !claims.others.is_empty() || (!rests && claims.stable.is_some()));
        self.consumers.retain(|_, presence| !presence.others.is_empty() || (!rests && presence.stable.is_some()));
    }

    /// Can it rest on a view, if it is the only one?
    pub fn can_rest(&self) -> bool {
        self.dot.is_none()
    }

    /// Is all of it stable?
    pub fn is_resting(&self) -> bool {
        let positions = matches!(&self.positions[..], [only] if only.is_resting());
        self.dot.is_none() && positions && self.pending.is_empty() && self.consumers.is_empty()
    }

    /// How much is kept.
    pub fn len(&self) -> usize {
        let positions: usize = self.positions.iter().map(Position::len).sum();
        1 + positions + self.pending.len() + self.consumers.len()
    }
}
