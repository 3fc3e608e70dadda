//! Which arguments commands take, as COMMAND DOCS tells clients: `redis-cli` shows hints by it.
//!
//! `signatures.txt` has a line for each command that takes any: its full name, and its arguments behind it, in the order of a request.
//! Lines are sorted by name. An argument is
//!
//! ```text
//! name         a string                        name<a|b>    one of these arguments
//! name.int     a number, or .real, .time,      name(a b)    these arguments, one after the other
//!              .glob (a pattern), .word        NAME         this very word; its name is that in lower case
//! name@0       a key: that of this key spec    NAME=name    this very word in front; "" around one of other signs
//! ```
//!
//! and behind it, in this order: `?` it may be missing; `*` it may be there several times, `+` each time with its word; `^7.0.0` since this version;
//! `!2.8.12` deprecated since this version.
//!
//! The lines are read when somebody asks: nothing of this is in memory before that, beside the text.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::resp::Reply;

/// The lines by name, without it.
static LINES: LazyLock<HashMap<&str, &str>> =
    LazyLock::new(|| include_str!("signatures.txt").lines().filter_map(|line| line.split_once(' ')).collect());

/// What a command takes at one place.
#[derive(Debug)]
pub(super) struct Argument {
    name: String,
    kind: &'static str,
    key_spec: Option<i64>,
    token: Option<&'static str>,
    since: Option<&'static str>,
    deprecated: Option<&'static str>,
    optional: bool,
    repeated: Repeated,
    /// What it consists of, or which of these it is.
    parts: Vec<Argument>,
}

/// How often an argument may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeated {
    /// Once.
    No,
    /// Several times, behind the word in front of the first.
    Behind,
    /// Several times, each with its word.
    Each,
}

/// The arguments of the command of this full name; empty: it takes none.
pub(super) fn of(full_name: &str) -> Vec<Argument> {
    // A test reads all lines.
    LINES.get(full_name).and_then(|line| read(line)).unwrap_or_default()
}

fn read(line: &'static str) -> Option<Vec<Argument>> {
    let mut reader = Reader { rest: line };
    reader.arguments(' ').filter(|_| reader.rest.is_empty())
}

/// Writes them as COMMAND DOCS has them.
pub(super) fn describe(reply: &mut Reply, arguments: &[Argument]) {
    reply.array(arguments.len());
    for argument in arguments {
        argument.describe(reply);
    }
}

impl Argument {
    fn describe(&self, reply: &mut Reply) {
        let texts = [("token", self.token), ("since", self.since), ("deprecated_since", self.deprecated)].into_iter();
        let texts: Vec<_> = texts.filter_map(|(field, text)| Some((field, text?))).collect();
        let flags = [
            ("optional", self.optional),
            ("multiple", self.repeated != Repeated::No),
            ("multiple_token", self.repeated == Repeated::Each),
        ];
        let flags: Vec<_> = flags.into_iter().filter(|(_, applies)| *applies).map(|(flag, _)| flag).collect();
        let rare = [self.key_spec.is_some(), !flags.is_empty(), !self.parts.is_empty()];
        reply.map(2 + texts.len() + rare.into_iter().filter(|is_there| *is_there).count());
        reply.bulk(b"name");
        reply.bulk(self.name.as_bytes());
        reply.bulk(b"type");
        reply.bulk(self.kind.as_bytes());
        if let Some(key_spec) = self.key_spec {
            reply.bulk(b"key_spec_index");
            reply.integer(key_spec);
        }
        for (field, text) in texts {
            reply.bulk(field.as_bytes());
            reply.bulk(text.as_bytes());
        }
        if !flags.is_empty() {
            reply.bulk(b"flags");
            reply.set(flags.len());
            flags.into_iter().for_each(|flag| reply.simple(flag));
        }
        if !self.parts.is_empty() {
            reply.bulk(b"arguments");
            describe(reply, &self.parts);
        }
    }
}

/// Reads a line from left to right. `None`: it makes no sense.
struct Reader {
    rest: &'static str,
}

impl Reader {
    fn arguments(&mut self, separator: char) -> Option<Vec<Argument>> {
        let mut all = vec![self.argument()?];
        while self.takes(separator) {
            all.push(self.argument()?);
        }
        Some(all)
    }

    fn argument(&mut self) -> Option<Argument> {
        let token = self.token()?;
        let (name, mut kind) = match token {
            Some(token) if !self.takes('=') => (token.to_ascii_lowercase(), "pure-token"),
            _ => {
                let name =
                    self.take_while(|sign| sign.is_ascii_lowercase() || sign.is_ascii_digit() || "-_/:".contains(sign));
                (Some(name).filter(|name| !name.is_empty())?.to_owned(), "string")
            }
        };
        if self.takes('.') {
            kind = match self.take_while(|sign| sign.is_ascii_lowercase()) {
                "int" => "integer",
                "real" => "double",
                "time" => "unix-time",
                "glob" => "pattern",
                "word" => "pure-token",
                _ => return None,
            };
        }
        let mut key_spec = None;
        if self.takes('@') {
            key_spec = Some(self.take_while(|sign| sign.is_ascii_digit()).parse().ok()?);
            kind = if kind == "string" { "key" } else { kind };
        }
        let mut parts = Vec::new();
        for (begin, separator, end, of_parts) in [('<', '|', '>', "oneof"), ('(', ' ', ')', "block")] {
            if self.takes(begin) {
                (parts, kind) = (self.arguments(separator)?, of_parts);
                self.takes(end).then_some(())?;
            }
        }
        let optional = self.takes('?');
        let repeated = match (self.takes('*'), self.takes('+')) {
            (true, _) => Repeated::Behind,
            (false, true) => Repeated::Each,
            (false, false) => Repeated::No,
        };
        let (since, deprecated) = (self.version('^')?, self.version('!')?);
        Some(Argument { name, kind, key_spec, token, since, deprecated, optional, repeated, parts })
    }

    /// The word in front of an argument, if there is one.
    fn token(&mut self) -> Option<Option<&'static str>> {
        if self.takes('"') {
            let token = self.take_while(|sign| sign != '"');
            return self.takes('"').then_some(Some(token));
        }
        let begins = self.rest.starts_with(|sign: char| sign.is_ascii_uppercase());
        let is_within = |sign: char| sign.is_ascii_uppercase() || sign.is_ascii_digit() || "-_".contains(sign);
        Some(begins.then(|| self.take_while(is_within)))
    }

    /// A version behind this sign, if that is there.
    fn version(&mut self, sign: char) -> Option<Option<&'static str>> {
        if !self.takes(sign) {
            return Some(None);
        }
        let version = self.take_while(|sign| sign.is_ascii_digit() || sign == '.');
        (version.split('.').count() == 3).then_some(Some(version))
    }

    fn take_while(&mut self, is_within: impl Fn(char) -> bool) -> &'static str {
        let end = self.rest.find(|sign| !is_within(sign)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn takes(&mut self, sign: char) -> bool {
        let rest = self.rest.strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::table;
    use crate::commands::testing::Fixture;

    #[test]
    fn every_line_can_be_read_and_belongs_to_a_command() {
        let names: Vec<&str> =
            include_str!("signatures.txt").lines().map(|line| line.split(' ').next().unwrap_or("")).collect();
        assert!(names.is_sorted_by(|one, next| one < next), "sorted, each once");
        for (name, line) in &*LINES {
            let entry = table().find_full(name.as_bytes());
            assert!(entry.is_some(), "{name} is no command");
            let arguments = read(line);
            assert!(arguments.is_some(), "{name}: {line}");
            let key_specs = entry.map_or(0, |entry| entry.command.keys.len()) as i64;
            let mut open: Vec<Argument> = arguments.into_iter().flatten().collect();
            while let Some(argument) = open.pop() {
                assert!(argument.key_spec.is_none_or(|spec| spec < key_specs), "{name}: {argument:?}");
                open.extend(argument.parts);
            }
        }
    }

    #[test]
    fn every_command_that_takes_arguments_says_which() {
        for entry in table().entries().iter().flat_map(|entry| std::iter::once(entry).chain(&entry.subcommands)) {
            let own_words = if entry.full_name.contains('|') { 2 } else { 1 };
            let is_container = !entry.subcommands.is_empty();
            let takes_any = entry.command.arity.unsigned_abs() > own_words && !is_container;
            // What DEBUG takes is nobody's affair but of those who test with it.
            assert!(
                !takes_any || entry.full_name == "debug" || LINES.contains_key(entry.full_name.as_str()),
                "{} has no line",
                entry.full_name
            );
        }
    }

    #[test]
    fn what_is_no_signature() {
        for line in ["", "a ", "a<b|c", "a(b|c)", "a.what", "a@x", "a^7", "\"x", "A=", "a*?"] {
            assert!(read(line).is_none(), "{line}");
        }
    }

    #[test]
    fn clients_are_told_all_of_it() {
        let mut fixture = Fixture::new();
        let docs = fixture.run("command docs set");
        let condition = "*10\r\n$4\r\nname\r\n$9\r\ncondition\r\n$4\r\ntype\r\n$5\r\noneof\r\n$5\r\nsince\r\n$6\r\n2.6.12\r\n\
                         $5\r\nflags\r\n*1\r\n+optional\r\n$9\r\narguments\r\n*2\r\n\
                         *6\r\n$4\r\nname\r\n$2\r\nnx\r\n$4\r\ntype\r\n$10\r\npure-token\r\n$5\r\ntoken\r\n$2\r\nNX\r\n";
        assert!(docs.contains(condition), "{docs}");
        let key = "*6\r\n$4\r\nname\r\n$3\r\nkey\r\n$4\r\ntype\r\n$3\r\nkey\r\n$14\r\nkey_spec_index\r\n:0\r\n";
        assert!(docs.contains(&format!("$9\r\narguments\r\n*5\r\n{key}")), "{docs}");
        let docs = fixture.run("command docs bitfield_ro");
        assert!(docs.contains("*3\r\n+optional\r\n+multiple\r\n+multiple_token\r\n"), "{docs}");
        assert!(!fixture.run("command docs dbsize").contains("arguments"));
    }
}
