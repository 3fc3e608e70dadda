//! The recorded bytes of everything that nodes say to each other, in the current version of the protocol: `wire/VERSION.txt`, one line
//! for each thing, its name and its bytes in hexadecimal digits.
//!
//! What is encoded today must be what was recorded, byte for byte, and what was recorded must be read as what it was. **A difference here is
//! a new version of the protocol**: nodes of the version before are still out there during an upgrade. Raise `PROTOCOL_VERSION`, add the
//! new name in front of `PROTOCOLS`, go on speaking the version before to who offers no more, and keep its record. Only as long as a version was
//! never in a release may its record be written anew: `SWYTCH_RECORD_WIRE=1 cargo test -p swytch --lib wire_record`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::snapshot::{Assembler, Ending, Part, ending_frames, header_frame, shard_frames};
use super::traces::{decode_traces, encode_traces};
use super::{PROTOCOLS, StreamKind};
use crate::commands::testing::Fixture;
use crate::effects::{
    Action, Dot, Effect, Frontier, NodeId, Operation, OperationsWriter, Reach, TraceContext, TracedEffect,
};
use crate::keyspace::Keyspace;
use crate::pubsub::{Message, decode_messages, encode_messages};
use crate::replication::{
    Frame, Hello, History, Member, PROTOCOL_VERSION, SnapshotHeader, SnapshotTail, Stage, Stretch,
};

/// Set to write the record anew.
const RECORD: &str = "SWYTCH_RECORD_WIRE";
/// How many kinds of actions and of frames there are: see `number_of` and `name_of`.
const ACTIONS: usize = 38;
const FRAMES: usize = 9;

const ONE: NodeId = NodeId(7);
const OTHER: NodeId = NodeId(0xfedc_ba98_7654_3210);

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("src/cluster/wire/{PROTOCOL_VERSION}.txt"))
}

fn frontier() -> Frontier {
    [(ONE, 300), (OTHER, 1 << 40)].into_iter().collect()
}

/// One of each kind of frame, by name.
fn frames() -> Vec<(String, Frame)> {
    let member = Member {
        name: "a".into(),
        address: "127.0.0.1:7379".into(),
        client_port: 6379,
        version: "1.2.3".into(),
        started: 1_700_000_000_000,
        serving: true,
        former: vec![NodeId(1)],
        legacy: vec![Stretch { origin: NodeId(2), after: 1, upto: 300 }],
        forgotten: vec![(NodeId(1), 4)],
    };
    let hello = Hello {
        member: member.clone(),
        frontier: frontier(),
        floor: Frontier::EMPTY,
        archive: None,
        stage: Stage::Seeking,
        departed: vec![(NodeId(4), 4)],
        participants: vec![NodeId(5)],
    };
    let gossip = |stage| Frame::Gossip {
        frontier: frontier(),
        floor: frontier(),
        archive: Some(frontier()),
        stage,
        stuck: true,
        departed: vec![(OTHER, 9)],
    };
    let frames = [
        Frame::Hello(Box::new(hello)),
        Frame::Introduce { nodes: vec![(OTHER, member)] },
        Frame::Ack { seq: 300 },
        Frame::Effects(vec![Bytes::from_static(b"one"), Bytes::new(), Bytes::from(vec![7; 300])]),
        Frame::Request { origin: OTHER, after: 2, upto: 300 },
        Frame::SnapshotRequest { attempt: 1 },
        Frame::HandoverRequest { attempt: 2, beyond: frontier() },
        Frame::Goodbye { last: 12 },
    ];
    let gossips = [Stage::Seeking, Stage::CatchingUp, Stage::Serving, Stage::Leaving, Stage::Parting].map(gossip);
    frames
        .into_iter()
        .chain(gossips)
        .enumerate()
        .map(|(at, frame)| (format!("frame {at} {}", name_of(&frame)), frame))
        .collect()
}

/// Names every kind of frame: who adds one comes past here, and adds a sample above.
fn name_of(frame: &Frame) -> &'static str {
    match frame {
        Frame::Hello(_) => "hello",
        Frame::Gossip { .. } => "gossip",
        Frame::Introduce { .. } => "introduce",
        Frame::Ack { .. } => "ack",
        Frame::Effects(_) => "effects",
        Frame::Request { .. } => "request",
        Frame::SnapshotRequest { .. } => "snapshot-request",
        Frame::HandoverRequest { .. } => "handover-request",
        Frame::Goodbye { .. } => "goodbye",
    }
}

/// Numbers every kind of action: who adds one comes past here, and adds a command below that leaves it.
fn number_of(action: &Action<'_>) -> usize {
    match action {
        Action::Remove => 0,
        Action::Deadline { .. } => 1,
        Action::StringSet { .. } => 2,
        Action::StringAdd { .. } => 3,
        Action::StringAddFloat { .. } => 4,
        Action::StringAppend { .. } => 5,
        Action::StringSetRange { .. } => 6,
        Action::StringSetBits { .. } => 7,
        Action::StringAddBits(_) => 8,
        Action::StringRaiseRegisters(_) => 9,
        Action::FieldSet { .. } => 10,
        Action::FieldAdd { .. } => 11,
        Action::FieldAddFloat { .. } => 12,
        Action::FieldRemove { .. } => 13,
        Action::FieldDeadline { .. } => 14,
        Action::MemberAdd { .. } => 15,
        Action::MemberRemove { .. } => 16,
        Action::ScoreSet { .. } => 17,
        Action::ScoreAdd { .. } => 18,
        Action::ScoreMax { .. } => 19,
        Action::ScoreMin { .. } => 20,
        Action::ScoreRemove { .. } => 21,
        Action::ListPush { .. } => 22,
        Action::ListInsert { .. } => 23,
        Action::ListSet { .. } => 24,
        Action::ListRemove { .. } => 25,
        Action::StreamAdd { .. } => 26,
        Action::StreamRemove { .. } => 27,
        Action::StreamTrim { .. } => 28,
        Action::StreamSetId { .. } => 29,
        Action::GroupCreate { .. } => 30,
        Action::GroupSetPosition { .. } => 31,
        Action::GroupDestroy { .. } => 32,
        Action::GroupDeliver { .. } => 33,
        Action::GroupClaim { .. } => 34,
        Action::GroupAcknowledge { .. } => 35,
        Action::ConsumerCreate { .. } => 36,
        Action::ConsumerRemove { .. } => 37,
    }
}

/// Commands that leave each kind of action behind, on a node of their own.
const COMMANDS: &[&str] = &[
    "SET string value",
    "SET string value PXAT 1900000000000",
    "PEXPIREAT string 1900000000001",
    "PERSIST string",
    "APPEND string more",
    "SETRANGE string 2 ranged",
    "SETBIT string 9 1",
    "BITFIELD string INCRBY u8 16 3",
    "SET number 5",
    "INCRBY number 7",
    "DECRBY number 300",
    "INCRBYFLOAT number 0.5",
    "PFADD loglog a b c",
    "HSET hash a 1 b 2 c text d 1.5",
    "HINCRBY hash a 4",
    "HINCRBYFLOAT hash d 0.25",
    "HDEL hash c",
    "HPEXPIREAT hash 1900000000000 FIELDS 1 b",
    "HPERSIST hash FIELDS 1 b",
    "SADD set a b c",
    "SREM set b",
    "ZADD zset 1 a 2.5 b -3 c",
    "ZINCRBY zset 2 a",
    "ZADD zset GT 9 a",
    "ZADD zset LT 1 b",
    "ZREM zset c",
    "RPUSH list a b c d e",
    "LPUSH list z y",
    "LINSERT list BEFORE b between",
    "LSET list 0 first",
    "LSET list -1 last",
    "LREM list 1 c",
    "LPOP list",
    "RPOP list 2",
    "XADD stream 1-1 field value",
    "XADD stream 2-0 field value other 2",
    "XADD stream 3-0 f v",
    "XGROUP CREATE stream group 0",
    "XGROUP CREATECONSUMER stream group idle",
    "XREADGROUP GROUP group one COUNT 2 STREAMS stream >",
    "XREADGROUP GROUP group two NOACK STREAMS stream >",
    "XCLAIM stream group two 0 1-1",
    "XACK stream group 2-0",
    "XGROUP SETID stream group 1-1",
    "XGROUP DELCONSUMER stream group idle",
    "XDEL stream 2-0",
    "XTRIM stream MINID 2",
    "XSETID stream 9-9",
    "XGROUP CREATE stream other $",
    "XGROUP DESTROY stream other",
    "DEL set",
    "SELECT 3",
    "SET elsewhere 1",
    "FLUSHDB",
    "SELECT 0",
];

/// A node after all these commands, and the effects that they left.
fn node_with_everything() -> (Fixture, Vec<Effect>) {
    let mut fixture = Fixture::of_node(ONE);
    for command in COMMANDS {
        let reply = fixture.run(command);
        assert!(!reply.starts_with('-'), "{command}: {reply}");
    }
    let effects = fixture.state.keyspace.drain_effects();
    (fixture, effects)
}

/// Effects with every kind of operation, and every form of an effect's head.
fn effects() -> Vec<(String, Bytes)> {
    let (mut fixture, all) = node_with_everything();
    let mut effects: Vec<_> =
        all.iter().map(|effect| (format!("effect {}", effect.dot.seq), effect.encoded().clone())).collect();
    fixture.run("FLUSHALL");
    effects.push(("effect flush-all".to_owned(), fixture.state.keyspace.drain_effects().remove(0).encoded().clone()));
    for (name, stable) in [("acts-on", false), ("acts-on-stable", true)] {
        let mut writer = OperationsWriter::default();
        writer.push(Operation::Key { database: 3, key: b"key", action: Action::Remove });
        let mut encoded = Vec::new();
        let (dot, reach) = (
            Dot { node: OTHER, seq: 300 },
            Reach { frontier: frontier(), stable, original: Dot { node: ONE, seq: 7 } },
        );
        Effect::encode(&mut encoded, dot, 1 << 60, &[(ONE, 300)], Some(&reach), writer.bytes());
        effects.push((format!("effect {name}"), Bytes::from(encoded)));
    }
    effects
}

/// The frames of a snapshot, without the shards in which there is nothing.
fn snapshot() -> Vec<(String, Bytes)> {
    let keyspace = keyspace_with_metadata();
    let header = SnapshotHeader {
        begin: frontier(),
        folded: [(ONE, 1)].into_iter().collect(),
        seen: vec![(OTHER, frontier())],
        participants: vec![ONE, OTHER],
        forced_out: vec![NodeId(5)],
    };
    let mut frames = vec![("snapshot header".to_owned(), header_frame(&header))];
    let empty = Fixture::of_node(ONE).state.keyspace.export_shard(0).len();
    for number in 0..Keyspace::SHARDS {
        let shard = keyspace.export_shard(number);
        // What is as long as nothing and the frontier of two nodes is nothing.
        if shard.len() > empty + 32 {
            frames.extend(shard_frames(shard).map(|frame| (format!("snapshot shard {number}"), frame)));
        }
    }
    let some = |from: usize| effects().into_iter().skip(from).take(3).map(|(_, effect)| effect).collect();
    let history = History { begin: [(OTHER, 1)].into_iter().collect(), effects: some(3) };
    let tail = SnapshotTail { effects: some(0), end: frontier(), history: Some(history) };
    let ends = ending_frames(Some(Ending { tail, time: 1 << 60 })).chain(ending_frames(None));
    frames.extend(
        ends.zip(["history", "tail", "trailer", "abandoned"]).map(|(frame, name)| (format!("snapshot {name}"), frame)),
    );
    frames.into_iter().map(|(name, pieces)| (name, Bytes::from(pieces.concat()))).collect()
}

/// Values of every type, with the metadata of writes at another node that had not seen these.
fn keyspace_with_metadata() -> Arc<Keyspace> {
    let (fixture, _) = node_with_everything();
    let mut other = Fixture::of_node(OTHER);
    for command in [
        "SET string other",
        "HSET hash a other e 1",
        "SADD set x",
        "ZADD zset 4 a",
        "RPUSH list x",
        "XADD stream 1-2 f v",
        "LPUSH number of-another-type",
        "PEXPIREAT hash 1900000000009",
    ] {
        let reply = other.run(command);
        assert!(!reply.starts_with('-'), "{command}: {reply}");
    }
    let mut seen = Frontier::EMPTY;
    for effect in other.state.keyspace.drain_effects() {
        fixture.state.keyspace.apply(&effect, &seen, fixture.now);
        seen.set(effect.dot.node, effect.dot.seq);
    }
    fixture.state.keyspace.clone()
}

fn messages() -> Vec<Arc<Message>> {
    let message = |sharded, payload: &'static [u8]| {
        Arc::new(Message { sharded, channel: Bytes::from_static(b"channel"), payload: Bytes::from_static(payload) })
    };
    vec![message(false, b"payload"), message(true, &[0; 200])]
}

fn traces() -> Vec<TracedEffect> {
    let context = TraceContext { trace: 0x0123_4567_89ab_cdef_0011_2233_4455_6677, span: 0x8899_aabb_ccdd_eeff };
    vec![TracedEffect { dot: Dot { node: OTHER, seq: 300 }, context }]
}

/// Everything, as it is encoded today.
fn today() -> Vec<(String, Bytes)> {
    let mut all: Vec<_> =
        frames().into_iter().map(|(name, frame)| (name, Bytes::from(frame.encode().concat()))).collect();
    all.push((
        "frame messages".to_owned(),
        Bytes::from(encode_messages(&messages()).expect("they are short").concat()),
    ));
    all.push(("frame traces".to_owned(), encode_traces(&traces())));
    for kind in [StreamKind::Control, StreamKind::Effects, StreamKind::Snapshot, StreamKind::Messages] {
        all.push((format!("stream {kind:?}"), Bytes::from(vec![kind as u8])));
    }
    all.extend(effects());
    all.extend(snapshot());
    all
}

fn to_text(all: &[(String, Bytes)]) -> String {
    let mut text = String::new();
    for (name, bytes) in all {
        let _ = write!(text, "{name}: ");
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        text.push('\n');
    }
    text
}

fn recorded() -> Vec<(String, Bytes)> {
    let text = std::fs::read_to_string(path()).expect("the record of this version is in the repository");
    let line = |line: &str| {
        let (name, digits) = line.split_once(": ").expect("a name and its bytes");
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
        (name.to_owned(), Bytes::from_iter((0..digits.len()).step_by(2).map(byte)))
    };
    text.lines().map(line).collect()
}

#[test]
fn what_is_said_today_is_what_was_recorded() {
    let text = to_text(&today());
    if std::env::var_os(RECORD).is_some() {
        std::fs::create_dir_all(path().parent().expect("it is in a folder")).expect("the repository can be written");
        std::fs::write(path(), &text).expect("the repository can be written");
    }
    let old = std::fs::read_to_string(path()).expect("the record of this version is in the repository");
    for (old, new) in old.lines().zip(text.lines()) {
        assert_eq!(old, new, "this would be a new version of the protocol: see the text of this module");
    }
    assert_eq!(old.lines().count(), text.lines().count(), "something is new, or gone: see the text of this module");
}

#[test]
fn what_was_recorded_is_read_as_what_it_was() {
    let recorded: BTreeMap<String, Bytes> = recorded().into_iter().collect();
    for (name, frame) in frames() {
        assert_eq!(Frame::decode(recorded[&name].clone()), Ok(frame), "{name}");
    }
    let read = decode_messages(&recorded["frame messages"]).expect("they are messages");
    assert!(read.iter().zip(messages()).all(|(read, sent)| *read == *sent) && read.len() == messages().len());
    assert_eq!(decode_traces(&recorded["frame traces"]), Ok(traces()));
    let mut assembler = Assembler::new(recorded.keys().filter(|name| name.starts_with("snapshot shard")).count());
    let mut shards: Vec<_> = recorded.iter().filter(|(name, _)| name.starts_with("snapshot shard")).collect();
    shards.sort_by_key(|(name, _)| name.rsplit(' ').next().and_then(|number| number.parse::<usize>().ok()));
    let target = Fixture::of_node(NodeId(9)).state.keyspace;
    target.begin_import(NodeId(9));
    let frames = [&recorded["snapshot header"]].into_iter().chain(shards.iter().map(|(_, frame)| *frame));
    let mut imported = 0;
    let ends = ["history", "tail", "trailer"].map(|name| &recorded[&format!("snapshot {name}")]);
    for frame in frames.chain(ends) {
        match assembler.take(frame).expect("it is a snapshot") {
            Some(Part::Shard(shard)) => {
                target.import_shard(&shard).expect("a shard of this version");
                imported += 1;
            }
            Some(Part::Trailer(trailer)) => target.finish_import(&trailer.end, trailer.time),
            Some(_) => {}
            None => panic!("each shard is in one frame"),
        }
    }
    assert!(assembler.is_complete() && imported > 5);
    assert_eq!(target.dump(), keyspace_with_metadata().dump(), "all keys, values and deadlines");
}

#[test]
fn effects_are_read_and_none_of_the_kinds_is_left_out() {
    let mut seen = BTreeSet::new();
    for (name, bytes) in recorded().into_iter().filter(|(name, _)| name.starts_with("effect ")) {
        let effect = Effect::decode(bytes.clone()).expect(&name);
        assert_eq!(effect.encoded(), &bytes);
        for operation in effect.operations() {
            if let Operation::Key { action, .. } = operation {
                seen.insert(number_of(&action));
            }
        }
    }
    assert_eq!(seen, (0..ACTIONS).collect());
    let frames: BTreeSet<_> = frames().iter().map(|(_, frame)| name_of(frame)).collect();
    assert_eq!(frames.len(), FRAMES);
}

#[test]
fn the_name_of_the_protocol_follows_its_version() {
    assert_eq!(PROTOCOLS[0], format!("swytch/{PROTOCOL_VERSION}"));
}
