//! Telling the service manager how far the start is, by systemd's protocol: datagrams of `NAME=value` lines to the socket that
//! `NOTIFY_SOCKET` names. Where it names none, nothing is told.
//!
//! Must not know what the node waits for: it is told in words for people. A manager that does not listen holds nothing up
//! for longer than a moment, and ends nothing.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tracing::warn;

/// The variable that names the manager's socket.
const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";
/// A manager whose socket is full gets so long to read.
const PATIENCE: Duration = Duration::from_secs(1);

/// The service manager, if there is one that wants to be told.
#[derive(Debug)]
pub(super) struct Manager(Option<UnixDatagram>);

impl Manager {
    /// The one that started this process.
    pub(super) fn from_environment() -> Manager {
        let Some(name) = std::env::var_os(SOCKET_VARIABLE).filter(|name| !name.is_empty()) else {
            return Manager(None);
        };
        match connect(&name) {
            Ok(socket) => Manager(Some(socket)),
            Err(error) => {
                warn!(socket = %name.display(), %error, "the service manager cannot be told when this node serves");
                Manager(None)
            }
        }
    }

    /// What the node is at, in words.
    pub(super) fn working(&self, at: &str) {
        self.tell(&format!("STATUS={at}\n"));
    }

    /// The node serves clients.
    pub(super) fn ready(&self) {
        self.tell("READY=1\nSTATUS=serving clients\n");
    }

    /// The node begins to stop.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=completing what is in flight\n");
    }

    fn tell(&self, lines: &str) {
        let Some(socket) = &self.0 else { return };
        if let Err(error) = socket.send(lines.as_bytes()) {
            warn!(%error, "the service manager was not told: {}", lines.lines().next().unwrap_or_default());
        }
    }
}

/// A path, or with `@` in front a name outside the file system.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::other(format!("{SOCKET_VARIABLE} is neither a path nor a name behind @"))),
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_names_are_told_and_nothing_else_is() {
        let path = std::env::temp_dir().join(format!("swytch-manager-{}.sock", std::process::id()));
        let name = format!("swytch-manager-{}", std::process::id());
        let at_name = SocketAddr::from_abstract_name(&name).expect("short enough");
        let listeners = [UnixDatagram::bind(&path), UnixDatagram::bind_addr(&at_name)];
        for (listener, address) in listeners.into_iter().zip([path.clone().into_os_string(), format!("@{name}").into()])
        {
            let listener = listener.expect("free");
            let manager = Manager(Some(connect(&address).expect("somebody listens")));
            manager.working("loading x");
            manager.ready();
            manager.stopping();
            let mut buffer = [0; 128];
            for expected in ["STATUS=loading x\n", "READY=1\nSTATUS=serving clients\n", "STOPPING=1\n"] {
                let length = listener.recv(&mut buffer).expect("told");
                assert!(buffer[..length].starts_with(expected.as_bytes()), "{}", buffer[..length].escape_ascii());
            }
        }
        std::fs::remove_file(&path).expect("bound here");
        assert!(connect(path.as_os_str()).is_err(), "nobody listens");
        assert!(connect(OsStr::new("vsock:2:1234")).is_err());
        Manager(None).ready();
    }
}
