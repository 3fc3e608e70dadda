//! A collector for tests: takes what it is sent, over HTTP, and keeps the spans.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prost::Message;

use super::otlp::{ExportRequest, SpanMessage};

/// Listens until the test ends.
pub(crate) struct Collector {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<(String, ExportRequest)>>>,
}

impl Collector {
    /// At a free port.
    pub fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        let address = listener.local_addr().expect("it is bound");
        let requests: Arc<Mutex<Vec<_>>> = Arc::default();
        let kept = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let request = receive(stream.expect("a connection"));
                kept.lock().push(request);
            }
        });
        Collector { address, requests }
    }

    /// What an operator would give.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The head of each request, and its contents.
    pub fn requests(&self) -> Vec<(String, ExportRequest)> {
        self.requests.lock().clone()
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<SpanMessage> {
        let scopes = self.requests().into_iter().flat_map(|(_, request)| request.resource_spans);
        scopes.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    /// The spans, once they are as the caller wants them.
    pub fn wait_for(&self, wanted: impl Fn(&[SpanMessage]) -> bool) -> Vec<SpanMessage> {
        let begun = Instant::now();
        loop {
            let spans = self.spans();
            if wanted(&spans) {
                return spans;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "the spans so far: {spans:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn receive(mut stream: TcpStream) -> (String, ExportRequest) {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).expect("a head is text");
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("it has a length");
            if bytes.len() - end - 4 == length.parse::<usize>().expect("a number") {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("it reads the answer");
                return (head, ExportRequest::decode(&bytes[end + 4..]).expect("it is OTLP"));
            }
        }
        let length = stream.read(&mut piece).expect("it goes on");
        assert!(length > 0, "it ends before its end");
        bytes.extend_from_slice(&piece[..length]);
    }
}
