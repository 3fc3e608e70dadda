//! Which words of a request are secrets: what MONITOR and SLOWLOG show instead.

use super::context::is_option;
use super::table::Entry;
use crate::resp::Arguments;

/// What stands for a secret.
pub const REDACTED: &[u8] = b"(redacted)";

/// Parameters whose values are secrets.
const SECRET_PARAMETERS: [&str; 5] =
    ["requirepass", "masterauth", "masteruser", "tls-key-file-pass", "tls-client-key-file-pass"];

/// Is this word of the request a secret?
pub fn is_secret(entry: &Entry, arguments: &Arguments<'_>, at: usize) -> bool {
    let word_is = |at: usize, options: &[&str]| {
        arguments.get(at).is_some_and(|word| options.iter().any(|option| is_option(word, option)))
    };
    match &*entry.full_name {
        "auth" => at >= 1,
        "hello" => at >= 3 && (word_is(at - 1, &["auth"]) || at >= 4 && word_is(at - 2, &["auth"])),
        "config|set" => at >= 3 && at % 2 == 1 && word_is(at - 1, &SECRET_PARAMETERS),
        "acl|setuser" => at >= 2,
        "migrate" => at >= 7 && (word_is(at - 1, &["auth", "auth2"]) || at >= 8 && word_is(at - 2, &["auth2"])),
        _ => false,
    }
}
