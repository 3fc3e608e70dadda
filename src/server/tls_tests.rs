//! TLS with clients of rustls, over sockets and over a stream that takes little at a time.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::balance::Balance;
use super::front::Front;
use super::tests::make_state;
use super::threads::Threads;
use super::tls::TlsStream;
use crate::cluster::SystemClock;
use crate::commands::{ServerState, table};
use crate::observe::Stats;
use crate::tls::testing::{Authority, Scratch};
use crate::tls::{Certificates, ClientAuth, MinVersion, Prepared, TlsSettings};

/// A node with TLS on a port of its own, as a process has it.
struct Node {
    state: Arc<ServerState>,
    front: Arc<Front>,
    address: SocketAddr,
    certificates: Arc<Certificates>,
    stop: watch::Sender<bool>,
    threads: Option<Threads>,
}

impl Node {
    async fn start(settings: TlsSettings) -> Node {
        let certificates = Arc::new(Certificates::new(Prepared::new(settings).expect("good files")));
        let mut state = Arc::into_inner(make_state(None, 100, 0, None)).expect("not shared yet");
        state.tls = Some(Arc::clone(&certificates));
        state.stats = Arc::new(Stats::new(2, table().ids()));
        let state = Arc::new(state);
        let balance = Balance::new(2, 2);
        let front = Arc::new(Front::balanced(Arc::clone(&state), Arc::new(SystemClock::default()), 1, balance));
        let (stop, stopped) = watch::channel(false);
        let threads = Threads::start(&front, &stopped).expect("a thread");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(threads.dispatcher().accept_tcp(listener, Some(Arc::clone(&certificates)), stopped));
        Node { state, front, address, certificates, stop, threads: Some(threads) }
    }

    async fn connect(&self, config: &Arc<ClientConfig>) -> Client<TcpStream> {
        Client::new(TcpStream::connect(self.address).await.expect("accepted"), config)
    }

    /// Waits until so many handshakes have failed: a client may know before the server has noted it. Never more.
    async fn expect_failures(&self, count: u64) {
        while self.certificates.failed_handshakes() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(self.certificates.failed_handshakes(), count);
    }

    fn stop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(threads) = self.threads.take() {
            threads.join();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A client that speaks TLS over anything.
struct Client<S> {
    socket: S,
    session: ClientConnection,
    /// What the server said, decrypted.
    said: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    fn new(socket: S, config: &Arc<ClientConfig>) -> Client<S> {
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(Arc::clone(config), name).expect("a configuration");
        Client { socket, session, said: Vec::new() }
    }

    async fn send_pending(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        while self.session.wants_write() {
            self.session.write_tls(&mut bytes)?;
        }
        self.socket.write_all(&bytes).await
    }

    /// Receives once; false at the end of the stream.
    async fn receive(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 4096];
        let count = self.socket.read(&mut bytes).await?;
        let mut rest = &bytes[..count];
        while !rest.is_empty() {
            self.session.read_tls(&mut rest)?;
            let result = self.session.process_new_packets();
            self.send_pending().await?;
            result.map_err(io::Error::other)?;
            match io::Read::read_to_end(&mut self.session.reader(), &mut self.said) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
        Ok(count > 0)
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        while self.session.is_handshaking() {
            self.send_pending().await?;
            if self.session.is_handshaking() && !self.receive().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        for piece in bytes.chunks(16 * 1024) {
            io::Write::write_all(&mut self.session.writer(), piece)?;
            self.send_pending().await?;
        }
        Ok(())
    }

    /// So many bytes of what the server says. `UnexpectedEof`: it announced that it says no more; `ConnectionReset`: it
    /// was cut off.
    async fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.said.len() < count {
            if !self.receive().await? {
                let announced = matches!(io::Read::read(&mut self.session.reader(), &mut [0]), Ok(0));
                let kind = if announced { io::ErrorKind::UnexpectedEof } else { io::ErrorKind::ConnectionReset };
                return Err(kind.into());
            }
        }
        Ok(self.said.drain(..count).collect())
    }

    /// Asks, and demands this answer.
    async fn ask(&mut self, request: &[u8], answer: &[u8]) -> io::Result<()> {
        self.send(request).await?;
        let given = self.take(answer.len()).await?;
        assert_eq!(given.escape_ascii().to_string(), answer.escape_ascii().to_string());
        Ok(())
    }
}

/// Who trusts this authority, and presents this certificate.
fn trusting(authority: &Authority, own: Option<(String, String)>) -> Arc<ClientConfig> {
    speaking(authority, own, &[&TLS13, &TLS12])
}

fn speaking(
    authority: &Authority,
    own: Option<(String, String)>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).expect("a certificate")).expect("an authority");
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .expect("supported")
        .with_root_certificates(roots);
    Arc::new(match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate")];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
    })
}

const PING: &[u8] = b"PING\r\n";
const PONG: &[u8] = b"+PONG\r\n";

#[tokio::test]
async fn clients_of_either_version_are_served_unless_it_is_too_old() {
    let (scratch, authority) = (Scratch::new(), Authority::new());
    let settings = authority.settings(&scratch);
    let node = Node::start(settings.clone()).await;
    for version in [&TLS12, &TLS13] {
        let mut client = node.connect(&speaking(&authority, None, &[version])).await;
        client.ask(PING, PONG).await.expect("served");
        client.ask(b"QUIT\r\n", b"+OK\r\n").await.expect("served");
        let end = client.take(1).await.expect_err("closed").kind();
        assert_eq!(end, io::ErrorKind::UnexpectedEof, "the end is announced: nothing was cut off");
    }
    let newer = Node::start(TlsSettings { min_version: MinVersion::Tls13, ..settings }).await;
    assert!(newer.connect(&speaking(&authority, None, &[&TLS12])).await.ask(PING, PONG).await.is_err());
    newer.connect(&speaking(&authority, None, &[&TLS13])).await.ask(PING, PONG).await.expect("served");
    node.expect_failures(0).await;
    newer.expect_failures(1).await;
}

#[tokio::test]
async fn with_an_authority_clients_have_to_present_its_certificates() {
    let (scratch, authority, stranger) = (Scratch::new(), Authority::new(), Authority::new());
    let settings = TlsSettings { ca_file: Some(scratch.path("ca")), ..authority.settings(&scratch) };
    let own = || trusting(&authority, Some(authority.issue()));
    let foreign = || trusting(&authority, Some(stranger.issue()));
    let none = || trusting(&authority, None);
    let cases = [
        (None, [true, false, false]),
        (Some(ClientAuth::Yes), [true, false, false]),
        (Some(ClientAuth::Optional), [true, false, true]),
        (Some(ClientAuth::No), [true, true, true]),
    ];
    for (auth_clients, served) in cases {
        let node = Node::start(TlsSettings { auth_clients, ..settings.clone() }).await;
        for (config, served) in [own(), foreign(), none()].iter().zip(served) {
            assert_eq!(node.connect(config).await.ask(PING, PONG).await.is_ok(), served, "{auth_clients:?}");
        }
        let failed = served.iter().filter(|served| !**served).count() as u64;
        node.expect_failures(failed).await;
    }
}

#[tokio::test]
async fn long_pipelines_and_long_answers_arrive_whole() {
    let (scratch, authority) = (Scratch::new(), Authority::new());
    let node = Node::start(authority.settings(&scratch)).await;
    let mut client = node.connect(&trusting(&authority, None)).await;
    let value: String = (0..3_000_000).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
    let set = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{value}\r\n", value.len());
    client.ask(set.as_bytes(), b"+OK\r\n").await.expect("served");
    let answer = format!("${}\r\n{value}\r\n", value.len()).repeat(2);
    client.ask(b"GET k\r\nGET k\r\n", answer.as_bytes()).await.expect("served");
    client.ask(&PING.repeat(50_000), &PONG.repeat(50_000)).await.expect("served");
}

#[tokio::test]
async fn a_connection_goes_on_on_another_thread() {
    let (scratch, authority) = (Scratch::new(), Authority::new());
    let node = Node::start(authority.settings(&scratch)).await;
    let config = trusting(&authority, None);
    let (mut client, mut other) = (node.connect(&config).await, node.connect(&config).await);
    other.ask(PING, PONG).await.expect("served");
    client.ask(b"SELECT 2\r\nSET k v\r\n", b"+OK\r\n+OK\r\n").await.expect("served");
    node.front.balance.spread(2);
    client.ask(PING, PONG).await.expect("served");
    while node.state.stats.thread(1).connections.get() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let value = "x".repeat(300_000);
    client.ask(b"GET k\r\n", b"$1\r\nv\r\n").await.expect("served");
    let set = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$300000\r\n{value}\r\n");
    client.ask(set.as_bytes(), b"+OK\r\n").await.expect("served");
    client.ask(b"GET k\r\n", format!("$300000\r\n{value}\r\n").as_bytes()).await.expect("served");
}

#[tokio::test]
async fn sessions_are_resumed_but_not_across_a_reload() {
    let (scratch, authority) = (Scratch::new(), Authority::new());
    let settings = TlsSettings { ca_file: Some(scratch.path("ca")), ..authority.settings(&scratch) };
    let node = Node::start(settings).await;
    for version in [&TLS12, &TLS13] {
        let config = speaking(&authority, Some(authority.issue()), &[version]);
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut client = node.connect(&config).await;
            client.ask(PING, PONG).await.expect("served");
            assert_eq!(client.session.handshake_kind(), Some(expected));
        }
        node.certificates.reload();
        let mut client = node.connect(&config).await;
        client.ask(PING, PONG).await.expect("served");
        assert_eq!(client.session.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[tokio::test]
async fn a_reload_reaches_new_connections_and_leaves_the_others() {
    let (scratch, before, after) = (Scratch::new(), Authority::new(), Authority::new());
    let node = Node::start(before.settings(&scratch)).await;
    let mut old = node.connect(&trusting(&before, None)).await;
    old.ask(PING, PONG).await.expect("served");
    let _ = after.settings(&scratch);
    node.certificates.reload();
    old.ask(PING, PONG).await.expect("still served");
    node.connect(&trusting(&after, None)).await.ask(PING, PONG).await.expect("served");
    assert!(node.connect(&trusting(&before, None)).await.ask(PING, PONG).await.is_err());
}

#[tokio::test]
async fn config_set_replaces_certificates_together_or_not_at_all() {
    let (scratch, before, after) = (Scratch::new(), Authority::new(), Authority::new());
    let node = Node::start(before.settings(&scratch)).await;
    let mut client = node.connect(&trusting(&before, None)).await;
    let (certificate, key) = after.issue();
    let (certificate, key) = (scratch.write("cert2", &certificate), scratch.write("key2", &key));
    let (certificate, key) = (certificate.display(), key.display());
    let failed = "-ERR CONFIG SET failed (possibly related to argument 'tls-cert-file') - Unable to update TLS \
                  configuration. Check server logs.\r\n";
    let request = format!("CONFIG SET timeout 100 tls-cert-file {certificate}\r\n");
    client.ask(request.as_bytes(), failed.as_bytes()).await.expect("served");
    client.ask(b"CONFIG GET timeout\r\n", b"*2\r\n$7\r\ntimeout\r\n$1\r\n0\r\n").await.expect("served");
    node.connect(&trusting(&before, None)).await.ask(PING, PONG).await.expect("served");
    let request = format!("CONFIG SET tls-cert-file {certificate} tls-key-file {key}\r\n");
    client.ask(request.as_bytes(), b"+OK\r\n").await.expect("served");
    node.connect(&trusting(&after, None)).await.ask(PING, PONG).await.expect("served");
    assert!(node.connect(&trusting(&before, None)).await.ask(PING, PONG).await.is_err());
    let answer = format!("*2\r\n$12\r\ntls-key-file\r\n${}\r\n{key}\r\n", key.to_string().len());
    client.ask(b"CONFIG GET tls-key-file\r\n", answer.as_bytes()).await.expect("served");
}

#[tokio::test]
async fn bytes_that_are_not_tls_end_the_connection_and_silence_leaves_no_trace() {
    let (scratch, authority) = (Scratch::new(), Authority::new());
    let mut node = Node::start(authority.settings(&scratch)).await;
    let mut plain = TcpStream::connect(node.address).await.expect("accepted");
    plain.write_all(b"*1\r\n$4\r\nPING\r\n").await.expect("open");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"+") && !answer.starts_with(b"-"), "{}", answer.escape_ascii());
    drop(TcpStream::connect(node.address).await.expect("accepted"));
    // Neither a client that says nothing nor a half-finished handshake holds up the end.
    let mut silent = TcpStream::connect(node.address).await.expect("accepted");
    silent.write_all(&[22, 3, 1]).await.expect("open");
    node.connect(&trusting(&authority, None)).await.ask(PING, PONG).await.expect("served");
    node.expect_failures(1).await;
    let text = crate::observe::render(&node.state);
    assert!(text.contains("swytch_tls_handshakes_failed_total 1\n"), "{text}");
    assert!(text.contains(&format!("swytch_tls_certificate_not_after_seconds {}\n", node.certificates.not_after())));
    node.stop();
    let mut rest = Vec::new();
    let _ = silent.read_to_end(&mut rest).await;
    assert_eq!(rest, b"");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_stalls_ends_in_time() {
    let (scratch, authority) = (Scratch::new(), Authority::new());
    let certificates = Certificates::new(Prepared::new(authority.settings(&scratch)).expect("good files"));
    let (_client, server) = duplex(64);
    let mut stream = TlsStream::new(server, certificates.config()).expect("a session");
    let begun = tokio::time::Instant::now();
    let error = stream.handshake().await.expect_err("nobody answers");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(begun.elapsed().as_secs(), Duration::from_secs(10).as_secs());
}

/// Everything that can be read without waiting, in pieces of a few bytes.
async fn read_in_pieces(stream: &mut TlsStream<DuplexStream>, count: usize, piece: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        let mut space = vec![0; piece];
        let mut into = ReadBuf::new(&mut space);
        poll_fn(|context| Pin::new(&mut *stream).poll_read(context, &mut into)).await.expect("open");
        assert!(!into.filled().is_empty(), "ended early");
        bytes.extend_from_slice(into.filled());
    }
    bytes
}

#[tokio::test]
async fn whatever_the_room_above_and_below_no_byte_is_lost() {
    let (scratch, authority) = (Scratch::new(), Authority::new());
    let certificates = Certificates::new(Prepared::new(authority.settings(&scratch)).expect("good files"));
    let sent: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
    for (between, piece) in [(1, 70_000), (17, 7), (5_000, 1), (1 << 20, 100), (1 << 20, 100_000)] {
        let (client, server) = duplex(between);
        let mut client = Client::new(client, &trusting(&authority, None));
        let mut stream = TlsStream::new(server, certificates.config()).expect("a session");
        let serving = async {
            stream.handshake().await.expect("agreed");
            let received = read_in_pieces(&mut stream, sent.len(), piece).await;
            stream.write_all(&received).await.expect("open");
            stream.shutdown().await.expect("open");
        };
        let asking = async {
            client.send(&sent).await.expect("open");
            let returned = client.take(sent.len()).await.expect("open");
            assert!(returned == sent, "{between}, {piece}");
            assert_eq!(client.take(1).await.expect_err("the end").kind(), io::ErrorKind::UnexpectedEof);
        };
        tokio::join!(serving, asking);
    }
}
