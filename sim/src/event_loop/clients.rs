//! What clients do: reads and writes over a few keys, so that writes of different nodes meet all the time.
//!
//! Besides the keys that are written in every way (`s`trings, `h`ashes, se`m`s — sets —, `z` — sorted sets —, st`r`eams, and `x`, of any
//! type) there are those with a rule of their own: counters that are only added to (`sum`), sets that only grow (`grow`), triples
//! that are only ever written together (`t`), and streams that are only added to and read by a group (`feed`).

use std::collections::BTreeSet;

use swytch::effects::StreamId;
use swytch::keyspace::{GroupOf, Key, Life};

use super::queue::Event;
use super::world::World;
use super::writes::{TYPES, add_entry, read_group, write};

/// What is appended to the names of three keys that are written together.
const TRIPLE: [&str; 3] = ["a", "b", "c"];

impl World<'_> {
    /// Clients of a node have a turn, and the next one is planned.
    pub fn client(&mut self, slot: usize) {
        if self.healed {
            return;
        }
        let Some(run) = self.nodes[slot].as_ref().map(|node| node.run) else { return };
        self.use_node(slot);
        let mean = 1000 / self.scenario.workload.rate.max(1);
        let pause = self.random.u64(1..=2 * mean);
        self.queue.push(self.now + pause, Event::Client(run));
        let wake = self.random.u64(0..3);
        self.queue.push(self.now + wake, Event::Collect(run));
    }

    /// One command of a client, if the node takes it.
    pub fn use_node(&mut self, slot: usize) {
        let Some(node) = self.nodes[slot].as_ref().filter(|node| node.serving) else { return };
        if self.healed || node.keyspace.is_loading() {
            return;
        }
        if self.random.f64() < self.scenario.workload.reads {
            self.outcome.statistics.reads += 1;
            // The checker has to know what was written here.
            self.collect_local_effects(slot, false);
            self.client_reads(slot);
        } else {
            self.outcome.statistics.writes += 1;
            self.client_writes(slot);
        }
        self.noted(slot);
    }

    fn key_name(&mut self, family: &str) -> String {
        format!("{family}{}", self.random.u64(..self.scenario.workload.keys))
    }

    fn client_reads(&mut self, slot: usize) {
        let wall = self.wall(slot);
        match self.random.u8(..4) {
            0 => {
                let number = self.random.u64(..self.scenario.workload.keys);
                let names = TRIPLE.map(|part| format!("t{number}{part}"));
                let Some(node) = &self.nodes[slot] else { return };
                let keyspace = &node.keyspace;
                let keys = names.each_ref().map(|name| keyspace.key(name.as_bytes()));
                let mut transaction = keyspace.lock_keys(wall, 0, keys.into_iter());
                let value = |key| transaction.string(key).ok().flatten().map(<[u8]>::to_vec);
                let values = keys.map(value);
                self.checker.read_together(slot, &values);
            }
            1 => {
                let name = self.key_name("grow");
                let Some(node) = &self.nodes[slot] else { return };
                let key = node.keyspace.key(name.as_bytes());
                let mut transaction = node.keyspace.lock_one(wall, 0, key);
                let set = transaction.set(key).ok().flatten();
                let members: BTreeSet<String> = set
                    .into_iter()
                    .flat_map(|set| set.iter())
                    .map(|member| member.escape_ascii().to_string())
                    .collect();
                if !self.scenario.workload.flushes {
                    self.checker.read_growing(slot, &name, members);
                }
            }
            _ => {
                let families = ["s", "h", "m", "z", "r", "x", "sum", "feed"];
                let names: Vec<String> = (0..3)
                    .map(|_| {
                        let family = families[self.random.usize(..families.len())];
                        self.key_name(family)
                    })
                    .collect();
                let Some(node) = &self.nodes[slot] else { return };
                let keyspace = &node.keyspace;
                let keys = names.iter().map(|name| keyspace.key(name.as_bytes()));
                let mut transaction = keyspace.lock_keys(wall, 0, keys);
                for name in &names {
                    self.checker.read(slot, &mut transaction, keyspace, (0, name));
                }
            }
        }
    }

    fn client_writes(&mut self, slot: usize) {
        let wall = self.wall(slot);
        self.next_value += 1;
        let value = self.next_value.to_string();
        let choice = self.random.u8(..100);
        let flushes = self.scenario.workload.flushes && choice == 99;
        let family = match choice {
            0..18 => "s",
            18..33 => "h",
            33..41 => "m",
            41..49 => "z",
            49..60 => "r",
            60..67 => "x",
            67..74 => "feed",
            74..84 => "sum",
            84..90 => "grow",
            _ => "t",
        };
        let name = self.key_name(family);
        let Some(node) = &self.nodes[slot] else { return };
        let keyspace = &node.keyspace;
        let random = &mut self.random;
        if flushes {
            let mut transaction = keyspace.lock_all(wall, 0);
            transaction.flush(if random.bool() { None } else { Some(0) });
            return;
        }
        let key = keyspace.key(name.as_bytes());
        match family {
            "sum" => {
                let amount = random.i64(-3..10);
                let mut transaction = keyspace.lock_one(wall, 0, key);
                transaction.string_add(key, amount).expect("a counter is only ever added to");
                let seq = transaction.commit();
                self.checker.added(slot, seq, &name, amount);
            }
            "grow" => {
                let mut transaction = keyspace.lock_one(wall, 0, key);
                transaction.set_add(key, value.as_bytes()).expect("a set that only grows");
                let seq = transaction.commit();
                self.checker.grew(slot, seq, &name, &value);
            }
            "feed" => {
                let of = GroupOf { key, group: b"g" };
                let mut transaction = keyspace.lock_one(wall, 0, key);
                match transaction.stream(key).ok().flatten().map(|stream| stream.group(of.group).is_some()) {
                    // Whoever begins the stream makes the group: it is to get every entry there will be.
                    None => {
                        add_entry(&mut transaction, key, value.as_bytes(), wall);
                        transaction.group_create(of, StreamId::MIN, None);
                    }
                    Some(true) if random.bool() => {
                        let consumer = [b'a' + random.u8(..3)];
                        let pending = random.bool();
                        let ids = read_group(&mut transaction, of, &consumer, random.usize(1..6), pending);
                        drop(transaction);
                        self.checker.delivered(&name, ids);
                    }
                    Some(_) => ignore(add_entry(&mut transaction, key, value.as_bytes(), wall)),
                }
            }
            "t" => {
                let names = TRIPLE.map(|part| format!("{name}{part}"));
                let keys = names.each_ref().map(|name| keyspace.key(name.as_bytes()));
                let mut transaction = keyspace.lock_keys(wall, 0, keys.into_iter());
                let removes = random.u8(..10) == 0;
                for key in keys {
                    match removes {
                        true => drop(transaction.remove(key)),
                        false => transaction.string_set(key, value.as_bytes(), Life::Forever),
                    }
                }
            }
            _ => {
                // Now and then several commands are one transaction over several keys.
                let others: Vec<String> = match random.u8(..10) {
                    0 => TYPES.iter().map(|family| format!("{family}{}", random.u8(..3))).collect(),
                    _ => Vec::new(),
                };
                let others: Vec<Key<'_>> = others.iter().map(|name| keyspace.key(name.as_bytes())).collect();
                let mut transaction = keyspace.lock_keys(wall, 0, others.iter().copied().chain([key]));
                for key in others.into_iter().chain([key]) {
                    write(&mut transaction, key, &value, wall, random);
                }
            }
        }
    }
}

/// A reply that no client reads.
fn ignore<T>(_reply: T) {}
