//! The transport between nodes: QUIC with mutual TLS 1.3, in which both sides prove to be of this cluster and which node
//! they are, and framed one-way streams on top.
//!
//! Trust is decided here and nowhere else: whoever holds a [`Connection`] knows that its peer holds the passphrase and
//! the key of [`Connection::peer`]. The transport must not know what frames mean. It is the same code on real sockets and
//! in a simulation: time, randomness and datagrams come from outside.

mod connection;
mod endpoint;
mod error;
mod framing;
mod seed;
mod tls;

pub use connection::{Connection, StreamKind};
pub use endpoint::{Incoming, Transport, TransportOptions};
pub use error::TransportError;
pub use framing::{FrameReader, FrameWriter};

/// The versions of the protocol that this node speaks, the newest first: the current one, and the one before as long as nodes of
/// the release before may be in the same cluster, which is during an upgrade. Two nodes speak the newest that both know; a peer that knows none
/// of these is told so in the handshake.
pub const PROTOCOLS: &[&str] = &["swytch/1"];

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    use bytes::Bytes;
    use tokio::time::timeout;

    use super::*;
    use crate::cluster::seams::Clock;
    use crate::cluster::{ClusterSecret, Identity, Net, SystemClock, SystemNet};
    use crate::effects::NodeId;
    use crate::keyspace::Millis;

    const DAY: Millis = 24 * 60 * 60 * 1000;

    /// A wall clock that stands where it is put.
    #[derive(Default)]
    struct HandClock(AtomicU64);

    impl HandClock {
        fn at(wall: Millis) -> Arc<HandClock> {
            Arc::new(HandClock(AtomicU64::new(wall)))
        }
    }

    impl Clock for HandClock {
        fn wall(&self) -> Millis {
            self.0.load(Ordering::Relaxed)
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    fn options(address: &str) -> TransportOptions {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).unwrap();
        TransportOptions::new(address.parse().unwrap(), seed)
    }

    /// The secret of a passphrase, without the time it takes to stretch one.
    fn secret(passphrase: u8) -> ClusterSecret {
        ClusterSecret::separate(&[passphrase; 32])
    }

    fn start(passphrases: &[u8], entropy: u8, clock: Arc<dyn Clock>, options: TransportOptions) -> Transport {
        let secrets = passphrases.iter().map(|passphrase| secret(*passphrase)).collect::<Vec<_>>();
        let identity = Identity::create(&secrets[0], &secrets[1..], [entropy; 32]).unwrap();
        Transport::bind(&SystemNet::default(), clock, identity, options).unwrap()
    }

    fn node(passphrase: u8, entropy: u8) -> Transport {
        start(&[passphrase], entropy, Arc::new(SystemClock::default()), options("127.0.0.1:0"))
    }

    type Accepted = Result<Connection, (SocketAddr, TransportError)>;

    /// One dials the other; what each of them gets.
    async fn meet(dialer: &Transport, dialed: &Transport) -> (Result<Connection, TransportError>, Accepted) {
        let address = dialed.local_address().unwrap();
        tokio::join!(dialer.connect(address), async { dialed.accept().await.unwrap().establish().await })
    }

    async fn connected(dialer: &Transport, dialed: &Transport) -> (Connection, Connection) {
        let (ours, theirs) = meet(dialer, dialed).await;
        (ours.unwrap(), theirs.unwrap_or_else(|(address, error)| panic!("{address}: {error}")))
    }

    /// Sends one frame and receives it at the other end.
    async fn exchange(from: &Connection, to: &Connection, kind: StreamKind) {
        let mut writer = from.open(kind).await.unwrap();
        let pieces = [Bytes::from_static(b"ab"), Bytes::from_static(b"c")];
        let (sent, received) = tokio::join!(writer.write(&pieces), async {
            let (arrived, mut reader) = to.accept().await.unwrap();
            assert_eq!(arrived, kind);
            let frame = reader.read(3).await.unwrap().unwrap();
            (frame, reader)
        });
        sent.unwrap();
        let (frame, mut reader) = received;
        assert_eq!(frame, "abc");
        let (finished, end) = tokio::join!(writer.finish(), reader.read(3));
        finished.unwrap();
        assert_eq!(end, Ok(None));
    }

    #[tokio::test]
    async fn nodes_of_one_passphrase_know_each_other_and_exchange_frames() {
        let (one, other) = (node(b'p', 1), node(b'p', 2));
        let (ours, theirs) = connected(&one, &other).await;
        assert_eq!((ours.peer(), theirs.peer()), (other.node(), one.node()));
        assert_eq!((ours.dialed(), theirs.dialed()), (true, false));
        assert_eq!(ours.remote_address(), other.local_address().unwrap());
        assert_eq!(theirs.remote_address(), one.local_address().unwrap());
        for kind in [StreamKind::Control, StreamKind::Effects, StreamKind::Snapshot, StreamKind::Messages] {
            exchange(&ours, &theirs, kind).await;
            exchange(&theirs, &ours, kind).await;
        }
        one.close("maintenance").await;
        assert_eq!(theirs.closed().await, "it closed the connection: maintenance");
        assert_eq!(ours.closed().await, "this node closed the connection");
        assert!(one.accept().await.is_none());
        assert_eq!(one.connect(other.local_address().unwrap()).await.err(), Some(TransportError::Closed));
    }

    #[tokio::test]
    async fn two_nodes_speak_the_newest_version_that_both_know() {
        let speaking = |protocols: &'static [&'static str], entropy| {
            let options = TransportOptions { protocols, ..options("127.0.0.1:0") };
            start(b"p", entropy, Arc::new(SystemClock::default()), options)
        };
        let old = speaking(&["swytch/1"], 1);
        let between = speaking(&["swytch/2", "swytch/1"], 2);
        let new = speaking(&["swytch/3", "swytch/2"], 3);
        let other_new = speaking(&["swytch/3", "swytch/2"], 4);
        for (one, other, version) in
            [(&old, &between, "swytch/1"), (&between, &new, "swytch/2"), (&new, &other_new, "swytch/3")]
        {
            for (dialer, dialed) in [(one, other), (other, one)] {
                let (ours, theirs) = connected(dialer, dialed).await;
                assert_eq!((ours.protocol(), theirs.protocol()), (version.to_owned(), version.to_owned()));
                exchange(&ours, &theirs, StreamKind::Effects).await;
            }
        }
        for (dialer, dialed) in [(&old, &new), (&new, &old)] {
            let (ours, theirs) = meet(dialer, dialed).await;
            assert_eq!(ours.err(), Some(TransportError::VersionMismatch));
            assert_eq!(theirs.map_err(|(_, error)| error).err(), Some(TransportError::VersionMismatch));
        }
    }

    #[tokio::test]
    async fn another_passphrase_is_refused_on_both_sides_and_harms_nobody() {
        let (one, other, stranger) = (node(b'p', 1), node(b'p', 2), node(b'q', 3));
        other.declare(true).unwrap();
        for (dialer, dialed, refusal) in [
            (&stranger, &other, TransportError::WrongPassphrase),
            (&other, &stranger, TransportError::WrongPassphraseIdle),
        ] {
            let (ours, theirs) = meet(dialer, dialed).await;
            assert_eq!(ours.err(), Some(refusal), "who dials learns whether the other one serves");
            assert_eq!(theirs.err(), Some((dialer.local_address().unwrap(), TransportError::WrongPassphrase)));
        }
        let (ours, theirs) = connected(&one, &other).await;
        exchange(&ours, &theirs, StreamKind::Control).await;
    }

    #[tokio::test]
    async fn during_a_rotation_both_passphrases_are_accepted() {
        let clock = || Arc::new(SystemClock::default());
        let old = start(b"o", 1, clock(), options("127.0.0.1:0"));
        let old_then_new = start(b"on", 2, clock(), options("127.0.0.1:0"));
        let new_then_old = start(b"no", 3, clock(), options("127.0.0.1:0"));
        connected(&old, &old_then_new).await;
        connected(&old_then_new, &new_then_old).await;
        connected(&new_then_old, &old_then_new).await;
        // This dialer accepts what it dials, and still must learn that it was not accepted.
        let (ours, theirs) = meet(&new_then_old, &old).await;
        assert_eq!(ours.err(), Some(TransportError::WrongPassphraseIdle));
        assert_eq!(theirs.map_err(|(_, error)| error).err(), Some(TransportError::WrongPassphrase));
    }

    #[tokio::test]
    async fn nobody_connects_to_oneself() {
        let one = node(b'p', 1);
        let (ours, theirs) = meet(&one, &one).await;
        assert_eq!(ours.err(), Some(TransportError::Myself));
        assert_eq!(theirs.map_err(|(_, error)| error).err(), Some(TransportError::Myself));
    }

    #[tokio::test]
    async fn silence_is_told_apart_from_refusal() {
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut impatient = options("127.0.0.1:0");
        impatient.handshake_timeout = Duration::from_secs(2);
        let one = start(b"p", 1, Arc::new(SystemClock::default()), impatient);
        let dialed = Instant::now();
        let outcome = one.connect(silent.local_addr().unwrap()).await;
        assert_eq!(outcome.err(), Some(TransportError::NoAnswer));
        assert!(dialed.elapsed() < Duration::from_millis(1900), "no answer at all takes half the time of a handshake");
        let six = "[::1]:9".parse().unwrap();
        assert_eq!(one.connect(six).await.err(), Some(TransportError::UnusableAddress(six)));
    }

    #[tokio::test]
    async fn clocks_may_differ_by_a_day_and_not_by_a_month() {
        let wall = 1_780_000_000_000;
        let right = start(b"p", 1, HandClock::at(wall), options("127.0.0.1:0"));
        let ahead = start(b"p", 2, HandClock::at(wall + DAY - 1000), options("127.0.0.1:0"));
        let wrong = start(b"p", 3, HandClock::at(wall + 30 * DAY), options("127.0.0.1:0"));
        connected(&right, &ahead).await;
        connected(&ahead, &right).await;
        for (dialer, dialed) in [(&right, &wrong), (&wrong, &right)] {
            let (ours, theirs) = meet(dialer, dialed).await;
            assert_eq!(ours.err(), Some(TransportError::ClocksApart));
            assert_eq!(theirs.map_err(|(_, error)| error).err(), Some(TransportError::ClocksApart));
        }
    }

    #[tokio::test]
    async fn a_renewed_certificate_keeps_the_node_and_its_connections() {
        let wall = 1_780_000_000_000;
        let (clock, others) = (HandClock::at(wall), HandClock::at(wall));
        let one = start(b"p", 1, clock.clone(), options("127.0.0.1:0"));
        let other = start(b"p", 2, others.clone(), options("127.0.0.1:0"));
        let (ours, theirs) = connected(&one, &other).await;
        assert!(!one.renewal_due());

        // Ten days later the first certificates are of no use.
        clock.0.store(wall + 10 * DAY, Ordering::Relaxed);
        others.0.store(wall + 10 * DAY, Ordering::Relaxed);
        assert!(one.renewal_due());
        assert_eq!(meet(&one, &other).await.0.err(), Some(TransportError::ClocksApart));
        one.renew().unwrap();
        other.renew().unwrap();
        assert!(!one.renewal_due());
        let (again, _) = connected(&one, &other).await;
        assert_eq!(again.peer(), ours.peer());
        exchange(&ours, &theirs, StreamKind::Effects).await;
    }

    #[tokio::test]
    async fn a_frame_beyond_the_limit_ends_its_stream_and_nothing_else() {
        let (one, other) = (node(b'p', 1), node(b'p', 2));
        let (ours, theirs) = connected(&one, &other).await;
        let mut writer = ours.open(StreamKind::Effects).await.unwrap();
        writer.write(&[Bytes::from_static(&[0; 11])]).await.unwrap();
        let (_, mut reader) = theirs.accept().await.unwrap();
        assert_eq!(reader.read(10).await, Err(TransportError::FrameTooLong { length: 11, limit: 10 }));
        assert_eq!(writer.finish().await, Err(TransportError::StreamAbandoned));
        exchange(&ours, &theirs, StreamKind::Effects).await;
    }

    #[tokio::test]
    async fn an_abandoned_stream_does_not_look_finished() {
        let (one, other) = (node(b'p', 1), node(b'p', 2));
        let (ours, theirs) = connected(&one, &other).await;
        let mut writer = ours.open(StreamKind::Snapshot).await.unwrap();
        writer.write(&[Bytes::from_static(b"part")]).await.unwrap();
        let (_, mut reader) = theirs.accept().await.unwrap();
        assert_eq!(reader.read(10).await.unwrap().unwrap(), "part");
        drop(writer);
        assert_eq!(reader.read(10).await, Err(TransportError::StreamAbandoned));
    }

    #[tokio::test]
    async fn reading_and_accepting_can_be_cancelled() {
        let (one, other) = (node(b'p', 1), node(b'p', 2));
        let (ours, theirs) = connected(&one, &other).await;
        let long = Bytes::from(vec![7; 3_000_000]);
        let receive = async {
            let moment = Duration::from_micros(200);
            let (_, mut reader) = loop {
                if let Ok(accepted) = timeout(moment, theirs.accept()).await {
                    break accepted.unwrap();
                }
            };
            loop {
                if let Ok(frame) = timeout(moment, reader.read(long.len())).await {
                    break frame.unwrap().unwrap();
                }
            }
        };
        let send = async {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let mut writer = ours.open(StreamKind::Snapshot).await.unwrap();
            writer.write(std::slice::from_ref(&long)).await.unwrap();
            writer.finish().await.unwrap();
        };
        let (frame, ()) = tokio::join!(receive, send);
        assert_eq!(frame, long);
    }

    #[tokio::test]
    async fn a_restarted_peer_is_noticed_long_before_the_idle_timeout() {
        let mut survivor_options = options("127.0.0.1:0");
        survivor_options.keep_alive = Duration::from_millis(100);
        let survivor = start(b"p", 1, Arc::new(SystemClock::default()), survivor_options);
        let survivor_address = survivor.local_address().unwrap();

        // The peer's whole runtime disappears: no farewell.
        let (report, address) = std::sync::mpsc::channel();
        let first_life = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (transport, connection) = runtime.block_on(async {
                let transport = node(b'p', 2);
                let connection = transport.connect(survivor_address).await.unwrap();
                (transport, connection)
            });
            report.send(transport.local_address().unwrap()).unwrap();
            runtime.shutdown_background();
            drop((transport, connection));
        });
        let connection = survivor.accept().await.unwrap().establish().await;
        let connection = connection.unwrap_or_else(|(address, error)| panic!("{address}: {error}"));
        tokio::task::spawn_blocking(move || first_life.join().unwrap()).await.unwrap();
        let address = address.recv().unwrap();

        let died = Instant::now();
        let second_life = start(b"p", 3, Arc::new(SystemClock::default()), options(&address.to_string()));
        let reason = timeout(Duration::from_secs(5), connection.closed()).await.unwrap();
        assert_eq!(reason, TransportError::Restarted.to_string());
        assert!(died.elapsed() < Duration::from_secs(2), "took {:?}", died.elapsed());
        let (again, _) = connected(&survivor, &second_life).await;
        assert_ne!(again.peer(), connection.peer());
    }

    #[tokio::test]
    async fn another_version_of_the_protocol_is_named_as_such() {
        let one = node(b'p', 1);
        let crypto = SystemNet::default().crypto();
        let identity = Identity::create(&secret(b'p'), &[], [2; 32]).unwrap();
        let clock = SystemClock::default();
        let certificate = Arc::new(tls::CurrentCertificate::new(&identity, &crypto, clock.wall()).unwrap());
        let wall_clock = Arc::new(tls::WallClock(Arc::new(clock)));
        let (mut config, _) = tls::client(&identity, crypto, wall_clock, certificate, PROTOCOLS).unwrap().one();
        config.alpn_protocols = vec![b"swytch/0".to_vec()];
        let config = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
        let older = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let config = quinn::ClientConfig::new(Arc::new(config));
        let dial = older.connect_with(config, one.local_address().unwrap(), "cluster.swytch.internal").unwrap();
        let (theirs, ours) = tokio::join!(dial, async { one.accept().await.unwrap().establish().await });
        assert_eq!(theirs.map_err(TransportError::from).err(), Some(TransportError::VersionMismatch));
        assert_eq!(ours.map_err(|(_, error)| error).err(), Some(TransportError::VersionMismatch));
    }

    #[tokio::test]
    async fn garbage_harms_nobody() {
        let (one, other) = (node(b'p', 1), node(b'p', 2));
        let (ours, theirs) = connected(&one, &other).await;
        let vandal = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        for length in (0..1500).step_by(7) {
            let mut datagram = (0..length).map(|_| random.u8(..)).collect::<Vec<_>>();
            vandal.send_to(&datagram, other.local_address().unwrap()).unwrap();
            if let Some(first) = datagram.first_mut() {
                // As the first packet of a connection would begin.
                *first |= 0xc0;
                datagram.splice(1..datagram.len().min(5), [0, 0, 0, 1]);
                vandal.send_to(&datagram, other.local_address().unwrap()).unwrap();
            }
        }
        exchange(&ours, &theirs, StreamKind::Effects).await;
        exchange(&theirs, &ours, StreamKind::Effects).await;
    }

    #[tokio::test]
    async fn a_crowd_of_dialers_is_held_at_the_door() {
        let (one, other) = (Arc::new(node(b'p', 1)), node(b'p', 2));
        let address = other.local_address().unwrap();
        let mut dialers = tokio::task::JoinSet::new();
        for _ in 0..200 {
            let one = one.clone();
            dialers.spawn(async move { one.connect(address).await.err() });
        }
        let mut held = Vec::new();
        while held.len() < 128 {
            held.push(timeout(Duration::from_secs(5), other.accept()).await.unwrap().unwrap());
        }
        assert!(timeout(Duration::from_millis(200), other.accept()).await.is_err());
        drop(held);
        let outcomes = async {
            while let Some(outcome) = dialers.join_next().await {
                assert_eq!(outcome.unwrap(), Some(TransportError::Refused));
            }
        };
        tokio::select! {
            biased;
            () = outcomes => {}
            // Dialers that missed their refusal come again.
            () = async { while other.accept().await.is_some() {} } => panic!("the transport is closed"),
        }
        let (ours, theirs) = connected(&one, &other).await;
        exchange(&ours, &theirs, StreamKind::Control).await;
    }

    /// A network that insists on small packets, as a simulated one does.
    struct SmallNet(SystemNet);

    impl Net for SmallNet {
        fn bind(&self, address: SocketAddr) -> std::io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
            self.0.bind(address)
        }

        fn crypto(&self) -> Arc<rustls::crypto::CryptoProvider> {
            self.0.crypto()
        }

        fn fixed_mtu(&self) -> Option<u16> {
            Some(1200)
        }
    }

    #[tokio::test]
    async fn a_fixed_mtu_is_enough_for_everything() {
        let bind = |entropy| {
            let identity = Identity::create(&secret(b'p'), &[], [entropy; 32]).unwrap();
            let clock = Arc::new(SystemClock::default());
            Transport::bind(&SmallNet(SystemNet::default()), clock, identity, options("127.0.0.1:0")).unwrap()
        };
        let (one, other) = (bind(1), bind(2));
        let (ours, theirs) = connected(&one, &other).await;
        exchange(&ours, &theirs, StreamKind::Effects).await;
        assert_ne!(one.node(), NodeId(0));
    }
}
