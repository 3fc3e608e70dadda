//! JSON as Lua values.
//!
//! It must not know how its options are set. Nothing recurses: the tables that are open are kept in a list.

use mlua::{Lua, Table, Value};

use super::super::native::{Fault, Values};
use super::{Configuration, numbers};

/// Slots of Lua's stack that the reference has for open tables: one each, and one for each key.
const STACK_SLOTS: usize = 8_000;
/// Slots that it wants to be free before it opens another.
const FREE_SLOTS: usize = 3;

/// A piece of JSON.
enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    Text(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    /// None of them, and why.
    Wrong(&'static str),
}

impl Token {
    fn name(&self) -> &'static str {
        match self {
            Self::ObjectBegin => "T_OBJ_BEGIN",
            Self::ObjectEnd => "T_OBJ_END",
            Self::ArrayBegin => "T_ARR_BEGIN",
            Self::ArrayEnd => "T_ARR_END",
            Self::Text(_) => "T_STRING",
            Self::Number(_) => "T_NUMBER",
            Self::Boolean(_) => "T_BOOLEAN",
            Self::Null => "T_NULL",
            Self::Colon => "T_COLON",
            Self::Comma => "T_COMMA",
            Self::End => "T_END",
            Self::Wrong(reason) => reason,
        }
    }
}

/// A table that is being filled.
enum Open {
    /// How many elements it has.
    Array(usize),
    /// The key of the value that is being read.
    Object(Vec<u8>),
}

/// Reads one text.
pub(super) struct Decoder<'a> {
    lua: &'a Lua,
    configuration: &'a Configuration,
    data: &'a [u8],
    /// Behind the last token.
    position: usize,
    /// Where the last token starts, or what is wrong with it.
    at: usize,
}

impl<'a> Decoder<'a> {
    pub fn new(lua: &'a Lua, configuration: &'a Configuration, data: &'a [u8]) -> Self {
        Self { lua, configuration, data, position: 0, at: 0 }
    }

    /// The value of the whole text.
    pub fn decode(&mut self) -> Result<Value, Fault> {
        if self.data.len() >= 2 && (self.data[0] == 0 || self.data[1] == 0) {
            return Err(Fault::Here("JSON parser does not support UTF-16 or UTF-32".to_owned()));
        }
        let value = self.value()?;
        match self.token() {
            Token::End => Ok(value),
            other => Err(self.unexpected("the end", &other)),
        }
    }

    fn unexpected(&self, wanted: &str, found: &Token) -> Fault {
        Fault::Here(format!("Expected {wanted} but found {} at character {}", found.name(), self.at + 1))
    }

    /// The value that starts here, with all that is in it.
    fn value(&mut self) -> Result<Value, Fault> {
        // The tables around the innermost one.
        let mut tables = Values::new(self.lua);
        let mut open: Vec<Open> = Vec::new();
        let mut innermost: Option<Table> = None;
        let mut slots = 0;
        let mut token = self.token();
        loop {
            let mut value = match token {
                Token::Text(text) => Value::String(self.lua.create_string(text)?),
                Token::Number(number) => Value::Number(number),
                Token::Boolean(boolean) => Value::Boolean(boolean),
                Token::Null => Value::NULL,
                Token::ObjectBegin | Token::ArrayBegin => {
                    let depth = open.len() + 1;
                    if depth > self.configuration.decode_max_depth as usize || slots + FREE_SLOTS > STACK_SLOTS {
                        let text = "Found too many nested data structures";
                        return Err(Fault::Here(format!("{text} ({depth}) at character {}", self.position)));
                    }
                    let table = self.lua.create_table()?;
                    let is_object = matches!(token, Token::ObjectBegin);
                    let next = self.token();
                    if matches!((is_object, &next), (true, Token::ObjectEnd) | (false, Token::ArrayEnd)) {
                        Value::Table(table)
                    } else {
                        if let Some(outer) = innermost.replace(table) {
                            tables.push(Value::Table(outer))?;
                        }
                        if is_object {
                            open.push(Open::Object(self.key(next)?));
                            token = self.token();
                        } else {
                            open.push(Open::Array(0));
                            token = next;
                        }
                        slots += 1 + usize::from(is_object);
                        continue;
                    }
                }
                other => return Err(self.unexpected("value", &other)),
            };
            // The value belongs into the innermost table; when that ends, it is a value itself.
            token = loop {
                let (Some(table), Some(place)) = (&innermost, open.last_mut()) else { return Ok(value) };
                let ends = match place {
                    Open::Array(count) => {
                        *count += 1;
                        table.raw_set(*count, value)?;
                        match self.token() {
                            Token::ArrayEnd => true,
                            Token::Comma => false,
                            other => return Err(self.unexpected("comma or array end", &other)),
                        }
                    }
                    Open::Object(key) => {
                        table.raw_set(self.lua.create_string(key)?, value)?;
                        match self.token() {
                            Token::ObjectEnd => true,
                            Token::Comma => {
                                let next = self.token();
                                let next = self.key(next)?;
                                if let Some(Open::Object(key)) = open.last_mut() {
                                    *key = next;
                                }
                                false
                            }
                            other => return Err(self.unexpected("comma or object end", &other)),
                        }
                    }
                };
                if !ends {
                    break self.token();
                }
                slots -= if matches!(open.pop(), Some(Open::Object(_))) { 2 } else { 1 };
                let outer = tables.pop()?.as_table().cloned();
                value = std::mem::replace(&mut innermost, outer).map_or(Value::Nil, Value::Table);
            };
        }
    }

    /// The key that a token must be, and the colon behind it.
    fn key(&mut self, token: Token) -> Result<Vec<u8>, Fault> {
        let Token::Text(key) = token else { return Err(self.unexpected("object key string", &token)) };
        match self.token() {
            Token::Colon => Ok(key),
            other => Err(self.unexpected("colon", &other)),
        }
    }

    fn token(&mut self) -> Token {
        let blanks = self.data[self.position..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        self.position += blanks.count();
        self.at = self.position;
        let rest = &self.data[self.position..];
        let (token, length) = match rest.first() {
            // A zero ends the text, as in C.
            None | Some(0) => (Token::End, 0),
            Some(b'{') => (Token::ObjectBegin, 1),
            Some(b'}') => (Token::ObjectEnd, 1),
            Some(b'[') => (Token::ArrayBegin, 1),
            Some(b']') => (Token::ArrayEnd, 1),
            Some(b':') => (Token::Colon, 1),
            Some(b',') => (Token::Comma, 1),
            Some(b'"') => return self.text(),
            Some(b'-' | b'0'..=b'9') => return self.number(),
            _ if rest.starts_with(b"true") => (Token::Boolean(true), 4),
            _ if rest.starts_with(b"false") => (Token::Boolean(false), 5),
            _ if rest.starts_with(b"null") => (Token::Null, 4),
            _ if self.configuration.decode_invalid_numbers && is_invalid_number(rest) => return self.number(),
            _ => (Token::Wrong("invalid token"), 0),
        };
        self.position += length;
        token
    }

    fn number(&mut self) -> Token {
        let rest = &self.data[self.position..];
        let allowed = self.configuration.decode_invalid_numbers || !is_invalid_number(rest);
        match numbers::read(rest).filter(|_| allowed) {
            Some((number, length)) => {
                self.position += length;
                Token::Number(number)
            }
            None => Token::Wrong("invalid number"),
        }
    }

    fn text(&mut self) -> Token {
        let mut text = Vec::new();
        let mut position = self.position + 1;
        loop {
            let plain = self.data[position..].iter().position(|byte| matches!(byte, b'"' | b'\\' | 0));
            let end = plain.map_or(self.data.len(), |length| position + length);
            text.extend_from_slice(&self.data[position..end]);
            position = end;
            match self.data.get(position) {
                Some(b'"') => break,
                Some(b'\\') => match escape(&self.data[position..], &mut text) {
                    Ok(length) => position += length,
                    Err(reason) => {
                        self.at = position;
                        return Token::Wrong(reason);
                    }
                },
                _ => {
                    self.at = position;
                    return Token::Wrong("unexpected end of string");
                }
            }
        }
        self.position = position + 1;
        Token::Text(text)
    }
}

/// Numbers that `strtod` reads and JSON does not have.
fn is_invalid_number(text: &[u8]) -> bool {
    let number = text.strip_prefix(b"-").unwrap_or(text);
    match number {
        [b'+', ..] if text[0] == b'+' => true,
        [b'0', b'0'..=b'9' | b'x' | b'X', ..] => true,
        _ => numbers::starts_with(number, b"inf") || numbers::starts_with(number, b"nan"),
    }
}

/// Adds what an escape stands for; how many bytes it has.
fn escape(data: &[u8], text: &mut Vec<u8>) -> Result<usize, &'static str> {
    const WRONG: &str = "invalid unicode escape code";
    let character = match data.get(1) {
        Some(&byte @ (b'"' | b'\\' | b'/')) => byte,
        Some(b'b') => 8,
        Some(b'f') => 12,
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'u') => {
            let first = four_digits(data.get(2..6)).ok_or(WRONG)?;
            let (code, length) = match first {
                0xd800..=0xdbff => {
                    let second = match data.get(6..8) {
                        Some(b"\\u") => four_digits(data.get(8..12)).ok_or(WRONG)?,
                        _ => return Err(WRONG),
                    };
                    if !(0xdc00..=0xdfff).contains(&second) {
                        return Err(WRONG);
                    }
                    (0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00), 12)
                }
                other => (other, 6),
            };
            let character = char::from_u32(code).ok_or(WRONG)?;
            text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return Ok(length);
        }
        _ => return Err("invalid escape code"),
    };
    text.push(character);
    Ok(2)
}

fn four_digits(text: Option<&[u8]>) -> Option<u32> {
    text?.iter().try_fold(0, |number, byte| Some(number << 4 | char::from(*byte).to_digit(16)?))
}
