//! Copies that clients keep (CLIENT TRACKING): who is told what, between which replies.

use std::time::Duration;

use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::time::{sleep, timeout};

use super::blocking_tests::say;
use super::tests::{Node, expect};

/// A client, and what it is to read next.
struct Client(DuplexStream);

impl Client {
    fn of(node: &Node) -> Client {
        Client(node.connect(1 << 16))
    }

    /// One that tells pushes from replies.
    async fn of_resp3(node: &Node) -> Client {
        let mut client = Client::of(node);
        say(&mut client.0, "HELLO 3").await;
        let mut greeting = vec![0; 1000];
        let length = client.0.read(&mut greeting).await.expect("greeted");
        assert!(greeting[..length].starts_with(b"%7"));
        client
    }

    async fn run(&mut self, words: &str, answer: &str) {
        say(&mut self.0, words).await;
        self.hear(answer).await;
    }

    async fn hear(&mut self, text: &str) {
        expect(&mut self.0, text.as_bytes()).await;
    }

    /// Nothing is there to be read.
    async fn hear_nothing(&mut self) {
        let mut buffer = [0; 100];
        let heard = timeout(Duration::from_millis(5), self.0.read(&mut buffer)).await;
        let heard = heard.map(|length| String::from_utf8_lossy(&buffer[..length.unwrap_or(0)]).into_owned());
        assert!(heard.is_err(), "{heard:?}");
    }

    async fn id(&mut self) -> String {
        say(&mut self.0, "CLIENT ID").await;
        let mut buffer = [0; 100];
        let length = self.0.read(&mut buffer).await.expect("answered");
        String::from_utf8_lossy(&buffer[1..length - 2]).into_owned()
    }
}

fn stale(keys: &[&str]) -> String {
    let keys: String = keys.iter().map(|key| format!("${}\r\n{key}\r\n", key.len())).collect();
    format!(">2\r\n$10\r\ninvalidate\r\n*{}\r\n{keys}", keys.matches('$').count())
}

const ALL_STALE: &str = ">2\r\n$10\r\ninvalidate\r\n_\r\n";

#[tokio::test(start_paused = true)]
async fn what_was_read_is_told_once_when_it_changes() {
    let node = Node::start(None, 100, 0);
    let (mut keeping, mut other) = (Client::of_resp3(&node).await, Client::of(&node));
    keeping.run("CLIENT TRACKING ON", "+OK\r\n").await;
    keeping.run("MGET a b c", "*3\r\n_\r\n_\r\n_\r\n").await;
    other.run("MSET c 1 a 1 b 1", "+OK\r\n").await;
    keeping.hear(&["c", "a", "b"].map(|key| stale(&[key])).concat()).await;
    other.run("SET a 2", "+OK\r\n").await;
    keeping.hear_nothing().await;
    // Own changes are told right behind their reply, within a pipeline as well, and behind all replies of EXEC.
    keeping
        .run("GET a\r\nSET a 3\r\nGET a\r\nSET b 1", &format!("$1\r\n2\r\n+OK\r\n{}$1\r\n3\r\n+OK\r\n", stale(&["a"])))
        .await;
    let replies = "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n$1\r\n4\r\n$1\r\n1\r\n";
    keeping.run("MULTI\r\nSET a 4\r\nGET a\r\nGET b\r\nEXEC", &format!("{replies}{}", stale(&["a"]))).await;
    other.run("MULTI\r\nDEL b\r\nSET a 5\r\nEXEC", "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n+OK\r\n").await;
    keeping.hear(&[stale(&["b"]), stale(&["a"])].concat()).await;
    // What only looks at a key for others, or writes it, does not keep it; what fails does.
    keeping.run("SUNIONSTORE d s\r\nINCR n\r\nWATCH w\r\nUNWATCH", ":0\r\n:1\r\n+OK\r\n+OK\r\n").await;
    other.run("SADD s x\r\nSET n 2\r\nSET w 1", ":1\r\n+OK\r\n+OK\r\n").await;
    keeping.hear_nothing().await;
    keeping.run("LLEN s", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n").await;
    other.run("SREM s nosuch\r\nSREM s x", ":0\r\n:1\r\n").await;
    keeping.hear(&stale(&["s"])).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_over_or_emptied_is_told() {
    let node = Node::start(None, 100, 0);
    let (mut keeping, mut other) = (Client::of_resp3(&node).await, Client::of(&node));
    keeping.run("CLIENT TRACKING ON NOLOOP", "+OK\r\n").await;
    other.run("SELECT 1\r\nSET a 1", "+OK\r\n+OK\r\n").await;
    keeping.run("GET a", "_\r\n").await;
    other.run("SET a 2\r\nFLUSHDB", "+OK\r\n+OK\r\n").await;
    keeping.hear(&format!("{}{ALL_STALE}", stale(&["a"]))).await;
    keeping.run("GET a\r\nFLUSHALL", &format!("_\r\n+OK\r\n{ALL_STALE}")).await;
    other.run("SET a 2\r\nSWAPDB 0 1", "+OK\r\n+OK\r\n").await;
    keeping.hear(ALL_STALE).await;
    other.run("SELECT 0\r\nPEXPIRE a 100000", "+OK\r\n:1\r\n").await;
    keeping.run("GET a\r\nSET b 1 PX 100000\r\nGET b", "$1\r\n2\r\n+OK\r\n$1\r\n1\r\n").await;
    node.state.keyspace.upkeep(u64::MAX / 2, crate::keyspace::Keyspace::SHARDS);
    let mut heard = vec![0; 2 * stale(&["a"]).len()];
    keeping.0.read_exact(&mut heard).await.expect("both are told");
    let heard = String::from_utf8_lossy(&heard).into_owned();
    assert!(heard.contains(&stale(&["a"])) && heard.contains(&stale(&["b"])), "{heard}");
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_hears_of_prefixes() {
    let node = Node::start(None, 100, 0);
    let (mut all, mut some) = (Client::of_resp3(&node).await, Client::of_resp3(&node).await);
    let mut other = Client::of(&node);
    all.run("CLIENT TRACKING ON BCAST", "+OK\r\n").await;
    some.run("CLIENT TRACKING ON BCAST PREFIX u: PREFIX s: NOLOOP", "+OK\r\n").await;
    other.run("MSET u:2 1 s:1 1 o 1 u:1 1", "+OK\r\n").await;
    all.hear(&stale(&["o", "s:1", "u:1", "u:2"])).await;
    some.hear(&[stale(&["s:1"]), stale(&["u:1", "u:2"])].concat()).await;
    some.run("SET u:1 2", "+OK\r\n").await;
    all.hear(&stale(&["u:1"])).await;
    some.run("MULTI\r\nSET u:1 2\r\nSET s:1 2\r\nEXEC", "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n+OK\r\n").await;
    all.hear(&stale(&["s:1", "u:1"])).await;
    some.hear_nothing().await;
    all.run("SET o 2", &format!("+OK\r\n{}", stale(&["o"]))).await;
    other
        .run(
            "MULTI\r\nSET u:1 1\r\nFLUSHALL\r\nSET u:2 1\r\nEXEC",
            "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n+OK\r\n+OK\r\n",
        )
        .await;
    for client in [&mut all, &mut some] {
        client.hear(&format!("{ALL_STALE}{}", stale(&["u:1", "u:2"]))).await;
    }
    say(&mut other.0, "INFO stats").await;
    some.run("CLIENT TRACKING OFF", "+OK\r\n").await;
    all.run("RESET", "+RESET\r\n").await;
    let mut other = Client::of(&node);
    other.run("SET u:1 1", "+OK\r\n").await;
    all.hear_nothing().await;
    some.hear_nothing().await;
    assert_eq!((node.state.trackers.len(), node.state.trackers.prefixes()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn another_connection_hears_of_it() {
    let node = Node::start(None, 100, 0);
    let (mut keeping, mut told, mut other) = (Client::of(&node), Client::of(&node), Client::of(&node));
    let id = told.id().await;
    keeping.run(&format!("CLIENT TRACKING ON REDIRECT {id}\r\nGET a"), "+OK\r\n$-1\r\n").await;
    keeping.run("CLIENT GETREDIR", &format!(":{id}\r\n")).await;
    // One who expects no messages cannot tell them from replies.
    other.run("SET a 1", "+OK\r\n").await;
    told.run("PING", "+PONG\r\n").await;
    told.run("SUBSCRIBE __redis__:invalidate", "*3\r\n$9\r\nsubscribe\r\n$20\r\n__redis__:invalidate\r\n:1\r\n").await;
    keeping.run("GET a", "$1\r\n1\r\n").await;
    other.run("SET a 2\r\nFLUSHALL", "+OK\r\n+OK\r\n").await;
    let message = "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n";
    told.hear(&format!("{message}*1\r\n$1\r\na\r\n{message}$-1\r\n")).await;
    told.run("RESET", "+RESET\r\n").await;
    drop(told);
    sleep(Duration::from_millis(1)).await;
    keeping.run("GET a", "$-1\r\n").await;
    other.run("SET a 3", "+OK\r\n").await;
    let (mut told, id) = (Client::of_resp3(&node).await, id);
    let info = "$5\r\nflags\r\n*2\r\n$2\r\non\r\n$15\r\nbroken_redirect\r\n";
    keeping
        .run("CLIENT TRACKINGINFO", &format!("*6\r\n{info}$8\r\nredirect\r\n:{id}\r\n$8\r\nprefixes\r\n*0\r\n"))
        .await;
    let mut keeping = Client::of_resp3(&node).await;
    let id = told.id().await;
    keeping.run(&format!("CLIENT TRACKING ON BCAST REDIRECT {id}\r\nSET a 4"), "+OK\r\n+OK\r\n").await;
    told.hear(&stale(&["a"])).await;
    drop(told);
    sleep(Duration::from_millis(1)).await;
    other.run("SET a 5", "+OK\r\n").await;
    keeping.hear(&format!(">2\r\n$21\r\ntracking-redir-broken\r\n:{id}\r\n")).await;
}

#[tokio::test(start_paused = true)]
async fn who_chooses_what_it_keeps_says_so_before() {
    let node = Node::start(None, 100, 0);
    let (mut keeping, mut other) = (Client::of_resp3(&node).await, Client::of(&node));
    keeping.run("CLIENT TRACKING ON OPTIN\r\nGET a", "+OK\r\n_\r\n").await;
    keeping.run("CLIENT CACHING YES\r\nCLIENT ID\r\nGET b\r\nGET c", "+OK\r\n:1\r\n_\r\n_\r\n").await;
    keeping
        .run(
            "CLIENT CACHING YES\r\nNOSUCH\r\nGET c",
            "+OK\r\n-ERR unknown command 'NOSUCH', with args beginning with: \r\n_\r\n",
        )
        .await;
    other.run("MSET a 1 b 1 c 1", "+OK\r\n").await;
    keeping.hear(&stale(&["b"])).await;
    let begun = "+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n$1\r\n1\r\n$1\r\n1\r\n";
    keeping.run("CLIENT CACHING YES\r\nMULTI\r\nGET a\r\nGET b\r\nEXEC\r\nGET c", &format!("{begun}$1\r\n1\r\n")).await;
    let begun = "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n$1\r\n1\r\n+OK\r\n$1\r\n1\r\n";
    keeping.run("MULTI\r\nGET c\r\nCLIENT CACHING YES\r\nGET a\r\nEXEC\r\nGET d", &format!("{begun}_\r\n")).await;
    other.run("MSET a 1 b 1 c 1 d 1", "+OK\r\n").await;
    keeping.hear(&[stale(&["a"]), stale(&["b"])].concat()).await;
    keeping.run("CLIENT TRACKING OFF\r\nCLIENT TRACKING ON OPTOUT", "+OK\r\n+OK\r\n").await;
    keeping.run("GET a\r\nCLIENT CACHING NO\r\nGET b\r\nGET c", "$1\r\n1\r\n+OK\r\n$1\r\n1\r\n$1\r\n1\r\n").await;
    other.run("MSET a 1 b 1 c 1 d 1", "+OK\r\n").await;
    keeping.hear(&[stale(&["a"]), stale(&["c"])].concat()).await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_hears_meanwhile_and_keeps_what_it_gets() {
    let node = Node::start(None, 100, 0);
    let (mut keeping, mut other) = (Client::of_resp3(&node).await, Client::of(&node));
    keeping.run("CLIENT TRACKING ON\r\nGET a", "+OK\r\n_\r\n").await;
    say(&mut keeping.0, "XREAD BLOCK 0 STREAMS s $").await;
    other.run("SET a 1", "+OK\r\n").await;
    keeping.hear(&stale(&["a"])).await;
    other.run("XADD s 1-1 f v", "$3\r\n1-1\r\n").await;
    let entry = "%1\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n";
    keeping.hear(&format!("{}{entry}", stale(&["s"]))).await;
    other.run("XADD s 1-2 f v", "$3\r\n1-2\r\n").await;
    keeping.hear(&stale(&["s"])).await;
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_disconnected() {
    let node = Node::start(None, 100, 0);
    let (mut keeping, mut other) = (Client::of_resp3(&node).await, Client::of(&node));
    keeping.run("CLIENT TRACKING ON BCAST", "+OK\r\n").await;
    other.run("CONFIG SET client-output-buffer-limit \"pubsub 100000 0 0\"", "+OK\r\n").await;
    let key = "k".repeat(10_000);
    for _ in 0..30 {
        other.run(&format!("SET {key} 1"), "+OK\r\n").await;
    }
    let mut heard = Vec::new();
    timeout(Duration::from_secs(1), keeping.0.read_to_end(&mut heard)).await.expect("it ends").expect("it ends");
    assert_eq!(node.state.trackers.len(), 0);
}
