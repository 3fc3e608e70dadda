//! Replies become values of Lua, and values become replies, by the tables of the "Redis Lua API reference".

use mlua::{Lua, Table, Value};

use crate::resp::{Protocol, Reply};

/// Tables within tables of what a script returns.
const MAX_DEPTH: usize = 500;

/// A reply that ended before its end, or was none: commands write whole replies, so this is a defect.
fn malformed() -> mlua::Error {
    mlua::Error::runtime("a command left no reply")
}

/// Reads a reply from the start of some bytes. An error at the top is left to the caller: see [`error_of`].
pub(super) fn value_of(lua: &Lua, bytes: &mut &[u8]) -> mlua::Result<Value> {
    let (kind, line) = next_line(bytes).ok_or_else(malformed)?;
    let tagged = |name: &str, value: Value| -> mlua::Result<Value> {
        let table = lua.create_table_with_capacity(0, 1)?;
        table.raw_set(name, value)?;
        Ok(Value::Table(table))
    };
    match kind {
        b':' => number(line),
        b'$' => match take(bytes, line)? {
            Some(text) => Ok(Value::String(lua.create_string(text)?)),
            None => Ok(Value::Boolean(false)),
        },
        b'+' => tagged("ok", Value::String(lua.create_string(line)?)),
        b'-' => error_table(lua, line, true),
        b'*' | b'>' => {
            let Some(length) = length(line)? else { return Ok(Value::Boolean(false)) };
            let table = lua.create_table_with_capacity(length.min(1 << 20), 0)?;
            for at in 1..=length {
                table.raw_set(at, value_of(lua, bytes)?)?;
            }
            Ok(Value::Table(table))
        }
        b'%' => {
            let length = length(line)?.ok_or_else(malformed)?;
            let map = lua.create_table_with_capacity(0, length.min(1 << 20))?;
            for _ in 0..length {
                let key = value_of(lua, bytes)?;
                let value = value_of(lua, bytes)?;
                if !key.is_nil() {
                    map.raw_set(key, value)?;
                }
            }
            tagged("map", Value::Table(map))
        }
        b'~' => {
            let length = length(line)?.ok_or_else(malformed)?;
            let set = lua.create_table_with_capacity(0, length.min(1 << 20))?;
            for _ in 0..length {
                let member = value_of(lua, bytes)?;
                if !member.is_nil() {
                    set.raw_set(member, true)?;
                }
            }
            tagged("set", Value::Table(set))
        }
        b'_' => Ok(Value::Nil),
        b'#' => Ok(Value::Boolean(line == b"t")),
        b',' => {
            let text = std::str::from_utf8(line).map_err(|_| malformed())?;
            tagged("double", Value::Number(text.parse().map_err(|_| malformed())?))
        }
        b'(' => tagged("big_number", Value::String(lua.create_string(line)?)),
        b'=' => {
            let text = take(bytes, line)?.ok_or_else(malformed)?;
            let (format, text) = text.split_at_checked(4).ok_or_else(malformed)?;
            let parts = lua.create_table_with_capacity(0, 2)?;
            parts.raw_set("format", lua.create_string(&format[..3])?)?;
            parts.raw_set("string", lua.create_string(text)?)?;
            tagged("verbatim_string", Value::Table(parts))
        }
        b'|' => {
            for _ in 0..2 * length(line)?.ok_or_else(malformed)? {
                value_of(lua, bytes)?;
            }
            value_of(lua, bytes)
        }
        _ => Err(malformed()),
    }
}

/// The text of an error, if the reply is one.
pub(super) fn error_of(reply: &[u8]) -> Option<&[u8]> {
    reply.strip_prefix(b"-").map(|rest| rest.strip_suffix(b"\r\n").unwrap_or(rest))
}

/// What a script sees of an error. `counted`: the host knows of it.
pub(super) fn error_table(lua: &Lua, text: &[u8], counted: bool) -> mlua::Result<Value> {
    let table = lua.create_table_with_capacity(0, 2)?;
    table.raw_set("err", lua.create_string(text)?)?;
    if counted {
        table.raw_set("ignore_error_stats_update", true)?;
    }
    Ok(Value::Table(table))
}

fn next_line<'b>(bytes: &mut &'b [u8]) -> Option<(u8, &'b [u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let (line, rest) = bytes.split_at(end);
    *bytes = &rest[2..];
    line.split_first().map(|(kind, line)| (*kind, line))
}

fn number(line: &[u8]) -> mlua::Result<Value> {
    let value = std::str::from_utf8(line).ok().and_then(|text| text.parse::<i64>().ok()).ok_or_else(malformed)?;
    // Numbers of Lua 5.1 are floats.
    Ok(Value::Number(value as f64))
}

fn length(line: &[u8]) -> mlua::Result<Option<usize>> {
    if line.starts_with(b"-") {
        return Ok(None);
    }
    let text = std::str::from_utf8(line).map_err(|_| malformed())?;
    text.parse().map(Some).map_err(|_| malformed())
}

fn take<'b>(bytes: &mut &'b [u8], line: &[u8]) -> mlua::Result<Option<&'b [u8]>> {
    let Some(length) = length(line)? else { return Ok(None) };
    let (text, rest) = bytes.split_at_checked(length).ok_or_else(malformed)?;
    *bytes = rest.get(2..).ok_or_else(malformed)?;
    Ok(Some(text))
}

/// What is nested deeper than a reply may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooDeep;

/// Appends a value as a reply. `protocol` is that of the script: only with RESP3 are its booleans booleans.
pub(super) fn write(value: &Value, protocol: Protocol, reply: &mut Reply, depth: usize) -> Result<(), TooDeep> {
    if depth > MAX_DEPTH {
        return Err(TooDeep);
    }
    match value {
        Value::String(text) => reply.bulk(&text.as_bytes()),
        Value::Integer(number) => reply.integer(*number),
        Value::Number(number) => reply.integer(truncated(*number)),
        Value::Boolean(value) if protocol == Protocol::Resp3 => reply.boolean(*value),
        Value::Boolean(true) => reply.integer(1),
        Value::Table(table) => return write_table(table, protocol, reply, depth),
        _ => reply.null(),
    }
    Ok(())
}

fn write_table(table: &Table, protocol: Protocol, reply: &mut Reply, depth: usize) -> Result<(), TooDeep> {
    let field = |name: &str| table.raw_get::<Value>(name).unwrap_or(Value::Nil);
    // Nothing but an array has an element at 1, and most tables are arrays.
    let first = table.raw_get::<Value>(1).unwrap_or(Value::Nil);
    if first.is_nil() || has_tags(table) {
        if let Value::String(text) = field("err") {
            reply.error(&text.as_bytes());
            return Ok(());
        }
        if let Value::String(text) = field("ok") {
            reply.simple_bytes(&without_breaks(&text.as_bytes()));
            return Ok(());
        }
        let double = match field("double") {
            Value::Number(number) => Some(number),
            Value::Integer(number) => Some(number as f64),
            _ => None,
        };
        if let Some(double) = double {
            reply.double(double);
            return Ok(());
        }
        if let Value::Table(map) = field("map") {
            reply.map(map.pairs::<Value, Value>().count());
            return map.pairs::<Value, Value>().filter_map(Result::ok).try_for_each(|(key, value)| {
                write(&key, protocol, reply, depth + 1)?;
                write(&value, protocol, reply, depth + 1)
            });
        }
        if let Value::Table(set) = field("set") {
            reply.set(set.pairs::<Value, Value>().count());
            let mut members = set.pairs::<Value, Value>().filter_map(Result::ok);
            return members.try_for_each(|(member, _)| write(&member, protocol, reply, depth + 1));
        }
        if let Value::String(digits) = field("big_number") {
            reply.big_number(&String::from_utf8_lossy(&without_breaks(&digits.as_bytes())));
            return Ok(());
        }
        if let Value::Table(parts) = field("verbatim_string")
            && let (Ok(Value::String(text)), Ok(Value::String(format))) =
                (parts.raw_get("string"), parts.raw_get("format"))
        {
            let mut name = *b"   ";
            name.iter_mut().zip(format.as_bytes().iter()).for_each(|(to, from)| *to = *from);
            reply.verbatim(name, &text.as_bytes());
            return Ok(());
        }
    }
    // An array ends with the first nil.
    let elements = || (1i64..).map_while(|at| table.raw_get::<Value>(at).ok().filter(|element| !element.is_nil()));
    reply.array(elements().count());
    for element in elements() {
        write(&element, protocol, reply, depth + 1)?;
    }
    Ok(())
}

/// Has a table with elements one of the fields that make it something else? Rare, but `err` beside elements is an error.
fn has_tags(table: &Table) -> bool {
    ["err", "ok", "double", "map", "set", "big_number", "verbatim_string"]
        .iter()
        .any(|name| table.raw_get::<Value>(*name).is_ok_and(|value| !value.is_nil()))
}

/// A float as an integer, as C converts it on the machines that Redis is usually run on: what does not fit is the lowest.
fn truncated(number: f64) -> i64 {
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number) { number as i64 } else { i64::MIN }
}

fn without_breaks(text: &[u8]) -> Vec<u8> {
    text.iter().map(|&byte| if byte == b'\r' || byte == b'\n' { b' ' } else { byte }).collect()
}
