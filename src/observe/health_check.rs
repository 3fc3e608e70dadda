//! Asking a node for its health, as an orchestrator does: for images that have no shell, let alone curl.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A node that takes longer for any step is not healthy.
const PATIENCE: Duration = Duration::from_secs(2);
/// No answer that counts is longer, in bytes.
const LONGEST_ANSWER: u64 = 4096;

/// Asks `/health`. Returns what it says.
///
/// # Errors
/// One line: nobody answers, or the node does not serve.
pub fn check_health(address: SocketAddr) -> Result<String, String> {
    let answer = ask(address).map_err(|error| format!("no answer from http://{address}/health: {error}"))?;
    let mut lines = answer.lines();
    let status = lines.next().unwrap_or_default();
    let body = lines.skip_while(|line| !line.is_empty()).nth(1).unwrap_or_default();
    match status.split_ascii_whitespace().nth(1) {
        Some("200") => Ok(body.to_owned()),
        _ => Err(format!("http://{address}/health says: {status} {body}")),
    }
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(LONGEST_ANSWER).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;

    use super::*;
    use crate::observe::{Subject, serve_http};

    struct Node(bool);

    impl Subject for Node {
        fn is_serving(&self) -> bool {
            self.0
        }

        fn metrics(&self) -> String {
            String::new()
        }
    }

    #[test]
    fn only_a_node_that_serves_is_healthy() {
        let start = |serves| {
            let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
            let address = listener.local_addr().expect("it is bound");
            listener.set_nonblocking(true).expect("a socket can be so");
            serve_http(listener, Arc::new(Node(serves))).expect("it starts");
            address
        };
        assert_eq!(check_health(start(true)), Ok("ok".to_owned()));
        let loading = check_health(start(false)).expect_err("it does not serve");
        assert!(loading.contains("503") && loading.ends_with("loading"), "{loading}");
        let closed = TcpListener::bind("127.0.0.1:0").expect("loopback is there").local_addr().expect("it is bound");
        assert!(check_health(closed).expect_err("nobody is there").starts_with("no answer from http://127.0.0.1:"));
    }
}
