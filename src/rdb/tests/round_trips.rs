//! Random values survive being written and read.

use super::super::{
    PendingEntry, RdbValue, Stream, StreamConsumer, StreamEntry, StreamGroup, dump_payload, load_payload,
};
use super::*;

struct Random(fastrand::Rng);

impl Random {
    /// A count that is usually small.
    fn count(&mut self) -> usize {
        let most = [3, 10, 130, 600][self.0.usize(..4)];
        self.0.usize(1..=most)
    }

    fn string(&mut self) -> Vec<u8> {
        match self.0.u8(..6) {
            0 => self.0.i64(..).to_string().into_bytes(),
            1 => self.0.i64(-200..200).to_string().into_bytes(),
            2 => vec![self.0.u8(..); self.0.usize(..20_000)],
            _ => {
                let most = [2, 12, 70, 300][self.0.usize(..4)];
                (0..self.0.usize(..most)).map(|_| self.0.u8(..)).collect()
            }
        }
    }

    fn names(&mut self) -> Vec<Vec<u8>> {
        let mut names: Vec<Vec<u8>> = (0..self.count()).map(|_| self.string()).collect();
        names.sort();
        names.dedup();
        names
    }

    fn score(&mut self) -> f64 {
        match self.0.u8(..5) {
            0 => f64::INFINITY,
            1 => f64::NEG_INFINITY,
            2 => f64::from(self.0.i32(..)),
            _ => Some(f64::from_bits(self.0.u64(..))).filter(|score| !score.is_nan()).unwrap_or(-0.5),
        }
    }

    fn expiry(&mut self) -> Option<u64> {
        self.0.bool().then(|| self.0.u64(1..1 << 48))
    }

    fn id(&mut self) -> StreamId {
        let bits = self.0.u32(1..64);
        StreamId { ms: self.0.u64(..1 << bits), seq: self.0.u64(..) >> self.0.u32(..64) }
    }

    fn stream(&mut self) -> Stream {
        let schemas: Vec<Vec<Vec<u8>>> = (0..3).map(|_| self.names()[..1].to_vec()).collect();
        let mut ids: Vec<StreamId> = (0..self.count()).map(|_| self.id()).collect();
        ids.sort();
        ids.dedup();
        let entries = ids.iter().filter(|_| self.0.u8(..10) > 0).copied().collect::<Vec<_>>();
        let entries = entries.into_iter().map(|id| {
            let fields = schemas[self.0.usize(..3)].clone();
            StreamEntry { id, fields: fields.into_iter().map(|field| (field, self.string())).collect() }
        });
        Stream {
            entries: entries.collect(),
            last_id: *ids.last().expect("there is one"),
            max_deleted_id: self.id(),
            entries_added: self.0.u64(..),
            groups: self.names().into_iter().take(3).map(|name| self.group(name, &ids)).collect(),
        }
    }

    fn group(&mut self, name: Vec<u8>, ids: &[StreamId]) -> StreamGroup {
        let mut consumers: Vec<StreamConsumer> = (self.names().into_iter().take(4))
            .map(|name| {
                let seen_at = self.0.u64(..1 << 60);
                StreamConsumer { name, seen_at, active_at: Some(seen_at), pending: vec![] }
            })
            .collect();
        let mut pending = vec![];
        for &id in ids.iter().filter(|_| self.0.bool()).collect::<Vec<_>>() {
            pending.push(PendingEntry { id, delivered_at: self.0.u64(..1 << 60), deliveries: self.0.u64(..) });
            let owner = self.0.usize(..consumers.len());
            consumers[owner].pending.push(id);
        }
        let entries_read = self.0.bool().then(|| self.0.u64(..1 << 63));
        StreamGroup { name, last_id: self.id(), entries_read, pending, consumers }
    }

    fn value(&mut self) -> RdbValue {
        match self.0.u8(..7) {
            0 => RdbValue::String(self.string()),
            1 => RdbValue::List((0..self.count()).map(|_| self.string()).collect()),
            2 => RdbValue::Set(self.names()),
            3 => RdbValue::SortedSet(self.names().into_iter().map(|name| (name, self.score())).collect()),
            kind @ (4 | 5) => {
                let fields = self.names().into_iter().map(|field| HashField {
                    field,
                    value: self.string(),
                    expires_at: if kind == 4 { None } else { self.expiry() },
                });
                RdbValue::Hash(fields.collect())
            }
            _ => RdbValue::Stream(self.stream()),
        }
    }
}

#[test]
fn random_values_come_back() {
    let mut random = Random(fastrand::Rng::with_seed(5));
    for _ in 0..400 {
        let value = random.value();
        let payload = dump_payload(&value);
        assert_eq!(load_payload(&payload), Ok(value));
    }
}

#[test]
fn only_expiring_fields_need_the_newer_version() {
    let version = |value: &RdbValue| {
        let payload = dump_payload(value);
        payload[payload.len() - 10]
    };
    assert_eq!(version(&hash([("a", "b")])), 10);
    let expiring = expiring_hash([("a", "b", Some(7)), ("c", "d", None)]);
    assert_eq!(version(&expiring), 12);
    assert_eq!(load(&dump_payload(&expiring)), expiring);
    assert_eq!(
        load(&dump_payload(&expiring_hash([("a", "b", Some(0)), ("c", "d", Some(u64::MAX))]))),
        expiring_hash([("a", "b", Some(0)), ("c", "d", Some((1 << 48) - 1))]),
    );
}
