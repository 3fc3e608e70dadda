//! From a file, and what it includes, to directives.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::glob;
use crate::resp::split_words;

/// No file is longer than this, in bytes.
const LONGEST_FILE: u64 = 16 << 20;
/// No line is longer than this, in bytes.
const LONGEST_LINE: usize = 64 << 10;
/// Files include files no deeper than this: one that includes itself ends here.
const DEEPEST: usize = 16;

/// One line that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// Its first word, in lower case.
    pub name: String,
    /// The other words.
    pub arguments: Vec<Vec<u8>>,
    /// The file that it is in.
    pub file: PathBuf,
    /// The line in the file, from 1.
    pub line: usize,
}

impl Directive {
    /// What is wrong with it.
    pub fn error(&self, text: impl Into<String>) -> FileError {
        FileError { file: self.file.clone(), line: Some(self.line), text: text.into() }
    }
}

/// What is wrong with a file. Displayed as one line that says where.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {text}", .file.display(), .line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct FileError {
    file: PathBuf,
    line: Option<usize>,
    text: String,
}

/// All directives of a file, with those of the files that it includes in their places.
///
/// # Errors
/// A file that cannot be read, quotes that are not closed.
pub fn read(path: &Path) -> Result<Vec<Directive>, FileError> {
    let mut directives = Vec::new();
    read_into(path, 0, &mut directives)?;
    Ok(directives)
}

fn read_into(path: &Path, depth: usize, directives: &mut Vec<Directive>) -> Result<(), FileError> {
    let text = contents(path).map_err(|error| FileError {
        file: path.to_owned(),
        line: None,
        text: format!("cannot read the configuration file: {error}"),
    })?;
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let failed = |text: &str| FileError { file: path.to_owned(), line: Some(number + 1), text: text.to_string() };
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        if line.len() > LONGEST_LINE {
            return Err(failed("the line is longer than 64 KiB"));
        }
        let words = split_words(line).ok_or_else(|| failed("a quote is not closed, or closed within a word"))?;
        let mut words = words.into_iter();
        let Some(name) = words.next() else { continue };
        let directive = Directive {
            name: String::from_utf8_lossy(&name).to_ascii_lowercase(),
            arguments: words.collect(),
            file: path.to_owned(),
            line: number + 1,
        };
        match (directive.name.as_str(), &directive.arguments[..]) {
            ("include", [_, ..]) if depth == DEEPEST => {
                return Err(directive.error(format!("files include each other deeper than {DEEPEST} times")));
            }
            ("include", [pattern]) => {
                for included in included(pattern).map_err(|error| directive.error(format!("include: {error}")))? {
                    read_into(&included, depth + 1, directives)?;
                }
            }
            ("include", _) => return Err(directive.error("include: expected one path")),
            _ => directives.push(directive),
        }
    }
    Ok(())
}

fn contents(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let length = File::open(path)?.take(LONGEST_FILE + 1).read_to_end(&mut text)?;
    if length as u64 > LONGEST_FILE { Err(io::Error::other("it has more than 16 MiB")) } else { Ok(text) }
}

/// The files that an `include` names, in the order of their names; a last component with `*`, `?` or `[` is a pattern, and
/// may match none.
fn included(path: &[u8]) -> io::Result<Vec<PathBuf>> {
    let path = Path::new(OsStr::from_bytes(path));
    let Some(pattern) = path.file_name().filter(|name| name.as_bytes().iter().any(|byte| b"*?[".contains(byte))) else {
        return Ok(vec![path.to_owned()]);
    };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let is_hidden = name.as_bytes().starts_with(b".") && !pattern.as_bytes().starts_with(b".");
        if !is_hidden && glob::matches(pattern.as_bytes(), name.as_bytes()) {
            found.push(directory.join(name));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::Scratch;

    fn shown(directives: &[Directive]) -> Vec<String> {
        let words = |directive: &Directive| {
            let words = directive.arguments.iter().map(|word| word.escape_ascii().to_string());
            format!("{}:{} {}", directive.line, directive.name, words.collect::<Vec<_>>().join("|"))
        };
        directives.iter().map(words).collect()
    }

    #[test]
    fn lines_are_words_with_quotes_and_comments() {
        let scratch = Scratch::new();
        let text = "# a comment\n\n  Port 7000  \nrequirepass \"a \\x41\\n\\\"\"\nsave '' \r\nbind * -::*\nlast";
        let path = scratch.write("conf", text);
        let directives = read(&path).expect("correct");
        let expected = ["3:port 7000", "4:requirepass a A\\n\\\"", "5:save ", "6:bind *|-::*", "7:last "];
        assert_eq!(shown(&directives), expected);
        assert_eq!(directives[2].arguments, [b""]);
        assert_eq!(directives[0].error("no").to_string(), format!("{}:3: no", path.display()));
    }

    #[test]
    fn included_files_stand_in_their_places() {
        let scratch = Scratch::new();
        scratch.write("b.inc", "two 2\n");
        scratch.write("a.inc", "one 1\n");
        let text = format!("zero 0\ninclude {0}/*.inc\ninclude {0}/*.none\nthree 3\n", scratch.path("").display());
        let path = scratch.write("conf", &text);
        assert_eq!(shown(&read(&path).expect("correct")), ["1:zero 0", "1:one 1", "1:two 2", "4:three 3"]);
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_line() {
        let scratch = Scratch::new();
        let fails = |text: &str| read(&scratch.write("conf", text)).expect_err("wrong").to_string();
        assert!(fails("a 1\nb \"x\n").contains("conf:2: a quote is not closed"));
        assert!(fails("a \"x\"y\n").contains("conf:1: a quote is not closed, or closed within a word"));
        assert!(fails("include /nowhere/at/all\n").starts_with("/nowhere/at/all: cannot read the configuration file"));
        assert!(fails(&format!("include {}\n", scratch.path("conf").display())).contains("deeper than 16"));
        assert!(fails(&"x".repeat(70_000)).contains("longer than 64 KiB"));
        assert!(read(Path::new("/dev/zero")).expect_err("endless").to_string().contains("more than 16 MiB"));
    }
}
