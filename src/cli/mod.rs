//! The command line: flags, their environment variables, and what of it makes sense together.
//!
//! Architecture invariant: the command line turns words into [`Options`] and knows nothing of how a node runs. A mistake
//! costs one line that names the flag, the value and what is accepted, and exit status 2.

mod flags;
mod values;

use clap::{CommandFactory, Parser, Subcommand};

use crate::cluster::generate_passphrase;
use crate::server::Options;
use flags::RedisFlags;

/// What the process was started for.
pub enum Invocation {
    /// Run a node.
    Serve(Box<Options>),
    /// Print this text and exit with status 0.
    Print(String),
    /// Print this text to standard error and exit with status 2.
    Mistake(String),
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
    /// Print the version.
    Version,
}

/// Reads the command line and the environment.
pub fn parse(words: impl IntoIterator<Item = std::ffi::OsString>) -> Invocation {
    let command_line = match CommandLine::try_parse_from(words) {
        Ok(command_line) => command_line,
        Err(error) if !error.use_stderr() => return Invocation::Print(error.render().to_string()),
        Err(error) => return Invocation::Mistake(one_line(&error)),
    };
    match command_line.command {
        Command::Redis(flags) => match flags.check() {
            Ok(options) => Invocation::Serve(Box::new(options)),
            Err(mistake) => Invocation::Mistake(format!("swytch: {mistake}\n")),
        },
        Command::GenPassphrase => match fresh_passphrase() {
            Ok(passphrase) => Invocation::Print(format!("{passphrase}\n")),
            Err(error) => Invocation::Mistake(format!("swytch: the system gives no randomness: {error}\n")),
        },
        Command::Version => Invocation::Print(CommandLine::command().render_version()),
    }
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

    fn run(words: &[&str]) -> Invocation {
        parse(["swytch"].iter().chain(words).map(Into::into))
    }

    fn options(words: &[&str]) -> Options {
        match run(&[&["redis"], words].concat()) {
            Invocation::Serve(options) => *options,
            Invocation::Mistake(text) | Invocation::Print(text) => panic!("{words:?}: {text}"),
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
        assert_eq!(options.bind.len(), 1);
        assert_eq!(options.bind[0].address.to_string(), "127.0.0.1");
        assert!(options.cluster.is_none() && options.metrics_port.is_none() && options.unix_socket.is_none());
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
            ("--bind=1.2.3.4.5", "--bind", "1.2.3.4.5", "IP addresses"),
            ("--databases=0", "--databases", "0", "1 to"),
            ("--log-format=xml", "--log-format", "xml", "text or json"),
            ("--cluster-advertise=host", "--cluster-advertise", "host", "host:port"),
            ("--dns-server=x", "--dns-server", "x", "ip:port"),
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
        for flag in redis.get_arguments().filter(|flag| flag.get_id() != "help") {
            let name = flag.get_long().expect("long names only").to_uppercase().replace('-', "_");
            assert_eq!(flag.get_env().expect("has one"), format!("SWYTCH_{name}").as_str());
            assert!(flag.is_hide_env_values_set(), "{name}");
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
