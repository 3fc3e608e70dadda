//! Times to live of the fields of hashes.

use super::context::{
    Context, Outcome, Refusal, Since, Unit, absolute_time, invalid_expire_time, is_option, shown, time_option,
};
use super::spec::{Access, Categories, Command, Coordination, Flags, Group, Handler, KeySpec};
use super::{Flow, wrong_arity};
use crate::keyspace::{EventClasses, Key, Life, Millis, Transaction, integer};

const READ: &[KeySpec] = &[KeySpec::one(1, Access::READ.with(Access::ACCESS))];
const UPDATE: &[KeySpec] = &[KeySpec::one(1, Access::READ_WRITE.with(Access::UPDATE))];
const TOUCH: &[KeySpec] = &[KeySpec::one(1, Access::READ_WRITE.with(Access::ACCESS).with(Access::UPDATE))];
const TAKE: &[KeySpec] = &[KeySpec::one(1, Access::READ_WRITE.with(Access::ACCESS).with(Access::DELETE))];

const CHANGES_BY_ITSELF: &[&str] = &["nondeterministic_output"];
const PER_FIELD: &str = "O(N) with N fields in the request";

const fn read(name: &'static str, handler: Handler) -> Command {
    Command::new(Group::Hash, name, -5, handler)
        .flags(Flags::READONLY.with(Flags::FAST))
        .categories(Categories::HASH)
        .keys(READ)
}

const fn write(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::Hash, name, arity, handler)
        .flags(Flags::WRITE.with(Flags::FAST))
        .categories(Categories::HASH)
        .keys(UPDATE)
        .coordination(Coordination::Commutes)
}

const fn grow(name: &'static str, handler: Handler) -> Command {
    write(name, -6, handler).flags(Flags::DENYOOM)
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    grow("hexpire", hexpire).docs("7.4.0", PER_FIELD, "Lets fields live for some seconds"),
    grow("hpexpire", hpexpire).docs("7.4.0", PER_FIELD, "Lets fields live for some milliseconds"),
    grow("hexpireat", hexpireat).docs("7.4.0", PER_FIELD, "Lets fields live until a second"),
    grow("hpexpireat", hpexpireat).docs("7.4.0", PER_FIELD, "Lets fields live until a millisecond"),
    write("hpersist", -5, hpersist).docs("7.4.0", PER_FIELD, "Lets fields live for ever"),
    read("httl", httl).hints(CHANGES_BY_ITSELF).docs("7.4.0", PER_FIELD, "Returns for how many seconds fields live"),
    read("hpttl", hpttl).hints(CHANGES_BY_ITSELF).docs(
        "7.4.0",
        PER_FIELD,
        "Returns for how many milliseconds fields live",
    ),
    read("hexpiretime", hexpiretime).docs("7.4.0", PER_FIELD, "Returns until which second fields live"),
    read("hpexpiretime", hpexpiretime).docs("7.4.0", PER_FIELD, "Returns until which millisecond fields live"),
    write("hgetdel", -5, hgetdel).keys(TAKE).coordination(Coordination::Decides).docs(
        "8.0.0",
        PER_FIELD,
        "Returns the values of fields and deletes them",
    ),
    write("hgetex", -5, hgetex).keys(TOUCH).docs(
        "8.0.0",
        PER_FIELD,
        "Returns the values of fields and changes how long they live",
    ),
    grow("hsetex", hsetex).coordination(Coordination::DecidesWith(&["fnx", "fxx"])).docs(
        "8.0.0",
        PER_FIELD,
        "Sets fields and how long they live",
    ),
];

/// Redis takes no time from here on: it keeps the upper bits of its 48 for itself.
const LATEST: u64 = (1 << 46) - 1;

const NOT_A_NUMBER_OF_FIELDS: Refusal = Refusal::Fixed("ERR Number of fields must be a positive integer");

/// What the commands reply of a field that is not there.
const NO_FIELD: i64 = -2;
/// And of one that lives for ever.
const NO_DEADLINE: i64 = -1;

/// The point in time that an argument means.
fn deadline(context: &Context<'_>, at: usize, unit: Unit, since: Since) -> Result<Millis, Refusal> {
    let value = context.integer(at)?;
    if value < 0 {
        return Err(Refusal::Fixed("ERR invalid expire time, must be >= 0"));
    }
    let time = absolute_time(value, unit, since, context.now).and_then(|time| u64::try_from(time).ok());
    time.filter(|&time| time <= LATEST).ok_or_else(|| invalid_expire_time(context))
}

/// A number of fields, if it is one.
fn number_of_fields(context: &Context<'_>, at: usize) -> Option<usize> {
    let number = context.arguments.get(at).and_then(integer::parse)?;
    usize::try_from(number).ok().filter(|&number| number > 0)
}

/// Checks `FIELDS numfields field …` from a word on, to the end. Returns where the fields begin.
fn fields(context: &Context<'_>, at: usize, refusal: Refusal) -> Result<usize, Refusal> {
    if !context.arguments.get(at).is_some_and(|word| is_option(word, "fields")) {
        let text = "ERR Mandatory argument FIELDS is missing or not at the right position";
        return Err(Refusal::Fixed(text));
    }
    if context.words() == at + 1 {
        return Err(wrong_arity(context.entry));
    }
    let number = number_of_fields(context, at + 1).ok_or(refusal)?;
    if number != context.words() - at - 2 {
        return Err(Refusal::Fixed("ERR The `numfields` parameter must match the number of arguments"));
    }
    Ok(at + 2)
}

/// Under which condition a deadline is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Always,
    IfNone,
    IfAny,
    IfLater,
    IfEarlier,
}

impl Condition {
    fn parse(word: &[u8]) -> Option<Condition> {
        let known = [
            ("nx", Condition::IfNone),
            ("xx", Condition::IfAny),
            ("gt", Condition::IfLater),
            ("lt", Condition::IfEarlier),
        ];
        known.into_iter().find(|option| is_option(word, option.0)).map(|option| option.1)
    }

    /// Is a field's deadline to become `new`? A field without one counts as living longest.
    fn allows(self, current: Option<Millis>, new: Millis) -> bool {
        match self {
            Condition::Always => true,
            Condition::IfNone => current.is_none(),
            Condition::IfAny => current.is_some(),
            Condition::IfLater => current.is_some_and(|current| new > current),
            Condition::IfEarlier => current.is_none_or(|current| new < current),
        }
    }
}

/// What a command has done to fields, in the order in which that is announced.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    set: bool,
    limited: bool,
    freed: bool,
    removed: bool,
}

impl Done {
    fn announce(self, transaction: &mut Transaction<'_>, key: Key<'_>) {
        for (happened, name) in [(self.set, "hset"), (self.limited, "hexpire"), (self.freed, "hpersist")] {
            if happened {
                transaction.announce(EventClasses::HASH, name, key);
            }
        }
        if self.removed {
            transaction.announce_taken(EventClasses::HASH, "hdel", key);
        }
    }
}

fn hexpire(context: &mut Context<'_>) -> Outcome {
    set_deadlines(context, Unit::Seconds, Since::Now)
}

fn hpexpire(context: &mut Context<'_>) -> Outcome {
    set_deadlines(context, Unit::Milliseconds, Since::Now)
}

fn hexpireat(context: &mut Context<'_>) -> Outcome {
    set_deadlines(context, Unit::Seconds, Since::Epoch)
}

fn hpexpireat(context: &mut Context<'_>) -> Outcome {
    set_deadlines(context, Unit::Milliseconds, Since::Epoch)
}

fn set_deadlines(context: &mut Context<'_>, unit: Unit, since: Since) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    transaction.hash(key)?;
    let deadline = deadline(context, 2, unit, since)?;
    let condition = Condition::parse(context.word(3));
    let at = if condition.is_some() { 4 } else { 3 };
    let first = fields(context, at, Refusal::Fixed("ERR Parameter `numFields` should be greater than 0"))?;
    context.reply.array(context.words() - first);
    let mut done = Done::default();
    for field in context.arguments.from(first).iter() {
        let reply = match deadline_of(&mut transaction, key, field)? {
            None => NO_FIELD,
            Some(current) if !condition.unwrap_or(Condition::Always).allows(current, deadline) => 0,
            // Its time is over already.
            Some(_) if deadline <= context.now => {
                done.removed |= transaction.hash_remove(key, field)?;
                2
            }
            Some(_) => {
                done.limited |= transaction.hash_set_deadline(key, field, Some(deadline))?;
                1
            }
        };
        context.reply.integer(reply);
    }
    done.announce(&mut transaction, key);
    context.commit(transaction);
    Ok(Flow::Continue)
}

/// Until when a field lives: `None` without such a field, `Some(None)` for ever.
fn deadline_of(
    transaction: &mut Transaction<'_>,
    key: Key<'_>,
    field: &[u8],
) -> Result<Option<Option<Millis>>, Refusal> {
    Ok(transaction.hash(key)?.and_then(|hash| hash.deadline(field)))
}

fn hpersist(context: &mut Context<'_>) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    transaction.hash(key)?;
    let first = fields(context, 2, NOT_A_NUMBER_OF_FIELDS)?;
    context.reply.array(context.words() - first);
    let mut done = Done::default();
    for field in context.arguments.from(first).iter() {
        let reply = match deadline_of(&mut transaction, key, field)? {
            None => NO_FIELD,
            Some(None) => NO_DEADLINE,
            Some(Some(_)) => {
                done.freed |= transaction.hash_set_deadline(key, field, None)?;
                1
            }
        };
        context.reply.integer(reply);
    }
    done.announce(&mut transaction, key);
    context.commit(transaction);
    Ok(Flow::Continue)
}

fn httl(context: &mut Context<'_>) -> Outcome {
    reply_deadlines(context, |deadline, now| (deadline - now).div_ceil(1000))
}

fn hpttl(context: &mut Context<'_>) -> Outcome {
    reply_deadlines(context, |deadline, now| deadline - now)
}

fn hexpiretime(context: &mut Context<'_>) -> Outcome {
    reply_deadlines(context, |deadline, _| deadline.div_ceil(1000))
}

fn hpexpiretime(context: &mut Context<'_>) -> Outcome {
    reply_deadlines(context, |deadline, _| deadline)
}

/// Replies for each field with a number made from its deadline, which is after now.
fn reply_deadlines(context: &mut Context<'_>, number: fn(Millis, Millis) -> u64) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let hash = transaction.hash(key)?;
    let first = fields(context, 2, NOT_A_NUMBER_OF_FIELDS)?;
    context.count_read(key, hash.is_some());
    context.reply.array(context.words() - first);
    for field in context.arguments.from(first).iter() {
        context.reply.integer(match hash.and_then(|hash| hash.deadline(field)) {
            None => NO_FIELD,
            Some(None) => NO_DEADLINE,
            Some(Some(deadline)) => i64::try_from(number(deadline, context.now)).unwrap_or(i64::MAX),
        });
    }
    Ok(Flow::Continue)
}

fn hgetdel(context: &mut Context<'_>) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    transaction.hash(key)?;
    let first = fields(context, 2, NOT_A_NUMBER_OF_FIELDS)?;
    context.reply.array(context.words() - first);
    let mut done = Done::default();
    for field in context.arguments.from(first).iter() {
        let value = transaction.hash(key)?.and_then(|hash| hash.get(field));
        context.reply.bulk_or_null(value.as_deref());
        done.removed |= transaction.hash_remove(key, field)?;
    }
    done.announce(&mut transaction, key);
    context.commit(transaction);
    Ok(Flow::Continue)
}

fn hgetex(context: &mut Context<'_>) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    transaction.hash(key)?;
    let (life, at) = match context.word(2) {
        word if is_option(word, "persist") => (Some(Life::Forever), 3),
        word => match time_option(word) {
            Some((unit, since)) => (Some(Life::Until(deadline(context, 3, unit, since)?)), 4),
            None => (None, 2),
        },
    };
    let first = fields(context, at, NOT_A_NUMBER_OF_FIELDS)?;
    context.reply.array(context.words() - first);
    let mut done = Done::default();
    for field in context.arguments.from(first).iter() {
        let hash = transaction.hash(key)?;
        let current = hash.and_then(|hash| hash.deadline(field));
        context.reply.bulk_or_null(hash.and_then(|hash| hash.get(field)).as_deref());
        match (life, current) {
            (Some(Life::Until(deadline)), Some(_)) if deadline <= context.now => {
                done.removed |= transaction.hash_remove(key, field)?;
            }
            (Some(Life::Until(deadline)), Some(_)) => {
                done.limited |= transaction.hash_set_deadline(key, field, Some(deadline))?;
            }
            (Some(Life::Forever), Some(Some(_))) => {
                done.freed |= transaction.hash_set_deadline(key, field, None)?;
            }
            _ => {}
        }
    }
    done.announce(&mut transaction, key);
    context.commit(transaction);
    Ok(Flow::Continue)
}

/// What HSETEX is asked for.
#[derive(Clone, Copy, Debug)]
struct Setting {
    /// The fields have to be there, or have to be absent.
    if_there: Option<bool>,
    life: Option<Life>,
    /// Where the fields with their values begin.
    first: usize,
}

impl Setting {
    fn parse(context: &Context<'_>) -> Result<Setting, Refusal> {
        let (mut if_there, mut life) = (None, None);
        let mut at = 2;
        while let Some(word) = context.arguments.get(at) {
            if is_option(word, "fields") {
                let refusal = Refusal::Fixed("ERR invalid number of fields");
                let number = number_of_fields(context, at + 1);
                if context.words() < at + 4 {
                    break;
                }
                let number = number.filter(|&number| i32::try_from(number).is_ok()).ok_or(refusal)?;
                if context.words() - at - 2 != 2 * number {
                    break;
                }
                return Ok(Setting { if_there, life, first: at + 2 });
            }
            let time = time_option(word);
            if time.is_some() || is_option(word, "keepttl") {
                if life.is_some() {
                    let text = "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified";
                    return Err(Refusal::Fixed(text));
                }
                life = Some(match time {
                    None => Life::Keep,
                    Some(_) if at + 1 == context.words() => return Err(Refusal::Fixed("ERR missing expire time")),
                    Some((unit, since)) => {
                        at += 1;
                        Life::Until(deadline(context, at, unit, since)?)
                    }
                });
            } else if is_option(word, "fnx") || is_option(word, "fxx") {
                if if_there.is_some() {
                    return Err(Refusal::Fixed("ERR Only one of FXX or FNX arguments can be specified"));
                }
                if_there = Some(is_option(word, "fxx"));
            } else {
                return Err(Refusal::Built([b"ERR unknown argument: ", shown(word)].concat()));
            }
            at += 1;
        }
        Err(wrong_arity(context.entry))
    }
}

fn hsetex(context: &mut Context<'_>) -> Outcome {
    let Setting { if_there, life, first } = Setting::parse(context)?;
    let life = life.unwrap_or(Life::Forever);
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let hash = transaction.hash(key)?;
    let words = || (first..context.words()).step_by(2);
    if let Some(wanted) = if_there {
        let is_there = |at: usize| hash.is_some_and(|hash| hash.get(context.word(at)).is_some());
        if words().any(|at| is_there(at) != wanted) {
            return context.reply_integer(0);
        }
    }
    let mut done = Done::default();
    for at in words() {
        let (field, value) = (context.word(at), context.word(at + 1));
        match life {
            // Its time is over before it begins.
            Life::Until(deadline) if deadline <= context.now => {
                done.removed |= transaction.hash_remove(key, field)?;
            }
            life => {
                transaction.hash_set_with_life(key, field, value, life)?;
                done.set = true;
                done.limited |= matches!(life, Life::Until(_));
            }
        }
    }
    done.announce(&mut transaction, key);
    context.commit(transaction);
    context.reply_integer(1)
}

#[cfg(test)]
mod tests;
