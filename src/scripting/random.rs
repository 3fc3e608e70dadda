//! `math.random` of scripts: the same numbers after each start, so that a script does the same wherever it runs.
//!
//! The generator is `lrand48` of POSIX (XSH, `drand48`): a linear congruence modulo 2^48.

/// Its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Random(u64);

const MASK: u64 = (1 << 48) - 1;

impl Default for Random {
    /// The state that POSIX gives to who sets no seed.
    fn default() -> Random {
        Random(0x1234_ABCD_330E)
    }
}

impl Random {
    /// `srand48`: 32 bits of seed.
    pub fn seeded(seed: i32) -> Random {
        Random((u64::from(seed as u32) << 16 | 0x330E) & MASK)
    }

    /// A number from 0 to below 1.
    pub fn next(&mut self) -> f64 {
        const MOST: u64 = i32::MAX as u64;
        self.0 = self.0.wrapping_mul(0x5_DEEC_E66D).wrapping_add(0xB) & MASK;
        ((self.0 >> 17) % MOST) as f64 / MOST as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As redis-server 7.0.15 does it.
    #[test]
    fn known_numbers() {
        let of = |random: &mut Random| (random.next() * 1000.0).floor() as u32 + 1;
        let mut random = Random::default();
        assert_eq!((of(&mut random), of(&mut random)), (397, 841));
        let mut random = Random::seeded(5);
        assert_eq!((of(&mut random), of(&mut random)), (525, 273));
    }
}
