//! Connections: who one is, which database and protocol it uses, and CLIENT.

use std::sync::Arc;

use super::client_control;
use super::context::{Context, Outcome, Refusal, SYNTAX, is_option, shown};
use super::session::Replies;
use super::spec::{Categories, Command, Flags, Group, Handler};
use super::{Flow, REDIS_VERSION, acl, tracking, wrong_arity};
use crate::acl::DEFAULT_USER;
use crate::keyspace::integer;
use crate::resp::Protocol;

const LOADING: Flags = Flags::LOADING.with(Flags::STALE);
const BEFORE_AUTH: Flags = LOADING.with(Flags::NOSCRIPT).with(Flags::FAST).with(Flags::NO_AUTH).with(Flags::ALLOW_BUSY);
const PRIVATE: Flags = LOADING.with(Flags::NOSCRIPT);

const fn row(name: &'static str, arity: isize, flags: Flags, handler: Handler) -> Command {
    Command::new(Group::Connection, name, arity, handler).flags(flags).categories(Categories::CONNECTION)
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    row("ping", -1, Flags::FAST.with(Flags::WHILE_SUBSCRIBED), ping)
        .hints(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .docs("1.0.0", "O(1)", "Says that the server is there"),
    row("echo", 2, LOADING.with(Flags::FAST), echo).docs("1.0.0", "O(1)", "Returns its argument"),
    row("auth", -2, BEFORE_AUTH, auth).docs("1.0.0", "O(1)", "Authenticates the connection"),
    row("hello", -1, BEFORE_AUTH, hello).docs("6.0.0", "O(1)", "Chooses the protocol and tells about the server"),
    row("select", 2, LOADING.with(Flags::FAST), select).docs("1.0.0", "O(1)", "Chooses the database"),
    row("quit", -1, BEFORE_AUTH.with(Flags::UNQUEUED).with(Flags::WHILE_SUBSCRIBED), quit)
        .deprecated("7.2.0", "just closing the connection")
        .docs("1.0.0", "O(1)", "Closes the connection"),
    row("reset", 1, BEFORE_AUTH.with(Flags::UNQUEUED).with(Flags::WHILE_SUBSCRIBED), reset).docs(
        "6.2.0",
        "O(1)",
        "Makes the connection as if it were new",
    ),
    Command::new(Group::Connection, "client", -2, container)
        .docs("2.4.0", "Depends on subcommand.", "Reads and changes what is known of connections")
        .subcommands(&[
            row("id", 2, PRIVATE, id).docs("5.0.0", "O(1)", "Returns the connection's id"),
            row("setname", 3, PRIVATE, setname).docs("2.6.9", "O(1)", "Names the connection"),
            row("getname", 2, PRIVATE, getname).docs("2.6.9", "O(1)", "Returns the connection's name"),
            row("setinfo", 4, PRIVATE, setinfo).docs(
                "7.2.0",
                "O(1)",
                "Tells the name and version of the client library",
            ),
            row("reply", 3, PRIVATE, replies).docs("3.2.0", "O(1)", "Says whether the connection wants replies"),
            row("info", 2, PRIVATE, info).hints(&["nondeterministic_output"]).docs(
                "6.2.0",
                "O(1)",
                "Describes the connection",
            ),
            row("list", -2, PRIVATE.with(Flags::ADMIN), list).hints(&["nondeterministic_output"]).docs(
                "2.4.0",
                "O(N) with N connections",
                "Describes connections",
            ),
            row("unblock", -3, PRIVATE.with(Flags::ADMIN), client_control::unblock).docs(
                "5.0.0",
                "O(log N) with N connections",
                "Ends the waiting of a client in a blocking command",
            ),
            row("kill", -3, PRIVATE.with(Flags::ADMIN), client_control::kill).docs(
                "2.4.0",
                "O(N) with N connections",
                "Ends connections",
            ),
            row("pause", -3, PRIVATE.with(Flags::ADMIN), client_control::pause).docs(
                "2.9.50",
                "O(1)",
                "Lets all requests, or all writes, wait for a while",
            ),
            row("unpause", 2, PRIVATE.with(Flags::ADMIN), client_control::unpause).docs(
                "6.2.0",
                "O(N) with N connections that wait",
                "Lets the requests that wait run",
            ),
            row("no-evict", 3, PRIVATE.with(Flags::ADMIN), client_control::no_evict).docs(
                "7.0.0",
                "O(1)",
                "Protects the connection from being disconnected for want of memory",
            ),
            row("no-touch", 3, PRIVATE, client_control::no_touch).docs(
                "7.2.0",
                "O(1)",
                "Says whether what the connection reads counts as used",
            ),
            row("tracking", -3, PRIVATE, tracking::tracking).docs(
                "6.0.0",
                "O(1), some options take O(N) with N of the connection's prefixes",
                "Tells the connection when what it has read changes, or no longer",
            ),
            row("getredir", 2, PRIVATE, tracking::getredir).docs(
                "6.0.0",
                "O(1)",
                "Returns which connection is told in place of this one what changes",
            ),
            row("trackinginfo", 2, PRIVATE, tracking::trackinginfo).docs(
                "6.2.0",
                "O(1)",
                "Returns how the connection is told what changes",
            ),
            row("caching", 3, PRIVATE, tracking::caching).docs(
                "6.0.0",
                "O(1)",
                "Says whether the connection keeps what the next command reads",
            ),
            row("help", 2, LOADING, help).docs("5.0.0", "O(1)", "Lists the subcommands"),
        ]),
];

/// Not reached: without a subcommand the number of arguments is wrong.
fn container(context: &mut Context<'_>) -> Outcome {
    Err(wrong_arity(context.entry))
}

fn ping(context: &mut Context<'_>) -> Outcome {
    if context.words() <= 2 && context.session.is_restricted(context.reply.protocol()) {
        context.reply.array(2);
        context.reply.bulk(b"pong");
        context.reply.bulk(context.arguments.get(1).unwrap_or_default());
        return Ok(Flow::Continue);
    }
    match context.words() {
        1 => context.reply.simple("PONG"),
        2 => context.reply.bulk(context.word(1)),
        _ => return Err(wrong_arity(context.entry)),
    }
    Ok(Flow::Continue)
}

fn echo(context: &mut Context<'_>) -> Outcome {
    context.reply.bulk(context.word(1));
    Ok(Flow::Continue)
}

const WRONG_PASSWORD: Refusal = Refusal::Fixed("WRONGPASS invalid username-password pair or user is disabled.");

fn auth(context: &mut Context<'_>) -> Outcome {
    match context.words() {
        2 if context.state.users.default_user().definition().needs_no_password() => {
            return Err(Refusal::Fixed(
                "ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?",
            ));
        }
        2 => authenticate(context, DEFAULT_USER, context.word(1))?,
        3 => authenticate(context, context.word(1), context.word(2))?,
        _ => return Err(SYNTAX),
    }
    context.ok()
}

fn authenticate(context: &mut Context<'_>, user: &[u8], password: &[u8]) -> Result<(), Refusal> {
    match context.state.users.log_in(user, password) {
        Some(user) => {
            context.session.log_in(user, true);
            Ok(())
        }
        None => {
            acl::note_wrong_password(context, user);
            Err(WRONG_PASSWORD)
        }
    }
}

fn hello(context: &mut Context<'_>) -> Outcome {
    let protocol = match context.arguments.get(1).map(integer::parse) {
        None => None,
        Some(None) => return Err(Refusal::Fixed("ERR Protocol version is not an integer or out of range")),
        Some(Some(2)) => Some(Protocol::Resp2),
        Some(Some(3)) => Some(Protocol::Resp3),
        Some(Some(_)) => return Err(Refusal::Fixed("NOPROTO unsupported protocol version")),
    };
    let mut at = 2;
    while at < context.words() {
        let word = context.word(at);
        let behind = context.words() - at - 1;
        if is_option(word, "auth") && behind >= 2 {
            // At once, as Redis does it: a wrong password is reported before a mistake in what follows.
            authenticate(context, context.word(at + 1), context.word(at + 2))?;
            at += 2;
        } else if is_option(word, "setname") && behind >= 1 {
            // At once as well: the name stays even if an option behind it is a mistake.
            let name = checked_name(context.word(at + 1))?;
            context.session.record.change_names(|names| names.name = name.to_vec());
            at += 1;
        } else {
            return Err(Refusal::Built([b"ERR Syntax error in HELLO option '", shown(word), b"'"].concat()));
        }
        at += 1;
    }
    if !context.session.authenticated && context.state.users.login_required() {
        return Err(Refusal::Fixed(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> \
             option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    if let Some(protocol) = protocol {
        context.session.set_protocol(protocol, context.reply);
    }
    let version = match context.reply.protocol() {
        Protocol::Resp2 => 2,
        Protocol::Resp3 => 3,
    };
    let reply = &mut *context.reply;
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.integer(version);
    reply.bulk(b"id");
    reply.integer(i64::try_from(context.session.id).unwrap_or(i64::MAX));
    reply.bulk(b"mode");
    reply.bulk(b"standalone");
    reply.bulk(b"role");
    reply.bulk(b"master");
    reply.bulk(b"modules");
    reply.array(0);
    Ok(Flow::Continue)
}

fn select(context: &mut Context<'_>) -> Outcome {
    let number = context.database(1)?;
    context.session.select(number);
    context.ok()
}

fn quit(context: &mut Context<'_>) -> Outcome {
    context.reply.ok();
    Ok(Flow::Close)
}

fn reset(context: &mut Context<'_>) -> Outcome {
    context.session.end_transaction(context.state);
    context.session.stop_listening_at_all(&context.state.channels);
    context.session.stop_reading_along(&context.state.supervision);
    context.session.stop_tracking(context.state);
    context.session.record.note_no_evict(false);
    context.session.set_no_touch(false);
    context.session.select(0);
    context.session.set_protocol(Protocol::Resp2, context.reply);
    let users = &context.state.users;
    context.session.log_in(Arc::clone(users.default_user()), !users.login_required());
    context.session.set_replies(Replies::On);
    context.session.record.change_names(|names| names.name.clear());
    context.reply.simple("RESET");
    Ok(Flow::Continue)
}

fn id(context: &mut Context<'_>) -> Outcome {
    let id = i64::try_from(context.session.id).unwrap_or(i64::MAX);
    context.reply_integer(id)
}

/// Are these visible characters only? They are printed between spaces.
fn is_plain(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_graphic)
}

fn checked_name(name: &[u8]) -> Result<&[u8], Refusal> {
    match is_plain(name) {
        true => Ok(name),
        false => Err(Refusal::Fixed("ERR Client names cannot contain spaces, newlines or special characters.")),
    }
}

fn setname(context: &mut Context<'_>) -> Outcome {
    let name = checked_name(context.word(2))?.to_vec();
    context.session.record.change_names(|names| names.name = name);
    context.ok()
}

fn getname(context: &mut Context<'_>) -> Outcome {
    let name = context.session.record.names().name;
    context.reply.bulk_or_null((!name.is_empty()).then_some(&*name));
    Ok(Flow::Continue)
}

fn setinfo(context: &mut Context<'_>) -> Outcome {
    let (option, value) = (context.word(2), context.word(3));
    let (is_name, is_version) = (is_option(option, "lib-name"), is_option(option, "lib-ver"));
    if !is_name && !is_version {
        return Err(Refusal::Built([b"ERR Unrecognized option '", shown(option), b"'"].concat()));
    }
    if !is_plain(value) {
        let text: [&[u8]; 3] = [b"ERR ", option, b" cannot contain spaces, newlines or special characters."];
        return Err(Refusal::Built(text.concat()));
    }
    context.session.record.change_names(|names| match is_name {
        true => names.library = value.to_vec(),
        false => names.library_version = value.to_vec(),
    });
    context.ok()
}

fn replies(context: &mut Context<'_>) -> Outcome {
    let word = context.word(2);
    if is_option(word, "on") {
        context.session.set_replies(Replies::On);
        return context.ok();
    }
    if is_option(word, "off") {
        context.session.set_replies(Replies::Off);
    } else if is_option(word, "skip") {
        context.session.set_replies(Replies::SkipNext);
    } else {
        return Err(SYNTAX);
    }
    Ok(Flow::Continue)
}

fn info(context: &mut Context<'_>) -> Outcome {
    let mut line = Vec::new();
    context.session.record.describe(context.now, &mut line);
    line.push(b'\n');
    context.reply.verbatim(*b"txt", &line);
    Ok(Flow::Continue)
}

fn list(context: &mut Context<'_>) -> Outcome {
    let clients = &context.state.clients;
    let shown = match context.words() {
        2 => clients.all(),
        4 if is_option(context.word(2), "type") => {
            let kind = client_control::kind(context.word(3))?;
            clients.all().into_iter().filter(|record| record.kind() == kind).collect()
        }
        4.. if is_option(context.word(2), "id") => {
            let mut found = Vec::new();
            for word in context.arguments.from(3).iter() {
                let id = integer::parse(word).ok_or(Refusal::Fixed("ERR Invalid client ID"))?;
                found.extend(u64::try_from(id).ok().and_then(|id| clients.get(id)));
            }
            found
        }
        _ => return Err(SYNTAX),
    };
    let mut lines = Vec::new();
    for record in shown {
        record.describe(context.now, &mut lines);
        lines.push(b'\n');
    }
    context.reply.verbatim(*b"txt", &lines);
    Ok(Flow::Continue)
}

fn help(context: &mut Context<'_>) -> Outcome {
    context.reply_help(&[
        "ID",
        "    Return the id of this connection.",
        "SETNAME <name>",
        "    Name this connection.",
        "GETNAME",
        "    Return the name of this connection.",
        "SETINFO <LIB-NAME|LIB-VER> <value>",
        "    Tell the name or the version of the client library.",
        "REPLY <ON|OFF|SKIP>",
        "    Send replies, send none, or leave out the next one.",
        "INFO",
        "    Describe this connection.",
        "LIST [TYPE <NORMAL|MASTER|REPLICA|PUBSUB>|ID <id> [<id> ...]]",
        "    Describe all connections, those of a type, or those with these ids.",
        "KILL <address>",
        "    End the connection from this address.",
        "KILL <option> <value> [<option> <value> ...]",
        "    End connections to which all of these apply; tells how many:",
        "    ID <id>, ADDR <address>, LADDR <address that it connected to>, USER <name>,",
        "    TYPE <NORMAL|MASTER|REPLICA|PUBSUB>, MAXAGE <seconds since it connected>.",
        "    SKIPME <YES|NO>: not this connection (YES, unless NO is said).",
        "PAUSE <milliseconds> [WRITE|ALL]",
        "    Let all requests wait, or only those that may write.",
        "UNPAUSE",
        "    Let them wait no longer.",
        "NO-EVICT <ON|OFF>",
        "    Protect this connection from being disconnected for want of memory.",
        "NO-TOUCH <ON|OFF>",
        "    Let what this connection reads not count as used.",
        "TRACKING <ON|OFF> [REDIRECT <id>] [BCAST] [PREFIX <prefix> ...] [OPTIN] [OPTOUT] [NOLOOP]",
        "    Tell this connection, or another one, when what it has read changes, or what begins with a prefix.",
        "CACHING <YES|NO>",
        "    Keep, or do not keep, what the next command reads.",
        "GETREDIR",
        "    Return the connection that is told in place of this one what changes.",
        "TRACKINGINFO",
        "    Return how this connection is told what changes.",
        "UNBLOCK <id> [TIMEOUT|ERROR]",
        "    End the waiting of a client in a blocking command, as if its time were over or with an error.",
    ])
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;
    use crate::commands::{Connected, Flow, Session};

    #[test]
    fn greetings() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("ping", "+PONG\r\n"),
            ("ping hi", "$2\r\nhi\r\n"),
            ("ping a b", "-ERR wrong number of arguments for 'ping' command\r\n"),
            ("echo hi", "$2\r\nhi\r\n"),
        ]);
        assert_eq!(fixture.run_flow(&[b"QUIT"]), ("+OK\r\n".to_string(), Flow::Close));
    }

    #[test]
    fn passwords() {
        let mut fixture = Fixture::new();
        let none = "-ERR AUTH <password> called without any password configured for the default user. Are you sure \
                    your configuration is correct?\r\n";
        let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
        fixture.expect(&[
            ("auth x", none),
            ("auth a b", wrong),
            ("auth default b", "+OK\r\n"),
            ("auth a b c", "-ERR syntax error\r\n"),
        ]);
        let mut fixture = Fixture::with_password(b"secret");
        fixture.expect(&[
            ("auth x", wrong),
            ("auth default x", wrong),
            ("hello 3 auth default x", wrong),
            ("get k", "-NOAUTH Authentication required.\r\n"),
            ("auth default secret", "+OK\r\n"),
            ("get k", "$-1\r\n"),
            ("auth x", wrong),
            ("get k", "$-1\r\n"),
            ("reset", "+RESET\r\n"),
            ("get k", "-NOAUTH Authentication required.\r\n"),
        ]);
        let hello = fixture.run("hello 3");
        assert!(hello.starts_with("-NOAUTH HELLO must be called with the client already authenticated"), "{hello}");
    }

    #[test]
    fn hello_chooses_the_protocol() {
        let mut fixture = Fixture::new();
        let tail = "$2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n\
                    $7\r\nmodules\r\n*0\r\n";
        let head = "$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.4\r\n$5\r\nproto\r\n";
        fixture.expect(&[
            ("hello 4", "-NOPROTO unsupported protocol version\r\n"),
            ("hello x", "-ERR Protocol version is not an integer or out of range\r\n"),
            ("hello 3 foo", "-ERR Syntax error in HELLO option 'foo'\r\n"),
            ("hello 3 auth x", "-ERR Syntax error in HELLO option 'auth'\r\n"),
            ("hello 3 auth nobody x foo", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"),
            ("hello", &format!("*14\r\n{head}:2\r\n{tail}")),
            ("hello 3 setname me", &format!("%7\r\n{head}:3\r\n{tail}")),
            ("client getname", "$2\r\nme\r\n"),
            ("get nosuch", "_\r\n"),
            ("hello", &format!("%7\r\n{head}:3\r\n{tail}")),
            ("reset", "+RESET\r\n"),
            ("get nosuch", "$-1\r\n"),
            ("client getname", "$-1\r\n"),
        ]);
    }

    #[test]
    fn databases_are_apart() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("set k v", "+OK\r\n"),
            ("select 16", "-ERR DB index is out of range\r\n"),
            ("select -1", "-ERR DB index is out of range\r\n"),
            ("select x", "-ERR value is not an integer or out of range\r\n"),
            ("select 99999999999", "-ERR value is out of range, value must between -2147483648 and 2147483647\r\n"),
            ("select 15", "+OK\r\n"),
            ("get k", "$-1\r\n"),
            ("reset", "+RESET\r\n"),
            ("get k", "$1\r\nv\r\n"),
        ]);
    }

    #[test]
    fn replies_can_be_left_out() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("client reply x", "-ERR syntax error\r\n"),
            ("client reply skip", ""),
            ("ping", ""),
            ("ping", "+PONG\r\n"),
            ("client reply off", ""),
            ("set k v", ""),
            ("foo", ""),
            ("client reply skip", ""),
            ("ping", ""),
            ("ping", ""),
            ("client reply on", "+OK\r\n"),
            ("get k", "$1\r\nv\r\n"),
        ]);
    }

    #[test]
    fn connections_describe_themselves() {
        let mut fixture = Fixture::new();
        let other = Session::open(&fixture.state, Connected::default(), 0, fixture.now, 2);
        fixture.expect(&[
            ("client id", ":1\r\n"),
            ("client setname worker", "+OK\r\n"),
            ("client setinfo lib-name lib", "+OK\r\n"),
            ("client setinfo LIB-VER 1.0", "+OK\r\n"),
            ("client setinfo foo 1.0", "-ERR Unrecognized option 'foo'\r\n"),
            ("client list type foo", "-ERR Unknown client type 'foo'\r\n"),
            ("client list type master", "$0\r\n\r\n"),
            ("client list id", "-ERR syntax error\r\n"),
            ("client list id x", "-ERR Invalid client ID\r\n"),
            ("client list id 99", "$0\r\n\r\n"),
            ("select 3", "+OK\r\n"),
        ]);
        assert_eq!(
            fixture.run_words(&[b"client", b"setname", b"a b"]),
            "-ERR Client names cannot contain spaces, newlines or special characters.\r\n"
        );
        assert_eq!(
            fixture.run_words(&[b"client", b"setinfo", b"lib-name", b"a b"]),
            "-ERR lib-name cannot contain spaces, newlines or special characters.\r\n"
        );
        let info = fixture.run("client info");
        for field in ["id=1 ", " addr=127.0.0.1:5000 ", " name=worker ", " db=3 ", " resp=2 ", " cmd=client|info "] {
            assert!(info.contains(field), "{field} in {info}");
        }
        assert!(info.ends_with("lib-name=lib lib-ver=1.0\n\r\n"), "{info}");
        assert_eq!(fixture.run("client list").matches("id=").count(), 2);
        assert_eq!(fixture.run("client list id 2 1").matches("addr=").count(), 4);
        other.close(&fixture.state, 0);
        assert_eq!(fixture.state.clients.len(), 1);
    }
}
