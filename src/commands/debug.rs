//! DEBUG: what test suites and the curious use. Not open to anybody unless the node was started with `--enable-debug-command`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::info;

use super::Flow;
use super::config::parse_memory;
use super::context::{Context, Outcome, Refusal, SYNTAX, is_option, shown};
use super::floats::parse_float;
use super::serialization::dumped_bytes;
use super::spec::{Command, Flags, Group};
use super::supervision::DebugAccess;
use crate::keyspace::{Life, integer, is_system_key};
use crate::resp::Protocol;

/// The rows of this family. A subcommand may be about any key.
pub const COMMANDS: &[Command] = &[Command::new(Group::Server, "debug", -2, debug)
    .flags(Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::LOADING).with(Flags::STALE).with(Flags::EVERYTHING))
    .internal()
    .docs("1.0.0", "Depends on subcommand.", "For tests of the server")];

fn debug(context: &mut Context<'_>) -> Outcome {
    if !is_allowed(context) {
        return Err(Refusal::Fixed(
            "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a \
             local connection, otherwise you need to set this option in the configuration file, and then restart the server.",
        ));
    }
    let words = context.words();
    let is = |name: &str| is_option(context.word(1), name);
    match words {
        2 if is("help") => help(context),
        2 if is("change-repl-id") => context.ok(),
        2.. if is("reload") => reload(context),
        2.. if is("populate") && words <= 5 && words > 2 => populate(context),
        3 if is("sleep") => sleep(context),
        3 if is("set-active-expire") => set_active_expire(context),
        3 if is("object") => object(context),
        3 if is("quicklist-packed-threshold") => quicklist_packed_threshold(context),
        3 if is("protocol") => protocol(context),
        3 if is("error") => error(context),
        3 if is("log") => log(context),
        _ => {
            let text: [&[u8]; 3] = [
                b"ERR unknown subcommand or wrong number of arguments for '",
                shown(context.word(1)),
                b"'. Try DEBUG HELP.",
            ];
            Err(Refusal::Built(text.concat()))
        }
    }
}

fn is_allowed(context: &Context<'_>) -> bool {
    let record = &context.session.record;
    match context.state.supervision.debug_access {
        DebugAccess::No => false,
        DebugAccess::Yes => true,
        DebugAccess::Local => {
            let address = record.address.parse::<std::net::SocketAddr>();
            record.unix || address.is_ok_and(|address| address.ip().to_canonical().is_loopback())
        }
    }
}

/// Holds up the thread that serves this client, as a command would that takes so long. That is the point of it.
fn sleep(context: &mut Context<'_>) -> Outcome {
    let seconds = parse_float(context.word(2)).unwrap_or(0.0);
    std::thread::sleep(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    context.ok()
}

fn set_active_expire(context: &mut Context<'_>) -> Outcome {
    let applies = integer::parse(context.word(2)).is_some_and(|number| number != 0);
    context.state.supervision.active_expire.store(applies, Ordering::Relaxed);
    context.ok()
}

/// What Redis tells of an object in its memory, as far as there is such a thing here. The address says nothing.
fn object(context: &mut Context<'_>) -> Outcome {
    let key = context.key(2);
    let mut transaction = context.lock(key);
    let Some(facts) = transaction.facts(key) else { return Err(Refusal::Fixed("ERR no such key")) };
    let length = dumped_bytes(&mut transaction, key, context.now);
    drop(transaction);
    let seconds = facts.idle / 1000;
    let clock = (context.now / 1000).saturating_sub(seconds) & 0x00ff_ffff;
    let text = format!(
        "Value at:0x0 refcount:1 encoding:{} serializedlength:{length} lru:{clock} lru_seconds_idle:{seconds}",
        facts.encoding
    );
    context.reply.simple(&text);
    Ok(Flow::Continue)
}

/// Lists have no such threshold here: an element is at home in any node. What is asked for is checked.
fn quicklist_packed_threshold(context: &mut Context<'_>) -> Outcome {
    match parse_memory(context.word(2)).filter(|bytes| *bytes < 4 << 30) {
        Some(_) => context.ok(),
        None => Err(Refusal::Fixed("ERR argument must be a memory value bigger than 1 and smaller than 4gb")),
    }
}

fn reload(context: &mut Context<'_>) -> Outcome {
    for option in context.arguments.from(2).iter() {
        if !["merge", "noflush", "nosave"].iter().any(|known| is_option(option, known)) {
            return Err(Refusal::Fixed("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options."));
        }
    }
    Err(Refusal::Fixed("ERR DEBUG RELOAD is not possible here: this server does not load data while it serves"))
}

fn populate(context: &mut Context<'_>) -> Outcome {
    let positive = |at: usize| -> Result<usize, Refusal> {
        let number = context.integer(at).ok().and_then(|number| usize::try_from(number).ok());
        number.ok_or(Refusal::Fixed("ERR value is out of range, must be positive"))
    };
    let count = positive(2)?;
    let prefix = if context.words() > 3 { context.word(3) } else { b"key" };
    let size = if context.words() > 4 { positive(4)? } else { 0 };
    if size > crate::keyspace::MAX_STRING_BYTES {
        return Err(SYNTAX);
    }
    for number in 0..count {
        let name = [prefix, format!(":{number}").as_bytes()].concat();
        if is_system_key(&name) {
            return Err(Refusal::Fixed("ERR keys that begin with '__swytch:' belong to the system and are read-only"));
        }
        let mut value = format!("value:{number}").into_bytes();
        if size > 0 {
            value.resize(size, 0);
        }
        let key = context.state.keyspace.key(&name);
        let mut transaction = context.lock(key);
        if transaction.kind(key).is_none() {
            transaction.string_set(key, &value, Life::Forever);
        }
        context.commit(transaction);
    }
    context.ok()
}

/// A reply of each type of the protocol.
fn protocol(context: &mut Context<'_>) -> Outcome {
    const TYPES: &str = "string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false";
    let is = |name: &str| is_option(context.word(2), name);
    let old = context.reply.protocol() == Protocol::Resp2;
    let place = TYPES.split('|').position(is);
    let reply = &mut *context.reply;
    match place {
        Some(0) => reply.bulk(b"Hello World"),
        Some(1) => reply.integer(12345),
        Some(2) => reply.double(3141.0 / 1000.0),
        Some(3) => reply.big_number("1234567999999999999999999999999999999"),
        Some(4) => reply.null(),
        Some(5) => {
            reply.array(3);
            (0..3).for_each(|number| reply.integer(number));
        }
        Some(6) => {
            reply.set(3);
            (0..3).for_each(|number| reply.integer(number));
        }
        Some(7) => {
            reply.map(3);
            for number in 0..3 {
                reply.integer(number);
                reply.boolean(number == 1);
            }
        }
        Some(8) => {
            if !old {
                reply.attribute(1);
                reply.bulk(b"key-popularity");
                reply.array(2);
                reply.bulk(b"key:123");
                reply.integer(90);
            }
            reply.bulk(b"Some real reply following the attribute");
        }
        Some(9) if old => return Err(Refusal::Fixed("ERR RESP2 is not supported by this command")),
        Some(9) => {
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.integer(42);
            reply.bulk(b"Some real reply following the push reply");
        }
        Some(10) => reply.verbatim(*b"txt", b"This is a verbatim\nstring"),
        Some(11) => reply.boolean(true),
        Some(12) => reply.boolean(false),
        _ => {
            return Err(Refusal::built(format!(
                "ERR Wrong protocol type name. Please use one of the following: {TYPES}"
            )));
        }
    }
    Ok(Flow::Continue)
}

fn error(context: &mut Context<'_>) -> Outcome {
    Err(Refusal::Built(context.word(2).to_vec()))
}

fn log(context: &mut Context<'_>) -> Outcome {
    info!(message = %String::from_utf8_lossy(context.word(2)), "DEBUG LOG");
    context.ok()
}

fn help(context: &mut Context<'_>) -> Outcome {
    context.reply_help(&[
        "CHANGE-REPL-ID",
        "    Do nothing.",
        "ERROR <text>",
        "    Reply with this error.",
        "LOG <text>",
        "    Write to the log.",
        "OBJECT <key>",
        "    Return what is known of a key.",
        "POPULATE <count> [<prefix> [<size>]]",
        "    Make so many keys, unless they are there.",
        "PROTOCOL <type>",
        "    Return a reply of this type: string, integer, double, bignum, null, array, set, map, attrib,",
        "    push, verbatim, true or false.",
        "QUICKLIST-PACKED-THRESHOLD <size>",
        "    Do nothing.",
        "SET-ACTIVE-EXPIRE <0|1>",
        "    Remove keys whose time is over in the background, or do not.",
        "SLEEP <seconds>",
        "    Hold up the thread that serves this connection.",
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::Supervision;
    use crate::commands::testing::Fixture;

    fn open() -> Fixture {
        let mut fixture = Fixture::new();
        fixture.state.supervision = Supervision::new(DebugAccess::Local);
        fixture
    }

    #[test]
    fn only_those_that_may() {
        let mut fixture = Fixture::new();
        let refused = fixture.run("debug sleep 0");
        assert!(refused.starts_with("-ERR DEBUG command not allowed. If the enable-debug-command option"), "{refused}");
        assert_eq!(open().run("debug sleep 0"), "+OK\r\n");
        assert_eq!(fixture.run("config get enable-debug-command"), "*2\r\n$20\r\nenable-debug-command\r\n$2\r\nno\r\n");
    }

    #[test]
    fn what_test_suites_use() {
        let mut fixture = open();
        let unknown = |name: &str| {
            format!("-ERR unknown subcommand or wrong number of arguments for '{name}'. Try DEBUG HELP.\r\n")
        };
        fixture.expect(&[
            ("debug sleep x", "+OK\r\n"),
            ("debug sleep", &unknown("sleep")),
            ("debug jmap", &unknown("jmap")),
            ("debug set-active-expire 0", "+OK\r\n"),
            ("debug change-repl-id", "+OK\r\n"),
            ("debug quicklist-packed-threshold 100b", "+OK\r\n"),
            (
                "debug quicklist-packed-threshold 5gb",
                "-ERR argument must be a memory value bigger than 1 and smaller than 4gb\r\n",
            ),
            ("debug object k", "-ERR no such key\r\n"),
            ("debug populate x", "-ERR value is out of range, must be positive\r\n"),
            ("debug populate 3", "+OK\r\n"),
            ("debug populate 2 pre 7", "+OK\r\n"),
            ("mget key:2 pre:1", "*2\r\n$7\r\nvalue:2\r\n$7\r\nvalue:1\r\n"),
            (
                "debug populate 1 __swytch",
                "-ERR keys that begin with '__swytch:' belong to the system and are read-only\r\n",
            ),
            ("dbsize", ":5\r\n"),
            ("debug error FOO", "-FOO\r\n"),
            ("debug log hello", "+OK\r\n"),
            ("debug reload foo", "-ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.\r\n"),
        ]);
        let object = fixture.run("debug object key:0");
        assert!(object.starts_with("+Value at:0x0 refcount:1 encoding:embstr serializedlength:8 lru:"), "{object}");
        assert!(!fixture.state.supervision.active_expire.load(Ordering::Relaxed));
        assert!(fixture.run("debug reload").starts_with("-ERR DEBUG RELOAD is not possible here"));
        fixture.expect(&[
            ("multi", "+OK\r\n"),
            ("debug object key:0", "+QUEUED\r\n"),
            ("debug populate 9", "+QUEUED\r\n"),
        ]);
        assert!(fixture.run("exec").ends_with("+OK\r\n"));
        assert_eq!(fixture.run("dbsize"), ":11\r\n");
    }

    #[test]
    fn a_reply_of_each_type() {
        let mut fixture = open();
        fixture.expect(&[
            ("debug protocol bignum", "$37\r\n1234567999999999999999999999999999999\r\n"),
            ("debug protocol attrib", "$39\r\nSome real reply following the attribute\r\n"),
            ("debug protocol push", "-ERR RESP2 is not supported by this command\r\n"),
        ]);
        fixture.run("hello 3");
        fixture.expect(&[
            ("debug protocol double", ",3.141\r\n"),
            ("debug protocol bignum", "(1234567999999999999999999999999999999\r\n"),
            ("debug protocol map", "%3\r\n:0\r\n#f\r\n:1\r\n#t\r\n:2\r\n#f\r\n"),
            ("debug protocol verbatim", "=29\r\ntxt:This is a verbatim\nstring\r\n"),
            ("debug protocol false", "#f\r\n"),
        ]);
        let attribute = fixture.run("debug protocol attrib");
        assert!(
            attribute.starts_with("|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n$39\r\n"),
            "{attribute}"
        );
        assert!(fixture.run("debug protocol x").starts_with("-ERR Wrong protocol type name."));
    }
}
