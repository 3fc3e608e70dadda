//! Which register an element raises, and to what.

use super::Register;

const INDEX_BITS: u32 = 14;
/// What Redis seeds the hash with.
const SEED: u64 = 0xadc8_3b19;
const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;

/// MurmurHash64A, a hash of Austin Appleby's in the public domain.
fn murmur(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    for word in words {
        let mut mixed = u64::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        mixed ^= mixed >> 47;
        hash = (hash ^ mixed.wrapping_mul(MULTIPLIER)).wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let last = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        hash = (hash ^ last).wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 47;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ hash >> 47
}

/// The register that an element chooses, and the value that it has there: how many bits of the rest of its hash are
/// zero before the first one, and one.
pub fn register_of(element: &[u8]) -> Register {
    let hash = murmur(element);
    let rest = hash >> INDEX_BITS;
    // At most all 50 bits.
    let zeros = rest.trailing_zeros().min(64 - INDEX_BITS);
    Register { index: (hash & ((1 << INDEX_BITS) - 1)) as u16, value: zeros as u8 + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What redis-server 7.0.15 shows by PFDEBUG DECODE after PFADD of each.
    #[test]
    fn elements_choose_the_registers_that_they_choose_in_redis() {
        let cases: [(&[u8], u16, u8); 10] = [
            (b"", 5938, 2),
            (b"a", 12711, 2),
            (b"hello", 9216, 1),
            (b"\xff\x00", 290, 4),
            (b"1234567", 10327, 3),
            (b"12345678", 10579, 3),
            (b"123456789", 9293, 2),
            (b"12345678910111213", 908, 2),
            (&[b'x'; 63], 3247, 5),
            (&[b'x'; 64], 1777, 1),
        ];
        for (element, index, value) in cases {
            assert_eq!(register_of(element), Register { index, value }, "{}", element.escape_ascii());
        }
    }
}
