//! The network of one simulated machine: QUIC's datagrams over turmoil's UDP, with faults of our own.
//!
//! turmoil carries, delays and cuts; single datagrams are lost, doubled and overtaken here, as turmoil's own loss forgets
//! everything in flight on a link. Everything that happens to a datagram is noted.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use rustls::crypto::CryptoProvider;
use swytch::cluster::Net;
use turmoil::net::UdpSocket;

use super::crypto;
use super::record::{Fate, Record};

/// No datagram of QUIC is longer where the MTU is fixed at [`MTU`].
const LONGEST_DATAGRAM: usize = 2048;

/// The size of QUIC's packets, the smallest that QUIC allows.
const MTU: u16 = 1200;

/// What may befall a datagram: each a probability from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DatagramFaults {
    /// It never arrives.
    pub loss: f64,
    /// It arrives twice.
    pub duplication: f64,
    /// It is kept back, so that later ones overtake it.
    pub reordering: f64,
    /// For how long it is kept back at most.
    pub longest_delay: Duration,
}

/// The faults of a whole network, which may change while it runs. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Weather(Arc<Mutex<DatagramFaults>>);

impl Weather {
    /// From now on, this is what befalls datagrams.
    pub fn set(&self, faults: DatagramFaults) {
        *self.0.lock() = faults;
    }

    fn get(&self) -> DatagramFaults {
        *self.0.lock()
    }
}

/// The network as one machine sees it.
pub struct SimulatedNet {
    address: IpAddr,
    weather: Weather,
    record: Record,
    random: Mutex<fastrand::Rng>,
    crypto: Arc<CryptoProvider>,
}

impl SimulatedNet {
    /// The network of the machine with this address. `seed` decides which datagrams faults befall.
    pub fn new(address: IpAddr, weather: Weather, record: Record, seed: u64) -> SimulatedNet {
        let random = Mutex::new(fastrand::Rng::with_seed(seed));
        SimulatedNet { address, weather, record, random, crypto: crypto::provider() }
    }
}

impl Net for SimulatedNet {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let mut binding = pin!(UdpSocket::bind(address));
        let socket = match binding.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(socket) => Arc::new(socket?),
            Poll::Pending => return Err(io::Error::other("a simulated socket is bound at once")),
        };
        let address = SocketAddr::new(self.address, socket.local_addr()?.port());
        Ok(Arc::new(SimulatedSocket {
            address,
            receiving: Mutex::new(receive(socket.clone())),
            socket,
            weather: self.weather.clone(),
            record: self.record.clone(),
            random: Mutex::new(self.random.lock().fork()),
        }))
    }

    fn crypto(&self) -> Arc<CryptoProvider> {
        self.crypto.clone()
    }

    fn fixed_mtu(&self) -> Option<u16> {
        Some(MTU)
    }
}

type Receiving = Pin<Box<dyn Future<Output = io::Result<(Vec<u8>, SocketAddr)>> + Send>>;

/// Waits for the next datagram.
fn receive(socket: Arc<UdpSocket>) -> Receiving {
    Box::pin(async move {
        let mut bytes = vec![0; LONGEST_DATAGRAM];
        let (length, from) = socket.recv_from(&mut bytes).await?;
        bytes.truncate(length);
        Ok((bytes, from))
    })
}

/// One socket of one machine.
struct SimulatedSocket {
    address: SocketAddr,
    socket: Arc<UdpSocket>,
    receiving: Mutex<Receiving>,
    weather: Weather,
    record: Record,
    random: Mutex<fastrand::Rng>,
}

impl fmt::Debug for SimulatedSocket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SimulatedSocket({})", self.address)
    }
}

impl SimulatedSocket {
    /// Sends a datagram after a while, if the socket is still there.
    fn send_later(&self, bytes: Vec<u8>, to: SocketAddr, delay: Duration) {
        // Weak: a datagram in flight does not keep the port occupied.
        let (socket, record, from): (Weak<UdpSocket>, _, _) =
            (Arc::downgrade(&self.socket), self.record.clone(), self.address);
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            if let Some(socket) = socket.upgrade() {
                send(&socket, &record, from, &bytes, to);
            }
        });
    }
}

/// Hands a datagram to turmoil.
fn send(socket: &UdpSocket, record: &Record, from: SocketAddr, bytes: &[u8], to: SocketAddr) {
    // Nobody at this address, or a full queue on the way: lost, and the sender does not know.
    let fate = if socket.try_send_to(bytes, to).is_ok() { Fate::Sent } else { Fate::Lost };
    record.packet(from, to, bytes, fate);
}

impl AsyncUdpSocket for SimulatedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let (bytes, to) = (transmit.contents, transmit.destination);
        let faults = self.weather.get();
        let mut random = self.random.lock();
        // Each decision is drawn in any case, so that one fault does not change whom the others befall.
        let lost = random.f64() < faults.loss;
        let duplicated = random.f64() < faults.duplication;
        let delayed = random.f64() < faults.reordering;
        let (first, second) = (faults.longest_delay.mul_f64(random.f64()), faults.longest_delay.mul_f64(random.f64()));
        drop(random);
        if lost {
            self.record.packet(self.address, to, bytes, Fate::Lost);
            return Ok(());
        }
        if duplicated {
            self.record.packet(self.address, to, bytes, Fate::Duplicated);
            self.send_later(bytes.to_vec(), to, second);
        }
        if delayed {
            self.record.packet(self.address, to, bytes, Fate::Delayed);
            self.send_later(bytes.to_vec(), to, first);
        } else {
            send(&self.socket, &self.record, self.address, bytes, to);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut receiving = self.receiving.lock();
        let mut count = 0;
        while count < buffers.len().min(meta.len()) {
            let outcome = match receiving.as_mut().poll(context) {
                Poll::Ready(outcome) => outcome,
                Poll::Pending if count > 0 => break,
                Poll::Pending => return Poll::Pending,
            };
            *receiving = receive(self.socket.clone());
            let (bytes, from) = outcome?;
            self.record.packet(from, self.address, &bytes, Fate::Received);
            let length = bytes.len().min(buffers[count].len());
            buffers[count][..length].copy_from_slice(&bytes[..length]);
            meta[count] = RecvMeta { addr: from, len: length, stride: length, ecn: None, dst_ip: None };
            count += 1;
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// turmoil's sockets take everything at once.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
