//! The entries of a stream, and what is counted about it: contributions of additions and of what else makes a stream.
//!
//! A *contribution* is an XADD, an XSETID or an XGROUP CREATE. The stream is there while one of them survives, and only what
//! removes the key ends them wholly. Each has up to four parts, which end for themselves:
//!
//! - the entry, until an XDEL, XTRIM or XADD of the same id that has seen it;
//! - the highest id, until an XSETID that has seen it: the stream's is the highest of all;
//! - what it adds to the number of entries ever added, until an XSETID with such a number that has seen it: the stream's is
//!   the sum;
//! - the highest id deleted by the XDELs that have seen the contribution, until an XSETID with such an id that has seen it.
//!
//! All that is stable is one contribution, the [`Totals`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::effects::{Dot, Elements, Frontier, Stamp, StreamId};
use crate::keyspace::causality::{Mark, Seen};
use crate::keyspace::value::StreamValue;

/// The addition of an entry: its id, and the dot of the effect unless that is stable.
pub type Key = (StreamId, Option<Dot>);

/// What a contribution, or all that is stable, adds to what is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Totals {
    last: Option<StreamId>,
    added: u64,
    deleted: Option<StreamId>,
}

impl Totals {
    fn of(stream: &StreamValue) -> Totals {
        Totals { last: Some(stream.last_id), added: stream.entries_added, deleted: Some(stream.max_deleted_id) }
    }

    fn add(&mut self, other: &Totals) {
        self.last = self.last.max(other.last);
        self.added = self.added.saturating_add(other.added);
        self.deleted = self.deleted.max(other.deleted);
    }

    fn raise_deleted(&mut self, id: StreamId) {
        self.deleted = self.deleted.map(|deleted| deleted.max(id));
    }

    /// An XSETID has seen it.
    fn give_way(&mut self, added: bool, deleted: bool) {
        self.last = None;
        if added {
            self.added = 0;
        }
        if deleted {
            self.deleted = None;
        }
    }
}

/// The entry that an addition made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Content {
    /// It was removed.
    Gone,
    /// It is the one that lies in the stream.
    Shown,
    /// An addition of the same id with a higher stamp hides it.
    Hidden(Vec<ByteBuf>),
}

/// An XADD.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Addition {
    /// `None`: it is stable, and what it counts is in the totals.
    made: Option<(Dot, Stamp)>,
    content: Content,
    totals: Totals,
}

impl Addition {
    fn stamp(&self) -> Option<Stamp> {
        self.made.map(|made| made.1)
    }

    fn dot(&self) -> Option<Dot> {
        self.made.map(|made| made.0)
    }

    fn is_there(&self) -> bool {
        self.content != Content::Gone
    }
}

/// Had the effect seen this addition?
fn includes(seen: &Seen<'_>, dot: Option<Dot>) -> bool {
    dot.map_or(seen.stable, |dot| seen.includes(dot))
}

/// An XSETID or XGROUP CREATE.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Other {
    dot: Dot,
    stamp: Stamp,
    totals: Totals,
}

/// See the module's text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// `None`: nothing stable makes the stream.
    stable: Option<Totals>,
    /// Of an id that is not here, the entry that is there is stable.
    additions: BTreeMap<StreamId, Vec<Addition>>,
    others: Vec<Other>,
}

impl Record {
    /// Where all is stable.
    pub fn resting(stream: Option<&StreamValue>) -> Record {
        Record { stable: stream.map(Totals::of), additions: BTreeMap::new(), others: Vec::new() }
    }

    /// Notes an XADD that has seen everything, before it is applied.
    pub fn note_add(&mut self, id: StreamId, mark: &Mark<'_>) {
        if let Some(additions) = self.additions.get_mut(&id) {
            additions.iter_mut().for_each(|addition| addition.content = Content::Gone);
            additions.retain(|addition| addition.made.is_some());
        }
        self.additions.entry(id).or_default().push(Addition::new(id, Content::Shown, mark));
    }

    /// Merges an XADD. Returns the additions that it ends.
    pub fn add(&mut self, stream: &mut StreamValue, id: StreamId, entry: Elements<'_>, mark: &Mark<'_>) -> Vec<Key> {
        let additions = self.additions.entry(id).or_insert_with(|| resting(stream, id));
        let ended = end(stream, id, additions, &mark.seen);
        let place = additions.partition_point(|addition| addition.stamp() <= Some(mark.stamp));
        let content = Content::Hidden(entry.iter().map(ByteBuf::from).collect());
        additions.insert(place, Addition::new(id, content, mark));
        show(stream, id, additions);
        stream.last_id = stream.last_id.max(id);
        stream.entries_added = stream.entries_added.saturating_add(1);
        ended
    }

    /// Merges an XDEL. Returns the additions that it ends.
    pub fn remove(
        &mut self,
        stream: &mut StreamValue,
        ids: impl Iterator<Item = StreamId>,
        mark: &Mark<'_>,
    ) -> Vec<Key> {
        let mut ended = Vec::new();
        let mut highest = StreamId::MIN;
        for id in ids {
            highest = highest.max(id);
            match self.additions.get_mut(&id) {
                Some(additions) => {
                    ended.append(&mut end(stream, id, additions, &mark.seen));
                    show(stream, id, additions);
                }
                None => ended.extend((mark.seen.stable && stream.remove(id)).then_some((id, None))),
            }
        }
        let mut raised = false;
        self.each_seen(&mark.seen, |totals| {
            raised |= totals.deleted.is_some();
            totals.raise_deleted(highest);
        });
        if raised {
            stream.max_deleted_id = stream.max_deleted_id.max(highest);
        }
        ended
    }

    /// Merges an XTRIM.
    pub fn trim(&mut self, stream: &mut StreamValue, below: StreamId, mark: &Mark<'_>) {
        for (&id, additions) in self.additions.range_mut(..below) {
            end(stream, id, additions, &mark.seen);
            show(stream, id, additions);
        }
        if mark.seen.stable {
            // What is left below has not been seen.
            let left: Vec<_> = self.additions.range(..below).filter_map(|(id, _)| copy(stream, *id)).collect();
            stream.remove_below(below);
            for (id, content) in left {
                insert(stream, id, &content);
            }
        }
    }

    /// Merges an XSETID.
    pub fn set_id(
        &mut self,
        stream: &mut StreamValue,
        (last, added, deleted): (StreamId, Option<u64>, Option<StreamId>),
        mark: &Mark<'_>,
    ) {
        self.each_seen(&mark.seen, |totals| totals.give_way(added.is_some(), deleted.is_some()));
        let deleted = deleted.unwrap_or_default();
        let totals = Totals { last: Some(last), added: added.unwrap_or(0), deleted: Some(deleted) };
        self.others.push(Other { dot: mark.dot, stamp: mark.stamp, totals });
        self.count(stream);
    }

    /// Notes an XGROUP CREATE: there is a stream now, if there was none.
    pub fn create(&mut self, mark: &Mark<'_>) {
        let totals = Totals { deleted: Some(StreamId::MIN), ..Totals::default() };
        self.others.push(Other { dot: mark.dot, stamp: mark.stamp, totals });
    }

    /// Observed-remove of all. False when no stream is left.
    pub fn remove_all(&mut self, stream: &mut StreamValue, seen: &Seen<'_>) -> bool {
        for (&id, additions) in &mut self.additions {
            end(stream, id, additions, seen);
            additions
                .retain(|addition| addition.made.is_some_and(|(dot, _)| !seen.removes(dot)) || addition.is_there());
            show(stream, id, additions);
        }
        if seen.stable {
            self.stable = None;
            let left: Vec<_> = self.additions.keys().filter_map(|id| copy(stream, *id)).collect();
            stream.remove_below(StreamId::MAX);
            stream.remove(StreamId::MAX);
            for (id, content) in left {
                insert(stream, id, &content);
            }
        }
        self.additions.retain(|_, additions| !additions.is_empty());
        self.others.retain(|other| !seen.removes(other.dot));
        self.count(stream);
        self.is_there()
    }

    /// Does something make the stream?
    fn is_there(&self) -> bool {
        let is_made = |addition: &Addition| addition.made.is_some();
        self.stable.is_some() || !self.others.is_empty() || self.additions.values().flatten().any(is_made)
    }

    fn each_seen(&mut self, seen: &Seen<'_>, mut each: impl FnMut(&mut Totals)) {
        if let Some(stable) = self.stable.as_mut().filter(|_| seen.stable) {
            each(stable);
        }
        for addition in self.additions.values_mut().flatten() {
            if addition.dot().is_some_and(|dot| seen.includes(dot)) {
                each(&mut addition.totals);
            }
        }
        self.others.iter_mut().filter(|other| seen.includes(other.dot)).for_each(|other| each(&mut other.totals));
    }

    fn count(&self, stream: &mut StreamValue) {
        let mut sum = self.stable.unwrap_or_default();
        self.additions.values().flatten().for_each(|addition| sum.add(&addition.totals));
        self.others.iter().for_each(|other| sum.add(&other.totals));
        stream.last_id = sum.last.unwrap_or_default();
        stream.entries_added = sum.added;
        stream.max_deleted_id = sum.deleted.unwrap_or_default();
    }

    /// Drops what is stable. Returns the additions that are stable now. Several of one id become one only if they `may`.
    pub fn fold(&mut self, stable: &Frontier, may_unite: bool) -> Vec<(StreamId, Dot)> {
        let mut settled = Vec::new();
        let mut sum: Option<Totals> = None;
        let is_stable = |dot: Option<Dot>| dot.is_none_or(|dot| stable.includes(dot));
        self.others.retain(|other| {
            let folds = stable.includes(other.dot);
            if folds {
                sum.get_or_insert_default().add(&other.totals);
            }
            !folds
        });
        self.additions.retain(|&id, additions| {
            for addition in &mut *additions {
                if addition.made.is_some() && is_stable(addition.dot()) {
                    sum.get_or_insert_default().add(&std::mem::take(&mut addition.totals));
                }
            }
            additions.retain(|addition| addition.is_there() || !is_stable(addition.dot()));
            // What has the higher stamp hides the lower ones for as long as those are not stable.
            let mut there = additions.iter().filter(|addition| addition.is_there());
            let count = there.by_ref().take_while(|addition| is_stable(addition.dot())).count();
            if count == 1 || (count > 1 && may_unite) {
                let mut left = count;
                additions.retain_mut(|addition| {
                    if left == 0 || !addition.is_there() {
                        return true;
                    }
                    left -= 1;
                    settled.extend(addition.dot().map(|dot| (id, dot)));
                    addition.made = None;
                    left == 0
                });
                // The stable one comes before those that only count.
                additions.sort_by_key(Addition::stamp);
            }
            !matches!(&additions[..], [] | [Addition { made: None, content: Content::Shown, .. }])
        });
        if let Some(sum) = sum {
            self.stable.get_or_insert_default().add(&sum);
        }
        settled
    }

    /// Is all of it stable?
    pub fn is_resting(&self) -> bool {
        self.additions.is_empty() && self.others.is_empty()
    }

    /// The highest stamp of a contribution.
    pub fn stamp(&self) -> Option<Stamp> {
        let additions = self.additions.values().flatten().filter_map(Addition::stamp);
        additions.chain(self.others.iter().map(|other| other.stamp)).max()
    }

    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        (self.additions.len() + self.others.len()) * (size_of::<Addition>() + 64)
    }

    /// The additions that are there and not stable, from one id to another; or beside which others of their id are.
    fn known(&self, from: StreamId, to: StreamId) -> impl Iterator<Item = Key> {
        let range = (from <= to).then(|| self.additions.range(from..=to)).into_iter().flatten();
        range.flat_map(|(&id, additions)| {
            additions.iter().filter(|addition| addition.is_there()).map(move |addition| (id, addition.dot()))
        })
    }
}

impl Addition {
    fn new(id: StreamId, content: Content, mark: &Mark<'_>) -> Addition {
        let totals = Totals { last: Some(id), added: 1, deleted: Some(StreamId::MIN) };
        Addition { made: Some((mark.dot, mark.stamp)), content, totals }
    }
}

/// The additions of an id of which nothing was known: an entry that is there is stable.
fn resting(stream: &StreamValue, id: StreamId) -> Vec<Addition> {
    let is_there = stream.get(id).is_some();
    let stable = || Addition { made: None, content: Content::Shown, totals: Totals::default() };
    is_there.then(stable).into_iter().collect()
}

/// Ends the entries that were seen. Returns which.
fn end(stream: &mut StreamValue, id: StreamId, additions: &mut Vec<Addition>, seen: &Seen<'_>) -> Vec<Key> {
    let mut ended = Vec::new();
    for addition in additions.iter_mut() {
        if addition.is_there() && includes(seen, addition.dot()) {
            if addition.content == Content::Shown {
                stream.remove(id);
            }
            addition.content = Content::Gone;
            ended.push((id, addition.dot()));
        }
    }
    additions.retain(|addition| addition.made.is_some() || addition.is_there());
    ended
}

/// Lets the stream have the entry with the highest stamp.
fn show(stream: &mut StreamValue, id: StreamId, additions: &mut [Addition]) {
    let Some(highest) = additions.iter().rposition(Addition::is_there) else { return };
    if additions[highest].content == Content::Shown {
        return;
    }
    if let Some(shown) = additions.iter_mut().find(|addition| addition.content == Content::Shown) {
        shown.content = Content::Hidden(copy(stream, id).map(|(_, content)| content).unwrap_or_default());
        stream.remove(id);
    }
    if let Content::Hidden(content) = std::mem::replace(&mut additions[highest].content, Content::Shown) {
        insert(stream, id, &content);
    }
}

fn copy(stream: &StreamValue, id: StreamId) -> Option<(StreamId, Vec<ByteBuf>)> {
    stream.get(id).map(|entry| (id, entry.fields.map(|element| ByteBuf::from(&*element)).collect()))
}

/// Puts an entry in. What is none (from a snapshot) is passed over.
pub fn insert(stream: &mut StreamValue, id: StreamId, content: &[ByteBuf]) {
    if id > StreamId::MIN && !content.is_empty() && content.len().is_multiple_of(2) {
        stream.insert(id, content.iter().map(|element| element.as_slice()));
    }
}

/// The entries that are there, by the additions that made them.
#[derive(Clone, Copy)]
pub struct Entries<'a> {
    pub record: Option<&'a Record>,
    pub stream: &'a StreamValue,
}

impl Entries<'_> {
    /// The additions from one id to another of which something is known.
    pub fn known(&self, from: StreamId, to: StreamId) -> impl Iterator<Item = Key> {
        self.record.into_iter().flat_map(move |record| record.known(from, to))
    }

    /// The other ones: they are stable.
    pub fn stable(&self, from: StreamId, to: StreamId) -> impl Iterator<Item = StreamId> {
        let is_known = |id: &StreamId| self.record.is_some_and(|record| record.additions.contains_key(id));
        self.stream.range(from, to).map(|entry| entry.id).filter(move |id| !is_known(id))
    }

    /// All additions from one id to another.
    pub fn all(&self, from: StreamId, to: StreamId) -> impl Iterator<Item = Key> {
        self.known(from, to).chain(self.stable(from, to).map(|id| (id, None)))
    }

    /// Is the entry that this addition made there?
    pub fn has(&self, key: Key) -> bool {
        self.all(key.0, key.0).any(|other| other == key)
    }
}
