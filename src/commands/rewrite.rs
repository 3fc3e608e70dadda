//! CONFIG REWRITE: what CONFIG SET can change goes into the file that the node was started with.

use std::fs;
use std::io;

use super::config::PARAMETERS;
use super::state::ServerState;
use crate::config_file::{Setting, replace_file, rewrite};

/// Parameters that flags set as well, so that they have other values than these when a node begins.
const FLAG_DEFAULTS: &[(&str, &str)] = &[
    ("maxmemory", "67108864"),
    ("maxmemory-policy", "allkeys-lfu"),
    ("maxclients", "10000"),
    ("timeout", "0"),
    ("notify-keyspace-events", ""),
    ("requirepass", ""),
    ("save", ""),
    ("tls-cert-file", ""),
    ("tls-key-file", ""),
    ("tls-key-file-pass", ""),
    ("tls-ca-cert-file", ""),
    ("tls-auth-clients", "yes"),
    ("tls-protocols", ""),
    ("dbfilename", "dump.rdb"),
    ("save", ""),
];
/// Names of Redis 6 and those of today for the same.
const ALIASES: &[(&str, &str)] = &[
    ("hash-max-ziplist-entries", "hash-max-listpack-entries"),
    ("hash-max-ziplist-value", "hash-max-listpack-value"),
    ("zset-max-ziplist-entries", "zset-max-listpack-entries"),
    ("zset-max-ziplist-value", "zset-max-listpack-value"),
    ("list-max-ziplist-size", "list-max-listpack-size"),
];
/// Numbers of bytes, which are written with units.
const SIZES: &[&str] =
    &["maxmemory", "stream-node-max-bytes", "proto-max-bulk-len", "client-query-buffer-limit", "hll-sparse-max-bytes"];
/// Directives of several words, and of how many on each line; 0 for all on one.
const SEVERAL_WORDS: &[(&str, usize)] =
    &[("client-output-buffer-limit", 4), ("save", 0), ("latency-tracking-info-percentiles", 0)];

/// What parameters are before anything was changed.
pub type Defaults = Vec<(&'static str, Vec<u8>)>;

/// Reads the defaults from a state that was just made.
pub fn defaults(state: &ServerState) -> Defaults {
    let default = |name: &'static str, read: fn(&ServerState) -> Vec<u8>| {
        let known = FLAG_DEFAULTS.iter().find(|(flag, _)| *flag == name);
        (name, known.map_or_else(|| read(state), |(_, value)| value.as_bytes().to_vec()))
    };
    PARAMETERS.iter().map(|parameter| default(parameter.name, parameter.read)).collect()
}

/// Rewrites the file. Not found: there is none.
pub fn rewrite_file(state: &ServerState, defaults: &Defaults) -> io::Result<()> {
    let path = state.facts.config_file.as_ref().ok_or(io::ErrorKind::NotFound)?;
    replace_file(path, &rewrite(&fs::read(path)?, &settings(state, defaults)))
}

fn settings(state: &ServerState, defaults: &Defaults) -> Vec<Setting> {
    let is_alias = |name| ALIASES.iter().any(|(alias, _)| *alias == name);
    let changeable = PARAMETERS.iter().filter(|parameter| parameter.check.is_some() && !is_alias(parameter.name));
    let setting = |name: &'static str, value: Vec<u8>| Setting {
        name: name.to_string(),
        aliases: ALIASES.iter().filter(|(_, of)| *of == name).map(|(alias, _)| *alias).collect(),
        is_needed: defaults.iter().all(|(known, default)| *known != name || *default != value),
        lines: lines(name, value),
    };
    changeable.map(|parameter| setting(parameter.name, (parameter.read)(state))).collect()
}

/// The words behind the name, on each line.
fn lines(name: &str, value: Vec<u8>) -> Vec<Vec<Vec<u8>>> {
    if let Some((_, words)) = SEVERAL_WORDS.iter().find(|(several, _)| *several == name)
        && !value.is_empty()
    {
        let all: Vec<Vec<u8>> = value.split(|byte| *byte == b' ').map(<[u8]>::to_vec).collect();
        let on_a_line = if *words == 0 { all.len() } else { *words };
        return all.chunks(on_a_line).map(<[_]>::to_vec).collect();
    }
    // Nothing is how it is when there is no line; but a file that says nothing of `save` may mean something else.
    if value.is_empty() && name != "save" {
        return Vec::new();
    }
    let value = if SIZES.contains(&name) { with_unit(value) } else { value };
    vec![vec![value]]
}

/// A number of bytes with the largest unit that it is a multiple of.
fn with_unit(bytes: Vec<u8>) -> Vec<u8> {
    let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let units = [(30, "gb"), (20, "mb"), (10, "kb")];
    match units.into_iter().find(|(shift, _)| number > 0 && number.is_multiple_of(1 << shift)) {
        Some((shift, unit)) => format!("{}{unit}", number >> shift).into_bytes(),
        None => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Fixture;
    use crate::tls::testing::Scratch;

    #[test]
    fn what_was_changed_goes_into_the_file_and_comments_stay() {
        let scratch = Scratch::new();
        let text = "# hello\nport 6379\nmaxmemory 5mb\ntimeout 0\nzset-max-ziplist-value 64\n";
        let path = scratch.write("conf", text);
        let mut fixture = Fixture::new();
        fixture.expect(&[("config rewrite", "-ERR The server is running without a config file\r\n")]);
        fixture.state.facts.config_file = Some(path.clone());
        fixture.state.config.note_defaults(defaults(&fixture.state));
        fixture.expect(&[
            ("config set maxmemory 3mb maxclients 77", "+OK\r\n"),
            ("config rewrite", "+OK\r\n"),
            ("config rewrite x", "-ERR wrong number of arguments for 'config|rewrite' command\r\n"),
        ]);
        let set = fixture.run_words(&[
            b"config",
            b"set",
            b"requirepass",
            b"a b",
            b"client-output-buffer-limit",
            b"pubsub 1mb 2mb 3",
        ]);
        assert_eq!(set, "+OK\r\n");
        fixture.expect(&[("config rewrite", "+OK\r\n")]);
        let expected = "# hello\nport 6379\nmaxmemory 3mb\ntimeout 0\nzset-max-listpack-value 64\n\n\
                        # Generated by CONFIG REWRITE\nmaxclients 77\nrequirepass \"a b\"\n\
                        client-output-buffer-limit normal 0 0 0\nclient-output-buffer-limit slave 268435456 67108864 60\n\
                        client-output-buffer-limit pubsub 1048576 2097152 3\n";
        assert_eq!(fs::read_to_string(&path).expect("there"), expected);
        fixture.state.facts.config_file = Some(scratch.path("missing"));
        assert!(fixture.run("config rewrite").starts_with("-ERR Rewriting config file: "));
    }

    #[test]
    fn sizes_have_the_largest_unit_that_fits() {
        for (bytes, text) in [("0", "0"), ("1000", "1000"), ("2048", "2kb"), ("1073741824", "1gb"), ("3145728", "3mb")]
        {
            assert_eq!(with_unit(bytes.into()), text.as_bytes());
        }
    }
}
