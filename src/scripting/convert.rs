//! Replies become values of Lua, by the tables of the "Redis Lua API reference". (For the way back see `invoke`.)

use mlua::{Lua, Value};

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
            let Some(length) = length_of(line)? else { return Ok(Value::Boolean(false)) };
            let table = lua.create_table_with_capacity(length.min(1 << 20), 0)?;
            for at in 1..=length {
                table.raw_set(at, value_of(lua, bytes)?)?;
            }
            Ok(Value::Table(table))
        }
        b'%' => {
            let length = length_of(line)?.ok_or_else(malformed)?;
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
            let length = length_of(line)?.ok_or_else(malformed)?;
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
            for _ in 0..2 * length_of(line)?.ok_or_else(malformed)? {
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

/// Takes a line: its first byte, and the rest without its end.
pub(super) fn next_line<'b>(bytes: &mut &'b [u8]) -> Option<(u8, &'b [u8])> {
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

/// The length that a line tells; `None` where there is nothing.
pub(super) fn length_of(line: &[u8]) -> mlua::Result<Option<usize>> {
    if line.starts_with(b"-") {
        return Ok(None);
    }
    let text = std::str::from_utf8(line).map_err(|_| malformed())?;
    text.parse().map(Some).map_err(|_| malformed())
}

/// Takes the text that a line announces.
pub(super) fn take<'b>(bytes: &mut &'b [u8], line: &[u8]) -> mlua::Result<Option<&'b [u8]>> {
    let Some(length) = length_of(line)? else { return Ok(None) };
    let (text, rest) = bytes.split_at_checked(length).ok_or_else(malformed)?;
    *bytes = rest.get(2..).ok_or_else(malformed)?;
    Ok(Some(text))
}
