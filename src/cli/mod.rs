//! The command line: flags, their environment variables, and what of it makes sense together.
//!
//! Architecture invariant: the command line turns words into [`Options`] and knows nothing of how a node runs. A mistake
//! costs one line that names the flag, the value and what is accepted, and exit status 2.

mod directives;
mod flags;
mod meaningless;
mod values;

use std::error::Error;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::cluster::generate_passphrase;
use crate::config_file;
use crate::server::Options;
use directives::{Resolved, resolve};
use flags::RedisFlags;

/// What the process was started for.
pub enum Invocation {
    /// Run a node.
    Serve(Box<Options>),
    /// Ask the node whose metrics are there whether it serves; exit with status 0 if it does, else with 1.
    CheckHealth(SocketAddr),
    /// Ask the node whose metrics are there how it is, and print it; exit with status 1 if nobody answers.
    ShowStatus(StatusQuestion),
    /// Print this text and exit with status 0.
    Print(String),
    /// Print this text to standard error and exit with status 2.
    Mistake(String),
}

/// Whom to ask for its status, and how to print it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusQuestion {
    /// The node's metrics port.
    pub address: SocketAddr,
    /// As JSON.
    pub json: bool,
    /// Again and again, until the process is ended.
    pub watch: bool,
}

/// A Redis-compatible, leaderless, multi-writer data store.
#[derive(Parser)]
#[command(name = "swytch", version, about, disable_version_flag = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node that Redis clients can use.
    Redis(Box<RedisFlags>),
    /// Print a fresh passphrase for a cluster.
    GenPassphrase,
    /// Ask a node on this machine whether it serves clients; the exit status is 0 if it does
    Health(NodeFlags),
    /// Print how a node on this machine is, and the cluster as it sees it; the exit status is 1 if nobody answers
    Status(StatusFlags),
    /// Print the version.
    Version,
}

#[derive(Args)]
struct NodeFlags {
    /// The node's --metrics-port
    #[arg(long, env = "SWYTCH_METRICS_PORT", default_value = "9090", value_parser = values::port)]
    metrics_port: u16,

    /// Where it listens
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    address: IpAddr,
}

impl NodeFlags {
    fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.metrics_port)
    }
}

#[derive(Args)]
struct StatusFlags {
    #[command(flatten)]
    node: NodeFlags,

    /// Print JSON, for programs
    #[arg(long)]
    json: bool,

    /// Print it anew each second, in place
    #[arg(long, conflicts_with = "json")]
    watch: bool,
}

/// The flags, with the environment variables that count.
fn command() -> clap::Command {
    // Kubernetes tells the containers of its pods where the service `swytch` is, in variables of which one is named as if it were for `--port`.
    let is_of_kubernetes = |value: OsString| value.as_encoded_bytes().starts_with(b"tcp://");
    let command = CommandLine::command();
    match std::env::var_os("SWYTCH_PORT").is_some_and(is_of_kubernetes) {
        true => command.mut_subcommand("redis", |redis| redis.mut_arg("port", |port| port.env(Resettable::Reset))),
        false => command,
    }
}

/// Reads words as the flags.
fn read(words: impl IntoIterator<Item = OsString>) -> Result<(ArgMatches, CommandLine), clap::Error> {
    let matches = command().try_get_matches_from(words)?;
    let command_line = CommandLine::from_arg_matches(&matches)?;
    Ok((matches, command_line))
}

/// Reads the command line, the environment, and the configuration file if there is one.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Invocation {
    let words: Vec<OsString> = words.into_iter().collect();
    let (matches, command_line) = match read(words.clone()) {
        Ok(parsed) => parsed,
        Err(error) if !error.use_stderr() => return Invocation::Print(error.render().to_string()),
        Err(error) => return Invocation::Mistake(one_line(&error)),
    };
    match command_line.command {
        Command::Redis(flags) => match options(*flags, &matches, words) {
            Ok(options) => Invocation::Serve(Box::new(options)),
            Err(mistake) => Invocation::Mistake(format!("swytch: {mistake}\n")),
        },
        Command::GenPassphrase => match fresh_passphrase() {
            Ok(passphrase) => Invocation::Print(format!("{passphrase}\n")),
            Err(error) => Invocation::Mistake(format!("swytch: the system gives no randomness: {error}\n")),
        },
        Command::Health(flags) => Invocation::CheckHealth(flags.socket_address()),
        Command::Status(flags) => {
            let StatusFlags { node, json, watch } = flags;
            Invocation::ShowStatus(StatusQuestion { address: node.socket_address(), json, watch })
        }
        Command::Version => Invocation::Print(CommandLine::command().render_version()),
    }
}

/// What flags, environment and file mean together.
fn options(flags: RedisFlags, matches: &ArgMatches, mut words: Vec<OsString>) -> Result<Options, String> {
    let Some(file) = flags.file.clone() else { return flags.check() };
    let directives = config_file::read(&file).map_err(|error| error.to_string())?;
    let Resolved { flags: from_file, parameters, passed_over } =
        resolve(&directives, check_flag).map_err(|error| error.to_string())?;
    // The file speaks where nobody else does: as if its words stood on the command line.
    let given = matches.subcommand_matches("redis");
    let is_given = |name: &str| {
        let source = given.and_then(|given| given.value_source(&name.replace('-', "_")));
        matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
    };
    let unsaid = from_file.into_iter().filter(|(name, _)| !is_given(name));
    // Behind the subcommand; the first word is the name of the program, which may be the same.
    let place = words.iter().skip(1).position(|word| word == "redis").map_or(words.len(), |place| place + 2);
    words.splice(place..place, unsaid.map(|(name, value)| flag_word(&name, &value)));
    let flags = match read(words) {
        Ok((_, CommandLine { command: Command::Redis(flags) })) => flags,
        Ok(_) => return Err(format!("{}: cannot be read together with these flags", file.display())),
        Err(error) => return Err(one_line(&error).trim_end().trim_start_matches("swytch: ").to_string()),
    };
    let config_file = std::path::absolute(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let options = flags.check().map_err(|mistake| format!("{}, or the flags: {mistake}", file.display()))?;
    Ok(Options { config_file: Some(config_file), parameters, passed_over, ..options })
}

fn flag_word(name: &str, value: &OsString) -> OsString {
    let mut word = OsString::from(format!("--{name}="));
    word.push(value);
    word
}

/// What is wrong with the value of a flag; `None`: there is no such flag.
fn check_flag(name: &str, value: &OsString) -> Option<Result<(), String>> {
    let command = CommandLine::command();
    let mut known = command.find_subcommand("redis")?.get_arguments().filter_map(clap::Arg::get_long);
    if name == "help" || !known.any(|flag| flag == name) {
        return None;
    }
    let words = [OsString::from("swytch"), OsString::from("redis"), flag_word(name, value)];
    let reason = |error: clap::Error| error.source().map_or_else(|| one_line(&error), ToString::to_string);
    Some(read(words).map(drop).map_err(reason))
}

/// A passphrase that nobody can guess.
fn fresh_passphrase() -> Result<String, getrandom::Error> {
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy)?;
    Ok(generate_passphrase(entropy))
}

/// What clap says, without the advice that follows; all of it when that is the help.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let Some(mistake) = text.strip_prefix("error: ") else { return text };
    let lines: Vec<&str> = mistake.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
    format!("swytch: {}\n", lines.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::Scratch;

    fn run(words: &[&str]) -> Invocation {
        parse(["swytch"].iter().chain(words).map(Into::into))
    }

    fn options(words: &[&str]) -> Options {
        match run(&[&["redis"], words].concat()) {
            Invocation::Serve(options) => *options,
            Invocation::Mistake(text) | Invocation::Print(text) => panic!("{words:?}: {text}"),
            Invocation::CheckHealth(_) | Invocation::ShowStatus(_) => panic!("{words:?} starts nothing"),
        }
    }

    fn mistake(words: &[&str]) -> String {
        match run(&[&["redis"], words].concat()) {
            Invocation::Mistake(text) => text,
            _ => panic!("{words:?} was accepted"),
        }
    }

    #[test]
    fn clap_agrees_with_the_flags() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn defaults() {
        let options = options(&[]);
        assert_eq!((options.port, options.max_memory, options.databases), (6379, 64 << 20, 16));
        assert_eq!((options.threads, options.max_clients, options.timeout), (0, 10_000, 0));
        assert_eq!(options.eviction_policy.name(), "allkeys-lfu");
        assert_eq!(options.bind.len(), 1);
        assert_eq!(options.bind[0].address.to_string(), "127.0.0.1");
        assert!(options.cluster.is_none() && options.metrics_port.is_none() && options.unix_socket.is_none());
        assert!(options.tracing.is_none());
        assert_eq!(options.node_name, values::host_name(), "a node is called as its host");
    }

    #[test]
    fn traces_go_where_there_is_a_collector() {
        let tracing =
            |words: &[&str]| options(words).tracing.map(|tracing| (tracing.endpoint.url(), tracing.ratio.get()));
        assert_eq!(tracing(&["--otel-sample-ratio=1"]), None);
        assert_eq!(tracing(&["--otel-endpoint="]), None, "a variable may be there without a value");
        let url = "http://collector:4318/v1/traces".to_owned();
        assert_eq!(tracing(&["--otel-endpoint=http://collector:4318"]), Some((url.clone(), 0.001)));
        assert_eq!(tracing(&["--otel-endpoint", "http://collector", "--otel-sample-ratio", "1"]), Some((url, 1.0)));
        assert_eq!(options(&["--node-name=one"]).node_name, "one");
        assert_eq!(options(&["--node-name="]).node_name, values::host_name());
    }

    #[test]
    fn who_asks_for_the_health_of_which_node() {
        let asked = |words: &[&str]| match run(words) {
            Invocation::CheckHealth(address) => address.to_string(),
            _ => panic!("{words:?} asks nobody"),
        };
        assert_eq!(asked(&["health"]), "127.0.0.1:9090");
        let status = |words: &[&str]| match run(words) {
            Invocation::ShowStatus(question) => (question.address.to_string(), question.json, question.watch),
            _ => panic!("{words:?} asks nobody"),
        };
        assert_eq!(status(&["status", "--metrics-port=9100"]), ("127.0.0.1:9100".to_string(), false, false));
        assert_eq!(status(&["status", "--address", "10.0.0.1", "--json"]), ("10.0.0.1:9090".to_string(), true, false));
        assert_eq!(status(&["status", "--watch"]), ("127.0.0.1:9090".to_string(), false, true));
        assert!(matches!(run(&["status", "--watch", "--json"]), Invocation::Mistake(_)));
        assert_eq!(asked(&["health", "--metrics-port=9100", "--address", "::1"]), "[::1]:9100");
        assert!(matches!(run(&["health", "--metrics-port", "x"]), Invocation::Mistake(_)));
    }

    #[test]
    fn values_with_and_without_equals_sign() {
        let options =
            options(&["--maxmemory=4gb", "--bind", "0.0.0.0, ::1 -::", "--port", "7000", "--requirepass", "x"]);
        assert_eq!((options.max_memory, options.port), (4 << 30, 7000));
        let addresses: Vec<_> = options.bind.iter().map(|bind| (bind.address.to_string(), bind.optional)).collect();
        assert_eq!(addresses, [("0.0.0.0".into(), false), ("::1".into(), false), ("::".into(), true)]);
        assert_eq!(options.password.as_deref(), Some("x"));
    }

    #[test]
    fn a_file_of_users_is_read_at_once() {
        let path = std::env::temp_dir().join(format!("swytch-cli-{}.acl", std::process::id()));
        std::fs::write(&path, "user alice on >secret\n").expect("written");
        let flag = format!("--aclfile={}", path.display());
        assert_eq!(options(&[&flag]).users.expect("read").users.len(), 1);
        std::fs::write(&path, "user alice on\nuser bob +nosuch >\n").expect("written");
        let expected = format!(
            "swytch: --aclfile: {}, line 2: rule '+nosuch': Unknown command or category name in ACL\n",
            path.display()
        );
        assert_eq!(mistake(&[&flag]), expected);
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(
            mistake(&[&flag]),
            format!("swytch: --aclfile: cannot read {}: No such file or directory\n", path.display())
        );
    }

    #[test]
    fn a_unix_socket_alone() {
        let options = options(&["--unixsocket=/tmp/s", "--bind="]);
        assert!(options.bind.is_empty());
        assert!(mistake(&["--bind", ""]).contains("--unixsocket"));
    }

    #[test]
    fn a_cluster_has_a_passphrase_and_a_port() {
        let passphrase = "0123456789abcdef";
        let with = |words: &[&str]| options(&[&["--cluster-passphrase", passphrase], words].concat());
        assert_eq!(with(&[]).cluster.expect("a cluster").port, 7379);
        assert_eq!(with(&["--port=7000", "--join=cache.local"]).cluster.expect("a cluster").port, 8000);
        assert_eq!(with(&["--port=65000", "--cluster-port=1"]).cluster.expect("a cluster").port, 1);
        assert!(mistake(&["--join=x"]).contains("--cluster-passphrase"));
        let other = "another passphrase, long enough";
        let cluster = with(&["--cluster-passphrase-also", other]).cluster.expect("in a cluster");
        assert_eq!(cluster.also_accepted.as_deref(), Some(other));
        assert_eq!(with(&["--cluster-passphrase-also="]).cluster.expect("in a cluster").also_accepted, None);
        assert!(mistake(&["--cluster-passphrase-also", other]).contains("needs --cluster-passphrase"));
        let also = |also: &str| mistake(&["--cluster-passphrase", passphrase, "--cluster-passphrase-also", also]);
        assert!(
            also("hunter2").contains("of --cluster-passphrase-also is too short")
                && !also("hunter2").contains("hunter2")
        );
        assert!(
            also(passphrase).contains("the same as --cluster-passphrase") && !also(passphrase).contains(passphrase)
        );
        let short = mistake(&["--cluster-passphrase=hunter2"]);
        assert!(short.contains("gen-passphrase") && !short.contains("hunter2"), "{short}");
        assert!(mistake(&["--cluster-passphrase", passphrase, "--port=64536"]).contains("--cluster-port"));
    }

    #[test]
    fn tls_takes_the_main_port_or_one_of_its_own() {
        let pair = ["--tls-cert-file=c", "--tls-key-file=k"];
        let with = |words: &[&str]| options(&[&pair, words].concat());
        let ports = |options: &Options| (options.port, options.tls.as_ref().map(|tls| tls.port));
        assert_eq!(ports(&options(&[])), (6379, None));
        assert_eq!(ports(&with(&[])), (0, Some(6379)));
        assert_eq!(ports(&with(&["--port=7000"])), (0, Some(7000)));
        assert_eq!(ports(&with(&["--tls-port=7001"])), (6379, Some(7001)));
        assert_eq!(ports(&with(&["--port=0", "--tls-port=7001"])), (0, Some(7001)));
        assert_eq!(with(&["--port=0", "--tls-port=7001"]).client_port(), 7001);
        let cluster = with(&["--port=0", "--tls-port=7001", "--cluster-passphrase=0123456789abcdef"]).cluster;
        assert_eq!(cluster.expect("a cluster").port, 8001);
        let settings = with(&["--tls-ca-cert-file=a", "--tls-min-version=1.3"]).tls.expect("TLS").settings;
        assert_eq!((settings.client_auth().name(), settings.min_version.protocols()), ("yes", "TLSv1.3"));
        for (words, said) in [
            (vec!["--tls-cert-file=c"], "--tls-key-file"),
            (vec!["--tls-key-file=k"], "--tls-cert-file"),
            (vec!["--tls-port=1"], "--tls-cert-file"),
            (vec!["--tls-key-file-pass=hunter2"], "--tls-key-file-pass needs"),
            (vec!["--tls-ca-cert-file=a"], "--tls-cert-file"),
            (vec!["--tls-auth-clients=yes"], "--tls-cert-file"),
            ([&pair[..], &["--tls-auth-clients=optional"]].concat(), "--tls-ca-cert-file"),
            ([&pair[..], &["--port=0"]].concat(), "--tls-port"),
            ([&pair[..], &["--bind=", "--unixsocket=s"]].concat(), "--bind"),
            ([&pair[..], &["--port=5", "--tls-port=5"]].concat(), "the same as --port"),
            (vec!["--tls-auth-clients=maybe"], "yes, no or optional"),
            (vec!["--tls-min-version=1.1"], "1.2 or 1.3"),
        ] {
            let text = mistake(&words);
            assert!(text.contains(said) && text.lines().count() == 1, "{words:?}: {text}");
        }
    }

    #[test]
    fn a_mistake_is_one_line_with_flag_value_and_what_is_accepted() {
        let cases = [
            ("--port=abc", "--port", "abc", "0 to 65535"),
            ("--port=65536", "--port", "65536", "0 to 65535"),
            ("--maxmemory=4xb", "--maxmemory", "4xb", "64mb"),
            ("--maxmemory-policy=lru", "--maxmemory-policy", "lru", "volatile-lru"),
            ("--bind=1.2.3.4.5", "--bind", "1.2.3.4.5", "IP addresses"),
            ("--databases=0", "--databases", "0", "1 to"),
            ("--log-format=xml", "--log-format", "xml", "text or json"),
            ("--cluster-advertise=host", "--cluster-advertise", "host", "host:port"),
            ("--cluster-log-limit=1000", "--cluster-log-limit", "1000", "at least 1mb"),
            ("--dns-server=x", "--dns-server", "x", "ip:port"),
            ("--otel-endpoint=collector:4318", "--otel-endpoint", "collector:4318", "http://127.0.0.1:4318"),
            ("--otel-endpoint=https://collector", "--otel-endpoint", "https://collector", "http://"),
            ("--otel-sample-ratio=0", "--otel-sample-ratio", "0", "0.000000001 to 1"),
            ("--otel-sample-ratio=1.1", "--otel-sample-ratio", "1.1", "0.000000001 to 1"),
            ("--node-name=a b", "--node-name", "a b", "a word"),
        ];
        for (word, flag, value, accepted) in cases {
            let text = mistake(&[word]);
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(text.contains(flag) && text.contains(value) && text.contains(accepted), "{text}");
        }
        assert!(mistake(&["--nonsense"]).contains("--nonsense"));
    }

    #[test]
    fn every_flag_is_an_environment_variable_that_help_does_not_show_the_value_of() {
        let command = CommandLine::command();
        let redis = command.find_subcommand("redis").expect("there");
        for flag in redis.get_arguments().filter(|flag| flag.get_id() != "help" && !flag.is_positional()) {
            let name = flag.get_long().expect("long names only").to_uppercase().replace('-', "_");
            assert_eq!(flag.get_env().expect("has one"), format!("SWYTCH_{name}").as_str());
            assert!(flag.is_hide_env_values_set(), "{name}");
        }
    }

    #[test]
    fn a_file_speaks_where_no_flag_does() {
        let scratch = Scratch::new();
        let text = "port 7000\nmaxmemory 1g\nbind * -::*\nrequirepass \"a b\"\ntimeout 7\nmetrics-port 9090\n\
                    hash-max-listpack-entries 3\ndaemonize no\nunixsocket \"\"\n";
        let path = scratch.write("swytch.conf", text);
        let path = path.to_str().expect("text");
        let options = options(&[path, "--timeout=8", "--port", "7001"]);
        assert_eq!((options.port, options.timeout, options.max_memory), (7001, 8, 1_000_000_000));
        assert_eq!((options.bind.len(), options.password.as_deref()), (2, Some("a b")));
        assert_eq!((options.metrics_port, options.unix_socket), (Some(9090), None));
        assert_eq!(options.parameters, [("hash-max-listpack-entries".to_string(), b"3".to_vec())]);
        assert_eq!(options.passed_over, ["daemonize"]);
        assert_eq!(options.config_file.as_deref(), Some(std::path::Path::new(path)));
    }

    #[test]
    fn mistakes_of_a_file_name_its_line() {
        let scratch = Scratch::new();
        let cases = [
            ("\nport abc\n", ":2: port abc: expected a whole number from 0 to 65535"),
            ("maxmemory 1xb\n", ":1: maxmemory 1xb: expected a size such as 64mb"),
            ("nonsense\n", ":1: nonsense: a value is missing"),
            ("help 1\n", ":1: unknown directive 'help'"),
            ("port 0\n", "nothing to listen on"),
            ("databases 0", ":1: databases 0: expected a whole number from 1 to"),
        ];
        for (text, said) in cases {
            let path = scratch.write("swytch.conf", text);
            let text = mistake(&[path.to_str().expect("text")]);
            assert!(text.starts_with(&format!("swytch: {}", path.display())), "{text}");
            assert!(text.contains(said) && text.lines().count() == 1, "{text}");
        }
        assert!(mistake(&["/nowhere/at/all.conf"]).contains("/nowhere/at/all.conf: cannot read"));
    }

    #[test]
    fn what_means_nothing_is_no_flag() {
        for (name, _) in meaningless::MEANINGLESS {
            assert!(check_flag(name, &"".into()).is_none(), "{name} is a flag");
        }
    }

    #[test]
    fn passphrases_are_fresh_and_of_the_documented_form() {
        let make = || fresh_passphrase().expect("the system has randomness");
        let passphrase = make();
        assert_eq!(passphrase.len(), 43);
        assert!(passphrase.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
        assert_ne!(passphrase, make());
    }
}
