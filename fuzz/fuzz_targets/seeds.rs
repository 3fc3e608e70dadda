//! Writes well-formed inputs of all targets into `corpus/`, and ends.
//!
//! In form it is a target too: only those are linked with what coverage calls.

#![no_main]

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use libfuzzer_sys::fuzz_target;
use swytch::effects::{Action, Dot, Effect, Frontier, NodeId, Operation, OperationsWriter, Reach};
use swytch::replication::{Frame, Hello, Stage};

#[path = "../../src/rdb/tests/recorded.rs"]
mod recorded;

const FOOTER_BYTES: usize = 10;

const STREAMS: [&[u8]; 4] = [
    b"*3\r\n$3\r\nSET\r\n$5\r\nk\r\ney\r\n$0\r\n\r\n*1\r\n$4\r\nPING\r\n",
    b"PING \"a\\x41\\n b\" 'c\\''\r\nGET x\n\r\n*0\r\n*-1\r\n",
    b"*12\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\ne\r\n$1\r\nf\r\n$1\r\ng\r\n$1\r\nh\r\n$1\r\ni\r\n$1\r\nj\r\n$1\r\nk\r\n$1\r\nl\r\n",
    b"*1048577\r\n$536870913\r\n",
];

fuzz_target!(init: write_all_and_end(), |_input: &[u8]| {});

fn write_all_and_end() {
    write_all().expect("corpus/ can be written");
    std::process::exit(0);
}

fn write_all() -> std::io::Result<()> {
    for (index, (_, payload)) in recorded::RECORDED.iter().enumerate() {
        let payload = BASE64_STANDARD.decode(payload).expect("base64");
        write("restore_payload", index, &payload[..payload.len() - FOOTER_BYTES])?;
    }
    for (index, stream) in STREAMS.iter().enumerate() {
        write("request_parser", index, &[&[index as u8 * 3], *stream].concat())?;
    }
    for (index, input) in frames().into_iter().enumerate() {
        write("peer_frames", index, &input)?;
    }
    Ok(())
}

fn write(target: &str, index: usize, input: &[u8]) -> std::io::Result<()> {
    let directory = Path::new("corpus").join(target);
    std::fs::create_dir_all(&directory)?;
    std::fs::write(directory.join(format!("seed-{index}")), input)
}

fn effects() -> Vec<Vec<u8>> {
    let key = b"key".as_slice();
    let actions = [
        Action::Remove,
        Action::Deadline { at: Some(60_000) },
        Action::StringSet { value: b"value", deadline: None },
        Action::StringSet { value: b"value", deadline: Some(60_000) },
        Action::StringAdd { increment: -4 },
        Action::StringAddFloat { increment: b"1.5" },
        Action::StringAppend { bytes: b"more" },
        Action::StringSetRange { offset: 300, bytes: b"more" },
        Action::FieldSet { field: b"field", value: b"value", deadline: None },
        Action::FieldSet { field: b"field", value: b"value", deadline: Some(60_000) },
        Action::FieldDeadline { field: b"field", at: Some(60_000) },
        Action::FieldAdd { field: b"field", increment: 1 << 40 },
        Action::FieldAddFloat { field: b"field", increment: b"-0.1" },
        Action::FieldRemove { field: b"field" },
        Action::MemberAdd { member: b"member" },
        Action::MemberRemove { member: b"member" },
    ];
    let mut writer = OperationsWriter::default();
    for action in actions {
        writer.push(Operation::Key { database: 1, key, action });
    }
    writer.push(Operation::Flush { database: None });
    writer.push(Operation::Flush { database: Some(3) });
    let dot = Dot { node: NodeId(7), seq: 300 };
    let frontier: Frontier = [(NodeId(3), 9), (NodeId(u64::MAX), 1 << 40)].into_iter().collect();
    let reach = Reach { frontier, stable: true, original: Dot { node: NodeId(3), seq: 1 } };
    [None, Some(&reach)]
        .map(|acts_on| {
            let mut out = Vec::new();
            Effect::encode(&mut out, dot, 99, &[(NodeId(8), 4)], acts_on, writer.bytes());
            out
        })
        .into()
}

fn frames() -> Vec<Vec<u8>> {
    let frontier: Frontier = [(NodeId(3), 9), (NodeId(u64::MAX), 1 << 40)].into_iter().collect();
    let hello = Hello {
        member: Default::default(),
        frontier: frontier.clone(),
        floor: Frontier::EMPTY,
        archive: None,
        stage: Stage::Seeking,
        departed: vec![(NodeId(4), 4)],
        participants: vec![NodeId(5)],
    };
    let (floor, beyond, stage) = (frontier.clone(), frontier.clone(), Stage::Serving);
    let frames = [
        Frame::Hello(Box::new(hello)),
        Frame::Gossip { frontier, floor, archive: None, stage, stuck: true, departed: vec![] },
        Frame::Introduce { nodes: vec![(NodeId(8), Default::default())] },
        Frame::Ack { seq: 7 },
        Frame::Effects(effects().into_iter().map(Into::into).collect()),
        Frame::Request { origin: NodeId(1), after: 2, upto: 3 },
        Frame::SnapshotRequest { attempt: 1 },
        Frame::HandoverRequest { attempt: 2, beyond },
        Frame::Goodbye { last: 12 },
    ];
    frames.iter().map(|frame| frame.encode().concat()).chain(effects()).collect()
}
