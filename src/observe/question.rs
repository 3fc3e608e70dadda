//! Asking a node over HTTP, at its metrics port: for its health, as an orchestrator does (for images that have no shell, let
//! alone curl), and for its status.
//!
//! Whatever answers there is not trusted: it gets little time, and no more than a bounded answer is read.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::NodeStatus;
use super::status_text::printable;

/// A node that takes longer for any step is not healthy.
const PATIENCE: Duration = Duration::from_secs(2);
/// No health is longer, in bytes.
const LONGEST_HEALTH: u64 = 4096;
/// No status is longer, in bytes: as many members as there can be, with long names.
const LONGEST_STATUS: u64 = 4 << 20;

/// Asks `/health`. Returns what it says.
///
/// # Errors
/// One line: nobody answers, or the node does not serve.
pub fn check_health(address: SocketAddr) -> Result<String, String> {
    ask(address, "/health", LONGEST_HEALTH).map(|body| body.lines().next().unwrap_or_default().to_owned())
}

/// Asks `/status`. Returns the node's status, and the JSON that it came in.
///
/// # Errors
/// One line: nobody answers, or what answers is no node.
pub fn ask_status(address: SocketAddr) -> Result<(NodeStatus, String), String> {
    let body = ask(address, "/status", LONGEST_STATUS)?;
    match serde_json::from_str(&body) {
        Ok(status) => Ok((status, body)),
        Err(error) => Err(format!("http://{address}/status is not the status of a node: {error}")),
    }
}

/// The body of an answer with status 200.
fn ask(address: SocketAddr, path: &str, longest: u64) -> Result<String, String> {
    let answer =
        fetch(address, path, longest).map_err(|error| format!("no answer from http://{address}{path}: {error}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default();
    match status.split_ascii_whitespace().nth(1) {
        Some("200") => Ok(body.to_owned()),
        _ => Err(format!(
            "http://{address}{path} says: {} {}",
            printable(status),
            printable(body.lines().next().unwrap_or_default())
        )),
    }
}

fn fetch(address: SocketAddr, path: &str, longest: u64) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // HTTP 1.0: the answer comes in one piece and ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(longest).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;

    use super::*;
    use crate::observe::{MemberStatus, Subject, serve_http};

    struct Node {
        serves: bool,
        status: String,
    }

    impl Subject for Node {
        fn is_serving(&self) -> bool {
            self.serves
        }

        fn metrics(&self) -> String {
            String::new()
        }

        fn status(&self) -> String {
            self.status.clone()
        }
    }

    fn start(node: Node) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        let address = listener.local_addr().expect("it is bound");
        listener.set_nonblocking(true).expect("a socket can be so");
        serve_http(listener, Arc::new(node)).expect("it starts");
        address
    }

    fn nobody() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").expect("loopback is there").local_addr().expect("it is bound")
    }

    #[test]
    fn only_a_node_that_serves_is_healthy() {
        let start = |serves| start(Node { serves, status: String::new() });
        assert_eq!(check_health(start(true)), Ok("ok".to_owned()));
        let loading = check_health(start(false)).expect_err("it does not serve");
        assert!(loading.contains("503") && loading.ends_with("loading"), "{loading}");
        assert!(check_health(nobody()).expect_err("nobody is there").starts_with("no answer from http://127.0.0.1:"));
    }

    #[test]
    fn a_status_of_any_size_arrives_whole() {
        let mut status = NodeStatus { version: "1".into(), ..NodeStatus::default() };
        let member = MemberStatus { name: "a name of some length".repeat(9), ..MemberStatus::default() };
        status.cluster.get_or_insert_default().members = vec![member; 1_000];
        let (seen, json) = ask_status(start(Node { serves: false, status: status.json() })).expect("it answers");
        assert_eq!((seen, json), (status.clone(), status.json()));
        let error = ask_status(start(Node { serves: true, status: "<html>".into() })).expect_err("no status");
        assert!(error.contains("is not the status of a node") && error.lines().count() == 1, "{error}");
        assert!(ask_status(nobody()).expect_err("nobody is there").starts_with("no answer from http://127.0.0.1:"));
    }
}
