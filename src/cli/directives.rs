//! From a configuration file to flags: what its directives mean here.
//!
//! A directive of the name of a flag is that flag, unless the command line or the environment say otherwise. One that CONFIG
//! SET can change is a parameter. Others of Redis's are passed over if nothing is lost by that ([`MEANINGLESS`]), or have to have
//! the one value that holds here ([`FIXED`]), or are refused with the reason ([`IMPOSSIBLE`]).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::meaningless::MEANINGLESS;
use crate::commands::check_parameter;
use crate::config_file::{Directive, FileError};

/// Directives of Redis's that go by another name here.
const RENAMED: &[(&str, &str)] = &[("io-threads", "threads")];
/// Directives that take several words.
const SEVERAL_WORDS: &[&str] =
    &["bind", "save", "client-output-buffer-limit", "latency-tracking-info-percentiles", "tls-protocols"];
/// Each line adds to those before.
const ADDING: &[&str] = &["save", "client-output-buffer-limit"];
/// Flags that are as if they were not there when they are empty.
const ABSENT_WHEN_EMPTY: &[&str] = &[
    "unixsocket",
    "tls-cert-file",
    "tls-key-file",
    "tls-key-file-pass",
    "tls-ca-cert-file",
    "aclfile",
    "join",
    "cluster-advertise",
    "cluster-passphrase-also",
    "node-name",
    "otel-endpoint",
];
/// Directives with the one value that they can have.
const FIXED: &[(&str, &str)] = &[("appendonly", "no"), ("cluster-enabled", "no"), ("activedefrag", "no")];
/// Directives that cannot be passed over: who wrote them relies on what they do. With what to do instead.
const IMPOSSIBLE: &[(&str, &str)] = &[
    ("rename-command", "commands cannot be renamed or removed; restrict users with ACL rules instead"),
    ("loadmodule", "modules cannot be loaded"),
    ("replicaof", "there are no replicas; nodes of a cluster find each other with --join and --cluster-passphrase"),
    ("slaveof", "there are no replicas; nodes of a cluster find each other with --join and --cluster-passphrase"),
    ("user", "users are not defined here; put them into a file of their own and name it with aclfile"),
    (
        "tls-ca-cert-dir",
        "authorities are read from one file; put them together into it and name it with tls-ca-cert-file",
    ),
];

/// What a configuration file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Resolved {
    /// Words for the command line, as `--flag=value`.
    pub(super) flags: Vec<(String, OsString)>,
    /// Parameters with values that were checked.
    pub(super) parameters: Vec<(String, Vec<u8>)>,
    /// What means nothing here, in the order of the file.
    pub(super) passed_over: Vec<String>,
}

/// Sorts directives. `check_flag` says what is wrong with a value of a flag; `None`: there is no such flag.
pub(super) fn resolve(
    directives: &[Directive],
    check_flag: impl Fn(&str, &OsString) -> Option<Result<(), String>>,
) -> Result<Resolved, FileError> {
    let mut resolved = Resolved::default();
    for directive in directives {
        let (name, value) = name_and_value(directive)?;
        let failed = |expected: &str| {
            let shown = if name == "requirepass" || name == "tls-key-file-pass" || name.contains("passphrase") {
                "…".into()
            } else {
                value.escape_ascii().to_string()
            };
            directive.error(format!("{} {shown}: {expected}", directive.name))
        };
        if name == "tls-protocols" {
            let version = check_parameter(&name, &value).unwrap_or(Ok(())).map_err(failed);
            version?;
            let only_newest = value.eq_ignore_ascii_case(b"TLSv1.3");
            set(&mut resolved.flags, "tls-min-version", if only_newest { "1.3".into() } else { "1.2".into() });
            continue;
        }
        let word = OsString::from_vec(value.clone());
        if let Some(checked) = check_flag(&name, &word) {
            if value.is_empty() && ABSENT_WHEN_EMPTY.contains(&name.as_str()) {
                resolved.flags.retain(|(known, _)| *known != name);
                continue;
            }
            let before = resolved.flags.iter().find(|(known, _)| *known == name);
            let word = match before {
                Some((_, before)) if ADDING.contains(&name.as_str()) && !value.is_empty() => {
                    let mut sum = before.clone();
                    sum.push(" ");
                    sum.push(&word);
                    sum
                }
                _ => word,
            };
            checked.map_err(|expected| failed(&expected))?;
            set(&mut resolved.flags, &name, word);
        } else if let Some((_, only)) = FIXED.iter().find(|(fixed, _)| *fixed == name) {
            if !value.eq_ignore_ascii_case(only.as_bytes()) {
                return Err(failed(&format!(
                    "this server can only have {}",
                    if only.is_empty() { "\"\"" } else { only }
                )));
            }
        } else if let Some(checked) = check_parameter(&name, &value) {
            checked.map_err(failed)?;
            // Those that add do so when they are applied one after the other.
            if !ADDING.contains(&name.as_str()) {
                resolved.parameters.retain(|(known, _)| *known != name);
            }
            resolved.parameters.push((name, value));
        } else if let Some((_, reason)) = IMPOSSIBLE.iter().find(|(impossible, _)| *impossible == name) {
            return Err(directive.error(format!("{name}: {reason}")));
        } else if MEANINGLESS.iter().any(|(known, _)| *known == name) {
            if !resolved.passed_over.contains(&name) {
                resolved.passed_over.push(name);
            }
        } else {
            return Err(directive.error(format!("unknown directive '{name}'")));
        }
    }
    Ok(resolved)
}

fn set(flags: &mut Vec<(String, OsString)>, name: &str, word: OsString) {
    flags.retain(|(known, _)| known != name);
    flags.push((name.to_string(), word));
}

/// The name under which it goes here, and its words as one value.
fn name_and_value(directive: &Directive) -> Result<(String, Vec<u8>), FileError> {
    let renamed = RENAMED.iter().find(|(theirs, _)| *theirs == directive.name);
    let name = renamed.map_or(directive.name.as_str(), |(_, ours)| ours);
    let several = SEVERAL_WORDS.contains(&name) || MEANINGLESS.iter().any(|(known, _)| *known == name);
    let impossible = IMPOSSIBLE.iter().any(|(known, _)| *known == name);
    match directive.arguments.len() {
        1 => {}
        0 if !impossible && name != "bind" => {
            return Err(directive.error(format!("{name}: a value is missing")));
        }
        _ if several || impossible => {}
        _ => return Err(directive.error(format!("{name}: expected one value; one with spaces needs quotes"))),
    }
    Ok((name.to_string(), directive.arguments.join(&b' ')))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn directives(text: &str) -> Vec<Directive> {
        let directive = |(at, line): (usize, &str)| {
            let mut words = crate::resp::split_words(line.as_bytes()).expect("balanced").into_iter();
            let name = String::from_utf8(words.next().expect("a word")).expect("text");
            Directive { name, arguments: words.collect(), file: PathBuf::from("f"), line: at + 1 }
        };
        text.lines().enumerate().map(directive).collect()
    }

    fn resolved(text: &str) -> Result<Resolved, String> {
        let check_flag = |name: &str, value: &OsString| match name {
            "port" | "threads" | "bind" | "tls-min-version" | "unixsocket" => {
                Some(if *value == "wrong" { Err("expected something".into()) } else { Ok(()) })
            }
            _ => None,
        };
        resolve(&directives(text), check_flag).map_err(|error| error.to_string())
    }

    #[test]
    fn directives_are_flags_parameters_or_nothing() {
        let text = "port 1\nport 2\nbind a b\nio-threads 4\ntls-protocols \"TLSv1.3\"\nunixsocket x\nunixsocket \"\"\n\
                    hash-max-listpack-entries 7\nhash-max-listpack-entries 8\nclient-output-buffer-limit pubsub 1 2 3\n\
                    client-output-buffer-limit normal 0 0 0\nappendonly NO\ndaemonize yes\nhz 10\nhz 20";
        let all = resolved(text).expect("correct");
        let flags: Vec<_> =
            all.flags.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text"))).collect();
        assert_eq!(flags, [("port", "2"), ("bind", "a b"), ("threads", "4"), ("tls-min-version", "1.3")]);
        let parameters: Vec<_> = all
            .parameters
            .iter()
            .map(|(name, value)| (name.as_str(), std::str::from_utf8(value).expect("text")))
            .collect();
        let limit = "client-output-buffer-limit";
        assert_eq!(parameters, [("hash-max-listpack-entries", "8"), (limit, "pubsub 1 2 3"), (limit, "normal 0 0 0")]);
        assert_eq!(all.passed_over, ["daemonize", "hz"]);
    }

    #[test]
    fn mistakes_name_file_line_directive_value_and_what_is_accepted() {
        let cases = [
            ("port 1\nport wrong", "f:2: port wrong: expected something"),
            ("nonsense 1", "f:1: unknown directive 'nonsense'"),
            ("port", "f:1: port: a value is missing"),
            ("port 1 2", "f:1: port: expected one value; one with spaces needs quotes"),
            (
                "hash-max-listpack-entries -1",
                "f:1: hash-max-listpack-entries -1: argument must be between 0 and 9223372036854775807 inclusive",
            ),
            ("appendonly yes", "f:1: appendonly yes: this server can only have no"),
            ("tls-protocols TLSv1.1", "f:1: tls-protocols TLSv1.1: argument must be 'TLSv1.2 TLSv1.3' or 'TLSv1.3'"),
        ];
        for (text, said) in cases {
            assert_eq!(resolved(text).expect_err(text), said);
        }
        let said = resolved("rename-command CONFIG \"\"").expect_err("impossible");
        assert!(said.starts_with("f:1: rename-command: commands cannot be renamed"), "{said}");
    }

    #[test]
    fn what_means_nothing_has_a_reason_and_is_nothing_else() {
        for (at, (name, reason)) in MEANINGLESS.iter().enumerate() {
            assert!(!reason.is_empty() && check_parameter(name, b"").is_none(), "{name}");
            assert!(IMPOSSIBLE.iter().chain(FIXED).all(|(other, _)| other != name), "{name}");
            assert!(MEANINGLESS[..at].iter().all(|(other, _)| other != name), "{name} is there twice");
        }
    }
}
