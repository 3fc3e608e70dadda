//! What elements weigh in a listpack of Redis: some of its limits are about that, and clients can see where they are.

use super::encoded::Stored;

/// Bytes of a listpack without entries.
pub const EMPTY_LISTPACK: usize = 7;

/// Bytes of an entry in a listpack.
///
/// Source: the listpack specification, <https://github.com/antirez/listpack/blob/master/listpack.md>.
pub fn weight(stored: Stored<'_>) -> usize {
    let entry = match stored {
        Stored::Integer(0..=127) => 1,
        Stored::Integer(-4_096..=4_095) => 2,
        Stored::Integer(-32_768..=32_767) => 3,
        Stored::Integer(-8_388_608..=8_388_607) => 4,
        Stored::Integer(-2_147_483_648..=2_147_483_647) => 5,
        Stored::Integer(_) => 9,
        Stored::Bytes(bytes) => match bytes.len() {
            length @ 0..64 => 1 + length,
            length @ 64..4_096 => 2 + length,
            length => 5 + length,
        },
    };
    let backward_length = match entry {
        0..128 => 1,
        128..16_384 => 2,
        16_384..2_097_152 => 3,
        2_097_152..268_435_456 => 4,
        _ => 5,
    };
    entry + backward_length
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::integer;

    #[test]
    fn weighs_what_a_listpack_weighs() {
        let weights = ["", "0", "127", "128", "-1", "4096", "-32769", "8388608", "2147483648", "-0"].map(|text| {
            match integer::parse(text.as_bytes()) {
                Some(number) => weight(Stored::Integer(number)),
                None => weight(Stored::Bytes(text.as_bytes())),
            }
        });
        assert_eq!(weights, [2, 2, 2, 3, 3, 4, 5, 6, 10, 4]);
        let strings = [63, 64, 125, 126, 4_095, 4_096, 16_384];
        assert_eq!(strings.map(|length| weight(Stored::Bytes(&vec![0; length])) - length), [2, 3, 3, 4, 4, 7, 8]);
    }
}
