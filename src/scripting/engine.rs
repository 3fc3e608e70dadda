//! One Lua state: what was compiled in it, and how it is run.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use mlua::chunk::ChunkMode;
use mlua::{Function, HookTriggers, Lua, MultiValue, Table, VmState};

use super::api::{Raised, Shared, end_here, explain, place};
use super::convert;
use super::functions::FunctionFacts;
use super::random::Random;
use super::sandbox::{self, Sandbox};
use super::shebang::{ScriptFlags, library_header, script_flags};
use super::{HOST, Host};
use crate::resp::{Protocol, Reply};

/// What a script returned.
pub type Value = mlua::Value;

/// What one state may take, in bytes; a script that needs more fails.
pub const MEMORY_LIMIT: usize = 256 << 20;
/// Scripts that a state keeps compiled; with more, it begins anew.
const MOST_COMPILED: usize = 1000;
/// The host is asked whether a script must end after so many instructions.
const INSTRUCTIONS_BETWEEN: u32 = 20_000;

/// The SHA-1 of a script: its name.
pub type Digest = [u8; 20];

/// The name of a script.
pub fn digest_of(source: &[u8]) -> Digest {
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, source);
    let mut bytes = [0; 20];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

/// A name as text: 40 digits.
pub fn hexadecimal(digest: &Digest) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let pairs = digest.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    pairs.map(char::from).collect()
}

/// Why a script ended before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Code and text.
    pub text: Vec<u8>,
    /// Where, as Lua names it: the source and the line.
    pub place: Option<(String, usize)>,
    /// It is the error of a command, which the host knows of.
    pub counted: bool,
}

impl Failure {
    fn of(error: &mlua::Error) -> Failure {
        match error.downcast_ref::<Raised>() {
            Some(raised) => Failure { text: raised.text.clone(), place: raised.place.clone(), counted: false },
            None => Failure { text: format!("ERR {}", first_line(error)).into_bytes(), place: None, counted: false },
        }
    }

    /// The reply to the client; `name` is that of the script or function.
    pub fn reply(&self, name: &str) -> Vec<u8> {
        let mut text = self.text.clone();
        text.extend_from_slice(format!(" script: {name}").as_bytes());
        if let Some((source, line)) = &self.place {
            text.extend_from_slice(format!(", on {source}:{line}.").as_bytes());
        }
        text
    }
}

/// What an error says, without what Lua adds.
fn first_line(error: &mlua::Error) -> String {
    let text = match error {
        mlua::Error::SyntaxError { message, .. } | mlua::Error::RuntimeError(message) => message.clone(),
        mlua::Error::MemoryError(_) => "not enough memory".to_string(),
        mlua::Error::CallbackError { cause, .. } => return first_line(cause),
        other => other.to_string(),
    };
    text.lines().next().unwrap_or_default().to_string()
}

/// A script that is compiled here.
#[derive(Clone)]
struct Compiled {
    function: Function,
    flags: ScriptFlags,
}

/// What runs next.
pub struct Prepared {
    function: Function,
    /// What it says of itself.
    pub flags: ScriptFlags,
    is_function: bool,
}

/// See the module's text.
pub struct Engine {
    sandbox: Sandbox,
    shared: Rc<Shared>,
    /// Handles an error where it happens: notes where that was.
    handler: Function,
    scripts: HashMap<Digest, Compiled>,
    /// Of the functions of libraries what they say of themselves, by their names in lower case.
    flags: HashMap<Vec<u8>, ScriptFlags>,
    /// And their code.
    functions: Table,
    /// Which state of the scripts and libraries of the node this follows.
    pub versions: (u64, u64),
    /// It was told to end, and raises at every instruction.
    ending: Rc<Cell<Option<&'static str>>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Engine").field("scripts", &self.scripts.len()).field("memory", &self.memory()).finish()
    }
}

impl Engine {
    /// Makes a state. The error says what Lua said.
    pub fn new() -> Result<Engine, String> {
        Engine::make().map_err(|error| first_line(&error))
    }

    fn make() -> mlua::Result<Engine> {
        let shared = Rc::new(Shared::default());
        let sandbox = sandbox::make(&shared)?;
        let explain = explain(&sandbox.lua)?;
        let handler = sandbox.lua.create_function(move |lua, failure: mlua::Value| handle(lua, &explain, failure))?;
        let ending = Rc::new(Cell::new(None));
        set_hook(&sandbox.lua, &ending, INSTRUCTIONS_BETWEEN)?;
        let functions = sandbox.lua.create_table()?;
        Ok(Engine {
            sandbox,
            shared,
            handler,
            scripts: HashMap::new(),
            flags: HashMap::new(),
            functions,
            versions: (0, 0),
            ending,
        })
    }

    /// Bytes of memory that it takes.
    pub fn memory(&self) -> usize {
        self.sandbox.lua.used_memory()
    }

    /// Forgets the scripts.
    pub fn forget_scripts(&mut self) {
        self.scripts.clear();
    }

    /// A script that is compiled here.
    pub fn compiled(&self, digest: &Digest) -> Option<Prepared> {
        let Compiled { function, flags } = self.scripts.get(digest)?;
        Some(Prepared { function: function.clone(), flags: *flags, is_function: false })
    }

    /// Compiles a script.
    ///
    /// # Errors
    /// The text of the reply.
    pub fn compile(&mut self, digest: Digest, source: &[u8]) -> Result<Prepared, Vec<u8>> {
        let (flags, begin) = script_flags(source)?;
        let chunk = self.sandbox.lua.load(&source[begin..]).set_name("@user_script").set_mode(ChunkMode::Text);
        let function = limited(&self.sandbox.lua, || chunk.into_function()).map_err(|error| {
            format!("ERR Error compiling script (new function): {}", first_line(&error)).into_bytes()
        })?;
        if self.scripts.len() >= MOST_COMPILED {
            self.scripts.clear();
        }
        self.scripts.insert(digest, Compiled { function: function.clone(), flags });
        Ok(Prepared { function, flags, is_function: false })
    }

    /// Forgets all libraries.
    pub fn forget_libraries(&mut self) {
        self.flags.clear();
        // Should there be no memory for it, nothing finds what is left.
        let _ = self.functions.clear();
    }

    /// Loads a library: what functions it has. They can be called only after [`Engine::keep`].
    ///
    /// # Errors
    /// The text of the reply.
    pub fn load(&mut self, source: &[u8], host: &mut dyn Host) -> Result<Loaded, Vec<u8>> {
        let header = library_header(source)?;
        let lua = &self.sandbox.lua;
        let chunk = lua.load(&source[header.end..]).set_name("@user_function").set_mode(ChunkMode::Text);
        let chunk = chunk.set_environment(self.sandbox.function_globals.clone());
        let function = limited(lua, || chunk.into_function())
            .map_err(|error| format!("ERR Error compiling function: {}", first_line(&error)).into_bytes())?;
        let show = |what: &Table| self.sandbox.function_rules.raw_set("__index", what.clone());
        let internal = |error: mlua::Error| format!("ERR {}", first_line(&error)).into_bytes();
        let callbacks = lua.create_table().map_err(internal)?;
        self.shared.registered.borrow_mut().clear();
        *self.shared.callbacks.borrow_mut() = Some(callbacks.clone());
        show(&self.sandbox.while_loading).map_err(internal)?;
        let outcome = self.protected(&function, MultiValue::new(), host);
        show(&self.sandbox.while_running).map_err(internal)?;
        let registered = std::mem::take(&mut *self.shared.registered.borrow_mut());
        if let Err(failure) = outcome {
            return Err([b"ERR Error registering functions: ", &*failure.text].concat());
        }
        if registered.is_empty() {
            return Err(b"ERR No functions registered".to_vec());
        }
        Ok(Loaded { name: header.name, functions: registered, callbacks })
    }

    /// Lets the functions of a library be called.
    ///
    /// # Errors
    /// Lua has no memory for them.
    pub fn keep(&mut self, loaded: &Loaded) -> Result<(), Vec<u8>> {
        for (at, facts) in loaded.functions.iter().enumerate() {
            let name = facts.name.to_ascii_lowercase();
            let kept = loaded
                .callbacks
                .raw_get::<Function>(at + 1)
                .and_then(|function| self.functions.raw_set(self.sandbox.lua.create_string(&name)?, function));
            kept.map_err(|error| format!("ERR {}", first_line(&error)).into_bytes())?;
            self.flags.insert(name, facts.flags);
        }
        Ok(())
    }

    /// The function of this name, in any case.
    pub fn function(&self, name: &[u8]) -> Option<Prepared> {
        let lowered = name.to_ascii_lowercase();
        let flags = *self.flags.get(&lowered)?;
        let function = self.functions.raw_get(self.sandbox.lua.create_string(&lowered).ok()?).ok()?;
        Some(Prepared { function, flags, is_function: true })
    }

    /// Runs a script or function, and appends what it returns to the reply.
    ///
    /// # Errors
    /// Why it ended before its end.
    pub fn run<'a>(
        &self,
        prepared: &Prepared,
        keys: impl ExactSizeIterator<Item = &'a [u8]>,
        arguments: impl ExactSizeIterator<Item = &'a [u8]>,
        host: &mut dyn Host,
        reply: &mut Reply,
    ) -> Result<(), Failure> {
        let value = match self.start(prepared, keys, arguments) {
            Ok(given) => self.protected(&prepared.function, given, host),
            Err(error) => Err(Failure::of(&error)),
        };
        let value = match value {
            Ok(value) => value,
            Err(failure) => {
                // A script may have failed because memory was full of what nobody needs any more.
                if self.memory() > MEMORY_LIMIT / 2 {
                    let _ = self.sandbox.lua.gc_collect();
                }
                return Err(failure);
            }
        };
        let begun = reply.bytes().len();
        if convert::write(&value, self.shared.protocol.get(), reply, 0).is_err() {
            reply.bytes_mut().truncate(begun);
            reply.error(b"ERR reached lua stack limit");
        }
        Ok(())
    }

    /// Gets everything ready: what the function is given.
    fn start<'a>(
        &self,
        prepared: &Prepared,
        keys: impl ExactSizeIterator<Item = &'a [u8]>,
        arguments: impl ExactSizeIterator<Item = &'a [u8]>,
    ) -> mlua::Result<MultiValue> {
        self.shared.protocol.set(Protocol::Resp2);
        self.shared.random.set(Random::default());
        let keys = self.table_of(keys)?;
        let arguments = self.table_of(arguments)?;
        if prepared.is_function {
            return Ok(MultiValue::from_iter([Value::Table(keys), Value::Table(arguments)]));
        }
        self.sandbox.globals.raw_set("KEYS", keys)?;
        self.sandbox.globals.raw_set("ARGV", arguments)?;
        Ok(MultiValue::new())
    }

    fn table_of<'a>(&self, words: impl ExactSizeIterator<Item = &'a [u8]>) -> mlua::Result<Table> {
        let lua = &self.sandbox.lua;
        let table = lua.create_table_with_capacity(words.len(), 0)?;
        for (at, word) in words.enumerate() {
            table.raw_set(at + 1, lua.create_string(word)?)?;
        }
        Ok(table)
    }

    /// Calls a function: what it returns, or why it ended.
    fn protected(&self, function: &Function, given: MultiValue, host: &mut dyn Host) -> Result<Value, Failure> {
        let body = function.clone();
        let call = || -> mlua::Result<MultiValue> {
            let mut all = MultiValue::from_iter([Value::Function(body), Value::Function(self.handler.clone())]);
            all.extend(given);
            limited(&self.sandbox.lua, || self.sandbox.run.call(all))
        };
        let outcome = HOST.set(host, call);
        if self.ending.take().is_some() {
            let _ = set_hook(&self.sandbox.lua, &self.ending, INSTRUCTIONS_BETWEEN);
        }
        match outcome.map(sandbox::outcome) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(failure)) => Err(failure_of(&failure)),
            Err(error) => Err(Failure::of(&error)),
        }
    }
}

/// Does something with the limit of memory. Whatever may fail for want of memory costs mlua several calls and a closure more, so what the
/// host does by itself, and is bounded otherwise, goes without.
fn limited<T>(lua: &Lua, work: impl FnOnce() -> T) -> T {
    set_limit(lua, MEMORY_LIMIT);
    let outcome = work();
    set_limit(lua, 0);
    outcome
}

/// Lets the host do something without the limit of memory, within a script.
pub(super) fn unlimited<T>(lua: &Lua, work: impl FnOnce() -> T) -> T {
    set_limit(lua, 0);
    let outcome = work();
    set_limit(lua, MEMORY_LIMIT);
    outcome
}

/// 0: none.
fn set_limit(lua: &Lua, bytes: usize) {
    lua.set_memory_limit(bytes).expect("the state has mlua's own allocator");
}

/// A library that was loaded and is not in use yet.
pub struct Loaded {
    /// Its name.
    pub name: Vec<u8>,
    /// Its functions.
    pub functions: Vec<FunctionFacts>,
    callbacks: Table,
}

/// Asks the host now and then, and ends the script when it says so. A script that catches that error is ended again at once.
fn set_hook(lua: &Lua, ending: &Rc<Cell<Option<&'static str>>>, instructions: u32) -> mlua::Result<()> {
    let noted = Rc::clone(ending);
    lua.set_global_hook(HookTriggers::new().every_nth_instruction(instructions), move |lua, _| {
        let reason = match noted.get() {
            Some(reason) => Some(reason),
            None if HOST.is_set() => HOST.with(|host| host.must_end()),
            None => None,
        };
        let Some(reason) = reason else { return Ok(VmState::Continue) };
        if noted.replace(Some(reason)).is_none() {
            set_hook(lua, &noted, 1)?;
        }
        // What runs after the script to end it in order is not ended itself.
        end_here(lua, reason).map_or(Ok(VmState::Continue), Err)
    })
}

/// Where an error happens: makes a table of it that says where.
fn handle(lua: &Lua, explain: &Function, failure: Value) -> mlua::Result<Value> {
    let table = match &failure {
        Value::Table(table) => table.clone(),
        Value::Error(_) => match explain.call::<Value>(failure.clone())? {
            Value::Table(table) => table,
            other => return Ok(other),
        },
        other => {
            let text = match other {
                Value::String(text) => text.as_bytes().to_vec(),
                other => other.to_string()?.into_bytes(),
            };
            let table = lua.create_table_with_capacity(0, 3)?;
            table.raw_set("err", lua.create_string([b"ERR ", &*text].concat())?)?;
            table
        }
    };
    if table.raw_get::<Value>("source")?.is_nil()
        && let Some((source, line)) = place(lua, 1)
    {
        table.raw_set("source", source)?;
        table.raw_set("line", line)?;
    }
    Ok(Value::Table(table))
}

/// What the handler made of an error. It may be a table of the script's own, with anything in it.
fn failure_of(failure: &Value) -> Failure {
    let Value::Table(table) = failure else {
        // Lua itself was out of memory, or out of stack while it handled an error.
        let text = failure.as_string().map(|text| text.to_string_lossy()).unwrap_or_default();
        return Failure { text: format!("ERR {text}").into_bytes(), place: None, counted: false };
    };
    let text = match table.raw_get::<Value>("err") {
        Ok(Value::String(text)) => text.as_bytes().to_vec(),
        Ok(number @ (Value::Integer(_) | Value::Number(_))) => number.to_string().unwrap_or_default().into_bytes(),
        _ => b"ERR unknown error".to_vec(),
    };
    let place = match (table.raw_get::<String>("source"), table.raw_get::<usize>("line")) {
        (Ok(source), Ok(line)) => Some((source, line)),
        _ => None,
    };
    let counted = table.raw_get::<bool>("ignore_error_stats_update").unwrap_or(false);
    Failure { text, place, counted }
}
