//! A sorted set: members in the order of their scores, those of equal scores in the order of their bytes.
//!
//! Small: one packed buffer of pairs in order. Large: a table of members with their scores, and an ordered structure of
//! their positions in the table, so that each member's bytes are kept once.

use std::cmp::Ordering;
use std::ops::{Bound, Range};

use super::compact::{Compact, Wanted};
use super::encoded::{Encoded, Stored};
use super::ordered::{Item, Items, Ordered};
use super::packed::{Entries, Packed, Place};
use super::table::{Record, Table};
use super::{Element, Limits, allocation};

/// Scores that are whole numbers up to this one, and all numbers below it, are kept as integers: an `f64` has 53 bits.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Distinct members with scores. A score is never NaN; the two zeros are equal, but each comes back as it was given.
#[derive(Clone, Debug)]
pub struct SortedSetValue {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Small(Packed),
    Large(Box<Large>),
}

#[derive(Clone, Debug)]
struct Large {
    members: Table<Scored>,
    order: Ordered,
}

#[derive(Clone, Debug)]
struct Scored {
    member: Compact,
    score: f64,
}

impl Record for Scored {
    fn key(&self) -> Element<'_> {
        self.member.element()
    }

    fn memory(&self) -> usize {
        self.member.memory()
    }

    fn first_byte(&self) -> u8 {
        self.member.first_byte()
    }
}

fn compare(one: f64, other: f64) -> Ordering {
    one.partial_cmp(&other).expect("a score is a number")
}

/// Writes a score: a whole number as an integer, any other as its eight bytes.
fn encode_score<'a>(score: f64, bytes: &'a mut [u8; 8]) -> Encoded<'a> {
    let is_negative_zero = score == 0.0 && score.is_sign_negative();
    if score.abs() <= EXACT && score.trunc() == score && !is_negative_zero {
        return Encoded::from(score as i64);
    }
    *bytes = score.to_le_bytes();
    Encoded::from_bytes(bytes)
}

fn decode_score(stored: Stored<'_>) -> f64 {
    match stored {
        Stored::Integer(number) => number as f64,
        Stored::Bytes(bytes) => f64::from_le_bytes(bytes.try_into().expect("a score has eight bytes")),
    }
}

/// How many pairs of a small form come first for which `is_before` holds.
fn count_pairs(packed: &Packed, is_before: impl Fn(Stored<'_>, f64) -> bool) -> usize {
    let mut entries = packed.iter();
    let pairs = std::iter::from_fn(|| Some((entries.next()?, decode_score(entries.next()?))));
    pairs.take_while(|&(member, score)| is_before(member, score)).count()
}

fn find_pair(packed: &Packed, member: &[u8]) -> Option<Place> {
    packed.find::<2>(&Encoded::from(member))
}

fn insert_pair(packed: &mut Packed, member: &[u8], score: f64) {
    let rank = count_pairs(packed, |other, its_score| match compare(its_score, score) {
        Ordering::Equal => *Element::from(other) < *member,
        order => order == Ordering::Less,
    });
    let place = packed.seek(2 * rank);
    packed.insert(place, &encode_score(score, &mut [0; 8]));
    packed.insert(place, &Encoded::from(member));
}

impl Large {
    fn find(&self, member: &[u8]) -> Option<usize> {
        let wanted = Wanted::from(member);
        self.members.find(member, |scored| scored.member.is(&wanted))
    }

    /// How many members are in front of where this one is or would be.
    fn rank(&self, member: &[u8], score: f64) -> usize {
        self.order.count_before(comes_before(&self.members, member, score))
    }

    /// The rank of the member at a position, which often is at one of the ends: the lowest is taken, the latest came last.
    fn rank_at(&self, position: usize) -> usize {
        let scored = self.members.at(position);
        self.order.rank_at_end(position).unwrap_or_else(|| self.rank(&scored.key(), scored.score))
    }

    /// Adds a member that is not there.
    fn push(&mut self, member: &[u8], score: f64) {
        self.order.insert(Item::new(score, self.members.len()), comes_before(&self.members, member, score));
        self.members.push(Scored { member: Wanted::from(member).into(), score });
    }

    fn change(&mut self, member: &[u8], position: usize, score: f64) -> f64 {
        let former = self.members.at(position).score;
        if former != score {
            let item = self.order.remove(position, comes_before(&self.members, member, former));
            assert_eq!(item.position(), position, "a member is in the order under its score");
            self.order.insert(Item::new(score, position), comes_before(&self.members, member, score));
        }
        self.members.update(position, |scored| scored.score = score);
        former
    }

    fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let wanted = Wanted::from(member);
        let (hash, position) = self.members.find_with_hash(member, |scored| scored.member.is(&wanted))?;
        let score = self.members.at(position).score;
        let item = self.order.remove(position, comes_before(&self.members, member, score));
        assert_eq!(item.position(), position, "a member is in the order under its score");
        let last = self.members.len() - 1;
        if position != last {
            let moved = self.members.at(last);
            self.order.set_position(last, position, comes_before(&self.members, &moved.key(), moved.score));
        }
        Some(self.members.swap_remove_hashed(position, hash).score)
    }
}

/// Which items come before the one of this member under this score?
fn comes_before(members: &Table<Scored>, member: &[u8], score: f64) -> impl Fn(Item) -> bool {
    move |item| match compare(item.score(), score) {
        Ordering::Equal => *members.at(item.position()).key() < *member,
        order => order == Ordering::Less,
    }
}

impl Default for SortedSetValue {
    fn default() -> SortedSetValue {
        SortedSetValue::new()
    }
}

impl SortedSetValue {
    /// An empty sorted set.
    pub fn new() -> SortedSetValue {
        SortedSetValue { form: Form::Small(Packed::default()) }
    }

    /// Where in the large form a key most likely is.
    pub fn candidate(&self, key: &[u8]) -> Option<usize> {
        if let Form::Large(large) = &self.form { large.members.candidate(key) } else { None }
    }

    /// The first byte of the element at a position that `candidate` named.
    pub fn first_byte(&self, position: usize) -> u8 {
        if let Form::Large(large) = &self.form { large.members.at(position).first_byte() } else { 0 }
    }

    /// Where in the large form the member of this rank is.
    pub fn position(&self, rank: usize) -> Option<usize> {
        if let Form::Large(large) = &self.form { Some(large.order.get(rank)?.position()) } else { None }
    }

    /// Reads what the removal of the member at a position of the large form will read.
    pub fn warm_removal(&self, position: usize) -> usize {
        let Form::Large(large) = &self.form else { return 0 };
        large.members.warm_removal(position) ^ large.rank_at(position)
    }

    /// How many members.
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Small(packed) => packed.len() / 2,
            Form::Large(large) => large.members.len(),
        }
    }

    /// No member left: the key is to go.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A member's score.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.form {
            Form::Small(packed) => find_pair(packed, member).map(|place| decode_score(packed.at(packed.next(place)))),
            Form::Large(large) => large.find(member).map(|position| large.members.at(position).score),
        }
    }

    /// Adds a member or changes its score; returns the former score. The score must not be NaN.
    pub fn insert(&mut self, member: &[u8], score: f64) -> Option<f64> {
        self.insert_within(&Limits::current(), member, score)
    }

    /// As [`SortedSetValue::insert`], with other limits of the small form.
    pub fn insert_within(&mut self, limits: &Limits, member: &[u8], score: f64) -> Option<f64> {
        assert!(!score.is_nan(), "a score is a number");
        if let Form::Small(packed) = &mut self.form {
            if let Some(place) = find_pair(packed, member) {
                let score_place = packed.next(place);
                let former = decode_score(packed.at(score_place));
                if former == score {
                    packed.replace(score_place, &encode_score(score, &mut [0; 8]));
                } else {
                    packed.remove(place, 2);
                    insert_pair(packed, member, score);
                }
                return Some(former);
            }
            let (members, bytes) = (packed.len() / 2 + 1, member.len());
            if members <= limits.sorted_set_members && bytes <= limits.sorted_set_bytes && packed.is_safe_to_add(bytes)
            {
                insert_pair(packed, member, score);
                return None;
            }
        }
        let large = self.grow();
        match large.find(member) {
            Some(position) => Some(large.change(member, position, score)),
            None => {
                large.push(member, score);
                None
            }
        }
    }

    /// The large form.
    fn grow(&mut self) -> &mut Large {
        if let Form::Small(packed) = &self.form {
            let mut large = Large { members: Table::new(), order: Ordered::new() };
            for (member, score) in Members(Walk::Small(packed.iter())) {
                large.push(&member, score);
            }
            self.form = Form::Large(Box::new(large));
        }
        match &mut self.form {
            Form::Large(large) => large,
            Form::Small(_) => unreachable!("it has just grown"),
        }
    }

    /// Removes a member; returns its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match &mut self.form {
            Form::Small(packed) => {
                let place = find_pair(packed, member)?;
                let score = decode_score(packed.at(packed.next(place)));
                packed.remove(place, 2);
                Some(score)
            }
            Form::Large(large) => large.remove(member),
        }
    }

    /// How many members are in front of this one.
    pub fn rank(&self, member: &[u8]) -> Option<usize> {
        match &self.form {
            Form::Small(packed) => find_pair(packed, member).map(|place| place.index() / 2),
            Form::Large(large) => {
                let position = large.find(member)?;
                Some(large.rank(member, large.members.at(position).score))
            }
        }
    }

    /// The member of this rank, with its score.
    pub fn at(&self, rank: usize) -> Option<(Element<'_>, f64)> {
        match &self.form {
            Form::Small(_) => (rank < self.len()).then(|| self.range(rank..rank + 1).next())?,
            Form::Large(large) => large.order.get(rank).map(|item| scored(&large.members, item.position())),
        }
    }

    /// The members of these ranks, in order; in reverse order with `rev()`. The range must lie within the length.
    pub fn range(&self, ranks: Range<usize>) -> Members<'_> {
        Members(match &self.form {
            Form::Small(packed) => {
                let start = packed.seek(2 * ranks.start);
                let end = if ranks.len() == 1 { packed.next(packed.next(start)) } else { packed.seek(2 * ranks.end) };
                Walk::Small(packed.range(start, end))
            }
            Form::Large(large) => Walk::Large(large.order.range(ranks), &large.members),
        })
    }

    /// The members from a rank on.
    pub fn iter_from(&self, rank: usize) -> Members<'_> {
        self.range(rank..self.len())
    }

    /// How many members come before a range that begins with this score: those of lower scores, and those of this
    /// score where it is excluded. Where a range ends with a score, the same with `exclusive` turned around.
    pub fn before_score(&self, score: f64, exclusive: bool) -> usize {
        let is_before = |other: f64| other < score || exclusive && other == score;
        match &self.form {
            Form::Small(packed) => count_pairs(packed, |_, other| is_before(other)),
            Form::Large(large) => large.order.count_before(|item| is_before(item.score())),
        }
    }

    /// How many members come before a range that begins with this bound, when all have the same score. Where a range
    /// ends with a bound, the same with included and excluded exchanged.
    pub fn before_lex(&self, bound: Bound<&[u8]>) -> usize {
        let is_before = |other: &[u8]| match bound {
            Bound::Included(member) => *other < *member,
            Bound::Excluded(member) => *other <= *member,
            Bound::Unbounded => false,
        };
        match &self.form {
            Form::Small(packed) => count_pairs(packed, |member, _| is_before(&Element::from(member))),
            Form::Large(large) => large.order.count_before(|item| is_before(&large.members.at(item.position()).key())),
        }
    }

    /// Does a scan take all members at once? Otherwise it walks positions, see [`SortedSetValue::positions`].
    pub fn is_scanned_whole(&self) -> bool {
        matches!(self.form, Form::Small(_))
    }

    /// The members at these positions below the length, in no order that means anything. Positions are stable but for
    /// removals, which move the last member into the gap: a scan from the end towards 0 misses nothing that stays,
    /// whatever happens to the scores, unless [`SortedSetValue::is_scanned_whole`].
    pub fn positions(&self, positions: Range<usize>) -> Members<'_> {
        match &self.form {
            Form::Small(_) => self.range(positions),
            Form::Large(large) => Members(Walk::Positions(positions, &large.members)),
        }
    }

    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        match &self.form {
            Form::Small(packed) => packed.memory(),
            Form::Large(large) => allocation(size_of::<Large>()) + large.members.memory() + large.order.memory(),
        }
    }

    /// What `OBJECT ENCODING` calls it.
    pub fn encoding(&self) -> &'static str {
        match &self.form {
            Form::Small(_) => "listpack",
            Form::Large(_) => "skiplist",
        }
    }
}

/// Members with their scores.
#[derive(Clone, Debug)]
pub struct Members<'a>(Walk<'a>);

#[derive(Clone, Debug)]
enum Walk<'a> {
    Small(Entries<'a>),
    Large(Items<'a>, &'a Table<Scored>),
    Positions(Range<usize>, &'a Table<Scored>),
}

fn scored(members: &Table<Scored>, position: usize) -> (Element<'_>, f64) {
    let scored = members.at(position);
    (scored.key(), scored.score)
}

impl<'a> Iterator for Members<'a> {
    type Item = (Element<'a>, f64);

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Walk::Small(entries) => Some((entries.next()?.into(), decode_score(entries.next()?))),
            Walk::Large(items, members) => Some(scored(members, items.next()?.position())),
            Walk::Positions(positions, members) => Some(scored(members, positions.next()?)),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let length = match &self.0 {
            Walk::Small(entries) => entries.len() / 2,
            Walk::Large(items, _) => items.len(),
            Walk::Positions(positions, _) => positions.len(),
        };
        (length, Some(length))
    }
}

impl DoubleEndedIterator for Members<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Walk::Small(entries) => {
                let score = decode_score(entries.next_back()?);
                Some((entries.next_back()?.into(), score))
            }
            Walk::Large(items, members) => Some(scored(members, items.next_back()?.position())),
            Walk::Positions(positions, members) => Some(scored(members, positions.next_back()?)),
        }
    }
}

impl ExactSizeIterator for Members<'_> {}

#[cfg(test)]
mod tests {
    use super::super::testing::random_element;
    use super::*;

    /// Members in order, with scores: what a sorted set is.
    #[derive(Default)]
    struct Model(Vec<(Vec<u8>, f64)>);

    impl Model {
        fn remove(&mut self, member: &[u8]) -> Option<f64> {
            let at = self.0.iter().position(|pair| *pair.0 == *member)?;
            Some(self.0.remove(at).1)
        }

        fn insert(&mut self, member: &[u8], score: f64) -> Option<f64> {
            let former = self.remove(member);
            let at = self.0.partition_point(|pair| pair.1 < score || pair.1 == score && *pair.0 < *member);
            self.0.insert(at, (member.to_vec(), score));
            former
        }
    }

    fn owned(pair: (Element<'_>, f64)) -> (Vec<u8>, f64) {
        (pair.0.to_vec(), pair.1)
    }

    fn check(set: &SortedSetValue, model: &Model) {
        let (length, model) = (model.0.len(), &model.0);
        assert_eq!((set.len(), set.is_empty()), (length, length == 0));
        assert!(set.iter_from(0).map(owned).eq(model.iter().cloned()));
        assert!(set.iter_from(0).rev().map(owned).eq(model.iter().rev().cloned()));
        let mut by_position: Vec<_> = set.positions(0..length).map(owned).collect();
        by_position.sort_by(|one, other| compare(one.1, other.1).then_with(|| one.0.cmp(&other.0)));
        assert!(by_position == *model);
    }

    fn check_one(set: &SortedSetValue, model: &Model, random: &mut fastrand::Rng, member: &[u8], score: f64) {
        let model = &model.0;
        let rank = model.iter().position(|pair| *pair.0 == *member);
        assert_eq!((set.rank(member), set.score(member)), (rank, rank.map(|rank| model[rank].1)));
        let (from, to) = (random.usize(..=model.len()), random.usize(..=model.len()));
        assert_eq!(set.at(from).map(owned), model.get(from).cloned());
        let range = from.min(to)..from.max(to).min(from.min(to) + 50);
        assert!(set.range(range.clone()).map(owned).eq(model[range.clone()].iter().cloned()));
        assert!(set.range(range.clone()).rev().map(owned).eq(model[range].iter().rev().cloned()));
        let before = |exclusive| model.partition_point(|pair| pair.1 < score || exclusive && pair.1 == score);
        assert_eq!(set.before_score(score, false), before(false));
        assert_eq!(set.before_score(score, true), before(true));
    }

    fn random_score(random: &mut fastrand::Rng) -> f64 {
        match random.u8(..8) {
            0 => [0.0, f64::INFINITY, f64::NEG_INFINITY, 5e-324, f64::MAX, 0.1][random.usize(..6)],
            1 => (random.f64() - 0.5) * 1e6,
            2 => random.i64(..) as f64,
            _ => f64::from(random.i16(-40..40)),
        }
    }

    #[test]
    fn behaves_like_a_sorted_vector() {
        let mut random = fastrand::Rng::with_seed(23);
        for round in 0..24 {
            let limits = Limits { sorted_set_members: [0, 9, 60, 128][round % 4], ..Limits::DEFAULT };
            let (mut set, mut model) = (SortedSetValue::new(), Model::default());
            let mut largest = (0, 0);
            for step in 0..1_500 {
                let mut member = random_element(&mut random, if step < 300 { 30 } else { 100 });
                if random.u8(..3) == 0 && !model.0.is_empty() {
                    member.clone_from(&model.0[random.usize(..model.0.len())].0);
                }
                let score = random_score(&mut random);
                if random.usize(..3) == 0 {
                    assert_eq!(set.remove(&member), model.remove(&member));
                } else {
                    let is_small = set.is_scanned_whole();
                    let former = model.insert(&member, score);
                    assert_eq!(set.insert_within(&limits, &member, score), former);
                    largest = (largest.0.max(model.0.len()), largest.1.max(member.len()));
                    let grows = former.is_none() && (model.0.len() > limits.sorted_set_members || member.len() > 64);
                    assert_eq!(set.is_scanned_whole(), is_small && !grows);
                }
                check_one(&set, &model, &mut random, &member, score);
                if step % 50 == 0 {
                    check(&set, &model);
                }
            }
            assert_eq!(set.encoding(), "skiplist");
            check(&set, &model);
            for (member, score) in std::mem::take(&mut model.0) {
                assert_eq!(set.remove(&member), Some(score));
            }
            check(&set, &model);
        }
    }

    #[test]
    fn members_of_one_score_are_in_the_order_of_their_bytes() {
        let mut random = fastrand::Rng::with_seed(29);
        for members in [100, 3_000] {
            let (mut set, mut model) = (SortedSetValue::new(), Model::default());
            for _ in 0..members {
                let member = random_element(&mut random, 10);
                let member = if random.bool() { member } else { random.u16(..).to_string().into_bytes() };
                assert_eq!(set.insert(&member, -1.0), model.insert(&member, -1.0));
            }
            check(&set, &model);
            for _ in 0..500 {
                let bound = random_element(&mut random, 3);
                let before =
                    |exclusive: bool| model.0.partition_point(|pair| pair.0 < bound || exclusive && pair.0 == bound);
                assert_eq!(set.before_lex(Bound::Included(&bound)), before(false));
                assert_eq!(set.before_lex(Bound::Excluded(&bound)), before(true));
            }
            assert_eq!(set.before_lex(Bound::Unbounded), 0);
        }
    }

    #[test]
    fn the_zeros_are_equal_and_come_back() {
        for other_members in [0, 200] {
            let mut set = SortedSetValue::new();
            for number in 0..other_members {
                set.insert(format!("n{number}").as_bytes(), 1.0);
            }
            set.insert(b"a", 0.0);
            set.insert(b"b", -0.0);
            set.insert(b"c", 0.0);
            assert!(set.range(0..3).map(|(member, _)| member.to_vec()).eq([b"a", b"b", b"c"]));
            let is_negative = |set: &SortedSetValue, member: &[u8]| set.score(member).map(f64::is_sign_negative);
            assert_eq!(["a", "b"].map(|member| is_negative(&set, member.as_bytes())), [Some(false), Some(true)]);
            assert_eq!(set.insert(b"a", -0.0), Some(0.0));
            assert_eq!((is_negative(&set, b"a"), set.rank(b"a")), (Some(true), Some(0)));
            assert_eq!((set.before_score(0.0, false), set.before_score(-0.0, true)), (0, 3));
        }
    }

    #[test]
    #[should_panic(expected = "a score is a number")]
    fn nan_never_enters() {
        SortedSetValue::new().insert(b"a", f64::NAN);
    }

    #[test]
    fn a_scan_by_positions_misses_nothing_that_stays() {
        let mut random = fastrand::Rng::with_seed(31);
        let mut set = SortedSetValue::new();
        for number in 0..1_000 {
            set.insert(format!("m{number}").as_bytes(), f64::from(number));
        }
        let (mut seen, mut cursor) = (Vec::new(), set.len());
        while cursor > 0 {
            let start = cursor.saturating_sub(7);
            seen.extend(set.positions(start..cursor).map(|(member, _)| member.to_vec()));
            let odd = random.u32(..500) * 2 + 1;
            set.remove(format!("m{odd}").as_bytes());
            set.insert(format!("m{}", odd - 1).as_bytes(), f64::from(random.u16(..)));
            cursor = start.min(set.len());
        }
        for number in (0..1_000).step_by(2) {
            assert!(seen.contains(&format!("m{number}").into_bytes()));
        }
    }
}
