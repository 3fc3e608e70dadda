//! Random positions in a collection.
//!
//! Must not know what is at a position.

use std::collections::BTreeMap;

/// `count` different positions below `length`, in random order; all of them in order when there are not more.
///
/// Fisher and Yates's shuffle, stopped after `count` steps, with only the exchanged places kept.
pub fn distinct_positions(random: &mut fastrand::Rng, length: usize, count: usize) -> Vec<usize> {
    if count >= length {
        return (0..length).collect();
    }
    let mut exchanged: BTreeMap<usize, usize> = BTreeMap::new();
    let mut picked = Vec::with_capacity(count);
    for step in 0..count {
        let at = random.usize(step..length);
        picked.push(exchanged.get(&at).copied().unwrap_or(at));
        let moved = exchanged.get(&step).copied().unwrap_or(step);
        exchanged.insert(at, moved);
    }
    picked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_differ_and_every_one_has_its_chance() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut seen = [0; 20];
        for _ in 0..1_000 {
            let mut picked = distinct_positions(&mut random, 20, 7);
            picked.iter().for_each(|&at| seen[at] += 1);
            picked.sort_unstable();
            picked.dedup();
            assert_eq!(picked.len(), 7);
        }
        assert!(seen.iter().all(|&times| (250..450).contains(&times)), "{seen:?}");
        assert_eq!(distinct_positions(&mut random, 3, 9), [0, 1, 2]);
        assert!(distinct_positions(&mut random, 3, 0).is_empty());
    }
}
