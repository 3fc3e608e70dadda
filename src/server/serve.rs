//! Accepting clients and looking after their connections.

use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{error, warn};

use super::connection::{Connection, HandOver, HomeThread, attend};
use super::front::Front;
use super::handle::Handle;
use crate::commands::Connected;
use crate::keyspace::Keyspace;
use crate::resp::{Protocol, Reply};

/// After a failed accept (no descriptors left, usually), the next one comes after this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// At the end, clients that do not take their last answers are given up after this long.
const LAST_ANSWERS: Duration = Duration::from_secs(10);
/// How often expired keys are looked for.
const UPKEEP_INTERVAL: Duration = Duration::from_millis(100);
/// It waits so long for a script at most.
const UPKEEP_PATIENCE: Duration = Duration::from_millis(20);
/// How many shards are looked at each time: all of them in a second.
const UPKEEP_SHARDS: usize = Keyspace::SHARDS.div_ceil(10);

/// A client that has just connected.
pub struct Accepted<S> {
    /// Its bytes.
    pub stream: S,
    /// Where it comes from.
    pub connected: Connected,
}

/// The way to other threads, and from there.
pub struct Relay<S> {
    /// Who comes.
    pub(super) incoming: mpsc::UnboundedReceiver<Box<Connection<S>>>,
    /// Enters a stream into the event loop of the current thread.
    pub(super) attach: fn(&mut S) -> io::Result<()>,
    /// Goes to them.
    pub(super) hand_over: HandOver<S>,
}

/// Where clients come from.
pub trait ClientListener: Send {
    /// What a connection is.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Waits for the next client. Dropping the future loses none.
    fn accept(&mut self) -> impl Future<Output = io::Result<Accepted<Self::Stream>>> + Send;
    /// What has to be settled with a client before it is served, a TLS handshake for example. In a task of its own, and
    /// bounded in time.
    fn settle(stream: Self::Stream) -> impl Future<Output = io::Result<Self::Stream>> + Send {
        async { Ok(stream) }
    }

    /// The way to other threads, if there are any. Asked for once.
    fn relay(&mut self) -> Option<Relay<Self::Stream>> {
        None
    }
}

/// Serves all clients that `listener` brings, each in a task of its own, until `stop` turns true: then it accepts no
/// more, lets every connection answer what is in flight, and returns when all have ended.
///
/// `thread` is the index of the block of statistics that these clients write to: no two calls share one.
pub async fn serve<L: ClientListener>(
    mut listener: L,
    front: Arc<Front>,
    thread: usize,
    mut stop: watch::Receiver<bool>,
) {
    let mut handles: Vec<Arc<Handle>> = Vec::new();
    // Each connection has a clone of the sender: when none is left, all have ended.
    let (alive, mut all_ended) = mpsc::channel::<()>(1);
    let (mut incoming, hand_over) = match listener.relay() {
        Some(Relay { incoming, attach, hand_over }) => (Some((incoming, attach)), Some(hand_over)),
        None => (None, None),
    };
    let home = Arc::new(HomeThread { second: AtomicU64::new(0), hand_over, _alive: Some(alive) });
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            _ = seconds.tick() => {
                let now = home.second.fetch_add(1, Ordering::Relaxed) + 1;
                let timeout = front.state.config.timeout_seconds();
                handles.retain(|handle| Arc::strong_count(handle) > 1 && handle.lives_on(thread));
                handles.iter().for_each(|handle| handle.inspect(now, timeout));
            }
            accepted = listener.accept() => match accepted {
                Ok(Accepted { stream, connected }) => {
                    let Some(place) = front.take_place(thread) else {
                        front.state.stats.thread(thread).connections_rejected.add(1);
                        refuse(stream).await;
                        continue;
                    };
                    let handle = Arc::new(Handle::default());
                    handle.settle(thread);
                    handles.push(Arc::clone(&handle));
                    let (home, front) = (Arc::clone(&home), Arc::clone(&front));
                    let mut stop = stop.clone();
                    // In a box, as it is soon over: see `Connection::run`. The task keeps room for what it was handed until it ends.
                    let opening = Box::pin(async move {
                        let settled = tokio::select! {
                            biased;
                            settled = L::settle(stream) => settled,
                            () = stopped(&mut stop) => return None,
                        };
                        let opened = settled.inspect_err(|error| note_unsettled(&front, &connected, error)).ok()?;
                        Some(Box::new(Connection::open(opened, connected, place, home, handle)))
                    });
                    tokio::spawn(async move {
                        let _notice = FailureNotice;
                        let Some(connection) = opening.await else { return };
                        attend(connection).await;
                    });
                }
                Err(error) => {
                    warn!(%error, "cannot accept a client");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            arrived = arrival(&mut incoming) => {
                // What fails here ends the connection, as any failure of its socket does.
                if let Some(mut connection) = arrived {
                    let handle = connection.arrive(&home);
                    if !handles.iter().any(|known| Arc::ptr_eq(known, &handle)) {
                        handles.push(handle);
                    }
                    tokio::spawn(async move {
                        let _notice = FailureNotice;
                        attend(connection).await;
                    });
                }
            }
        }
    }
    // Who is on the way here ends as well: nothing is in flight.
    drop((listener, incoming));
    handles.iter().for_each(|handle| handle.stop());
    drop(home);
    if timeout(LAST_ANSWERS, all_ended.recv()).await.is_err() {
        let clients = handles.iter().filter(|handle| Arc::strong_count(handle) > 1).count();
        warn!(clients, "gave up clients that do not read their last answers");
    }
}

/// Background work of a node, once per process, until `stop` turns true: expired keys, and samples for the rates of INFO.
pub async fn keep_up(front: Arc<Front>, mut stop: watch::Receiver<bool>) {
    let mut turns = interval(UPKEEP_INTERVAL);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            _ = turns.tick() => {
                // While a script runs, all this waits for the next turn: the thread has others to serve.
                let Some(_inside) = front.state.keyspace.gates().enter_within(UPKEEP_PATIENCE) else { continue };
                let now = front.clock.wall();
                // An effect of its own, before it has what the cluster has, would make a joining node rebase.
                // And while clients are paused, data is to stay as it is.
                let supervision = &front.state.supervision;
                supervision.pausing.look(&supervision.attention, now);
                let rests = supervision.pausing.current(now).is_some();
                if front.state.is_serving() && !rests && supervision.active_expire.load(Ordering::Relaxed) {
                    front.state.look_after_keys(now, UPKEEP_SHARDS);
                }
                if front.state.is_serving() {
                    front.state.persistence.keep_up(&front.state.keyspace, now, front.state.use_hint());
                }
                front.state.evict_clients();
                front.state.stats.note_memory(front.state.keyspace.memory() as u64);
                front.state.stats.sample(now);
            }
        }
    }
}

/// Waits until `stop` is true, or until whoever could set it has gone.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Whoever connects and leaves without a word is no news: so do probes.
fn note_unsettled(front: &Front, connected: &Connected, error: &io::Error) {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    let has_left = matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof);
    if let Some(certificates) = front.state.tls.as_ref().filter(|_| !has_left) {
        certificates.note_failure(&connected.address, error);
    }
}

/// The next connection that another thread hands over; none: its socket has failed.
async fn arrival<S: AsyncRead + AsyncWrite + Unpin>(incoming: &mut Option<Incoming<S>>) -> Option<Box<Connection<S>>> {
    let Some((incoming, attach)) = incoming else { return pending().await };
    let Some(mut connection) = incoming.recv().await else { return pending().await };
    attach(connection.stream_mut()).is_ok().then_some(connection)
}

/// Who comes from other threads, and how their streams are entered into the event loop of this one.
type Incoming<S> = (mpsc::UnboundedReceiver<Box<Connection<S>>>, fn(&mut S) -> io::Result<()>);

/// A command that panics ends its connection, and only that. What it said went to the log when it happened.
struct FailureNotice;

impl Drop for FailureNotice {
    fn drop(&mut self) {
        if std::thread::panicking() {
            error!("closed a connection: its last command failed inside the server; please report this");
        }
    }
}

/// Tells a client that there are too many, if it can be told without waiting.
async fn refuse(mut stream: impl AsyncWrite + Unpin) {
    let mut reply = Reply::new(Protocol::Resp2);
    reply.error(b"ERR max number of clients reached");
    poll_fn(|context| {
        let _ = Pin::new(&mut stream).poll_write(context, reply.bytes());
        Poll::Ready(())
    })
    .await;
}
