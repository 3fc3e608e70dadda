//! Functions in Rust that scripts can call, with errors as plain Lua values.
//!
//! It must not know what the functions do. The only unsafe code of the libraries is here: mlua has no safe way to raise
//! anything but its own userdata (see the comment of the module above).

use std::ffi::{c_char, c_int};
use std::ptr;

use mlua::{Function, IntoLuaMulti, Lua, MultiValue, Table, Value, ffi};

/// How a function fails.
#[derive(Debug)]
pub enum Fault {
    /// This value is raised as it is.
    Value(Value),
    /// A text, without a position.
    Plain(String),
    /// A text behind the position of the caller, as `error` writes it.
    Here(String),
    /// An error in an argument (1 is the first), in Lua's words around the text.
    Argument(c_int, Vec<u8>),
    /// A failure of mlua itself: no memory.
    Lua(mlua::Error),
}

impl Fault {
    /// An argument is not of the type that is wanted.
    pub fn wrong_type(number: usize, wanted: &str, given: Option<&Value>) -> Self {
        let given = given.map_or("no value", type_name);
        Self::Argument(number as c_int, format!("{wanted} expected, got {given}").into_bytes())
    }

    /// An error in an argument (1 is the first).
    pub fn argument(number: usize, text: &str) -> Self {
        Self::Argument(number as c_int, text.as_bytes().to_vec())
    }
}

impl From<mlua::Error> for Fault {
    fn from(error: mlua::Error) -> Self {
        Self::Lua(error)
    }
}

/// What a function returns.
pub enum Returned {
    /// One value.
    One(Value),
    /// A few values.
    Values(MultiValue),
    /// The first so many values of a table, for results of any number. At most [`MOST_RESULTS`].
    List(Table, usize),
}

impl From<Value> for Returned {
    fn from(value: Value) -> Self {
        Self::One(value)
    }
}

/// As many values as Lua's stack takes from a C function.
pub const MOST_RESULTS: usize = 7_999;

/// More arguments than this are refused: mlua cannot hold as many values as Lua can pass (7,999).
const MOST_ARGUMENTS: c_int = 7_900;

/// Any number of values, of which mlua holds only a few: with more, all of them go to a Lua table.
pub struct Values<'a> {
    lua: &'a Lua,
    few: Vec<Value>,
    many: Option<(Table, usize)>,
}

/// As many values as one list holds in mlua, of the about 7,900 that there is room for.
const FEW: usize = 200;

impl<'a> Values<'a> {
    /// None yet.
    pub fn new(lua: &'a Lua) -> Self {
        Self { lua, few: Vec::new(), many: None }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.many.as_ref().map_or(self.few.len(), |(_, count)| *count)
    }

    /// Adds one behind the others.
    pub fn push(&mut self, value: Value) -> mlua::Result<()> {
        if let Some((table, count)) = &mut self.many {
            *count += 1;
            return table.raw_set(*count, value);
        }
        self.few.push(value);
        if self.few.len() > FEW {
            let table = self.lua.create_table()?;
            let count = self.few.len();
            for (position, value) in self.few.drain(..).enumerate() {
                table.raw_set(position + 1, value)?;
            }
            self.many = Some((table, count));
        }
        Ok(())
    }

    /// Changes the first one, which must be there.
    pub fn set_first(&mut self, value: Value) -> mlua::Result<()> {
        match &self.many {
            Some((table, _)) => table.raw_set(1, value)?,
            None => self.few[0] = value,
        }
        Ok(())
    }

    /// Takes the last one; nil when there is none.
    pub fn pop(&mut self) -> mlua::Result<Value> {
        let Some((table, count)) = &mut self.many else { return Ok(self.few.pop().unwrap_or(Value::Nil)) };
        let last = table.raw_get(*count)?;
        *count = count.saturating_sub(1);
        Ok(last)
    }
}

impl From<Values<'_>> for Returned {
    fn from(values: Values) -> Self {
        match values.many {
            Some((table, count)) => Self::List(table, count),
            None => Self::Values(values.few.into_iter().collect()),
        }
    }
}

/// Lua's name of the type of a value.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::LightUserData(_) => "userdata",
        Value::Integer(_) => "number",
        other => other.type_name(),
    }
}

/// The arguments of a call.
pub struct Arguments<'a> {
    /// The state that calls.
    pub lua: &'a Lua,
    /// All arguments, also those that are nil.
    pub values: MultiValue,
}

impl Arguments<'_> {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.values.len()
    }

    /// One of them (1 is the first), or None behind the last.
    pub fn get(&self, number: usize) -> Option<&Value> {
        self.values.get(number - 1)
    }

    /// One that must be a number, or a text that is one.
    pub fn number(&self, number: usize) -> Result<f64, Fault> {
        let given = self.get(number);
        let value = match given {
            Some(Value::Integer(integer)) => Some(*integer as f64),
            Some(Value::Number(float)) => Some(*float),
            Some(Value::String(_)) => self.lua.coerce_number(given.cloned().unwrap_or(Value::Nil))?,
            _ => None,
        };
        value.ok_or_else(|| Fault::wrong_type(number, "number", given))
    }

    /// One that must be a number if it is there; fractions are cut off.
    pub fn integer_or(&self, number: usize, otherwise: i64) -> Result<i64, Fault> {
        match self.get(number) {
            None | Some(Value::Nil) => Ok(otherwise),
            Some(_) => Ok(to_integer(self.number(number)?)),
        }
    }

    /// One that must be a text, or a number, which becomes one.
    pub fn bytes(&self, number: usize) -> Result<Vec<u8>, Fault> {
        match self.get(number) {
            Some(Value::String(text)) => Ok(text.as_bytes().to_vec()),
            Some(value @ (Value::Integer(_) | Value::Number(_))) => {
                let text = self.lua.coerce_string(value.clone())?;
                Ok(text.map(|text| text.as_bytes().to_vec()).unwrap_or_default())
            }
            other => Err(Fault::wrong_type(number, "string", other)),
        }
    }
}

/// A float as an integer, as the processor converts it: what does not fit becomes the smallest one.
pub fn to_integer(number: f64) -> i64 {
    if number >= -(2f64.powi(63)) && number < 2f64.powi(63) { number as i64 } else { i64::MIN }
}

/// A function that a script can call.
pub fn function<F>(lua: &Lua, body: F) -> mlua::Result<Function>
where
    F: Fn(&Arguments) -> Result<Returned, Fault> + mlua::MaybeSend + 'static,
{
    let inner = lua.create_function(move |lua, values: MultiValue| {
        let reported = |kind: c_int, value: Value, count: usize| {
            (Value::LightUserData(mark()), kind, value, count).into_lua_multi(lua)
        };
        match body(&Arguments { lua, values }) {
            Ok(Returned::One(value)) => Ok(MultiValue::from_iter([value])),
            Ok(Returned::Values(values)) => Ok(values),
            Ok(Returned::List(table, count)) => {
                assert!(count <= MOST_RESULTS, "more results than a Lua function can return");
                reported(LIST, Value::Table(table), count)
            }
            Err(Fault::Value(value)) => reported(RAISE, value, 0),
            Err(Fault::Plain(text)) => reported(RAISE, Value::String(lua.create_string(text)?), 0),
            Err(Fault::Here(text)) => reported(RAISE_HERE, Value::String(lua.create_string(text)?), 0),
            Err(Fault::Argument(number, text)) => reported(number, Value::String(lua.create_string(text)?), 0),
            Err(Fault::Lua(error)) => Err(error),
        }
    })?;
    // SAFETY: the closure gets a state whose top is the one argument, `inner`, with at least three free slots; it replaces that by a
    // C closure that has it as its only upvalue. lua_pushcclosure raises only for want of memory, which exec_raw catches.
    unsafe { lua.exec_raw(inner, |state| ffi::lua_pushcclosure(state, outer, 1)) }
}

/// A C function of Lua's own that changes the table that is its first argument, for scripts: a table that `protected` has as a key is refused
/// with this text. Anything else goes on to the function in the same frame, so that its errors name who called it.
pub fn guarded(lua: &Lua, function: Function, protected: &Table, refusal: &str) -> mlua::Result<Function> {
    assert_eq!(function.info().what, "C", "the function is one of Lua's libraries");
    // SAFETY: the closure gets a state with these three values on top and at least three free slots; it replaces them by a C closure that has them
    // as its upvalues. lua_pushcclosure raises only for want of memory, which exec_raw catches.
    unsafe { lua.exec_raw((function, protected, refusal), |state| ffi::lua_pushcclosure(state, guard, 3)) }
}

/// # Safety
///
/// Only Lua may call it, as the closure that [`guarded`] makes. No value of Rust lives in its frame, so it may be left by a jump of Lua's at
/// any call.
unsafe extern "C-unwind" fn guard(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: Lua gives a C function 20 free slots beside its arguments, of which one is used and given back, or raised. The upvalues are those that
    // `guarded` has set: a C function of Lua's without upvalues of its own, a table, a text.
    unsafe {
        if ffi::lua_istable(state, 1) != 0 {
            ffi::lua_pushvalue(state, 1);
            ffi::lua_rawget(state, ffi::lua_upvalueindex(2));
            if ffi::lua_isnil(state, -1) == 0 {
                ffi::lua_pushvalue(state, ffi::lua_upvalueindex(3));
                ffi::lua_error(state);
            }
            ffi::lua_pop(state, 1);
        }
        match ffi::lua_tocfunction(state, ffi::lua_upvalueindex(1)) {
            Some(function) => function(state),
            None => ffi::luaL_error(state, c"not a C function".as_ptr()),
        }
    }
}

// What the inner function tells the outer one to do; numbers from 0 are those of arguments.
const RAISE: c_int = -1;
const RAISE_HERE: c_int = -2;
const LIST: c_int = -3;

/// Tells reports of the inner function from results: no script ever holds this address.
static MARK: u8 = 0;

fn mark() -> mlua::LightUserData {
    mlua::LightUserData(ptr::from_ref(&MARK).cast_mut().cast())
}

/// Calls its upvalue with its own arguments, and does what that reports.
///
/// # Safety
///
/// Only Lua may call it, as the closure that [`function`] makes. No value of Rust lives in its frame, so it may be left by a
/// jump of Lua's at any call.
unsafe extern "C-unwind" fn outer(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: Lua gives a C function 20 free slots beside its arguments: one is used before the call. After it `lua_call` has made room for
    // its results, of which a report has four. What is read at an index is checked or is what the inner function reports.
    unsafe {
        let count = ffi::lua_gettop(state);
        if count > MOST_ARGUMENTS {
            return ffi::luaL_error(state, c"stack overflow (too many arguments)".as_ptr());
        }
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(1));
        ffi::lua_insert(state, 1);
        ffi::lua_call(state, count, ffi::LUA_MULTRET);
        if !ptr::eq(ffi::lua_touserdata(state, 1), mark().0) {
            return ffi::lua_gettop(state);
        }
        match ffi::lua_tointeger(state, 2) as c_int {
            RAISE => {
                ffi::lua_settop(state, 3);
                ffi::lua_error(state)
            }
            RAISE_HERE => {
                ffi::lua_settop(state, 3);
                ffi::luaL_where(state, 1);
                ffi::lua_insert(state, 3);
                ffi::lua_concat(state, 2);
                ffi::lua_error(state)
            }
            LIST => {
                let count = ffi::lua_tointeger(state, 4) as c_int;
                ffi::lua_settop(state, 3);
                ffi::lua_replace(state, 1);
                ffi::lua_settop(state, 1);
                // luaL_checkstack wants room beside it.
                if ffi::lua_checkstack(state, count) == 0 {
                    return ffi::luaL_error(state, c"stack overflow (too many results)".as_ptr());
                }
                for position in 1..=count {
                    ffi::lua_rawgeti(state, 1, position.into());
                }
                count
            }
            argument => {
                // The text stays at its place on the stack, and so in memory, until luaL_argerror has copied it.
                let text: *const c_char = ffi::lua_tostring(state, 3);
                ffi::luaL_argerror(state, argument, text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlua::Lua;

    fn with(body: impl Fn(&Arguments) -> Result<Returned, Fault> + 'static, script: &str) -> String {
        let lua = Lua::new();
        lua.globals().set("f", function(&lua, body).unwrap()).unwrap();
        lua.load(script).set_name("@user_script").eval::<String>().unwrap()
    }

    #[test]
    fn a_text_is_raised_behind_the_position_of_the_caller_also_of_a_tail_call() {
        let script = "local function g()\n return f() end local ok, e = pcall(g) return type(e) .. ' ' .. e";
        assert_eq!(with(|_| Err(Fault::Here("no".into())), script), "string user_script:2: no");
        assert_eq!(with(|_| Err(Fault::Here("no".into())), "local ok, e = pcall(f) return e"), "no");
    }

    #[test]
    fn a_guarded_function_is_as_before_but_for_protected_tables() {
        let lua = Lua::new();
        let (protected, shown) = (lua.create_table().unwrap(), lua.create_table().unwrap());
        protected.raw_set(&shown, true).unwrap();
        let insert = lua.load("return table.insert").eval::<Function>().unwrap();
        lua.globals().set("insert", guarded(&lua, insert, &protected, "no").unwrap()).unwrap();
        lua.globals().set("shown", shown.clone()).unwrap();
        let eval = |script: &str| lua.load(script).set_name("@user_script").eval::<String>().unwrap();
        assert_eq!(eval("local t = {} insert(t, 'b') insert(t, 1, 'a') return table.concat(t)"), "ab");
        assert_eq!(eval("local ok, e = pcall(insert, shown, 'x') return e"), "no");
        assert_eq!(eval("local ok, e = pcall(function() insert(shown, 9, 'x') end) return e"), "no");
        assert!(shown.is_empty());
        let wrong = "user_script:1: bad argument #1 to 'insert' (table expected, got nil)";
        assert_eq!(eval("local ok, e = pcall(function() insert(nil, 1) end) return e"), wrong);
        assert_eq!(
            eval("local ok, e = pcall(function() insert() end) return e"),
            wrong.replace("got nil", "got no value")
        );
        let wrong = "user_script:1: wrong number of arguments to 'insert'";
        assert_eq!(eval("local ok, e = pcall(function() return insert({}, 1, 2, 3) end) return e"), wrong);
    }

    #[test]
    fn any_value_is_raised_as_it_is() {
        let raise = |call: &Arguments| {
            let table = call.lua.create_table()?;
            table.raw_set("err", "ERR x")?;
            Err(Fault::Value(Value::Table(table)))
        };
        assert_eq!(with(raise, "local ok, e = pcall(f) return e.err"), "ERR x");
        assert_eq!(with(|_| Err(Fault::Plain("no".into())), "local ok, e = pcall(function() f() end) return e"), "no");
    }

    #[test]
    fn an_argument_is_named_as_the_caller_names_the_function() {
        let first = |_: &Arguments| Err(Fault::argument(1, "odd"));
        let script = "local t = { g = f } local ok, e = pcall(function() return t.g() end) return e";
        assert_eq!(with(first, script), "user_script:1: bad argument #1 to 'g' (odd)");
        let script = "local t = { g = f } local ok, e = pcall(function() return t:g() end) return e";
        assert_eq!(with(first, script), "user_script:1: calling 'g' on bad self (odd)");
    }

    #[test]
    fn many_texts_go_in_and_out() {
        let back = |call: &Arguments| {
            let mut values = Values::new(call.lua);
            for number in 1..=MOST_RESULTS {
                values.push(Value::String(call.lua.create_string(format!("text {number}"))?))?;
            }
            Ok(values.into())
        };
        assert_eq!(with(back, "return select('#', f()) .. select(7999, f())"), "7999text 7999");
        let script = "local t = {} for i = 1, 7900 do t[i] = 'text ' .. i end return f(unpack(t))";
        let count = |call: &Arguments| Ok(Value::Integer(call.count() as i64).into());
        assert_eq!(with(count, script), "7900");
        let script = "local t = {} for i = 1, 7901 do t[i] = i end local ok, e = pcall(f, unpack(t)) return e";
        assert_eq!(with(count, script), "stack overflow (too many arguments)");
    }

    #[test]
    fn values_come_back_in_reverse_however_many_they_are() {
        let lua = Lua::new();
        let mut values = Values::new(&lua);
        for number in 0..500 {
            values.push(Value::Integer(number)).unwrap();
        }
        for number in (0..500).rev() {
            assert_eq!(values.pop().unwrap(), Value::Integer(number));
            assert_eq!(values.len(), number as usize);
        }
        assert_eq!(values.pop().unwrap(), Value::Nil);
    }
}
