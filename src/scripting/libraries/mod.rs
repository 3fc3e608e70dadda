//! The libraries that scripts find beside Lua's own: `cjson`, `cmsgpack`, `struct` and `bit`.
//!
//! They must not know the server, its data or its clients: they work on Lua values alone. Every behaviour, also of wrong
//! arguments, is that of redis-server 7.0.15, whose replies the tests hold.
//!
//! **How a function written in Rust raises a Lua error.** An `Err` that a callback of mlua returns arrives in the script as
//! userdata, not as the text or table that `pcall` shows in Redis. So the functions here are made by
//! [`native::function`], which the rest of the engine can use as well (for `redis.call`, `redis.error_reply` …): the Rust
//! function returns a [`native::Fault`], and a C function around it raises what that says: any value as it is, a text, a text behind
//! the position of the caller (`user_script:1: `), or an error in an argument in Lua's own words (`bad argument #1 to 'f' (…)`).
//! That is no Lua function, because `return f(x)` is a tail call: a Lua function would take the place of its caller, whose line is
//! then unknown. Within such a Rust function the script is level 2 of [`mlua::Lua::inspect_stack`]: 0 is the Rust function, 1 the one
//! around it. Such functions also take and return thousands of strings ([`native::Returned::List`]), of which mlua can hold no more
//! than about 7,900 at once.

mod bits;
mod cjson;
mod cmsgpack;
pub mod native;
mod structs;

/// Installs the globals `cjson`, `cmsgpack`, `struct` and `bit`. Whoever calls it makes them read-only.
pub fn open(lua: &mlua::Lua) -> mlua::Result<()> {
    let globals = lua.globals();
    globals.raw_set("cjson", cjson::library(lua)?)?;
    globals.raw_set("cmsgpack", cmsgpack::library(lua)?)?;
    globals.raw_set("struct", structs::library(lua)?)?;
    globals.raw_set("bit", bits::library(lua)?)
}

#[cfg(test)]
mod testing {
    //! Scripts against the libraries alone.

    use mlua::{Lua, Value};

    /// What a script returns, as `tostring` shows it; of an error the text behind `error: `, which is that of redis-server's
    /// reply up to ` script: …`.
    pub(super) fn run(script: &str) -> String {
        let lua = Lua::new();
        super::open(&lua).unwrap();
        let shown = lua.create_table().unwrap();
        shown.set("script", lua.load(script).set_name("@user_script").into_function().unwrap()).unwrap();
        lua.globals().set("tested", shown).unwrap();
        // pcall within Lua, so that an error is seen as a script sees it.
        let ended = "local ok, value = pcall(tested.script)
            if not ok and type(value) ~= 'string' then return 'not a text: ' .. tostring(value) end
            if type(value) == 'table' then
                for i = 1, #value do value[i] = tostring(value[i]) end
                value = table.concat(value, '|')
            end
            return (ok and '' or 'error: ') .. tostring(value)";
        match lua.load(ended).eval::<Value>().unwrap() {
            Value::String(text) => text.as_bytes().iter().map(|&byte| char::from(byte)).collect(),
            other => panic!("{script}: {other:?}"),
        }
    }

    /// Runs pairs of a script and what redis-server 7.0.15 answered.
    pub(super) fn check(cases: &[(&str, &str)]) {
        for (script, expected) in cases {
            assert_eq!(run(script), *expected, "{script}");
        }
    }
}
