//! HyperLogLogs: about how many different elements were seen, in at most 12 KiB.
//!
//! An element's hash chooses one of 16384 registers and a value for it; a register keeps the highest value. So adding
//! commutes, and the union of two is the maximum of each register (Flajolet et al., "HyperLogLog: the analysis of a
//! near-optimal cardinality estimation algorithm", 2007).
//!
//! A value is a string in Redis's own representation, so that it can be copied between servers byte by byte:
//!
//! ```text
//! "HYLL" 4 | representation 1: 0 dense, 1 sparse | unused 3 | number of elements 8, little endian | registers
//! ```
//!
//! The number of elements is what PFCOUNT last found; its highest bit is set when registers have changed since then.
//! `dense` and `sparse` say how registers are written down, `hash` which register an element raises, `estimate` how the
//! number of elements follows from them.
//!
//! Pure functions over bytes, but for one number of the process, up to which size a value stays sparse: must not know where a value lies, or what else happens to it.

mod dense;
mod estimate;
mod hash;
mod selftest;
mod sparse;

use thiserror::Error;

pub use hash::register_of;
pub use selftest::self_test;

use super::WrongType;
use crate::effects::Registers;

/// How many registers there are.
pub const REGISTERS: usize = 1 << 14;

const MAGIC: &[u8] = b"HYLL";
const REPRESENTATION_AT: usize = 4;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const COUNT_AT: usize = 8;
/// The byte and its bit that say that the number of elements is not valid.
const STALE_AT: usize = 15;
const STALE: u8 = 0x80;
const HEADER: usize = 16;

/// The values of all registers.
type Values = [u8; REGISTERS];

/// A register and a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// 0 to 16383.
    pub index: u16,
    /// 1 to 63.
    pub value: u8,
}

impl Register {
    /// As effects carry it: 14 bits and 6 bits, little endian.
    pub fn packed(self) -> [u8; 3] {
        let [low, high, top, _] = (u32::from(self.index) | u32::from(self.value) << 14).to_le_bytes();
        [low, high, top]
    }

    fn unpack(bytes: &[u8; 3]) -> Register {
        let packed = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
        Register { index: (packed & 0x3fff) as u16, value: (packed >> 14 & 0x3f) as u8 }
    }
}

/// The registers in the form of [`Register::packed`].
fn unpack_all(packed: &[u8]) -> impl Iterator<Item = Register> {
    packed.as_chunks::<3>().0.iter().map(Register::unpack)
}

/// Why a value cannot be used as a HyperLogLog. The texts are Redis's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unusable {
    /// It is no string.
    #[error("{WrongType}")]
    WrongType,
    #[error("WRONGTYPE Key is not a valid HyperLogLog string value.")]
    NotOne,
    #[error("INVALIDOBJ Corrupted HLL object detected")]
    Corrupt,
}

impl From<WrongType> for Unusable {
    fn from(_: WrongType) -> Unusable {
        Unusable::WrongType
    }
}

/// How the registers are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Representation {
    Dense,
    Sparse,
}

/// How this string is written down, if it is a HyperLogLog. Of a sparse one only the header is looked at.
pub fn representation(text: &[u8]) -> Result<Representation, Unusable> {
    if text.len() < HEADER || !text.starts_with(MAGIC) {
        return Err(Unusable::NotOne);
    }
    match text[REPRESENTATION_AT] {
        DENSE if text.len() == HEADER + dense::BYTES => Ok(Representation::Dense),
        SPARSE => Ok(Representation::Sparse),
        _ => Err(Unusable::NotOne),
    }
}

/// One that has seen nothing, with its number of elements still to be found.
pub fn empty() -> Vec<u8> {
    [MAGIC, &[SPARSE, 0, 0, 0], &[0, 0, 0, 0, 0, 0, 0, STALE], &sparse::NOTHING].concat()
}

/// What raising registers has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised {
    /// Some register is higher now.
    pub changed: bool,
    /// How many of the registers were taken, raised or not: all, unless the value turned out to be corrupt.
    pub taken: usize,
}

/// Raises registers to at least these values, one after the other. What a corrupt value does not let in ends it.
pub fn raise(text: &mut Vec<u8>, registers: &Registers<&[u8]>) -> Result<Raised, Unusable> {
    let mut now = representation(text)?;
    if registers.dense && now == Representation::Sparse {
        make_dense(text)?;
        now = Representation::Dense;
    }
    let mut raised = Raised { changed: false, taken: 0 };
    for register in unpack_all(registers.packed) {
        let changed = match now {
            Representation::Dense => Ok(dense::raise(&mut text[HEADER..], register)),
            Representation::Sparse => match sparse::raise(text, register) {
                Ok(sparse::Outcome::TooMuch) => make_dense(text).map(|()| {
                    now = Representation::Dense;
                    dense::raise(&mut text[HEADER..], register)
                }),
                Ok(outcome) => Ok(outcome == sparse::Outcome::Raised),
                Err(corrupt) => Err(corrupt),
            },
        };
        let Ok(changed) = changed else { break };
        raised.changed |= changed;
        raised.taken += 1;
    }
    if raised.changed || registers.recount {
        text[STALE_AT] |= STALE;
    }
    Ok(raised)
}

/// The same where the value keeps its length: a dense one. `None`: it is none, and nothing has changed.
pub fn raise_in_place(text: &mut [u8], registers: &Registers<&[u8]>) -> Option<Raised> {
    if representation(text) != Ok(Representation::Dense) {
        return None;
    }
    let mut raised = Raised { changed: false, taken: registers.packed.len() / 3 };
    for register in unpack_all(registers.packed) {
        raised.changed |= dense::raise(&mut text[HEADER..], register);
    }
    if raised.changed || registers.recount {
        text[STALE_AT] |= STALE;
    }
    Some(raised)
}

/// Would raising these registers change one? `None`: it is no HyperLogLog, or one without some of the registers.
pub fn would_raise(text: &[u8], registers: &Registers<&[u8]>) -> Option<bool> {
    let representation = representation(text).ok()?;
    let value = |index: u16| match representation {
        Representation::Dense => Some(dense::get(&text[HEADER..], index)),
        Representation::Sparse => sparse::get(&text[HEADER..], index),
    };
    let mut raises = false;
    for register in unpack_all(registers.packed) {
        raises |= value(register.index)? < register.value;
    }
    Some(raises)
}

/// What raising these registers overwrites, where the value keeps its length: places and bytes. `None`: it may be any part
/// of the value.
pub fn parts_to_overwrite(text: &[u8], registers: &Registers<&[u8]>) -> Option<Vec<(usize, Box<[u8]>)>> {
    // Above that the whole is smaller than its parts.
    const MANY: usize = 500;
    let header = || (STALE_AT, Box::from(&text[STALE_AT..=STALE_AT]));
    match representation(text).ok()? {
        Representation::Dense if registers.packed.len() > 3 * MANY => None,
        Representation::Dense => {
            let places = unpack_all(registers.packed).map(|register| {
                let bytes = dense::bytes_of(register.index);
                (HEADER + bytes.start, Box::from(&text[HEADER..][bytes]))
            });
            Some(std::iter::once(header()).chain(places).collect())
        }
        Representation::Sparse if registers.dense || would_raise(text, registers) != Some(false) => None,
        Representation::Sparse => Some(vec![header()]),
    }
}

fn make_dense(text: &mut Vec<u8>) -> Result<(), Unusable> {
    let mut registers = vec![0; dense::BYTES];
    let mut first = 0;
    for run in sparse::whole(&text[HEADER..])? {
        let last = if run.value > 0 { first + run.length } else { first };
        for index in first..last {
            dense::raise(&mut registers, Register { index: index as u16, value: run.value });
        }
        first += run.length;
    }
    text.truncate(HEADER);
    text[REPRESENTATION_AT] = DENSE;
    text.extend_from_slice(&registers);
    Ok(())
}

/// Raises each of these values to the register's.
fn join(values: &mut Values, text: &[u8]) -> Result<(), Unusable> {
    match representation(text)? {
        Representation::Dense => {
            let fours = values.as_chunks_mut::<4>().0;
            for (four, others) in fours.iter_mut().zip(dense::quadruples(&text[HEADER..])) {
                four.iter_mut().zip(others).for_each(|(value, other)| *value = (*value).max(other));
            }
        }
        Representation::Sparse => {
            let mut rest = &mut values[..];
            for run in sparse::whole(&text[HEADER..])? {
                let (these, others) = rest.split_at_mut(run.length);
                these.iter_mut().for_each(|value| *value = (*value).max(run.value));
                rest = others;
            }
        }
    }
    Ok(())
}

/// The union of several HyperLogLogs.
#[derive(Debug)]
pub struct Union {
    values: Box<Values>,
    dense: bool,
}

impl Default for Union {
    fn default() -> Union {
        Union { values: Box::new([0; REGISTERS]), dense: false }
    }
}

impl Union {
    /// Adds one.
    pub fn add(&mut self, text: &[u8]) -> Result<(), Unusable> {
        self.dense |= representation(text)? == Representation::Dense;
        join(&mut self.values, text)
    }

    /// Is one of them dense?
    pub fn has_dense(&self) -> bool {
        self.dense
    }

    /// How many elements they have together, about.
    pub fn count(&self) -> u64 {
        estimate::cardinality(&estimate::histogram(self.values.as_chunks::<4>().0.iter().copied()))
    }

    /// The values of all registers.
    pub fn values(&self) -> &[u8] {
        &*self.values
    }

    /// The registers that are not zero, as effects carry them.
    pub fn packed(&self) -> Vec<u8> {
        let registers = (0u16..).zip(self.values.iter().copied()).filter(|(_, value)| *value > 0);
        registers.flat_map(|(index, value)| Register { index, value }.packed()).collect()
    }
}

/// The number of elements as it was found last, if nothing has changed since.
pub fn cached_count(text: &[u8]) -> Option<u64> {
    representation(text).ok()?;
    let count: [u8; 8] = text[COUNT_AT..HEADER].try_into().ok()?;
    (text[STALE_AT] & STALE == 0).then(|| u64::from_le_bytes(count))
}

/// Keeps a number of elements for the next who asks.
pub fn cache_count(text: &mut [u8], count: u64) {
    text[COUNT_AT..HEADER].copy_from_slice(&count.to_le_bytes());
}

/// How many elements it has, about.
pub fn count(text: &[u8]) -> Result<u64, Unusable> {
    let registers = &text[HEADER.min(text.len())..];
    let histogram = match representation(text)? {
        Representation::Dense => estimate::histogram(dense::quadruples(registers)),
        Representation::Sparse => {
            let mut histogram = estimate::Histogram::default();
            sparse::whole(registers)?.for_each(|run| histogram.add(run.value, run.length));
            histogram
        }
    };
    Ok(estimate::cardinality(&histogram))
}

/// A sparse value in words, as PFDEBUG DECODE has them; `None` for a dense one.
pub fn describe_sparse(text: &[u8]) -> Result<Option<String>, Unusable> {
    match representation(text)? {
        Representation::Dense => Ok(None),
        Representation::Sparse => Ok(Some(sparse::describe(&text[HEADER..]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Limit;

    fn add(text: &mut Vec<u8>, elements: impl Iterator<Item = u64>) -> bool {
        let packed: Vec<u8> = elements.flat_map(|element| register_of(&element.to_le_bytes()).packed()).collect();
        let registers = Registers { packed: &packed[..], dense: false, recount: false };
        let raised = raise(text, &registers).expect("a HyperLogLog");
        assert_eq!(raised.taken * 3, packed.len());
        raised.changed
    }

    fn values(text: &[u8]) -> Vec<u8> {
        let mut union = Union::default();
        union.add(text).expect("a HyperLogLog");
        union.values().to_vec()
    }

    #[test]
    fn registers_survive_the_wire() {
        for (index, value) in [(0, 1), (16383, 63), (8191, 32), (256, 51)] {
            let register = Register { index, value };
            assert_eq!(unpack_all(&register.packed()).collect::<Vec<_>>(), [register]);
        }
    }

    #[test]
    fn both_representations_hold_the_same() {
        let mut model = [0u8; REGISTERS];
        let mut sparse = empty();
        let mut dense = empty();
        let nothing = Registers { packed: &[][..], dense: true, recount: false };
        raise(&mut dense, &nothing).expect("a HyperLogLog");
        assert_eq!((representation(&dense), dense.len()), (Ok(Representation::Dense), 12304));
        let mut elements = 0..5000u64;
        for element in elements.by_ref() {
            let Register { index, value } = register_of(&element.to_le_bytes());
            let raises = model[usize::from(index)] < value;
            model[usize::from(index)] = model[usize::from(index)].max(value);
            assert_eq!(add(&mut sparse, element..=element), raises);
            assert_eq!(add(&mut dense, element..=element), raises);
            if element % 97 == 0 {
                assert!(values(&sparse) == model && values(&dense) == model);
                assert_eq!(count(&sparse), count(&dense));
            }
            if representation(&sparse) == Ok(Representation::Dense) {
                break;
            }
            assert!(sparse.len() <= Limit::SparseBytes.get());
        }
        assert!((1000..4000).contains(&elements.start), "{elements:?}");
        assert!(sparse == dense);
    }

    #[test]
    fn high_values_need_the_dense_representation() {
        let raise_to = |value| {
            let mut text = empty();
            let packed = Register { index: 77, value }.packed();
            let registers = Registers { packed: &packed[..], dense: false, recount: false };
            raise(&mut text, &registers).expect("a HyperLogLog");
            (representation(&text).expect("a HyperLogLog"), values(&text)[77])
        };
        assert_eq!(raise_to(32), (Representation::Sparse, 32));
        assert_eq!(raise_to(33), (Representation::Dense, 33));
    }

    #[test]
    fn a_count_is_kept_until_something_changes() {
        let mut text = empty();
        assert_eq!(cached_count(&text), None);
        add(&mut text, 0..3);
        let found = count(&text).expect("a HyperLogLog");
        assert_eq!(found, 3);
        cache_count(&mut text, found);
        assert_eq!(cached_count(&text), Some(3));
        assert!(!add(&mut text, 0..3));
        assert_eq!(cached_count(&text), Some(3));
        assert!(add(&mut text, 3..4));
        assert_eq!(cached_count(&text), None);
    }

    #[test]
    fn what_is_overwritten_is_known_before() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut text = empty();
        let to_dense = Registers { packed: &[][..], dense: true, recount: false };
        raise(&mut text, &to_dense).expect("a HyperLogLog");
        for _ in 0..500 {
            let before = text.clone();
            let packed: Vec<u8> = (0..random.usize(1..5))
                .flat_map(|_| Register { index: random.u16(..1 << 14), value: random.u8(1..64) }.packed())
                .collect();
            let registers = Registers { packed: &packed[..], dense: false, recount: random.bool() };
            let parts = parts_to_overwrite(&text, &registers).expect("a dense value keeps its length");
            let raises = would_raise(&text, &registers);
            let raised = raise_in_place(&mut text, &registers);
            assert_eq!(raised.map(|raised| raised.changed), raises);
            for (at, bytes) in parts {
                text[at..at + bytes.len()].copy_from_slice(&bytes);
            }
            assert!(text == before);
            raise(&mut text, &registers).expect("a HyperLogLog");
        }
    }

    #[test]
    fn other_strings_are_refused_and_left_alone() {
        let mut cut = empty();
        cut.truncate(HEADER);
        let mut dense_and_short = empty();
        dense_and_short[REPRESENTATION_AT] = 0;
        let mut unknown = empty();
        unknown[REPRESENTATION_AT] = 2;
        let refused: [&[u8]; 5] = [b"", b"HYLL", b"XYLL\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff", &dense_and_short, &unknown];
        let packed = Register { index: 9, value: 1 }.packed();
        for text in refused {
            let registers = Registers { packed: &packed[..], dense: true, recount: true };
            let mut changed = text.to_vec();
            assert_eq!(raise(&mut changed, &registers), Err(Unusable::NotOne));
            assert_eq!((&changed[..], count(text)), (text, Err(Unusable::NotOne)));
        }
        assert_eq!(count(&cut), Err(Unusable::Corrupt));
        let registers = Registers { packed: &packed[..], dense: false, recount: false };
        assert_eq!(raise(&mut cut, &registers), Ok(Raised { changed: false, taken: 0 }));
    }

    #[test]
    fn no_bytes_panic() {
        let mut random = fastrand::Rng::with_seed(6);
        for _ in 0..20_000 {
            let mut text = empty();
            add(&mut text, 0..random.u64(..40));
            for _ in 0..random.usize(1..6) {
                let at = random.usize(HEADER..text.len());
                text[at] = random.u8(..);
            }
            text.truncate(random.usize(HEADER..=text.len()));
            let packed: Vec<u8> = (0..6).map(|_| random.u8(..)).collect();
            let registers = Registers { packed: &packed[..], dense: random.bool(), recount: random.bool() };
            let _ = (count(&text), describe_sparse(&text), Union::default().add(&text), raise(&mut text, &registers));
        }
    }
}
