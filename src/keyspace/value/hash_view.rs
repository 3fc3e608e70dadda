//! A hash as clients see it at some time: without the fields that have ended and are still to be removed.
//!
//! As long as no field has ended, which is nearly always, it costs nothing to look through this.

use std::ops::Range;

use super::Element;
use super::deadlines::Deadlines;
use super::hash::{Fields, HashValue};
use crate::keyspace::Millis;

/// See the module's text.
#[derive(Clone, Copy, Debug)]
pub struct HashView<'a> {
    hash: &'a HashValue,
    /// Only when some field has ended.
    ended: Option<(&'a Deadlines, Millis)>,
    deadlines: Option<&'a Deadlines>,
}

impl<'a> HashView<'a> {
    /// A hash with its deadlines at this time.
    #[inline]
    pub fn new(hash: &'a HashValue, deadlines: Option<&'a Deadlines>, now: Millis) -> HashView<'a> {
        let has_ended = |deadlines: &&Deadlines| deadlines.earliest().is_some_and(|earliest| earliest <= now);
        HashView { hash, ended: deadlines.filter(has_ended).map(|deadlines| (deadlines, now)), deadlines }
    }

    /// How many fields.
    pub fn len(&self) -> usize {
        self.hash.len() - self.ended.map_or(0, |(deadlines, now)| deadlines.ended(now).count())
    }

    /// No field is left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A field's value.
    #[inline]
    pub fn get(&self, field: &[u8]) -> Option<Element<'a>> {
        match self.ended {
            Some((_, now)) if self.hash.deadline(field).is_some_and(|deadline| deadline <= now) => None,
            _ => self.hash.get(field),
        }
    }

    /// Until when a field lives: `None` without such a field, `Some(None)` for ever.
    pub fn deadline(&self, field: &[u8]) -> Option<Option<Millis>> {
        self.get(field)?;
        Some(self.deadlines.and_then(|_| self.hash.deadline(field)))
    }

    /// All fields with their values.
    pub fn iter(&self) -> LiveFields<'a> {
        self.range(0..self.hash.len())
    }

    /// All fields with their values and deadlines.
    pub fn iter_with_deadlines(&self) -> impl Iterator<Item = (Element<'a>, Element<'a>, Option<Millis>)> + use<'a> {
        self.range_with_deadlines(0..self.hash.len())
    }

    /// Those at these positions. The range must lie within the positions.
    pub fn range_with_deadlines(
        &self,
        positions: Range<usize>,
    ) -> impl Iterator<Item = (Element<'a>, Element<'a>, Option<Millis>)> + use<'a> {
        let deadlines = self.deadlines;
        let mut fields = self.range(positions);
        std::iter::from_fn(move || {
            let (position, (field, value)) = fields.next_with_position()?;
            Some((field, value, deadlines.and_then(|deadlines| deadlines.of(position))))
        })
    }

    /// How many positions there are for a scan to walk: see [`HashValue::is_scanned_whole`].
    pub fn positions(&self) -> usize {
        self.hash.len()
    }

    /// Does a scan take all fields at once?
    pub fn is_scanned_whole(&self) -> bool {
        self.hash.is_scanned_whole()
    }

    /// The fields at these positions that are still there. The range must lie within the positions.
    pub fn range(&self, positions: Range<usize>) -> LiveFields<'a> {
        LiveFields { position: positions.start, fields: self.hash.range(positions), ended: self.ended }
    }

    /// The fields by number, for random picks.
    pub fn numbered(&self) -> NumberedFields<'a> {
        let live = self.ended.map(|(deadlines, now)| {
            let is_live = |&position: &usize| deadlines.of(position).is_none_or(|deadline| deadline > now);
            (0..self.hash.len()).filter(is_live).collect()
        });
        NumberedFields { hash: self.hash, live }
    }
}

/// Fields that have not ended, with their values.
#[derive(Clone, Debug)]
pub struct LiveFields<'a> {
    fields: Fields<'a>,
    /// Of the next field.
    position: usize,
    ended: Option<(&'a Deadlines, Millis)>,
}

impl<'a> LiveFields<'a> {
    fn next_with_position(&mut self) -> Option<(usize, (Element<'a>, Element<'a>))> {
        loop {
            let pair = self.fields.next()?;
            let position = self.position;
            self.position += 1;
            let has_ended = self
                .ended
                .is_some_and(|(deadlines, now)| deadlines.of(position).is_some_and(|deadline| deadline <= now));
            if !has_ended {
                return Some((position, pair));
            }
        }
    }
}

impl<'a> Iterator for LiveFields<'a> {
    type Item = (Element<'a>, Element<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.next_with_position().map(|(_, pair)| pair)
    }
}

/// The fields that have not ended, numbered from 0.
#[derive(Clone, Debug)]
pub struct NumberedFields<'a> {
    hash: &'a HashValue,
    /// Their positions, when some field has ended.
    live: Option<Vec<usize>>,
}

impl<'a> NumberedFields<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.live.as_ref().map_or(self.hash.len(), Vec::len)
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The field of a number below their number, with its value.
    pub fn get(&self, number: usize) -> Option<(Element<'a>, Element<'a>)> {
        match &self.live {
            None => self.hash.at(number),
            Some(live) => self.hash.at(*live.get(number)?),
        }
    }
}
