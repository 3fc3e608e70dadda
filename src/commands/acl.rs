//! ACL, and how the commands ask whether a user may do something.
//!
//! LOAD and SAVE read and write the file on the spot, as in Redis: operators use them, seldom.

use std::sync::Arc;

use super::context::{Context, Outcome, Refusal, is_option, shown};
use super::spec::{Categories, Command, Flags, Group, Handler};
use super::{Entry, Flow, ServerState, Session, table, wrong_arity};
use crate::acl::{
    Changed, DEFAULT_USER, Denial, Denied, Event, LogContext, LogEntry, LogReason, SaveError, Selector, User,
    join_selectors,
};
use crate::keyspace::Millis;
use crate::resp::{Arguments, Reply};

const QUESTION: Flags = Flags::NOSCRIPT.with(Flags::LOADING).with(Flags::STALE);

const fn row(name: &'static str, arity: isize, flags: Flags, handler: Handler) -> Command {
    Command::new(Group::Server, name, arity, handler).flags(flags)
}

const fn admin(name: &'static str, arity: isize, handler: Handler) -> Command {
    row(name, arity, QUESTION.with(Flags::ADMIN), handler)
}

/// How many entries ACL LOG shows unless it is told.
const ENTRIES_SHOWN: usize = 10;
/// The bits of a password that ACL GENPASS makes: at most, and unless it is told.
const MOST_BITS: i64 = 4096;
const USUAL_BITS: i64 = 256;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[row("acl", -2, Flags::NONE, container)
    .docs("6.0.0", "Depends on subcommand.", "Says who may do what")
    .subcommands(&[
        row("cat", -2, QUESTION, cat).docs("6.0.0", "O(1)", "Lists the categories, or the commands of one"),
        admin("deluser", -3, deluser).docs("6.0.0", "O(1) per user", "Deletes users"),
        admin("dryrun", -4, dryrun).docs("7.0.0", "O(1)", "Says whether a user may run a command"),
        row("genpass", -2, QUESTION, genpass).docs("6.0.0", "O(1)", "Makes a password that nobody can guess"),
        admin("getuser", 3, getuser).docs("6.0.0", "O(N) with N rules", "Describes a user"),
        admin("list", 2, list).docs("6.0.0", "O(N) with N users", "Describes all users as a file does"),
        admin("load", 2, load).docs("6.0.0", "O(N) with N users", "Reads the ACL file again"),
        admin("log", -2, log).docs("6.0.0", "O(N) with N entries", "Lists what was refused lately"),
        admin("save", 2, save).docs("6.0.0", "O(N) with N users", "Writes the ACL file"),
        admin("setuser", -3, setuser).docs("6.0.0", "O(N) with N rules", "Makes or changes a user"),
        admin("users", 2, users).docs("6.0.0", "O(N) with N users", "Lists the names of all users"),
        row("whoami", 2, QUESTION, whoami).docs("6.0.0", "O(1)", "Returns the user of the connection"),
        row("help", 2, Flags::LOADING.with(Flags::STALE), help).docs("6.0.0", "O(1)", "Lists the subcommands"),
    ])];

/// May the user of this session run this request? If not, that is counted and logged. To be asked where
/// [`User::is_unlimited`] is false; the number of words has been checked.
///
/// For whoever runs commands on a client's behalf: a script asks this for each command that it calls, with
/// [`LogContext::Script`], and tells the script what [`Denial::message`] says.
pub fn authorize(
    state: &ServerState,
    session: &mut Session,
    entry: &Entry,
    arguments: &Arguments<'_>,
    context: LogContext,
    now: Millis,
) -> Result<(), Denial> {
    let checked = session.permissions().check(entry, arguments);
    if let Err(denial) = &checked {
        let reason = match denial.denied {
            Denied::Command => LogReason::Command,
            Denied::Key(_) => LogReason::Key,
            Denied::Channel(_) => LogReason::Channel,
        };
        let user = session.user.name().to_vec();
        note(state, session, Event { reason, context, object: denial.object.clone(), user, client: Vec::new() }, now);
    }
    checked
}

/// The same for a request of its own, with the error that its client gets.
pub fn check(
    state: &ServerState,
    session: &mut Session,
    entry: &Entry,
    arguments: &Arguments<'_>,
    context: LogContext,
    now: Millis,
) -> Result<(), Refusal> {
    authorize(state, session, entry, arguments, context, now)
        .map_err(|denial| Refusal::Built([b"NOPERM ", &*denial.message(session.user.name())].concat()))
}

/// The same for a request of EXEC, which was allowed when it was queued.
pub fn check_late(
    state: &ServerState,
    session: &mut Session,
    entry: &Entry,
    arguments: &Arguments<'_>,
    now: Millis,
) -> Result<(), Refusal> {
    authorize(state, session, entry, arguments, LogContext::Multi, now).map_err(|denial| {
        Refusal::built(format!(
            "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is \
             no longer allowed for the following reason: {}",
            denial.late_reason()
        ))
    })
}

/// Notes that somebody gave a wrong password, or the name of nobody.
pub fn note_wrong_password(context: &mut Context<'_>, user: &[u8]) {
    let within = context.in_exec() || context.session.queue.is_some();
    let event = Event {
        reason: LogReason::Auth,
        context: if within { LogContext::Multi } else { LogContext::TopLevel },
        object: context.word(0).to_vec(),
        user: user.to_vec(),
        client: Vec::new(),
    };
    note(context.state, context.session, event, context.now);
}

fn note(state: &ServerState, session: &Session, mut event: Event, now: Millis) {
    session.record.describe(now, &mut event.client);
    state.users.note_denial(event, now);
}

/// Disconnects everyone who is logged in as one of these users, which are no more.
fn disconnect(state: &ServerState, gone: &[Arc<User>]) {
    if gone.is_empty() {
        return;
    }
    for record in state.clients.all() {
        if gone.iter().any(|user| record.has_user(user)) {
            record.kill(&state.supervision.attention);
        }
    }
}

/// Not reached: without a subcommand the number of arguments is wrong.
fn container(context: &mut Context<'_>) -> Outcome {
    Err(wrong_arity(context.entry))
}

/// More words than the subcommand knows.
fn too_many_words(context: &Context<'_>) -> Refusal {
    let text: [&[u8]; 3] =
        [b"ERR unknown subcommand or wrong number of arguments for '", shown(context.word(1)), b"'. Try ACL HELP."];
    Refusal::Built(text.concat())
}

fn cat(context: &mut Context<'_>) -> Outcome {
    match context.words() {
        2 => {
            let names = Categories::all_names();
            context.reply.array(names.len());
            names.for_each(|name| context.reply.bulk(name.as_bytes()));
        }
        3 => {
            let name = context.word(2);
            let category = Categories::named(name)
                .ok_or_else(|| Refusal::Built([b"ERR Unknown category '", shown(name), b"'"].concat()))?;
            let all = table().entries().iter().flat_map(|entry| std::iter::once(entry).chain(&entry.subcommands));
            let found: Vec<&Entry> = all.filter(|entry| entry.command.all_categories().has(category)).collect();
            context.reply.array(found.len());
            found.iter().for_each(|entry| context.reply.bulk(entry.full_name.as_bytes()));
        }
        _ => return Err(too_many_words(context)),
    }
    Ok(Flow::Continue)
}

fn setuser(context: &mut Context<'_>) -> Outcome {
    let name = context.word(2);
    if name.iter().any(|&byte| byte == 0 || byte == b' ' || (b'\t'..=b'\r').contains(&byte)) {
        return Err(Refusal::Fixed("ERR Usernames can't contain spaces or null characters"));
    }
    let rules = join_selectors(context.arguments.from(3).iter()).map_err(|start| {
        let text: [&[u8]; 3] = [b"ERR Unmatched parenthesis in acl selector starting at '", shown(start), b"'."];
        Refusal::Built(text.concat())
    })?;
    let changed = context.state.users.change(name, rules.iter().map(|rule| &**rule));
    let Changed { user, has_lost_channels } = changed.map_err(|(rule, error)| {
        let reason = error.to_string();
        let text: [&[u8]; 4] = [b"ERR Error in ACL SETUSER modifier '", shown(rule), b"': ", reason.as_bytes()];
        Refusal::Built(text.concat())
    })?;
    if has_lost_channels {
        let listening = |record: &Arc<_>| super::ClientRecord::is_listening(record);
        let clients = context.state.clients.all().into_iter().filter(listening);
        clients.filter(|record| record.has_user(&user)).for_each(|record| record.recheck());
    }
    context.ok()
}

fn deluser(context: &mut Context<'_>) -> Outcome {
    let names = context.arguments.from(2);
    if names.iter().any(|name| name == DEFAULT_USER) {
        return Err(Refusal::Fixed("ERR The 'default' user cannot be removed"));
    }
    let gone: Vec<Arc<User>> = names.iter().filter_map(|name| context.state.users.remove(name)).collect();
    disconnect(context.state, &gone);
    context.reply_count(gone.len())
}

fn getuser(context: &mut Context<'_>) -> Outcome {
    let Some(user) = context.state.users.find(context.word(2)) else {
        context.reply.null();
        return Ok(Flow::Continue);
    };
    let definition = user.definition();
    let reply = &mut *context.reply;
    reply.map(6);
    reply.bulk(b"flags");
    let flags = definition.flags();
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"passwords");
    let passwords = definition.passwords();
    reply.array(passwords.len());
    passwords.iter().for_each(|password| reply.bulk(password.as_bytes()));
    let (own, others) = definition.selectors().split_first().expect("a user has permissions of its own");
    describe(reply, own);
    reply.bulk(b"selectors");
    reply.array(others.len());
    for selector in others {
        reply.map(3);
        describe(reply, selector);
    }
    Ok(Flow::Continue)
}

fn describe(reply: &mut Reply, selector: &Selector) {
    for (name, rules) in [
        ("commands", selector.describe_commands()),
        ("keys", selector.describe_keys()),
        ("channels", selector.describe_channels()),
    ] {
        reply.bulk(name.as_bytes());
        reply.bulk(&rules);
    }
}

fn list(context: &mut Context<'_>) -> Outcome {
    let all = context.state.users.all();
    context.reply.array(all.len());
    all.iter().for_each(|user| context.reply.bulk(&user.describe()));
    Ok(Flow::Continue)
}

fn users(context: &mut Context<'_>) -> Outcome {
    let all = context.state.users.all();
    context.reply.array(all.len());
    all.iter().for_each(|user| context.reply.bulk(user.name()));
    Ok(Flow::Continue)
}

fn whoami(context: &mut Context<'_>) -> Outcome {
    context.reply.bulk(context.session.user.name());
    Ok(Flow::Continue)
}

const NO_FILE: Refusal = Refusal::Fixed(
    "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER command \
     and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store users in the Redis \
     configuration.",
);

fn load(context: &mut Context<'_>) -> Outcome {
    match context.state.users.load() {
        None => Err(NO_FILE),
        Some(Err(error)) => Err(Refusal::built(format!("ERR {}", error.for_client()))),
        Some(Ok(gone)) => {
            disconnect(context.state, &gone);
            context.ok()
        }
    }
}

fn save(context: &mut Context<'_>) -> Outcome {
    match context.state.users.save() {
        Ok(()) => context.ok(),
        Err(SaveError::NoFile) => Err(NO_FILE),
        Err(SaveError::Io(error)) => {
            let path = context.state.users.file().unwrap_or(std::path::Path::new("")).display();
            tracing::error!(%error, %path, "cannot write the ACL file");
            Err(Refusal::Fixed(
                "ERR There was an error trying to save the ACLs. Please check the server logs for more information",
            ))
        }
    }
}

fn genpass(context: &mut Context<'_>) -> Outcome {
    let bits = match context.words() {
        2 => USUAL_BITS,
        3 => context.integer(2)?,
        _ => return Err(too_many_words(context)),
    };
    if !(1..=MOST_BITS).contains(&bits) {
        return Err(Refusal::Fixed(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096",
        ));
    }
    let digits = (bits as usize).div_ceil(4);
    let mut bytes = [0; MOST_BITS as usize / 8];
    // The session's own random choices could be guessed.
    getrandom::fill(&mut bytes[..digits.div_ceil(2)])
        .map_err(|error| Refusal::built(format!("ERR the system gives no randomness: {error}")))?;
    let text: String = bytes.iter().take(digits.div_ceil(2)).map(|byte| format!("{byte:02x}")).collect();
    context.reply.bulk(&text.as_bytes()[..digits]);
    Ok(Flow::Continue)
}

fn log(context: &mut Context<'_>) -> Outcome {
    let count = match context.words() {
        2 => ENTRIES_SHOWN,
        3 if is_option(context.word(2), "reset") => {
            context.state.users.log().clear();
            return context.ok();
        }
        3 => usize::try_from(context.integer(2)?).unwrap_or(0),
        _ => return Err(too_many_words(context)),
    };
    let log = context.state.users.log();
    let entries = log.latest(count);
    context.reply.array(entries.len());
    for LogEntry { event, count, id, created, updated } in entries {
        let reply = &mut *context.reply;
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        reply.map(10);
        reply.bulk(b"count");
        reply.integer(number(*count));
        let texts: [(&str, &[u8]); 4] = [
            ("reason", event.reason.name().as_bytes()),
            ("context", event.context.name().as_bytes()),
            ("object", &event.object),
            ("username", &event.user),
        ];
        for (name, text) in texts {
            reply.bulk(name.as_bytes());
            reply.bulk(text);
        }
        reply.bulk(b"age-seconds");
        reply.double(context.now.saturating_sub(*updated) as f64 / 1000.0);
        reply.bulk(b"client-info");
        reply.bulk(&event.client);
        for (name, value) in [("entry-id", *id), ("timestamp-created", *created), ("timestamp-last-updated", *updated)]
        {
            reply.bulk(name.as_bytes());
            reply.integer(number(value));
        }
    }
    Ok(Flow::Continue)
}

fn dryrun(context: &mut Context<'_>) -> Outcome {
    let name = context.word(2);
    let Some(user) = context.state.users.find(name) else {
        return Err(Refusal::Built([b"ERR User '", shown(name), b"' not found"].concat()));
    };
    let request = context.arguments.from(3);
    let command = &request[0];
    let entry = table().find(command).and_then(|entry| match request.get(1) {
        Some(inner) if !entry.subcommands.is_empty() => entry.subcommand(inner),
        _ => Some(entry),
    });
    let Some(entry) = entry else {
        return Err(Refusal::Built([b"ERR Command '", shown(command), b"' not found"].concat()));
    };
    if !entry.command.accepts(request.len()) {
        return Err(wrong_arity(entry));
    }
    match user.definition().check(entry, &request) {
        Ok(()) => context.reply.ok(),
        Err(denial) => context.reply.bulk(&denial.detailed_message(user.name())),
    }
    Ok(Flow::Continue)
}

fn help(context: &mut Context<'_>) -> Outcome {
    context.reply_help(&[
        "CAT [<category>]",
        "    Return all categories, or the commands of one.",
        "DELUSER <username> [<username> ...]",
        "    Delete users and disconnect who is logged in as one of them.",
        "DRYRUN <username> <command> [<arg> ...]",
        "    Say whether a user may run a command, without running it.",
        "GETUSER <username>",
        "    Describe a user.",
        "GENPASS [<bits>]",
        "    Make a password of so many random bits (default: 256).",
        "LIST",
        "    Describe all users, one per line of an ACL file.",
        "LOAD",
        "    Read the users from the ACL file.",
        "LOG [<count> | RESET]",
        "    Return what was refused lately, or forget it.",
        "SAVE",
        "    Write the users to the ACL file.",
        "SETUSER <username> <attribute> [<attribute> ...]",
        "    Make or change a user by these rules.",
        "USERS",
        "    Return the names of all users.",
        "WHOAMI",
        "    Return the user of this connection.",
    ])
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;
    use crate::commands::{Connected, Flow, Session};

    #[test]
    fn users_are_made_changed_and_deleted() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("acl whoami", "$7\r\ndefault\r\n"),
            ("acl users", "*1\r\n$7\r\ndefault\r\n"),
            ("acl setuser u on >p +get ~a", "+OK\r\n"),
            ("acl users", "*2\r\n$7\r\ndefault\r\n$1\r\nu\r\n"),
            ("acl getuser nobody", "$-1\r\n"),
            ("acl setuser u foo", "-ERR Error in ACL SETUSER modifier 'foo': Syntax error\r\n"),
            ("acl setuser u (+get", "-ERR Unmatched parenthesis in acl selector starting at '(+get'.\r\n"),
            ("acl setuser", "-ERR wrong number of arguments for 'acl|setuser' command\r\n"),
            ("acl setuser u resetpass nopass (+set ~b &c)", "+OK\r\n"),
            (
                "acl list",
                "*2\r\n$51\r\nuser default on nopass sanitize-payload ~* &* +@all\r\n\
                 $94\r\nuser u on nopass sanitize-payload ~a resetchannels -@all +get (~b resetchannels &c -@all +set)\r\n",
            ),
            (
                "acl getuser u",
                "*12\r\n$5\r\nflags\r\n*3\r\n$2\r\non\r\n$6\r\nnopass\r\n$16\r\nsanitize-payload\r\n$9\r\npasswords\r\n*0\r\n\
                 $8\r\ncommands\r\n$10\r\n-@all +get\r\n$4\r\nkeys\r\n$2\r\n~a\r\n$8\r\nchannels\r\n$0\r\n\r\n\
                 $9\r\nselectors\r\n*1\r\n*6\r\n$8\r\ncommands\r\n$10\r\n-@all +set\r\n$4\r\nkeys\r\n$2\r\n~b\r\n\
                 $8\r\nchannels\r\n$2\r\n&c\r\n",
            ),
            ("acl deluser default u", "-ERR The 'default' user cannot be removed\r\n"),
            ("acl deluser u nobody", ":1\r\n"),
            ("acl foo", "-ERR unknown subcommand 'foo'. Try ACL HELP.\r\n"),
            ("acl cat nosuch", "-ERR Unknown category 'nosuch'\r\n"),
            (
                "acl cat a b",
                "-ERR unknown subcommand or wrong number of arguments for 'cat'. Try ACL HELP.\r\n",
            ),
        ]);
        assert_eq!(
            fixture.run_words(&[b"acl", b"setuser", b"a b"]),
            "-ERR Usernames can't contain spaces or null characters\r\n"
        );
        assert!(fixture.run("acl load").starts_with("-ERR This Redis instance is not configured to use an ACL file."));
        assert!(fixture.run("acl cat transaction").contains("$7\r\nunwatch\r\n"));
        assert!(fixture.run("acl cat").starts_with("*21\r\n$8\r\nkeyspace\r\n"));
    }

    #[test]
    fn passwords_are_made() {
        let mut fixture = Fixture::new();
        for (request, digits) in
            [("acl genpass", 64), ("acl genpass 5", 2), ("acl genpass 1", 1), ("acl genpass 4096", 1024)]
        {
            let reply = fixture.run(request);
            let password = reply.split("\r\n").nth(1).expect("a string");
            assert!(password.len() == digits && password.bytes().all(|byte| byte.is_ascii_hexdigit()), "{reply}");
        }
        assert_ne!(fixture.run("acl genpass"), fixture.run("acl genpass"));
        let wrong = "-ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096\r\n";
        fixture.expect(&[
            ("acl genpass 0", wrong),
            ("acl genpass 4097", wrong),
            ("acl genpass x", "-ERR value is not an integer or out of range\r\n"),
        ]);
    }

    #[test]
    fn who_may_not_is_told_why() {
        let mut fixture = Fixture::new();
        let denied = "-NOPERM User u has no permissions to run the";
        let late = "-NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This \
                    command is no longer allowed for the following reason: no permission to";
        fixture.expect(&[
            ("acl setuser u on nopass +@all -@dangerous +acl ~a* &c", "+OK\r\n"),
            ("auth u x", "+OK\r\n"),
            ("acl whoami", "$1\r\nu\r\n"),
            ("get a", "$-1\r\n"),
            ("get b", "-NOPERM No permissions to access a key\r\n"),
            ("publish d x", "-NOPERM No permissions to access a channel\r\n"),
            ("keys *", &format!("{denied} 'keys' command\r\n")),
            ("config get x", &format!("{denied} 'config|get' command\r\n")),
            ("foo", "-ERR unknown command 'foo', with args beginning with: \r\n"),
            ("get", "-ERR wrong number of arguments for 'get' command\r\n"),
            ("multi", "+OK\r\n"),
            ("get b", "-NOPERM No permissions to access a key\r\n"),
            ("exec", "-EXECABORT Transaction discarded because of previous errors.\r\n"),
            ("multi", "+OK\r\n"),
            ("set a 1", "+QUEUED\r\n"),
            ("acl setuser u -set resetkeys", "+QUEUED\r\n"),
            ("set a 2", "+QUEUED\r\n"),
            ("get a", "+QUEUED\r\n"),
            (
                "exec",
                &format!("*4\r\n+OK\r\n+OK\r\n{late} execute the command or subcommand\r\n{late} touch the specified keys\r\n"),
            ),
            ("acl setuser u ~* +set", "+OK\r\n"),
            ("multi", "+OK\r\n"),
            ("acl setuser u resetchannels", "+QUEUED\r\n"),
            ("publish c x", "+QUEUED\r\n"),
            ("exec", &format!("*2\r\n+OK\r\n{late} access one of the channels used as arguments\r\n")),
            ("get a", "$1\r\n1\r\n"),
            ("set __swytch:x v", "-ERR keys that begin with '__swytch:' belong to the system and are read-only\r\n"),
            ("reset", "+RESET\r\n"),
            ("acl whoami", "$7\r\ndefault\r\n"),
        ]);
        let info = fixture.run("client list");
        assert!(info.contains(" user=default redir=-1 "), "{info}");
        let stats = fixture.run("info stats");
        for field in ["auth:0", "cmd:3", "key:3", "channel:2"] {
            assert!(stats.contains(&format!("acl_access_denied_{field}\r\n")), "{field} in {stats}");
        }
        fixture.run("config resetstat");
        assert!(fixture.run("info stats").contains("acl_access_denied_cmd:0\r\n"));
    }

    #[test]
    fn what_was_refused_is_logged() {
        let mut fixture = Fixture::new();
        let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
        fixture.expect(&[
            ("AUTH nobody x", wrong),
            ("AUTH nobody x", wrong),
            ("config set acllog-max-len 2", "+OK\r\n"),
        ]);
        fixture.run("hello 3");
        fixture.now += 1500;
        let log = fixture.run("acl log");
        let client = "$11\r\nclient-info\r\n";
        let (head, tail) = log.split_once(client).expect("there");
        assert_eq!(
            head,
            "*1\r\n%10\r\n$5\r\ncount\r\n:2\r\n$6\r\nreason\r\n$4\r\nauth\r\n$7\r\ncontext\r\n$8\r\ntoplevel\r\n$6\r\nobject\r\n\
             $4\r\nAUTH\r\n$8\r\nusername\r\n$6\r\nnobody\r\n$11\r\nage-seconds\r\n,1.5\r\n"
        );
        assert!(tail.contains("id=1 ") && tail.contains(" cmd=auth user=default "), "{tail}");
        assert!(
            tail.ends_with(
                "$8\r\nentry-id\r\n:0\r\n$17\r\ntimestamp-created\r\n:1700000000000\r\n\
                 $22\r\ntimestamp-last-updated\r\n:1700000000000\r\n"
            ),
            "{tail}"
        );
        fixture.expect(&[
            ("acl log 0", "*0\r\n"),
            ("acl log -1", "*0\r\n"),
            ("acl log x", "-ERR value is not an integer or out of range\r\n"),
            ("acl log 1 2", "-ERR unknown subcommand or wrong number of arguments for 'log'. Try ACL HELP.\r\n"),
            ("acl log RESET", "+OK\r\n"),
            ("acl log", "*0\r\n"),
            ("config get acllog-max-len", "%1\r\n$14\r\nacllog-max-len\r\n$1\r\n2\r\n"),
        ]);
    }

    #[test]
    fn a_dry_run_runs_nothing() {
        let mut fixture = Fixture::new();
        let denied = |text: &str| format!("${}\r\n{text}\r\n", text.len());
        fixture.expect(&[
            ("acl setuser u +@all -keys ~a &c", "+OK\r\n"),
            ("acl dryrun u set a 1", "+OK\r\n"),
            ("acl dryrun u set b 1", &denied("User u has no permissions to access the 'b' key")),
            ("acl dryrun u publish d 1", &denied("User u has no permissions to access the 'd' channel")),
            ("acl dryrun u keys *", &denied("User u has no permissions to run the 'keys' command")),
            ("acl dryrun u config set a b", "+OK\r\n"),
            ("acl dryrun u config foo", "-ERR Command 'config' not found\r\n"),
            ("acl dryrun u foo", "-ERR Command 'foo' not found\r\n"),
            ("acl dryrun u get", "-ERR wrong number of arguments for 'get' command\r\n"),
            ("acl dryrun nobody get a", "-ERR User 'nobody' not found\r\n"),
            ("get a", "$-1\r\n"),
        ]);
    }

    #[test]
    fn the_password_of_default_and_requirepass() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("config set requirepass one", "+OK\r\n"),
            ("acl setuser default >two", "+OK\r\n"),
            ("config get requirepass", "*2\r\n$11\r\nrequirepass\r\n$3\r\none\r\n"),
            ("reset", "+RESET\r\n"),
            ("acl whoami", "-NOAUTH Authentication required.\r\n"),
            ("auth two", "+OK\r\n"),
            ("config set requirepass three", "+OK\r\n"),
            ("auth two", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"),
            ("auth default three", "+OK\r\n"),
            ("acl setuser default off", "+OK\r\n"),
            ("ping", "+PONG\r\n"),
            ("config set requirepass \"\"", "+OK\r\n"),
            ("reset", "+RESET\r\n"),
            ("ping", "-NOAUTH Authentication required.\r\n"),
        ]);
    }

    #[test]
    fn sort_and_keys_that_data_names() {
        let mut fixture = Fixture::new();
        let denied =
            |option: &str| format!("-ERR {option} option of SORT denied due to insufficient ACL permissions.\r\n");
        fixture.expect(&[
            ("acl setuser u on nopass +@all ~k", "+OK\r\n"),
            ("auth u x", "+OK\r\n"),
            ("sort k by w*", &denied("BY")),
            ("sort k by w* get x*", &denied("BY")),
            ("sort k get w*", &denied("GET")),
            ("sort_ro k get # get w", &denied("GET")),
            ("sort k by nosort get #", "*0\r\n"),
            ("acl setuser u %R~*", "+OK\r\n"),
            ("sort k by w* get w*", "*0\r\n"),
        ]);
    }

    #[test]
    fn connections_of_deleted_users_end() {
        let mut fixture = Fixture::new();
        fixture.run("acl setuser u on nopass +@all ~*");
        let mut other = Session::open(&fixture.state, Connected::default(), 0, fixture.now, 2);
        std::mem::swap(&mut fixture.session, &mut other);
        fixture.run("auth u x");
        std::mem::swap(&mut fixture.session, &mut other);
        assert!(!other.is_ended());
        assert_eq!(fixture.run("acl deluser u"), ":1\r\n");
        assert!(other.is_ended() && !fixture.session.is_ended());
        std::mem::swap(&mut fixture.session, &mut other);
        assert_eq!(fixture.run_flow(&[b"get", b"k"]), (String::new(), Flow::Close));
        std::mem::swap(&mut fixture.session, &mut other);
        // Whoever has the name now is somebody else.
        fixture.run("acl setuser u on nopass +@all ~*");
        fixture.run("auth u x");
        assert_eq!(fixture.run("acl deluser u"), ":1\r\n");
        assert!(fixture.session.is_ended());
        other.close(&fixture.state, fixture.now);
    }
}
