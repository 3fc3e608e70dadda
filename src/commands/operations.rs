//! What belongs to running a server: its role, its end, and what a server with a leader would be asked. LOLWUT, too.

use std::fmt::Write;

use super::context::{Context, NOT_AN_INTEGER, Outcome, Refusal, SYNTAX, is_option};
use super::spec::{Categories, Command, Flags, Group, Handler};
use super::{Flow, REDIS_VERSION};
use crate::keyspace::integer;

const ADMIN: Flags = Flags::ADMIN.with(Flags::NOSCRIPT);

const fn row(name: &'static str, arity: isize, flags: Flags, handler: Handler) -> Command {
    Command::new(Group::Server, name, arity, handler).flags(flags)
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    row("role", 1, Flags::NOSCRIPT.with(Flags::LOADING).with(Flags::STALE).with(Flags::FAST), role)
        .categories(Categories::ADMIN.with(Categories::DANGEROUS))
        .docs("2.8.12", "O(1)", "Returns the role in replication: here every node takes writes"),
    row("replicaof", 3, ADMIN.with(Flags::STALE).with(Flags::NO_ASYNC_LOADING), replicaof).docs(
        "5.0.0",
        "O(1)",
        "Accepts NO ONE; nodes here follow nobody",
    ),
    row("slaveof", 3, ADMIN.with(Flags::STALE).with(Flags::NO_ASYNC_LOADING), replicaof)
        .deprecated("5.0.0", "`REPLICAOF`")
        .docs("1.0.0", "O(1)", "Accepts NO ONE; nodes here follow nobody"),
    row("failover", -1, ADMIN.with(Flags::STALE), failover).docs("6.2.0", "O(1)", "Refused: there is no leader"),
    row(
        "shutdown",
        -1,
        ADMIN.with(Flags::LOADING).with(Flags::STALE).with(Flags::NO_MULTI).with(Flags::ALLOW_BUSY),
        shutdown,
    )
    .docs("1.0.0", "As long as what is in flight", "Ends the server"),
    row("psync", -3, ADMIN.with(Flags::NO_ASYNC_LOADING).with(Flags::NO_MULTI), not_followed).docs(
        "2.8.0",
        "",
        "Refused: nobody can follow a node with Redis's protocol",
    ),
    row("sync", 1, ADMIN.with(Flags::NO_ASYNC_LOADING).with(Flags::NO_MULTI), not_followed).docs(
        "1.0.0",
        "",
        "Refused: nobody can follow a node with Redis's protocol",
    ),
    row("replconf", -1, ADMIN.with(Flags::LOADING).with(Flags::STALE).with(Flags::ALLOW_BUSY), not_followed)
        .internal()
        .docs("3.0.0", "O(1)", "Refused: nobody can follow a node with Redis's protocol"),
    row("lolwut", -1, Flags::READONLY.with(Flags::FAST), lolwut).docs("5.0.0", "", "Draws something"),
];

/// What a client needs to know that looks for who takes writes: this node does.
fn role(context: &mut Context<'_>) -> Outcome {
    context.reply.array(3);
    context.reply.bulk(b"master");
    context.reply.integer(0);
    context.reply.array(0);
    Ok(Flow::Continue)
}

fn replicaof(context: &mut Context<'_>) -> Outcome {
    if is_option(context.word(1), "no") && is_option(context.word(2), "one") {
        return context.ok();
    }
    if integer::parse(context.word(2)).is_none_or(|port| !(0..=65_535).contains(&port)) {
        return Err(Refusal::Fixed("ERR Invalid master port"));
    }
    Err(Refusal::Fixed(
        "ERR a swytch node follows nobody: start it with --join and the passphrase of a cluster to share its data",
    ))
}

fn failover(context: &mut Context<'_>) -> Outcome {
    let mut at = 1;
    let (mut aborts, mut others) = (false, false);
    while at < context.words() {
        let (word, behind) = (context.word(at), context.words() - at - 1);
        if is_option(word, "abort") && !aborts {
            aborts = true;
        } else if is_option(word, "timeout") && behind >= 1 {
            let timeout = integer::parse(context.word(at + 1)).ok_or(NOT_AN_INTEGER)?;
            if timeout <= 0 {
                return Err(Refusal::Fixed("ERR FAILOVER timeout must be greater than 0"));
            }
            others = true;
            at += 1;
        } else if is_option(word, "to") && behind >= 2 {
            integer::parse(context.word(at + 2)).ok_or(NOT_AN_INTEGER)?;
            others = true;
            at += 2;
        } else if is_option(word, "force") {
            others = true;
        } else {
            return Err(SYNTAX);
        }
        at += 1;
    }
    match (aborts, others) {
        (true, true) => Err(SYNTAX),
        (true, false) => Err(Refusal::Fixed("ERR No failover in progress.")),
        (false, _) => Err(Refusal::Fixed("ERR FAILOVER requires connected replicas.")),
    }
}

/// Ends the process as SIGTERM does. Nobody is answered: the connections end. There are no replicas to wait for, so NOW changes
/// nothing. If the data is to be saved at the end, it is saved once before that, while clients go on: should that fail, nothing ends, unless FORCE
/// says so.
fn shutdown(context: &mut Context<'_>) -> Outcome {
    let options = context.arguments.from(1);
    let count = |name: &str| options.iter().filter(|word| is_option(word, name)).count();
    let [save, nosave, now, force, abort] = ["save", "nosave", "now", "force", "abort"].map(count);
    let known = save + nosave + now + force + abort;
    if known != options.len() || save > 0 && nosave > 0 || abort > 0 && known > 1 {
        return Err(SYNTAX);
    }
    if abort > 0 {
        return Err(Refusal::Fixed("ERR No shutdown in progress."));
    }
    if context.session.turned_away && nosave == 0 {
        // Half of what a script does is not to be saved.
        return Err(context.state.scripting.busy());
    }
    let persistence = &context.state.persistence;
    let saves = save > 0 || nosave == 0 && !persistence.save_points().is_empty();
    let tried = match saves && force == 0 && !persistence.is_loading() {
        // Should one be under way, that one tells as well.
        true => Some(super::persistence::begin(context).unwrap_or_else(|_| persistence.ended().borrow().ended)),
        false => None,
    };
    if save > 0 || nosave > 0 {
        persistence.decide_end(save > 0);
    }
    if let Some(ended) = tried {
        return Ok(Flow::SaveAndEnd { ended });
    }
    context.state.supervision.end();
    Ok(Flow::Close)
}

fn not_followed(context: &mut Context<'_>) -> Outcome {
    let name = context.entry.full_name.to_ascii_uppercase();
    Err(Refusal::built(format!(
        "ERR {name} is not possible: swytch nodes replicate by a protocol of their own, and nobody follows them by Redis's"
    )))
}

/// Width and height of a drawing in characters, unless told.
const DRAWING: (i64, i64) = (66, 8);
/// No drawing is larger.
const LARGEST_DRAWING: (i64, i64) = (1000, 100);

fn lolwut(context: &mut Context<'_>) -> Outcome {
    let mut numbers = Vec::new();
    let mut words = context.arguments.from(1).iter();
    // VERSION chooses among Redis's drawings; here there is one.
    if context.words() > 2 && is_option(context.word(1), "version") {
        words.next();
        let version = words.next().and_then(integer::parse);
        version.ok_or(NOT_AN_INTEGER)?;
    } else if context.words() > 1 && is_option(context.word(1), "version") {
        words.next();
    }
    for word in words {
        match integer::parse(word) {
            Some(number) => numbers.push(number),
            None => return Err(NOT_AN_INTEGER),
        }
    }
    let size = |at: usize, default: i64, largest: i64| numbers.get(at).copied().unwrap_or(default).clamp(1, largest);
    let (columns, lines) = (size(0, DRAWING.0, LARGEST_DRAWING.0), size(1, DRAWING.1, LARGEST_DRAWING.1));
    let mut text = braid(columns as usize, lines as usize, &mut context.session.random);
    writeln!(
        text,
        "\nThree replicas, written to on their own, that come together again. Redis ver. {REDIS_VERSION}, swytch ver. {}",
        env!("CARGO_PKG_VERSION")
    )
    .expect("a string takes everything");
    context.reply.verbatim(*b"txt", text.as_bytes());
    Ok(Flow::Continue)
}

/// Three lines that leave a common point, wander, and meet at another, in dots of Braille: two across and four down in each
/// character.
fn braid(columns: usize, lines: usize, random: &mut fastrand::Rng) -> String {
    /// The bit of a dot, by column and row within its character.
    const DOTS: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
    let (width, height) = (columns * 2, lines * 4);
    let mut cells = vec![0u32; columns * lines];
    for _ in 0..3 {
        let (phase, turns) = (random.f64() * std::f64::consts::TAU, 1.0 + random.f64() * 3.0);
        for x in 0..width {
            let way = x as f64 / width.max(2) as f64;
            // No distance at both ends, the greatest in the middle.
            let apart = (way * std::f64::consts::PI).sin();
            let wave = (phase + way * turns * std::f64::consts::TAU).sin();
            let y = (height as f64 - 1.0) / 2.0 * (1.0 + apart * wave);
            let y = (y.round() as usize).min(height - 1);
            cells[y / 4 * columns + x / 2] |= DOTS[x % 2][y % 4];
        }
    }
    let character = |dots: &u32| char::from_u32(0x2800 + dots).unwrap_or(' ');
    cells.chunks(columns).map(|line| line.iter().map(character).chain(['\n']).collect::<String>()).collect()
}

#[cfg(test)]
mod tests {
    use crate::commands::Flow;
    use crate::commands::testing::Fixture;

    #[test]
    fn every_node_takes_writes_and_follows_nobody() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("role", "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"),
            ("replicaof no one", "+OK\r\n"),
            ("SLAVEOF NO ONE", "+OK\r\n"),
            ("replicaof no two", "-ERR Invalid master port\r\n"),
            ("failover", "-ERR FAILOVER requires connected replicas.\r\n"),
            ("failover abort", "-ERR No failover in progress.\r\n"),
            ("failover to a", "-ERR syntax error\r\n"),
            ("failover abort force", "-ERR syntax error\r\n"),
        ]);
        assert!(fixture.run("replicaof 127.0.0.1 6379").starts_with("-ERR a swytch node follows nobody"));
        assert!(fixture.run("psync ? -1").starts_with("-ERR PSYNC is not possible"));
        fixture.run("multi");
        fixture.expect(&[
            ("sync", "-ERR Command not allowed inside a transaction\r\n"),
            ("exec", "-EXECABORT Transaction discarded because of previous errors.\r\n"),
        ]);
    }

    #[test]
    fn the_end_is_asked_for() {
        let mut fixture = Fixture::new();
        let ending = fixture.state.supervision.ending();
        fixture.expect(&[
            ("shutdown abort", "-ERR No shutdown in progress.\r\n"),
            ("shutdown foo", "-ERR syntax error\r\n"),
            ("shutdown save nosave", "-ERR syntax error\r\n"),
            ("shutdown abort now", "-ERR syntax error\r\n"),
        ]);
        assert!(!*ending.borrow());
        assert_eq!(fixture.run_flow(&[b"shutdown", b"nosave"]), (String::new(), Flow::Close));
        assert!(*ending.borrow());
    }

    #[test]
    fn drawings() {
        let mut fixture = Fixture::new();
        let drawing = fixture.run("lolwut version 5 10 3");
        assert!(drawing.contains("Redis ver. 7.2.4"), "{drawing}");
        let lines: Vec<_> = drawing.lines().skip(1).take(3).collect();
        assert!(lines.iter().all(|line| line.chars().count() == 10), "{drawing}");
        assert!(lines.iter().any(|line| line.chars().any(|character| character != '\u{2800}')));
        fixture.expect(&[
            ("lolwut version x", "-ERR value is not an integer or out of range\r\n"),
            ("lolwut version 5 x", "-ERR value is not an integer or out of range\r\n"),
        ]);
        assert!(fixture.run("lolwut 0 99999999").len() < 5_000);
    }
}
