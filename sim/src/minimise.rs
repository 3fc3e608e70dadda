//! Makes a run that breaks a promise smaller, for as long as it breaks the same promise.
//!
//! After the idea of delta debugging (Zeller and Hildebrandt 2002), greedily: a part of the plan is left out or made simpler; if
//! what is left fails as well, it is the plan from now on. Whatever is left out changes everything that is drawn after it, so each
//! candidate has a few seeds to fail with. What follows is decided by the plan alone: the same plan becomes the same small one.

use crate::Outcome;
use crate::plan::Plan;
use crate::scenario::{Ending, FAMILIES, Fault, Links};

/// With so many seeds a candidate may fail.
const CHANCES: u64 = 4;
/// Nothing is moved that is closer together than this.
const SHORTEST_PAUSE: u64 = 100;

/// What became of a plan.
pub struct Minimal {
    /// The small plan.
    pub plan: Plan,
    /// What it breaks.
    pub outcome: Outcome,
    /// How many runs it took.
    pub runs: u64,
}

/// The promise that a violation is about.
pub fn promise(violation: &str) -> &str {
    let name = violation.split_once(':').map_or(violation, |(name, _)| name);
    // What is read and what is audited is held against the same specification.
    name.strip_prefix("P1, ").unwrap_or(name)
}

/// Makes a plan that fails smaller, with at most so many runs. None when it does not fail.
pub fn minimise(plan: &Plan, most_runs: u64, mut tell: impl FnMut(&Plan)) -> Option<Minimal> {
    let outcome = plan.run(false);
    let sought = promise(outcome.violations.first()?).to_owned();
    let mut search = Search { plan: plan.clone(), outcome, sought, runs: 1, most_runs };
    loop {
        let before = search.plan.clone();
        search.end_early();
        search.omit_faults();
        search.omit_nodes();
        search.omit_kinds();
        search.simplify();
        search.write_less();
        search.shorten();
        // Last: it is mostly a read that finds the failure soon.
        search.change(|plan| plan.scenario.workload.reads = 0.0);
        tell(&search.plan);
        if search.plan == before || search.runs >= most_runs {
            let Search { plan, outcome, runs, .. } = search;
            return Some(Minimal { plan, outcome, runs });
        }
    }
}

struct Search {
    plan: Plan,
    outcome: Outcome,
    sought: String,
    runs: u64,
    most_runs: u64,
}

impl Search {
    /// Takes a candidate if it fails as the plan does.
    fn try_plan(&mut self, candidate: &Plan) -> bool {
        if *candidate == self.plan {
            return false;
        }
        for chance in 0..CHANCES {
            if self.runs >= self.most_runs {
                return false;
            }
            self.runs += 1;
            let plan = Plan { seed: candidate.seed.wrapping_add(chance), ..candidate.clone() };
            let outcome = plan.run(false);
            if outcome.violations.first().is_some_and(|violation| promise(violation) == self.sought) {
                (self.plan, self.outcome) = (plan, outcome);
                return true;
            }
        }
        false
    }

    fn change(&mut self, change: impl FnOnce(&mut Plan)) -> bool {
        let mut candidate = self.plan.clone();
        change(&mut candidate);
        self.try_plan(&candidate)
    }

    /// What comes after the failure is no part of it.
    fn end_early(&mut self) {
        let failed_at = self.outcome.statistics.simulated;
        self.change(|plan| {
            let scenario = &mut plan.scenario;
            scenario.duration = scenario.duration.min(failed_at + 1);
            let end = scenario.duration;
            scenario.faults.retain(|(at, _)| *at < end);
        });
    }

    /// Leaves faults out: halves, quarters, and so on, down to one.
    fn omit_faults(&mut self) {
        let mut size = self.plan.scenario.faults.len().div_ceil(2);
        while size > 0 {
            // From the end: what comes first stays as it was.
            let mut end = self.plan.scenario.faults.len();
            while end > 0 {
                let begin = end.saturating_sub(size);
                self.change(|plan| drop(plan.scenario.faults.drain(begin..end)));
                end = begin;
            }
            size /= 2;
        }
    }

    fn omit_nodes(&mut self) {
        let mut node = self.plan.scenario.nodes;
        while node > 0 && self.plan.scenario.nodes > 1 {
            node -= 1;
            self.change(|plan| omit_node(plan, node));
        }
    }

    /// One kind of writes, whether it was among them or not; or as few as it takes.
    fn omit_kinds(&mut self) {
        let kinds = |mix: &[u8]| mix.iter().filter(|weight| **weight > 0).count();
        for family in 0..FAMILIES.len() {
            if kinds(&self.plan.scenario.workload.mix) > 1 {
                self.change(|plan| {
                    plan.scenario.workload.mix = [0; FAMILIES.len()];
                    plan.scenario.workload.mix[family] = 10;
                });
            }
        }
        for family in 0..FAMILIES.len() {
            if kinds(&self.plan.scenario.workload.mix) > 1 {
                self.change(|plan| plan.scenario.workload.mix[family] = 0);
            }
        }
    }

    /// Good links, no budgets, fewer keys, less to do.
    fn simplify(&mut self) {
        self.change(|plan| plan.scenario.links = Links::GOOD);
        self.change(|plan| plan.scenario.ending = Ending::All);
        self.change(|plan| plan.scenario.log_limit = None);
        self.change(|plan| plan.scenario.waiting_limit = None);
        self.change(|plan| plan.scenario.metadata_limit = None);
        self.change(|plan| plan.scenario.late_writes = false);
        self.change(|plan| plan.scenario.workload.flushes = false);
        self.change(|plan| plan.scenario.workload.coarse_ids = false);
        while self.plan.scenario.workload.keys > 1 && self.change(|plan| plan.scenario.workload.keys /= 2) {}
        while self.plan.scenario.workload.rate > 1 && self.change(|plan| plan.scenario.workload.rate /= 2) {}
    }

    /// At most half as many writes, as long as that is enough.
    fn write_less(&mut self) {
        loop {
            let writes = self.outcome.statistics.writes;
            if writes < 2 || !self.change(|plan| plan.scenario.workload.writes = Some(writes / 2)) {
                return;
            }
        }
    }

    /// Halves the pauses between faults, and so how long each lasts.
    fn shorten(&mut self) {
        for number in 0..=self.plan.scenario.faults.len() {
            while self.change(|plan| shorten(plan, number)) {}
        }
    }
}

/// Halves the pause before a fault, or the one before the end; all that comes later comes earlier by as much.
fn shorten(plan: &mut Plan, number: usize) {
    let scenario = &mut plan.scenario;
    let at = |number: usize| scenario.faults.get(number).map(|(at, _)| *at);
    let begin = number.checked_sub(1).and_then(at).unwrap_or(0);
    let pause = at(number).unwrap_or(scenario.duration).saturating_sub(begin);
    if pause < SHORTEST_PAUSE {
        return;
    }
    let less = pause / 2;
    scenario.faults[number..].iter_mut().for_each(|(at, _)| *at -= less);
    scenario.duration -= less;
}

/// Leaves a node out; those with higher numbers move up.
fn omit_node(plan: &mut Plan, gone: usize) {
    let rename = |node: usize| if node > gone { node - 1 } else { node };
    let rename_all = |nodes: &mut Vec<usize>| {
        nodes.retain(|node| *node != gone);
        nodes.iter_mut().for_each(|node| *node = rename(*node));
    };
    let scenario = &mut plan.scenario;
    scenario.nodes -= 1;
    if let Ending::Core(core) = &mut scenario.ending {
        rename_all(core);
    }
    scenario.faults.retain_mut(|(_, fault)| match fault {
        Fault::Start(node) | Fault::Crash(node) | Fault::Pause(node) | Fault::Resume(node) => {
            let stays = *node != gone;
            *node = rename(*node);
            stays
        }
        Fault::Clock { node, .. } => {
            let stays = *node != gone;
            *node = rename(*node);
            stays
        }
        Fault::Cut { from, to } => {
            rename_all(from);
            rename_all(to);
            !from.is_empty() && !to.is_empty()
        }
        Fault::Mend | Fault::Links(_) | Fault::Dns(_) => true,
    });
    // Without anybody to heal there would be nothing to see.
    if scenario.ending == Ending::Core(Vec::new()) {
        scenario.ending = Ending::All;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_move_up_when_one_is_left_out() {
        let text = "nodes 4\ncore 0,2,3\nat 0 start 2\nat 1 start 3\nat 2 cut 2 0,3\nat 3 cut 1,2 3\nat 4 pause 1\n";
        let mut plan: Plan = text.parse().expect("a plan");
        omit_node(&mut plan, 2);
        let expected = "nodes 3\ncore 0,2\nat 1 start 2\nat 3 cut 1 2\nat 4 pause 1\n";
        assert_eq!(plan, expected.parse().expect("a plan"));
    }

    #[test]
    fn what_comes_after_a_shorter_pause_comes_earlier() {
        let mut plan: Plan = "duration 9000\nat 1000 start 0\nat 3000 mend\nat 5000 mend".parse().expect("a plan");
        shorten(&mut plan, 1);
        shorten(&mut plan, 3);
        let times: Vec<u64> = plan.scenario.faults.iter().map(|(at, _)| *at).collect();
        assert_eq!((times, plan.scenario.duration), (vec![1_000, 2_000, 4_000], 6_000));
    }

    #[test]
    fn reading_and_auditing_are_about_the_same_promise() {
        assert_eq!(promise("P1, P2, P3, P5 or P6: node 1"), promise("P2, P3, P5 or P6: node 0 shows"));
        assert_eq!(promise("P1: no convergence"), "P1");
    }
}
