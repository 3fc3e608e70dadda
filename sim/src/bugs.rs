//! How many seeds of the swarm it takes to catch each planted bug.

use std::process::ExitCode;

use sim::swarm::{self, Severity};
use swytch::planted::{self, Bug};

/// So far apart begin the ranges of seeds.
const APART: u64 = 1_000;

/// Plants one bug, or each, and prints a table: the median over all ranges of the seeds that it took, and what caught it.
pub fn measure(only: Option<(&'static str, Bug)>, ranges: u64, most: u64) -> ExitCode {
    let all = planted::ALL.to_vec();
    println!("| bug | seeds, median | of | caught by |\n|---|---|---|---|");
    let mut missed = false;
    for (name, bug) in only.map_or(all, |one| vec![one]) {
        planted::plant(Some(bug));
        let mut counts = Vec::new();
        let mut caught_by = String::new();
        for range in 0..ranges {
            let mut failing = (0..most).filter_map(|number| {
                let plan = swarm::plan(range * APART + number, Severity::Whole);
                let violation = plan.run(false).violations.into_iter().next()?;
                // A seed that fails without the bug tells nothing of it.
                planted::plant(None);
                let is_sound = !plan.run(false).has_failed();
                planted::plant(Some(bug));
                is_sound.then_some((number + 1, violation))
            });
            let caught = failing.next();
            counts.push(caught.as_ref().map_or(u64::MAX, |(count, _)| *count));
            if let Some((_, violation)) = caught.filter(|_| caught_by.is_empty()) {
                caught_by = violation;
            }
        }
        planted::plant(None);
        counts.sort_unstable();
        let said = |count: &u64| if *count == u64::MAX { format!("over {most}") } else { count.to_string() };
        let median = &counts[(counts.len() - 1) / 2];
        missed |= *median == u64::MAX;
        let each: Vec<String> = counts.iter().map(said).collect();
        let promise = caught_by.split_once(':').map_or("nothing", |(promise, _)| promise);
        println!("| {name} | {} | {} | {promise} |", said(median), each.join(", "));
    }
    if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
