//! LATENCY: when something took long, and how long commands take.

use std::fmt::Write;

use super::context::{Context, Outcome, Refusal};
use super::spec::{Command, Flags, Group, Handler};
use super::table::Entry;
use super::{Flow, table, wrong_arity};
use crate::observe::{LatencyHistogram, Series};

const fn row(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::Server, name, arity, handler)
        .flags(Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::LOADING).with(Flags::STALE))
}

const fn question(name: &'static str, arity: isize, handler: Handler) -> Command {
    row(name, arity, handler).hints(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::new(Group::Server, "latency", -2, container)
    .docs("2.8.13", "Depends on subcommand.", "Tells what took long, and how long commands take")
    .subcommands(&[
        question("latest", 2, latest).docs("2.8.13", "O(1)", "Returns the latest of each kind of event"),
        question("history", 3, history).docs("2.8.13", "O(1)", "Returns the events of a kind"),
        question("graph", 3, graph).docs("2.8.13", "O(1)", "Draws the events of a kind"),
        question("doctor", 2, doctor).docs("2.8.13", "O(1)", "Says what the events mean"),
        question("histogram", -2, histogram).docs(
            "7.0.0",
            "O(N) with N commands",
            "Returns how long the calls of commands took",
        ),
        row("reset", -2, reset).hints(&["request_policy:all_nodes", "response_policy:all_succeeded"]).docs(
            "2.8.13",
            "O(1)",
            "Forgets the events of some kinds, or of all",
        ),
        Command::new(Group::Server, "help", 2, help).flags(Flags::LOADING.with(Flags::STALE)).docs(
            "2.8.13",
            "O(1)",
            "Lists the subcommands",
        ),
    ])];

/// Not reached: without a subcommand the number of arguments is wrong.
fn container(context: &mut Context<'_>) -> Outcome {
    Err(wrong_arity(context.entry))
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn latest(context: &mut Context<'_>) -> Outcome {
    let all = context.state.supervision.latency.all();
    context.reply.array(all.len());
    for (kind, series) in all {
        let last = series.samples.back();
        context.reply.array(4);
        context.reply.bulk(kind.as_bytes());
        context.reply.integer(last.map_or(0, |sample| number(sample.second)));
        context.reply.integer(last.map_or(0, |sample| number(sample.milliseconds)));
        context.reply.integer(number(series.worst));
    }
    Ok(Flow::Continue)
}

fn history(context: &mut Context<'_>) -> Outcome {
    let found = context.state.supervision.latency.get(context.word(2));
    let samples = found.map(|(_, series)| series.samples).unwrap_or_default();
    context.reply.array(samples.len());
    for sample in samples {
        context.reply.array(2);
        context.reply.integer(number(sample.second));
        context.reply.integer(number(sample.milliseconds));
    }
    Ok(Flow::Continue)
}

fn reset(context: &mut Context<'_>) -> Outcome {
    let events = &context.state.supervision.latency;
    let count = match context.words() {
        2 => events.forget_all(),
        _ => context.arguments.from(2).iter().filter(|kind| events.forget(kind)).count(),
    };
    context.reply_count(count)
}

/// Columns of a drawing; older samples are left out.
const GRAPH_COLUMNS: usize = 80;
/// Lines of a drawing.
const GRAPH_LINES: usize = 4;
/// How high a bar ends within its line, from the bottom to the top.
const BAR_TOPS: [char; 3] = ['_', 'o', '#'];

fn graph(context: &mut Context<'_>) -> Outcome {
    let Some((kind, series)) = context.state.supervision.latency.get(context.word(2)) else {
        let text: [&[u8]; 3] = [b"ERR No samples available for event '", context.word(2), b"'"];
        return Err(Refusal::Built(text.concat()));
    };
    let text = draw(kind, &series, context.now / 1000);
    context.reply.verbatim(*b"txt", text.as_bytes());
    Ok(Flow::Continue)
}

/// Bars between the least and the greatest sample, and below each how long ago it was, from top to bottom.
fn draw(kind: &str, series: &Series, now: u64) -> String {
    let (summary, skipped) = (series.summary(now), series.samples.len().saturating_sub(GRAPH_COLUMNS));
    let samples: Vec<_> = series.samples.iter().skip(skipped).collect();
    let (least, greatest) = (summary.least, summary.greatest);
    let mut out = format!(
        "{kind} - high {greatest} ms, low {least} ms (all time high {} ms)\n{}\n",
        series.worst,
        "-".repeat(GRAPH_COLUMNS)
    );
    let steps = GRAPH_LINES * BAR_TOPS.len();
    let height = |milliseconds: u64| {
        let range = (greatest - least).max(1) as f64;
        (((milliseconds - least) as f64 / range * steps as f64) as usize).min(steps - 1)
    };
    for line in (0..GRAPH_LINES).rev() {
        for sample in &samples {
            let height = height(sample.milliseconds);
            out.push(match (height / BAR_TOPS.len()).cmp(&line) {
                std::cmp::Ordering::Less => ' ',
                std::cmp::Ordering::Equal => BAR_TOPS[height % BAR_TOPS.len()],
                std::cmp::Ordering::Greater => '|',
            });
        }
        out.push('\n');
    }
    let labels: Vec<Vec<char>> =
        samples.iter().map(|sample| ago(now.saturating_sub(sample.second)).chars().collect()).collect();
    out.push_str(&" ".repeat(labels.len()));
    out.push('\n');
    for line in 0..labels.iter().map(Vec::len).max().unwrap_or(0) {
        out.extend(labels.iter().map(|label| label.get(line).copied().unwrap_or(' ')));
        out.push('\n');
    }
    out
}

/// A span of time in its largest whole unit.
fn ago(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn doctor(context: &mut Context<'_>) -> Outcome {
    let text = diagnose(context);
    context.reply.verbatim(*b"txt", text.as_bytes());
    Ok(Flow::Continue)
}

fn diagnose(context: &Context<'_>) -> String {
    let supervision = &context.state.supervision;
    let Some(threshold) = supervision.timing.event_threshold() else {
        return "Events are not being watched. CONFIG SET latency-monitor-threshold <milliseconds> begins it.\n".into();
    };
    let all = supervision.latency.all();
    if all.is_empty() {
        return format!("Nothing has taken {threshold} ms or longer since events are watched.\n");
    }
    let mut out = format!("What took {threshold} ms or longer:\n\n");
    for (place, (kind, series)) in all.iter().enumerate() {
        let summary = series.summary(context.now / 1000);
        writeln!(
            out,
            "{}. {kind}: {} events (average {} ms, mean deviation {} ms, one in {:.2} s). The worst took {} ms.",
            place + 1,
            summary.count,
            summary.average,
            summary.deviation,
            summary.period,
            series.worst
        )
        .expect("a string takes everything");
    }
    out.push_str("\nWhat can be done:\n\n");
    let has = |kind: &str| all.iter().any(|(known, _)| *known == kind);
    if has("command") {
        out.push_str("- SLOWLOG GET shows which commands took long. Commands that walk through large values, or through all keys, hold up the\n");
        out.push_str(
            "  clients of their thread, and whoever needs the same keys. SCAN and its kin do the same in steps.\n",
        );
    }
    if has("fast-command") {
        out.push_str("- Commands that take no time did: the machine was busy with something else, memory was swapped out, or another command\n");
        out.push_str("  held the locks of their keys. Look at SLOWLOG GET, and at the machine.\n");
    }
    if has("expire-cycle") {
        out.push_str("- Many keys ended at once. Let their deadlines differ.\n");
    }
    out
}

fn histogram(context: &mut Context<'_>) -> Outcome {
    let all = context.state.stats.latencies();
    let with_subcommands = |entry: &'static Entry| std::iter::once(entry).chain(&entry.subcommands);
    let asked: Vec<&'static Entry> = match context.words() {
        2 => table().entries().iter().flat_map(with_subcommands).collect(),
        _ => {
            let named = context.arguments.from(2);
            let found: Vec<_> = named.iter().filter_map(|name| table().find_full(name)).collect();
            found.into_iter().flat_map(with_subcommands).collect()
        }
    };
    let found: Vec<(&Entry, &LatencyHistogram)> =
        asked.into_iter().filter_map(|entry| Some((entry, all.get(&entry.id)?))).collect();
    let reply = &mut *context.reply;
    reply.map(found.len());
    for (entry, histogram) in found {
        reply.bulk(entry.full_name.as_bytes());
        reply.map(2);
        reply.bulk(b"calls");
        reply.integer(number(histogram.count()));
        reply.bulk(b"histogram_usec");
        let bounds = histogram.cumulative();
        reply.map(bounds.len());
        for (microseconds, count) in bounds {
            reply.integer(number(microseconds));
            reply.integer(number(count));
        }
    }
    Ok(Flow::Continue)
}

fn help(context: &mut Context<'_>) -> Outcome {
    context.reply_help(&[
        "DOCTOR",
        "    Say what the events mean.",
        "GRAPH <event>",
        "    Draw the events of a kind.",
        "HISTOGRAM [<command> ...]",
        "    Return how long the calls of some commands took, or of all.",
        "HISTORY <event>",
        "    Return the events of a kind: time and milliseconds.",
        "LATEST",
        "    Return the latest of each kind of event: time, milliseconds, and the worst ever.",
        "RESET [<event> ...]",
        "    Forget the events of some kinds, or of all.",
    ])
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use crate::commands::testing::Fixture;

    thread_local! {
        static TIME: Cell<u64> = const { Cell::new(0) };
        static STEP: Cell<u64> = const { Cell::new(0) };
    }

    /// A node at which every look at the clock finds it so many nanoseconds later.
    fn with_steps(nanoseconds: u64) -> Fixture {
        let mut fixture = Fixture::new();
        STEP.set(nanoseconds);
        fixture.state.facts.stopwatch = Some(|| {
            TIME.set(TIME.get() + STEP.get());
            TIME.get()
        });
        fixture
    }

    #[test]
    fn what_is_slow_is_kept() {
        let mut fixture = with_steps(20_000_000);
        fixture.expect(&[
            ("slowlog len", ":0\r\n"),
            ("client setname me", "+OK\r\n"),
            ("lrange k 0 -1", "*0\r\n"),
            ("get k", "$-1\r\n"),
            ("lrange k", "-ERR wrong number of arguments for 'lrange' command\r\n"),
            ("slowlog len", ":1\r\n"),
            (
                "slowlog get",
                "*1\r\n*6\r\n:0\r\n:1700000000\r\n:20000\r\n*4\r\n$6\r\nlrange\r\n$1\r\nk\r\n$1\r\n0\r\n$2\r\n-1\r\n\
                 $14\r\n127.0.0.1:5000\r\n$2\r\nme\r\n",
            ),
            ("config set slowlog-log-slower-than 20001", "+OK\r\n"),
            ("slowlog reset", "+OK\r\n"),
            ("lrange k 0 -1", "*0\r\n"),
            ("slowlog len", ":0\r\n"),
            ("config set slowlog-log-slower-than -1", "+OK\r\n"),
            ("lrange k 0 -1", "*0\r\n"),
            ("slowlog len", ":0\r\n"),
        ]);
    }

    #[test]
    fn below_a_millisecond_every_command_is_looked_at() {
        let mut fixture = with_steps(0);
        fixture.expect(&[
            ("config set slowlog-log-slower-than 0", "+OK\r\n"),
            ("slowlog reset", "+OK\r\n"),
            ("multi", "+OK\r\n"),
            ("get k", "+QUEUED\r\n"),
            ("exec", "*1\r\n$-1\r\n"),
            ("auth me secret", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"),
            ("config set requirepass \"\"", "+OK\r\n"),
        ]);
        let words: Vec<String> = (fixture.state.supervision.slow_log.latest(9).iter().rev())
            .map(|entry| entry.words.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" "))
            .collect();
        let secret = "(redacted)";
        assert_eq!(
            words,
            [
                "slowlog reset",
                "multi",
                "get k",
                &format!("auth {secret} {secret}"),
                &format!("config set requirepass {secret}")
            ]
        );
    }

    #[test]
    fn a_batch_that_takes_long_is_looked_at() {
        let mut fixture = with_steps(0);
        let arguments = crate::resp::Arguments::new(b"getk", &[0..3, 3..4]);
        let note = |fixture: &mut Fixture, only| {
            crate::commands::note_batch(&fixture.state, &mut fixture.session, 30_000_000, only, fixture.now);
        };
        fixture.run("get k");
        note(&mut fixture, Some(&arguments));
        let log = fixture.state.supervision.slow_log.latest(9);
        assert_eq!((log.len(), log[0].microseconds, &log[0].words[0][..]), (1, 30_000, &b"get"[..]));
        fixture.run("get k");
        fixture.run("get k");
        note(&mut fixture, None);
        assert_eq!(fixture.state.supervision.slow_log.len(), 1, "it is not known which one it was");
        STEP.set(20_000_000);
        fixture.run("get k");
        assert_eq!(fixture.state.supervision.slow_log.len(), 2, "but from now on it would be");
    }

    #[test]
    fn events_are_shown() {
        let mut fixture = with_steps(20_000_000);
        fixture.expect(&[
            ("lrange k 0 -1", "*0\r\n"),
            ("latency latest", "*0\r\n"),
            ("config set latency-monitor-threshold 20", "+OK\r\n"),
            ("latency reset", ":1\r\n"),
            ("lrange k 0 -1", "*0\r\n"),
        ]);
        fixture.now += 2_000;
        STEP.set(35_000_000);
        fixture.run("lrange k 0 -1");
        STEP.set(0);
        fixture.now += 60_000;
        fixture.expect(&[
            ("latency latest", "*1\r\n*4\r\n$7\r\ncommand\r\n:1700000002\r\n:35\r\n:35\r\n"),
            ("latency history COMMAND", "*2\r\n*2\r\n:1700000000\r\n:20\r\n*2\r\n:1700000002\r\n:35\r\n"),
            ("latency history nosuch", "*0\r\n"),
            ("latency graph nosuch", "-ERR No samples available for event 'nosuch'\r\n"),
        ]);
        let drawn = fixture.run("latency graph command");
        let dashes = "-".repeat(80);
        let expected =
            format!("command - high 35 ms, low 20 ms (all time high 35 ms)\n{dashes}\n #\n |\n |\n_|\n  \n11\nmm\n");
        assert!(drawn.ends_with(&format!("{expected}\r\n")), "{drawn}");
        assert!(fixture.run("latency doctor").contains("1. command: 2 events (average 27 ms"));
        fixture.expect(&[("latency reset command nosuch", ":1\r\n"), ("latency latest", "*0\r\n")]);
    }

    #[test]
    fn histograms_of_commands() {
        let mut fixture = with_steps(3_000);
        for _ in 0..64 {
            fixture.run("get k");
        }
        fixture.run("lrange k 0 -1");
        fixture.expect(&[
            (
                "latency histogram lrange nosuch",
                "*2\r\n$6\r\nlrange\r\n*4\r\n$5\r\ncalls\r\n:1\r\n$14\r\nhistogram_usec\r\n*2\r\n:4\r\n:1\r\n",
            ),
            (
                "latency histogram get",
                "*2\r\n$3\r\nget\r\n*4\r\n$5\r\ncalls\r\n:64\r\n$14\r\nhistogram_usec\r\n*2\r\n:4\r\n:64\r\n",
            ),
            ("config set latency-tracking no", "+OK\r\n"),
            ("config resetstat", "+OK\r\n"),
            ("lrange k 0 -1", "*0\r\n"),
            ("latency histogram", "*0\r\n"),
        ]);
    }
}
