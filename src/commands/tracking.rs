//! CLIENT TRACKING and its kin: a client keeps copies of what it reads, and is told when they are stale ("Client-side caching" in
//! Redis's documentation). Their rows are in [`super::connection`].
//!
//! Before a command that only reads runs, its keys are noted for the client, in the keyspace. A change in between makes the
//! client hear of it right behind the reply: what comes for it is sent between replies only.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::clients::ClientRecord;
use super::context::{Context, Outcome, Refusal, SYNTAX, is_option, shown};
use super::spec::Flags;
use super::trackers::Tracker;
use super::{Flow, ServerState, Session};
use crate::keyspace::{Key, Millis, integer};
use crate::resp::Arguments;

/// Of which keys a client keeps copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Of all that it reads.
    Reads,
    /// Of what it reads with the command behind CLIENT CACHING YES.
    OptIn,
    /// Of all that it reads, but not with the command behind CLIENT CACHING NO.
    OptOut,
    /// Of any that begin with its prefixes.
    Broadcast,
}

/// How a client keeps copies.
#[derive(Debug)]
pub struct TrackingMode {
    mode: Mode,
    /// It has said CLIENT CACHING.
    caching: bool,
    skips_own: bool,
    redirection: Option<u64>,
    prefixes: BTreeSet<Bytes>,
}

impl TrackingMode {
    /// Does it hear of keys that it has not read?
    pub fn broadcasts(&self) -> bool {
        self.mode == Mode::Broadcast
    }

    fn keeps_reads(&self) -> bool {
        match self.mode {
            Mode::Reads => true,
            Mode::OptIn => self.caching,
            Mode::OptOut => !self.caching,
            Mode::Broadcast => false,
        }
    }
}

/// Before a command of a client that keeps copies: the keys that it only reads are noted.
#[cold]
pub fn note_reads(context: &Context<'_>) {
    let keeps = context.session.tracking.as_ref().is_some_and(|tracking| tracking.keeps_reads());
    if !keeps || !context.entry.command.flags.has(Flags::READONLY) {
        return;
    }
    let specs = context.entry.command.keys.iter().filter(|spec| spec.is_of_keys());
    let positions = specs.filter_map(|spec| spec.positions(&context.arguments)).flatten();
    let words = positions.filter_map(|at| context.arguments.get(at));
    let keys: Vec<Key<'_>> = words.map(|word| context.state.keyspace.key(word)).collect();
    if !keys.is_empty() {
        let mut transaction = context.lock_keys(&keys);
        keys.iter().for_each(|key| transaction.track(*key, context.session.id));
    }
}

/// Behind a request of a client that keeps copies, whatever came of it, and not within EXEC.
#[cold]
pub fn end_request(state: &ServerState, session: &mut Session, arguments: &Arguments<'_>, now: Millis) {
    let is_client = arguments.get(0).is_some_and(|name| is_option(name, "client"));
    if let Some(tracking) = &mut session.tracking
        && session.queue.is_none()
        && !is_client
    {
        tracking.caching = false;
    }
    if state.keyspace.has_too_many_tracked() {
        state.keyspace.bound_tracked(now);
    }
}

/// What CLIENT TRACKING says behind ON or OFF.
#[derive(Debug, Default)]
struct Options<'a> {
    target: Option<Arc<ClientRecord>>,
    broadcast: bool,
    opt_in: bool,
    opt_out: bool,
    skips_own: bool,
    prefixes: Vec<&'a [u8]>,
}

fn options<'a>(context: &Context<'a>) -> Result<Options<'a>, Refusal> {
    let mut options = Options::default();
    let mut at = 3;
    while let Some(word) = context.arguments.get(at) {
        let next = context.arguments.get(at + 1);
        if is_option(word, "redirect")
            && let Some(id) = next
        {
            if options.target.is_some() {
                return Err(Refusal::Fixed("ERR A client can only redirect to a single other client"));
            }
            let id = integer::parse(id).ok_or(Refusal::Fixed("ERR value is not an integer or out of range"))?;
            let record = u64::try_from(id).ok().and_then(|id| context.state.clients.get(id));
            let missing = Refusal::Fixed("ERR The client ID you want redirect to does not exist");
            options.target = Some(record.ok_or(missing)?);
            at += 1;
        } else if is_option(word, "bcast") {
            options.broadcast = true;
        } else if is_option(word, "optin") {
            options.opt_in = true;
        } else if is_option(word, "optout") {
            options.opt_out = true;
        } else if is_option(word, "noloop") {
            options.skips_own = true;
        } else if is_option(word, "prefix")
            && let Some(prefix) = next
        {
            options.prefixes.push(prefix);
            at += 1;
        } else {
            return Err(SYNTAX);
        }
        at += 1;
    }
    Ok(options)
}

/// Do these options fit each other, and what the client has said before?
fn check(options: &Options<'_>, before: Option<&TrackingMode>) -> Result<Mode, Refusal> {
    let refuse = |text| Err(Refusal::Fixed(text));
    let mode = before.map(|before| before.mode);
    if !options.broadcast && !options.prefixes.is_empty() {
        return refuse("ERR PREFIX option requires BCAST mode to be enabled");
    }
    if mode.is_some_and(|mode| options.broadcast != (mode == Mode::Broadcast)) {
        return refuse(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a \
             different mode.",
        );
    }
    if options.broadcast && (options.opt_in || options.opt_out) {
        return refuse("ERR OPTIN and OPTOUT are not compatible with BCAST");
    }
    if options.opt_in && options.opt_out {
        return refuse("ERR You can't specify both OPTIN mode and OPTOUT mode");
    }
    if options.opt_in && mode == Some(Mode::OptOut) || options.opt_out && mode == Some(Mode::OptIn) {
        return refuse(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a \
             different mode.",
        );
    }
    if options.broadcast {
        check_prefixes(&options.prefixes, before.map(|before| &before.prefixes))?;
    }
    Ok(match () {
        () if options.broadcast => Mode::Broadcast,
        () if options.opt_in => Mode::OptIn,
        () if options.opt_out => Mode::OptOut,
        () => Mode::Reads,
    })
}

/// No prefix of a client may be the beginning of another one: it would hear of keys twice.
fn check_prefixes(new: &[&[u8]], known: Option<&BTreeSet<Bytes>>) -> Result<(), Refusal> {
    let overlap = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
    let refusal = |one: &[u8], kind: &str, other: &[u8]| {
        let text: [&[u8]; 6] = [
            b"ERR Prefix '",
            shown(one),
            b"' overlaps with ",
            kind.as_bytes(),
            shown(other),
            b"'. Prefixes for a single client must not overlap.",
        ];
        Refusal::Built(text.concat())
    };
    for (at, one) in new.iter().enumerate() {
        if let Some(other) = known.into_iter().flatten().find(|other| overlap(one, other)) {
            return Err(refusal(one, "an existing prefix '", other));
        }
        if let Some(other) = new[at + 1..].iter().find(|other| overlap(one, other)) {
            return Err(refusal(one, "another provided prefix '", other));
        }
    }
    Ok(())
}

pub fn tracking(context: &mut Context<'_>) -> Outcome {
    let options = options(context)?;
    if is_option(context.word(2), "off") {
        context.session.stop_tracking(context.state);
        return context.ok();
    }
    if !is_option(context.word(2), "on") {
        return Err(SYNTAX);
    }
    let before = context.session.tracking.take();
    let mode = match check(&options, before.as_deref()) {
        Ok(mode) => mode,
        Err(refusal) => {
            context.session.tracking = before;
            return Err(refusal);
        }
    };
    let is_new = before.is_none();
    let (caching, mut prefixes) = before.map(|before| (before.caching, before.prefixes)).unwrap_or_default();
    if options.broadcast {
        let all: &[&[u8]] = if options.prefixes.is_empty() { &[b""] } else { &options.prefixes };
        prefixes.extend(all.iter().map(|prefix| Bytes::copy_from_slice(prefix)));
    }
    let redirection = options.target.as_ref().map(|target| target.id);
    let record = &context.session.record;
    record.note_tracking(Some((redirection.unwrap_or(0), options.broadcast)));
    let tracker = Tracker {
        record: Arc::clone(record),
        target: options.target,
        broadcasts: options.broadcast,
        skips_own: options.skips_own,
    };
    let state = context.state;
    state.trackers.set(tracker, &prefixes);
    if is_new {
        state.keyspace.add_reader(options.broadcast);
    }
    let tracking = TrackingMode { mode, caching, skips_own: options.skips_own, redirection, prefixes };
    context.session.tracking = Some(Box::new(tracking));
    context.ok()
}

pub fn caching(context: &mut Context<'_>) -> Outcome {
    let word = context.word(2);
    let Some(tracking) = context.session.tracking.as_mut() else {
        return Err(Refusal::Fixed(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ));
    };
    let (wanted, refusal) = match () {
        () if is_option(word, "yes") => {
            (Mode::OptIn, "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
        }
        () if is_option(word, "no") => {
            (Mode::OptOut, "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
        }
        () => return Err(SYNTAX),
    };
    if tracking.mode != wanted {
        return Err(Refusal::Fixed(refusal));
    }
    tracking.caching = true;
    context.ok()
}

/// Who is told in place of this client: its id, 0 for nobody, -1 when it keeps no copies.
fn redirection(session: &Session) -> i64 {
    let Some(tracking) = &session.tracking else { return -1 };
    tracking.redirection.map_or(0, |id| i64::try_from(id).unwrap_or(i64::MAX))
}

pub fn getredir(context: &mut Context<'_>) -> Outcome {
    let id = redirection(context.session);
    context.reply_integer(id)
}

pub fn trackinginfo(context: &mut Context<'_>) -> Outcome {
    let (session, reply) = (&*context.session, &mut *context.reply);
    let mut flags = Vec::new();
    match &session.tracking {
        None => flags.push("off"),
        Some(tracking) => {
            flags.push("on");
            let (mode, caching) = (tracking.mode, tracking.caching);
            let more = [
                ("bcast", mode == Mode::Broadcast),
                ("optin", mode == Mode::OptIn),
                ("caching-yes", mode == Mode::OptIn && caching),
                ("optout", mode == Mode::OptOut),
                ("caching-no", mode == Mode::OptOut && caching),
                ("noloop", tracking.skips_own),
                ("broken_redirect", session.record.has_broken_redirection()),
            ];
            flags.extend(more.iter().filter(|(_, applies)| *applies).map(|(flag, _)| flag));
        }
    }
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"redirect");
    reply.integer(redirection(session));
    reply.bulk(b"prefixes");
    let prefixes = session.tracking.as_ref().map(|tracking| &tracking.prefixes);
    reply.array(prefixes.map_or(0, BTreeSet::len));
    prefixes.into_iter().flatten().for_each(|prefix| reply.bulk(prefix));
    Ok(Flow::Continue)
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    #[test]
    fn options_have_to_fit() {
        let mut fixture = Fixture::new();
        let switch = "-ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a \
                      different mode.\r\n";
        let switch_choice = switch.replace("BCAST mode on/off", "OPTIN/OPTOUT mode");
        fixture.expect(&[
            ("client tracking", "-ERR wrong number of arguments for 'client|tracking' command\r\n"),
            ("client tracking foo", "-ERR syntax error\r\n"),
            ("client tracking on foo", "-ERR syntax error\r\n"),
            ("client tracking on redirect", "-ERR syntax error\r\n"),
            ("client tracking on prefix", "-ERR syntax error\r\n"),
            ("client tracking on redirect x", "-ERR value is not an integer or out of range\r\n"),
            ("client tracking foo redirect 99", "-ERR The client ID you want redirect to does not exist\r\n"),
            ("client tracking on redirect -1", "-ERR The client ID you want redirect to does not exist\r\n"),
            (
                "client tracking on redirect 1 redirect x",
                "-ERR A client can only redirect to a single other client\r\n",
            ),
            ("client tracking on prefix a optin optout", "-ERR PREFIX option requires BCAST mode to be enabled\r\n"),
            ("client tracking on bcast optin optout", "-ERR OPTIN and OPTOUT are not compatible with BCAST\r\n"),
            ("client tracking on optin optout", "-ERR You can't specify both OPTIN mode and OPTOUT mode\r\n"),
            ("client tracking off optin optout prefix a", "+OK\r\n"),
            ("client getredir", ":-1\r\n"),
            ("client tracking on", "+OK\r\n"),
            ("client getredir", ":0\r\n"),
            ("client tracking on bcast optin optout", switch),
            ("client tracking on optin", "+OK\r\n"),
            ("client tracking on optout", &switch_choice),
            ("client tracking on optin optout", "-ERR You can't specify both OPTIN mode and OPTOUT mode\r\n"),
            ("client caching maybe", "-ERR syntax error\r\n"),
            ("client caching no", "-ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.\r\n"),
            ("client caching yes", "+OK\r\n"),
            ("client tracking off", "+OK\r\n"),
            (
                "client caching yes",
                "-ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode \
                 enabled\r\n",
            ),
        ]);
    }

    #[test]
    fn prefixes_must_not_overlap() {
        let mut fixture = Fixture::new();
        let overlap = |one: &str, kind: &str, other: &str| {
            format!(
                "-ERR Prefix '{one}' overlaps with {kind} prefix '{other}'. Prefixes for a single client must not overlap.\r\n"
            )
        };
        let (given, known) = ("another provided", "an existing");
        fixture.expect(&[
            ("client tracking on bcast prefix foo prefix foobar", &overlap("foo", given, "foobar")),
            ("client tracking on bcast prefix foobar prefix foo", &overlap("foobar", given, "foo")),
            ("client tracking on bcast prefix foo prefix bar", "+OK\r\n"),
            ("client tracking on bcast prefix foob", &overlap("foob", known, "foo")),
            ("client tracking on bcast prefix fo", &overlap("fo", known, "foo")),
            ("client tracking on bcast prefix zoo noloop", "+OK\r\n"),
        ]);
        let info = fixture.run("client trackinginfo");
        let prefixes = "$8\r\nprefixes\r\n*3\r\n$3\r\nbar\r\n$3\r\nfoo\r\n$3\r\nzoo\r\n";
        let flags = "*3\r\n$2\r\non\r\n$5\r\nbcast\r\n$6\r\nnoloop\r\n";
        assert_eq!(info, format!("*6\r\n$5\r\nflags\r\n{flags}$8\r\nredirect\r\n:0\r\n{prefixes}"));
        // All keys, besides: that is not checked.
        fixture.expect(&[
            ("client tracking on bcast", "+OK\r\n"),
            (
                "client tracking on",
                "-ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then \
                                    re-enabling it with a different mode.\r\n",
            ),
        ]);
        assert!(fixture.run("client info").contains(" flags=tB "));
        assert!(fixture.run("client info").contains(" redir=0 "));
        assert!(fixture.run("info clients").contains("tracking_clients:1\r\n"));
        assert!(fixture.run("info stats").contains("tracking_total_prefixes:4\r\n"));
        fixture.run("reset");
        assert!(fixture.run("client info").contains(" redir=-1 "));
        assert!(fixture.run("info clients").contains("tracking_clients:0\r\n"));
    }

    #[test]
    fn what_is_read_is_counted() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("client tracking on optout", "+OK\r\n"),
            ("client caching no", "+OK\r\n"),
            ("mget x y", "*2\r\n$-1\r\n$-1\r\n"),
            ("sintercard 2 a b", ":0\r\n"),
            ("object encoding c", "$-1\r\n"),
            ("sort_ro d by w_* get o_*", "*0\r\n"),
            ("xread count 1 streams e f 0 0", "*-1\r\n"),
            ("sintercard 9 g", "-ERR Number of keys can't be greater than number of args\r\n"),
            ("lpush l 1", ":1\r\n"),
            ("keys *", "*1\r\n$1\r\nl\r\n"),
        ]);
        assert_eq!(fixture.state.keyspace.tracked(), (6, 6));
        fixture.expect(&[("config set tracking-table-max-keys 2", "+OK\r\n"), ("get a", "$-1\r\n")]);
        assert_eq!(fixture.state.keyspace.tracked(), (2, 2));
        assert!(fixture.run("info stats").contains("tracking_total_keys:2\r\ntracking_total_items:2\r\n"));
        fixture.run("flushdb");
        assert_eq!(fixture.state.keyspace.tracked(), (0, 0));
    }
}
