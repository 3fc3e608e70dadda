//! One Lua state: what was compiled in it, and how it is run.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use mlua::chunk::ChunkMode;
use mlua::{Function, HookTriggers, Lua, Table, VmState};

use super::api::{Raised, Shared, end_here, explain, place};
use super::functions::FunctionFacts;
use super::invoke::{Given, Invocation};
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
/// Functions that are kept at hand.
const MOST_READY: usize = 500;
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

/// The script that ran last, by its text: to find it so costs less than the digest of the text.
struct Latest {
    source: Box<[u8]>,
    digest: Digest,
    prepared: Rc<Prepared>,
}

/// A longer text is not kept for being found so.
const MOST_KEPT_AS_LATEST: usize = 16 << 10;

/// A script or function that can be run.
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
    scripts: HashMap<Digest, Rc<Prepared>>,
    latest: Option<Latest>,
    /// Of the functions of libraries what they say of themselves, by their names in lower case.
    flags: HashMap<Vec<u8>, ScriptFlags>,
    /// And their code. In a table of Lua's: mlua itself can hold only some thousand values.
    functions: Table,
    /// Some that were called.
    ready: HashMap<Vec<u8>, Rc<Prepared>>,
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
            latest: None,
            flags: HashMap::new(),
            functions,
            ready: HashMap::new(),
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
        self.latest = None;
    }

    /// A script that is compiled here.
    pub fn compiled(&self, digest: &Digest) -> Option<Rc<Prepared>> {
        self.scripts.get(digest).cloned()
    }

    /// The script that ran last, if this is its text; and its name.
    pub fn latest(&self, source: &[u8]) -> Option<(Digest, Rc<Prepared>)> {
        let latest = self.latest.as_ref().filter(|latest| *latest.source == *source)?;
        Some((latest.digest, Rc::clone(&latest.prepared)))
    }

    /// Keeps a script as the one that ran last.
    pub fn keep_as_latest(&mut self, source: &[u8], digest: Digest, prepared: &Rc<Prepared>) {
        if source.len() <= MOST_KEPT_AS_LATEST {
            self.latest = Some(Latest { source: source.into(), digest, prepared: Rc::clone(prepared) });
        }
    }

    /// Compiles a script.
    ///
    /// # Errors
    /// The text of the reply.
    pub fn compile(&mut self, digest: Digest, source: &[u8]) -> Result<Rc<Prepared>, Vec<u8>> {
        let (flags, begin) = script_flags(source)?;
        let chunk = self.sandbox.lua.load(&source[begin..]).set_name("@user_script").set_mode(ChunkMode::Text);
        let function = limited(&self.sandbox.lua, || chunk.into_function()).map_err(|error| {
            format!("ERR Error compiling script (new function): {}", first_line(&error)).into_bytes()
        })?;
        if self.scripts.len() >= MOST_COMPILED {
            self.scripts.clear();
        }
        let prepared = Rc::new(Prepared { function, flags, is_function: false });
        self.scripts.insert(digest, Rc::clone(&prepared));
        Ok(prepared)
    }

    /// Forgets all libraries.
    pub fn forget_libraries(&mut self) {
        self.flags.clear();
        self.ready.clear();
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
        let none = || std::iter::empty::<&[u8]>();
        let outcome = self.call(&function, Given::Nothing, (none(), none()), host, &mut Reply::default());
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
        self.ready.clear();
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
    pub fn function(&mut self, name: &[u8]) -> Option<Rc<Prepared>> {
        let lowered = name.to_ascii_lowercase();
        if let Some(prepared) = self.ready.get(&lowered) {
            return Some(Rc::clone(prepared));
        }
        let flags = *self.flags.get(&lowered)?;
        let function = self.functions.raw_get(self.sandbox.lua.create_string(&lowered).ok()?).ok()?;
        let prepared = Rc::new(Prepared { function, flags, is_function: true });
        if self.ready.len() >= MOST_READY {
            self.ready.clear();
        }
        self.ready.insert(lowered, Rc::clone(&prepared));
        Some(prepared)
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
        self.shared.protocol.set(Protocol::Resp2);
        self.shared.random.set(Random::default());
        let given = match prepared.is_function {
            true => Given::Arguments,
            false => Given::Globals(&self.sandbox.globals),
        };
        let outcome = self.call(&prepared.function, given, (keys, arguments), host, reply);
        // A script may have failed because memory was full of what nobody needs any more.
        if outcome.is_err() && self.memory() > MEMORY_LIMIT / 2 {
            let _ = self.sandbox.lua.gc_collect();
        }
        outcome
    }

    /// Calls a function, and appends what it returns to the reply.
    fn call<'a>(
        &self,
        function: &Function,
        given: Given<'_>,
        (keys, arguments): (impl ExactSizeIterator<Item = &'a [u8]>, impl ExactSizeIterator<Item = &'a [u8]>),
        host: &mut dyn Host,
        reply: &mut Reply,
    ) -> Result<(), Failure> {
        let invocation = Invocation { lua: &self.sandbox.lua, function, handler: &self.handler, given };
        let outcome = HOST.set(host, || invocation.call(keys, arguments, || self.shared.protocol.get(), reply));
        if self.ending.take().is_some() {
            let _ = set_hook(&self.sandbox.lua, &self.ending, INSTRUCTIONS_BETWEEN);
        }
        if let Some(panic) = self.shared.panic.take() {
            std::panic::resume_unwind(panic);
        }
        match outcome {
            Ok(outcome) => outcome.map_err(|failure| failure_of(&failure)),
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

/// The limit of memory; 0: none.
pub(super) fn set_limit(lua: &Lua, bytes: usize) {
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
