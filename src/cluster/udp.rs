//! Datagrams of the operating system.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};
use rustls::crypto::CryptoProvider;
use socket2::{Domain, Protocol, Socket, Type};

use super::seams::Net;

/// What is asked of the operating system for each direction of a socket, in bytes. It gives what its own limits allow
/// (`net.core.rmem_max` and `wmem_max` on Linux); a burst of effects from every peer at once should fit.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// The network of the machine.
pub struct SystemNet {
    crypto: Arc<CryptoProvider>,
}

impl Default for SystemNet {
    fn default() -> Self {
        SystemNet { crypto: Arc::new(rustls::crypto::ring::default_provider()) }
    }
}

impl Net for SystemNet {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() && address.ip().is_unspecified() {
            // One socket for both families, where the system can do that.
            if let Err(error) = socket.set_only_v6(false) {
                tracing::debug!(%error, "the cluster address serves IPv6 only");
            }
        }
        let sized = socket.set_recv_buffer_size(SOCKET_BUFFER).and(socket.set_send_buffer_size(SOCKET_BUFFER));
        if let Err(error) = sized {
            tracing::debug!(%error, "the cluster socket keeps the system's buffer sizes");
        }
        socket.bind(&address.into())?;
        TokioRuntime.wrap_udp_socket(socket.into())
    }

    fn crypto(&self) -> Arc<CryptoProvider> {
        self.crypto.clone()
    }

    fn fixed_mtu(&self) -> Option<u16> {
        None
    }
}
