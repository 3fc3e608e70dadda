//! What a script finds when it starts: the globals of Redis, none of which it can change.
//!
//! Lua 5.1 has no tables that are read-only. A script sees empty ones instead, whose metatables show what is behind and refuse writes
//! (`sandbox.lua`); the functions that look past metatables are replaced.

use std::rc::Rc;

use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, LuaOptions, MultiValue, StdLib, Table, Value};

use super::api::{self, Shared};
use super::libraries;
use super::libraries::native::{self, Fault, Returned};

/// The globals that are left of the libraries of Lua, as in Redis.
const KEPT: &[&str] = &[
    "_VERSION",
    "assert",
    "collectgarbage",
    "coroutine",
    "error",
    "gcinfo",
    "getmetatable",
    "ipairs",
    "load",
    "loadstring",
    "math",
    "next",
    "pairs",
    "pcall",
    "rawequal",
    "rawget",
    "rawset",
    "select",
    "setmetatable",
    "string",
    "table",
    "tonumber",
    "tostring",
    "type",
    "unpack",
    "xpcall",
];
const READONLY: &str = "Attempt to modify a readonly table";
/// The libraries beside Lua's own.
const OWN_LIBRARIES: &[&str] = &["bit", "cjson", "cmsgpack", "struct"];
/// Tables of Lua's that scripts share.
const SHARED_TABLES: &[&str] = &["coroutine", "math", "string", "table"];

/// A Lua state with everything in it that scripts find.
pub(super) struct Sandbox {
    pub lua: Lua,
    /// What is behind the globals of scripts.
    pub globals: Table,
    /// The globals of functions, and the metatable that says what is behind them.
    pub function_globals: Table,
    pub function_rules: Table,
    /// What is behind those while a library is loaded, and when a function runs.
    pub while_loading: Table,
    pub while_running: Table,
}

/// Makes a state.
pub(super) fn make(shared: &Rc<Shared>) -> mlua::Result<Sandbox> {
    let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH;
    let lua = Lua::new_with(libraries, LuaOptions::default())?;
    let all = lua.globals();
    let globals = lua.create_table()?;
    libraries::open(&lua)?;
    for name in KEPT.iter().chain(OWN_LIBRARIES) {
        globals.raw_set(*name, all.raw_get::<Value>(*name)?)?;
    }
    let explain = api::explain(&lua)?;
    let prelude = lua.load(include_str!("sandbox.lua")).set_name(api::SANDBOX).set_mode(ChunkMode::Text);
    let behind = lua.create_table()?;
    let (protect, strict, strings): (Function, Function, Table) =
        prelude.call((globals.clone(), behind.clone(), explain))?;
    globals.raw_set("collectgarbage", native::function(&lua, collect)?)?;
    replace_those_that_look_past(&lua, &globals, &behind, all.raw_get("next")?)?;
    api::fill_math(&lua, shared, &globals.raw_get("math")?)?;
    for name in SHARED_TABLES.iter().chain(OWN_LIBRARIES) {
        if let Some(real) = globals.raw_get::<Option<Table>>(*name)? {
            globals.raw_set(*name, protect.call::<Table>(real)?)?;
        }
    }
    // Methods of strings are found as before; what scripts see of that cannot be changed.
    let seen = lua.create_table()?;
    seen.raw_set("__index", globals.raw_get::<Value>("string")?)?;
    strings.raw_set("__metatable", protect.call::<Table>(seen)?)?;

    let running = api::make(&lua, shared, true)?;
    let for_functions = api::make(&lua, shared, false)?;
    let loading = api::make_for_loading(&lua, shared)?;
    // A function sees all but the keys and arguments, which it is given as such.
    let while_running = lua.create_table()?;
    for pair in globals.pairs::<Value, Value>() {
        let (name, value) = pair?;
        while_running.raw_set(name, value)?;
    }
    while_running.raw_set("redis", protect.call::<Table>(for_functions)?)?;
    let while_loading = lua.create_table()?;
    while_loading.raw_set("redis", protect.call::<Table>(strict.call::<Table>(loading)?)?)?;
    globals.raw_set("redis", protect.call::<Table>(running)?)?;

    let shown: Table = protect.call(strict.call::<Table>(globals.clone())?)?;
    globals.raw_set("_G", shown.clone())?;
    lua.set_globals(shown)?;
    let while_running: Table = strict.call(while_running)?;
    let while_loading: Table = strict.call(while_loading)?;
    let function_globals: Table = protect.call(while_running.clone())?;
    let function_rules = function_globals.metatable().ok_or_else(|| mlua::Error::runtime("protected without rules"))?;
    while_running.raw_set("_G", function_globals.clone())?;
    Ok(Sandbox { lua, globals, function_globals, function_rules, while_loading, while_running })
}

/// The functions that look past metatables. C functions, so that what they raise names the line of who called them.
fn replace_those_that_look_past(lua: &Lua, globals: &Table, behind: &Table, next: Function) -> mlua::Result<()> {
    let real = behind.clone();
    let pairs = native::function(lua, move |given| {
        let shown = table(given)?;
        let each = match real.raw_get::<Option<Table>>(&shown)? {
            None => shown,
            // Who walks through it gets a copy, not what is behind.
            Some(real) => {
                let copy = given.lua.create_table()?;
                real.for_each(|key: Value, value: Value| copy.raw_set(key, value))?;
                copy
            }
        };
        let values = [Value::Function(next.clone()), Value::Table(each), Value::Nil];
        Ok(Returned::Values(MultiValue::from_iter(values)))
    })?;
    globals.raw_set("pairs", pairs)?;
    let real = behind.clone();
    let rawget = native::function(lua, move |given| {
        let shown = table(given)?;
        let looked_at = real.raw_get::<Option<Table>>(&shown)?.unwrap_or(shown);
        let key = given.get(2).cloned().ok_or_else(|| Fault::argument(2, "value expected"))?;
        Ok(looked_at.raw_get::<Value>(key)?.into())
    })?;
    globals.raw_set("rawget", rawget)?;
    for (library, name) in [(globals, "rawset"), (globals, "setmetatable"), (&globals.raw_get("table")?, "insert")] {
        let guarded = native::guarded(lua, library.raw_get(name)?, behind, READONLY)?;
        library.raw_set(name, guarded)?;
    }
    Ok(())
}

/// Scripts may look at the memory and help its collection along. They cannot stop it: the next script would be without.
fn collect(given: &native::Arguments<'_>) -> Result<Returned, Fault> {
    let option = match given.get(1) {
        None | Some(Value::Nil) => b"collect".to_vec(),
        Some(_) => given.bytes(1)?,
    };
    Ok(match &*option {
        b"collect" => {
            given.lua.gc_collect()?;
            Value::Integer(0).into()
        }
        b"count" => Value::Number(given.lua.used_memory() as f64 / 1024.0).into(),
        b"step" => Value::Boolean(given.lua.gc_step()?).into(),
        b"stop" | b"restart" | b"setpause" | b"setstepmul" => Value::Integer(0).into(),
        other => {
            let text = [b"invalid option '", other, b"'"].concat();
            return Err(Fault::Argument(1, text));
        }
    })
}

/// The first argument, which has to be a table.
fn table(given: &native::Arguments<'_>) -> Result<Table, Fault> {
    match given.get(1) {
        Some(Value::Table(table)) => Ok(table.clone()),
        other => Err(Fault::wrong_type(1, "table", other)),
    }
}
