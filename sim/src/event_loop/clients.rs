//! What clients do: reads and writes over a few keys, so that writes of different nodes meet all the time.
//!
//! Besides the keys that are written in every way (`s`trings, `h`ashes, se`m`s — sets —, `z` — sorted sets —, st`r`eams, and `x`, of any
//! type; `l`ists, `b`it fields and HyperLogLogs — `p` —) there are those with a rule of their own: counters that are only added
//! to (`sum`), sets that only grow (`grow`), triples that are only ever written together (`t`), streams that are only added to
//! and read by a group (`feed`), queues of which no two elements are alike (`queue`), and pairs of sets of which the second only
//! gets what its writer saw in the first (`cause`). How often each of them is written to says the workload.

use std::collections::BTreeSet;

use swytch::effects::{Elements, End, Ranges, StreamId};
use swytch::keyspace::{GroupOf, Key, Life, Transaction};

use super::queue::Event;
use super::world::World;
use super::writes::{TYPES, add_entry, read_group, write};
use crate::coverage::Path;
use crate::scenario::FAMILIES;

/// What is appended to the names of two sets of which the second only gets what was seen in the first.
const CAUSE: [&str; 2] = ["a", "b"];
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
        let workload = &self.scenario.workload;
        let is_done = workload.writes.is_some_and(|most| self.outcome.statistics.writes >= most);
        if self.random.f64() < workload.reads || is_done {
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
            1 if self.scenario.workload.has("cause") && self.random.bool() => {
                let name = self.key_name("cause");
                let names = CAUSE.map(|part| format!("{name}{part}"));
                let Some(node) = &self.nodes[slot] else { return };
                let keys = names.each_ref().map(|name| node.keyspace.key(name.as_bytes()));
                let mut transaction = node.keyspace.lock_keys(wall, 0, keys.into_iter());
                let [causes, effects] = keys.map(|key| members_of(&mut transaction, key));
                if !self.scenario.workload.flushes {
                    self.checker.read_cause(slot, &names[0], &causes, &effects);
                    self.checker.read_growing(slot, &names[0], causes);
                }
            }
            1 => {
                let name = self.key_name("grow");
                let Some(node) = &self.nodes[slot] else { return };
                let key = node.keyspace.key(name.as_bytes());
                let mut transaction = node.keyspace.lock_one(wall, 0, key);
                let members = members_of(&mut transaction, key);
                if !self.scenario.workload.flushes {
                    self.checker.read_growing(slot, &name, members);
                }
            }
            _ => {
                let mut families = vec!["s", "h", "m", "z", "r", "x", "sum", "feed"];
                families.extend(["l", "b", "p", "queue"].iter().filter(|name| self.scenario.workload.has(name)));
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
        let mix = &self.scenario.workload.mix;
        let total: u8 = mix.iter().sum();
        let mut choice = self.random.u8(..total);
        // In place of what comes at the end of the mix, a little of the time.
        let flushes = self.scenario.workload.flushes && choice == total - 1;
        let chosen = mix.iter().position(|weight| match choice.checked_sub(*weight) {
            None => true,
            Some(rest) => {
                choice = rest;
                false
            }
        });
        let family = FAMILIES[chosen.expect("the weights add up to the total")];
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
                let named_at = if self.scenario.workload.coarse_ids { wall - wall % 100 } else { wall };
                let mut transaction = keyspace.lock_one(wall, 0, key);
                match transaction.stream(key).ok().flatten().map(|stream| stream.group(of.group).is_some()) {
                    // Whoever begins the stream makes the group: it is to get every entry there will be.
                    None => {
                        let id = add_entry(&mut transaction, key, value.as_bytes(), named_at);
                        transaction.group_create(of, StreamId::MIN, None);
                        let seq = transaction.commit();
                        self.checker.grouped(slot, seq, &name);
                        // After a flush it may get the ids of the entries that were there before.
                        let is_first = !self.scenario.workload.flushes;
                        id.into_iter().filter(|_| is_first).for_each(|id| self.checker.entered(&name, id));
                    }
                    Some(true) if random.bool() => {
                        let consumer = [b'a' + random.u8(..3)];
                        let pending = random.bool();
                        let stream = transaction.stream(key).ok().flatten();
                        let position =
                            stream.and_then(|stream| stream.group(of.group)).map(|group| group.last_delivered);
                        let ids = read_group(&mut transaction, of, &consumer, random.usize(1..6), pending);
                        drop(transaction);
                        let late = ids.iter().filter(|id| position.is_some_and(|position| **id <= position)).count();
                        self.outcome.coverage.count(Path::LateEntry, late as u64);
                        self.checker.delivered(&name, ids);
                    }
                    Some(_) => {
                        let id = add_entry(&mut transaction, key, value.as_bytes(), named_at);
                        let is_unique = !self.scenario.workload.flushes;
                        id.into_iter().filter(|_| is_unique).for_each(|id| self.checker.entered(&name, id));
                    }
                }
            }
            "queue" => {
                let end = if random.bool() { End::Left } else { End::Right };
                let mut transaction = keyspace.lock_one(wall, 0, key);
                let list = transaction.list(key).ok().flatten();
                let first = list.and_then(|list| match end {
                    End::Left => list.iter().next(),
                    End::Right => list.iter().next_back(),
                });
                let first = first.map(|element| element.escape_ascii().to_string());
                match first.filter(|_| random.u8(..5) < 2) {
                    Some(element) => {
                        transaction.list_remove(key, end, Ranges::first(1)).expect("it is a list");
                        self.checker.popped(&name, element);
                    }
                    None => {
                        let element = Elements::one(value.as_bytes());
                        transaction.list_push(key, end, element).expect("it is a list, if it is there");
                        let seq = transaction.commit();
                        self.checker.pushed(slot, seq, &name, &value);
                    }
                }
            }
            "cause" => {
                let names = CAUSE.map(|part| format!("{name}{part}"));
                let keys = names.each_ref().map(|name| keyspace.key(name.as_bytes()));
                let mut transaction = keyspace.lock_keys(wall, 0, keys.into_iter());
                let seen: Vec<String> = members_of(&mut transaction, keys[0]).into_iter().collect();
                match random.choice(&seen).filter(|_| random.bool()) {
                    Some(member) => {
                        transaction.set_add(keys[1], member.as_bytes()).expect("it is a set, if it is there");
                    }
                    None => {
                        transaction.set_add(keys[0], value.as_bytes()).expect("it is a set, if it is there");
                        let seq = transaction.commit();
                        self.checker.grew(slot, seq, &names[0], &value);
                    }
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

/// The members of a set; none without one.
fn members_of(transaction: &mut Transaction<'_>, key: Key<'_>) -> BTreeSet<String> {
    let set = transaction.set(key).ok().flatten();
    set.into_iter().flat_map(|set| set.iter()).map(|member| member.escape_ascii().to_string()).collect()
}
