//! `/health`, `/metrics` and `/status` over HTTP, for orchestrators, Prometheus and people.
//!
//! tiny_http speaks the protocol, on threads of its own, so that it never delays a client. As it gives every connection a
//! thread and knows no timeouts, it listens on a private socket only, and a gate in front of it bounds the number of
//! connections and their time: when too many are open, the oldest is dropped, so whoever opens connections and says
//! nothing cannot keep a probe from its answer.

use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tiny_http::{Header, Method, Request, Response, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tracing::warn;

/// More open connections than this cost the oldest one its life.
const MAX_CONNECTIONS: usize = 64;
/// A connection lasts no longer than this.
const DEADLINE: Duration = Duration::from_secs(5);
/// The head of a request is no longer than this, in bytes.
const LONGEST_HEAD: usize = 16 << 10;
/// After a failed accept, the next one comes after this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What there is to tell.
pub trait Subject: Send + Sync + 'static {
    /// Is the node ready for clients?
    fn is_serving(&self) -> bool;
    /// All metrics in Prometheus's text format.
    fn metrics(&self) -> String;
    /// The node and its cluster, as JSON.
    fn status(&self) -> String;
}

/// The version is that of Prometheus's text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

/// Answers HTTP requests on threads of its own, as long as the process lives. The listener must not block.
///
/// # Errors
/// When the private socket or a thread cannot be made.
pub fn serve_http(listener: TcpListener, subject: Arc<dyn Subject>) -> io::Result<()> {
    // An address without a name in the file system, of which there is one per port of this machine.
    let name = format!("swytch-metrics-{}-{}", std::process::id(), listener.local_addr()?.port());
    let inner = SocketAddr::from_abstract_name(name)?;
    let server = Server::from_listener(UnixListener::bind_addr(&inner)?, None).map_err(io::Error::other)?;
    thread::Builder::new().name("swytch-metrics".into()).spawn(move || {
        for request in server.incoming_requests() {
            // A client that went away gets no answer; nothing else follows from it.
            let _ = answer(request, &*subject);
        }
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _entered = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    thread::Builder::new().name("swytch-gate".into()).spawn(move || runtime.block_on(accept(listener, inner)))?;
    Ok(())
}

/// The gate: lets connections through to the private socket.
async fn accept(listener: tokio::net::TcpListener, inner: SocketAddr) {
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                open.retain(|connection| !connection.is_finished());
                if open.len() == MAX_CONNECTIONS
                    && let Some(oldest) = open.pop_front()
                {
                    oldest.abort();
                }
                let passing = timeout(DEADLINE, pass(stream, inner.clone()));
                open.push_back(tokio::spawn(passing).abort_handle());
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection to the metrics port");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// tiny_http gives a new connection to a thread that it believes to be idle; when two come at once, one of them may wait
/// until another thread is done. So who says nothing must not occupy a thread: only a whole head of a request is let in.
async fn pass(mut outside: tokio::net::TcpStream, inner: SocketAddr) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > LONGEST_HEAD || outside.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let inside = UnixStream::connect_addr(&inner)?;
    inside.set_nonblocking(true)?;
    let mut inside = tokio::net::UnixStream::from_std(inside)?;
    inside.write_all(&head).await?;
    copy_bidirectional(&mut outside, &mut inside).await?;
    Ok(())
}

fn answer(request: Request, subject: &dyn Subject) -> io::Result<()> {
    let path = request.url().split('?').next().unwrap_or_default();
    let (status, kind, text) = match (request.method(), path) {
        (Method::Get | Method::Head, "/health") if subject.is_serving() => (200, TEXT, "ok".to_owned()),
        (Method::Get | Method::Head, "/health") => (503, TEXT, "loading".to_owned()),
        (Method::Get | Method::Head, "/metrics") => (200, TEXT, subject.metrics()),
        (Method::Get | Method::Head, "/status") => (200, JSON, subject.status()),
        (Method::Get | Method::Head, _) => (404, TEXT, "there are /health, /metrics and /status\n".to_owned()),
        _ => (405, TEXT, "only GET and HEAD\n".to_owned()),
    };
    let kind = Header::from_bytes("Content-Type", kind);
    request.respond(Response::from_string(text).with_status_code(status).with_header(kind.expect("a header")))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    struct Fixed(bool);

    impl Subject for Fixed {
        fn is_serving(&self) -> bool {
            self.0
        }

        fn metrics(&self) -> String {
            "swytch_up 1\n".into()
        }

        fn status(&self) -> String {
            "{}".into()
        }
    }

    fn serve(serving: bool) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("bound");
        serve_http(listener, Arc::new(Fixed(serving))).expect("a thread");
        address
    }

    fn ask(address: std::net::SocketAddr, line: &str) -> String {
        let mut stream = TcpStream::connect(address).expect("accepted");
        write!(stream, "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("open");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("answered");
        text
    }

    #[test]
    fn health_says_whether_the_node_serves() {
        let ok = ask(serve(true), "GET /health");
        assert!(ok.starts_with("HTTP/1.1 200 OK\r\n") && ok.ends_with("\r\n\r\nok"), "{ok}");
        let loading = ask(serve(false), "GET /health?x");
        assert!(loading.starts_with("HTTP/1.1 503 ") && loading.ends_with("\r\n\r\nloading"), "{loading}");
    }

    #[test]
    fn metrics_and_what_is_not_there() {
        let address = serve(true);
        assert!(ask(address, "GET /metrics").ends_with("\r\n\r\nswytch_up 1\n"));
        let status = ask(address, "GET /status");
        assert!(status.contains("Content-Type: application/json\r\n") && status.ends_with("\r\n\r\n{}"), "{status}");
        let head = ask(address, "HEAD /metrics");
        assert!(head.contains("Content-Length: 12\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(ask(address, "GET /").starts_with("HTTP/1.1 404 "));
        assert!(ask(address, "DELETE /health").starts_with("HTTP/1.1 405 "));
    }

    #[test]
    fn silent_connections_do_not_keep_a_probe_from_its_answer() {
        let address = serve(true);
        let connect = || TcpStream::connect(address).expect("accepted");
        let mut silent: Vec<TcpStream> = (0..=MAX_CONNECTIONS).map(|_| connect()).collect();
        let text = ask(address, "GET /health");
        assert!(text.ends_with("ok"), "{text}");
        assert_eq!(silent[0].read(&mut [0]).expect("closed in an orderly way"), 0, "the oldest had to go");
    }
}
