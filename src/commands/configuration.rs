//! CONFIG.

use tracing::{info, warn};

use super::config::{Change, PARAMETERS, Parameter, apply};
use super::context::{Context, Outcome, Refusal, SYNTAX, shown};
use super::glob;
use super::rewrite::rewrite_file;
use super::spec::{Command, Flags, Group, Handler};
use super::state::ServerState;
use super::{Flow, wrong_arity};
use crate::tls::Prepared;

const fn subcommand(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::Server, name, arity, handler)
        .flags(Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::LOADING).with(Flags::STALE))
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::new(Group::Server, "config", -2, container)
    .docs("2.0.0", "Depends on subcommand.", "Reads and changes parameters of the server")
    .subcommands(&[
        subcommand("get", -3, get).docs("2.0.0", "O(N) with N patterns", "Returns parameters and their values"),
        subcommand("set", -4, set).hints(&["request_policy:all_nodes", "response_policy:all_succeeded"]).docs(
            "2.0.0",
            "O(N) with N parameters",
            "Changes parameters, all or none",
        ),
        subcommand("resetstat", 2, resetstat).docs("2.0.0", "O(1)", "Sets the statistics to zero"),
        subcommand("rewrite", 2, rewrite).docs("2.8.0", "O(1)", "Writes the parameters to the configuration file"),
        Command::new(Group::Server, "help", 2, help).flags(Flags::LOADING.with(Flags::STALE)).docs(
            "5.0.0",
            "O(1)",
            "Lists the subcommands",
        ),
    ])];

/// Not reached: without a subcommand the number of arguments is wrong.
fn container(context: &mut Context<'_>) -> Outcome {
    Err(wrong_arity(context.entry))
}

fn get(context: &mut Context<'_>) -> Outcome {
    let patterns = context.arguments.from(2);
    let mut found: Vec<(&[u8], &Parameter)> = Vec::new();
    for pattern in patterns.iter() {
        let is_name = !pattern.iter().any(|byte| b"*?[".contains(byte));
        for parameter in PARAMETERS {
            let is_asked = glob::matches_in_any_case(pattern, parameter.name.as_bytes());
            if is_asked && !found.iter().any(|(_, before)| std::ptr::eq(*before, parameter)) {
                // Who asks by name gets the name as he wrote it.
                found.push((if is_name { pattern } else { parameter.name.as_bytes() }, parameter));
            }
        }
    }
    context.reply.map(found.len());
    for (name, parameter) in found {
        context.reply.bulk(name);
        context.reply.bulk(&(parameter.read)(context.state));
    }
    Ok(Flow::Continue)
}

fn set(context: &mut Context<'_>) -> Outcome {
    if !context.words().is_multiple_of(2) {
        return Err(SYNTAX);
    }
    let pairs = || (2..context.words()).step_by(2).map(|at| (context.word(at), context.word(at + 1)));
    let mut found: Vec<(&[u8], &Parameter, &[u8])> = Vec::new();
    for (name, value) in pairs() {
        let parameter = PARAMETERS.iter().find(|known| name.eq_ignore_ascii_case(known.name.as_bytes()));
        let Some(parameter) = parameter else {
            let text: [&[u8]; 3] = [b"ERR Unknown option or number of arguments for CONFIG SET - '", shown(name), b"'"];
            return Err(Refusal::Built(text.concat()));
        };
        found.push((name, parameter, value));
    }
    for (at, &(name, parameter, _)) in found.iter().enumerate() {
        if parameter.check.is_none() {
            return Err(failed(name, "can't set immutable config"));
        }
        if found[..at].iter().any(|before| std::ptr::eq(before.1, parameter)) {
            return Err(failed(name, "duplicate parameter"));
        }
    }
    let mut changes = Vec::new();
    for (name, parameter, value) in found {
        if let Some(check) = parameter.check {
            changes.push((name, check(value).map_err(|error| failed(name, error))?));
        }
    }
    let _changing = context.state.config.changing.lock();
    let prepared = prepare_tls(context.state, &changes)?;
    if let (Some(certificates), Some(prepared)) = (&context.state.tls, prepared) {
        certificates.install(prepared);
    }
    for (_, change) in changes {
        apply(context.state, change);
    }
    context.ok()
}

/// What concerns TLS takes effect together, and only if all of it serves: a certificate and its key, for example.
fn prepare_tls(state: &ServerState, changes: &[(&[u8], Change)]) -> Result<Option<Prepared>, Refusal> {
    let mut settings = None;
    for (name, change) in changes {
        let Change::Tls(change) = change else { continue };
        let Some(certificates) = &state.tls else {
            return Err(failed(name, "TLS is off: start with tls-cert-file and tls-key-file"));
        };
        let (_, settings) = settings.get_or_insert_with(|| (*name, certificates.settings()));
        change.clone().enter(settings);
    }
    let Some((name, settings)) = settings else { return Ok(None) };
    Prepared::new(settings).map(Some).map_err(|error| {
        warn!("the TLS certificates stay as they were: {error}");
        failed(name, "Unable to update TLS configuration. Check server logs.")
    })
}

fn failed(name: &[u8], reason: &str) -> Refusal {
    let text: [&[u8]; 4] =
        [b"ERR CONFIG SET failed (possibly related to argument '", name, b"') - ", reason.as_bytes()];
    Refusal::Built(text.concat())
}

fn resetstat(context: &mut Context<'_>) -> Outcome {
    context.state.stats.reset();
    context.state.keyspace.reset_counters(context.now);
    context.state.clients.reset_evicted();
    context.state.users.reset_denials();
    context.ok()
}

fn rewrite(context: &mut Context<'_>) -> Outcome {
    let (true, Some(defaults)) = (context.state.facts.config_file.is_some(), context.state.config.defaults()) else {
        return Err(Refusal::Fixed("ERR The server is running without a config file"));
    };
    let _changing = context.state.config.changing.lock();
    if let Err(error) = rewrite_file(context.state, defaults) {
        warn!("CONFIG REWRITE failed: {error}");
        return Err(Refusal::Built(format!("ERR Rewriting config file: {error}").into_bytes()));
    }
    info!("the configuration file was rewritten");
    context.ok()
}

fn help(context: &mut Context<'_>) -> Outcome {
    context.reply_help(&[
        "GET <pattern> [<pattern> ...]",
        "    Return the parameters whose names match a pattern, with their values.",
        "SET <parameter> <value> [<parameter> <value> ...]",
        "    Change parameters: all of them, or none when one is refused.",
        "REWRITE",
        "    Write the parameters to the configuration file.",
        "RESETSTAT",
        "    Set the statistics of INFO to zero.",
    ])
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    #[test]
    fn parameters_are_read_by_pattern() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("config get nosuch", "*0\r\n"),
            ("config get timeout timeout", "*2\r\n$7\r\ntimeout\r\n$1\r\n0\r\n"),
            ("config get SAVE sav*", "*2\r\n$4\r\nSAVE\r\n$0\r\n\r\n"),
            (
                "config get maxmemory maxmemory-po* port",
                "*6\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n$16\r\nmaxmemory-policy\r\n$11\r\nallkeys-lfu\r\n\
                 $4\r\nport\r\n$4\r\n6379\r\n",
            ),
        ]);
    }

    #[test]
    fn eviction_has_parameters() {
        let mut fixture = Fixture::new();
        let failed = |name: &str, reason: &str| {
            format!("-ERR CONFIG SET failed (possibly related to argument '{name}') - argument{reason}\r\n")
        };
        let policies = "volatile-lru, volatile-lfu, volatile-random, volatile-ttl, allkeys-lru, allkeys-lfu, allkeys-random, noeviction";
        fixture.expect(&[
            (
                "config set maxmemory-policy lru",
                &failed("maxmemory-policy", &format!("(s) must be one of the following: {policies}")),
            ),
            ("config set maxmemory-policy VOLATILE-ttl", "+OK\r\n"),
            ("config get maxmemory-policy", "*2\r\n$16\r\nmaxmemory-policy\r\n$12\r\nvolatile-ttl\r\n"),
            (
                "config set maxmemory-samples 0",
                &failed("maxmemory-samples", " must be between 1 and 2147483647 inclusive"),
            ),
            ("config set maxmemory-samples 7", "+OK\r\n"),
            ("config get maxmemory-samples", "*2\r\n$17\r\nmaxmemory-samples\r\n$1\r\n7\r\n"),
            (
                "config set maxmemory-eviction-tenacity 101",
                &failed("maxmemory-eviction-tenacity", " must be between 0 and 100 inclusive"),
            ),
            ("config set maxmemory-eviction-tenacity 20", "+OK\r\n"),
            ("config set lfu-log-factor -1", &failed("lfu-log-factor", " must be between 0 and 2147483647 inclusive")),
            ("config set lfu-log-factor 10 lfu-decay-time 1", "+OK\r\n"),
            ("config get lfu-*", "*4\r\n$14\r\nlfu-log-factor\r\n$2\r\n10\r\n$14\r\nlfu-decay-time\r\n$1\r\n1\r\n"),
            ("config set maxmemory-clients x", &failed("maxmemory-clients", " must be a memory or percent value")),
            ("config set maxmemory-clients 5%", "+OK\r\n"),
            ("config get maxmemory-clients", "*2\r\n$17\r\nmaxmemory-clients\r\n$2\r\n5%\r\n"),
        ]);
        assert!(fixture.run("info memory").contains("maxmemory_policy:volatile-ttl\r\n"));
    }

    #[test]
    fn parameters_are_changed_all_or_none() {
        let mut fixture = Fixture::new();
        let failed = "-ERR CONFIG SET failed (possibly related to argument";
        fixture.expect(&[
            ("config set maxmemory 2mb timeout 5", "+OK\r\n"),
            ("config get maxmemory", "*2\r\n$9\r\nmaxmemory\r\n$7\r\n2097152\r\n"),
            ("config set foo bar", "-ERR Unknown option or number of arguments for CONFIG SET - 'foo'\r\n"),
            ("config set a", "-ERR wrong number of arguments for 'config|set' command\r\n"),
            ("config set timeout 1 a", "-ERR syntax error\r\n"),
            ("config set timeout 1 TIMEOUT 2", &format!("{failed} 'TIMEOUT') - duplicate parameter\r\n")),
            ("config set timeout 1 port 2", &format!("{failed} 'port') - can't set immutable config\r\n")),
            (
                "config set timeout 1 maxmemory x",
                &format!("{failed} 'maxmemory') - argument must be a memory value\r\n"),
            ),
            ("config set timeout x", &format!("{failed} 'timeout') - argument couldn't be parsed into an integer\r\n")),
            (
                "config set maxclients 0",
                &format!("{failed} 'maxclients') - argument must be between 1 and 4294967295 inclusive\r\n"),
            ),
            ("config get timeout", "*2\r\n$7\r\ntimeout\r\n$1\r\n5\r\n"),
            ("config set requirepass secret", "+OK\r\n"),
            ("get k", "$-1\r\n"),
            ("reset", "+RESET\r\n"),
            ("get k", "-NOAUTH Authentication required.\r\n"),
        ]);
    }
}
