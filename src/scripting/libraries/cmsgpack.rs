//! `cmsgpack`: MessagePack, as in the library of Salvatore Sanfilippo (0.4.0).
//!
//! It must not know where the values come from. Reading does not recurse, and writing goes sixteen tables
//! deep. The limits are those that Lua's stack sets to the library.

use mlua::{Lua, Table, Value};

use super::native::{self, Arguments, Fault, MOST_RESULTS, Returned, Values};

/// Tables within more tables than this become nil.
const MOST_NESTING: usize = 16;
/// Slots of Lua's stack that a C function has.
const STACK_SLOTS: usize = MOST_RESULTS + 1;
const MOST_ARGUMENTS: usize = STACK_SLOTS / 2;

/// Writes a length behind a tag: in the tag itself, or in one, two or four bytes.
fn put_length(output: &mut Vec<u8>, length: usize, short: Option<(u8, usize)>, tags: [Option<u8>; 3]) {
    match (short, tags) {
        (Some((tag, most)), _) if length <= most => output.push(tag | length as u8),
        (_, [Some(tag), ..]) if length <= 0xff => output.extend_from_slice(&[tag, length as u8]),
        (_, [_, Some(tag), _]) if length <= 0xffff => {
            output.push(tag);
            output.extend_from_slice(&(length as u16).to_be_bytes());
        }
        (_, [_, _, tag]) => {
            output.extend(tag);
            output.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
}

fn put_number(output: &mut Vec<u8>, number: f64) {
    let fits = number >= -(2f64.powi(63)) && number < 2f64.powi(63);
    if !fits || number.fract() != 0.0 {
        if f64::from(number as f32) == number {
            output.push(0xca);
            output.extend_from_slice(&(number as f32).to_be_bytes());
        } else {
            output.push(0xcb);
            output.extend_from_slice(&number.to_be_bytes());
        }
        return;
    }
    let integer = number as i64;
    // The tags of unsigned integers of 1, 2, 4 and 8 bytes are 0xcc to 0xcf, of signed ones 0xd0 to 0xd3.
    let (tag, bytes) = match integer {
        -32..=127 => return output.push(integer as u8),
        128..=0xff => (0xcc, 1),
        0x100..=0xffff => (0xcd, 2),
        0x1_0000..=0xffff_ffff => (0xce, 4),
        0x1_0000_0000.. => (0xcf, 8),
        -0x80..=-33 => (0xd0, 1),
        -0x8000..=-0x81 => (0xd1, 2),
        -0x8000_0000..=-0x8001 => (0xd2, 4),
        _ => (0xd3, 8),
    };
    output.push(tag);
    output.extend_from_slice(&integer.to_be_bytes()[8 - bytes..]);
}

/// How many elements a table has whose keys are 1, 2, 3 …; None for other tables.
fn array_length(table: &Table) -> mlua::Result<Option<usize>> {
    let (mut highest, mut count) = (0.0, 0);
    for entry in table.pairs::<Value, Value>() {
        let key = match entry?.0 {
            Value::Integer(integer) => integer as f64,
            Value::Number(number) => number,
            _ => return Ok(None),
        };
        if key < 1.0 || key.fract() != 0.0 {
            return Ok(None);
        }
        highest = f64::max(highest, key);
        count += 1;
    }
    Ok((highest == count as f64).then_some(count))
}

fn put(output: &mut Vec<u8>, value: &Value, depth: usize) -> Result<(), Fault> {
    match value {
        Value::Boolean(boolean) => output.push(if *boolean { 0xc3 } else { 0xc2 }),
        Value::Integer(integer) => put_number(output, *integer as f64),
        Value::Number(number) => put_number(output, *number),
        Value::String(text) => {
            let text = text.as_bytes();
            put_length(output, text.len(), Some((0xa0, 31)), [Some(0xd9), Some(0xda), Some(0xdb)]);
            output.extend_from_slice(&text);
        }
        Value::Table(table) if depth < MOST_NESTING => match array_length(table)? {
            Some(count) => {
                put_length(output, count, Some((0x90, 15)), [None, Some(0xdc), Some(0xdd)]);
                for position in 1..=count {
                    put(output, &table.raw_get(position)?, depth + 1)?;
                }
            }
            None => {
                let mut count = 0;
                table.for_each(|_: Value, _: Value| {
                    count += 1;
                    Ok(())
                })?;
                put_length(output, count, Some((0x80, 15)), [None, Some(0xde), Some(0xdf)]);
                for entry in table.pairs::<Value, Value>() {
                    let (key, value) = entry?;
                    put(output, &key, depth + 1)?;
                    put(output, &value, depth + 1)?;
                }
            }
        },
        _ => output.push(0xc0),
    }
    Ok(())
}

fn pack(call: &Arguments) -> Result<Returned, Fault> {
    match call.count() {
        0 => return Err(Fault::argument(0, "MessagePack pack needs input.")),
        count if count > MOST_ARGUMENTS => {
            return Err(Fault::argument(0, "Too many arguments for MessagePack pack."));
        }
        _ => {}
    }
    let mut output = Vec::new();
    for value in &call.values {
        put(&mut output, value, 0)?;
    }
    Ok(Value::String(call.lua.create_string(&output)?).into())
}

/// A table that is being filled.
enum Open {
    /// Elements that it has, and that are to come.
    Array(usize, usize),
    /// Entries that are to come, and whether the next value is a key.
    Map(usize, bool),
}

fn missing() -> Fault {
    Fault::Here("Missing bytes in input.".to_owned())
}

fn stack_overflow(text: &str) -> Fault {
    Fault::Here(format!("stack overflow ({text})"))
}

/// Reads values one after the other.
struct Reader<'a> {
    lua: &'a Lua,
    data: &'a [u8],
    position: usize,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], Fault> {
        let rest = &self.data[self.position..];
        let taken = rest.get(..count).ok_or_else(missing)?;
        self.position += count;
        Ok(taken)
    }

    /// An unsigned integer of so many bytes.
    fn unsigned(&mut self, bytes: usize) -> Result<u64, Fault> {
        Ok(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn signed(&mut self, bytes: usize) -> Result<Value, Fault> {
        let unused = 64 - 8 * bytes;
        let number = (self.unsigned(bytes)? << unused) as i64 >> unused;
        Ok(Value::Number(number as f64))
    }

    fn text(&mut self, length: u64) -> Result<Value, Fault> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let lua = self.lua;
        Ok(Value::String(lua.create_string(self.take(length)?)?))
    }

    /// The next value, with all that is in it; `used` slots of the stack are in use.
    fn value(&mut self, mut used: usize) -> Result<Value, Fault> {
        // The tables around the innermost one, and their keys whose values are being read.
        let (mut tables, mut keys) = (Values::new(self.lua), Values::new(self.lua));
        let mut open: Vec<Open> = Vec::new();
        let mut innermost: Option<Table> = None;
        loop {
            if used + 1 > STACK_SLOTS {
                let text = "too many return values at once; use unpack_one or unpack_limit instead.";
                return Err(stack_overflow(text));
            }
            let mut started = None;
            let mut value = match self.unsigned(1)? as u8 {
                tag @ 0x00..=0x7f => Value::Number(f64::from(tag)),
                tag @ 0xe0..=0xff => Value::Number(f64::from(tag as i8)),
                0xc0 => Value::Nil,
                0xc2 => Value::Boolean(false),
                0xc3 => Value::Boolean(true),
                tag @ 0xcc..=0xce => Value::Number(self.unsigned(1 << (tag - 0xcc))? as f64),
                // Read as a signed integer, too.
                0xcf => self.signed(8)?,
                tag @ 0xd0..=0xd3 => self.signed(1 << (tag - 0xd0))?,
                0xca => Value::Number(f64::from(f32::from_bits(self.unsigned(4)? as u32))),
                0xcb => Value::Number(f64::from_bits(self.unsigned(8)?)),
                tag @ 0xa0..=0xbf => self.text(u64::from(tag & 31))?,
                tag @ 0xd9..=0xdb => {
                    let length = self.unsigned(1 << (tag - 0xd9))?;
                    self.text(length)?
                }
                tag @ 0x90..=0x9f => {
                    started = Some(Open::Array(0, usize::from(tag & 15)));
                    Value::Nil
                }
                tag @ 0xdc..=0xdd => {
                    started = Some(Open::Array(0, self.unsigned(2 << (tag - 0xdc))? as usize));
                    Value::Nil
                }
                tag @ 0x80..=0x8f => {
                    started = Some(Open::Map(usize::from(tag & 15), true));
                    Value::Nil
                }
                tag @ 0xde..=0xdf => {
                    started = Some(Open::Map(self.unsigned(2 << (tag - 0xde))? as usize, true));
                    Value::Nil
                }
                _ => return Err(Fault::Here("Bad data format in input.".to_owned())),
            };
            if let Some(place) = started {
                let table = self.lua.create_table()?;
                used += 1;
                if matches!(place, Open::Array(..)) && used + 1 > STACK_SLOTS {
                    return Err(stack_overflow("in function mp_decode_to_lua_array"));
                }
                if matches!(place, Open::Array(_, 0) | Open::Map(0, _)) {
                    used -= 1;
                    value = Value::Table(table);
                } else {
                    // The index of the next element is on the stack as well.
                    used += usize::from(matches!(place, Open::Array(..)));
                    if let Some(outer) = innermost.replace(table) {
                        tables.push(Value::Table(outer))?;
                    }
                    open.push(place);
                    continue;
                }
            }
            // The value belongs into the innermost table; when that ends, it is a value itself.
            loop {
                let (Some(table), Some(place)) = (&innermost, open.last_mut()) else { return Ok(value) };
                let ends = match place {
                    Open::Array(count, left) => {
                        *count += 1;
                        *left -= 1;
                        table.raw_set(*count, value)?;
                        *left == 0
                    }
                    Open::Map(_, is_key @ true) => {
                        *is_key = false;
                        keys.push(value)?;
                        used += 1;
                        false
                    }
                    Open::Map(left, is_key) => {
                        *is_key = true;
                        *left -= 1;
                        used -= 1;
                        match keys.pop()? {
                            Value::Nil => return Err(Fault::Plain("table index is nil".to_owned())),
                            Value::Number(key) if key.is_nan() => {
                                return Err(Fault::Plain("table index is NaN".to_owned()));
                            }
                            key => table.raw_set(key, value)?,
                        }
                        *left == 0
                    }
                };
                if !ends {
                    break;
                }
                used -= if matches!(open.pop(), Some(Open::Array(..))) { 2 } else { 1 };
                let outer = tables.pop()?.as_table().cloned();
                value = std::mem::replace(&mut innermost, outer).map_or(Value::Nil, Value::Table);
            }
        }
    }
}

/// Reads up to `limit` values behind an offset; the first result is the offset of what follows, or -1 at the end. With 0 and 0 it
/// reads all values, and returns nothing else.
fn unpack_from(call: &Arguments, limit: i64, offset: i64) -> Result<Returned, Fault> {
    let data = call.bytes(1)?;
    if offset < 0 || limit < 0 {
        let text =
            format!("Invalid request to unpack with offset of {} and limit of {}.", offset as i32, data.len() as i32);
        return Err(Fault::Here(text));
    }
    if offset > data.len() as i64 {
        let text = format!("Start offset {} greater than input length {}.", offset as i32, data.len());
        return Err(Fault::Here(text));
    }
    let partly = limit != 0 || offset != 0;
    // Of the arguments, only the text stays on the stack for a part.
    let arguments = if partly { 1 } else { call.count() };
    let mut reader = Reader { lua: call.lua, data: &data, position: offset as usize };
    let mut results = Values::new(call.lua);
    if partly {
        // The offset comes first; what it is shows at the end.
        results.push(Value::Nil)?;
    }
    let mut count = 0;
    while reader.position < data.len() && (!partly || (count as i64) < limit) {
        let value = reader.value(arguments + count)?;
        count += 1;
        results.push(value)?;
    }
    if partly {
        if arguments + count + 1 > STACK_SLOTS {
            return Err(stack_overflow("in function mp_unpack_full"));
        }
        let ended = reader.position == data.len();
        results.set_first(Value::Integer(if ended { -1 } else { reader.position as i64 }))?;
    }
    Ok(results.into())
}

fn unpack_one(call: &Arguments) -> Result<Returned, Fault> {
    let offset = call.integer_or(2, 0)?;
    unpack_from(call, 1, offset)
}

fn unpack_limit(call: &Arguments) -> Result<Returned, Fault> {
    let limit = native::to_integer(call.number(2)?);
    let offset = call.integer_or(3, 0)?;
    unpack_from(call, limit, offset)
}

/// The table `cmsgpack`.
pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("pack", native::function(lua, pack)?)?;
    table.raw_set("unpack", native::function(lua, |call| unpack_from(call, 0, 0))?)?;
    table.raw_set("unpack_one", native::function(lua, unpack_one)?)?;
    table.raw_set("unpack_limit", native::function(lua, unpack_limit)?)?;
    table.raw_set("_NAME", "cmsgpack")?;
    table.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    table.raw_set("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo")?;
    table.raw_set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;

    #[test]
    fn numbers_take_the_least_bytes() {
        check(&[
            (
                "return cmsgpack.pack(0,1,127,128,255,256,65535,65536,4294967295,4294967296,2^53,2^63,2^64)",
                "\x00\x01\x7f\u{cc}\u{80}\u{cc}\u{ff}\u{cd}\x01\x00\u{cd}\u{ff}\u{ff}\u{ce}\x00\x01\x00\x00\u{ce}\u{ff}\u{ff}\u{ff}\u{ff}\u{cf}\x00\x00\x00\x01\x00\x00\x00\x00\u{cf}\x00 \x00\x00\x00\x00\x00\x00\u{ca}_\x00\x00\x00\u{ca}_\u{80}\x00\x00",
            ),
            (
                "return cmsgpack.pack(-1,-32,-33,-128,-129,-32768,-32769,-2147483648,-2147483649,-2^63,-2^64)",
                "\u{ff}\u{e0}\u{d0}\u{df}\u{d0}\u{80}\u{d1}\u{ff}\x7f\u{d1}\u{80}\x00\u{d2}\u{ff}\u{ff}\x7f\u{ff}\u{d2}\u{80}\x00\x00\x00\u{d3}\u{ff}\u{ff}\u{ff}\u{ff}\x7f\u{ff}\u{ff}\u{ff}\u{d3}\u{80}\x00\x00\x00\x00\x00\x00\x00\u{ca}\u{df}\u{80}\x00\x00",
            ),
            (
                "return cmsgpack.pack(1.5,0.1,1e100,-1.5,16777217.5,3e-320,1/0,0/0,-0)",
                "\u{ca}?\u{c0}\x00\x00\u{cb}?\u{b9}\u{99}\u{99}\u{99}\u{99}\u{99}\u{9a}\u{cb}T\u{b2}I\u{ad}%\u{94}\u{c3}}\u{ca}\u{bf}\u{c0}\x00\x00\u{cb}Ap\x00\x00\x18\x00\x00\x00\u{cb}\x00\x00\x00\x00\x00\x00\x17\u{b8}\u{ca}\x7f\u{80}\x00\x00\u{cb}\u{ff}\u{f8}\x00\x00\x00\x00\x00\x00\x00",
            ),
        ]);
    }

    #[test]
    fn everything_else_is_packed() {
        check(&[
            (
                r#"return cmsgpack.pack(nil,true,false,"","abc",string.rep("a",32)) .. #cmsgpack.pack(string.rep("a",256)) .. cmsgpack.pack(string.rep("a",65536)):sub(1,6)"#,
                "\u{c0}\u{c3}\u{c2}\u{a0}\u{a3}abc\u{d9} aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa259\u{db}\x00\x01\x00\x00a",
            ),
            (
                "return cmsgpack.pack({},{{}},{1,2,3},{1,nil,3},{nil,2},{[0]=1},{[1.5]=1},{[true]=1},{1,2,a=1},{a=1,b={c={1,2}}})",
                "\u{90}\u{91}\u{90}\u{93}\x01\x02\x03\u{82}\x01\x01\x03\x03\u{81}\x02\x02\u{81}\x00\x01\u{81}\u{ca}?\u{c0}\x00\x00\x01\u{81}\u{c3}\x01\u{83}\x01\x01\x02\x02\u{a1}a\x01\u{82}\u{a1}a\x01\u{a1}b\u{81}\u{a1}c\u{92}\x01\x02",
            ),
            (
                "local t={} for i=1,16 do t[i]=i end return cmsgpack.pack(t)",
                "\u{dc}\x00\x10\x01\x02\x03\x04\x05\x06\x07\x08\x09\n\x0b\x0c\x0d\x0e\x0f\x10",
            ),
            (
                "local t={} for i=1,65536 do t[i]=i end return cmsgpack.pack(t):sub(1,8)",
                "\u{dd}\x00\x01\x00\x00\x01\x02\x03",
            ),
            (
                r#"local t={} for i=1,16 do t["k"..i]=i end return cmsgpack.pack(t)"#,
                "\u{de}\x00\x10\u{a3}k12\x0c\u{a3}k16\x10\u{a2}k9\x09\u{a2}k8\x08\u{a2}k1\x01\u{a3}k15\x0f\u{a2}k3\x03\u{a2}k2\x02\u{a3}k14\x0e\u{a3}k13\x0d\u{a3}k10\n\u{a3}k11\x0b\u{a2}k6\x06\u{a2}k7\x07\u{a2}k4\x04\u{a2}k5\x05",
            ),
            (
                "return cmsgpack.pack(function() end, cjson.null, coroutine.create(function() end), {[function() end]=1})",
                "\u{c0}\u{c0}\u{c0}\u{81}\u{c0}\x01",
            ),
            (
                "local t={} t[1]=t return cmsgpack.pack(t)",
                "\u{91}\u{91}\u{91}\u{91}\u{91}\u{91}\u{91}\u{91}\u{91}\u{91}\u{91}\u{91}\u{91}\u{91}\u{91}\u{91}\u{c0}",
            ),
            ("local t={} t.a=t return #cmsgpack.pack(t)", "49"),
            (
                "return cmsgpack.pack()",
                "error: user_script:1: bad argument #0 to 'pack' (MessagePack pack needs input.)",
            ),
            (
                "local t={} for i=1,4001 do t[i]=1 end return cmsgpack.pack(unpack(t))",
                "error: user_script:1: bad argument #0 to 'pack' (Too many arguments for MessagePack pack.)",
            ),
        ]);
    }

    #[test]
    fn values_are_unpacked() {
        check(&[
            (
                r#"return {cmsgpack.unpack("\224\255\208\128\209\128\0\210\128\0\0\0\211\128\0\0\0\0\0\0\0")}"#,
                "-32|-1|-128|-32768|-2147483648|-9.2233720368548e+18",
            ),
            (
                r#"return {cmsgpack.unpack("\204\255\205\255\255\206\255\255\255\255\207\255\255\255\255\255\255\255\255")}"#,
                "255|65535|4294967295|-1",
            ),
            (
                r#"return {cmsgpack.unpack("\202\63\192\0\0\203\63\185\153\153\153\153\153\154\195\194")}"#,
                "1.5|0.1|true|false",
            ),
            (r#"return {cmsgpack.unpack("\163abc\160\217\1a\218\0\1b\219\0\0\0\1c")}"#, "abc||a|b|c"),
            (
                r#"return cjson.encode({cmsgpack.unpack("\222\0\1\161a\147\1\128\144\129\1\161a")})"#,
                "[{\"a\":[1,{},{}]},[\"a\"]]",
            ),
            ("return {cmsgpack.unpack(1)}", "49"),
            (r##"return select("#", cmsgpack.unpack("\192\1\192"))"##, "3"),
        ]);
    }

    #[test]
    fn a_part_is_unpacked() {
        check(&[
            (r#"return {cmsgpack.unpack_one("\1\2\3")}"#, "1|1"),
            (r#"return {cmsgpack.unpack_one("\1\2\3",2)}"#, "-1|3"),
            (r#"return {cmsgpack.unpack_one("\1\2\3",3)}"#, "-1"),
            (
                r#"return {cmsgpack.unpack_one("\1\2\3",4)}"#,
                "error: user_script:1: Start offset 4 greater than input length 3.",
            ),
            (
                r#"return {cmsgpack.unpack_one("\1\2\3",-1)}"#,
                "error: user_script:1: Invalid request to unpack with offset of -1 and limit of 3.",
            ),
            (
                r#"return {cmsgpack.unpack_one("\1\2\3",2^31)}"#,
                "error: user_script:1: Start offset -2147483648 greater than input length 3.",
            ),
            (
                r#"return {cmsgpack.unpack_one("\1\2\3","x")}"#,
                "error: user_script:1: bad argument #2 to 'unpack_one' (number expected, got string)",
            ),
            (r#"return {cmsgpack.unpack_limit("\1\2\3",2)}"#, "2|1|2"),
            (r#"return {cmsgpack.unpack_limit("\1\2\3",5,1)}"#, "-1|2|3"),
            (r#"return {cmsgpack.unpack_limit("\1\2\3",0)}"#, "1|2|3"),
            (r#"return {cmsgpack.unpack_limit("\1\2\3",0,1)}"#, "1"),
            (
                r#"return {cmsgpack.unpack_limit("\1\2\3",-1,1)}"#,
                "error: user_script:1: Invalid request to unpack with offset of 1 and limit of 3.",
            ),
            (
                r#"return {cmsgpack.unpack_limit("\1\2\3")}"#,
                "error: user_script:1: bad argument #2 to 'unpack_limit' (number expected, got no value)",
            ),
        ]);
    }

    #[test]
    fn wrong_bytes() {
        check(&[
            (r#"return cmsgpack.unpack("\193")"#, "error: user_script:1: Bad data format in input."),
            (r#"return cmsgpack.unpack("\196\1a")"#, "error: user_script:1: Bad data format in input."),
            (r#"return cmsgpack.unpack("\163ab")"#, "error: user_script:1: Missing bytes in input."),
            (r#"return cmsgpack.unpack("\221\255\255\255\255")"#, "error: user_script:1: Missing bytes in input."),
            (r#"return cmsgpack.unpack("\223\255\255\255\255")"#, "error: user_script:1: Missing bytes in input."),
            (r#"return cmsgpack.unpack("\219\255\255\255\255")"#, "error: user_script:1: Missing bytes in input."),
            (r#"return cmsgpack.unpack("\129\192\1")"#, "error: table index is nil"),
            (r#"return cmsgpack.unpack("\129\203\127\248\0\0\0\0\0\0\1")"#, "error: table index is NaN"),
            (
                "return cmsgpack.unpack()",
                "error: user_script:1: bad argument #1 to 'unpack' (string expected, got no value)",
            ),
        ]);
    }

    #[test]
    fn the_stack_of_lua_is_the_limit() {
        check(&[
            (r##"return select("#",cmsgpack.unpack(string.rep("\160",7999)))"##, "7999"),
            (
                r##"return select("#",cmsgpack.unpack(string.rep("\160",8000)))"##,
                "error: user_script:1: stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)",
            ),
            (
                r##"return select("#",cmsgpack.unpack_limit(string.rep("\1",7999),7999))"##,
                "error: user_script:1: stack overflow (in function mp_unpack_full)",
            ),
            (r#"return type(cmsgpack.unpack(string.rep("\145",3999).."\1"))"#, "table"),
            (
                r#"return type(cmsgpack.unpack(string.rep("\145",4000).."\1"))"#,
                "error: user_script:1: stack overflow (in function mp_decode_to_lua_array)",
            ),
            (r#"return type(cmsgpack.unpack(string.rep("\129\161a",3999).."\1"))"#, "table"),
            (
                r#"return type(cmsgpack.unpack(string.rep("\129\161a",4000).."\1"))"#,
                "error: user_script:1: stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)",
            ),
        ]);
    }
}
