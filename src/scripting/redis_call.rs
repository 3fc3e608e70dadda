//! `redis.call` and `redis.pcall`: the words on Lua's stack are a request, and its reply goes there.
//!
//! Scripts do this more often than anything else, so it works on Lua's own stack: through mlua's values, one call cost about as much again as the
//! command itself (`ci/bench commands`, EVAL). What is rare is left to a function that mlua makes (`settle`): errors, and replies of RESP3.

use std::ffi::{c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;

use mlua::{Function, LightUserData, Lua, ffi};

use super::HOST;
use super::api::{Shared, raise_counted, write_number};
use super::convert::{error_of, error_table, length_of, next_line, take, value_of};
use super::libraries::native::{self, Fault, Returned};
use crate::resp::Arguments;

/// What is said of a call without words.
pub(super) const NO_WORDS: &str = "ERR Please specify at least one argument for this redis lib call";
/// What is said of a word that is none.
pub(super) const NO_WORD: &str = "ERR Lua redis lib command arguments must be strings or integers";
/// What is said when the command ended in a panic, which goes on when the script has ended.
const PANICKED: &str = "ERR internal error";

/// Makes one of the two. `raises`: an error ends the script, unless it catches it.
pub(super) fn make(lua: &Lua, shared: &Rc<Shared>, raises: bool) -> mlua::Result<Function> {
    let state = Rc::clone(shared);
    let settle = native::function(lua, move |given| settle(given.lua, &state, raises))?;
    let shared = LightUserData(Rc::as_ptr(shared).cast_mut().cast());
    // SAFETY: the closure gets a state with these two values on top and at least three free slots; it replaces them by a C closure that has them
    // as its upvalues. lua_pushcclosure raises only for want of memory, which exec_raw catches.
    unsafe { lua.exec_raw((settle, shared), |state| ffi::lua_pushcclosure(state, call, 2)) }
}

/// # Safety
///
/// Only Lua may call it, as the closure that [`make`] makes. No value of Rust that has to be dropped lives in its frame when it calls
/// what may raise, so it may be left by a jump of Lua's there.
unsafe extern "C-unwind" fn call(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: the upvalues are those that `make` has set. The first one, a closure, holds what the second one points to. The reply stays where it
    // is while it is pushed: only another call writes there, and nothing that pushing does, be it collecting garbage, calls. Lua gives a C function
    // 20 free slots beside its arguments, of which `push` uses at most four before it asks for more, and the rest one.
    unsafe {
        let shared = &*ffi::lua_touserdata(state, ffi::lua_upvalueindex(2)).cast::<Shared>().cast_const();
        let count = ffi::lua_gettop(state);
        if let Some(reply) = run(state, count, shared) {
            let mut reply: &[u8] = &*reply;
            if push(state, &mut reply) {
                return 1;
            }
        }
        ffi::lua_settop(state, 0);
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(1));
        ffi::lua_call(state, 0, 1);
        1
    }
}

/// Runs the command whose words are the first so many values on the stack. Returns its reply, if it is of a common kind; else [`settle`] finds
/// what it has to know.
///
/// # Safety
///
/// The state has so many values on its stack. The reply is there until the next call.
unsafe fn run(state: *mut ffi::lua_State, count: c_int, shared: &Shared) -> Option<*const [u8]> {
    let mut buffers = shared.buffers.borrow_mut();
    let buffers = &mut *buffers;
    buffers.shrink();
    buffers.bytes.clear();
    buffers.ranges.clear();
    buffers.refusal = (count == 0).then_some(NO_WORDS);
    for index in 1..=count {
        // What Lua may use is far below what 32 bits can tell.
        let start = buffers.bytes.len() as u32;
        // SAFETY: the index is one of the stack's, and the type is looked at first: asking a string for its bytes and a number for its value
        // changes nothing and raises nothing. The bytes are copied while the string is on the stack.
        unsafe {
            match ffi::lua_type(state, index) {
                ffi::LUA_TSTRING => buffers.bytes.extend_from_slice(text(state, index)),
                ffi::LUA_TNUMBER => write_number(ffi::lua_tonumber(state, index), &mut buffers.bytes),
                _ => buffers.refusal = Some(NO_WORD),
            }
        }
        buffers.ranges.push(start..buffers.bytes.len() as u32);
    }
    if buffers.refusal.is_some() {
        return None;
    }
    buffers.reply.bytes_mut().clear();
    buffers.reply.set_protocol(shared.protocol.get());
    let words = Arguments::new(&buffers.bytes, &buffers.ranges);
    let reply = &mut buffers.reply;
    // A panic must not run through the frames of Lua.
    let outcome = catch_unwind(AssertUnwindSafe(|| HOST.with(|host| host.call(&words, reply))));
    if let Err(panic) = outcome {
        shared.panic.set(Some(panic));
        buffers.refusal = Some(PANICKED);
        return None;
    }
    let reply = buffers.reply.bytes();
    matches!(reply.first(), Some(b':' | b'$' | b'+' | b'*')).then_some(ptr::from_ref(reply))
}

/// The bytes of a string on the stack.
///
/// # Safety
///
/// There is one at the index, and it stays there.
pub(super) unsafe fn text<'s>(state: *mut ffi::lua_State, index: c_int) -> &'s [u8] {
    let mut length = 0;
    // SAFETY: of a string Lua returns where its bytes are and how many.
    unsafe {
        let start = ffi::lua_tolstring(state, index, &mut length);
        std::slice::from_raw_parts(start.cast(), length)
    }
}

/// Pushes bytes as a string.
///
/// # Safety
///
/// The stack has room for it.
pub(super) unsafe fn push_text(state: *mut ffi::lua_State, bytes: &[u8]) {
    // SAFETY: Lua copies so many bytes from there.
    unsafe { ffi::lua_pushlstring(state, bytes.as_ptr().cast::<c_char>(), bytes.len()) };
}

/// Takes a reply of a common kind from the start of some bytes and pushes it. False: it is none, and something else may be pushed.
///
/// # Safety
///
/// The stack has room for four values.
unsafe fn push(state: *mut ffi::lua_State, bytes: &mut &[u8]) -> bool {
    let Some((kind, line)) = next_line(bytes) else { return false };
    // SAFETY: at most three values are pushed, and one more by the call for an element, for which the stack is asked first.
    unsafe {
        match kind {
            b':' => match std::str::from_utf8(line).ok().and_then(|text| text.parse::<i64>().ok()) {
                // Numbers of Lua 5.1 are floats.
                Some(number) => ffi::lua_pushnumber(state, number as f64),
                None => return false,
            },
            b'$' => match take(bytes, line) {
                Ok(Some(text)) => push_text(state, text),
                Ok(None) => ffi::lua_pushboolean(state, 0),
                Err(_) => return false,
            },
            b'+' => {
                ffi::lua_createtable(state, 0, 1);
                push_text(state, b"ok");
                push_text(state, line);
                ffi::lua_rawset(state, -3);
            }
            b'*' => {
                let Ok(length) = length_of(line) else { return false };
                let Some(length) = length else {
                    ffi::lua_pushboolean(state, 0);
                    return true;
                };
                if ffi::lua_checkstack(state, 6) == 0 {
                    return false;
                }
                ffi::lua_createtable(state, length.min(1 << 20) as c_int, 0);
                for at in 1..=length {
                    if !push(state, bytes) {
                        return false;
                    }
                    ffi::lua_rawseti(state, -2, at as ffi::lua_Integer);
                }
            }
            _ => return false,
        }
    }
    true
}

/// What the call returns, or raises, that is not common.
fn settle(lua: &Lua, shared: &Shared, raises: bool) -> Result<Returned, Fault> {
    let buffers = shared.buffers.borrow();
    let (text, counted) = match (buffers.refusal, error_of(buffers.reply.bytes())) {
        (Some(text), _) => (text.as_bytes(), false),
        (None, Some(text)) => (text, true),
        (None, None) => return Ok(value_of(lua, &mut buffers.reply.bytes())?.into()),
    };
    if raises { Err(raise_counted(lua, text, counted)) } else { Ok(error_table(lua, text, true)?.into()) }
}
