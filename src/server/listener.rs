//! Binding the addresses that clients connect to.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, Socket, Type};
use tracing::warn;

use super::options::BindAddress;

/// How many clients may wait to be accepted; Redis's `tcp-backlog`, which the system may lower.
const BACKLOG: i32 = 511;

/// Why clients cannot be listened for. Displayed as one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody has the port.
    #[error("cannot listen on {0}: the port is in use; stop what uses it or choose another with {1}")]
    PortInUse(SocketAddr, &'static str),
    /// The address is not one of this machine's, or not allowed.
    #[error("cannot listen on {address}: {cause}; check {flag}")]
    Address {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
        /// The flag that says so.
        flag: &'static str,
    },
    /// None of the optional addresses could be bound.
    #[error("none of the addresses of --bind is available")]
    NoAddress,
    /// Another process serves this unix socket.
    #[error(
        "cannot listen on the unix socket {0}: another process is listening on it; choose another path with --unixsocket"
    )]
    PathInUse(PathBuf),
    /// There is a file that is not a socket.
    #[error(
        "cannot listen on the unix socket {0}: there is a file of that name that is not a socket; choose another path with --unixsocket"
    )]
    NotASocket(PathBuf),
    /// The directory is not there, not writable, …
    #[error("cannot listen on the unix socket {path}: {cause}; check --unixsocket")]
    Path {
        /// What was asked for.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// A TCP listener on one address. `flag` is the one that chose the port, for the error's text.
pub fn bind_tcp(address: SocketAddr, flag: &'static str) -> Result<TcpListener, BindError> {
    listen(address).map_err(|cause| match cause.kind() {
        io::ErrorKind::AddrInUse => BindError::PortInUse(address, flag),
        _ => BindError::Address { address, cause, flag: "--bind" },
    })
}

/// TCP listeners on all addresses; those that are optional may be missing. `flag` is the one that chose the port.
pub fn bind_all(addresses: &[BindAddress], port: u16, flag: &'static str) -> Result<Vec<TcpListener>, BindError> {
    let mut listeners = Vec::new();
    for BindAddress { address, optional } in addresses {
        match bind_tcp(SocketAddr::new(*address, port), flag) {
            Ok(listener) => listeners.push(listener),
            Err(error @ BindError::Address { .. }) if *optional => warn!("{error} (it is optional)"),
            Err(error) => return Err(error),
        }
    }
    if listeners.is_empty() && !addresses.is_empty() { Err(BindError::NoAddress) } else { Ok(listeners) }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if matches!(address.ip(), IpAddr::V6(_)) {
        socket.set_only_v6(true)?;
    }
    // A port whose last connections are still fading may be taken again at once.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A unix socket; its file is removed when this is dropped.
pub struct UnixSocket {
    /// Where clients arrive.
    pub listener: UnixListener,
    path: PathBuf,
}

impl UnixSocket {
    /// Binds a path. A socket that nobody listens on any more is replaced.
    pub fn bind(path: &Path) -> Result<UnixSocket, BindError> {
        let failed = |cause| BindError::Path { path: path.to_owned(), cause };
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => return Err(BindError::NotASocket(path.to_owned())),
            Ok(_) if UnixStream::connect(path).is_ok() => return Err(BindError::PathInUse(path.to_owned())),
            Ok(_) => fs::remove_file(path).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(UnixSocket { listener, path: path.to_owned() })
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            warn!(path = %self.path.display(), %error, "cannot remove the unix socket");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("swytch-listener-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_stale_socket_is_replaced_and_removed_at_the_end() {
        let path = scratch("stale");
        drop(UnixListener::bind(&path).expect("the temporary directory is writable"));
        assert!(path.exists());
        let socket = UnixSocket::bind(&path).expect("stale");
        assert!(matches!(UnixSocket::bind(&path), Err(BindError::PathInUse(_))));
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn other_files_are_left_alone() {
        let path = scratch("file");
        fs::write(&path, "precious").expect("the temporary directory is writable");
        assert!(matches!(UnixSocket::bind(&path), Err(BindError::NotASocket(_))));
        assert_eq!(fs::read(&path).expect("still there"), b"precious");
        fs::remove_file(&path).expect("still there");
        assert!(matches!(UnixSocket::bind(Path::new("/nowhere/at/all")), Err(BindError::Path { .. })));
    }

    #[test]
    fn a_port_in_use_says_which() {
        let first = listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let address = first.local_addr().expect("bound");
        let error = bind_tcp(address, "--port").expect_err("in use");
        assert_eq!(
            error.to_string(),
            format!("cannot listen on {address}: the port is in use; stop what uses it or choose another with --port")
        );
    }

    #[test]
    fn optional_addresses_may_be_missing() {
        let foreign: IpAddr = [192, 0, 2, 1].into();
        let local: IpAddr = [127, 0, 0, 1].into();
        let at = |address, optional| BindAddress { address, optional };
        assert_eq!(bind_all(&[at(local, false), at(foreign, true)], 0, "--port").expect("optional").len(), 1);
        assert!(matches!(bind_all(&[at(foreign, false)], 0, "--port"), Err(BindError::Address { .. })));
        assert!(matches!(bind_all(&[at(foreign, true)], 0, "--port"), Err(BindError::NoAddress)));
    }
}
