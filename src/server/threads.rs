//! The server threads, and the acceptors that hand clients to them in turn.

use std::future::{Future, pending};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tracing::warn;

use super::connection::Connection;
use super::front::Front;
use super::serve::{Accepted, ClientListener, Relay, serve, stopped};
use super::socket::{LooseSocket, Socket};
use crate::commands::Connected;
use crate::keyspace::Gates;
use crate::tls::Certificates;

/// The system takes no longer time than this before the first probe, in seconds.
const LONGEST_SILENCE: u64 = 32_767;
/// After so many unanswered probes the client is gone.
const KEEPALIVE_PROBES: u32 = 3;
/// After a failed accept (no descriptors left, usually), the next one comes after this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Handed = Accepted<LooseSocket>;
/// On its way from one thread to another.
type Travelling = Box<Connection<Socket>>;

/// The server threads of this process.
pub(super) struct Threads {
    queues: Arc<[mpsc::UnboundedSender<Handed>]>,
    front: Arc<Front>,
    running: Vec<JoinHandle<()>>,
}

/// Hands clients to the server threads, as `balance` says.
#[derive(Clone)]
pub(super) struct Dispatcher {
    queues: Arc<[mpsc::UnboundedSender<Handed>]>,
    front: Arc<Front>,
}

/// How many threads there are, if at most so many take clients: one more is there for scripts if that is one.
pub(super) fn threads_for(count: usize) -> usize {
    count.max(2)
}

impl Threads {
    /// Starts the threads that the balance of the front end is about; each ends when `stop` turns true and its clients have
    /// their answers.
    pub(super) fn start(front: &Arc<Front>, stop: &watch::Receiver<bool>) -> io::Result<Threads> {
        let (mut queues, mut running) = (Vec::new(), Vec::new());
        let (relays, incoming): (Vec<_>, Vec<_>) =
            (0..front.balance.threads()).map(|_| mpsc::unbounded_channel::<Travelling>()).unzip();
        let relays: Arc<[_]> = relays.into();
        for (index, incoming) in incoming.into_iter().enumerate() {
            let (sender, receiver) = mpsc::unbounded_channel();
            let relay = relay(incoming, Arc::clone(&relays));
            let (front, stop) = (Arc::clone(front), stop.clone());
            let state = Arc::clone(&front.state);
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().on_thread_park(move || state.keyspace.gates().go_idle());
            let runtime = runtime.build()?;
            let state = Arc::clone(&front.state);
            let serving = move || {
                Gates::linger_until_idle();
                front.balance.begins(index);
                runtime.block_on(serve(Queue { receiver, relay: Some(relay) }, front, index, stop));
                state.keyspace.gates().go_idle();
            };
            running.push(thread::Builder::new().name(format!("swytch-{index}")).spawn(serving)?);
            queues.push(sender);
        }
        Ok(Threads { queues: queues.into(), front: Arc::clone(front), running })
    }

    /// Who brings clients to these threads.
    pub(super) fn dispatcher(&self) -> Dispatcher {
        Dispatcher { queues: Arc::clone(&self.queues), front: Arc::clone(&self.front) }
    }

    /// Waits until all threads have ended. Blocks.
    pub(super) fn join(self) {
        drop(self.queues);
        for thread in self.running {
            if thread.join().is_err() {
                warn!("a server thread failed; please report this");
            }
        }
    }
}

impl Dispatcher {
    /// Accepts TCP clients until `stop` turns true; they speak TLS if there are certificates.
    pub(super) async fn accept_tcp(
        self,
        listener: TcpListener,
        tls: Option<Arc<Certificates>>,
        mut stop: watch::Receiver<bool>,
    ) {
        while let Some(accepted) = unless_stopped(&mut stop, listener.accept()).await {
            let handed = accepted.and_then(|(stream, address)| {
                let connected = Connected {
                    address: address.to_string(),
                    local_address: stream.local_addr()?.to_string(),
                    descriptor: stream.as_raw_fd(),
                    unix: false,
                };
                stream.set_nodelay(true)?;
                let silence = self.front.state.config.keepalive_seconds().min(LONGEST_SILENCE);
                if silence > 0 {
                    let keepalive = TcpKeepalive::new()
                        .with_time(Duration::from_secs(silence))
                        .with_interval(Duration::from_secs((silence / u64::from(KEEPALIVE_PROBES)).max(1)))
                        .with_retries(KEEPALIVE_PROBES);
                    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
                }
                let stream = stream.into_std()?;
                let stream = match &tls {
                    Some(certificates) => LooseSocket::Tls(stream, certificates.config()),
                    None => LooseSocket::Tcp(stream),
                };
                Ok(Accepted { stream, connected })
            });
            self.hand_over(handed).await;
        }
    }

    /// Accepts clients of a unix socket until `stop` turns true.
    pub(super) async fn accept_unix(self, listener: UnixListener, path: String, mut stop: watch::Receiver<bool>) {
        while let Some(accepted) = unless_stopped(&mut stop, listener.accept()).await {
            let handed = accepted.and_then(|(stream, _)| {
                // Redis shows the path with port 0 at both ends.
                let address = format!("{path}:0");
                let descriptor = stream.as_raw_fd();
                let connected = Connected { address: address.clone(), local_address: address, descriptor, unix: true };
                Ok(Accepted { stream: LooseSocket::Unix(stream.into_std()?), connected })
            });
            self.hand_over(handed).await;
        }
    }

    async fn hand_over(&self, handed: io::Result<Handed>) {
        match handed {
            Ok(handed) => {
                // Who comes while a script holds a thread up goes to another one, and so can end the script.
                let index = self.front.balance.next_place(self.front.state.scripting.held_up());
                // A thread that has ended takes no more clients; then the process is about to end, too.
                let _ = self.queues[index].send(handed);
            }
            Err(error) if is_passing(&error) => {}
            Err(error) => {
                warn!(%error, "cannot accept a client");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The client left before it was accepted.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, InvalidInput, NotConnected};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | NotConnected | InvalidInput)
}

/// The outcome of `work`, or nothing once `stop` is true.
async fn unless_stopped<T>(stop: &mut watch::Receiver<bool>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = stopped(stop) => None,
        done = work => Some(done),
    }
}

/// How connections come to a thread from others, and go to them.
fn relay(
    incoming: mpsc::UnboundedReceiver<Travelling>,
    relays: Arc<[mpsc::UnboundedSender<Travelling>]>,
) -> Relay<Socket> {
    let hand_over = move |thread: usize, mut connection: Travelling| {
        // A socket that fails, or a thread that has ended: the client is gone.
        if connection.stream_mut().detach().is_ok() {
            let _ = relays[thread].send(connection);
        }
    };
    Relay { incoming, attach: Socket::attach, hand_over: Box::new(hand_over) }
}

/// The clients handed to one thread.
struct Queue {
    receiver: mpsc::UnboundedReceiver<Handed>,
    relay: Option<Relay<Socket>>,
}

impl ClientListener for Queue {
    type Stream = Socket;

    async fn accept(&mut self) -> io::Result<Accepted<Socket>> {
        match self.receiver.recv().await {
            Some(Accepted { stream, connected }) => Ok(Accepted { stream: stream.register()?, connected }),
            // Nobody accepts any more; what is left to do here is to serve those who are here.
            None => pending().await,
        }
    }

    fn relay(&mut self) -> Option<Relay<Socket>> {
        self.relay.take()
    }

    async fn settle(mut stream: Socket) -> io::Result<Socket> {
        if let Socket::Tls(stream) = &mut stream {
            stream.handshake().await?;
        }
        Ok(stream)
    }
}
