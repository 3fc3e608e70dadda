//! How long keys still live, on average, as INFO tells it.

use super::Transaction;
use crate::keyspace::Millis;

/// Of a shard no more keys are looked at. There are 1024 shards, so of many keys two thousand stand for all.
const LOOKED_AT: usize = 2;

impl Transaction<'_> {
    /// How many milliseconds the keys of the database that end at some time still live, on average; 0: there are none. Only with
    /// everything locked.
    ///
    /// Some keys of each shard are looked at, picked at random, and stand for the others of it. So it is exact for few keys, and
    /// takes no longer for many. Keys whose time is over and that are still there do not count.
    pub fn average_remaining(&self, random: &mut fastrand::Rng) -> Millis {
        if self.void {
            return 0;
        }
        let (mut keys, mut milliseconds) = (0.0, 0.0);
        for database in self.guards.iter().filter_map(|guard| guard.1.databases.get(self.database as usize)) {
            let looked_at = database.with_deadline().min(LOOKED_AT);
            if looked_at == 0 {
                continue;
            }
            let each_stands_for = database.with_deadline() as f64 / looked_at as f64;
            let mut position = random.usize(..database.len());
            for _ in 0..looked_at {
                let Some(found) = database.with_deadline_from(position) else { break };
                position = found + 1;
                let deadline = database.at(found).deadline().filter(|deadline| *deadline > self.now);
                if let Some(deadline) = deadline {
                    keys += each_stands_for;
                    milliseconds += each_stands_for * (deadline - self.now) as f64;
                }
            }
        }
        if keys > 0.0 { (milliseconds / keys) as Millis } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use crate::keyspace::{Keyspace, KeyspaceOptions, Life, Millis};

    const NOW: Millis = 1_000_000;

    fn set(keyspace: &Keyspace, database: u32, name: &str, life: Life) {
        let key = keyspace.key(name.as_bytes());
        let mut transaction = keyspace.lock_one(NOW, database, key);
        transaction.string_set(key, b"v", life);
        transaction.commit();
    }

    fn average(keyspace: &Keyspace, now: Millis, database: u32) -> Millis {
        keyspace.lock_all(now, database).average_remaining(&mut fastrand::Rng::with_seed(7))
    }

    #[test]
    fn few_keys_are_averaged_exactly_in_each_database() {
        let keyspace = Keyspace::new(KeyspaceOptions::default());
        set(&keyspace, 0, "stays", Life::Forever);
        assert_eq!(average(&keyspace, NOW, 0), 0);
        for (number, milliseconds) in [100, 200, 900].into_iter().enumerate() {
            set(&keyspace, 0, &format!("ends{number}"), Life::Until(NOW + milliseconds));
        }
        set(&keyspace, 3, "ends", Life::Until(NOW + 5000));
        assert_eq!([0, 1, 3].map(|database| average(&keyspace, NOW, database)), [400, 0, 5000]);
        assert_eq!(average(&keyspace, NOW + 150, 0), (50 + 750) / 2, "one is over");
        assert_eq!(average(&keyspace, NOW + 900, 0), 0, "all are over");
    }

    #[test]
    fn many_keys_are_estimated() {
        let keyspace = Keyspace::new(KeyspaceOptions::default());
        for number in 0..20_000 {
            set(&keyspace, 0, &format!("key{number}"), Life::Until(NOW + 1 + number % 10_000));
        }
        let estimate = average(&keyspace, NOW, 0);
        assert!((4_500..5_500).contains(&estimate), "{estimate}");
    }
}
