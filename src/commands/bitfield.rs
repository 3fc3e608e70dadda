//! BITFIELD: numbers of any width at any place in a string.

use super::Flow;
use super::bitmaps::{bit_offset, checked_bit_offset};
use super::context::{Context, NOT_AN_INTEGER, Outcome, Refusal, SYNTAX, is_option};
use super::spec::{Access, Categories, Command, Coordination, Flags, Group, KeySpec};
use crate::effects::{BitAddition, Overflow};
use crate::keyspace::{EventClasses, Key, Transaction, WrongType, bits, integer};
use crate::resp::Reply;

const READ: &[KeySpec] = &[KeySpec::one(1, Access::READ.with(Access::ACCESS))];
const FIELDS: &[KeySpec] = &[KeySpec {
    note: "This command allows both access and modification of the key",
    ..KeySpec::one(1, Access::READ_WRITE.with(Access::ACCESS).with(Access::UPDATE).with(Access::VARIABLE))
}];
const PER_FIELD: &str = "O(1) for each field";

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new(Group::Bitmap, "bitfield", -2, bitfield)
        .flags(Flags::WRITE.with(Flags::DENYOOM))
        .categories(Categories::BITMAP)
        .coordination(Coordination::Commutes)
        .keys(FIELDS)
        .docs("3.2.0", PER_FIELD, "Reads, sets and adds to numbers of any width within a string"),
    Command::new(Group::Bitmap, "bitfield_ro", -2, bitfield_ro)
        .flags(Flags::READONLY.with(Flags::FAST))
        .categories(Categories::BITMAP)
        .keys(READ)
        .docs("6.0.0", PER_FIELD, "Reads numbers of any width within a string"),
];

/// A number's place and form.
#[derive(Clone, Copy, Debug)]
struct Field {
    offset: u64,
    width: u8,
    signed: bool,
}

/// One subcommand.
#[derive(Clone, Copy, Debug)]
enum Task {
    Get(Field),
    Set(Field, i64, Overflow),
    Add(BitAddition),
}

/// `i8`, `u63`: with or without a sign, and the number of bits.
fn parse_type(word: &[u8]) -> Result<(bool, u8), Refusal> {
    let parsed = word.split_first().and_then(|(form, digits)| {
        let (signed, most) = match form {
            b'i' => (true, 64),
            // What has no sign must fit into a reply, which has one.
            b'u' => (false, 63),
            _ => return None,
        };
        let width = integer::parse(digits).filter(|width| (1..=most).contains(width))?;
        Some((signed, width as u8))
    });
    parsed.ok_or(Refusal::Fixed(
        "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
    ))
}

fn parse_field(context: &Context<'_>, form: &[u8], place: &[u8]) -> Result<Field, Refusal> {
    let (signed, width) = parse_type(form)?;
    let offset = match place {
        // Counted in fields of that width.
        [b'#', number @ ..] => {
            let number = integer::parse(number).and_then(|number| u64::try_from(number).ok());
            checked_bit_offset(context, number.and_then(|number| number.checked_mul(u64::from(width))))?
        }
        place => bit_offset(context, place)?,
    };
    Ok(Field { offset, width, signed })
}

fn parse_overflow(word: &[u8]) -> Result<Overflow, Refusal> {
    match word {
        word if is_option(word, "wrap") => Ok(Overflow::Wrap),
        word if is_option(word, "sat") => Ok(Overflow::Saturate),
        word if is_option(word, "fail") => Ok(Overflow::Fail),
        _ => Err(Refusal::Fixed("ERR Invalid OVERFLOW type specified")),
    }
}

fn parse_tasks(context: &Context<'_>) -> Result<Vec<Task>, Refusal> {
    let mut tasks = Vec::new();
    let mut overflow = Overflow::Wrap;
    let mut words = context.arguments.from(2).iter();
    while let Some(name) = words.next() {
        let rest = words.len();
        let mut next = || words.next().ok_or(SYNTAX);
        if is_option(name, "overflow") && rest >= 1 {
            overflow = parse_overflow(next()?)?;
        } else if is_option(name, "get") && rest >= 2 {
            tasks.push(Task::Get(parse_field(context, next()?, next()?)?));
        } else if is_option(name, "set") && rest >= 3 {
            let field = parse_field(context, next()?, next()?)?;
            let value = integer::parse(next()?).ok_or(NOT_AN_INTEGER)?;
            tasks.push(Task::Set(field, value, overflow));
        } else if is_option(name, "incrby") && rest >= 3 {
            let Field { offset, width, signed } = parse_field(context, next()?, next()?)?;
            let increment = integer::parse(next()?).ok_or(NOT_AN_INTEGER)?;
            tasks.push(Task::Add(BitAddition { offset, width, signed, overflow, increment }));
        } else {
            return Err(SYNTAX);
        }
    }
    Ok(tasks)
}

fn read(transaction: &mut Transaction<'_>, key: Key<'_>, field: Field) -> Result<i64, WrongType> {
    let text = transaction.string(key)?.unwrap_or_default();
    Ok(bits::number(bits::get(text, field.offset, field.width), field.width, field.signed))
}

/// Lets the string grow to hold a field, as also a write does that fails.
fn grow(transaction: &mut Transaction<'_>, key: Key<'_>, offset: u64, width: u8) -> Result<(), WrongType> {
    let length = transaction.string(key)?.map_or(0, <[u8]>::len);
    let needed = bits::bytes_needed(offset, width).expect("the offset was checked");
    if length < needed {
        transaction.string_set_range(key, needed, b"")?;
    }
    Ok(())
}

/// Carries a subcommand out. `None`: it would overflow, and is told to fail then.
fn run(transaction: &mut Transaction<'_>, key: Key<'_>, task: Task) -> Result<Option<i64>, WrongType> {
    match task {
        Task::Get(field) => read(transaction, key, field).map(Some),
        Task::Set(field, value, overflow) => {
            let before = read(transaction, key, field)?;
            let Field { offset, width, signed } = field;
            // Without a sign a negative number is one beyond 63 bits.
            let wanted = if signed { i128::from(value) } else { i128::from(value as u64) };
            let Some(fitting) = bits::fit(wanted, width, signed, overflow) else {
                grow(transaction, key, offset, width)?;
                return Ok(None);
            };
            transaction.string_set_bits(key, offset, width, fitting)?;
            Ok(Some(before))
        }
        Task::Add(addition) => {
            let BitAddition { offset, width, signed, .. } = addition;
            let Some(sum) = bits::sum(transaction.string(key)?.unwrap_or_default(), &addition) else {
                grow(transaction, key, offset, width)?;
                return Ok(None);
            };
            transaction.string_add_bits(key, addition)?;
            Ok(Some(bits::number(sum, width, signed)))
        }
    }
}

/// The number that a subcommand may change.
fn written(transaction: &mut Transaction<'_>, key: Key<'_>, task: Task) -> Result<Option<u64>, WrongType> {
    let (offset, width) = match task {
        Task::Get(_) => return Ok(None),
        Task::Set(Field { offset, width, .. }, ..) | Task::Add(BitAddition { offset, width, .. }) => (offset, width),
    };
    let text = transaction.string(key)?.unwrap_or_default();
    Ok(Some(bits::get(text, offset, width)))
}

/// Carries subcommands out. What one writes that does not fail counts as a change if its number
/// changes, or the command lets the string grow. Only of changes anybody is told.
fn write_all(
    transaction: &mut Transaction<'_>,
    key: Key<'_>,
    tasks: &[Task],
    reply: &mut Reply,
) -> Result<bool, WrongType> {
    let length = transaction.string(key)?.map(<[u8]>::len);
    let (mut wrote, mut changes) = (false, false);
    for &task in tasks {
        let before = written(transaction, key, task)?;
        match run(transaction, key, task)? {
            Some(number) => {
                wrote |= before.is_some();
                changes |= written(transaction, key, task)? != before;
                reply.integer(number);
            }
            None => reply.null(),
        }
    }
    Ok(changes || (wrote && transaction.string(key)?.map(<[u8]>::len) != length))
}

fn run_all(context: &mut Context<'_>, tasks: &[Task]) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let there = transaction.string(key)?.is_some();
    context.reply.array(tasks.len());
    if tasks.iter().all(|task| matches!(task, Task::Get(_))) {
        context.count_read(key, there);
        write_all(&mut transaction, key, tasks, context.reply)?;
        return Ok(Flow::Continue);
    }
    let reply = &mut *context.reply;
    if transaction.unnoticed(key, |transaction| write_all(transaction, key, tasks, reply))? {
        transaction.count_as_changed(key);
        transaction.announce(EventClasses::STRING, "setbit", key);
    }
    context.commit(transaction);
    Ok(Flow::Continue)
}

fn bitfield(context: &mut Context<'_>) -> Outcome {
    let tasks = parse_tasks(context)?;
    run_all(context, &tasks)
}

fn bitfield_ro(context: &mut Context<'_>) -> Outcome {
    let tasks = parse_tasks(context)?;
    if !tasks.iter().all(|task| matches!(task, Task::Get(_))) {
        return Err(Refusal::Fixed("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    run_all(context, &tasks)
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    const BIT_OFFSET: &str = "-ERR bit offset is not an integer or out of range\r\n";
    const TYPE: &str =
        "-ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.\r\n";
    const SYNTAX: &str = "-ERR syntax error\r\n";

    #[test]
    fn fields_are_read_set_and_added_to() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("bitfield s", "*0\r\n"),
            ("exists s", ":0\r\n"),
            ("bitfield s get u8 0 get i64 4294967295", "*2\r\n:0\r\n:0\r\n"),
            ("exists s", ":0\r\n"),
            ("bitfield s set u8 #1 65 set u8 0 300 get u8 0", "*3\r\n:0\r\n:0\r\n:44\r\n"),
            ("get s", "$2\r\n,A\r\n"),
            ("bitfield s incrby i5 8 -1 get i5 #0 get u4 12", "*3\r\n:7\r\n:5\r\n:9\r\n"),
            ("get s", "$2\r\n,9\r\n"),
            ("setrange s 8 x", ":9\r\n"),
            (
                "bitfield s set i64 0 -1 get u63 1 get i64 0",
                "*3\r\n:3186578211341336576\r\n:9223372036854775807\r\n:-1\r\n",
            ),
        ]);
    }

    #[test]
    fn overflow() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            (
                "bitfield s overflow sat set u8 0 300 set u8 8 -1 get u8 0 get u8 8",
                "*4\r\n:0\r\n:0\r\n:255\r\n:255\r\n",
            ),
            ("bitfield s overflow fail set u8 0 300 incrby u8 0 1 get u8 0", "*3\r\n$-1\r\n$-1\r\n:255\r\n"),
            ("bitfield s incrby u8 0 2 overflow sat incrby u8 0 300 incrby u8 0 -300", "*3\r\n:1\r\n:255\r\n:0\r\n"),
            ("bitfield s set i8 0 -129 get i8 0 overflow sat set i8 0 -129", "*3\r\n:0\r\n:127\r\n:127\r\n"),
            (
                "bitfield s overflow sat incrby i64 0 -9223372036854775808 incrby i64 0 -1",
                "*2\r\n:-9223372036854775808\r\n:-9223372036854775808\r\n",
            ),
            ("bitfield q overflow fail set u8 800 300", "*1\r\n$-1\r\n"),
            ("strlen q", ":101\r\n"),
            ("bitfield q2 overflow fail incrby u8 8 300", "*1\r\n$-1\r\n"),
            ("strlen q2", ":2\r\n"),
            ("bitfield q2 overflow fail get u8 0 overflow", SYNTAX),
            ("bitfield q2 overflow x", "-ERR Invalid OVERFLOW type specified\r\n"),
            ("bitfield q2 overflow sat", "*0\r\n"),
        ]);
    }

    #[test]
    fn nobody_is_told_of_a_string_that_only_grew_for_what_failed() {
        // Each with a client that watches the key: is its transaction carried out?
        let cases = [
            ("", "bitfield s overflow fail incrby u4 #3 -207", true),
            ("", "bitfield s set u8 0 0", false),
            ("set s x", "bitfield s overflow fail set u8 100 300", true),
            ("set s x", "bitfield s overflow fail set u8 100 300 set u8 0 121", false),
            ("set s x", "bitfield s overflow fail set u8 100 300 set u8 0 120", false),
            ("set s x", "bitfield s set u8 0 120", true),
            ("set s x", "bitfield s incrby u8 0 0 get u8 0", true),
            ("set s x", "bitfield s overflow fail set u8 0 300", true),
        ];
        for (setup, command, is_carried_out) in cases {
            let mut fixture = Fixture::new();
            if !setup.is_empty() {
                fixture.run(setup);
            }
            fixture.run("watch s");
            fixture.run(command);
            fixture.run("multi");
            let expected = if is_carried_out { "*0\r\n" } else { "*-1\r\n" };
            assert_eq!(fixture.run("exec"), expected, "{setup}, {command}");
        }
    }

    #[test]
    fn refused() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("hset h f v", ":1\r\n"),
            ("bitfield h", WRONG_TYPE),
            ("bitfield h foo", SYNTAX),
            ("bitfield s get u8", SYNTAX),
            ("bitfield s get u64 0", TYPE),
            ("bitfield s get i65 0", TYPE),
            ("bitfield s get u0 0", TYPE),
            ("bitfield s get U8 0", TYPE),
            ("bitfield s get u08 0", TYPE),
            ("bitfield s get u8 x", BIT_OFFSET),
            ("bitfield s get u8 #-1", BIT_OFFSET),
            ("bitfield s get u8 #", BIT_OFFSET),
            ("bitfield s get u8 4294967296", BIT_OFFSET),
            ("bitfield s get u8 #4611686018427387904", BIT_OFFSET),
            ("bitfield s set u8 0 x", "-ERR value is not an integer or out of range\r\n"),
            ("bitfield s set u8 0 1 get u8", SYNTAX),
            ("exists s", ":0\r\n"),
            ("bitfield_ro s get u8 0 overflow sat get u8 8", "*2\r\n:0\r\n:0\r\n"),
            ("bitfield_ro h set u8 0 0", "-ERR BITFIELD_RO only supports the GET subcommand\r\n"),
            ("bitfield_ro h get u8 0", WRONG_TYPE),
        ]);
    }

    #[test]
    fn one_command_is_one_effect() {
        let mut fixture = Fixture::in_a_cluster();
        fixture.run("bitfield s set u8 0 1 incrby u8 8 1 overflow fail incrby u8 16 300");
        let effects = fixture.state.keyspace.drain_effects();
        assert_eq!(effects.len(), 1);
        fixture.run("bitfield s get u8 0");
        assert!(fixture.state.keyspace.drain_effects().is_empty());
    }
}
