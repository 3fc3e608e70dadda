//! `/health` and `/metrics` over HTTP, for orchestrators and Prometheus.
//!
//! Runs on a thread of its own, so that it never delays a client. One request per connection, a few hundred bytes of it,
//! within seconds; when too many are open, the oldest is dropped: whoever opens connections and says nothing cannot keep
//! a probe from its answer. (An HTTP library with a thread per connection and no timeouts could not promise that.)

use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tracing::warn;

/// More open connections than this cost the oldest one its life.
const MAX_CONNECTIONS: usize = 64;
/// A request and its answer take no longer than this.
const DEADLINE: Duration = Duration::from_secs(5);
/// The longest request head that is read, in bytes.
const MAX_HEAD: usize = 8 * 1024;
/// After a failed accept, the next one comes after this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What there is to tell.
pub trait Subject: Send + Sync + 'static {
    /// Is the node ready for clients?
    fn is_serving(&self) -> bool;
    /// All metrics in Prometheus's text format.
    fn metrics(&self) -> String;
}

/// Answers HTTP requests on a thread of its own, as long as the process lives. The listener must not block.
pub fn serve_http(listener: TcpListener, subject: Arc<dyn Subject>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _entered = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    thread::Builder::new().name("swytch-metrics".into()).spawn(move || runtime.block_on(accept(listener, subject)))?;
    Ok(())
}

async fn accept(listener: tokio::net::TcpListener, subject: Arc<dyn Subject>) {
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
                let subject = Arc::clone(&subject);
                // A client that fails or is too slow gets no answer; nothing else follows from it.
                let answering = async move { timeout(DEADLINE, answer(stream, &*subject)).await };
                open.push_back(tokio::spawn(answering).abort_handle());
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection to the metrics port");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Reads one request and answers it.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, subject: &dyn Subject) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        if head.len() > MAX_HEAD {
            return respond(&mut stream, "431 Request Header Fields Too Large", "request too large\n", true).await;
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let with_body = match method {
        "GET" => true,
        "HEAD" => false,
        _ => return respond(&mut stream, "405 Method Not Allowed", "only GET and HEAD\n", true).await,
    };
    let path = target.split('?').next().unwrap_or_default();
    match path {
        "/health" if subject.is_serving() => respond(&mut stream, "200 OK", "ok", with_body).await,
        "/health" => respond(&mut stream, "503 Service Unavailable", "loading", with_body).await,
        "/metrics" => respond(&mut stream, "200 OK", &subject.metrics(), with_body).await,
        _ => respond(&mut stream, "404 Not Found", "there are /health and /metrics\n", with_body).await,
    }
}

async fn respond(stream: &mut (impl AsyncWrite + Unpin), status: &str, body: &str, with_body: bool) -> io::Result<()> {
    // The version is that of Prometheus's text format.
    let mut response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    if with_body {
        response.push_str(body);
    }
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(bool);

    impl Subject for Fixed {
        fn is_serving(&self) -> bool {
            self.0
        }

        fn metrics(&self) -> String {
            "swytch_up 1\n".into()
        }
    }

    async fn ask(request: &[u8], serving: bool) -> String {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        client.write_all(request).await.expect("room for the request");
        let subject = Fixed(serving);
        let (answered, text) = tokio::join!(answer(server, &subject), async move {
            let mut text = String::new();
            client.read_to_string(&mut text).await.map(|_| text)
        });
        answered.and(text).expect("answered")
    }

    #[tokio::test]
    async fn health_says_whether_the_node_serves() {
        let ok = ask(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", true).await;
        assert!(ok.starts_with("HTTP/1.1 200 OK\r\n") && ok.ends_with("\r\n\r\nok"), "{ok}");
        let loading = ask(b"GET /health?x HTTP/1.1\r\n\r\n", false).await;
        assert!(loading.starts_with("HTTP/1.1 503 ") && loading.ends_with("\r\n\r\nloading"), "{loading}");
    }

    #[tokio::test]
    async fn metrics_and_what_is_not_there() {
        assert!(ask(b"GET /metrics HTTP/1.1\r\n\r\n", true).await.ends_with("\r\n\r\nswytch_up 1\n"));
        let head = ask(b"HEAD /metrics HTTP/1.1\r\n\r\n", true).await;
        assert!(head.contains("Content-Length: 12\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(ask(b"GET / HTTP/1.1\r\n\r\n", true).await.starts_with("HTTP/1.1 404 "));
        assert!(ask(b"POST /health HTTP/1.1\r\n\r\n", true).await.starts_with("HTTP/1.1 405 "));
        assert!(ask(&[b'a'; 9000], true).await.starts_with("HTTP/1.1 431 "));
        assert!(ask(b"\r\n\r\n", true).await.starts_with("HTTP/1.1 405 "));
    }

    #[test]
    fn silent_connections_do_not_keep_a_probe_from_its_answer() {
        use std::io::{Read, Write};
        use std::net::TcpStream;

        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("bound");
        serve_http(listener, Arc::new(Fixed(true))).expect("a thread");
        let connect = || TcpStream::connect(address).expect("accepted");
        let mut silent: Vec<TcpStream> = (0..=MAX_CONNECTIONS).map(|_| connect()).collect();
        let mut probe = connect();
        probe.write_all(b"GET /health HTTP/1.1\r\n\r\n").expect("open");
        let mut text = String::new();
        probe.read_to_string(&mut text).expect("answered");
        assert!(text.ends_with("ok"), "{text}");
        assert_eq!(silent[0].read(&mut [0]).expect("closed in an orderly way"), 0, "the oldest had to go");
    }
}
