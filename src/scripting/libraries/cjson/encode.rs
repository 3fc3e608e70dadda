//! Lua values as JSON.
//!
//! It must not know how its options are set.

use mlua::{Table, Value};

use super::super::native::{Fault, type_name};
use super::{Configuration, InvalidNumbers, numbers};

/// Tables within tables beyond this are refused, whatever `encode_max_depth` says: each takes stack of the thread and places
/// among the values that mlua can hold. (redis-server: 3,999 tables, or 7,997 if they are arrays.)
pub(super) const MOST_NESTING: usize = 1_500;

/// Sparse arrays can be made to ask for any number of bytes; a text longer than this has no room in the state of a script.
const MOST_BYTES: usize = 256 << 20;

/// Writes one value.
pub(super) struct Encoder<'a> {
    /// The options.
    pub configuration: &'a Configuration,
    /// What is written.
    pub output: Vec<u8>,
}

impl Encoder<'_> {
    /// Writes a value that is within `depth` tables.
    pub fn value(&mut self, value: &Value, depth: usize) -> Result<(), Fault> {
        if self.output.len() > MOST_BYTES {
            return Err(Fault::Plain("not enough memory".to_owned()));
        }
        match value {
            Value::Nil => self.output.extend_from_slice(b"null"),
            Value::LightUserData(pointer) if pointer.0.is_null() => self.output.extend_from_slice(b"null"),
            Value::Boolean(true) => self.output.extend_from_slice(b"true"),
            Value::Boolean(false) => self.output.extend_from_slice(b"false"),
            Value::Integer(integer) => self.number(*integer as f64)?,
            Value::Number(number) => self.number(*number)?,
            Value::String(text) => self.text(&text.as_bytes()),
            Value::Table(table) => return self.table(table, depth + 1),
            other => return Err(refused(other, "type not supported")),
        }
        Ok(())
    }

    fn table(&mut self, table: &Table, depth: usize) -> Result<(), Fault> {
        if depth > self.configuration.encode_max_depth as usize || depth > MOST_NESTING {
            return Err(too_deep(depth));
        }
        match self.array_length(table)? {
            Some(length) => self.array(table, length, depth),
            None => self.object(table, depth),
        }
    }

    /// The highest key of a table that is an array: one whose keys are all positive integers.
    #[inline(never)]
    fn array_length(&self, table: &Table) -> Result<Option<i32>, Fault> {
        // An `int` of C, in which too large a number becomes the smallest one: observed in what the reference makes of such keys.
        let (mut highest, mut count) = (0i32, 0i32);
        for entry in table.pairs::<Value, Value>() {
            let key = match entry?.0 {
                Value::Integer(integer) => integer as f64,
                Value::Number(number) => number,
                _ => return Ok(None),
            };
            if key < 1.0 || key.floor() != key {
                return Ok(None);
            }
            if key > f64::from(highest) {
                highest = if key > f64::from(i32::MAX) { i32::MIN } else { key as i32 };
            }
            count = count.wrapping_add(1);
        }
        let configuration = self.configuration;
        let ratio = configuration.sparse_ratio;
        if ratio > 0 && highest > count.wrapping_mul(ratio) && highest > configuration.sparse_safe {
            if !configuration.sparse_convert {
                return Err(Fault::Here("Cannot serialise table: excessively sparse array".to_owned()));
            }
            return Ok(None);
        }
        Ok((highest > 0).then_some(highest))
    }

    fn array(&mut self, table: &Table, length: i32, depth: usize) -> Result<(), Fault> {
        // Each element takes two bytes at least.
        if self.output.len() + 2 * length as usize > MOST_BYTES {
            return Err(Fault::Plain("not enough memory".to_owned()));
        }
        self.output.push(b'[');
        for position in 1..=length {
            if position > 1 {
                self.output.push(b',');
            }
            let element = table.raw_get(position)?;
            self.value(&element, depth)?;
        }
        self.output.push(b']');
        Ok(())
    }

    fn object(&mut self, table: &Table, depth: usize) -> Result<(), Fault> {
        self.output.push(b'{');
        let mut pairs = table.pairs::<Value, Value>();
        let mut first = true;
        while let Some(value) = self.key_of_next(&mut pairs, &mut first)? {
            self.value(&value, depth)?;
        }
        self.output.push(b'}');
        Ok(())
    }

    /// Writes the key of the next entry, and returns its value. Not a part of `object`, whose frames there are many of at once.
    #[inline(never)]
    fn key_of_next(
        &mut self,
        pairs: &mut impl Iterator<Item = mlua::Result<(Value, Value)>>,
        first: &mut bool,
    ) -> Result<Option<Value>, Fault> {
        let Some(entry) = pairs.next() else { return Ok(None) };
        let (key, value) = entry?;
        if !std::mem::take(first) {
            self.output.push(b',');
        }
        match key {
            Value::Integer(integer) => self.quoted_number(integer as f64)?,
            Value::Number(number) => self.quoted_number(number)?,
            Value::String(text) => self.text(&text.as_bytes()),
            other => return Err(refused(&other, "table key must be a number or string")),
        }
        self.output.push(b':');
        Ok(Some(value))
    }

    fn quoted_number(&mut self, number: f64) -> Result<(), Fault> {
        self.output.push(b'"');
        self.number(number)?;
        self.output.push(b'"');
        Ok(())
    }

    #[inline(never)]
    fn number(&mut self, number: f64) -> Result<(), Fault> {
        if number.is_finite() {
            numbers::write(&mut self.output, number, self.configuration.number_precision as usize);
            return Ok(());
        }
        let text: &[u8] = match self.configuration.encode_invalid_numbers {
            InvalidNumbers::Refuse => return Err(refused(&Value::Number(number), "must not be NaN or Inf")),
            InvalidNumbers::Null => b"null",
            InvalidNumbers::Allow if number.is_nan() => b"nan",
            InvalidNumbers::Allow if number > 0.0 => b"inf",
            InvalidNumbers::Allow => b"-inf",
        };
        self.output.extend_from_slice(text);
        Ok(())
    }

    #[inline(never)]
    fn text(&mut self, text: &[u8]) {
        self.output.reserve(text.len() + 2);
        self.output.push(b'"');
        for &byte in text {
            let escaped = match byte {
                b'"' => b'"',
                b'\\' => b'\\',
                b'/' => b'/',
                8 => b'b',
                9 => b't',
                10 => b'n',
                12 => b'f',
                13 => b'r',
                0..=31 | 127 => {
                    self.output.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                    continue;
                }
                _ => {
                    self.output.push(byte);
                    continue;
                }
            };
            self.output.extend_from_slice(&[b'\\', escaped]);
        }
        self.output.push(b'"');
    }
}

#[inline(never)]
fn refused(value: &Value, reason: &str) -> Fault {
    Fault::Here(format!("Cannot serialise {}: {reason}", type_name(value)))
}

#[inline(never)]
fn too_deep(depth: usize) -> Fault {
    Fault::Here(format!("Cannot serialise, excessive nesting ({depth})"))
}
