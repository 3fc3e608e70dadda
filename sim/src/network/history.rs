//! What clients tried and what they were promised, and whether the data in the end agrees with it.

use std::collections::{BTreeMap, BTreeSet};

use swytch::effects::NodeId;

/// Where a write was acknowledged: it is among the first `seq` effects of `node`, or of an identity that node took on
/// later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The machine.
    pub machine: usize,
    /// Which start of the machine.
    pub incarnation: usize,
    /// The identity at that moment.
    pub node: NodeId,
    /// Its latest effect at that moment.
    pub seq: u64,
}

/// One write that a client tried.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// What was written.
    pub value: String,
    /// `None`: the client never heard whether it happened.
    pub acknowledged: Option<Acknowledged>,
}

/// What is known of one member of a set.
#[derive(Clone, Debug, Default)]
pub struct MemberHistory {
    /// Its addition was acknowledged.
    pub added: Option<Acknowledged>,
    /// Somebody tried to remove it.
    pub removal_tried: bool,
    /// Its removal was acknowledged, as one that found it there.
    pub removed: Option<Acknowledged>,
}

/// Everything that clients did.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Key to increments, each by one.
    pub counters: BTreeMap<String, Vec<Attempt>>,
    /// Key and member to what was done to it. No member is added twice.
    pub members: BTreeMap<(String, String), MemberHistory>,
    /// Key and field to its writes. Each field has one connection that writes it, one after the other.
    pub fields: BTreeMap<(String, String), Vec<Attempt>>,
    /// Key to its writes, by anybody.
    pub strings: BTreeMap<String, Vec<Attempt>>,
    /// Somebody tried to flush everything: nothing has to be there any more.
    pub flushed: bool,
    /// Promises broken towards a client at once.
    pub violations: Vec<String>,
    /// Commands that wrote.
    pub writes: u64,
    /// Commands that read.
    pub reads: u64,
}

/// Which effects some surviving node must have.
#[derive(Clone, Debug, Default)]
pub struct Survival {
    /// Machines and starts that lost power.
    crashed: BTreeSet<(usize, usize)>,
    /// Of identities whose node is gone: the latest effect that somebody alive had when a node crashed.
    held: BTreeMap<NodeId, u64>,
}

impl Survival {
    /// A node loses power. `dead` are the identities without a running node from now on, each with the latest effect that
    /// any running node has.
    pub fn crash(&mut self, machine: usize, incarnation: usize, dead: impl Iterator<Item = (NodeId, u64)>) {
        self.crashed.insert((machine, incarnation));
        for (node, seq) in dead {
            self.held.entry(node).and_modify(|held| *held = seq.min(*held)).or_insert(seq);
        }
    }

    fn guarantees(&self, acknowledged: Option<Acknowledged>) -> bool {
        acknowledged.is_some_and(|Acknowledged { machine, incarnation, node, seq }| {
            let survivors = || self.held.get(&node).is_some_and(|held| seq <= *held);
            !self.crashed.contains(&(machine, incarnation)) || survivors()
        })
    }
}

/// The data that all nodes agree on in the end.
#[derive(Clone, Debug, Default)]
pub struct FinalData {
    /// Values of strings and counters.
    pub strings: BTreeMap<String, String>,
    /// Members of sets.
    pub sets: BTreeMap<String, BTreeSet<String>>,
    /// Fields of hashes.
    pub hashes: BTreeMap<String, BTreeMap<String, String>>,
}

/// Nothing is torn that was only ever written in transactions.
fn check_together(data: &FinalData, violations: &mut Vec<String>) {
    let names = data.strings.keys().filter_map(|key| key.strip_prefix("together-")?.strip_suffix(".string"));
    for name in names {
        let string = data.strings.get(&format!("together-{name}.string"));
        let hash = data.hashes.get(&format!("together-{name}.hash")).and_then(|fields| fields.get("field"));
        if string != hash {
            violations.push(format!("P3: a torn transaction on together-{name}: {string:?} and {hash:?}"));
        }
    }
}

impl History {
    /// Every promise that `data` breaks.
    pub fn check(&self, survival: &Survival, data: &FinalData) -> Vec<String> {
        let mut violations = self.violations.clone();
        self.check_counters(survival, data, &mut violations);
        self.check_sets(survival, data, &mut violations);
        self.check_fields(survival, data, &mut violations);
        self.check_strings(survival, data, &mut violations);
        check_together(data, &mut violations);
        violations
    }

    fn check_counters(&self, survival: &Survival, data: &FinalData, violations: &mut Vec<String>) {
        for (key, attempts) in &self.counters {
            let value: u64 = data.strings.get(key).and_then(|value| value.parse().ok()).unwrap_or(0);
            let least = attempts.iter().filter(|attempt| survival.guarantees(attempt.acknowledged)).count() as u64;
            let most = attempts.len() as u64;
            if value > most || (value < least && !self.flushed) {
                violations.push(format!("P5: {key} is {value}, and should be at least {least} and at most {most}"));
            }
        }
    }

    fn check_sets(&self, survival: &Survival, data: &FinalData, violations: &mut Vec<String>) {
        for ((key, member), history) in &self.members {
            let there = data.sets.get(key).is_some_and(|members| members.contains(member));
            let must_be = survival.guarantees(history.added) && !history.removal_tried && !self.flushed;
            if must_be && !there {
                violations.push(format!("P5: {member} is missing in {key}"));
            }
            if there && survival.guarantees(history.removed) {
                violations.push(format!("P6: {member} is in {key} again after its removal"));
            }
        }
        for (key, members) in &data.sets {
            for member in members {
                if !self.members.contains_key(&(key.clone(), member.clone())) {
                    violations.push(format!("P5: nobody added {member} to {key}"));
                }
            }
        }
    }

    fn check_fields(&self, survival: &Survival, data: &FinalData, violations: &mut Vec<String>) {
        for ((key, field), attempts) in &self.fields {
            let value = data.hashes.get(key).and_then(|fields| fields.get(field));
            let newest = attempts.iter().rposition(|attempt| survival.guarantees(attempt.acknowledged));
            let newest = newest.filter(|_| !self.flushed);
            let position = value.and_then(|value| attempts.iter().position(|attempt| attempt.value == *value));
            let invented = value.is_some() && position.is_none();
            if invented || position < newest {
                let expected = newest.map(|newest| &attempts[newest].value);
                violations.push(format!("P5: {field} in {key} is {value:?}, and should be {expected:?} or later"));
            }
        }
    }

    fn check_strings(&self, survival: &Survival, data: &FinalData, violations: &mut Vec<String>) {
        for (key, attempts) in &self.strings {
            match data.strings.get(key) {
                Some(value) if attempts.iter().any(|attempt| attempt.value == *value) => {}
                Some(value) => violations.push(format!("P5: nobody set {key} to {value}")),
                None if self.flushed => {}
                None if attempts.iter().any(|attempt| survival.guarantees(attempt.acknowledged)) => {
                    violations.push(format!("P5: {key} is missing"));
                }
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acknowledged(incarnation: usize, seq: u64) -> Option<Acknowledged> {
        Some(Acknowledged { machine: 0, incarnation, node: NodeId(incarnation as u64 + 1), seq })
    }

    fn attempt(value: &str, acknowledged: Option<Acknowledged>) -> Attempt {
        Attempt { value: value.to_owned(), acknowledged }
    }

    fn broken(history: &History, survival: &Survival, data: &FinalData) -> usize {
        history.check(survival, data).len()
    }

    #[test]
    fn counters_lie_between_what_was_acknowledged_and_what_was_tried() {
        let mut history = History::default();
        let attempts = vec![attempt("", acknowledged(0, 1)), attempt("", None), attempt("", acknowledged(0, 9))];
        history.counters.insert("c".to_owned(), attempts);
        let mut survival = Survival::default();
        let counter = |value: &str| FinalData {
            strings: BTreeMap::from([("c".to_owned(), value.to_owned())]),
            ..FinalData::default()
        };
        assert_eq!(broken(&history, &survival, &counter("1")), 1);
        assert_eq!(broken(&history, &survival, &counter("2")), 0);
        assert_eq!(broken(&history, &survival, &counter("3")), 0);
        assert_eq!(broken(&history, &survival, &counter("4")), 1);
        survival.crash(0, 0, [(NodeId(1), 5)].into_iter());
        assert_eq!(broken(&history, &survival, &counter("1")), 0, "nobody had the other one");
        assert_eq!(broken(&history, &survival, &counter("0")), 1);
    }

    #[test]
    fn members_stay_or_stay_away() {
        let mut history = History::default();
        let member = |name: &str| ("s".to_owned(), name.to_owned());
        let stays = MemberHistory { added: acknowledged(0, 1), ..MemberHistory::default() };
        let gone = MemberHistory { removal_tried: true, removed: acknowledged(0, 2), ..stays.clone() };
        history.members = BTreeMap::from([(member("stays"), stays), (member("gone"), gone)]);
        let set = |members: &[&str]| FinalData {
            sets: BTreeMap::from([("s".to_owned(), members.iter().map(|member| (*member).to_owned()).collect())]),
            ..FinalData::default()
        };
        let survival = Survival::default();
        assert_eq!(broken(&history, &survival, &set(&["stays"])), 0);
        assert_eq!(broken(&history, &survival, &set(&[])), 1);
        assert_eq!(broken(&history, &survival, &set(&["stays", "gone"])), 1);
        assert_eq!(broken(&history, &survival, &set(&["stays", "unknown"])), 1);
    }

    #[test]
    fn a_field_never_goes_back_behind_what_was_acknowledged() {
        let mut history = History::default();
        let attempts = vec![attempt("1", acknowledged(0, 1)), attempt("2", acknowledged(0, 2)), attempt("3", None)];
        history.fields.insert(("h".to_owned(), "f".to_owned()), attempts);
        let hash = |value: &str| FinalData {
            hashes: BTreeMap::from([("h".to_owned(), BTreeMap::from([("f".to_owned(), value.to_owned())]))]),
            ..FinalData::default()
        };
        let survival = Survival::default();
        assert_eq!(broken(&history, &survival, &hash("1")), 1);
        assert_eq!(broken(&history, &survival, &hash("2")), 0);
        assert_eq!(broken(&history, &survival, &hash("3")), 0);
        assert_eq!(broken(&history, &survival, &hash("4")), 1);
        assert_eq!(broken(&history, &survival, &FinalData::default()), 1);
    }
}
