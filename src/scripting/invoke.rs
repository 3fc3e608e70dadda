//! Calling a script or a function: what it is given, and its result as a reply.
//!
//! Every script takes this way, so it works on Lua's own stack: see `redis_call`. The rules of the results are those of the "Redis Lua API
//! reference", section "Lua to RESP type conversion".

use std::ffi::c_int;

use mlua::{Function, Lua, Table, Value, ffi};

use super::engine::{MEMORY_LIMIT, set_limit};
use super::redis_call::{push_text, text};
use crate::resp::{Protocol, Reply};

/// Tables within tables of what a script returns.
const MAX_DEPTH: usize = 500;

/// The fields that make a table something else than an array.
const TAGS: [&[u8]; 7] = [b"err", b"ok", b"double", b"map", b"set", b"big_number", b"verbatim_string"];

/// Where keys and arguments go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Given<'i> {
    /// To the globals KEYS and ARGV of this table.
    Globals(&'i Table),
    /// To the function.
    Arguments,
    /// Nowhere: there are none.
    Nothing,
}

/// What is called, and by which means.
#[derive(Clone, Copy, Debug)]
pub(super) struct Invocation<'i> {
    pub lua: &'i Lua,
    pub function: &'i Function,
    /// Makes a table of an error, where it happens.
    pub handler: &'i Function,
    pub given: Given<'i>,
}

impl Invocation<'_> {
    /// Calls it, and appends its result to the reply in the form that `protocol` asks for when it has ended. Returns what the handler made of an
    /// error, if there was one.
    pub fn call<'a>(
        self,
        keys: impl ExactSizeIterator<Item = &'a [u8]>,
        arguments: impl ExactSizeIterator<Item = &'a [u8]>,
        protocol: impl Fn() -> Protocol,
        reply: &mut Reply,
    ) -> mlua::Result<Result<(), Value>> {
        let (lua, begun, mut succeeded) = (self.lua, reply.bytes().len(), false);
        let body = |state: *mut ffi::lua_State| {
            // SAFETY: the state has three values on its stack, and as a C function's 20 free slots, of which seven are used, and six by `write`
            // before it asks for more. No value that has to be dropped lives here or in `write` when Lua is called, so a jump of Lua's, for want of
            // memory, may leave it; `exec_raw` catches it. The script itself runs in a protected call.
            unsafe {
                let count = match self.given {
                    Given::Globals(_) => {
                        push_text(state, b"KEYS");
                        push_words(state, keys);
                        ffi::lua_rawset(state, 3);
                        push_text(state, b"ARGV");
                        push_words(state, arguments);
                        ffi::lua_rawset(state, 3);
                        ffi::lua_pushvalue(state, 1);
                        0
                    }
                    Given::Arguments => {
                        ffi::lua_pushvalue(state, 1);
                        push_words(state, keys);
                        push_words(state, arguments);
                        2
                    }
                    Given::Nothing => {
                        ffi::lua_pushvalue(state, 1);
                        0
                    }
                };
                set_limit(lua, MEMORY_LIMIT);
                let status = ffi::lua_pcall(state, count, 1, 2);
                set_limit(lua, 0);
                succeeded = status == ffi::LUA_OK;
                if succeeded {
                    if write(state, protocol(), reply, 0).is_err() {
                        reply.bytes_mut().truncate(begun);
                        reply.error(b"ERR reached lua stack limit");
                    }
                    ffi::lua_settop(state, 0);
                } else {
                    ffi::lua_replace(state, 1);
                    ffi::lua_settop(state, 1);
                }
            }
        };
        // SAFETY: see the closure. It leaves nothing on the stack, or one value.
        let globals = if let Given::Globals(globals) = self.given { Some(globals) } else { None };
        let failure: mlua::Result<Value> = unsafe { lua.exec_raw((self.function, self.handler, globals), body) };
        set_limit(lua, 0);
        let failure = failure?;
        Ok(if succeeded { Ok(()) } else { Err(failure) })
    }
}

/// Pushes a table of words.
///
/// # Safety
///
/// The stack has room for two values.
unsafe fn push_words<'a>(state: *mut ffi::lua_State, words: impl ExactSizeIterator<Item = &'a [u8]>) {
    // SAFETY: a table is pushed, and a word, which goes into it.
    unsafe {
        ffi::lua_createtable(state, words.len().min(1 << 20) as c_int, 0);
        for (at, word) in words.enumerate() {
            push_text(state, word);
            ffi::lua_rawseti(state, -2, at as ffi::lua_Integer + 1);
        }
    }
}

/// What is nested deeper than a reply may be.
#[derive(Clone, Copy, Debug)]
struct TooDeep;

/// Appends the value on top of the stack, which stays there. Only with RESP3 as the script's protocol are booleans booleans. When it fails,
/// something may be left above the value.
///
/// # Safety
///
/// The stack has room for six values.
unsafe fn write(
    state: *mut ffi::lua_State,
    protocol: Protocol,
    reply: &mut Reply,
    depth: usize,
) -> Result<(), TooDeep> {
    if depth > MAX_DEPTH {
        return Err(TooDeep);
    }
    // SAFETY: what is read is of the type that was looked at, and on the stack. Room is asked for before going deeper.
    unsafe {
        match ffi::lua_type(state, -1) {
            ffi::LUA_TSTRING => reply.bulk(text(state, -1)),
            ffi::LUA_TNUMBER => reply.integer(truncated(ffi::lua_tonumber(state, -1))),
            ffi::LUA_TBOOLEAN if protocol == Protocol::Resp3 => reply.boolean(ffi::lua_toboolean(state, -1) != 0),
            ffi::LUA_TBOOLEAN if ffi::lua_toboolean(state, -1) != 0 => reply.integer(1),
            ffi::LUA_TTABLE => {
                if ffi::lua_checkstack(state, 12) == 0 {
                    return Err(TooDeep);
                }
                if !write_tagged(state, protocol, reply, depth)? {
                    write_array(state, protocol, reply, depth)?;
                }
            }
            _ => reply.null(),
        }
    }
    Ok(())
}

/// An array ends with the first nil.
///
/// # Safety
///
/// A table is on top of the stack, which has room for six values more.
unsafe fn write_array(
    state: *mut ffi::lua_State,
    protocol: Protocol,
    reply: &mut Reply,
    depth: usize,
) -> Result<(), TooDeep> {
    // SAFETY: each element is pushed and taken away.
    unsafe {
        let mut length = 0;
        loop {
            ffi::lua_rawgeti(state, -1, length as ffi::lua_Integer + 1);
            let is_end = ffi::lua_isnil(state, -1) != 0;
            ffi::lua_pop(state, 1);
            if is_end {
                break;
            }
            length += 1;
        }
        reply.array(length);
        for at in 1..=length {
            ffi::lua_rawgeti(state, -1, at as ffi::lua_Integer);
            write(state, protocol, reply, depth + 1)?;
            ffi::lua_pop(state, 1);
        }
    }
    Ok(())
}

/// Appends the table on top of the stack if a field makes it something else than an array. False: none does.
///
/// # Safety
///
/// A table is on top of the stack, which has room for six values more.
unsafe fn write_tagged(
    state: *mut ffi::lua_State,
    protocol: Protocol,
    reply: &mut Reply,
    depth: usize,
) -> Result<bool, TooDeep> {
    for tag in TAGS {
        // SAFETY: the field is pushed, and is on top while it is looked at; a field of its own beside it, or a key, a value and a copy. All of it is
        // taken away again.
        unsafe {
            let kind = push_field(state, tag);
            let found = match (tag, kind) {
                (b"err", ffi::LUA_TSTRING) => {
                    reply.error(text(state, -1));
                    true
                }
                (b"ok", ffi::LUA_TSTRING) => {
                    reply.simple_bytes(&without_breaks(text(state, -1)));
                    true
                }
                (b"double", ffi::LUA_TNUMBER) => {
                    reply.double(ffi::lua_tonumber(state, -1));
                    true
                }
                (b"map", ffi::LUA_TTABLE) => {
                    reply.map(count(state));
                    write_pairs(state, protocol, reply, depth, true)?;
                    true
                }
                (b"set", ffi::LUA_TTABLE) => {
                    reply.set(count(state));
                    write_pairs(state, protocol, reply, depth, false)?;
                    true
                }
                (b"big_number", ffi::LUA_TSTRING) => {
                    reply.big_number(&String::from_utf8_lossy(&without_breaks(text(state, -1))));
                    true
                }
                (b"verbatim_string", ffi::LUA_TTABLE) => {
                    let has_parts = push_field(state, b"string") == ffi::LUA_TSTRING;
                    ffi::lua_insert(state, -2);
                    let has_parts = push_field(state, b"format") == ffi::LUA_TSTRING && has_parts;
                    if has_parts {
                        let mut name = *b"   ";
                        name.iter_mut().zip(text(state, -1)).for_each(|(to, from)| *to = *from);
                        reply.verbatim(name, text(state, -3));
                    }
                    ffi::lua_pop(state, 2);
                    has_parts
                }
                _ => false,
            };
            ffi::lua_pop(state, 1);
            if found {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Pushes a field of the table on top of the stack. Returns its type.
///
/// # Safety
///
/// A table is on top of the stack, which has room for one value more.
unsafe fn push_field(state: *mut ffi::lua_State, name: &[u8]) -> c_int {
    // SAFETY: the name is pushed, and replaced by the field.
    unsafe {
        push_text(state, name);
        ffi::lua_rawget(state, -2);
        ffi::lua_type(state, -1)
    }
}

/// How many fields the table on top of the stack has.
///
/// # Safety
///
/// A table is on top of the stack, which has room for two values more.
unsafe fn count(state: *mut ffi::lua_State) -> usize {
    let mut count = 0;
    // SAFETY: lua_next takes the key and pushes the next one and its value, or nothing at the end. The key is one of the table's.
    unsafe {
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, -2) != 0 {
            ffi::lua_pop(state, 1);
            count += 1;
        }
    }
    count
}

/// Appends the fields of the table on top of the stack: keys, and values if they are asked for.
///
/// # Safety
///
/// A table is on top of the stack, which has room for nine values more.
unsafe fn write_pairs(
    state: *mut ffi::lua_State,
    protocol: Protocol,
    reply: &mut Reply,
    depth: usize,
    with_values: bool,
) -> Result<(), TooDeep> {
    // SAFETY: as for `count`; nothing changes the key, of which a copy is written.
    unsafe {
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, -2) != 0 {
            ffi::lua_pushvalue(state, -2);
            write(state, protocol, reply, depth + 1)?;
            ffi::lua_pop(state, 1);
            if with_values {
                write(state, protocol, reply, depth + 1)?;
            }
            ffi::lua_pop(state, 1);
        }
    }
    Ok(())
}

/// A float as an integer, as C converts it on the machines that Redis is usually run on: what does not fit is the lowest.
fn truncated(number: f64) -> i64 {
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number) { number as i64 } else { i64::MIN }
}

fn without_breaks(text: &[u8]) -> Vec<u8> {
    text.iter().map(|&byte| if byte == b'\r' || byte == b'\n' { b' ' } else { byte }).collect()
}
