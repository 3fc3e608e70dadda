//! For the tests of the values: elements of every kind.

/// A random element of up to `largest` bytes: often one of few, so that it meets itself again, else text, binary,
/// numbers and what looks like one.
pub fn random_element(random: &mut fastrand::Rng, largest: usize) -> Vec<u8> {
    const SPECIAL: [&str; 14] = [
        "",
        "0",
        "-0",
        "007",
        "+5",
        "127",
        "128",
        "-1",
        "1.5",
        " 1",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "\0\r\n",
    ];
    match random.u8(..8) {
        0 => SPECIAL[random.usize(..SPECIAL.len())].as_bytes().to_vec(),
        1 => (random.i64(..) >> random.u32(..64)).to_string().into_bytes(),
        2 => {
            let length = random.usize(..=largest);
            std::iter::repeat_with(|| random.u8(..)).take(length).collect()
        }
        3 => vec![random.u8(..); random.usize(..=largest)],
        4 => random.i64(-50..200).to_string().into_bytes(),
        _ => format!("member:{}", random.u32(..60)).into_bytes(),
    }
}
