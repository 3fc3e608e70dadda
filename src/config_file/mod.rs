//! Configuration files in the form of redis.conf: reading them, and rewriting one in place.
//!
//! Knows words and lines, and nothing of what a directive means: that is the command line's business (`cli`) and that of
//! CONFIG (`commands`).

mod read;
mod rewrite;

pub use read::{Directive, FileError, read};
pub use rewrite::{Setting, replace_file, rewrite};
