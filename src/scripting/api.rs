//! The table `redis` of scripts and functions, and `math.random`.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Table, Value};

use super::convert::{error_of, error_table, value_of};
use super::engine::{digest_of, hexadecimal};
use super::functions::Registration;
use super::random::Random;
use super::{HOST, LogLevel};
use crate::commands::REDIS_VERSION;
use crate::resp::{Arguments, Protocol, Reply, format_double};

/// The version as a number: 0x00MMmmpp.
const VERSION_NUMBER: u32 = 0x0007_0204;

/// What the functions of one state share.
#[derive(Default)]
pub(super) struct Shared {
    /// What the script asked for with `redis.setresp`.
    pub protocol: Cell<Protocol>,
    pub random: Cell<Random>,
    /// The library that is being loaded has registered these.
    pub registered: RefCell<Vec<Registration>>,
    buffers: RefCell<Buffers>,
}

/// Used again by every call.
#[derive(Default)]
struct Buffers {
    reply: Reply,
    bytes: Vec<u8>,
    ranges: Vec<Range<u32>>,
}

/// What is kept of them between calls, in bytes.
const KEPT_BYTES: usize = 64 << 10;

/// An error as a script sees it: a table, or text.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", String::from_utf8_lossy(.text))]
pub(super) struct Raised {
    /// Code and text.
    pub text: Vec<u8>,
    /// Where, as Lua names it: the source and the line.
    pub place: Option<(String, usize)>,
    /// It is the error of a command, which the host knows of.
    pub counted: bool,
}

/// An error in what called a function of the host.
pub(super) fn raise(lua: &Lua, text: impl Into<Vec<u8>>) -> mlua::Error {
    mlua::Error::external(Raised { text: text.into(), place: place(lua, 1), counted: false })
}

/// Where the function of that level is.
pub(super) fn place(lua: &Lua, level: usize) -> Option<(String, usize)> {
    let of = |debug: &mlua::debug::Debug<'_>| {
        let source = debug.source();
        if source.what == "C" {
            return None;
        }
        Some((source.source?.into_owned(), debug.current_line()?))
    };
    lua.inspect_stack(level, of).flatten()
}

/// Makes a table of what the host raised; nil for anything else.
pub(super) fn explain(lua: &Lua) -> mlua::Result<Function> {
    lua.create_function(|lua, failure: Value| {
        let Value::Error(error) = failure else { return Ok(Value::Nil) };
        let Some(raised) = error.downcast_ref::<Raised>() else {
            let text = match &*error {
                mlua::Error::MemoryError(_) => "ERR not enough memory".to_string(),
                other => format!("ERR {}", other.to_string().lines().next().unwrap_or_default()),
            };
            return error_table(lua, text.as_bytes(), false);
        };
        let table = error_table(lua, &raised.text, raised.counted)?;
        if let (Value::Table(table), Some((source, line))) = (&table, &raised.place) {
            table.raw_set("source", source.as_str())?;
            table.raw_set("line", *line)?;
        }
        Ok(table)
    })
}

/// The number as a word of a request: an integer if it is one, else with 17 digits.
fn write_number(number: f64, out: &mut Vec<u8>) {
    if number.fract() == 0.0 && number.abs() < 9.2e18 {
        let mut digits = itoa::Buffer::new();
        out.extend_from_slice(digits.format(number as i64).as_bytes());
    } else {
        out.extend_from_slice(format_double(number).as_bytes());
    }
}

impl Buffers {
    /// Takes the words of a request in. The error is for the script.
    fn take(&mut self, arguments: &MultiValue) -> Result<(), &'static str> {
        self.bytes.clear();
        self.ranges.clear();
        if arguments.is_empty() {
            return Err("ERR Please specify at least one argument for this redis lib call");
        }
        for argument in arguments {
            // What Lua may use is far below what 32 bits can tell.
            let start = self.bytes.len() as u32;
            match argument {
                Value::String(text) => self.bytes.extend_from_slice(&text.as_bytes()),
                Value::Integer(number) => write_number(*number as f64, &mut self.bytes),
                Value::Number(number) => write_number(*number, &mut self.bytes),
                _ => return Err("ERR Lua redis lib command arguments must be strings or integers"),
            }
            self.ranges.push(start..self.bytes.len() as u32);
        }
        Ok(())
    }

    fn shrink(&mut self) {
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
        if self.reply.bytes().len() > KEPT_BYTES {
            *self.reply.bytes_mut() = Vec::new();
        }
    }
}

/// Runs a command: its value, or the text of its error and whether the host knows of it.
fn call(lua: &Lua, shared: &Shared, arguments: &MultiValue) -> mlua::Result<Result<Value, (Vec<u8>, bool)>> {
    let mut buffers = shared.buffers.borrow_mut();
    let buffers = &mut *buffers;
    if let Err(text) = buffers.take(arguments) {
        return Ok(Err((text.into(), false)));
    }
    buffers.reply.bytes_mut().clear();
    buffers.reply.set_protocol(shared.protocol.get());
    let words = Arguments::new(&buffers.bytes, &buffers.ranges);
    HOST.with(|host| host.call(&words, &mut buffers.reply));
    let outcome = match error_of(buffers.reply.bytes()) {
        Some(text) => Ok(Err((text.to_vec(), true))),
        None => value_of(lua, &mut buffers.reply.bytes()).map(Ok),
    };
    buffers.shrink();
    outcome
}

/// The table `redis`; of a script it has more than of a function.
pub(super) fn make(lua: &Lua, shared: &Rc<Shared>, of_script: bool) -> mlua::Result<Table> {
    let table = constants(lua)?;
    let state = Rc::clone(shared);
    let calling = lua.create_function(move |lua, arguments: MultiValue| {
        let outcome = call(lua, &state, &arguments)?;
        outcome.map_err(|(text, counted)| mlua::Error::external(Raised { text, place: place(lua, 1), counted }))
    })?;
    table.raw_set("call", calling)?;
    let state = Rc::clone(shared);
    let protected = lua.create_function(move |lua, arguments: MultiValue| match call(lua, &state, &arguments)? {
        Ok(value) => Ok(value),
        Err((text, _)) => error_table(lua, &text, true),
    })?;
    table.raw_set("pcall", protected)?;
    table
        .raw_set("error_reply", lua.create_function(|lua, arguments: MultiValue| one_field(lua, &arguments, "err"))?)?;
    table
        .raw_set("status_reply", lua.create_function(|lua, arguments: MultiValue| one_field(lua, &arguments, "ok"))?)?;
    table.raw_set("sha1hex", lua.create_function(sha1hex)?)?;
    table.raw_set("log", lua.create_function(log)?)?;
    let state = Rc::clone(shared);
    table.raw_set(
        "setresp",
        lua.create_function(move |lua, arguments: MultiValue| set_protocol(lua, &state, &arguments))?,
    )?;
    table.raw_set("set_repl", lua.create_function(set_repl)?)?;
    let state = Rc::clone(shared);
    let check = lua.create_function(move |lua, arguments: MultiValue| {
        let mut buffers = state.buffers.borrow_mut();
        buffers.take(&arguments).map_err(|text| raise(lua, text))?;
        let words = Arguments::new(&buffers.bytes, &buffers.ranges);
        let allowed = HOST.with(|host| host.may_call(&words));
        allowed.ok_or_else(|| raise(lua, "ERR Invalid command passed to redis.acl_check_cmd()"))
    })?;
    table.raw_set("acl_check_cmd", check)?;
    if of_script {
        table.raw_set("replicate_commands", lua.create_function(|_, ()| Ok(true))?)?;
        // There is no debugger: as in Redis without one, these do nothing.
        table.raw_set("breakpoint", lua.create_function(|_, _: MultiValue| Ok(false))?)?;
        table.raw_set("debug", lua.create_function(|_, _: MultiValue| Ok(()))?)?;
    }
    Ok(table)
}

/// The table `redis` while a library is loaded.
pub(super) fn make_for_loading(lua: &Lua, shared: &Rc<Shared>) -> mlua::Result<Table> {
    let table = constants(lua)?;
    table.raw_set("log", lua.create_function(log)?)?;
    let state = Rc::clone(shared);
    let register = lua.create_function(move |lua, arguments: MultiValue| {
        let registration = Registration::read(&arguments).map_err(|text| raise(lua, text))?;
        let mut registered = state.registered.borrow_mut();
        if registered.iter().any(|other| other.facts.name == registration.facts.name) {
            return Err(raise(lua, "ERR Function already exists in the library"));
        }
        registered.push(registration);
        Ok(())
    })?;
    table.raw_set("register_function", register)?;
    Ok(table)
}

fn constants(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let numbers = [
        ("LOG_DEBUG", 0),
        ("LOG_VERBOSE", 1),
        ("LOG_NOTICE", 2),
        ("LOG_WARNING", 3),
        ("REPL_NONE", 0),
        ("REPL_AOF", 1),
        ("REPL_SLAVE", 2),
        ("REPL_REPLICA", 2),
        ("REPL_ALL", 3),
        ("REDIS_VERSION_NUM", VERSION_NUMBER),
    ];
    for (name, number) in numbers {
        table.raw_set(name, number)?;
    }
    table.raw_set("REDIS_VERSION", REDIS_VERSION)?;
    Ok(table)
}

fn one_field(lua: &Lua, arguments: &MultiValue, field: &str) -> mlua::Result<Value> {
    let (1, Some(Value::String(text))) = (arguments.len(), arguments.front()) else {
        return error_table(lua, b"ERR wrong number or type of arguments", false);
    };
    let table = lua.create_table_with_capacity(0, 1)?;
    let text = text.as_bytes();
    if field == "err" {
        // A code goes before the text; a single word is no code.
        let text = match text.strip_prefix(b"-") {
            Some(whole) => whole.to_vec(),
            None if text.contains(&b' ') => text.to_vec(),
            None => [b"ERR ", &*text].concat(),
        };
        table.raw_set(field, lua.create_string(text)?)?;
    } else {
        table.raw_set(field, lua.create_string(&*text)?)?;
    }
    Ok(Value::Table(table))
}

fn sha1hex(lua: &Lua, arguments: MultiValue) -> mlua::Result<String> {
    if arguments.len() != 1 {
        return Err(raise(lua, "ERR wrong number of arguments"));
    }
    let text = arguments.front().cloned().map(|value| lua.coerce_string(value)).transpose()?.flatten();
    let digest = text.map_or_else(|| digest_of(b""), |text| digest_of(&text.as_bytes()));
    Ok(hexadecimal(&digest))
}

fn log(lua: &Lua, arguments: MultiValue) -> mlua::Result<()> {
    if arguments.len() < 2 {
        return Err(raise(lua, "ERR redis.log() requires two arguments or more."));
    }
    let level = match arguments.front() {
        Some(Value::Integer(level)) => *level as f64,
        Some(Value::Number(level)) => *level,
        _ => return Err(raise(lua, "ERR First argument must be a number (log level).")),
    };
    let level = match level as i64 {
        0 => LogLevel::Debug,
        1 => LogLevel::Verbose,
        2 => LogLevel::Notice,
        3 => LogLevel::Warning,
        _ => return Err(raise(lua, "ERR Invalid debug level.")),
    };
    let mut message = Vec::new();
    for (at, part) in arguments.into_iter().skip(1).enumerate() {
        if let Some(text) = lua.coerce_string(part)? {
            message.extend_from_slice(if at > 0 { b" " } else { b"" });
            message.extend_from_slice(&text.as_bytes());
        }
    }
    HOST.with(|host| host.log(level, &message));
    Ok(())
}

fn set_protocol(lua: &Lua, shared: &Shared, arguments: &MultiValue) -> mlua::Result<()> {
    if arguments.len() != 1 {
        return Err(raise(lua, "ERR redis.setresp() requires one argument."));
    }
    let number = arguments.front().cloned().map(|value| lua.coerce_number(value)).transpose()?.flatten();
    shared.protocol.set(match number {
        Some(2.0) => Protocol::Resp2,
        Some(3.0) => Protocol::Resp3,
        _ => return Err(raise(lua, "ERR RESP version must be 2 or 3.")),
    });
    Ok(())
}

/// What a script writes is one effect, whatever it says here: replication cannot be turned off for a part of it.
fn set_repl(lua: &Lua, arguments: MultiValue) -> mlua::Result<()> {
    if arguments.len() != 1 {
        return Err(raise(lua, "ERR redis.set_repl() requires two arguments."));
    }
    let flags = arguments.front().cloned().map(|value| lua.coerce_number(value)).transpose()?.flatten();
    match flags {
        Some(flags) if (0.0..=3.0).contains(&flags) => Ok(()),
        _ => Err(raise(lua, "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.")),
    }
}

/// Replaces what chooses at random.
pub(super) fn fill_math(lua: &Lua, shared: &Rc<Shared>, math: &Table) -> mlua::Result<()> {
    let state = Rc::clone(shared);
    let random = lua.create_function(move |lua, arguments: MultiValue| {
        let mut random = state.random.get();
        let chosen = random.next();
        state.random.set(random);
        let wrong = |text: &str| Err(at_caller(lua, text));
        let mut bounds = [0.0; 2];
        let count = arguments.len();
        if count > 2 {
            return wrong("wrong number of arguments");
        }
        for (at, (bound, argument)) in bounds.iter_mut().zip(&arguments).enumerate() {
            let Some(number) = lua.coerce_number(argument.clone())? else {
                let found = argument.type_name();
                return wrong(&format!("bad argument #{} to 'random' (number expected, got {found})", at + 1));
            };
            *bound = number.trunc();
        }
        let (low, high) = match count {
            0 => return Ok(chosen),
            1 => (1.0, bounds[0]),
            _ => (bounds[0], bounds[1]),
        };
        if low > high {
            return wrong(&format!("bad argument #{count} to 'random' (interval is empty)"));
        }
        Ok((chosen * (high - low + 1.0)).floor() + low)
    })?;
    math.raw_set("random", random)?;
    let state = Rc::clone(shared);
    let seed = lua.create_function(move |lua, arguments: MultiValue| {
        let number = arguments.front().cloned().map(|value| lua.coerce_number(value)).transpose()?.flatten();
        let Some(number) = number else {
            return Err(at_caller(lua, "bad argument #1 to 'randomseed' (number expected)"));
        };
        state.random.set(Random::seeded(number as i64 as i32));
        Ok(())
    })?;
    math.raw_set("randomseed", seed)
}

/// An error of a function of Lua's own kind: with its place before the text.
fn at_caller(lua: &Lua, text: &str) -> mlua::Error {
    let place = place(lua, 1);
    let text = match &place {
        Some((source, line)) => format!("ERR {}:{line}: {text}", source.trim_start_matches(['@', '='])),
        None => format!("ERR {text}"),
    };
    mlua::Error::external(Raised { text: text.into_bytes(), place, counted: false })
}
