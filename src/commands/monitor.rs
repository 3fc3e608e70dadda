//! MONITOR.

use super::Flow;
use super::context::{Context, Outcome, Refusal};
use super::spec::{Command, Flags, Group};
use super::table::Entry;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::new(Group::Server, "monitor", 1, monitor)
    .flags(Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::LOADING).with(Flags::STALE))
    .docs("1.0.0", "", "Shows all commands that clients run from now on")];

fn monitor(context: &mut Context<'_>) -> Outcome {
    if context.in_exec() {
        return Err(Refusal::Fixed("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    // Who does already is not answered, as in Redis.
    match context.session.read_along(&context.state.supervision) {
        true => context.ok(),
        false => Ok(Flow::Continue),
    }
}

/// Who reads along may not use the data meanwhile.
pub fn check(entry: &Entry) -> Result<(), Refusal> {
    let flags = entry.command.flags;
    match [Flags::WRITE, Flags::READONLY, Flags::MAY_REPLICATE].iter().any(|flag| flags.has(*flag)) {
        true => Err(Refusal::Fixed("ERR Replica can't interact with the keyspace")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;
    use crate::commands::{Connected, Session, execute};
    use crate::resp::{Arguments, Protocol, Reply};

    /// Runs a request for another connection, and returns what the first one is shown of it.
    fn shown(fixture: &mut Fixture, session: &mut Session, words: &[&[u8]]) -> String {
        let (mut input, mut ranges) = (Vec::new(), Vec::new());
        for word in words {
            let start = input.len() as u32;
            input.extend_from_slice(word);
            ranges.push(start..input.len() as u32);
        }
        let mut reply = Reply::new(Protocol::Resp2);
        execute(&fixture.state, session, &Arguments::new(&input, &ranges), &mut reply, fixture.now);
        let mut mail = Reply::new(Protocol::Resp2);
        fixture.session.deliver(&mut mail, usize::MAX);
        String::from_utf8_lossy(mail.bytes()).into_owned()
    }

    #[test]
    fn who_reads_along_sees_what_others_run() {
        let mut fixture = Fixture::new();
        fixture.now = 1_700_000_000_012;
        let open = |fixture: &Fixture, address: &str, unix| {
            let connected = Connected { address: address.to_string(), unix, ..Connected::default() };
            Session::open(&fixture.state, connected, 0, fixture.now, 2)
        };
        let mut tcp = open(&fixture, "127.0.0.1:7000", false);
        let mut unix = open(&fixture, "/tmp/s.sock:0", true);
        fixture.expect(&[("monitor", "+OK\r\n"), ("monitor", "")]);
        let line = |source: &str, words: &str| format!("+1700000000.012000 [{source}] {words}\r\n");
        let mut expect = |session: &mut Session, words: &[&[u8]], expected: &str| {
            assert_eq!(shown(&mut fixture, session, words), expected, "{words:?}");
        };
        let from = "0 127.0.0.1:7000";
        expect(&mut tcp, &[b"set", b"a b", b"\"\n\xff"], &line(from, r#""set" "a b" "\"\n\xff""#));
        expect(&mut unix, &[b"ping"], &line("0 unix:/tmp/s.sock", r#""ping""#));
        expect(&mut tcp, &[b"AUTH", b"me", b"secret"], &line(from, r#""AUTH" "(redacted)" "(redacted)""#));
        expect(
            &mut tcp,
            &[b"hello", b"2", b"auth", b"default", b"x", b"setname", b"n"],
            &line(from, r#""hello" "2" "auth" "(redacted)" "(redacted)" "setname" "n""#),
        );
        expect(&mut tcp, &[b"select", b"3"], &line("3 127.0.0.1:7000", r#""select" "3""#));
        // Neither what an operator does nor what was refused.
        for words in [&[&b"config"[..], b"get", b"port"][..], &[b"client", b"list"], &[b"get"], &[b"nosuch"]] {
            expect(&mut tcp, words, "");
        }
        expect(&mut tcp, &[b"multi"], &line("3 127.0.0.1:7000", r#""multi""#));
        expect(&mut tcp, &[b"get", b"k"], "");
        let run = [line("3 127.0.0.1:7000", r#""get" "k""#), line("3 127.0.0.1:7000", r#""exec""#)].concat();
        expect(&mut tcp, &[b"exec"], &run);
    }

    #[test]
    fn who_reads_along_does_nothing_else() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("multi", "+OK\r\n"),
            ("monitor", "+QUEUED\r\n"),
            ("exec", "*1\r\n-ERR MONITOR isn't allowed for DENY BLOCKING client\r\n"),
            ("monitor", "+OK\r\n"),
            ("get k", "-ERR Replica can't interact with the keyspace\r\n"),
            ("publish c m", "-ERR Replica can't interact with the keyspace\r\n"),
        ]);
        assert!(fixture.run("ping").starts_with("+PONG\r\n+"));
        assert!(fixture.run("client info").contains(" flags=O "));
        assert!(fixture.run("reset").starts_with("+RESET\r\n"));
        fixture.expect(&[("get k", "$-1\r\n")]);
        assert_eq!(fixture.state.supervision.attention.get(), 0);
    }
}
