//! The membership hash: what one entry says, and how it is read and written.
//!
//! Membership is data like any other: `__swytch:members` in database 0 maps a node's id (16 hex digits) to JSON. Entries
//! are written by ordinary transactions and so replicate as effects; clients may read them but never write them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::effects::{Effect, NodeId, Operation};
use crate::keyspace::{Keyspace, Millis};
use crate::replication::{MAX_FORMER, Member, Stretch};

/// The key of the membership hash.
pub const MEMBERS_KEY: &[u8] = b"__swytch:members";

const MEMBERS_DATABASE: u32 = 0;

/// The JSON value of one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    name: String,
    address: String,
    client_port: u16,
    version: String,
    started: Millis,
    /// Does it serve clients? Said by itself; who admits it says no.
    #[serde(default)]
    serving: bool,
    /// The ids that it had before.
    #[serde(default)]
    former: Vec<String>,
    /// The ids of other nodes whose effects it makes or made anew, after and up to which seq.
    #[serde(default)]
    legacy: Vec<(String, u64, u64)>,
    /// Up to which seq it could not make the effects of its former ids anew.
    #[serde(default)]
    forgotten: Vec<(String, u64)>,
    /// The node's id again, for who sees only the value.
    incarnation: String,
}

/// Does this effect change the membership?
pub(super) fn touches_members(effect: &Effect) -> bool {
    effect.operations().any(
        |operation| matches!(operation, Operation::Key { database: MEMBERS_DATABASE, key, .. } if key == MEMBERS_KEY),
    )
}

/// Everything that the membership hash says. An entry that nobody can read (of a later version, say) is left out.
pub(super) fn read(keyspace: &Keyspace, now: Millis) -> BTreeMap<NodeId, Member> {
    let key = keyspace.key(MEMBERS_KEY);
    let mut transaction = keyspace.lock_one(now, MEMBERS_DATABASE, key);
    match transaction.hash(key) {
        Ok(Some(hash)) => hash.iter().filter_map(|(field, value)| decode(&field, &value)).collect(),
        Ok(None) | Err(_) => BTreeMap::new(),
    }
}

/// Writes (or refreshes) the entry of `node`.
pub(super) fn write(keyspace: &Keyspace, now: Millis, node: NodeId, member: &Member) {
    let key = keyspace.key(MEMBERS_KEY);
    let mut transaction = keyspace.lock_one(now, MEMBERS_DATABASE, key);
    if transaction.hash_set(key, field(node).as_bytes(), &encode(node, member)).is_err() {
        // Only a peer of a different make could have put another type there; the hash is what every node needs.
        tracing::warn!("the membership key held another type than a hash: replaced");
        transaction.remove(key);
        let _ = transaction.hash_set(key, field(node).as_bytes(), &encode(node, member));
    }
    transaction.commit();
}

/// Removes the entry of `node`. False when there was none.
pub(super) fn remove(keyspace: &Keyspace, now: Millis, node: NodeId) -> bool {
    let key = keyspace.key(MEMBERS_KEY);
    let mut transaction = keyspace.lock_one(now, MEMBERS_DATABASE, key);
    let removed = transaction.hash_remove(key, field(node).as_bytes()).unwrap_or(false);
    transaction.commit();
    removed
}

fn field(node: NodeId) -> String {
    node.to_string()
}

fn node_of(field: &str) -> Option<NodeId> {
    Some(NodeId(u64::from_str_radix(field, 16).ok()?))
}

fn encode(node: NodeId, member: &Member) -> Vec<u8> {
    let entry = Entry {
        name: member.name.clone(),
        address: member.address.clone(),
        client_port: member.client_port,
        version: member.version.clone(),
        started: member.started,
        serving: member.serving,
        former: member.former.iter().map(|&former| field(former)).collect(),
        legacy: member.legacy.iter().map(|made| (field(made.origin), made.after, made.upto)).collect(),
        forgotten: texts(&member.forgotten),
        incarnation: field(node),
    };
    serde_json::to_vec(&entry).expect("strings and numbers always have a JSON form")
}

fn decode(field: &[u8], value: &[u8]) -> Option<(NodeId, Member)> {
    let node = node_of(std::str::from_utf8(field).ok()?)?;
    let entry: Entry = serde_json::from_slice(value).ok()?;
    let member = Member {
        name: entry.name,
        address: entry.address,
        client_port: entry.client_port,
        version: entry.version,
        started: entry.started,
        serving: entry.serving,
        former: entry.former.iter().filter_map(|former| node_of(former)).take(MAX_FORMER).collect(),
        legacy: entry.legacy.iter().filter_map(stretch).take(MAX_FORMER).collect(),
        forgotten: seqs(&entry.forgotten),
    };
    Some((node, member))
}

fn texts(seqs: &[(NodeId, u64)]) -> Vec<(String, u64)> {
    seqs.iter().map(|&(node, seq)| (field(node), seq)).collect()
}

fn stretch((origin, after, upto): &(String, u64, u64)) -> Option<Stretch> {
    Some(Stretch { origin: node_of(origin)?, after: *after, upto: *upto })
}

fn seqs(texts: &[(String, u64)]) -> Vec<(NodeId, u64)> {
    texts.iter().filter_map(|(node, seq)| Some((node_of(node)?, *seq))).take(MAX_FORMER).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> Member {
        Member {
            name: "cache-0".into(),
            address: "10.0.0.1:7379".into(),
            client_port: 6379,
            version: "0.1.0".into(),
            started: 1_700_000_000_000,
            serving: true,
            former: vec![NodeId(3)],
            legacy: vec![Stretch { origin: NodeId(4), after: 3, upto: 17 }],
            forgotten: vec![(NodeId(3), 5)],
        }
    }

    #[test]
    fn an_entry_round_trips_through_json() {
        let node = NodeId(0xab);
        let json = encode(node, &member());
        assert!(json.starts_with(br#"{"name":"cache-0","address":"10.0.0.1:7379","client_port":6379,"#));
        assert_eq!(decode(field(node).as_bytes(), &json), Some((node, member())));
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let json = encode(NodeId(0xab), &member());
        assert_eq!(decode(b"not a node", &json), None);
        assert_eq!(decode(b"00000000000000ab", b"{}"), None);
        assert_eq!(decode(&[0xff], &json), None);
    }
}
