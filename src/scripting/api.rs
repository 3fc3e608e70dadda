//! The table `redis` of scripts and functions, and `math.random`.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Table, Value};

use super::convert::error_table;
use super::engine::{digest_of, hexadecimal};
use super::functions::{FunctionFacts, Registration};
use super::libraries::native::{self, Fault, Returned};
use super::random::Random;
use super::redis_call::{NO_WORD, NO_WORDS};
use super::{HOST, LogLevel, redis_call};
use crate::commands::REDIS_VERSION;
use crate::resp::{Arguments, Protocol, Reply, format_double};

/// What Lua calls the source of the sandbox.
pub(super) const SANDBOX: &str = "=sandbox";
/// The version as a number: 0x00MMmmpp.
const VERSION_NUMBER: u32 = 0x0007_0204;

/// What the functions of one state share.
#[derive(Default)]
pub(super) struct Shared {
    /// What the script asked for with `redis.setresp`.
    pub protocol: Cell<Protocol>,
    pub random: Cell<Random>,
    /// The library that is being loaded has registered these.
    pub registered: RefCell<Vec<FunctionFacts>>,
    /// Their code, in the same order. In a table of Lua's: mlua itself can hold only some thousand values.
    pub callbacks: RefCell<Option<Table>>,
    pub buffers: RefCell<Buffers>,
    /// A command of the script ended with this. It goes on when the script has ended.
    pub panic: Cell<Option<Box<dyn Any + Send>>>,
}

/// Used again by every call.
#[derive(Default)]
pub(super) struct Buffers {
    pub reply: Reply,
    pub bytes: Vec<u8>,
    pub ranges: Vec<Range<u32>>,
    /// Why the request was not run.
    pub refusal: Option<&'static str>,
}

/// What is kept of them between calls, in bytes.
const KEPT_BYTES: usize = 64 << 10;

/// An error of mlua's own kind: why a script is ended.
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

/// Ends the script here, from within a hook. `None`: nothing of the script itself runs.
pub(super) fn end_here(lua: &Lua, text: &str) -> Option<mlua::Error> {
    let place = place(lua, 0)?;
    Some(mlua::Error::external(Raised { text: text.into(), place: Some(place), counted: false }))
}

/// An error in what called a function of the host: a table.
fn raise(lua: &Lua, text: impl AsRef<[u8]>) -> Fault {
    raise_counted(lua, text.as_ref(), false)
}

pub(super) fn raise_counted(lua: &Lua, text: &[u8], counted: bool) -> Fault {
    let table = error_table(lua, text, counted).and_then(|table| {
        if let (Value::Table(table), Some((source, line))) = (&table, place(lua, 2)) {
            table.raw_set("source", source)?;
            table.raw_set("line", line)?;
        }
        Ok(table)
    });
    table.map_or_else(Fault::Lua, Fault::Value)
}

/// Where the script is: its innermost line, from that level on.
pub(super) fn place(lua: &Lua, level: usize) -> Option<(String, usize)> {
    let of = |debug: &mlua::debug::Debug<'_>| {
        let source = debug.source();
        if source.what == "C" || source.source.as_deref() == Some(SANDBOX) {
            return None;
        }
        Some((source.source?.into_owned(), debug.current_line()?))
    };
    // What stands between is the library, or the sandbox.
    (level..level + 4).find_map(|level| lua.inspect_stack(level, of).flatten())
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
pub(super) fn write_number(number: f64, out: &mut Vec<u8>) {
    if number == 0.0 && number.is_sign_negative() {
        out.extend_from_slice(b"-0");
    } else if number.fract() == 0.0 && number.abs() < 9.2e18 {
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
            return Err(NO_WORDS);
        }
        for argument in arguments {
            // What Lua may use is far below what 32 bits can tell.
            let start = self.bytes.len() as u32;
            match argument {
                Value::String(text) => self.bytes.extend_from_slice(&text.as_bytes()),
                Value::Integer(number) => write_number(*number as f64, &mut self.bytes),
                Value::Number(number) => write_number(*number, &mut self.bytes),
                _ => return Err(NO_WORD),
            }
            self.ranges.push(start..self.bytes.len() as u32);
        }
        Ok(())
    }

    /// Gives memory back that only a large request or reply needed.
    pub fn shrink(&mut self) {
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
        if self.reply.bytes().len() > KEPT_BYTES {
            *self.reply.bytes_mut() = Vec::new();
        }
    }
}

/// The table `redis`; of a script it has more than of a function.
pub(super) fn make(lua: &Lua, shared: &Rc<Shared>, of_script: bool) -> mlua::Result<Table> {
    let table = constants(lua)?;
    table.raw_set("call", redis_call::make(lua, shared, true)?)?;
    table.raw_set("pcall", redis_call::make(lua, shared, false)?)?;
    table.raw_set("error_reply", native::function(lua, |given| one_field(given, "err"))?)?;
    table.raw_set("status_reply", native::function(lua, |given| one_field(given, "ok"))?)?;
    table.raw_set("sha1hex", native::function(lua, sha1hex)?)?;
    table.raw_set("log", native::function(lua, log)?)?;
    let state = Rc::clone(shared);
    table.raw_set("setresp", native::function(lua, move |given| set_protocol(given, &state))?)?;
    table.raw_set("set_repl", native::function(lua, set_repl)?)?;
    let state = Rc::clone(shared);
    let check = native::function(lua, move |given| {
        let mut buffers = state.buffers.borrow_mut();
        buffers.take(&given.values).map_err(|text| raise(given.lua, text))?;
        let words = Arguments::new(&buffers.bytes, &buffers.ranges);
        let allowed = HOST.with(|host| host.may_call(&words));
        let allowed = allowed.ok_or_else(|| raise(given.lua, "ERR Invalid command passed to redis.acl_check_cmd()"))?;
        Ok(Value::Boolean(allowed).into())
    })?;
    table.raw_set("acl_check_cmd", check)?;
    if of_script {
        table.raw_set("replicate_commands", lua.create_function(|_, ()| Ok(true))?)?;
        // There is no debugger: as in Redis without one, these do nothing.
        table.raw_set("breakpoint", lua.create_function(|_, ()| Ok(false))?)?;
        table.raw_set("debug", lua.create_function(|_, ()| Ok(()))?)?;
    }
    Ok(table)
}

/// The table `redis` while a library is loaded.
pub(super) fn make_for_loading(lua: &Lua, shared: &Rc<Shared>) -> mlua::Result<Table> {
    let table = constants(lua)?;
    table.raw_set("log", native::function(lua, log)?)?;
    let state = Rc::clone(shared);
    let register = native::function(lua, move |given| {
        let Registration { facts, function } =
            Registration::read(&given.values).map_err(|text| raise(given.lua, text))?;
        let mut registered = state.registered.borrow_mut();
        if registered.iter().any(|other| other.name == facts.name) {
            return Err(raise(given.lua, "ERR Function already exists in the library"));
        }
        registered.push(facts);
        if let Some(callbacks) = &*state.callbacks.borrow() {
            callbacks.raw_set(registered.len(), function)?;
        }
        Ok(NOTHING)
    })?;
    table.raw_set("register_function", register)?;
    Ok(table)
}

/// No value.
const NOTHING: Returned = Returned::One(Value::Nil);

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

fn one_field(given: &native::Arguments<'_>, field: &str) -> Result<Returned, Fault> {
    let lua = given.lua;
    let (1, Some(Value::String(text))) = (given.count(), given.get(1)) else {
        return Ok(error_table(lua, b"ERR wrong number or type of arguments", false)?.into());
    };
    let table = lua.create_table_with_capacity(0, 1)?;
    let text = text.as_bytes();
    if field == "err" {
        // A code goes before the text; a single word is no code.
        let text = text.strip_prefix(b"-").unwrap_or(&text);
        let text = if text.contains(&b' ') { text.to_vec() } else { [b"ERR ", text].concat() };
        table.raw_set(field, lua.create_string(text)?)?;
    } else {
        table.raw_set(field, lua.create_string(&*text)?)?;
    }
    Ok(Value::Table(table).into())
}

fn sha1hex(given: &native::Arguments<'_>) -> Result<Returned, Fault> {
    if given.count() != 1 {
        return Err(raise(given.lua, "ERR wrong number of arguments"));
    }
    let text = given.get(1).cloned().map(|value| given.lua.coerce_string(value)).transpose()?.flatten();
    let digest = text.map_or_else(|| digest_of(b""), |text| digest_of(&text.as_bytes()));
    Ok(Value::String(given.lua.create_string(hexadecimal(&digest))?).into())
}

fn log(given: &native::Arguments<'_>) -> Result<Returned, Fault> {
    let lua = given.lua;
    if given.count() < 2 {
        return Err(raise(lua, "ERR redis.log() requires two arguments or more."));
    }
    let Some(level) = number_of(given)? else {
        return Err(raise(lua, "ERR First argument must be a number (log level)."));
    };
    let level = match native::to_integer(level) {
        0 => LogLevel::Debug,
        1 => LogLevel::Verbose,
        2 => LogLevel::Notice,
        3 => LogLevel::Warning,
        _ => return Err(raise(lua, "ERR Invalid debug level.")),
    };
    let mut message = Vec::new();
    for (at, part) in given.values.iter().skip(1).enumerate() {
        if let Some(text) = lua.coerce_string(part.clone())? {
            message.extend_from_slice(if at > 0 { b" " } else { b"" });
            message.extend_from_slice(&text.as_bytes());
        }
    }
    HOST.with(|host| host.log(level, &message));
    Ok(NOTHING)
}

fn number_of(given: &native::Arguments<'_>) -> Result<Option<f64>, Fault> {
    Ok(given.get(1).cloned().map(|value| given.lua.coerce_number(value)).transpose()?.flatten())
}

fn set_protocol(given: &native::Arguments<'_>, shared: &Shared) -> Result<Returned, Fault> {
    if given.count() != 1 {
        return Err(raise(given.lua, "ERR redis.setresp() requires one argument."));
    }
    shared.protocol.set(match number_of(given)? {
        Some(2.0) => Protocol::Resp2,
        Some(3.0) => Protocol::Resp3,
        _ => return Err(raise(given.lua, "ERR RESP version must be 2 or 3.")),
    });
    Ok(NOTHING)
}

/// What a script writes is one effect, whatever it says here: replication cannot be turned off for a part of it.
fn set_repl(given: &native::Arguments<'_>) -> Result<Returned, Fault> {
    if given.count() != 1 {
        return Err(raise(given.lua, "ERR redis.set_repl() requires two arguments."));
    }
    // What is no number counts as 0.
    match (0.0..4.0).contains(&number_of(given)?.unwrap_or(0.0)) {
        true => Ok(NOTHING),
        false => {
            Err(raise(given.lua, "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE."))
        }
    }
}

/// Replaces what chooses at random.
pub(super) fn fill_math(lua: &Lua, shared: &Rc<Shared>, math: &Table) -> mlua::Result<()> {
    let state = Rc::clone(shared);
    let random = native::function(lua, move |given| {
        let mut random = state.random.get();
        let chosen = random.next();
        state.random.set(random);
        let (low, high) = match given.count() {
            0 => return Ok(Value::Number(chosen).into()),
            1 => (1.0, given.number(1)?.trunc()),
            2 => (given.number(1)?.trunc(), given.number(2)?.trunc()),
            _ => return Err(Fault::Here("wrong number of arguments".into())),
        };
        if low > high {
            return Err(Fault::argument(given.count(), "interval is empty"));
        }
        Ok(Value::Number((chosen * (high - low + 1.0)).floor() + low).into())
    })?;
    math.raw_set("random", random)?;
    let state = Rc::clone(shared);
    let seed = native::function(lua, move |given| {
        state.random.set(Random::seeded(native::to_integer(given.number(1)?) as i32));
        Ok(NOTHING)
    })?;
    math.raw_set("randomseed", seed)
}
