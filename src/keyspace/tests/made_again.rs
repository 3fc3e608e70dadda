//! Effects that are made again on top of other data: removals from lists, and values of another type.

use super::*;

/// Has a node begin anew, under another name, with all that another one has, and make effects again. Returns them, each with all that
/// it had seen.
fn made_again(
    node: &Node,
    source: &Node,
    effects: &[(Effect, Frontier)],
    folded: &Frontier,
) -> Vec<(Effect, Frontier)> {
    node.keyspace.begin_import(NodeId(9));
    for shard in 0..Keyspace::SHARDS {
        node.keyspace.import_shard(&source.keyspace.export_shard(shard)).expect("well formed");
    }
    node.keyspace.finish_import(&source.keyspace.frontier(), source.keyspace.latest_time());
    node.keyspace.end_catch_up();
    let mut seen = node.keyspace.frontier();
    let made = node.keyspace.reissue(&mut Reissue::new(NodeId(9)), effects, folded, 100);
    let each = made.into_iter().map(|(_, effect)| {
        let past = seen.clone();
        seen.raise(effect.dot.node, effect.dot.seq);
        (effect, past)
    });
    each.collect()
}

fn push(node: &mut Node, now: Millis, end: End, element: &str) -> (Effect, Frontier) {
    let element = Elements::one(element.as_bytes());
    node.write(now, "q", |t, key| assert!(t.list_push(key, end, element).is_ok()))
}

fn pop(node: &mut Node, now: Millis, end: End, count: u64) -> (Effect, Frontier) {
    node.write(now, "q", |t, key| assert!(t.list_remove(key, end, Ranges::first(count)).is_ok()))
}

/// Both show this, and a third node that gets the effects.
fn assert_shown(maker: &Node, source: &Node, made: &[(Effect, Frontier)], expected: &str) {
    assert_eq!(maker.dump(), expected);
    made.iter().for_each(|effect| source.apply(effect));
    assert_eq!(source.dump(), expected);
}

#[test]
fn a_pop_takes_the_same_element_although_the_list_is_in_another_order() {
    let [a, mut b, mut c] = nodes();
    let mut effects = vec![push(&mut c, 1, End::Left, "of-c")];
    effects.push(push(&mut b, 2, End::Left, "gone"));
    effects.push(b.write(3, "q", |t, key| assert!(t.remove(key))));
    effects.push(push(&mut b, 4, End::Right, "of-b"));
    b.apply(&effects[0]);
    assert_eq!(b.dump(), "0 q list [of-b of-c]");
    effects.push(pop(&mut b, 5, End::Right, 1));
    let made = made_again(&b, &a, &effects, &Frontier::EMPTY);
    assert_shown(&b, &a, &made, "0 q list [of-b]");
}

#[test]
fn a_pop_of_what_it_does_not_reach_takes_nothing_else() {
    let [mut a, mut b, mut c] = nodes();
    let known = push(&mut a, 1, End::Right, "known");
    b.apply(&known);
    c.apply(&known);
    let later = push(&mut c, 2, End::Right, "later");
    a.apply(&later);
    let folded = a.keyspace.frontier();
    fold(&a, &folded);
    let effects = [push(&mut b, 3, End::Right, "own"), pop(&mut b, 4, End::Left, 1)];
    assert_eq!(b.dump(), "0 q list [own]");
    let made = made_again(&b, &a, &effects, &folded);
    assert_eq!(made.len(), 2, "it is made again, and does nothing");
    assert_shown(&b, &a, &made, "0 q list [known later own]");
}

#[test]
fn a_pop_that_had_seen_all_that_is_folded_takes_what_is_there() {
    let [mut a, mut b, mut c] = nodes();
    for element in ["1", "2", "3"] {
        let effect = push(&mut a, 1, End::Right, element);
        b.apply(&effect);
        c.apply(&effect);
    }
    let folded = a.keyspace.frontier();
    [&a, &b].into_iter().for_each(|node| fold(node, &folded));
    let effects = [push(&mut b, 2, End::Left, "0"), pop(&mut b, 3, End::Right, 1), pop(&mut b, 4, End::Left, 2)];
    // The other side takes the first one, too, and adds one that looks the same: that stays.
    for effect in [pop(&mut c, 5, End::Left, 1), push(&mut c, 6, End::Left, "1")] {
        a.apply(&effect);
    }
    let made = made_again(&b, &a, &effects, &folded);
    assert_shown(&b, &a, &made, "0 q list [1 2]");
}

#[test]
fn what_one_effect_does_to_a_list_counts_on() {
    let [a, mut b, c] = nodes();
    let mut effects: Vec<_> = ["1", "2", "3", "4"].iter().map(|name| push(&mut b, 1, End::Right, name)).collect();
    effects.push(b.write(2, "q", |t, key| {
        let mut both = RangesWriter::default();
        [0, 2].into_iter().for_each(|position| both.push(position));
        assert!(t.list_remove(key, End::Left, both.ranges()).is_ok());
        assert!(t.list_remove(key, End::Right, Ranges::first(1)).is_ok());
        assert!(t.list_push(key, End::Left, Elements::one(b"0")).is_ok());
    }));
    assert_eq!(b.dump(), "0 q list [0 2]");
    c.apply(&push(&mut Node::new(4), 1, End::Left, "other"));
    let made = made_again(&b, &c, &effects, &Frontier::EMPTY);
    assert_shown(&b, &c, &made, "0 q list [0 other 2]");
    let made = made_again(&a, &c, &[], &Frontier::EMPTY);
    assert_shown(&a, &c, &made, "0 q list [0 other 2]");
}

#[test]
fn of_many_elements_it_is_not_noted_what_they_looked_like() {
    for (count, shown) in [(16, "0 q list [17 18]"), (17, "0 q list [1 10 11 12 13 14 15 16 17 18 2 3 4 5 6 7 8 9]")] {
        let [a, mut b, _] = nodes();
        let mut effects: Vec<_> = (1..19).map(|number| push(&mut b, 1, End::Right, &number.to_string())).collect();
        effects.push(push(&mut b, 2, End::Right, "last"));
        effects.push(pop(&mut b, 3, End::Left, count));
        effects.push(pop(&mut b, 4, End::Right, 1));
        let narrow = [(NodeId(7), 1)].into_iter().collect();
        let made = made_again(&b, &a, &effects, &narrow);
        let mut found: Vec<String> = b.dump()[10..].trim_end_matches(']').split(' ').map(str::to_owned).collect();
        found.sort_unstable();
        assert_eq!(format!("0 q list [{}]", found.join(" ")), shown, "{count}");
        assert_eq!(made.len(), effects.len());
    }
}

#[test]
fn a_value_of_another_type_lives_as_long_as_the_key_wherever_that_is_stable() {
    for set in [true, false] {
        let [mut a, mut b, c] = nodes();
        let string = a.write(1, "q", |t, key| {
            t.string_set(key, b"text", if set { Life::Until(5_000) } else { Life::Forever });
            if !set {
                assert!(t.set_deadline(key, Some(5_000)));
            }
        });
        c.apply(&string);
        let folded = a.keyspace.frontier();
        fold(&a, &folded);
        let effects = [b.write(2, "q", |t, key| assert!(t.hash_set(key, b"field", b"value").is_ok()))];
        let made = made_again(&b, &a, &effects, &folded);
        c.apply(&made[0]);
        assert_shown(&b, &a, &made, "0 q hash [field=value] until 5000");
        assert_eq!(c.dump(), a.dump(), "it knows who had said so, set: {set}");
    }
}

#[test]
fn of_two_strings_that_it_does_not_reach_the_later_one_says_how_long_the_key_lives() {
    let [mut a, mut b, mut c] = nodes();
    let stable = a.write(1, "q", |t, key| t.string_set(key, b"stable", Life::Until(5_000)));
    c.apply(&stable);
    let folded = a.keyspace.frontier();
    fold(&a, &folded);
    let later = c.write(2, "q", |t, key| t.string_set(key, b"later", Life::Forever));
    a.apply(&later);
    let effects = [b.write(3, "q", |t, key| assert!(t.hash_set(key, b"field", b"value").is_ok()))];
    let made = made_again(&b, &a, &effects, &folded);
    c.apply(&made[0]);
    assert_shown(&b, &a, &made, "0 q hash [field=value]");
    assert_eq!(c.dump(), a.dump());
}
