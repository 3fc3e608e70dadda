//! For the tests of the families: a node with one connection, and requests as text.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::acl::Users;
use crate::effects::NodeId;
use crate::keyspace::{Keyspace, KeyspaceOptions};
use crate::observe::Stats;
use crate::persistence::{Persistence, PersistenceOptions};
use crate::resp::Protocol;

/// A node without a cluster and one connection to it.
pub struct Fixture {
    pub state: ServerState,
    pub session: Session,
    pub now: Millis,
    protocol: Protocol,
}

impl Fixture {
    pub fn new() -> Fixture {
        Fixture::build(KeyspaceOptions::default(), b"")
    }

    pub fn with_password(password: &[u8]) -> Fixture {
        Fixture::build(KeyspaceOptions::default(), password)
    }

    /// A node of a cluster: writes leave effects.
    pub fn in_a_cluster() -> Fixture {
        Fixture::of_node(NodeId(7))
    }

    pub fn of_node(node: NodeId) -> Fixture {
        Fixture::build(KeyspaceOptions { node: Some(node), ..KeyspaceOptions::default() }, b"")
    }

    fn build(options: KeyspaceOptions, password: &[u8]) -> Fixture {
        let now = 1_700_000_000_000;
        let state = ServerState {
            keyspace: Arc::new(Keyspace::new(options)),
            config: Config::new(Some(String::from_utf8_lossy(password).into_owned()), 10_000, 0),
            users: Users::new(Some(password), None),
            channels: Arc::default(),
            persistence: Arc::new(Persistence::new(PersistenceOptions::default(), now)),
            stats: Arc::new(Stats::new(1, table().ids())),
            clients: ClientRegistry::default(),
            trackers: Arc::default(),
            scripting: Scripting::default(),
            supervision: Supervision::default(),
            cluster: None,
            tls: None,
            serving: AtomicBool::new(true),
            started: now,
            run_id: "0123456789abcdef0123456789abcdef01234567".to_string(),
            facts: ServerFacts {
                port: 6379,
                tls_port: 0,
                bind: "127.0.0.1".to_string(),
                unix_socket: String::new(),
                process: 1,
                executable: "/usr/bin/swytch".to_string(),
                config_file: None,
                threads: 1,
                resident_memory: || 1 << 20,
                stopwatch: None,
            },
        };
        state.publish_events();
        let connected = Connected { address: "127.0.0.1:5000".to_string(), ..Connected::default() };
        let session = Session::open(&state, connected, 0, now, 1);
        Fixture { state, session, now, protocol: Protocol::Resp2 }
    }

    /// Runs one request, its words separated by spaces; `""` is the empty word. Returns the reply's bytes as text.
    pub fn run(&mut self, request: &str) -> String {
        let words: Vec<&[u8]> =
            request.split(' ').map(|word| if word == "\"\"" { b"" } else { word.as_bytes() }).collect();
        self.run_words(&words)
    }

    pub fn run_words(&mut self, words: &[&[u8]]) -> String {
        self.run_flow(words).0
    }

    pub fn run_flow(&mut self, words: &[&[u8]]) -> (String, Flow) {
        let mut input = Vec::new();
        let mut ranges = Vec::new();
        for word in words {
            let start = input.len() as u32;
            input.extend_from_slice(word);
            ranges.push(start..input.len() as u32);
        }
        let mut reply = Reply::new(self.protocol);
        let arguments = Arguments::new(&input, &ranges);
        let flow = execute(&self.state, &mut self.session, &arguments, &mut reply, self.now);
        self.protocol = reply.protocol();
        // As the connection does it.
        self.session.deliver(&mut reply, usize::MAX);
        (String::from_utf8_lossy(reply.bytes()).into_owned(), flow)
    }

    /// Asserts what a series of requests replies.
    pub fn expect(&mut self, expected: &[(&str, &str)]) {
        for (request, reply) in expected {
            assert_eq!(self.run(request), *reply, "{request}");
        }
    }
}
