//! `bit`: operations on the bits of 32-bit integers, as in the library BitOp of Mike Pall.
//!
//! It must not know more than numbers. A number is reduced to 32 bits as BitOp does without knowledge of the processor: an
//! addition of 2^52 + 2^51 puts the bits of the nearest integer at the low end of the float.

use mlua::{Lua, Table, Value};

use super::native::{self, Arguments, Fault, Returned};

fn bits(call: &Arguments, number: usize) -> Result<u32, Fault> {
    Ok((call.number(number)? + (2f64.powi(52) + 2f64.powi(51))).to_bits() as u32)
}

fn signed(bits: u32) -> Result<Returned, Fault> {
    Ok(Value::Integer(i64::from(bits as i32)).into())
}

fn fold(call: &Arguments, operation: fn(u32, u32) -> u32) -> Result<Returned, Fault> {
    let mut result = bits(call, 1)?;
    for number in 2..=call.count() {
        result = operation(result, bits(call, number)?);
    }
    signed(result)
}

fn shift(call: &Arguments, operation: fn(u32, u32) -> u32) -> Result<Returned, Fault> {
    signed(operation(bits(call, 1)?, bits(call, 2)? & 31))
}

/// Digits from the lowest: eight, or as many as asked for; capital letters for a negative number of digits.
fn hexadecimal(call: &Arguments) -> Result<Returned, Fault> {
    let value = bits(call, 1)?;
    let digits = if call.count() < 2 { 8 } else { bits(call, 2)? as i32 };
    let width = digits.unsigned_abs().min(8) as usize;
    let text = if digits < 0 { format!("{value:08X}") } else { format!("{value:08x}") };
    Ok(Value::String(call.lua.create_string(&text[8 - width..])?).into())
}

/// The table `bit`.
pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("tobit", native::function(lua, |call| signed(bits(call, 1)?))?)?;
    table.raw_set("bnot", native::function(lua, |call| signed(!bits(call, 1)?))?)?;
    table.raw_set("band", native::function(lua, |call| fold(call, |a, b| a & b))?)?;
    table.raw_set("bor", native::function(lua, |call| fold(call, |a, b| a | b))?)?;
    table.raw_set("bxor", native::function(lua, |call| fold(call, |a, b| a ^ b))?)?;
    table.raw_set("lshift", native::function(lua, |call| shift(call, |a, n| a << n))?)?;
    table.raw_set("rshift", native::function(lua, |call| shift(call, |a, n| a >> n))?)?;
    table.raw_set("arshift", native::function(lua, |call| shift(call, |a, n| (a as i32 >> n) as u32))?)?;
    table.raw_set("rol", native::function(lua, |call| shift(call, u32::rotate_left))?)?;
    table.raw_set("ror", native::function(lua, |call| shift(call, u32::rotate_right))?)?;
    table.raw_set("bswap", native::function(lua, |call| signed(bits(call, 1)?.swap_bytes()))?)?;
    table.raw_set("tohex", native::function(lua, hexadecimal)?)?;
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;

    #[test]
    fn numbers_are_rounded_and_wrap() {
        check(&[
            ("return {bit.tobit(1.4),bit.tobit(1.5),bit.tobit(2.5),bit.tobit(-1.5),bit.tobit(-0.5)}", "1|2|2|-2|0"),
            (
                "return {bit.tobit(0xffffffff),bit.tobit(2^31),bit.tobit(2^32+1),bit.tobit(-2^31-1)}",
                "-1|-2147483648|1|2147483647",
            ),
            (
                "return {bit.tobit(2^40+7),bit.tobit(2^51+5),bit.tobit(1e100),bit.tobit(1/0),bit.tobit(0/0)}",
                "7|2|630506365|0|0",
            ),
            ("return {bit.tobit(9e15),bit.tobit(-9e15),bit.tobit(1.5e300)}", "-444776448|736755712|1711298613"),
            ("return {bit.tobit('0xff'),bit.tobit('1e3'),bit.tobit('  7  ')}", "255|1000|7"),
        ]);
    }

    #[test]
    fn operations() {
        check(&[
            ("return {bit.bnot(0),bit.band(7),bit.band(7,3,1),bit.bor(1,2,4),bit.bxor(1,3,7)}", "-1|7|1|7|5"),
            (
                "return {bit.lshift(1,31),bit.lshift(1,33),bit.lshift(1,-1),bit.lshift(1,1.5)}",
                "-2147483648|2|-2147483648|4",
            ),
            ("return {bit.rshift(-1,31),bit.rshift(-1,33),bit.rshift(256,8)}", "1|2147483647|1"),
            ("return {bit.arshift(-256,4),bit.arshift(-256,33),bit.arshift(-1,-1)}", "-16|-128|-1"),
            (
                "return {bit.rol(0x12345678,12),bit.ror(0x12345678,12),bit.bswap(0x12345678)}",
                "1164411171|1736516421|2018915346",
            ),
            (
                "return {bit.tohex(1),bit.tohex(-1),bit.tohex(0xabcdef,4),bit.tohex(0xabcdef,-4)}",
                "00000001|ffffffff|cdef|CDEF",
            ),
            (
                "return {bit.tohex(1,0),bit.tohex(1,9),bit.tohex(-1,-2^31),bit.tohex(1,2^32+3)}",
                "|00000001|FFFFFFFF|001",
            ),
        ]);
    }

    #[test]
    fn wrong_arguments() {
        check(&[
            ("return bit.tobit()", "error: user_script:1: bad argument #1 to 'tobit' (number expected, got no value)"),
            ("return bit.tobit('')", "error: user_script:1: bad argument #1 to 'tobit' (number expected, got string)"),
            ("return bit.band(1,2,{})", "error: user_script:1: bad argument #3 to 'band' (number expected, got table)"),
            ("return bit.tohex(1,nil)", "error: user_script:1: bad argument #2 to 'tohex' (number expected, got nil)"),
            ("return bit.rol(1)", "error: user_script:1: bad argument #2 to 'rol' (number expected, got no value)"),
        ]);
    }
}
