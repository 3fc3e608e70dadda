//! Connections that go from one thread to another, on real sockets.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::balance::Balance;
use super::front::Front;
use super::tests::make_state;
use super::threads::Threads;
use crate::cluster::SystemClock;
use crate::commands::table;
use crate::observe::Stats;

/// Two threads on a port of their own. The first serves as long as it is enough.
struct Node {
    front: Arc<Front>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    threads: Option<Threads>,
}

impl Node {
    async fn start(most: usize) -> io::Result<Node> {
        let mut state = Arc::into_inner(make_state(None, 100, 0, None)).expect("not shared yet");
        state.stats = Arc::new(Stats::new(2, table().ids()));
        let balance = Balance::new(2, most);
        let front = Arc::new(Front::balanced(Arc::new(state), Arc::new(SystemClock::default()), 1, balance));
        let (stop, stopped) = watch::channel(false);
        let threads = Threads::start(&front, &stopped)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(threads.dispatcher().accept_tcp(listener, None, stopped));
        Ok(Node { front, address, stop, threads: Some(threads) })
    }

    async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.expect("accepted"))
    }

    /// Waits until the threads have such numbers of connections.
    async fn expect(&self, expected: impl Fn([u64; 2]) -> bool) {
        let stats = &self.front.state.stats;
        let found = || [0, 1].map(|thread| stats.thread(thread).connections.get());
        let as_expected = async {
            while !expected(found()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        assert!(timeout(Duration::from_secs(30), as_expected).await.is_ok(), "not {:?}", found());
    }

    async fn expect_connections(&self, expected: [u64; 2]) {
        self.expect(|found| found == expected).await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        self.threads.take().into_iter().for_each(Threads::join);
    }
}

struct Client(TcpStream);

impl Client {
    async fn ask(&mut self, requests: &str, answers: &str) {
        self.0.write_all(requests.as_bytes()).await.expect("sent");
        self.expect(answers).await;
    }

    async fn expect(&mut self, answers: &str) {
        let mut bytes = vec![0; answers.len()];
        let read = timeout(Duration::from_secs(30), self.0.read_exact(&mut bytes)).await;
        read.expect("in time").expect("answered");
        assert_eq!(String::from_utf8_lossy(&bytes), answers);
    }
}

#[tokio::test]
async fn what_a_connection_is_goes_with_it() {
    let node = Node::start(2).await.expect("a node");
    let (mut one, mut other) = (node.connect().await, node.connect().await);
    one.ask("SELECT 3\r\nSET k v\r\nWATCH k\r\nMULTI\r\nGET k\r\n", "+OK\r\n+OK\r\n+OK\r\n+OK\r\n+QUEUED\r\n").await;
    other.ask("SUBSCRIBE c\r\n", "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n").await;
    node.expect_connections([2, 0]).await;
    node.front.balance.spread(2);
    // It goes with the next answer, and half of a request goes with it.
    one.ask("GET k\r\nEX", "+QUEUED\r\n").await;
    node.expect_connections([1, 1]).await;
    one.ask("EC\r\n", "*2\r\n$1\r\nv\r\n$1\r\nv\r\n").await;
    node.front.balance.spread(1);
    one.ask("PUBLISH c m\r\n", ":1\r\n").await;
    other.expect("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n").await;
    node.expect_connections([2, 0]).await;
}

#[tokio::test]
async fn messages_and_elements_find_who_has_gone_elsewhere() {
    let node = Node::start(2).await.expect("a node");
    let (mut one, mut other) = (node.connect().await, node.connect().await);
    one.ask("PING\r\n", "+PONG\r\n").await;
    other.ask("PING\r\n", "+PONG\r\n").await;
    node.front.balance.spread(2);
    one.ask("SUBSCRIBE c\r\n", "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n").await;
    node.expect_connections([1, 1]).await;
    other.ask("PUBLISH c m\r\n", ":1\r\n").await;
    one.ask("UNSUBSCRIBE c\r\nBLPOP q 0\r\n", "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n").await;
    one.expect("*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n").await;
    other.ask("RPUSH q e\r\n", ":1\r\n").await;
    one.expect("*2\r\n$1\r\nq\r\n$1\r\ne\r\n").await;
    drop(one);
    // Either may have gone: the other one had only just answered.
    node.expect(|found| found.iter().sum::<u64>() == 1).await;
}

#[tokio::test]
async fn scripts_run_on_the_last_thread() {
    let node = Node::start(1).await.expect("a node");
    node.front.state.scripting.set_place(node.front.balance.script_thread());
    let (mut one, mut other) = (node.connect().await, node.connect().await);
    other.ask("PING\r\n", "+PONG\r\n").await;
    let script = "EVAL \"return redis.call('incr', 'n')\" 0\r\n";
    one.ask(&format!("SET n 1\r\n{script}GET n\r\n{script}"), "+OK\r\n:2\r\n$1\r\n2\r\n:3\r\n").await;
    node.expect_connections([1, 1]).await;
    let eval = table().find(b"eval").expect("a command").id;
    let calls = [0, 1].map(|thread| node.front.state.stats.thread(thread).command(eval).calls.get());
    assert_eq!(calls, [0, 2]);
    // In a transaction they stay where it is.
    let queued = format!("MULTI\r\n{script}EXEC\r\n");
    other.ask(&queued, "+OK\r\n+QUEUED\r\n*1\r\n:4\r\n").await;
    node.expect_connections([1, 1]).await;
}
