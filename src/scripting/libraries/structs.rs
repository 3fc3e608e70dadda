//! `struct`: values as the bytes of C structures and back, as in the library of Roberto Ierusalimschy.
//!
//! It must not know where the bytes come from. A format is a sequence of letters: `<` and `>` choose the order of bytes, `!` and a
//! power of two the largest alignment; `b` `h` `l` `T` `i` and a size are integers (large letters: unsigned), `f` and `d` floats,
//! `s` a text that ends with a zero, `c` and a size a text of that length (0: of the length that comes before it), `x` one byte of
//! nothing.

use mlua::{Lua, Table, Value};

use super::native::{self, Arguments, Fault, MOST_RESULTS, Returned, Values, to_integer};

const LARGEST_INTEGER: usize = 32;
const LARGEST_ALIGNMENT: usize = 8;
/// A format is short, what it asks for need not be: alignments and `x` add up.
const MOST_BYTES: usize = 256 << 20;

/// Walks through a format.
struct Format<'a> {
    rest: &'a [u8],
    little: bool,
    alignment: usize,
}

impl<'a> Format<'a> {
    fn new(format: &'a [u8]) -> Self {
        let end = format.iter().position(|&byte| byte == 0).unwrap_or(format.len());
        Self { rest: &format[..end], little: true, alignment: 1 }
    }

    /// The next letter, with the size of what it stands for.
    fn next(&mut self) -> Result<Option<(u8, usize)>, Fault> {
        let Some((&letter, rest)) = self.rest.split_first() else { return Ok(None) };
        self.rest = rest;
        let size = match letter {
            b'b' | b'B' | b'x' => 1,
            b'h' | b'H' => 2,
            b'f' => 4,
            b'l' | b'L' | b'T' | b'd' => 8,
            b'c' => self.digits(1)?,
            b'i' | b'I' => {
                let size = self.digits(4)?;
                if size > LARGEST_INTEGER {
                    let text = format!("integral size {size} is larger than limit of {LARGEST_INTEGER}");
                    return Err(Fault::Here(text));
                }
                size
            }
            _ => 0,
        };
        Ok(Some((letter, size)))
    }

    /// A number in the format, within an `int` of C.
    fn digits(&mut self, otherwise: usize) -> Result<usize, Fault> {
        let mut number = None;
        while let [digit @ b'0'..=b'9', rest @ ..] = self.rest {
            let longer = number.unwrap_or(0) * 10 + usize::from(digit - b'0');
            if longer > i32::MAX as usize {
                return Err(Fault::Here("integral size overflow".to_owned()));
            }
            number = Some(longer);
            self.rest = rest;
        }
        Ok(number.unwrap_or(otherwise))
    }

    /// A letter that changes how the following ones are read.
    fn control(&mut self, letter: u8) -> Result<(), Fault> {
        match letter {
            b' ' => {}
            b'>' => self.little = false,
            b'<' => self.little = true,
            b'!' => {
                let alignment = self.digits(LARGEST_ALIGNMENT)?;
                if !alignment.is_power_of_two() {
                    return Err(Fault::Here(format!("alignment {alignment} is not a power of 2")));
                }
                self.alignment = alignment;
            }
            _ => {
                let text = [b"invalid format option '".as_slice(), &[letter], b"'"].concat();
                return Err(Fault::Argument(1, text));
            }
        }
        Ok(())
    }

    /// How many bytes to leave out in front of something of that size; sizes that are no power of two as the reference counts.
    fn padding(&self, position: usize, letter: u8, size: usize) -> usize {
        if size == 0 || letter == b'c' {
            return 0;
        }
        let alignment = size.min(self.alignment);
        let mask = alignment - 1;
        alignment.wrapping_sub(position & mask) & mask
    }
}

/// The low bytes of an integer: at most eight, the others are zero.
fn put_integer(output: &mut Vec<u8>, value: u64, size: usize, little: bool) {
    let byte = |place: usize| if place < 8 { (value >> (8 * place)) as u8 } else { 0 };
    if little {
        output.extend((0..size).map(byte));
    } else {
        output.extend((0..size).rev().map(byte));
    }
}

/// A float as the 64 bits of an integer, as the processor converts it.
fn integer_bits(number: f64) -> u64 {
    if number < 0.0 || number.is_nan() {
        to_integer(number) as u64
    } else if number < 2f64.powi(64) {
        number as u64
    } else {
        0
    }
}

fn pack(call: &Arguments) -> Result<Returned, Fault> {
    let letters = call.bytes(1)?;
    let mut format = Format::new(&letters);
    let mut output = Vec::new();
    let mut number = 1;
    // The library has a nil of its own behind the last argument.
    let missing = |fault: Fault, number: usize, wanted: &str| {
        if call.get(number).is_none() { Fault::wrong_type(number, wanted, Some(&Value::Nil)) } else { fault }
    };
    while let Some((letter, size)) = format.next()? {
        let padding = format.padding(output.len(), letter, size);
        if output.len() + padding + size > MOST_BYTES {
            return Err(Fault::Plain("not enough memory".to_owned()));
        }
        output.resize(output.len() + padding, 0);
        match letter {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                number += 1;
                let value = call.number(number).map_err(|fault| missing(fault, number, "number"))?;
                put_integer(&mut output, integer_bits(value), size, format.little);
            }
            b'f' | b'd' => {
                number += 1;
                let value = call.number(number).map_err(|fault| missing(fault, number, "number"))?;
                let bits = if letter == b'f' { u64::from((value as f32).to_bits()) } else { value.to_bits() };
                put_integer(&mut output, bits, size, format.little);
            }
            b'x' => output.push(0),
            b'c' | b's' => {
                number += 1;
                let text = call.bytes(number).map_err(|fault| missing(fault, number, "string"))?;
                let length = if size == 0 { text.len() } else { size };
                if text.len() < length {
                    return Err(Fault::argument(number + 1, "string too short"));
                }
                output.extend_from_slice(&text[..length]);
                if letter == b's' {
                    output.push(0);
                }
            }
            _ => format.control(letter)?,
        }
    }
    Ok(Value::String(call.lua.create_string(&output)?).into())
}

/// The integer in some bytes: of more than eight, the lowest eight.
fn take_integer(bytes: &[u8], signed: bool, little: bool) -> f64 {
    let mut value = 0u64;
    for place in 0..bytes.len().min(8) {
        let byte = if little { bytes[place] } else { bytes[bytes.len() - 1 - place] };
        value |= u64::from(byte) << (8 * place);
    }
    if !signed {
        return value as f64;
    }
    let unused = 64 - 8 * bytes.len().clamp(1, 8);
    (((value << unused) as i64) >> unused) as f64
}

fn take_float(bytes: &[u8], little: bool) -> f64 {
    let mut ordered = [0; 8];
    for (place, byte) in bytes.iter().enumerate() {
        ordered[if little { place } else { bytes.len() - 1 - place }] = *byte;
    }
    let bits = u64::from_le_bytes(ordered);
    if bytes.len() == 4 { f64::from(f32::from_bits(bits as u32)) } else { f64::from_bits(bits) }
}

fn unpack(call: &Arguments) -> Result<Returned, Fault> {
    let letters = call.bytes(1)?;
    let data = call.bytes(2)?;
    let mut format = Format::new(&letters);
    let start = call.integer_or(3, 1)?;
    if start == 0 {
        return Err(Fault::argument(3, "offset must be 1 or greater"));
    }
    // A negative start is far behind the end, as it is in the library.
    let mut position = (start as usize).wrapping_sub(1);
    let mut results = Values::new(call.lua);
    let mut last = Value::Nil;
    let too_short = || Fault::argument(2, "data string too short");
    while let Some((letter, mut size)) = format.next()? {
        position = position.wrapping_add(format.padding(position, letter, size));
        if size > data.len() || position > data.len() - size {
            return Err(too_short());
        }
        if call.count() + results.len() + 2 > MOST_RESULTS + 1 {
            return Err(Fault::Here("stack overflow (too many results)".to_owned()));
        }
        let value = match letter {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let bytes = &data[position..position + size];
                Value::Number(take_integer(bytes, letter.is_ascii_lowercase(), format.little))
            }
            b'f' | b'd' => Value::Number(take_float(&data[position..position + size], format.little)),
            b'c' => {
                if size == 0 {
                    let length = match (results.len(), call.lua.coerce_number(last.clone())?) {
                        (1.., Some(length)) => length,
                        _ => return Err(Fault::Here("format 'c0' needs a previous size".to_owned())),
                    };
                    results.pop()?;
                    size = usize::try_from(integer_bits(length)).unwrap_or(usize::MAX);
                    if size > data.len() || position > data.len() - size {
                        return Err(too_short());
                    }
                }
                Value::String(call.lua.create_string(&data[position..position + size])?)
            }
            b's' => {
                let Some(length) = data[position..].iter().position(|&byte| byte == 0) else {
                    return Err(Fault::Here("unfinished string in data".to_owned()));
                };
                size = length + 1;
                Value::String(call.lua.create_string(&data[position..position + length])?)
            }
            b'x' => Value::Nil,
            _ => {
                format.control(letter)?;
                Value::Nil
            }
        };
        position = position.wrapping_add(size);
        if value != Value::Nil {
            last = value.clone();
            results.push(value)?;
        }
    }
    results.push(Value::Integer((position as i64).wrapping_add(1)))?;
    Ok(results.into())
}

fn size(call: &Arguments) -> Result<Returned, Fault> {
    let letters = call.bytes(1)?;
    let mut format = Format::new(&letters);
    let mut total = 0usize;
    while let Some((letter, size)) = format.next()? {
        total = total.wrapping_add(format.padding(total, letter, size));
        if letter == b's' || (letter == b'c' && size == 0) {
            let option = if letter == b's' { "s" } else { "c0" };
            return Err(Fault::argument(1, &format!("option '{option}' has no fixed size")));
        }
        total = total.wrapping_add(size);
        if !letter.is_ascii_alphanumeric() {
            format.control(letter)?;
        }
    }
    Ok(Value::Integer(total as i64).into())
}

/// The table `struct`.
pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("pack", native::function(lua, pack)?)?;
    table.raw_set("unpack", native::function(lua, unpack)?)?;
    table.raw_set("size", native::function(lua, size)?)?;
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;

    #[test]
    fn integers_are_packed() {
        check(&[
            (
                r#"return struct.pack("<bBhHiIlLT",-1,-2,-3,-4,-5,-6,-7,-8,-9)"#,
                "\u{ff}\u{fe}\u{fd}\u{ff}\u{fc}\u{ff}\u{fb}\u{ff}\u{ff}\u{ff}\u{fa}\u{ff}\u{ff}\u{ff}\u{f9}\u{ff}\u{ff}\u{ff}\u{ff}\u{ff}\u{ff}\u{ff}\u{f8}\u{ff}\u{ff}\u{ff}\u{ff}\u{ff}\u{ff}\u{ff}\u{f7}\u{ff}\u{ff}\u{ff}\u{ff}\u{ff}\u{ff}\u{ff}",
            ),
            (
                r#"return struct.pack(">bhil i3 <i3",1,2,3,4,5,6)"#,
                "\x01\x00\x02\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x05\x06\x00\x00",
            ),
            (
                r#"return struct.pack("i16",-1) .. struct.pack(">i16",258) .. struct.pack("i0",1)"#,
                "\u{ff}\u{ff}\u{ff}\u{ff}\u{ff}\u{ff}\u{ff}\u{ff}\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x02",
            ),
            (
                r#"return struct.pack("llLLL",1e19,-1e19,1e20,1/0,0/0)"#,
                "\x00\x00\u{e8}\u{89}\x04#\u{c7}\u{8a}\x00\x00\x00\x00\x00\x00\x00\u{80}\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\u{80}",
            ),
            (r#"return struct.pack("bi","300",1e10)"#, ",\x00\u{e4}\x0bT"),
        ]);
    }

    #[test]
    fn floats_and_texts_are_packed() {
        check(&[
            (
                r#"return struct.pack(">fdf",1.5,"1.5",1e300)"#,
                "?\u{c0}\x00\x00?\u{f8}\x00\x00\x00\x00\x00\x00\x7f\u{80}\x00\x00",
            ),
            (r#"return struct.pack("sscc2c0x","a\0b",12,"xy","abc",1.5)"#, "a\x00b\x0012\x00xab1.5\x00"),
            (r#"return struct.pack("bc0",3,"abc")"#, "\x03abc"),
        ]);
    }

    #[test]
    fn alignment() {
        check(&[
            (r#"return struct.pack("!bi!2bi",1,2,3,4)"#, "\x01\x00\x00\x00\x02\x00\x00\x00\x03\x00\x04\x00\x00\x00"),
            (
                r#"return struct.pack("!16ibbd",1,2,3,4)"#,
                "\x01\x00\x00\x00\x02\x03\x00\x00\x00\x00\x00\x00\x00\x00\x10@",
            ),
            (
                r#"return {struct.size("bBhHiIlLTfdn"),struct.size("!bBhHiIlLTfdn"),struct.size("!8bd!2bd"),struct.size("!i3"),struct.size("!bi5"),struct.size("!c3i"),struct.size("!16bi32")}"#,
                "50|56|26|5|10|8|48",
            ),
            (r#"return struct.size("!3")"#, "error: user_script:1: alignment 3 is not a power of 2"),
            (r#"return struct.pack("!0b",1)"#, "error: user_script:1: alignment 0 is not a power of 2"),
        ]);
    }

    #[test]
    fn values_are_unpacked() {
        check(&[
            (r#"return {struct.unpack("<i2>i2","\1\2\3\4\5")}"#, "513|772|5"),
            (r#"return {struct.unpack("bBi3I3i0","\255\255\254\255\255\254\255\255")}"#, "-1|255|-2|16777214|0|9"),
            (
                r#"return {struct.unpack("i8I8","\254\255\255\255\255\255\255\255\254\255\255\255\255\255\255\255")}"#,
                "-2|1.844674407371e+19|17",
            ),
            (
                r#"return {struct.unpack(">i16","\254\255\255\255\255\255\255\127\1\2\3\4\5\6\7\8")}"#,
                "7.2623859790383e+16|17",
            ),
            (r#"return {struct.unpack("fd",struct.pack("fd",0.1,0.1))}"#, "0.10000000149012|0.1|13"),
            (r#"return {struct.unpack("Bc0sxc","\2abhi\0-c")}"#, "ab|hi|c|9"),
            (r#"return {struct.unpack("c1c0","3abc")}"#, "abc|5"),
            (r#"return {struct.unpack("!bi","\1xxx\2\0\0\0")}"#, "1|2|9"),
            (r#"return {struct.unpack("c1","abc",3)}"#, "c|4"),
            (r#"return {struct.unpack("","abc",-5)}"#, "-5"),
            (r##"return select("#",struct.unpack(string.rep("s",7997),string.rep("\0",7997)))"##, "7998"),
            (
                r##"return select("#",struct.unpack(string.rep("s",7998),string.rep("\0",7998)))"##,
                "error: user_script:1: stack overflow (too many results)",
            ),
        ]);
    }

    #[test]
    fn what_is_wrong_is_told() {
        check(&[
            ("return struct.pack()", "error: user_script:1: bad argument #1 to 'pack' (string expected, got no value)"),
            (
                r#"return struct.pack("iii",1,2)"#,
                "error: user_script:1: bad argument #4 to 'pack' (number expected, got nil)",
            ),
            (
                r#"return struct.pack("i",{})"#,
                "error: user_script:1: bad argument #2 to 'pack' (number expected, got table)",
            ),
            (
                r#"return struct.pack("s",true)"#,
                "error: user_script:1: bad argument #2 to 'pack' (string expected, got boolean)",
            ),
            (r#"return struct.pack("c4","abc")"#, "error: user_script:1: bad argument #3 to 'pack' (string too short)"),
            (
                r#"return struct.pack("z",1)"#,
                "error: user_script:1: bad argument #1 to 'pack' (invalid format option 'z')",
            ),
            (
                r#"return struct.pack("\195",1)"#,
                "error: user_script:1: bad argument #1 to 'pack' (invalid format option '\u{c3}')",
            ),
            (r#"return struct.pack("i33",1)"#, "error: user_script:1: integral size 33 is larger than limit of 32"),
            (r#"return struct.pack("i2147483648",1)"#, "error: user_script:1: integral size overflow"),
            (
                r#"return struct.size("c0")"#,
                "error: user_script:1: bad argument #1 to 'size' (option 'c0' has no fixed size)",
            ),
            (
                r#"return struct.size("s")"#,
                "error: user_script:1: bad argument #1 to 'size' (option 's' has no fixed size)",
            ),
            (
                r#"return struct.size("=")"#,
                "error: user_script:1: bad argument #1 to 'size' (invalid format option '=')",
            ),
            (
                r#"return struct.unpack("i","abc")"#,
                "error: user_script:1: bad argument #2 to 'unpack' (data string too short)",
            ),
            (
                r#"return struct.unpack("i")"#,
                "error: user_script:1: bad argument #2 to 'unpack' (string expected, got no value)",
            ),
            (
                r#"return struct.unpack("c1","abc",0)"#,
                "error: user_script:1: bad argument #3 to 'unpack' (offset must be 1 or greater)",
            ),
            (
                r#"return struct.unpack("c1","abc",-1)"#,
                "error: user_script:1: bad argument #2 to 'unpack' (data string too short)",
            ),
            (
                r#"return struct.unpack("c1","abc",2^63)"#,
                "error: user_script:1: bad argument #2 to 'unpack' (data string too short)",
            ),
            (r#"return struct.unpack("s","abc")"#, "error: user_script:1: unfinished string in data"),
            (r#"return struct.unpack("c0","abc")"#, "error: user_script:1: format 'c0' needs a previous size"),
            (
                r#"return struct.unpack("bc0","\255abc")"#,
                "error: user_script:1: bad argument #2 to 'unpack' (data string too short)",
            ),
        ]);
    }
}
