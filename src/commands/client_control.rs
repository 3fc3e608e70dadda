//! The subcommands of CLIENT that act on connections: KILL, PAUSE and their kin. Their rows are in [`super::connection`].

use std::sync::Arc;

use super::clients::{ClientKind, ClientRecord};
use super::context::{Context, Outcome, Refusal, SYNTAX, is_option, shown};
use super::pausing::PauseMode;
use crate::acl::User;
use crate::keyspace::{Millis, Verdict, integer};

/// Which connections are meant; all that is said has to apply.
#[derive(Clone, Copy, Debug, Default)]
struct Filter<'a> {
    id: Option<u64>,
    kind: Option<ClientKind>,
    user: Option<&'a Arc<User>>,
    address: Option<&'a [u8]>,
    local_address: Option<&'a [u8]>,
    /// Milliseconds since it connected, at least.
    age: Option<Millis>,
}

impl Filter<'_> {
    fn fits(&self, record: &ClientRecord, now: Millis) -> bool {
        self.id.is_none_or(|id| record.id == id)
            && self.kind.is_none_or(|kind| record.kind() == kind)
            && self.user.is_none_or(|user| record.has_user(user))
            && self.address.is_none_or(|address| record.address.as_bytes() == address)
            && self.local_address.is_none_or(|address| record.local_address.as_bytes() == address)
            && self.age.is_none_or(|age| now.saturating_sub(record.connected_at) >= age)
    }
}

pub fn kill(context: &mut Context<'_>) -> Outcome {
    if context.words() == 3 {
        let filter = Filter { address: Some(context.word(2)), ..Filter::default() };
        if kill_all(context, &filter, false) == 0 {
            return Err(Refusal::Fixed("ERR No such client"));
        }
        return context.ok();
    }
    let (mut filter, mut user, mut skips_me) = (Filter::default(), None, true);
    if !context.words().is_multiple_of(2) {
        return Err(SYNTAX);
    }
    for at in (2..context.words()).step_by(2) {
        let (option, value) = (context.word(at), context.word(at + 1));
        if is_option(option, "id") {
            filter.id = Some(positive(value, "ERR client-id should be greater than 0")?);
        } else if is_option(option, "maxage") {
            let seconds = positive(value, "ERR maxage is not an integer or out of range")?;
            filter.age = Some(seconds.saturating_mul(1000));
        } else if is_option(option, "type") {
            filter.kind = Some(kind(value)?);
        } else if is_option(option, "user") {
            user = context.state.users.find(value);
            if user.is_none() {
                return Err(Refusal::Built([b"ERR No such user '", shown(value), b"'"].concat()));
            }
        } else if is_option(option, "addr") {
            filter.address = Some(value);
        } else if is_option(option, "laddr") {
            filter.local_address = Some(value);
        } else if is_option(option, "skipme") {
            skips_me = match () {
                () if is_option(value, "yes") => true,
                () if is_option(value, "no") => false,
                () => return Err(SYNTAX),
            };
        } else {
            return Err(SYNTAX);
        }
    }
    let filter = Filter { user: user.as_ref(), ..filter };
    let count = kill_all(context, &filter, skips_me);
    context.reply_count(count)
}

fn positive(value: &[u8], error: &'static str) -> Result<u64, Refusal> {
    let number = integer::parse(value).and_then(|number| u64::try_from(number).ok());
    number.filter(|number| *number > 0).ok_or(Refusal::Fixed(error))
}

/// The kind of client of this name.
pub fn kind(name: &[u8]) -> Result<ClientKind, Refusal> {
    ClientKind::named(name).ok_or_else(|| Refusal::Built([b"ERR Unknown client type '", shown(name), b"'"].concat()))
}

/// Ends all connections that are meant. How many there were.
fn kill_all(context: &mut Context<'_>, filter: &Filter<'_>, skips_me: bool) -> usize {
    let attention = &context.state.supervision.attention;
    let me = context.session.id;
    let is_me = |record: &Arc<ClientRecord>| record.id == me;
    let all = context.state.clients.all().into_iter();
    let found: Vec<_> = all.filter(|record| filter.fits(record, context.now) && !(skips_me && is_me(record))).collect();
    for record in &found {
        // Who ends itself gets its reply first.
        if is_me(record) {
            context.session.close_after_reply(attention);
        } else {
            record.kill(attention);
        }
    }
    found.len()
}

pub fn pause(context: &mut Context<'_>) -> Outcome {
    let mode = match context.words() {
        3 => PauseMode::All,
        4 if is_option(context.word(3), "write") => PauseMode::Writes,
        4 if is_option(context.word(3), "all") => PauseMode::All,
        4 => return Err(Refusal::Fixed("ERR CLIENT PAUSE mode must be WRITE or ALL")),
        _ => {
            return Err(Refusal::Fixed(
                "ERR unknown subcommand or wrong number of arguments for 'pause'. Try CLIENT HELP.",
            ));
        }
    };
    let timeout = integer::parse(context.word(2));
    let timeout = timeout.ok_or(Refusal::Fixed("ERR timeout is not an integer or out of range"))?;
    let timeout = u64::try_from(timeout).map_err(|_| Refusal::Fixed("ERR timeout is negative"))?;
    let until = context.now.checked_add(timeout).filter(|until| i64::try_from(*until).is_ok());
    let until = until.ok_or(Refusal::Fixed("ERR timeout is out of range"))?;
    let supervision = &context.state.supervision;
    supervision.pausing.pause(&supervision.attention, mode, until, context.now);
    context.ok()
}

pub fn unpause(context: &mut Context<'_>) -> Outcome {
    let supervision = &context.state.supervision;
    supervision.pausing.end(&supervision.attention);
    context.ok()
}

/// `on` or `off`.
fn switch(word: &[u8]) -> Result<bool, Refusal> {
    match () {
        () if is_option(word, "on") => Ok(true),
        () if is_option(word, "off") => Ok(false),
        () => Err(SYNTAX),
    }
}

/// See [`super::client_eviction`].
pub fn no_evict(context: &mut Context<'_>) -> Outcome {
    let applies = switch(context.word(2))?;
    context.session.record.note_no_evict(applies);
    context.ok()
}

pub fn no_touch(context: &mut Context<'_>) -> Outcome {
    let applies = switch(context.word(2))?;
    context.session.set_no_touch(applies);
    context.ok()
}

pub fn unblock(context: &mut Context<'_>) -> Outcome {
    let verdict = match context.words() {
        3 => Verdict::TimedOut,
        4 if is_option(context.word(3), "timeout") => Verdict::TimedOut,
        4 if is_option(context.word(3), "error") => Verdict::Unblocked,
        4 => return Err(Refusal::Fixed("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
        _ => {
            return Err(Refusal::Fixed(
                "ERR unknown subcommand or wrong number of arguments for 'unblock'. Try CLIENT HELP.",
            ));
        }
    };
    let id = context.integer(2)?;
    let record = u64::try_from(id).ok().and_then(|id| context.state.clients.get(id));
    context.reply_flag(record.is_some_and(|record| record.unblock(verdict)))
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;
    use crate::commands::{Connected, Flow, Session};

    /// Two more connections, with the ids 2 and 3.
    fn with_others() -> (Fixture, [Session; 2]) {
        let fixture = Fixture::new();
        let open = |port: u32, unix| {
            let connected = Connected {
                address: format!("10.0.0.1:{port}"),
                local_address: "10.0.0.2:6379".to_string(),
                unix,
                ..Connected::default()
            };
            Session::open(&fixture.state, connected, 0, fixture.now, 2)
        };
        let others = [open(1, false), open(2, true)];
        (fixture, others)
    }

    #[test]
    fn connections_are_ended_by_what_they_are() {
        let (mut fixture, mut others) = with_others();
        others[1].listen(&fixture.state.channels, crate::pubsub::Topic::Channel, b"news");
        fixture.expect(&[
            ("client kill foo", "-ERR No such client\r\n"),
            ("client kill id 0", "-ERR client-id should be greater than 0\r\n"),
            ("client kill id x", "-ERR client-id should be greater than 0\r\n"),
            ("client kill id 99", ":0\r\n"),
            ("client kill type foo", "-ERR Unknown client type 'foo'\r\n"),
            ("client kill type replica", ":0\r\n"),
            ("client kill user nobody", "-ERR No such user 'nobody'\r\n"),
            ("client kill skipme maybe", "-ERR syntax error\r\n"),
            ("client kill id 2 type", "-ERR syntax error\r\n"),
            ("client kill foo bar", "-ERR syntax error\r\n"),
            ("client kill id 1", ":0\r\n"),
            ("client kill maxage 10", ":0\r\n"),
            ("client kill id 2 type pubsub", ":0\r\n"),
        ]);
        assert!(!others[0].is_killed() && !others[1].is_killed());
        assert_eq!(fixture.run("client kill type pubsub"), ":1\r\n");
        assert!(!others[0].is_killed() && others[1].is_killed());
        assert_eq!(fixture.run("client kill 10.0.0.1:1"), "+OK\r\n");
        assert!(others[0].is_killed() && fixture.state.supervision.attention.has_killed());
        fixture.now += 10_000;
        fixture.expect(&[
            ("client kill maxage 11", ":0\r\n"),
            ("client kill maxage 10 laddr 10.0.0.2:6379 user default", ":2\r\n"),
        ]);
        let [one, other] = others;
        one.close(&fixture.state, 0);
        other.close(&fixture.state, 0);
        assert!(!fixture.state.supervision.attention.has_killed(), "all that were to end have ended");
    }

    #[test]
    fn who_ends_itself_gets_its_reply() {
        let mut fixture = Fixture::new();
        assert_eq!(
            fixture.run_flow(&[b"client", b"kill", b"id", b"1", b"skipme", b"no"]),
            (":1\r\n".into(), Flow::Close)
        );
        let mut fixture = Fixture::new();
        fixture.expect(&[("multi", "+OK\r\n"), ("client kill 127.0.0.1:5000", "+QUEUED\r\n"), ("ping", "+QUEUED\r\n")]);
        assert_eq!(fixture.run_flow(&[b"exec"]), ("*2\r\n+OK\r\n+PONG\r\n".into(), Flow::Close));
    }

    #[test]
    fn a_pause_holds_writes_or_everything() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("client pause x", "-ERR timeout is not an integer or out of range\r\n"),
            ("client pause -1", "-ERR timeout is negative\r\n"),
            ("client pause 9223372036854775807", "-ERR timeout is out of range\r\n"),
            ("client pause 1 foo", "-ERR CLIENT PAUSE mode must be WRITE or ALL\r\n"),
            ("multi", "+OK\r\n"),
            ("set k v", "+QUEUED\r\n"),
            ("client pause 100 write", "+QUEUED\r\n"),
            ("set k w", "+QUEUED\r\n"),
            ("exec", "*3\r\n+OK\r\n+OK\r\n+OK\r\n"),
            ("get k", "$1\r\nw\r\n"),
        ]);
        let paused = |fixture: &mut Fixture, words: &[&[u8]]| {
            let (reply, flow) = fixture.run_flow(words);
            assert!(flow != Flow::Pause || reply.is_empty());
            flow == Flow::Pause
        };
        let writes: [&[&[u8]]; 3] = [&[b"set", b"k", b"x"], &[b"publish", b"c", b"m"], &[b"pfcount", b"h"]];
        for write in writes {
            assert!(paused(&mut fixture, write), "{write:?}");
        }
        assert!(!paused(&mut fixture, &[b"set", b"k"]) && !paused(&mut fixture, &[b"nosuch"]), "it is wrong at once");
        assert!(!paused(&mut fixture, &[b"multi"]) && !paused(&mut fixture, &[b"get", b"k"]));
        assert!(!paused(&mut fixture, &[b"exec"]));
        fixture.expect(&[("client pause 50 all", "+OK\r\n")]);
        for words in [&[&b"get"[..], b"k"][..], &[b"ping"], &[b"multi"], &[b"client", b"unpause"], &[b"quit"]] {
            assert!(paused(&mut fixture, words), "{words:?}");
        }
        fixture.now += 99;
        assert!(paused(&mut fixture, &[b"ping"]), "the longer one counts");
        fixture.now += 1;
        fixture.expect(&[
            ("set k v", "+OK\r\n"),
            ("client pause 1000 write", "+OK\r\n"),
            ("client unpause", "+OK\r\n"),
            ("set k v", "+OK\r\n"),
        ]);
    }

    #[test]
    fn what_is_known_of_a_connection() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("client no-evict on", "+OK\r\n"),
            ("client no-touch on", "+OK\r\n"),
            ("client no-touch x", "-ERR syntax error\r\n"),
            ("client getredir", ":-1\r\n"),
            (
                "client trackinginfo",
                "*6\r\n$5\r\nflags\r\n*1\r\n$3\r\noff\r\n$8\r\nredirect\r\n:-1\r\n$8\r\nprefixes\r\n*0\r\n",
            ),
        ]);
        assert!(fixture.run("client info").contains(" flags=eT "));
        assert!(fixture.run("client caching yes").starts_with("-ERR CLIENT CACHING can be called only"));
        fixture.run("reset");
        assert!(fixture.run("client info").contains(" flags=N "));
    }
}
