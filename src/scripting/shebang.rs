//! The first line of a script or a library: `#!lua flags=no-writes`, `#!lua name=mylib`.

/// What a script says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScriptFlags {
    /// It has no first line that says anything: what it may do is looked at call by call.
    pub unsaid: bool,
    /// It does not write.
    pub no_writes: bool,
    /// It may run when there is no memory left.
    pub allow_oom: bool,
    /// It may run on a replica that has lost its master: there is none here.
    pub allow_stale: bool,
    /// It does not run in a cluster of Redis: this is none.
    pub no_cluster: bool,
    /// Its keys may be in several slots: there are none here.
    pub allow_cross_slot_keys: bool,
}

impl ScriptFlags {
    /// Sets the flag of this name. False: there is none.
    pub fn set(&mut self, name: &[u8]) -> bool {
        let flag = match name {
            b"no-writes" => &mut self.no_writes,
            b"allow-oom" => &mut self.allow_oom,
            b"allow-stale" => &mut self.allow_stale,
            b"no-cluster" => &mut self.no_cluster,
            b"allow-cross-slot-keys" => &mut self.allow_cross_slot_keys,
            _ => return false,
        };
        *flag = true;
        true
    }

    /// The names of those that are set, as FUNCTION LIST shows them.
    pub fn names(&self) -> Vec<&'static str> {
        let all = [
            (self.no_writes, "no-writes"),
            (self.allow_oom, "allow-oom"),
            (self.allow_stale, "allow-stale"),
            (self.no_cluster, "no-cluster"),
            (self.allow_cross_slot_keys, "allow-cross-slot-keys"),
        ];
        all.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect()
    }
}

/// The words of a line.
fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// What a script says of itself, and where its Lua begins: at the end of the first line, so that lines keep their numbers.
///
/// # Errors
/// The text of the reply.
pub fn script_flags(source: &[u8]) -> Result<(ScriptFlags, usize), Vec<u8>> {
    if !source.starts_with(b"#!") {
        return Ok((ScriptFlags { unsaid: true, ..ScriptFlags::default() }, 0));
    }
    let Some(end) = source.iter().position(|byte| *byte == b'\n') else {
        return Err(b"ERR Invalid script shebang".to_vec());
    };
    let mut words = words(&source[..end]);
    let engine = words.next().unwrap_or_default();
    if engine != b"#!lua" {
        return Err([b"ERR Unexpected engine in script shebang: ", engine].concat());
    }
    let mut flags = ScriptFlags::default();
    for word in words {
        let Some(list) = word.strip_prefix(b"flags=") else {
            return Err([b"ERR Unknown lua shebang option: ", word].concat());
        };
        for name in list.split(|byte| *byte == b',').filter(|_| !list.is_empty()) {
            if !flags.set(name) {
                return Err([b"ERR Unexpected flag in script shebang: ", name].concat());
            }
        }
    }
    Ok((flags, end))
}

/// What the first line of a library says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryHeader {
    /// Its name.
    pub name: Vec<u8>,
    /// Where its Lua begins.
    pub end: usize,
}

/// What names are made of.
pub(super) const NAME_RULE: &str =
    "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long";

/// Is it a name for a library or a function?
pub(super) fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Reads the first line of a library.
///
/// # Errors
/// The text of the reply.
pub fn library_header(source: &[u8]) -> Result<LibraryHeader, Vec<u8>> {
    if !source.starts_with(b"#!") {
        return Err(b"ERR Missing library metadata".to_vec());
    }
    let end = source.iter().position(|byte| *byte == b'\n').ok_or(b"ERR Invalid library metadata")?;
    let mut words = words(&source[2..end]);
    let engine = words.next().unwrap_or_default();
    let mut name = None;
    for word in words {
        let Some(value) = word.strip_prefix(b"name=") else {
            return Err([b"ERR Invalid metadata value given: ", word].concat());
        };
        if name.replace(value).is_some() {
            return Err(b"ERR Invalid metadata value, name argument was given multiple times".to_vec());
        }
    }
    let name = name.ok_or(b"ERR Library name was not given")?;
    if !is_name(name) {
        return Err(format!("ERR {NAME_RULE}").into_bytes());
    }
    if !engine.eq_ignore_ascii_case(b"lua") {
        return Err([b"ERR Engine '", engine, b"' not found"].concat());
    }
    Ok(LibraryHeader { name: name.to_vec(), end })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T>(outcome: Result<T, Vec<u8>>) -> String {
        outcome.err().map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    /// As redis-server 7.0.15 takes them.
    #[test]
    fn first_lines_of_scripts() {
        assert_eq!(script_flags(b"return 1").map(|(flags, _)| flags.unsaid), Ok(true));
        let (flags, begin) =
            script_flags(b"#!lua  flags=no-writes   flags=allow-oom,no-cluster\nreturn 1").expect("right");
        assert_eq!(flags.names(), ["no-writes", "allow-oom", "no-cluster"]);
        assert_eq!((flags.unsaid, begin), (false, 51));
        assert!(script_flags(b"#!lua flags=\n").is_ok());
        for (source, error) in [
            ("#!lua", "ERR Invalid script shebang"),
            ("#!\nreturn 1", "ERR Unexpected engine in script shebang: #!"),
            ("#!js\nreturn 1", "ERR Unexpected engine in script shebang: #!js"),
            ("#!lua name=x\n", "ERR Unknown lua shebang option: name=x"),
            ("#!lua flags=nosuch\n", "ERR Unexpected flag in script shebang: nosuch"),
            ("#!lua flags=no-writes,\n", "ERR Unexpected flag in script shebang: "),
        ] {
            assert_eq!(text(script_flags(source.as_bytes())), error, "{source}");
        }
    }

    #[test]
    fn first_lines_of_libraries() {
        assert_eq!(library_header(b"#!LUA name=l_1\nx"), Ok(LibraryHeader { name: b"l_1".to_vec(), end: 14 }));
        for (source, error) in [
            ("return 1", "ERR Missing library metadata"),
            ("#!lua\n", "ERR Library name was not given"),
            ("#!lua name=zz", "ERR Invalid library metadata"),
            ("#!js name=a\n", "ERR Engine 'js' not found"),
            ("#!lua name=a name=b\n", "ERR Invalid metadata value, name argument was given multiple times"),
            ("#!lua name=a flags=x\n", "ERR Invalid metadata value given: flags=x"),
        ] {
            assert_eq!(text(library_header(source.as_bytes())), error, "{source}");
        }
        for source in ["#!lua name=a-b\n", "#!lua name=\n"] {
            assert_eq!(text(library_header(source.as_bytes())), format!("ERR {NAME_RULE}"));
        }
    }
}
