//! SAVE, BGSAVE, LASTSAVE: the data in a file.

use super::Flow;
use super::context::{Context, Outcome, Refusal, SYNTAX, is_option};
use super::spec::{Categories, Command, Flags, Group, Handler};
use crate::persistence::Refused;

const FOR_OPERATORS: Flags = Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::NO_ASYNC_LOADING);

const fn row(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::Server, name, arity, handler)
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    row("save", 1, save).flags(FOR_OPERATORS.with(Flags::NO_MULTI)).docs(
        "1.0.0",
        "O(N) with N keys in all databases",
        "Saves all data to the file, and answers when it is there",
    ),
    row("bgsave", -1, bgsave).flags(FOR_OPERATORS).docs("1.0.0", "O(1)", "Begins to save all data to the file"),
    row("lastsave", 1, lastsave)
        .flags(Flags::LOADING.with(Flags::STALE).with(Flags::FAST))
        .categories(Categories::ADMIN.with(Categories::DANGEROUS))
        .hints(&["nondeterministic_output"])
        .docs("1.0.0", "O(1)", "Returns when data was last saved"),
];

const BUSY: Refusal = Refusal::Fixed("ERR Background save already in progress");

/// Begins a save. Returns how many had ended by then.
pub(super) fn begin(context: &Context<'_>) -> Result<u64, Refusal> {
    let state = context.state;
    state.persistence.begin(&state.keyspace, context.now, state.use_hint()).map_err(|refused| match refused {
        Refused::Busy => BUSY,
        Refused::Loading => super::loading(state),
    })
}

/// Nobody else waits for it, unlike in Redis; only the connection does.
fn save(context: &mut Context<'_>) -> Outcome {
    Ok(Flow::Save { ended: begin(context)? })
}

fn bgsave(context: &mut Context<'_>) -> Outcome {
    // SCHEDULE waits for the rewriting of an append-only file in Redis; there is none here.
    let is_known = context.words() == 1 || (context.words() == 2 && is_option(context.word(1), "schedule"));
    if !is_known {
        return Err(SYNTAX);
    }
    if context.in_exec() {
        // The others of the transaction are not done yet.
        context.state.persistence.begin_soon();
        context.reply.simple("Background saving scheduled");
        return Ok(Flow::Continue);
    }
    begin(context)?;
    context.reply.simple("Background saving started");
    Ok(Flow::Continue)
}

fn lastsave(context: &mut Context<'_>) -> Outcome {
    let seconds = context.state.persistence.report().last_save / 1000;
    context.reply_integer(i64::try_from(seconds).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    #[test]
    fn what_is_no_save() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("bgsave x", "-ERR syntax error\r\n"),
            ("bgsave schedule x", "-ERR syntax error\r\n"),
            ("lastsave", ":1700000000\r\n"),
            ("multi", "+OK\r\n"),
            ("bgsave", "+QUEUED\r\n"),
            ("exec", "*1\r\n+Background saving scheduled\r\n"),
            ("multi", "+OK\r\n"),
            ("save", "-ERR Command not allowed inside a transaction\r\n"),
            ("exec", "-EXECABORT Transaction discarded because of previous errors.\r\n"),
            (
                "config set save 900",
                "-ERR CONFIG SET failed (possibly related to argument 'save') - Invalid save parameters\r\n",
            ),
            (
                "config set dir /tmp",
                "-ERR CONFIG SET failed (possibly related to argument 'dir') - can't set protected config\r\n",
            ),
        ]);
        fixture.run_words(&[b"config", b"set", b"save", b"900 1 300 10"]);
        fixture.expect(&[("config get save", "*2\r\n$4\r\nsave\r\n$12\r\n900 1 300 10\r\n")]);
        fixture.run("set k v");
        let text = fixture.run("info persistence");
        for line in ["\r\nrdb_changes_since_last_save:1\r\n", "\r\nrdb_bgsave_in_progress:0\r\n", "\r\nrdb_saves:0\r\n"]
        {
            assert!(text.contains(line), "{line:?} in {text}");
        }
    }
}
