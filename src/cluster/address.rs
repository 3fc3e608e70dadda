//! Which of this machine's addresses its peers reach it at, when the operator did not say.
//!
//! Asks the operating system's routing table through unconnected sockets; nothing is sent. A simulation always says the
//! address and never comes here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// An address of the range kept for documentation (RFC 5737): routed like any host on the internet, and nobody's.
const SOMEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

/// The address to advertise for a socket bound to `bound`: that address itself unless it is a wildcard, else the one
/// from which packets to `peer` would leave, else the one that leads outside, else loopback.
pub(super) fn advertised(bound: SocketAddr, peer: Option<SocketAddr>) -> SocketAddr {
    if !bound.ip().is_unspecified() {
        return bound;
    }
    let ip = peer.and_then(towards).or_else(|| towards(SOMEWHERE)).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    SocketAddr::new(ip, bound.port())
}

/// Is this an address of this very machine that leads to the socket bound to `bound`?
pub(super) fn is_own(address: SocketAddr, bound: SocketAddr) -> bool {
    if address.port() != bound.port() {
        return false;
    }
    if bound.ip().is_unspecified() {
        // Only an address of this machine can be bound.
        UdpSocket::bind(SocketAddr::new(address.ip(), 0)).is_ok()
    } else {
        address.ip() == bound.ip()
    }
}

fn towards(peer: SocketAddr) -> Option<IpAddr> {
    let wildcard = match peer {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind(SocketAddr::new(wildcard, 0)).ok()?;
    socket.connect(peer).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_bound_address_is_advertised_as_it_is() {
        assert_eq!(advertised(at("10.1.2.3:7379"), None), at("10.1.2.3:7379"));
    }

    #[test]
    fn a_wildcard_advertises_the_route_to_the_peers() {
        assert_eq!(advertised(at("0.0.0.0:7379"), Some(at("127.0.0.1:7380"))), at("127.0.0.1:7379"));
        assert!(!advertised(at("0.0.0.0:7379"), None).ip().is_unspecified());
    }

    #[test]
    fn own_addresses_are_known() {
        assert!(is_own(at("127.0.0.1:7379"), at("0.0.0.0:7379")));
        assert!(!is_own(at("127.0.0.1:7380"), at("0.0.0.0:7379")), "another node on the same machine");
        assert!(!is_own(at("192.0.2.1:7379"), at("0.0.0.0:7379")));
        assert!(!is_own(at("127.0.0.2:7379"), at("127.0.0.1:7379")));
    }
}
