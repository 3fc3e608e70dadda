//! Times to live.

use super::context::{Context, Outcome, Refusal, Since, Unit, absolute_time, invalid_expire_time, is_option, shown};
use super::spec::{Access, Categories, Command, Coordination, Flags, Group, Handler, KeySpec};
use crate::keyspace::{EventClasses, Millis};

const CHANGE: &[KeySpec] = &[KeySpec::one(1, Access::READ_WRITE.with(Access::UPDATE))];
const READ: &[KeySpec] = &[KeySpec::one(1, Access::READ.with(Access::ACCESS))];

const fn write(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::Generic, name, arity, handler)
        .flags(Flags::WRITE.with(Flags::FAST))
        .categories(Categories::KEYSPACE)
        .keys(CHANGE)
        .coordination(Coordination::Commutes)
}

const fn read(name: &'static str, handler: Handler) -> Command {
    Command::new(Group::Generic, name, 2, handler)
        .flags(Flags::READONLY.with(Flags::FAST))
        .categories(Categories::KEYSPACE)
        .keys(READ)
}

const CHANGES_BY_ITSELF: &[&str] = &["nondeterministic_output"];

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    write("expire", -3, expire).docs("1.0.0", "O(1)", "Lets a key live for some seconds"),
    write("pexpire", -3, pexpire).docs("2.6.0", "O(1)", "Lets a key live for some milliseconds"),
    write("expireat", -3, expireat).docs("1.2.0", "O(1)", "Lets a key live until a second"),
    write("pexpireat", -3, pexpireat).docs("2.6.0", "O(1)", "Lets a key live until a millisecond"),
    write("persist", 2, persist).docs("2.2.0", "O(1)", "Lets a key live for ever"),
    read("ttl", ttl).hints(CHANGES_BY_ITSELF).docs("1.0.0", "O(1)", "Returns for how many seconds a key lives"),
    read("pttl", pttl).hints(CHANGES_BY_ITSELF).docs("2.6.0", "O(1)", "Returns for how many milliseconds a key lives"),
    read("expiretime", expiretime).docs("7.0.0", "O(1)", "Returns until which second a key lives"),
    read("pexpiretime", pexpiretime).docs("7.0.0", "O(1)", "Returns until which millisecond a key lives"),
];

fn expire(context: &mut Context<'_>) -> Outcome {
    set_deadline(context, Unit::Seconds, Since::Now)
}

fn pexpire(context: &mut Context<'_>) -> Outcome {
    set_deadline(context, Unit::Milliseconds, Since::Now)
}

fn expireat(context: &mut Context<'_>) -> Outcome {
    set_deadline(context, Unit::Seconds, Since::Epoch)
}

fn pexpireat(context: &mut Context<'_>) -> Outcome {
    set_deadline(context, Unit::Milliseconds, Since::Epoch)
}

/// Under which conditions a deadline is changed.
#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    if_none: bool,
    if_any: bool,
    if_later: bool,
    if_earlier: bool,
}

impl Conditions {
    fn parse(context: &Context<'_>) -> Result<Conditions, Refusal> {
        let mut conditions = Conditions::default();
        for word in context.arguments.from(3).iter() {
            if is_option(word, "nx") {
                conditions.if_none = true;
            } else if is_option(word, "xx") {
                conditions.if_any = true;
            } else if is_option(word, "gt") {
                conditions.if_later = true;
            } else if is_option(word, "lt") {
                conditions.if_earlier = true;
            } else {
                return Err(Refusal::Built([b"ERR Unsupported option ", shown(word)].concat()));
            }
        }
        let Conditions { if_none, if_any, if_later, if_earlier } = conditions;
        if if_none && (if_any || if_later || if_earlier) {
            let text = "ERR NX and XX, GT or LT options at the same time are not compatible";
            return Err(Refusal::Fixed(text));
        }
        if if_later && if_earlier {
            return Err(Refusal::Fixed("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    /// Is the key's deadline to become `new`? A key without one counts as living longest.
    fn allow(self, current: Option<Millis>, new: i64) -> bool {
        let order = |current: Millis| i128::from(new).cmp(&i128::from(current));
        let (later, earlier) = match current {
            None => (false, true),
            Some(current) => (order(current).is_gt(), order(current).is_lt()),
        };
        !(self.if_none && current.is_some()
            || self.if_any && current.is_none()
            || self.if_later && !later
            || self.if_earlier && !earlier)
    }
}

fn set_deadline(context: &mut Context<'_>, unit: Unit, since: Since) -> Outcome {
    let conditions = Conditions::parse(context)?;
    let value = context.integer(2)?;
    let deadline = absolute_time(value, unit, since, context.now).ok_or_else(|| invalid_expire_time(context))?;
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let Some(current) = transaction.deadline(key) else { return context.reply_integer(0) };
    if !conditions.allow(current, deadline) {
        return context.reply_integer(0);
    }
    match u64::try_from(deadline) {
        Ok(deadline) if deadline > context.now => {
            transaction.set_deadline(key, Some(deadline));
            transaction.announce(EventClasses::GENERIC, "expire", key);
        }
        // Its time is over already.
        _ => {
            transaction.remove(key);
            transaction.announce(EventClasses::GENERIC, "del", key);
        }
    }
    context.commit(transaction);
    context.reply_integer(1)
}

fn persist(context: &mut Context<'_>) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let had_deadline = transaction.deadline(key).flatten().is_some();
    if had_deadline {
        transaction.set_deadline(key, None);
        transaction.announce(EventClasses::GENERIC, "persist", key);
        context.commit(transaction);
    }
    context.reply_flag(had_deadline)
}

fn ttl(context: &mut Context<'_>) -> Outcome {
    reply_deadline(context, |deadline, now| (deadline - now + 500) / 1000)
}

fn pttl(context: &mut Context<'_>) -> Outcome {
    reply_deadline(context, |deadline, now| deadline - now)
}

fn expiretime(context: &mut Context<'_>) -> Outcome {
    reply_deadline(context, |deadline, _| deadline.saturating_add(500) / 1000)
}

fn pexpiretime(context: &mut Context<'_>) -> Outcome {
    reply_deadline(context, |deadline, _| deadline)
}

/// Replies with a number made from the deadline, which is after now; -1 without one, -2 without a key.
fn reply_deadline(context: &mut Context<'_>, number: fn(u64, Millis) -> u64) -> Outcome {
    let key = context.key(1);
    let deadline = context.lock(key).deadline(key);
    context.count_read(key, deadline.is_some());
    let reply = match deadline {
        None => -2,
        Some(None) => -1,
        Some(Some(deadline)) => i64::try_from(number(deadline, context.now)).unwrap_or(i64::MAX),
    };
    context.reply_integer(reply)
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    #[test]
    fn times_to_live() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("set s v", "+OK\r\n"),
            ("ttl nosuch", ":-2\r\n"),
            ("ttl s", ":-1\r\n"),
            ("pexpiretime s", ":-1\r\n"),
            ("expire s 10", ":1\r\n"),
            ("ttl s", ":10\r\n"),
            ("pttl s", ":10000\r\n"),
            ("expiretime s", ":1700000010\r\n"),
            ("pexpiretime s", ":1700000010000\r\n"),
            ("persist s", ":1\r\n"),
            ("persist s", ":0\r\n"),
            ("expire nosuch 10", ":0\r\n"),
            ("pexpireat s 9223372036854775807", ":1\r\n"),
            ("pexpiretime s", ":9223372036854775807\r\n"),
            ("expire s 10 gt", ":0\r\n"),
            ("expire s 10 lt", ":1\r\n"),
        ]);
        fixture.now += 9_999;
        fixture.expect(&[("ttl s", ":0\r\n"), ("pttl s", ":1\r\n")]);
        fixture.now += 1;
        fixture.expect(&[("ttl s", ":-2\r\n"), ("get s", "$-1\r\n"), ("keys *", "*0\r\n")]);
    }

    #[test]
    fn conditions() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("set s v", "+OK\r\n"),
            ("expire s 10 gt", ":0\r\n"),
            ("expire s 10 xx", ":0\r\n"),
            ("expire s 10 nx", ":1\r\n"),
            ("expire s 10 nx", ":0\r\n"),
            ("expire s 10 gt", ":0\r\n"),
            ("expire s 11 GT xx", ":1\r\n"),
            ("expire s 12 lt", ":0\r\n"),
            ("expire s 5 lt", ":1\r\n"),
            ("ttl s", ":5\r\n"),
            ("expire s -1", ":1\r\n"),
            ("exists s", ":0\r\n"),
            ("set s v", "+OK\r\n"),
            ("expire s -1 lt", ":1\r\n"),
            ("exists s", ":0\r\n"),
        ]);
    }

    #[test]
    fn refusals() {
        let mut fixture = Fixture::new();
        assert_eq!(fixture.run_words(&[b"expire", b"s", b"1", b"a\nb\r\n"]), "-ERR Unsupported option a b\r\n");
        assert_eq!(fixture.run_words(&[b"expire", b"s", b"1", b"a\0b"]), "-ERR Unsupported option a\r\n");
        let nx = "-ERR NX and XX, GT or LT options at the same time are not compatible\r\n";
        fixture.expect(&[
            ("set s v", "+OK\r\n"),
            ("expire s abc", "-ERR value is not an integer or out of range\r\n"),
            ("expire s 9223372036854775807", "-ERR invalid expire time in 'expire' command\r\n"),
            ("expire s -9223372036854775807", "-ERR invalid expire time in 'expire' command\r\n"),
            ("pexpire s 9223372036854775807", "-ERR invalid expire time in 'pexpire' command\r\n"),
            ("expire s 10 nx xx", nx),
            ("expire s 10 nx gt", nx),
            ("expire s 10 gt lt", "-ERR GT and LT options at the same time are not compatible\r\n"),
            ("expire s 10 foo", "-ERR Unsupported option foo\r\n"),
            ("ttl s", ":-1\r\n"),
        ]);
    }
}
