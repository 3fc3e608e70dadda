//! Whole nodes in one process, over real sockets on the loopback address.

mod messages;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use rustls::crypto::CryptoProvider;

use super::*;
use crate::effects::{TraceContext, TraceScope};
use crate::keyspace::{Keyspace, KeyspaceOptions, Life, Readers, Stale, Watcher};
use crate::pubsub::{Channels, Delivery, Message, Subscriber, Topic};
use crate::replication::{ClusterReport, Stage};
use crate::trace::testing::Collector;
use crate::trace::{Endpoint, Resource, Tracer, start_exporter};

/// Names lead to the nodes that a test has started.
#[derive(Clone, Default)]
struct Table(Arc<Mutex<Vec<SocketAddr>>>);

impl Resolver for Table {
    fn services<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, Result<Vec<(String, u16)>, ResolveError>> {
        let found = self.0.lock().iter().map(|node| (node.ip().to_string(), node.port())).collect();
        Box::pin(async move { Ok(found) })
    }

    fn addresses<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, ResolveError>> {
        Box::pin(async { Err(ResolveError::NotFound) })
    }
}

/// The machine's network, with a plug to pull: packets of this node get lost while it is out.
#[derive(Default)]
struct Plug {
    net: SystemNet,
    out: Arc<AtomicBool>,
}

#[derive(Debug)]
struct PluggedSocket {
    socket: Arc<dyn AsyncUdpSocket>,
    out: Arc<AtomicBool>,
}

impl Net for Plug {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(Arc::new(PluggedSocket { socket: self.net.bind(address)?, out: self.out.clone() }))
    }

    fn crypto(&self) -> Arc<CryptoProvider> {
        self.net.crypto()
    }

    fn fixed_mtu(&self) -> Option<u16> {
        None
    }
}

impl AsyncUdpSocket for PluggedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.socket.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.out.load(Relaxed) { Ok(()) } else { self.socket.try_send(transmit) }
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [io::IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_recv(context, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

/// An address for one node alone, also while it is away: below the ports that the kernel hands out by itself.
fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NEXT.fetch_add(1, Relaxed).wrapping_add(std::process::id());
        let address = SocketAddr::from(([127, 0, 0, 1], 20_000 + (number % 10_000) as u16));
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// A node as its clients see it.
struct Node {
    keyspace: Arc<Keyspace>,
    channels: Arc<Channels>,
    handle: ClusterHandle,
    clock: SystemClock,
    address: SocketAddr,
    out: Arc<AtomicBool>,
    tracer: Arc<Tracer>,
}

impl Node {
    /// A node that joins the others of the table, and is in it from then on.
    fn start(table: &Table, passphrase: u8) -> Node {
        let _ =
            tracing_subscriber::fmt().with_env_filter("swytch=debug").with_ansi(false).with_test_writer().try_init();
        Node::start_at(table, passphrase, free_address())
    }

    fn start_at(table: &Table, passphrase: u8, address: SocketAddr) -> Node {
        Node::accepting(table, passphrase, &[], address)
    }

    /// A node that lets nodes in that have one of the other passphrases.
    fn accepting(table: &Table, passphrase: u8, also: &[u8], address: SocketAddr) -> Node {
        Node::with_idle_timeout(table, passphrase, also, address, Duration::from_secs(1))
    }

    /// A node that serves clients, and keeps nothing of what has left its log.
    fn without_archive(table: &Table) -> Node {
        let node = Node::tuned(table, 1, &[], free_address(), Duration::from_secs(1), 0);
        node.wait_until_serving();
        node
    }

    /// A node that gives a connection up only when nothing came over it for so long.
    fn with_idle_timeout(table: &Table, passphrase: u8, also: &[u8], address: SocketAddr, idle: Duration) -> Node {
        Node::tuned(table, passphrase, also, address, idle, 16 << 20)
    }

    fn tuned(
        table: &Table,
        passphrase: u8,
        also: &[u8],
        address: SocketAddr,
        idle: Duration,
        archive_limit: usize,
    ) -> Node {
        let secret = ClusterSecret::separate(&[passphrase; 32]);
        let also_accepted: Vec<_> = also.iter().map(|also| ClusterSecret::separate(&[*also; 32])).collect();
        let net = Plug::default();
        let out = net.out.clone();
        let identity = fresh_identity(&secret, &also_accepted, &net).unwrap();
        let keyspace = Arc::new(Keyspace::new(KeyspaceOptions {
            node: Some(identity.node()),
            hash_seed: secret.hash_seed(),
            ..KeyspaceOptions::default()
        }));
        let clock = SystemClock::default();
        let mut options = ClusterOptions::new(secret, identity, address, 6379);
        options.also_accepted = also_accepted;
        options.join = Some("nodes.test".to_owned());
        // Where one of a host's ports is the usual one, no other is dialed; here all nodes are on one host.
        options.join_port = 1;
        options.idle_timeout = idle;
        options.keep_alive = Duration::from_millis(200);
        let channels = options.channels.clone();
        let tracer = Arc::new(Tracer::new(1.0));
        options.tracer = Some(tracer.clone());
        options.tune = Arc::new(move |core| {
            core.tick_interval = 10;
            core.gossip_interval = 50;
            core.heartbeat_interval = 300;
            core.expiry = 1_500;
            core.silence = 700;
            core.rebase_grace = 200;
            core.settle = 100;
            core.log_limit = 64 << 10;
            core.archive_limit = archive_limit;
        });
        let handle =
            start(options, keyspace.clone(), Arc::new(net), Arc::new(clock), Arc::new(table.clone()), 7).unwrap();
        table.0.lock().push(address);
        Node { keyspace, channels, handle, clock, address, out, tracer }
    }

    /// A node that serves clients.
    fn serving(table: &Table) -> Node {
        let node = Node::start(table, 1);
        node.wait_until_serving();
        node
    }

    fn wait_until_serving(&self) {
        eventually("the node serves", || *self.handle.serving().borrow());
    }

    fn set(&self, key: &str, value: &str) {
        let key = self.keyspace.key(key.as_bytes());
        let mut transaction = self.keyspace.lock_one(self.clock.wall(), 0, key);
        transaction.string_set(key, value.as_bytes(), Life::Forever);
        transaction.commit();
    }

    fn get(&self, key: &str) -> Option<String> {
        let key = self.keyspace.key(key.as_bytes());
        let mut transaction = self.keyspace.lock_one(self.clock.wall(), 0, key);
        let value = transaction.string(key).unwrap()?;
        Some(String::from_utf8(value.to_vec()).unwrap())
    }

    fn load(&self, name: &str) {
        let code = format!("#!lua name={name}");
        let library = (name.as_bytes(), code.as_bytes());
        self.keyspace.change_libraries(self.clock.wall(), std::iter::empty(), std::iter::once(library));
    }

    fn unload(&self, name: &str) {
        self.keyspace.change_libraries(self.clock.wall(), std::iter::once(name.as_bytes()), std::iter::empty());
    }

    /// The names of its libraries; the watcher is touched when they change.
    fn libraries(&self, watcher: &Arc<Watcher>) -> Vec<String> {
        let libraries = self.keyspace.libraries(self.clock.wall(), watcher);
        assert!(libraries.iter().all(|(name, code)| *code == [b"#!lua name=", &**name].concat()));
        libraries.into_keys().map(|name| String::from_utf8(name).unwrap()).collect()
    }

    fn listen(&self, topic: Topic, name: &'static str) -> Arc<Subscriber> {
        let subscriber = Subscriber::new(1, Box::new(|| {}));
        self.channels.subscribe(topic, &Bytes::from_static(name.as_bytes()), &subscriber);
        subscriber
    }

    fn publish(&self, channel: &'static str, payload: String) {
        let message = Message { sharded: false, channel: channel.into(), payload: payload.into() };
        self.channels.publish(message, self.clock.wall());
    }

    fn connected(&self) -> usize {
        self.report().members.iter().filter(|member| member.connected).count()
    }

    fn members(&self) -> Vec<String> {
        let members = members::read(&self.keyspace, self.clock.wall());
        members.into_values().map(|member| member.address).collect()
    }

    fn report(&self) -> Arc<ClusterReport> {
        self.handle.report().borrow().clone()
    }

    fn leave(self) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.handle.leave());
        // Its thread closes the socket right after it has said goodbye.
        eventually("its port is free", || UdpSocket::bind(self.address).is_ok());
    }
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        sleep(Duration::from_millis(5));
    }
}

/// Everybody comes to the same effects and the same data. (A heartbeat may come between looking at one and at the next.)
fn converge(nodes: &[&Node]) {
    let look = |node: &&Node| (node.keyspace.frontier(), node.keyspace.dump());
    eventually("all nodes have the same", || {
        let first = look(&nodes[0]);
        nodes[1..].iter().all(|node| look(node) == first)
    });
}

#[test]
fn two_nodes_replicate_both_ways() {
    let table = Table::default();
    let (one, other) = (Node::serving(&table), Node::serving(&table));
    one.set("a", "1");
    other.set("b", "2");
    eventually("both writes are everywhere", || {
        other.get("a").as_deref() == Some("1") && one.get("b").as_deref() == Some("2")
    });
    eventually("both are members", || one.members().len() == 2 && other.members().len() == 2);
    eventually("the write is acknowledged", || {
        let report = one.report();
        report.own_seq > 0 && report.members.iter().all(|member| member.acknowledged == report.own_seq)
    });
    converge(&[&one, &other]);
    eventually("the report says how long that took", || one.report().delays.count() > 0);
    let (report, wall) = (one.report(), one.clock.wall());
    assert!(report.delays.sum() < 20_000 * report.delays.count(), "{:?}", report.delays);
    assert!(report.certificate_expires > wall + 6 * 24 * 60 * 60 * 1000, "{}", report.certificate_expires);
    assert_eq!((report.stage, report.members[0].version.as_str()), (Stage::Serving, env!("CARGO_PKG_VERSION")));
    assert!(report.members[0].silent_millis < 20_000);
}

#[test]
fn a_joiner_gets_everything_while_writes_go_on() {
    let table = Table::default();
    let first = Node::serving(&table);
    for number in 0..2_000 {
        first.set(&format!("before {number}"), "x");
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut number = 0;
            while !stop.load(Relaxed) {
                first.set(&format!("during {}", number % 500), &number.to_string());
                number += 1;
                if number % 20 == 0 {
                    sleep(Duration::from_millis(1));
                }
            }
        });
        let second = Node::serving(&table);
        let third = Node::serving(&table);
        second.set("second", "was here");
        third.set("third", "was here");
        stop.store(true, Relaxed);
        writer.join().unwrap();
        assert_eq!(second.get("before 1999").as_deref(), Some("x"));
        eventually("all connect", || first.members().len() == 3);
        converge(&[&first, &second, &third]);
        assert_eq!(first.get("third").as_deref(), Some("was here"));
    });
}

#[test]
fn who_leaves_is_no_member_any_more_and_may_return() {
    let table = Table::default();
    let (first, second) = (Node::serving(&table), Node::serving(&table));
    eventually("both are members", || first.members().len() == 2);
    let address = second.address;
    second.set("last", "words");
    second.leave();
    assert_eq!(first.get("last").as_deref(), Some("words"), "a leaver's writes are acknowledged first");
    assert_eq!(first.members(), [first.address.to_string()]);
    first.set("meanwhile", "written");
    let again = Node::start_at(&table, 1, address);
    again.wait_until_serving();
    assert_eq!(again.get("meanwhile").as_deref(), Some("written"));
    eventually("it is a member again", || first.members().len() == 2);
    converge(&[&first, &again]);
}

#[test]
fn another_passphrase_neither_joins_nor_serves() {
    let table = Table::default();
    let first = Node::serving(&table);
    first.set("secret", "data");
    let stranger = Node::start(&table, 2);
    eventually("the stranger is refused", || first.report().refused_peers > 0 && stranger.report().refused_peers > 0);
    assert!(!*stranger.handle.serving().borrow());
    assert_eq!(stranger.get("secret"), None);
    assert_eq!(first.members().len(), 1);
}

#[test]
fn of_two_that_begin_with_different_passphrases_one_serves_at_least() {
    let table = Table::default();
    let addresses = [free_address(), free_address()];
    table.0.lock().extend(addresses);
    let nodes = [1, 2].map(|passphrase| Node::start_at(&table, passphrase, addresses[usize::from(passphrase) - 1]));
    eventually("they refuse each other", || nodes.iter().all(|node| node.report().refused_peers > 0));
    let serves = |node: &Node| *node.handle.serving().borrow();
    eventually("one serves", || nodes.iter().any(serves));
    let first = nodes.iter().position(serves).expect("one serves");
    nodes[first].set("whose", "of the first");
    let another = Node::start(&table, 1 + u8::try_from(first).unwrap());
    another.wait_until_serving();
    assert_eq!(another.get("whose").as_deref(), Some("of the first"));
    // There is a cluster now: who has the wrong passphrase must not begin another one.
    let stranger = Node::start(&table, 3);
    eventually("it is refused", || stranger.report().refused_peers > 1);
    sleep(Duration::from_millis(500));
    assert!(!serves(&stranger));
}

#[test]
fn a_node_that_was_away_for_too_long_keeps_its_own_writes() {
    let table = Table::default();
    let how = come_back_too_late(Node::serving(&table), Node::serving(&table), Node::serving(&table));
    assert_eq!(how, (1, 0), "it got what it lacked at once");
    let table = Table::default();
    let start = || Node::without_archive(&table);
    assert_eq!(come_back_too_late(start(), start(), start()), (0, 1), "it took over a state");
}

/// How often the third node was handed over what it lacked, and how often it took over a state.
fn come_back_too_late(first: Node, second: Node, third: Node) -> (u64, u64) {
    eventually("all are members", || [&first, &second, &third].iter().all(|node| node.members().len() == 3));
    let node = third.report().node;
    third.out.store(true, Relaxed);
    third.set("alone", "but not lost");
    eventually("it is given up", || first.members().len() == 2);
    for number in 0..4_000 {
        let key = format!("key {number}");
        first.set(&key, "0123456789012345678901234567890123456789");
        if number % 100 == 0 {
            // The log holds less than 1,000 of them: else the second would come back too late as well.
            eventually("the second keeps up", || second.get(&key).is_some());
        }
    }
    third.set("alone too", "and not lost either");
    third.out.store(false, Relaxed);
    eventually("its writes arrive", || {
        first.get("alone").is_some() && second.get("alone too").is_some() && third.get("key 3999").is_some()
    });
    eventually("all are members again", || [&first, &second, &third].iter().all(|node| node.members().len() == 3));
    converge(&[&first, &second, &third]);
    eventually("it is told of", || third.report().reconciliations + third.report().handovers_received > 0);
    let report = third.report();
    assert_eq!((report.node, report.rebases), (node, 0), "it goes on as what it was");
    (report.handovers_received, report.reconciliations)
}

/// Each side of a cut writes more than its log holds, and goes on as what it is.
#[test]
fn both_sides_of_a_long_cut_keep_all_that_they_wrote() {
    let table = Table::default();
    let nodes = [Node::serving(&table), Node::serving(&table), Node::serving(&table)];
    eventually("all are members", || nodes.iter().all(|node| node.members().len() == 3));
    let [first, second, third] = &nodes;
    third.out.store(true, Relaxed);
    eventually("it is given up", || first.members().len() == 2);
    for number in 0..4_000 {
        first.set(&format!("key {number}"), "0123456789012345678901234567890123456789");
        third.set(&format!("own {}", number % 2_000), "0123456789012345678901234567890123456789");
    }
    first.set("both", "first");
    third.set("both", "third");
    third.out.store(false, Relaxed);
    eventually("its writes arrive", || {
        second.get("own 1999").is_some() && first.get("own 0").is_some() && third.get("key 0").is_some()
    });
    eventually("all are members again", || nodes.iter().all(|node| node.members().len() == 3));
    converge(&nodes.each_ref());
    let count = |node: &Node| node.keyspace.lock_all(node.clock.wall(), 0).size().0;
    assert_eq!(nodes.each_ref().map(count), [6_001; 3]);
    eventually("it is told of", || nodes.iter().any(|node| node.report().handovers_received > 0));
    assert!(nodes.iter().all(|node| node.report().rebases + node.report().reconciliations == 0));
    eventually("nothing is kept for anybody", || nodes.iter().all(|node| node.report().archive_bytes == 0));
}

#[test]
fn libraries_of_functions_are_everywhere_after_a_cut_that_no_log_covers() {
    let table = Table::default();
    let start = || Node::without_archive(&table);
    let (first, second, third) = (start(), start(), start());
    let nodes = [&first, &second, &third];
    eventually("all are members", || nodes.iter().all(|node| node.members().len() == 3));
    first.load("before_at_first");
    third.load("before_at_third");
    ["removed_at_first", "removed_at_third"].iter().for_each(|name| second.load(name));
    let watcher = Arc::default();
    eventually("all are everywhere", || nodes.iter().all(|node| node.libraries(&watcher).len() == 4));
    third.out.store(true, Relaxed);
    third.load("during_at_third");
    third.unload("removed_at_third");
    eventually("it is given up", || first.members().len() == 2);
    first.load("during_at_first");
    first.unload("removed_at_first");
    for number in 0..4_000 {
        first.set(&format!("key {number}"), "0123456789012345678901234567890123456789");
    }
    let watchers = nodes.map(|node| {
        let watcher = Arc::default();
        node.libraries(&watcher);
        watcher
    });
    third.out.store(false, Relaxed);
    let expected = ["before_at_first", "before_at_third", "during_at_first", "during_at_third"];
    let unwatched = Arc::default();
    eventually("all are at all nodes", || nodes.iter().all(|node| node.libraries(&unwatched) == expected));
    eventually("a state was taken over", || third.report().reconciliations > 0);
    assert!(watchers.iter().all(|watcher| watcher.is_touched()), "nobody goes on with the former ones");
    eventually("all are members again", || nodes.iter().all(|node| node.members().len() == 3));
    converge(&nodes);
    assert!(nodes.iter().all(|node| node.libraries(&unwatched) == expected));
}

#[test]
fn data_outlives_the_nodes_that_it_should_have_come_from() {
    let table = Table::default();
    let (first, second) = (Node::without_archive(&table), Node::without_archive(&table));
    eventually("both are members", || first.members().len() == 2 && second.members().len() == 2);
    first.set("from first", "kept");
    eventually("it is everywhere", || second.get("from first").is_some());
    second.out.store(true, Relaxed);
    second.set("alone", "kept");
    eventually("it is given up", || first.members().len() == 1);
    // More than the logs of both hold: neither can go on from what the other has.
    for number in 0..4_000 {
        first.set(&format!("key {number}"), "0123456789012345678901234567890123456789");
        if number % 2 == 0 {
            second.set(&format!("own {number}"), "0123456789012345678901234567890123456789");
        }
    }
    let node = second.report().node;
    second.out.store(false, Relaxed);
    eventually("it gives up its identity", || second.report().rebases == 1);
    // Gone for good, before it could send its snapshot.
    first.out.store(true, Relaxed);
    second.wait_until_serving();
    assert_ne!(second.report().node, node);
    assert_eq!(second.get("key 3999"), None);
    assert_eq!(second.get("alone").as_deref(), Some("kept"));
    assert_eq!(second.get("from first").as_deref(), Some("kept"));
    let third = Node::serving(&table);
    eventually("two are left", || second.members().len() == 2 && third.members().len() == 2);
    converge(&[&second, &third]);
    assert_eq!(third.get("alone").as_deref(), Some("kept"));
}

#[test]
fn a_cluster_goes_from_one_passphrase_to_another_without_a_stop() {
    let table = Table::default();
    let mut nodes = vec![Node::serving(&table)];
    // More than the log holds: who comes takes a snapshot.
    for number in 0..3_000 {
        nodes[0].set(&format!("before {number}"), "0123456789012345678901234567890123456789");
    }
    nodes.extend([Node::serving(&table), Node::serving(&table)]);
    let addresses: Vec<SocketAddr> = nodes.iter().map(|node| node.address).collect();
    let mut written = vec!["before 0".to_owned(), "before 2999".to_owned()];
    for (round, (passphrase, also)) in [(1, &[2][..]), (2, &[1][..]), (2, &[][..])].into_iter().enumerate() {
        for place in 0..3 {
            eventually("all are connected", || nodes.iter().all(|node| node.connected() == 2));
            nodes.remove(place).leave();
            let key = format!("without {place} in round {round}");
            nodes[round % 2].set(&key, "kept");
            written.push(key);
            let node = Node::accepting(&table, passphrase, also, addresses[place]);
            node.wait_until_serving();
            eventually("all that was written is there", || written.iter().all(|key| node.get(key).is_some()));
            // What a node reports is told a moment after it happens.
            eventually("it took a snapshot", || node.report().snapshots_received > 0);
            let key = format!("by {place} in round {round}");
            node.set(&key, "kept");
            written.push(key);
            nodes.insert(place, node);
            converge(&nodes.iter().collect::<Vec<_>>());
            assert_eq!(nodes[place].report().rebases, 0);
        }
    }
    eventually("all are members", || nodes.iter().all(|node| node.members().len() == 3));
    for node in &nodes {
        assert!(written.iter().all(|key| node.get(key).is_some()));
    }
    let refused = nodes.iter().map(|node| node.report().refused_peers).sum::<u64>();
    let stranger = Node::start(&table, 1);
    eventually("who has only the old passphrase is refused", || {
        let by_them = nodes.iter().map(|node| node.report().refused_peers).sum::<u64>();
        by_them > refused && stranger.report().refused_peers > 0
    });
    assert!(!*stranger.handle.serving().borrow());
    assert_eq!(stranger.get("before 0"), None);
}

#[test]
fn a_node_with_the_other_passphrase_takes_over_a_state_like_any_other() {
    let table = Table::default();
    let start = |passphrase, also| Node::accepting(&table, passphrase, &[also], free_address());
    let (first, second) = (start(1, 2), start(2, 1));
    [&first, &second].iter().for_each(|node| node.wait_until_serving());
    eventually("both are members", || first.members().len() == 2 && second.members().len() == 2);
    second.out.store(true, Relaxed);
    second.set("alone", "but not lost");
    eventually("it is given up", || first.members().len() == 1);
    for number in 0..4_000 {
        first.set(&format!("key {number}"), "0123456789012345678901234567890123456789");
    }
    second.out.store(false, Relaxed);
    eventually("both have all", || first.get("alone").is_some() && second.get("key 3999").is_some());
    eventually("both are members again", || first.members().len() == 2 && second.members().len() == 2);
    converge(&[&first, &second]);
    eventually("it is told of", || first.report().handovers_received + second.report().handovers_received > 0);
}
