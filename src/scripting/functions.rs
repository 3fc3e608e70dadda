//! What a library registers: `redis.register_function`, in both its forms.

use mlua::{Function, MultiValue, Table, Value};

use super::shebang::{NAME_RULE, ScriptFlags, is_name};

/// Loading a library takes no longer than this, in milliseconds.
pub const MAX_LOAD_MILLIS: u64 = 500;

/// What is known of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionFacts {
    /// Its name.
    pub name: Vec<u8>,
    /// What its library says it does.
    pub description: Option<Vec<u8>>,
    /// What it says of itself.
    pub flags: ScriptFlags,
}

/// A function that a library registers while it is loaded.
pub(super) struct Registration {
    pub facts: FunctionFacts,
    pub function: Function,
}

/// Text, or a number as text, as Lua takes one for the other.
fn text_of(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Integer(number) => Some(number.to_string().into_bytes()),
        Value::Number(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}

impl Registration {
    /// Reads what `redis.register_function` was given. The error is for the library.
    pub fn read(arguments: &MultiValue) -> Result<Registration, String> {
        let mut given = arguments.iter();
        match (given.next(), given.next(), arguments.len()) {
            (Some(Value::Table(named)), None, 1) => Registration::read_named(named),
            (Some(_), None, 1) => Err("ERR calling redis.register_function with a single argument is only applicable \
                                       to Lua table (representing named arguments)."
                .into()),
            (Some(name), Some(function), 2) => {
                let name = text_of(name).ok_or("ERR first argument to redis.register_function must be a string")?;
                let Value::Function(function) = function else {
                    return Err("ERR second argument to redis.register_function must be a function".into());
                };
                Registration::new(name, None, ScriptFlags::default(), function.clone())
            }
            _ => Err("ERR wrong number of arguments to redis.register_function".into()),
        }
    }

    fn read_named(named: &Table) -> Result<Registration, String> {
        let (mut name, mut function, mut description) = (None, None, None);
        let mut flags = ScriptFlags::default();
        for pair in named.pairs::<Value, Value>() {
            let unknown = "ERR unknown argument given to redis.register_function";
            let Ok((Value::String(key), value)) = pair else { return Err(unknown.into()) };
            match &*key.as_bytes() {
                b"function_name" => {
                    let text = text_of(&value);
                    name = Some(
                        text.ok_or("ERR function_name argument given to redis.register_function must be a string")?,
                    );
                }
                b"description" => {
                    let text = text_of(&value);
                    description =
                        Some(text.ok_or("ERR description argument given to redis.register_function must be a string")?);
                }
                b"callback" => {
                    let Value::Function(callback) = value else {
                        return Err("ERR callback argument given to redis.register_function must be a function".into());
                    };
                    function = Some(callback);
                }
                b"flags" => {
                    let Value::Table(list) = value else {
                        return Err("ERR flags argument to redis.register_function must be a table representing \
                                    function flags"
                            .into());
                    };
                    for flag in list.sequence_values::<Value>() {
                        let flag = flag.ok().as_ref().and_then(text_of).unwrap_or_default();
                        if !flags.set(&flag) {
                            return Err("ERR unknown flag given".into());
                        }
                    }
                }
                _ => return Err(unknown.into()),
            }
        }
        let name = name.ok_or("ERR redis.register_function must get a function name argument")?;
        let function = function.ok_or("ERR redis.register_function must get a callback argument")?;
        Registration::new(name, description, flags, function)
    }

    fn new(
        name: Vec<u8>,
        description: Option<Vec<u8>>,
        flags: ScriptFlags,
        function: Function,
    ) -> Result<Registration, String> {
        if !is_name(&name) {
            return Err(format!("ERR {NAME_RULE}"));
        }
        Ok(Registration { facts: FunctionFacts { name, description, flags }, function })
    }
}
