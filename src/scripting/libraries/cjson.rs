//! `cjson`: JSON, as in the library of Mark Pulford (2.1.0).
//!
//! It must not know where the values come from. Each table that `new` returns has options of its own, which last as long as its
//! Lua state.

mod decode;
mod encode;
mod numbers;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use mlua::{Lua, Table, Value};

use super::native::{self, Arguments, Fault, Returned};
use decode::Decoder;
use encode::Encoder;

/// What becomes of numbers that JSON has no form for.
#[derive(Clone, Copy, PartialEq, Debug)]
enum InvalidNumbers {
    Refuse,
    Allow,
    Null,
}

/// The options of one library table.
struct Configuration {
    sparse_convert: bool,
    sparse_ratio: i32,
    sparse_safe: i32,
    encode_max_depth: i32,
    decode_max_depth: i32,
    encode_invalid_numbers: InvalidNumbers,
    decode_invalid_numbers: bool,
    keep_buffer: bool,
    number_precision: i32,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            sparse_convert: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_max_depth: 1_000,
            decode_max_depth: 1_000,
            encode_invalid_numbers: InvalidNumbers::Refuse,
            decode_invalid_numbers: true,
            keep_buffer: true,
            number_precision: 14,
        }
    }
}

type Shared = Rc<RefCell<Configuration>>;

fn at_most(call: &Arguments, count: usize) -> Result<(), Fault> {
    if call.count() > count {
        return Err(Fault::argument(count + 1, "found too many arguments"));
    }
    Ok(())
}

fn is_given(call: &Arguments, number: usize) -> bool {
    !matches!(call.get(number), None | Some(Value::Nil))
}

/// Sets an option that is an integer, if it is given.
fn set_integer(call: &Arguments, number: usize, option: &mut i32, least: i32, most: i32) -> Result<Value, Fault> {
    if is_given(call, number) {
        // The low half, as C cuts it.
        let given = native::to_integer(call.number(number)?) as i32;
        if !(least..=most).contains(&given) {
            // The reference names the first argument, whichever it is.
            return Err(Fault::argument(1, &format!("expected integer between {least} and {most}")));
        }
        *option = given;
    }
    Ok(Value::Integer(i64::from(*option)))
}

/// Which of some words an argument is. A boolean is `off` or `on`, the first two; None when it is not given.
fn word(call: &Arguments, number: usize, words: &[&str]) -> Result<Option<usize>, Fault> {
    match call.get(number) {
        None | Some(Value::Nil) => Ok(None),
        Some(Value::Boolean(boolean)) => Ok(Some(usize::from(*boolean))),
        Some(_) => {
            let given = call.bytes(number)?;
            let found = words.iter().position(|word| word.as_bytes() == given);
            found
                .map(Some)
                .ok_or_else(|| Fault::Argument(number as i32, [b"invalid option '".as_slice(), &given, b"'"].concat()))
        }
    }
}

/// Sets an option that is on or off, if it is given.
fn set_boolean(call: &Arguments, number: usize, option: &mut bool) -> Result<Value, Fault> {
    if let Some(word) = word(call, number, &["off", "on"])? {
        *option = word == 1;
    }
    Ok(Value::Boolean(*option))
}

fn sparse_array(call: &Arguments, configuration: &mut Configuration) -> Result<Returned, Fault> {
    at_most(call, 3)?;
    let convert = set_boolean(call, 1, &mut configuration.sparse_convert)?;
    let ratio = set_integer(call, 2, &mut configuration.sparse_ratio, 0, i32::MAX)?;
    let safe = set_integer(call, 3, &mut configuration.sparse_safe, 0, i32::MAX)?;
    Ok(Returned::Values([convert, ratio, safe].into_iter().collect()))
}

fn invalid_numbers_of_encode(call: &Arguments, configuration: &mut Configuration) -> Result<Returned, Fault> {
    at_most(call, 1)?;
    const WORDS: [(&str, InvalidNumbers); 3] =
        [("off", InvalidNumbers::Refuse), ("on", InvalidNumbers::Allow), ("null", InvalidNumbers::Null)];
    if let Some(word) = word(call, 1, &WORDS.map(|(word, _)| word))? {
        configuration.encode_invalid_numbers = WORDS[word].1;
    }
    Ok(match configuration.encode_invalid_numbers {
        InvalidNumbers::Null => Value::String(call.lua.create_string("null")?),
        other => Value::Boolean(other == InvalidNumbers::Allow),
    }
    .into())
}

fn one_argument(call: &Arguments) -> Result<(), Fault> {
    if call.count() == 1 { Ok(()) } else { Err(Fault::argument(1, "expected 1 argument")) }
}

fn encode(call: &Arguments, configuration: &Configuration, buffer: &Cell<Vec<u8>>) -> Result<Returned, Fault> {
    one_argument(call)?;
    let mut encoder = Encoder { configuration, output: buffer.take() };
    encoder.output.clear();
    encoder.value(call.get(1).unwrap_or(&Value::Nil), 0)?;
    let text = call.lua.create_string(&encoder.output)?;
    // One buffer for all calls, unless it has become large: a script must not hold memory for good.
    if configuration.keep_buffer && encoder.output.capacity() <= MOST_KEPT_BYTES {
        buffer.set(encoder.output);
    }
    Ok(Value::String(text).into())
}

const MOST_KEPT_BYTES: usize = 64 << 10;

fn decode(call: &Arguments, configuration: &Configuration) -> Result<Returned, Fault> {
    one_argument(call)?;
    let data = call.bytes(1)?;
    Ok(Decoder::new(call.lua, configuration, &data).decode()?.into())
}

/// A table `cjson`, with options of its own.
pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let shared = Shared::default();
    let table = lua.create_table()?;
    let option = |name: &str, body: fn(&Arguments, &mut Configuration) -> Result<Returned, Fault>| {
        let shared = shared.clone();
        table.raw_set(name, native::function(lua, move |call| body(call, &mut shared.borrow_mut()))?)
    };
    option("encode_sparse_array", sparse_array)?;
    option("encode_max_depth", |call, configuration| {
        at_most(call, 1)?;
        Ok(set_integer(call, 1, &mut configuration.encode_max_depth, 1, i32::MAX)?.into())
    })?;
    option("decode_max_depth", |call, configuration| {
        at_most(call, 1)?;
        Ok(set_integer(call, 1, &mut configuration.decode_max_depth, 1, i32::MAX)?.into())
    })?;
    option("encode_number_precision", |call, configuration| {
        at_most(call, 1)?;
        Ok(set_integer(call, 1, &mut configuration.number_precision, 1, 14)?.into())
    })?;
    option("encode_keep_buffer", |call, configuration| {
        at_most(call, 1)?;
        Ok(set_boolean(call, 1, &mut configuration.keep_buffer)?.into())
    })?;
    option("encode_invalid_numbers", invalid_numbers_of_encode)?;
    option("decode_invalid_numbers", |call, configuration| {
        at_most(call, 1)?;
        Ok(set_boolean(call, 1, &mut configuration.decode_invalid_numbers)?.into())
    })?;
    let (options, buffer) = (shared.clone(), Cell::default());
    table.raw_set("encode", native::function(lua, move |call| encode(call, &options.borrow(), &buffer))?)?;
    let options = shared.clone();
    table.raw_set("decode", native::function(lua, move |call| decode(call, &options.borrow()))?)?;
    table.raw_set("new", native::function(lua, |call| Ok(Value::Table(library(call.lua)?).into()))?)?;
    table.raw_set("null", Value::NULL)?;
    table.raw_set("_NAME", "cjson")?;
    table.raw_set("_VERSION", "2.1.0")?;
    Ok(table)
}

#[cfg(test)]
mod tests;
