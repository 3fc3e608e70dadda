//! The connection loop over an in-memory stream, with time that the tests control.

use std::io;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::acl::Users;
use crate::cluster::SystemClock;
use crate::commands::{ClientRegistry, Config, Connected, Scripting, ServerFacts, ServerState, Supervision, table};
use crate::effects::NodeId;
use crate::keyspace::{Keyspace, KeyspaceOptions};
use crate::observe::Stats;
use crate::persistence::{Persistence, PersistenceOptions};
use crate::replication::{ClusterReport, MemberReport};

/// Clients that a test brings.
struct Clients(mpsc::UnboundedReceiver<Box<dyn Stream>>);

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl ClientListener for Clients {
    type Stream = Box<dyn Stream>;

    async fn accept(&mut self) -> io::Result<Accepted<Box<dyn Stream>>> {
        match self.0.recv().await {
            Some(stream) => Ok(Accepted { stream, connected: Connected::default() }),
            None => std::future::pending().await,
        }
    }
}

/// A node that serves what the test connects.
pub(super) struct Node {
    pub(super) state: Arc<ServerState>,
    clients: mpsc::UnboundedSender<Box<dyn Stream>>,
    reports: watch::Sender<Arc<ClusterReport>>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

/// What a node without any peculiarity is to its commands.
pub(super) fn make_state(
    password: Option<&str>,
    max_clients: u64,
    timeout: u64,
    cluster: Option<watch::Receiver<Arc<ClusterReport>>>,
) -> Arc<ServerState> {
    let node = cluster.as_ref().map(|_| NodeId(1));
    let state = ServerState {
        keyspace: Arc::new(Keyspace::new(KeyspaceOptions { node, ..KeyspaceOptions::default() })),
        config: Config::new(password.map(str::to_owned), max_clients as usize, timeout),
        users: Users::new(password.map(str::as_bytes), None),
        channels: Arc::default(),
        supervision: Supervision::default(),
        cluster,
        persistence: Arc::new(Persistence::new(PersistenceOptions::default(), 0)),
        tls: None,
        stats: Arc::new(Stats::new(1, table().ids())),
        clients: ClientRegistry::default(),
        trackers: Arc::default(),
        scripting: Scripting::default(),
        serving: AtomicBool::new(true),
        started: 0,
        run_id: "0".repeat(40),
        facts: ServerFacts {
            port: 0,
            tls_port: 0,
            bind: String::new(),
            unix_socket: String::new(),
            process: 1,
            executable: String::new(),
            config_file: None,
            threads: 1,
            resident_memory: || 0,
            stopwatch: None,
        },
    };
    state.publish_events();
    Arc::new(state)
}

impl Node {
    pub(super) fn start(password: Option<&str>, max_clients: u64, timeout: u64) -> Node {
        let (reports, received) = watch::channel(Arc::default());
        Node::over(make_state(password, max_clients, timeout, Some(received)), reports)
    }

    /// One that measures how long commands take.
    pub(super) fn measuring() -> Node {
        let (reports, received) = watch::channel(Arc::default());
        let mut state = make_state(None, 100, 0, Some(received));
        Arc::get_mut(&mut state).expect("nobody else has it").facts.stopwatch = Some(stopwatch);
        Node::over(state, reports)
    }

    fn over(state: Arc<ServerState>, reports: watch::Sender<Arc<ClusterReport>>) -> Node {
        let front = Arc::new(Front::new(Arc::clone(&state), Arc::new(SystemClock::default()), 1));
        let (clients, queue) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(serve(Clients(queue), front, 0, stopped));
        Node { state, clients, reports, stop, serving }
    }

    fn bring(&self, stream: impl Stream + 'static) {
        assert!(self.clients.send(Box::new(stream)).is_ok(), "the node serves");
    }

    /// A client with buffers of that many bytes in between.
    pub(super) fn connect(&self, between: usize) -> DuplexStream {
        let (client, server) = duplex(between);
        self.bring(server);
        client
    }
}

fn stopwatch() -> u64 {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed().as_nanos() as u64
}

pub(super) async fn expect(client: &mut DuplexStream, answer: &[u8]) {
    let mut bytes = vec![0; answer.len()];
    timeout(Duration::from_secs(60), client.read_exact(&mut bytes)).await.expect("in time").expect("answered");
    assert_eq!(bytes.escape_ascii().to_string(), answer.escape_ascii().to_string());
}

pub(super) async fn expect_end(client: &mut DuplexStream) {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.expect("closed");
    assert_eq!(bytes.escape_ascii().to_string(), "");
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_is_answered_in_order_whatever_its_pieces() {
    let node = Node::start(None, 10, 0);
    let mut client = node.connect(1 << 20);
    let stream = b"PING\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n\r\n*0\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*2\r\n$4\r\nPING\r\n$1\r\nx\r\n";
    let answers = b"+PONG\r\n+OK\r\n$5\r\nvalue\r\n$1\r\nx\r\n";
    client.write_all(stream).await.expect("room");
    expect(&mut client, answers).await;
    for byte in stream {
        client.write_all(&[*byte]).await.expect("room");
        tokio::task::yield_now().await;
    }
    expect(&mut client, answers).await;
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_that_nobody_reads_the_answers_of_does_not_get_stuck() {
    let node = Node::start(None, 10, 0);
    let mut client = node.connect(1000);
    let value = "v".repeat(100_000);
    let set = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{value}\r\n", value.len());
    client.write_all(set.as_bytes()).await.expect("room");
    expect(&mut client, b"+OK\r\n").await;
    for _ in 0..200 {
        client.write_all(b"GET k\r\n").await.expect("the server goes on reading");
    }
    let answer = format!("${}\r\n{value}\r\n", value.len());
    for _ in 0..200 {
        expect(&mut client, answer.as_bytes()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn broken_protocol_is_answered_and_ends_the_connection() {
    let node = Node::start(None, 10, 0);
    let mut client = node.connect(1000);
    client.write_all(b"PING\r\n*1\r\nPING\r\nPING\r\n").await.expect("room");
    expect(&mut client, b"+PONG\r\n-ERR Protocol error: expected '$', got 'P'\r\n").await;
    expect_end(&mut client).await;
}

#[tokio::test(start_paused = true)]
async fn limits_are_small_until_the_client_has_authenticated() {
    let node = Node::start(Some("secret"), 10, 0);
    let mut client = node.connect(1000);
    client.write_all(b"AUTH secret\r\n*11\r\n$4\r\nPING\r\n").await.expect("room");
    expect(&mut client, b"+OK\r\n").await;
    let mut stranger = node.connect(1000);
    stranger.write_all(b"*11\r\n$4\r\nPING\r\n").await.expect("room");
    expect(&mut stranger, b"-ERR Protocol error: unauthenticated multibulk length\r\n").await;
    expect_end(&mut stranger).await;
}

#[tokio::test(start_paused = true)]
async fn quit_answers_and_ends_the_connection() {
    let node = Node::start(None, 10, 0);
    let mut client = node.connect(1000);
    client.write_all(b"QUIT\r\nPING\r\n").await.expect("room");
    expect(&mut client, b"+OK\r\n").await;
    expect_end(&mut client).await;
    tokio::task::yield_now().await;
    assert_eq!(node.state.stats.total(|thread| &thread.connections), 0);
}

#[tokio::test(start_paused = true)]
async fn too_many_clients_are_told_so() {
    let node = Node::start(None, 1, 0);
    let mut first = node.connect(1000);
    first.write_all(b"PING\r\n").await.expect("room");
    expect(&mut first, b"+PONG\r\n").await;
    let mut second = node.connect(1000);
    expect(&mut second, b"-ERR max number of clients reached\r\n").await;
    expect_end(&mut second).await;
    drop(first);
    sleep(Duration::from_millis(1)).await;
    let mut third = node.connect(1000);
    third.write_all(b"PING\r\n").await.expect("room");
    expect(&mut third, b"+PONG\r\n").await;
    assert_eq!(node.state.stats.total(|thread| &thread.connections_rejected), 1);
}

#[tokio::test(start_paused = true)]
async fn silent_clients_are_disconnected_and_others_are_not() {
    let node = Node::start(None, 10, 5);
    let mut silent = node.connect(1000);
    let mut lively = node.connect(1000);
    let start = Instant::now();
    for _ in 0..10 {
        lively.write_all(b"PING\r\n").await.expect("room");
        expect(&mut lively, b"+PONG\r\n").await;
        sleep(Duration::from_secs(3)).await;
    }
    expect_end(&mut silent).await;
    assert!(start.elapsed() < Duration::from_secs(31), "it was gone before");
}

#[tokio::test(start_paused = true)]
async fn wait_counts_the_nodes_that_have_the_effect() {
    let node = Node::start(None, 10, 0);
    let report = |acknowledged: [u64; 2]| {
        let member = |acknowledged| MemberReport { acknowledged, ..MemberReport::default() };
        Arc::new(ClusterReport { members: acknowledged.map(member).to_vec(), ..ClusterReport::default() })
    };
    node.reports.send_replace(report([1, 0]));
    let mut client = node.connect(1000);
    client.write_all(b"SET a b\r\nWAIT 1 0\r\nWAIT 2 0\r\nPING\r\n").await.expect("room");
    expect(&mut client, b"+OK\r\n:1\r\n").await;
    sleep(Duration::from_secs(100)).await;
    node.reports.send_replace(report([1, 7]));
    expect(&mut client, b":2\r\n+PONG\r\n").await;
    let start = Instant::now();
    client.write_all(b"WAIT 3 500\r\nPING\r\n").await.expect("room");
    expect(&mut client, b":2\r\n+PONG\r\n").await;
    assert_eq!(start.elapsed(), Duration::from_millis(500));
    client.write_all(b"WAIT 3 0\r\n").await.expect("room");
    sleep(Duration::from_secs(1)).await;
    drop(client);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(node.state.stats.total(|thread| &thread.connections), 0, "who waits for ever may leave");
}

#[tokio::test(start_paused = true)]
async fn the_end_answers_what_is_in_flight() {
    let node = Node::start(None, 10, 0);
    let mut idle = node.connect(1000);
    let mut waiting = node.connect(1000);
    let mut slow = node.connect(100);
    waiting.write_all(b"WAIT 1 0\r\nPING\r\n").await.expect("room");
    slow.write_all(b"PING\r\n".repeat(200).as_slice()).await.expect("room");
    sleep(Duration::from_secs(1)).await;
    node.stop.send(true).expect("it listens");
    expect_end(&mut idle).await;
    expect(&mut waiting, b":0\r\n+PONG\r\n").await;
    expect_end(&mut waiting).await;
    expect(&mut slow, b"+PONG\r\n".repeat(200).as_slice()).await;
    expect_end(&mut slow).await;
    node.serving.await.expect("ended");
}

#[tokio::test(start_paused = true)]
async fn the_end_does_not_wait_for_ever_for_who_does_not_read() {
    let node = Node::start(None, 10, 0);
    let mut deaf = node.connect(100);
    deaf.write_all(b"PING\r\n".repeat(200).as_slice()).await.expect("room");
    sleep(Duration::from_secs(1)).await;
    node.stop.send(true).expect("it listens");
    timeout(Duration::from_secs(30), node.serving).await.expect("in time").expect("ended");
}

#[tokio::test(start_paused = true)]
async fn large_requests_arrive_whole_and_their_memory_is_given_back() {
    let node = Node::start(None, 10, 0);
    let mut client = node.connect(1 << 16);
    let value = "x".repeat(3_000_000);
    client.write_all(format!("*2\r\n$4\r\nPING\r\n${}\r\n", value.len()).as_bytes()).await.expect("room");
    let (mut read, mut write) = tokio::io::split(client);
    let writing = tokio::spawn(async move {
        write.write_all(format!("{value}\r\n").as_bytes()).await.expect("room");
        write
    });
    let mut answer = vec![0; 3_000_000 + "$3000000\r\n\r\n".len()];
    read.read_exact(&mut answer).await.expect("answered");
    let mut client = read.unsplit(writing.await.expect("written"));
    sleep(Duration::from_secs(10)).await;
    client.write_all(b"PING\r\n").await.expect("room");
    expect(&mut client, b"+PONG\r\n").await;
}

#[tokio::test(start_paused = true)]
async fn requests_that_arrive_while_answers_leave_are_executed() {
    let node = Node::start(None, 10, 0);
    let mut client = node.connect(100);
    client.write_all(b"PING\r\n".repeat(200).as_slice()).await.expect("the server goes on reading");
    expect(&mut client, b"+PONG\r\n".repeat(200).as_slice()).await;
}

/// Fails as no stream should, in the place of a command that does.
struct Broken;

impl AsyncRead for Broken {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        panic!("asked for by a test")
    }
}

impl AsyncWrite for Broken {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_costs_one_connection() {
    let node = Node::start(None, 2, 0);
    let mut client = node.connect(1000);
    for _ in 0..3 {
        node.bring(Broken);
        sleep(Duration::from_millis(1)).await;
    }
    client.write_all(b"PING\r\n").await.expect("room");
    expect(&mut client, b"+PONG\r\n").await;
    assert_eq!(node.state.stats.total(|thread| &thread.connections), 1);
    assert_eq!(node.state.stats.total(|thread| &thread.connections_received), 4);
    assert_eq!(node.state.clients.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn metrics_tell_of_every_peer_whatever_its_name() {
    let node = Node::start(None, 10, 0);
    let member = |id, name: &str| MemberReport {
        node: NodeId(id),
        name: name.into(),
        connected: true,
        lag_effects: id,
        lag_millis: 1500,
        ..MemberReport::default()
    };
    let members = vec![member(1, "same"), member(2, "same"), member(3, "a\"b\nc")];
    node.reports.send_replace(Arc::new(ClusterReport { members, log_bytes: 9, ..ClusterReport::default() }));
    let text = crate::observe::render(&node.state);
    for line in [
        "swytch_cluster_peers 3",
        "swytch_cluster_log_bytes 9",
        "swytch_cluster_peer_lag_effects{node=\"0000000000000002\",peer=\"same\"} 2",
        "swytch_cluster_peer_lag_seconds{node=\"0000000000000003\",peer=\"a\\\"b\\nc\"} 1.5",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}
