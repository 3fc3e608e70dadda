//! The node's end of all connections: one UDP socket that both dials and is dialed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, ConnectError, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, IdleTimeout,
    NoneTokenStore, ServerConfig, TokioRuntime, TransportConfig, ValidationTokenConfig, VarInt,
};
use ring::hmac::{self, HMAC_SHA256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::PROTOCOLS;
use super::connection::{CLOSED, Connection, canonical};
use super::error::TransportError;
use super::seed::Seed;
use super::tls::{self, CurrentCertificate, Dialing, WallClock, Witness};
use crate::cluster::identity::{CLUSTER_NAME, Identity, expires, renewal_due};
use crate::cluster::seams::{Clock, Net};
use crate::effects::NodeId;
use crate::keyspace::Millis;

/// How long [`Transport::close`] waits for the farewells to go out.
const FAREWELL_TIMEOUT: Duration = Duration::from_millis(500);

/// Handshakes of peers that dial this node that may be under way at once.
const HANDSHAKES: usize = 128;

/// Above this many handshakes, a dialer must first show that its address is not forged: nobody can occupy all of them with
/// packets from addresses that are not theirs.
const UNCHECKED_HANDSHAKES: usize = HANDSHAKES / 2;

/// What QUIC buffers for a handshake that has not begun, in bytes: for one, and for all together.
const INCOMING_BUFFER: u64 = 64 * 1024;
const INCOMING_BUFFERS: u64 = 4 * 1024 * 1024;

/// Streams that a peer may have open to this node at once.
const STREAMS: VarInt = VarInt::from_u32(16);

/// What a peer may send on one stream, and in all, before this node has read it, in bytes.
const STREAM_WINDOW: VarInt = VarInt::from_u32(4 * 1024 * 1024);
const CONNECTION_WINDOW: VarInt = VarInt::from_u32(16 * 1024 * 1024);

/// What this node may have sent to a peer without acknowledgement, in bytes.
const SEND_WINDOW: u64 = 16 * 1024 * 1024;

/// The round trip that is assumed before one was measured, in place of QUIC's third of a second: the first packet to who may
/// not be reached yet is repeated after 0.3, 0.9 and 2.1 s, so that a link that is back is soon noticed.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// How a transport is to behave.
#[derive(Clone, Debug)]
pub struct TransportOptions {
    /// The UDP address to bind.
    pub address: SocketAddr,
    /// All randomness of QUIC comes from it: random bytes, fresh at each start.
    pub seed: [u8; 32],
    /// A peer from which nothing is heard for this long is gone.
    pub idle_timeout: Duration,
    /// A connection on which nothing happens is kept alive this often; well below the idle timeout.
    pub keep_alive: Duration,
    /// How long a handshake may take, on either side. It takes two round trips: who has not answered at all when half of
    /// this is over is given up then, to be dialed afresh.
    pub handshake_timeout: Duration,
    /// The versions of the protocol that are offered and taken, the newest first.
    pub protocols: &'static [&'static str],
}

impl TransportOptions {
    /// The usual times: given up after 10 s, kept alive every 2 s, handshakes within 5 s.
    pub fn new(address: SocketAddr, seed: [u8; 32]) -> TransportOptions {
        TransportOptions {
            address,
            seed,
            idle_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(5),
            protocols: PROTOCOLS,
        }
    }
}

/// What the current certificate says.
struct Issued {
    at: Millis,
    serving: bool,
}

/// The node's end of all connections. Dropping it closes them.
pub struct Transport {
    endpoint: Endpoint,
    dialing: Dialing,
    transport: Arc<TransportConfig>,
    /// Makes the id by which the first packet to a peer calls it.
    first_ids: Arc<dyn Fn() -> ConnectionId + Send + Sync>,
    identity: Identity,
    clock: Arc<dyn Clock>,
    certificate: Arc<CurrentCertificate>,
    issued: Mutex<Issued>,
    handshakes: Arc<Semaphore>,
    handshake_timeout: Duration,
}

impl Transport {
    /// Binds the socket and begins to answer. To be called inside a tokio runtime, which carries the sockets' work until
    /// the transport is dropped and the last connection has said its farewell.
    ///
    /// # Errors
    /// When the address cannot be bound, or the cryptography does not do what the transport needs.
    pub fn bind(
        net: &dyn Net,
        clock: Arc<dyn Clock>,
        identity: Identity,
        options: TransportOptions,
    ) -> Result<Transport, TransportError> {
        let crypto = net.crypto();
        let seed = Seed::new(&options.seed);
        let issued = clock.wall();
        let certificate = Arc::new(CurrentCertificate::new(&identity, &crypto, issued)?);
        let wall_clock = Arc::new(WallClock(clock.clone()));
        let transport = Arc::new(transport_config(&options, net.fixed_mtu())?);

        let server =
            tls::server(&identity, crypto.clone(), wall_clock.clone(), certificate.clone(), options.protocols)?;
        let server = QuicServerConfig::try_from(server).map_err(TransportError::setup)?;
        let mut tokens = ValidationTokenConfig::default();
        tokens.sent(0);
        let mut server = ServerConfig::new(Arc::new(server), Arc::new(seed.token_key()?));
        server
            .transport_config(transport.clone())
            .validation_token_config(tokens)
            .time_source(wall_clock.clone())
            .max_incoming(HANDSHAKES)
            .incoming_buffer_size(INCOMING_BUFFER)
            .incoming_buffer_size_total(INCOMING_BUFFERS);

        let dialing = tls::client(&identity, crypto, wall_clock, certificate.clone(), options.protocols)?;
        let first_ids = Mutex::new(seed.first_connection_ids()?);

        let connection_ids = seed.connection_ids()?;
        let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(HMAC_SHA256, identity.reset_key())));
        config.rng_seed(Some(seed.secret("endpoint")?)).cid_generator(move || Box::new(connection_ids.clone()));

        let socket = net
            .bind(options.address)
            .map_err(|error| TransportError::Setup(format!("UDP address {}: {error}", options.address)))?;
        let endpoint = Endpoint::new_with_abstract_socket(config, Some(server), socket, Arc::new(TokioRuntime))
            .map_err(TransportError::setup)?;
        Ok(Transport {
            endpoint,
            dialing,
            transport,
            first_ids: Arc::new(move || first_ids.lock().generate_cid()),
            identity,
            clock,
            certificate,
            issued: Mutex::new(Issued { at: issued, serving: false }),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES)),
            handshake_timeout: options.handshake_timeout,
        })
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.identity.node()
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Waits for the next peer that dials this node; `None` when the transport is closed.
    pub async fn accept(&self) -> Option<Incoming> {
        loop {
            let incoming = self.endpoint.accept().await?;
            let Ok(permit) = self.handshakes.clone().try_acquire_owned() else {
                incoming.refuse();
                continue;
            };
            let crowded = self.handshakes.available_permits() < HANDSHAKES - UNCHECKED_HANDSHAKES;
            if crowded && !incoming.remote_address_validated() {
                if let Err(error) = incoming.retry() {
                    error.into_incoming().refuse();
                }
                continue;
            }
            let (myself, handshake_timeout) = (self.node(), self.handshake_timeout);
            return Some(Incoming { incoming, myself, handshake_timeout, _permit: permit });
        }
    }

    /// Dials a peer, and returns when both sides have accepted each other.
    ///
    /// # Errors
    /// When the peer does not answer in time, is not of this cluster, or is this node itself.
    pub async fn connect(&self, address: SocketAddr) -> Result<Connection, TransportError> {
        let (config, witness) = self.client_config()?;
        let handshake = async {
            let connecting = self.endpoint.connect_with(config, address, CLUSTER_NAME);
            let connecting = connecting.map_err(|error| match error {
                ConnectError::EndpointStopping => TransportError::Closed,
                ConnectError::InvalidRemoteAddress(_) => TransportError::UnusableAddress(address),
                error => TransportError::setup(error),
            });
            let mut connecting = connecting?;
            let answered = timeout(self.handshake_timeout / 2, connecting.handshake_data()).await;
            // An error shows again in what follows.
            answered.map_err(|_| TransportError::NoAnswer)?.ok();
            Connection::confirmed(connecting.await?, self.node()).await
        };
        // Not only for peers that do not answer: QUIC itself waits for ever in some settings.
        let outcome = timeout(self.handshake_timeout, handshake).await.unwrap_or(Err(TransportError::NoAnswer));
        outcome.map_err(|error| match error {
            TransportError::WrongPassphrase if !witness.is_serving() => TransportError::WrongPassphraseIdle,
            error => error,
        })
    }

    /// How to dial one peer, and what will have been seen of it.
    fn client_config(&self) -> Result<(ClientConfig, Arc<Witness>), TransportError> {
        let (config, witness) = self.dialing.one();
        let crypto = QuicClientConfig::try_from(config).map_err(TransportError::setup)?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config
            .transport_config(self.transport.clone())
            .token_store(Arc::new(NoneTokenStore))
            .initial_dst_cid_provider(self.first_ids.clone());
        Ok((config, witness))
    }

    /// Is it time to [`Transport::renew`]? To be asked every few minutes or so.
    pub fn renewal_due(&self) -> bool {
        renewal_due(self.issued.lock().at, self.clock.wall())
    }

    /// When the current certificate expires.
    pub fn certificate_expires(&self) -> Millis {
        expires(self.issued.lock().at)
    }

    /// Presents a new certificate from the next handshake on. The node's id and its connections stay.
    ///
    /// # Errors
    /// When the cryptographic library fails to sign; the old certificate stays in use.
    pub fn renew(&self) -> Result<(), TransportError> {
        let serving = self.issued.lock().serving;
        self.present(serving)
    }

    /// From the next handshake on, peers are told whether this node serves clients.
    ///
    /// # Errors
    /// Those of [`Transport::renew`].
    pub fn declare(&self, serving: bool) -> Result<(), TransportError> {
        if self.issued.lock().serving == serving {
            return Ok(());
        }
        self.present(serving)
    }

    fn present(&self, serving: bool) -> Result<(), TransportError> {
        let at = self.clock.wall();
        self.certificate.replace(self.identity.issue(at, serving).map_err(TransportError::setup)?);
        *self.issued.lock() = Issued { at, serving };
        Ok(())
    }

    /// Closes every connection, tells the peers why, and waits briefly for that to go out. What was written to a stream and
    /// has not arrived is lost: finish the streams that matter before.
    pub async fn close(&self, reason: &str) {
        self.endpoint.close(CLOSED, reason.as_bytes());
        // A peer that does not acknowledge the farewell finds out by itself.
        let _ = timeout(FAREWELL_TIMEOUT, self.endpoint.wait_idle()).await;
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.endpoint.close(CLOSED, b"going away");
    }
}

/// A peer that dials this node and has yet to prove who it is.
pub struct Incoming {
    incoming: quinn::Incoming,
    myself: NodeId,
    handshake_timeout: Duration,
    _permit: OwnedSemaphorePermit,
}

impl Incoming {
    /// The address the peer's packets come from.
    pub fn remote_address(&self) -> SocketAddr {
        canonical(self.incoming.remote_address())
    }

    /// Goes through the handshake.
    ///
    /// # Errors
    /// The peer's address, and why it was not accepted: it is not of this cluster, is this node itself, or went silent.
    pub async fn establish(self) -> Result<Connection, (SocketAddr, TransportError)> {
        let address = self.remote_address();
        let handshake = async {
            let connection = self.incoming.accept()?.await?;
            Connection::welcomed(connection, self.myself).await
        };
        let outcome = timeout(self.handshake_timeout, handshake).await.unwrap_or(Err(TransportError::NoAnswer));
        outcome.map_err(|error| (address, error))
    }
}

fn transport_config(options: &TransportOptions, fixed_mtu: Option<u16>) -> Result<TransportConfig, TransportError> {
    let idle_timeout = IdleTimeout::try_from(options.idle_timeout).map_err(TransportError::setup)?;
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(idle_timeout))
        .keep_alive_interval(Some(options.keep_alive))
        .initial_rtt(INITIAL_RTT)
        .max_concurrent_uni_streams(STREAMS)
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .stream_receive_window(STREAM_WINDOW)
        .receive_window(CONNECTION_WINDOW)
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None);
    if let Some(mtu) = fixed_mtu {
        config.initial_mtu(mtu).mtu_discovery_config(None).enable_segmentation_offload(false);
    }
    Ok(config)
}
