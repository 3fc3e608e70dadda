//! What happened, in lines that a person can read. Costs nothing when nobody asked for it.

use swytch::effects::{Action, Effect, Operation, StreamIds};

/// The lines so far.
#[derive(Debug)]
pub struct Trace {
    lines: Option<Vec<String>>,
}

impl Trace {
    /// Collects lines, or lets them pass.
    pub fn new(collects: bool) -> Trace {
        Trace { lines: collects.then(Vec::new) }
    }

    /// Something happened at `time` (simulated milliseconds), at a node or to the world as a whole.
    pub fn note(&mut self, time: u64, node: Option<usize>, what: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            let node = node.map_or("world".to_owned(), |node| format!("node {node}"));
            lines.push(format!("{:>6}.{:03} {node:<7} {}", time / 1000, time % 1000, what()));
        }
    }

    /// All lines.
    pub fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}

fn names(ids: StreamIds<'_>) -> String {
    ids.iter().map(|id| id.to_string()).collect::<Vec<_>>().join(" ")
}

/// An effect in words.
pub fn describe(effect: &Effect) -> String {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let operations = effect.operations().map(|operation| match operation {
        Operation::Flush { database } => format!("flush {database:?}"),
        Operation::Key { database, key, action } => {
            let action = match action {
                Action::Remove => "remove".to_owned(),
                Action::Deadline { at } => format!("deadline {at:?}"),
                Action::StringSet { value, deadline } => format!("set {} {deadline:?}", text(value)),
                Action::StringAdd { increment } => format!("add {increment}"),
                Action::StringAddFloat { increment } => format!("add {}", text(increment)),
                Action::StringAppend { bytes } => format!("append {}", text(bytes)),
                Action::StringSetRange { offset, bytes } => format!("overwrite {offset} {}", text(bytes)),
                Action::StringSetBits { offset, width, value } => {
                    format!("overwrite {width} bits at {offset} {value:#x}")
                }
                Action::StringAddBits(addition) => format!("{addition:?}"),
                Action::StringRaiseRegisters(registers) => format!("raise {} registers", registers.packed.len() / 3),
                Action::FieldSet { field, value, deadline: None } => format!("set {}={}", text(field), text(value)),
                Action::FieldSet { field, value, deadline } => {
                    format!("set {}={} {deadline:?}", text(field), text(value))
                }
                Action::FieldDeadline { field, at } => format!("deadline of {} {at:?}", text(field)),
                Action::FieldAdd { field, increment } => format!("add {}+{increment}", text(field)),
                Action::FieldAddFloat { field, increment } => format!("add {}+{}", text(field), text(increment)),
                Action::FieldRemove { field } => format!("remove {}", text(field)),
                Action::MemberAdd { member } => format!("add member {}", text(member)),
                Action::MemberRemove { member } => format!("remove member {}", text(member)),
                Action::ScoreSet { member, score } => format!("score {}={}", text(member), score.get()),
                Action::ScoreAdd { member, increment } => format!("score {}+{}", text(member), increment.get()),
                Action::ScoreMax { member, score } => format!("score {} at least {}", text(member), score.get()),
                Action::ScoreMin { member, score } => format!("score {} at most {}", text(member), score.get()),
                Action::ScoreRemove { member } => format!("remove scored member {}", text(member)),
                Action::ListPush { end, elements } => {
                    let elements: Vec<String> = elements.iter().map(text).collect();
                    format!("push {end:?} {}", elements.join(" "))
                }
                Action::ListInsert { position, element } => format!("insert {position} {}", text(element)),
                Action::ListSet { from, position, element } => format!("set {from:?} {position} {}", text(element)),
                Action::ListRemove { from, ranges, whole, .. } => {
                    format!("remove {from:?} {ranges:?}{}", if whole { " of all" } else { "" })
                }
                Action::StreamAdd { id, entry } => {
                    let elements: Vec<String> = entry.iter().map(text).collect();
                    format!("add entry {id} {}", elements.join(" "))
                }
                Action::StreamRemove { ids } => format!("remove entries {}", names(ids)),
                Action::StreamTrim { below } => format!("trim below {below}"),
                Action::StreamSetId { last, added, max_deleted } => {
                    let deleted = max_deleted.map(|id| id.to_string());
                    format!("last entry {last} of {added:?}, deleted {deleted:?}")
                }
                Action::GroupCreate { group, delivered, entries_read, late } => {
                    format!("group {} at {delivered} read {entries_read:?} without {}", text(group), names(late))
                }
                Action::GroupSetPosition { group, delivered, entries_read, late } => {
                    format!("group {} from {delivered} on read {entries_read:?} without {}", text(group), names(late))
                }
                Action::GroupDestroy { group } => format!("remove group {}", text(group)),
                Action::GroupDeliver { group, consumer, ids, at, pending, entries_read } => {
                    let (consumer, stays) = (text(consumer), if pending { "pending" } else { "for good" });
                    format!(
                        "deliver {} to {} {consumer} at {at} {stays} read {entries_read:?}",
                        names(ids),
                        text(group)
                    )
                }
                Action::GroupClaim { group, consumer, claims, at, last } => {
                    let last = last.map(|id| id.to_string());
                    format!("claim {claims:?} for {} {} at {at:?} up to {last:?}", text(group), text(consumer))
                }
                Action::GroupAcknowledge { group, ids } => format!("acknowledge {} to {}", names(ids), text(group)),
                Action::ConsumerCreate { group, consumer, at } => {
                    format!("consumer {} {} at {at}", text(group), text(consumer))
                }
                Action::ConsumerRemove { group, consumer } => {
                    format!("remove consumer {} {}", text(group), text(consumer))
                }
            };
            format!("{database} {} {action}", text(key))
        }
    });
    let operations: Vec<String> = operations.collect();
    let acts_on = effect.acts_on.as_ref().map_or(String::new(), |reach| {
        let stable = if reach.stable { " and what is stable" } else { "" };
        format!(" acting on {:?}{stable}", reach.frontier)
    });
    format!("{} at {} after {:?}{acts_on}: {}", effect.dot, effect.time, effect.seen_changes, operations.join(", "))
}
