//! From registers to a number of elements: the improved raw estimator of O. Ertl, "New cardinality estimation algorithms
//! for HyperLogLog sketches" (2017), algorithm 6. It needs no correction for small or large numbers.

use super::REGISTERS;

/// The highest value that a hash of 64 bits gives: 50 bits are not used up by the register's index.
const MAX_VALUE: usize = 51;
/// 1 / (2 ln 2), as long as Redis writes it.
const ALPHA: f64 = 0.721_347_520_444_481_7;

/// How many registers have each value.
#[derive(Debug)]
pub struct Histogram([u32; 64]);

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram([0; 64])
    }
}

impl Histogram {
    /// Counts so many registers of this value, which is below 64.
    pub fn add(&mut self, value: u8, registers: usize) {
        self.0[usize::from(value)] += registers as u32;
    }
}

/// Counts registers, given four at a time. Each of the four has a table of its own: most registers have one of few values,
/// and a single counter would wait for itself.
pub fn histogram(values: impl Iterator<Item = [u8; 4]>) -> Histogram {
    let mut counts = [[0u32; 64]; 4];
    for four in values {
        for (counts, value) in counts.iter_mut().zip(four) {
            counts[usize::from(value & 0x3f)] += 1;
        }
    }
    let mut sum = Histogram::default();
    for counts in counts {
        sum.0.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
    }
    sum
}

/// About how many elements leave such registers.
pub fn cardinality(histogram: &Histogram) -> u64 {
    let registers = REGISTERS as f64;
    let with = |value: usize| f64::from(histogram.0[value]);
    let mut sum = registers * tau((registers - with(MAX_VALUE)) / registers);
    for value in (1..MAX_VALUE).rev() {
        sum = 0.5 * (sum + with(value));
    }
    sum += registers * sigma(with(0) / registers);
    // Beyond all numbers only for registers that no element leaves: the conversion saturates.
    (ALPHA * registers * registers / sum).round() as u64
}

/// x + Σ x^(2^k) 2^(k-1), for k from 1 on: what the registers that are still zero add.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut sum, mut factor) = (x, 1.0);
    loop {
        x *= x;
        let before = sum;
        sum += x * factor;
        factor += factor;
        if sum == before {
            return sum;
        }
    }
}

/// (1 - x - Σ (1 - x^(2^-k))² 2^-k) / 3, for k from 1 on: what the registers that can rise no more add.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut sum, mut factor) = (1.0 - x, 1.0);
    loop {
        x = x.sqrt();
        let before = sum;
        factor *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * factor;
        if sum == before {
            return sum / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes() {
        let all = |value: u8| cardinality(&histogram(std::iter::repeat_n([value; 4], REGISTERS / 4)));
        assert_eq!(all(0), 0);
        // 2 α m: no register is zero, and none has seen more than one bit.
        assert_eq!(all(1), 23_637);
        assert_eq!(all(63), u64::MAX);
    }
}
