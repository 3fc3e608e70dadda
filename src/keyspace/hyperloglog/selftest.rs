//! PFSELFTEST: are registers kept, and is the estimate as good as the theory says?

use super::{REGISTERS, Register, Representation, Union, count, dense, empty, raise, register_of, representation};
use crate::effects::Registers;
use crate::keyspace::Limit;

/// How often all registers are written and read back.
const ROUNDS: usize = 20;
/// The estimate is looked at after 1, 10, 100 … elements, up to this number.
const MOST_ELEMENTS: u64 = 100_000;
/// The standard error of an estimate: 1.04 / √16384.
const STANDARD_ERROR: f64 = 0.008_125;
/// So many standard errors are far too many.
const TOLERANCE: f64 = 6.0;

/// Says what is wrong, if something is.
pub fn self_test(random: &mut fastrand::Rng) -> Result<(), String> {
    for _ in 0..ROUNDS {
        let mut registers = vec![0; dense::BYTES];
        let values: Vec<u8> = (0..REGISTERS).map(|_| random.u8(..64)).collect();
        for (index, &value) in (0u16..).zip(&values) {
            dense::raise(&mut registers, Register { index, value });
        }
        if !dense::quadruples(&registers).flatten().eq(values.iter().copied()) {
            return Err("registers do not hold what they were given".to_string());
        }
    }
    let (mut dense, mut sparse) = (empty(), empty());
    let mut checkpoint = 1;
    let seed = random.u64(..);
    for number in 1..=MOST_ELEMENTS {
        let packed = register_of(&(seed ^ number).to_le_bytes()).packed();
        for (text, is_dense) in [(&mut dense, true), (&mut sparse, false)] {
            let registers = Registers { packed: &packed[..], dense: is_dense, recount: false };
            raise(text, &registers).map_err(|error| error.to_string())?;
        }
        if number == checkpoint {
            check(&dense, &sparse, number)?;
            checkpoint *= 10;
        }
    }
    Ok(())
}

fn check(dense: &[u8], sparse: &[u8], elements: u64) -> Result<(), String> {
    let few = elements <= 100;
    // With a limit far from the usual one, the elements say nothing about the representation.
    let is_usual = (1_000..10_000).contains(&Limit::SparseBytes.get());
    if is_usual && (representation(sparse) == Ok(Representation::Sparse)) != few && (few || elements > 10_000) {
        return Err(format!("the representation of {elements} elements is not the one expected"));
    }
    let mut values = [Union::default(), Union::default()];
    for (union, text) in values.iter_mut().zip([dense, sparse]) {
        union.add(text).map_err(|error| error.to_string())?;
    }
    if values[0].values() != values[1].values() {
        return Err(format!("the two representations of {elements} elements differ"));
    }
    let found = count(dense).map_err(|error| error.to_string())?;
    // Among few elements two in the same register are unlikely, and yet happen.
    let allowed = (TOLERANCE * STANDARD_ERROR * elements as f64).ceil().max(if elements == 1 { 0.0 } else { 2.0 });
    if found.abs_diff(elements) as f64 > allowed {
        return Err(format!("{elements} elements were estimated to be {found}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_passes() {
        for seed in 0..3 {
            assert_eq!(self_test(&mut fastrand::Rng::with_seed(seed)), Ok(()));
        }
    }
}
