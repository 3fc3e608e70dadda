//! The executable as an operator meets it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn swytch(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swytch"));
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to the end.
fn run(words: &[&str]) -> Output {
    swytch(words).output().expect("the executable runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// A port that nobody had a moment ago, below those that the kernel hands out by itself: among these, somebody who tries until
/// a port is open may be connected to himself.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id().wrapping_mul(100));
        let port = 10_000 + (number % 10_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A node that ends with the test.
struct Node {
    process: Child,
    port: u16,
}

impl Node {
    fn start(more: &[&str]) -> Node {
        let port = free_port();
        let process = swytch(&[&["redis", "--threads=2", &format!("--port={port}")], more].concat()).spawn();
        let mut node = Node { process: process.expect("the executable runs"), port };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < PATIENCE, "it accepts connections in time");
            assert!(node.process.try_wait().expect("a child").is_none(), "it runs");
            std::thread::sleep(Duration::from_millis(10));
        }
        node
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("accepted");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream
    }

    /// Sends a signal by name and waits for the end: exit status and log.
    fn end(mut self, signal: &str) -> (Option<i32>, String) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status().expect("kill runs");
        assert!(sent.success());
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.process.try_wait().expect("a child") {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "it ends in time");
            std::thread::sleep(Duration::from_millis(10));
        };
        let mut log = String::new();
        self.process.stderr.take().expect("piped").read_to_string(&mut log).expect("text");
        (status.code(), log)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn ask(mut stream: impl Read + Write, request: &[u8], answer: &[u8]) {
    stream.write_all(request).expect("open");
    let mut bytes = vec![0; answer.len()];
    stream.read_exact(&mut bytes).expect("answered");
    assert_eq!(text(&bytes), text(answer));
}

fn http(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("accepted");
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())
        .expect("open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

#[test]
fn a_node_serves_tcp_and_a_unix_socket_and_ends_in_order() {
    let path = std::env::temp_dir().join(format!("swytch-cli-{}.sock", std::process::id()));
    let node = Node::start(&["--unixsocket", path.to_str().expect("text"), "--log-format", "json"]);
    ask(node.connect(), b"PING\r\nPING x\r\n", b"+PONG\r\n$1\r\nx\r\n");
    ask(UnixStream::connect(&path).expect("accepted"), b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n");
    let mut idle = node.connect();
    // Who was never let in would be told otherwise that the node is gone.
    ask(&idle, b"PING\r\n", b"+PONG\r\n");
    let (status, log) = node.end("TERM");
    assert_eq!(status, Some(0), "{log}");
    assert_eq!(idle.read(&mut [0]).expect("closed"), 0);
    assert!(!path.exists(), "the socket's file is removed");
    assert!(log.lines().count() >= 2);
    for line in log.lines() {
        assert!(line.starts_with("{\"timestamp\":") && line.contains("\"message\":") && line.ends_with('}'), "{line}");
    }
}

#[test]
fn only_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("swytch-cli-only-{}.sock", std::process::id()));
    let mut process =
        swytch(&["redis", "--bind=", "--unixsocket", path.to_str().expect("text")]).spawn().expect("runs");
    let start = Instant::now();
    let stream = loop {
        if let Ok(stream) = UnixStream::connect(&path) {
            break stream;
        }
        assert!(start.elapsed() < PATIENCE, "it accepts connections in time");
        std::thread::sleep(Duration::from_millis(10));
    };
    ask(stream, b"PING\r\n", b"+PONG\r\n");
    process.kill().expect("a child");
    process.wait().expect("a child");
    std::fs::remove_file(&path).expect("killed before it could remove it");
}

#[test]
fn health_and_metrics() {
    let port = free_port();
    let node = Node::start(&[&format!("--metrics-port={port}")]);
    let mut client = node.connect();
    ask(&mut client, b"SET a b\r\nGET a\r\nGET z\r\n", b"+OK\r\n$1\r\nb\r\n$-1\r\n");
    // One that is timed each time.
    ask(&mut client, b"KEYS *\r\n", b"*1\r\n$1\r\na\r\n");
    assert!(http(port, "/health").ends_with("\r\n\r\nok"));
    let metrics = http(port, "/metrics");
    for line in [
        "swytch_connected_clients 1",
        "swytch_commands_total{command=\"get\"} 2",
        "swytch_keyspace_hits_total 1",
        "swytch_keyspace_misses_total 1",
        "swytch_memory_limit_bytes 67108864",
        "swytch_keys{database=\"0\"} 1",
        "swytch_serving 1",
        "# TYPE swytch_command_duration_seconds histogram",
        "swytch_command_duration_seconds_bucket{command=\"keys\",le=\"+Inf\"} 1",
        "swytch_command_duration_seconds_count{command=\"keys\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    assert_eq!(node.end("INT").0, Some(0));
}

#[test]
fn mistakes_cost_one_line_and_status_2() {
    let cases: [(&[&str], &[&str]); 4] = [
        (&["redis", "--maxmemory=lots"], &["--maxmemory", "lots", "64mb"]),
        (&["redis", "--nonsense"], &["--nonsense"]),
        (&["redis", "--join=cache.local"], &["--join=cache.local", "--cluster-passphrase"]),
        (&["redis", "--cluster-passphrase=0123456789abcdef", "--port=65000"], &["--port=65000", "--cluster-port"]),
    ];
    for (words, parts) in cases {
        let output = run(words);
        let line = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
    }
}

#[test]
fn values_come_from_the_environment_too() {
    let output = swytch(&["redis"]).env("SWYTCH_PORT", "many").output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("many"));
    let output = swytch(&["redis", "--help"]).env("SWYTCH_REQUIREPASS", "top-secret").output().expect("runs");
    assert!(output.status.success());
    assert!(text(&output.stdout).contains("SWYTCH_REQUIREPASS") && !text(&output.stdout).contains("top-secret"));
}

#[test]
fn what_is_in_use_costs_one_line_and_status_1() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let free = free_port().to_string();
    for words in [
        &["redis", "--port", &port][..],
        &["redis", "--port", &free, "--metrics-port", &port],
        &["redis", "--port", &free, "--unixsocket", "/nowhere/at/all"],
    ] {
        let output = run(words);
        let log = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(log.contains("cannot listen on"), "{log}");
    }
}

#[test]
fn what_kubernetes_says_of_a_service_is_no_port() {
    let port_of_service = |words: &[&str]| {
        let output = swytch(words).env("SWYTCH_PORT", "tcp://10.0.0.1:6379").output().expect("the executable runs");
        text(&output.stderr)
    };
    let log = port_of_service(&["redis", "--threads=x"]);
    assert!(log.contains("--threads") && !log.contains("--port"), "{log}");
    let output = swytch(&["redis"]).env("SWYTCH_PORT", "tcp:/10.0.0.1").output().expect("the executable runs");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn the_health_of_a_node_is_an_exit_status() {
    let port = free_port().to_string();
    let ask = || run(&["health", "--metrics-port", &port]);
    let nobody = ask();
    let error = text(&nobody.stderr);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(error.starts_with("swytch: no answer from") && error.lines().count() == 1, "{error}");
    let node = Node::start(&["--metrics-port", &port]);
    let there = ask();
    assert_eq!((there.status.code(), text(&there.stdout).as_str()), (Some(0), "ok\n"));
    node.end("TERM");
}

#[test]
fn the_status_of_a_node_alone_and_in_a_cluster() {
    let port = free_port().to_string();
    let ask = |more: &[&str]| run(&[&["status", "--metrics-port", &port], more].concat());
    let nobody = ask(&[]);
    let error = text(&nobody.stderr);
    assert_eq!((nobody.status.code(), text(&nobody.stdout).as_str()), (Some(1), ""));
    assert!(error.starts_with("swytch: no answer from http://127.0.0.1:") && error.lines().count() == 1, "{error}");
    let node = Node::start(&["--metrics-port", &port]);
    ask_until_answered(&node);
    let (shown, json) = (ask(&[]), text(&ask(&["--json"]).stdout));
    let shown_text = text(&shown.stdout);
    assert_eq!(shown.status.code(), Some(0), "{shown_text}");
    assert!(shown_text.contains(&format!("port {}, serving, up for", node.port)), "{shown_text}");
    assert!(shown_text.contains("\nclients   ") && shown_text.contains("\nmemory    "), "{shown_text}");
    let start = format!("{{\"version\":\"{}\",\"stage\":\"serving\",\"uptime_seconds\":", env!("CARGO_PKG_VERSION"));
    assert!(json.starts_with(&start) && json.ends_with(",\"cluster\":null}\n"), "{json}");
    let mut watching = swytch(&["status", "--watch", "--metrics-port", &port]).spawn().expect("the executable runs");
    let mut pages = watching.stdout.take().expect("piped");
    let mut seen = String::new();
    while seen.matches("swytch    ").count() < 2 || !seen.ends_with("\u{1b}[J") {
        let mut some = [0; 4096];
        let length = pages.read(&mut some).expect("it prints");
        assert!(length > 0, "it goes on: {seen}");
        seen.push_str(&text(&some[..length]));
    }
    watching.kill().expect("a child");
    watching.wait().expect("a child");
    assert!(seen.starts_with("\u{1b}[2J\u{1b}[Hswytch    "), "{seen}");
    node.end("TERM");
    assert_eq!(ask(&["--watch"]).status.code(), Some(1));

    let cluster_port = free_port().to_string();
    let (one, other) = (free_port().to_string(), free_port().to_string());
    let words = ["--cluster-passphrase=of a test, long enough", "--join", &format!("127.0.0.1:{cluster_port}")];
    let start = |name: &str, metrics: &str, cluster: &str| {
        let own = ["--node-name", name, "--metrics-port", metrics, "--cluster-port", cluster];
        Node::start(&[&words[..], &own].concat())
    };
    let nodes = [start("one", &one, &cluster_port), start("other", &other, &free_port().to_string())];
    let begun = Instant::now();
    loop {
        let output = run(&["status", "--metrics-port", &one]);
        let seen = text(&output.stdout);
        let lines: Vec<&str> = seen.lines().collect();
        if let [.., titles, member] = lines[..]
            && titles.starts_with("MEMBER ")
            && member.starts_with("other  ")
            && member.contains("  serving  ")
            && member.contains("  none ")
        {
            assert!(
                seen.contains("\nlog       ") && seen.contains(&format!(", one at 127.0.0.1:{cluster_port}\n")),
                "{seen}"
            );
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{seen}{}", text(&output.stderr));
        std::thread::sleep(Duration::from_millis(50));
    }
    nodes.into_iter().for_each(|node| assert_eq!(node.end("TERM").0, Some(0)));
}

/// A service manager's end of a socket, and what a node told it next.
struct Manager(UnixDatagram);

impl Manager {
    fn told(&self) -> String {
        let mut buffer = [0; 512];
        let length = self.0.recv(&mut buffer).expect("told in time");
        text(&buffer[..length])
    }
}

#[test]
fn the_service_manager_is_told_when_clients_are_answered() {
    let path = std::env::temp_dir().join(format!("swytch-notify-{}.sock", std::process::id()));
    let name = format!("swytch-notify-{}", std::process::id());
    let at_name = SocketAddr::from_abstract_name(&name).expect("short enough");
    let passphrase = "--cluster-passphrase=of a test, long enough";
    let cases = [
        (UnixDatagram::bind(&path), path.clone().into_os_string(), vec![]),
        (UnixDatagram::bind_addr(&at_name), format!("@{name}").into(), vec![passphrase.to_owned()]),
    ];
    for (listener, address, mut words) in cases {
        let manager = Manager(listener.expect("free"));
        manager.0.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let port = free_port();
        words.splice(0..0, ["redis", "--threads=2"].map(str::to_owned));
        words.extend([format!("--port={port}"), format!("--cluster-port={}", free_port())]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let process = swytch(&words).env("NOTIFY_SOCKET", &address).spawn().expect("the executable runs");
        let node = Node { process, port };
        let mut told = manager.told();
        while told.starts_with("STATUS=") {
            assert!(["joining", "loading"].iter().any(|word| told.contains(word)), "{told}");
            told = manager.told();
        }
        assert_eq!(told, "READY=1\nSTATUS=serving clients\n");
        // At once, without another try.
        ask(node.connect(), b"PING\r\nGET none\r\n", b"+PONG\r\n$-1\r\n");
        let (status, log) = node.end("TERM");
        assert_eq!(status, Some(0), "{log}");
        assert!(manager.told().starts_with("STOPPING=1\n"));
    }
    std::fs::remove_file(&path).expect("bound here");
    let node = swytch(&["redis", &format!("--port={}", free_port())]).env("NOTIFY_SOCKET", &path).spawn();
    let node = Node { process: node.expect("the executable runs"), port: 0 };
    std::thread::sleep(Duration::from_millis(300));
    let (status, log) = node.end("TERM");
    assert!(status == Some(0) && log.contains("the service manager cannot be told"), "{log}");
}

/// Until its own data is loaded, a node answers `-LOADING`.
fn ask_until_answered(node: &Node) {
    let start = Instant::now();
    let mut client = node.connect();
    loop {
        client.write_all(b"GET none\r\n").expect("open");
        let mut first = [0; 1];
        client.read_exact(&mut first).expect("answered");
        if first == *b"$" {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "it serves in time");
        std::thread::sleep(Duration::from_millis(10));
        client = node.connect();
    }
}

#[test]
fn a_hangup_before_a_node_serves_does_not_end_it() {
    // The port is listened on before the passphrase is stretched, which takes a moment.
    let port = free_port();
    let words = ["redis", "--threads=2", &format!("--port={port}"), &format!("--cluster-port={}", free_port())];
    let process = swytch(&words).env("SWYTCH_CLUSTER_PASSPHRASE", "of a test, long enough").spawn();
    let node = Node { process: process.expect("the executable runs"), port };
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(start.elapsed() < PATIENCE, "it listens in time");
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.process.id())).expect("it runs");
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("Linux says it");
    let caught = u64::from_str_radix(caught.trim(), 16).expect("a mask");
    assert_eq!(caught & 1, 1, "SIGHUP, the first signal, is handled");
    let sent = Command::new("kill").args(["-s", "HUP", &node.process.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
    let mut client = node.connect();
    client.write_all(b"PING\r\n").expect("sent");
    let mut answer = [0; 1];
    client.read_exact(&mut answer).expect("it goes on, and answers");
    assert_eq!(node.end("TERM").0, Some(0));
}

#[test]
fn passphrase_version_and_help() {
    let passphrase = text(&run(&["gen-passphrase"]).stdout);
    assert_eq!(passphrase.trim_end().len(), 43);
    assert_ne!(passphrase, text(&run(&["gen-passphrase"]).stdout));
    assert_eq!(text(&run(&["version"]).stdout), format!("swytch {}\n", env!("CARGO_PKG_VERSION")));
    for words in [&["help"][..], &["-h"], &["redis", "-h"], &["gen-passphrase", "-h"], &["help", "redis"]] {
        let output = run(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        assert!(text(&output.stdout).contains("Usage:"), "{words:?}");
    }
    assert_eq!(run(&[]).status.code(), Some(2));
}
