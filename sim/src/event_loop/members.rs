//! The membership hash, read and written as the real runtime does it, but for the form of the values.

use std::collections::BTreeMap;

use swytch::effects::{Effect, NodeId, Operation};
use swytch::keyspace::{Keyspace, Millis};
use swytch::replication::{Member, Stretch};

const KEY: &[u8] = b"__swytch:members";

/// Does this effect change the membership?
pub(crate) fn touched_by(effect: &Effect) -> bool {
    effect.operations().any(|operation| matches!(operation, Operation::Key { database: 0, key, .. } if key == KEY))
}

/// All members.
pub(crate) fn read(keyspace: &Keyspace, now: Millis) -> BTreeMap<NodeId, Member> {
    let key = keyspace.key(KEY);
    let mut transaction = keyspace.lock_one(now, 0, key);
    let members = transaction.hash(key).ok().flatten();
    members.into_iter().flat_map(|members| members.iter()).filter_map(|(field, value)| decode(&field, &value)).collect()
}

/// Writes the entry of a node.
pub(crate) fn write(keyspace: &Keyspace, now: Millis, node: NodeId, member: &Member) {
    let key = keyspace.key(KEY);
    let Member { name, address, client_port, started, serving, former, legacy, forgotten, .. } = member;
    let former: Vec<String> = former.iter().map(NodeId::to_string).collect();
    let texts =
        |seqs: &[(NodeId, u64)]| seqs.iter().map(|(node, seq)| format!("{node}:{seq}")).collect::<Vec<_>>().join(",");
    let legacy: Vec<String> =
        legacy.iter().map(|Stretch { origin, after, upto }| format!("{origin}:{after}:{upto}")).collect();
    let (former, legacy, forgotten) = (former.join(","), legacy.join(","), texts(forgotten));
    let value = format!("{name} {address} {client_port} {started} {serving} {former} {legacy} {forgotten}");
    let mut transaction = keyspace.lock_one(now, 0, key);
    transaction.hash_set(key, node.to_string().as_bytes(), value.as_bytes()).expect("nobody else writes this key");
}

/// Removes the entry of a node. False when there was none.
pub(super) fn remove(keyspace: &Keyspace, now: Millis, node: NodeId) -> bool {
    let key = keyspace.key(KEY);
    let mut transaction = keyspace.lock_one(now, 0, key);
    transaction.hash_remove(key, node.to_string().as_bytes()).expect("nobody else writes this key")
}

fn decode(field: &[u8], value: &[u8]) -> Option<(NodeId, Member)> {
    let node_of = |text: &str| Some(NodeId(u64::from_str_radix(text, 16).ok()?));
    let node = node_of(std::str::from_utf8(field).ok()?)?;
    let mut parts = std::str::from_utf8(value).ok()?.split(' ');
    let (name, address) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    let (client_port, started) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let serving = parts.next()?.parse().ok()?;
    let former = parts.next()?.split(',').filter_map(node_of).collect();
    let seqs = |text: &str| {
        let each = text.split(',').filter_map(|text| {
            let (node, seq) = text.split_once(':')?;
            Some((node_of(node)?, seq.parse().ok()?))
        });
        each.collect::<Vec<(NodeId, u64)>>()
    };
    let stretches = |text: &str| {
        let each = text.split(',').filter_map(|text| {
            let mut parts = text.split(':');
            let origin = node_of(parts.next()?)?;
            Some(Stretch { origin, after: parts.next()?.parse().ok()?, upto: parts.next()?.parse().ok()? })
        });
        each.collect::<Vec<Stretch>>()
    };
    let (legacy, forgotten) = (stretches(parts.next()?), seqs(parts.next()?));
    Some((
        node,
        Member { name, address, client_port, version: String::new(), started, serving, former, legacy, forgotten },
    ))
}
