//! A stream against a map of its entries.

use std::collections::BTreeMap;

use super::super::limits::NodeLimit;
use super::super::testing::random_element;
use super::*;

type Model = BTreeMap<StreamId, Vec<Vec<u8>>>;

fn entry(random: &mut fastrand::Rng, largest: usize) -> Vec<Vec<u8>> {
    match random.u8(..4) {
        0 => (0..2 * random.usize(1..4)).map(|_| random_element(random, largest)).collect(),
        number => (0..2 * usize::from(number))
            .map(|at| if at % 2 == 0 { format!("field{at}").into_bytes() } else { random_element(random, largest) })
            .collect(),
    }
}

fn slices(entry: &[Vec<u8>]) -> impl Iterator<Item = &[u8]> + Clone {
    entry.iter().map(Vec::as_slice)
}

fn owned(entry: StreamEntry<'_>) -> (StreamId, Vec<Vec<u8>>) {
    assert_eq!(entry.fields.len(), entry.fields.clone().count());
    (entry.id, entry.fields.map(|element| element.to_vec()).collect())
}

fn random_id(random: &mut fastrand::Rng) -> StreamId {
    match random.u8(..20) {
        0 => StreamId::MAX,
        1 => StreamId::new(0, 1),
        2 => StreamId::new(random.u64(..), random.u64(..)),
        _ => StreamId::new(random.u64(1..400), random.u64(..3).wrapping_mul(random.u64(..))),
    }
}

fn check(stream: &StreamValue, model: &Model, random: &mut fastrand::Rng) {
    assert_eq!(stream.len(), model.len());
    assert_eq!(stream.payload, stream.chunks.iter().map(Chunk::memory).sum::<usize>());
    assert!(stream.chunks.iter().skip(1).all(|chunk| chunk.len() > 0), "a trim may leave the first one empty");
    let all: Vec<_> = stream.iter().map(owned).collect();
    assert!(all.iter().map(|(id, entry)| (id, entry)).eq(model));
    let (from, to) = (random_id(random), random_id(random));
    let expected: Vec<_> = match from <= to {
        true => model.range(from..=to).map(|(id, entry)| (*id, entry.clone())).collect(),
        false => Vec::new(),
    };
    assert!(stream.range(from, to).map(owned).eq(expected.iter().cloned()));
    assert!(stream.range_back(from, to).map(owned).eq(expected.into_iter().rev()));
}

#[test]
fn behaves_like_a_map() {
    let mut random = fastrand::Rng::with_seed(77);
    for round in 0..24 {
        let node = NodeLimit::new([4096, 0, 300][round % 3], [100, 4, 0, 1][round % 4]);
        let limits = Limits { stream_node: node, ..Limits::DEFAULT };
        let (mut stream, mut model) = (StreamValue::new(), Model::new());
        for _ in 0..400 {
            let id = random_id(&mut random);
            match random.u8(..10) {
                0..6 => {
                    let entry = entry(&mut random, [10, 300][round % 2]);
                    let id = match stream.iter().last() {
                        Some(last) if random.bool() => last.id.next().unwrap_or(id),
                        _ => id,
                    };
                    let is_new = !model.contains_key(&id);
                    assert_eq!(stream.insert_within(&limits, id, slices(&entry)), is_new);
                    model.entry(id).or_insert(entry);
                }
                6..9 => {
                    let id = model.keys().nth(random.usize(..=model.len())).copied().unwrap_or(id);
                    assert_eq!(
                        stream.get(id).map(owned),
                        model.get_key_value(&id).map(|(id, entry)| (*id, entry.clone()))
                    );
                    assert_eq!(stream.remove(id), model.remove(&id).is_some());
                }
                _ => {
                    let id = StreamId { milliseconds: id.milliseconds / 8, ..id };
                    let left = model.split_off(&id);
                    assert_eq!(stream.remove_below(id), model.len());
                    model = left;
                }
            }
            if random.u8(..8) == 0 {
                check(&stream, &model, &mut random);
            }
        }
        check(&stream, &model, &mut random);
    }
}

fn numbered(count: u64, field: &str, value: &str) -> StreamValue {
    let mut stream = StreamValue::new();
    (1..=count).for_each(|number| {
        stream.add(StreamId::new(number, 0), [field.as_bytes(), value.as_bytes()].into_iter());
    });
    stream
}

#[test]
fn nodes_end_where_those_of_redis_end() {
    // As redis-server 7.0.15 says in `radix-tree-keys`, and by what `XTRIM MAXLEN ~ 1` leaves.
    let firsts = |stream: &StreamValue| stream.chunk_ids().map(|id| id.milliseconds).collect::<Vec<_>>();
    assert_eq!(firsts(&numbered(250, "f", "v")), [1, 101, 201]);
    let mut stream = numbered(3, "f", "v");
    stream.remove(StreamId::new(3, 0));
    assert_eq!(stream.trim_point(&trim(TrimTo::Id(StreamId::new(3, 0)), true)), None);
    assert_eq!(stream.trim_point(&trim(TrimTo::Id(StreamId::new(3, 1)), true)), Some((StreamId::new(3, 1), 2)));
}

/// As redis-server 7.0.15 does it, by what `XTRIM MINID ~` removes afterwards.
#[test]
fn a_node_stays_while_a_deleted_entry_is_above_what_a_trim_takes() {
    let id = |milliseconds| StreamId::new(milliseconds, 0);
    let mut stream = numbered(3, "f", "v");
    stream.remove(id(3));
    assert_eq!(stream.remove_below(id(3)), 2);
    assert_eq!((stream.len(), stream.chunks(), stream.first_id()), (0, 1, StreamId::MIN));
    stream.add(id(4), [&b"f"[..], b"v"].into_iter());
    assert_eq!((stream.chunk_ids().collect::<Vec<_>>(), stream.first_id()), (vec![id(1)], id(4)));
    assert_eq!(stream.range_back(StreamId::MIN, StreamId::MAX).count(), 1);
    assert_eq!(stream.remove_below(id(5)), 1);
    assert_eq!((stream.len(), stream.chunks()), (0, 0));
}

fn trim(to: TrimTo, approximate: bool) -> Trim {
    Trim { to, approximate, limit: None }
}

#[test]
fn trims_remove_from_the_lowest_id_on() {
    let stream = numbered(250, "f", "v");
    let id = |milliseconds| StreamId::new(milliseconds, 0);
    let point = |to, approximate| stream.trim_point(&trim(to, approximate)).map(|(_, removed)| removed);
    assert_eq!(point(TrimTo::Length(250), false), None);
    assert_eq!(point(TrimTo::Length(249), false), Some(1));
    assert_eq!(point(TrimTo::Length(0), false), Some(250));
    assert_eq!(point(TrimTo::Length(151), true), None);
    assert_eq!(point(TrimTo::Length(150), true), Some(100));
    assert_eq!(point(TrimTo::Length(1), true), Some(200));
    assert_eq!(point(TrimTo::Id(id(100)), true), None);
    assert_eq!(point(TrimTo::Id(id(101)), true), Some(100));
    assert_eq!(point(TrimTo::Id(id(122)), false), Some(121));
    let limited = Trim { to: TrimTo::Length(0), approximate: true, limit: Some(199) };
    assert_eq!(stream.trim_point(&limited).map(|(_, removed)| removed), Some(100));
    let mut trimmed = stream.clone();
    let (below, removed) = stream.trim_point(&trim(TrimTo::Length(77), false)).expect("there is more");
    assert_eq!(trimmed.remove_below(below), removed);
    assert_eq!((trimmed.len(), trimmed.first_id()), (77, id(174)));
}

#[test]
fn a_group_gives_each_entry_to_one_consumer() {
    let mut stream = StreamValue::new();
    let before = stream.memory();
    stream.put_group(b"g", Group::new(StreamId::MIN, None));
    let (one, two) = (StreamId::new(1, 0), StreamId::new(2, 0));
    stream.edit_group(b"g", |group| {
        assert!(group.create_consumer(b"a", 5));
        group.give(one, b"a", 6, 1);
        group.give(two, b"a", 6, 1);
        group.give(one, b"b", 7, 2);
        group.give(one, b"b", 8, 3);
    });
    let group = stream.group(b"g").expect("it was made");
    let pending =
        |name: &[u8]| group.consumer(name).map(|consumer| consumer.pending().iter().copied().collect::<Vec<_>>());
    assert_eq!((pending(b"a"), pending(b"b"), pending(b"c")), (Some(vec![two]), Some(vec![one]), None));
    assert_eq!(group.pending()[&one], Pending { consumer: (*b"b").into(), delivered_at: 8, deliveries: 3 });
    stream.edit_group(b"g", |group| {
        assert!(group.acknowledge(one) && !group.acknowledge(one));
        assert_eq!(group.remove_consumer(b"a"), Some(1));
        assert_eq!(group.remove_consumer(b"a"), None);
        assert!(group.pending().is_empty());
        assert_eq!(group.remove_consumer(b"b"), Some(0));
    });
    stream.remove_group(b"g");
    assert_eq!(stream.memory(), before);
}

#[test]
fn an_entry_costs_little_more_than_its_values() {
    let mut stream = StreamValue::new();
    for number in 0..100_000u64 {
        let id = StreamId::new(1_700_000_000_000 + number / 3, number % 3);
        let (one, two) = (format!("{number:08x}x"), format!("value {number}"));
        stream.add(id, [&b"one"[..], one.as_bytes(), b"two", two.as_bytes()].into_iter());
    }
    let values = 9 + 11;
    assert!(stream.memory() < 100_000 * (values + 12), "{}", stream.memory());
}
