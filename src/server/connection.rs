//! One connection: read, execute, answer.
//!
//! While an answer cannot be sent because the client does not read, or while WAIT waits, what the client sends is still
//! taken in (and not looked at): a client that sends a long pipeline before it reads the first answer must not get stuck.

mod receiving;
mod sending;
mod waiting;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Handle as Runtime, RuntimeFlavor};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::front::Place;
use super::handle::{Asked, Handle};
use crate::commands::{
    BatchNote, Bundle, Connected, Flow, ServerState, Session, Wake, execute, may_bundle, note_batch,
};
use crate::coroutine::{self, Progress, Suspended};
use crate::keyspace::{Keyspace, MOST_WARMED, Millis};
use crate::resp::{Parsed, Parser, Protocol, Reply, look_ahead};

/// What a read asks for at first, in bytes.
const READ_SIZE: usize = 16 * 1024;
/// A silent connection keeps its buffers if they are no larger than this, in bytes.
const SMALL_BUFFER: usize = 256;
/// What a read asks for at most, when pipelines are long.
const MAX_READ_SIZE: usize = 64 * 1024;
/// With less free space than this, the input buffer makes room before it reads.
const MIN_ROOM: usize = 4 * 1024;
/// Answers are sent when they reach this size, even if more requests are there.
const FLUSH_SIZE: usize = 256 * 1024;
thread_local! {
    /// Where bytes arrive for connections with a small buffer.
    static ARRIVALS: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_SIZE].into_boxed_slice());
    /// Work that this thread has just left, by a number, on its way to the task that goes on with it. Beside what the connection does next and not in
    /// it: all tasks would have room for it.
    static SUSPENDED: RefCell<Vec<(u64, Suspended<Next>)>> = const { RefCell::new(Vec::new()) };
}

/// A thread, as the connections that live on it know it.
pub(super) struct HomeThread<S> {
    /// Counts the seconds of its housekeeping.
    pub second: AtomicU64,
    /// Brings a connection to another thread; none: there is none.
    pub hand_over: Option<HandOver<S>>,
    /// When no connection has this any more, all have ended.
    pub _alive: Option<mpsc::Sender<()>>,
}

/// Brings a connection to the thread of that number.
pub(super) type HandOver<S> = Box<dyn Fn(usize, Box<Connection<S>>) + Send + Sync>;

/// Serves a client until it leaves, asks to be disconnected, breaks the protocol, or its handle says so, or until the connection
/// goes to another thread.
///
/// The connection stays in its box, also on its way to another thread: its task is small, and nothing is in memory twice.
pub(super) async fn attend<S: AsyncRead + AsyncWrite + Unpin>(mut connection: Box<Connection<S>>) {
    if let Some(thread) = connection.serve().await {
        connection.depart(thread);
    }
}

/// A connection, which may go from one thread to another while nothing is in flight.
pub(super) struct Connection<S> {
    stream: S,
    /// What the client sent; before `consumed` it is done.
    input: Vec<u8>,
    consumed: usize,
    read_size: usize,
    /// The client sends nothing any more.
    ended: bool,
    parser: Parser,
    reply: Reply,
    /// Bytes received.
    received: u64,
    /// When the current batch began.
    now: Millis,
    /// What a script that was suspended has come to.
    resumed: Option<Box<Next>>,
    /// When the blocking command that waits has waited long enough; `Some(None)`: it waits for ever.
    blocked: Option<Option<Instant>>,
    /// Taken only when the connection is dropped.
    session: Option<Session>,
    handle: Arc<Handle>,
    /// The task that the handle is known to wake.
    waker: Option<Waker>,
    place: Place,
    home: Arc<HomeThread<S>>,
}

/// What a connection does next.
enum Next {
    /// All complete requests are executed.
    Read,
    /// Enough answers for now.
    Flush,
    /// WAIT: answer with the number of nodes that have the effect, once they are enough or the time is over.
    Wait { replicas: usize, timeout: Option<Duration>, seq: u64 },
    /// A blocking command: carry the request out again when woken, or skip it (so many bytes) when the time is over.
    Block { request: usize },
    /// Clients are paused: carry the request (so many bytes) out again when they are not.
    Pause,
    /// SAVE: answer when a save has ended that began when so many had.
    Save { ended: u64 },
    /// SHUTDOWN: the same, but only if that went wrong; else the process ends.
    SaveAndEnd { ended: u64 },
    /// Scripts run on another thread: carry the request out there. Or on this one, but on a stack of its own.
    Move { thread: usize },
    /// A script takes too long: go on with it ([`suspended`]) when others have had their turn, and do nothing else before it has ended.
    Resume { number: u64 },
    /// Answer, then hang up.
    Close,
}

/// Do the first two of the next requests of a pipeline need the same lock?
fn share_a_lock(keyspace: &Keyspace, input: &[u8]) -> bool {
    let mut shards = look_ahead(input).map(|[key, ..]| keyspace.key(key).shard());
    shards.next().is_some_and(|first| shards.next() == Some(first))
}

/// Has the keys ready that the next requests of a pipeline most likely need.
fn warm(keyspace: &Keyspace, database: u32, input: &[u8]) {
    let targets = look_ahead(input).take(MOST_WARMED);
    let targets: SmallVec<[_; MOST_WARMED]> = targets.map(|[key, words @ ..]| (keyspace.key(key), words)).collect();
    if targets.len() > 1 {
        keyspace.warm(database, &targets);
    }
}

/// As many of the next requests as can be carried out together.
fn bundle<'i>(
    state: &ServerState,
    session: &mut Session,
    parser: &mut Parser,
    input: &'i [u8],
    reply: &Reply,
    now: Millis,
) -> Bundle<'i> {
    let mut bundle = Bundle::new(input);
    loop {
        let rest = &input[bundle.end()..];
        let Parsed::Request { consumed } = parser.parse(rest, session.authenticated) else { return bundle };
        if parser.is_inline() || !bundle.add(state, session, &parser.arguments(rest), consumed, reply.protocol(), now) {
            return bundle;
        }
    }
}

/// The work of this number, which this thread has just left.
fn suspended(number: u64) -> Suspended<Next> {
    SUSPENDED.with_borrow_mut(|all| {
        let at = all.iter().position(|(other, _)| *other == number).expect("just put there");
        all.remove(at).1
    })
}

/// Goes on with a script that takes too long, each time when the others of this thread have had their turn, until it has ended.
async fn finish(mut rest: Suspended<Next>) -> Box<Next> {
    loop {
        tokio::task::yield_now().await;
        rest = match rest.resume() {
            Progress::Done(next) => return Box::new(next),
            Progress::Suspended(rest) => rest,
        }
    }
}

/// Lets the other connections of this thread that have requests carry them out first. So the answers to all leave one after the
/// other, and the clients that they wake do not come back one by one: more requests share a wake-up. (Redis does the same.)
async fn give_way() {
    let mut given = false;
    poll_fn(|context| {
        if std::mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Nothing is read yet.
    pub(super) fn open(
        stream: S,
        connected: Connected,
        place: Place,
        home: Arc<HomeThread<S>>,
        handle: Arc<Handle>,
    ) -> Connection<S> {
        let front = place.front();
        let now = front.clock.wall();
        let mut session = Session::open(&front.state, connected, place.thread(), now, front.seed());
        session.set_wake(Arc::clone(&handle) as Arc<dyn Wake>);
        // On a runtime of several threads its task could go on on another one, and the stack of a script not.
        session.suspends_scripts =
            Runtime::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::CurrentThread);
        Connection {
            stream,
            input: Vec::new(),
            consumed: 0,
            read_size: READ_SIZE,
            ended: false,
            parser: Parser::default(),
            reply: Reply::new(Protocol::Resp2),
            received: 0,
            now,
            resumed: None,
            blocked: None,
            session: Some(session),
            handle,
            waker: None,
            place,
            home,
        }
    }

    /// Serves the client until it is gone (none), or until the connection is to go on on another thread: that one.
    async fn serve(&mut self) -> Option<usize> {
        // An error means that the client is gone: nothing is left to do for it, and it is no news to anyone.
        let destination = self.run().await.ok().flatten();
        if destination.is_none() {
            Box::pin(self.wait_for_data()).await;
        }
        destination
    }

    /// Goes to another thread, if there is a way.
    fn depart(mut self: Box<Self>, thread: usize) {
        let home = Arc::clone(&self.home);
        if let Some(hand_over) = &home.hand_over {
            self.place.front().state.stats.thread(self.place.thread()).connections.subtract(1);
            self.place.go_to(thread);
            hand_over(thread, self);
        }
    }

    /// Its new thread takes it over. Returns its handle.
    pub(super) fn arrive(&mut self, home: &Arc<HomeThread<S>>) -> Arc<Handle> {
        let thread = self.place.thread();
        self.place.front().state.stats.thread(thread).connections.add(1);
        self.session().thread = thread;
        self.handle.settle(thread);
        self.home = Arc::clone(home);
        Arc::clone(&self.handle)
    }

    /// Its bytes.
    pub(super) fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// What is rare waits in a box: each of ten thousand silent connections would have room for it otherwise.
    async fn run(&mut self) -> io::Result<Option<usize>> {
        loop {
            match self.execute() {
                Next::Read => {
                    let received = self.received;
                    if !self.reply.bytes().is_empty() {
                        give_way().await;
                    }
                    self.flush().await?;
                    if self.received > received {
                        // Requests came in while the answers went out.
                        continue;
                    }
                    let runs_scripts = self.session().runs_scripts;
                    if let Some(thread) = self.place.front().balance.destination(self.place.thread(), runs_scripts) {
                        return Ok(Some(thread));
                    }
                    self.begin_waiting();
                    if self.ended || !poll_fn(|context| self.poll_fill(context)).await? {
                        return Ok(None);
                    }
                    self.handle.end_waiting();
                    self.now = self.place.front().clock.wall();
                }
                Next::Flush => self.flush().await?,
                Next::Wait { replicas, timeout, seq } => {
                    self.flush().await?;
                    let count = Box::pin(self.wait(replicas, timeout, seq)).await;
                    if self.session().wants_reply() {
                        self.reply.count(count);
                    }
                    self.now = self.place.front().clock.wall();
                }
                Next::Block { request } => {
                    self.flush().await?;
                    if !Box::pin(self.wait_for_keys(request)).await {
                        return Ok(None);
                    }
                }
                Next::Pause => {
                    self.flush().await?;
                    self.session().record.note_postponed(true);
                    let goes_on = Box::pin(self.wait_for_end_of_pause()).await;
                    self.session().record.note_postponed(false);
                    if !goes_on {
                        return Ok(None);
                    }
                    self.now = self.place.front().clock.wall();
                }
                Next::Save { ended } => {
                    self.flush().await?;
                    if let Some(outcome) = Box::pin(self.wait_for_save(ended)).await {
                        self.reply_to_save(outcome.map_err(|error| format!("ERR {error}")));
                    }
                    self.now = self.place.front().clock.wall();
                }
                Next::SaveAndEnd { ended } => {
                    self.flush().await?;
                    match Box::pin(self.wait_for_save(ended)).await {
                        Some(Ok(())) => {
                            self.place.front().state.supervision.end();
                            return Ok(None);
                        }
                        Some(Err(_)) => {
                            self.reply_to_save(Err("ERR Errors trying to SHUTDOWN. Check logs.".to_owned()))
                        }
                        None => {}
                    }
                    self.now = self.place.front().clock.wall();
                }
                Next::Move { thread } => {
                    self.flush().await?;
                    if thread != self.place.thread() {
                        return Ok(Some(thread));
                    }
                }
                Next::Resume { number } => {
                    self.resumed = Some(Box::pin(finish(suspended(number))).await);
                }
                Next::Close => return self.flush().await.map(|()| None),
            }
        }
    }

    fn session(&mut self) -> &mut Session {
        self.session.as_mut().expect("there until the connection is dropped")
    }

    /// Executes requests, unless it is known already what comes next.
    fn execute(&mut self) -> Next {
        if let Some(next) = self.resumed.take() {
            return *next;
        }
        if self.session().runs_scripts { self.start_scripts() } else { self.execute_requests() }
    }

    /// Executes requests among which there may be scripts: on a stack of their own, which one that takes too long leaves now and then, to let others
    /// of this thread be served. Until it has ended, nobody touches the connection.
    fn start_scripts(&mut self) -> Next {
        if !self.session().suspends_scripts {
            return self.execute_requests();
        }
        // SAFETY: the connection is borrowed by `run`, which finishes what was begun before it does anything else. It stays in its box, which the
        // task drops after `run`; and the task does not leave its thread, since the runtime has only one.
        match unsafe { coroutine::start(|| self.execute_requests()) } {
            Progress::Done(next) => next,
            Progress::Suspended(rest) => SUSPENDED.with_borrow_mut(|all| {
                let number = all.last().map_or(0, |(last, _)| last + 1);
                all.push((number, rest));
                Next::Resume { number }
            }),
        }
    }

    /// Executes every complete request of the input, or as many as answers may pile up, and notes how long that took.
    fn execute_requests(&mut self) -> Next {
        if self.consumed == self.input.len() {
            return self.execute_batch(&mut None);
        }
        let begun = self.place.front().state.facts.stopwatch.map(|read| (read, read()));
        let mut only = None;
        let next = self.execute_batch(&mut only);
        if let Some((read, begun)) = begun {
            let taken = read().saturating_sub(begun);
            let only = only.map(|start| self.parser.arguments(&self.input[start..]));
            let session = self.session.as_mut().expect("there until the connection is dropped");
            note_batch(&self.place.front().state, session, taken, only.as_ref(), self.now);
        }
        next
    }

    /// Executes requests. One pass to the data is enough for all of them. If a script takes too long, there is none.
    fn execute_batch(&mut self, only: &mut Option<usize>) -> Next {
        let state = Arc::clone(&self.place.front().state);
        self.parser.limit_words(state.config.longest_string());
        let inside = state.keyspace.gates().enter_unless_overdue();
        self.session().turned_away = inside.is_err();
        self.execute_inside(only)
    }

    /// Executes requests. `only`: where the request begins, if there was one only.
    fn execute_inside(&mut self, only: &mut Option<usize>) -> Next {
        let mut requests = 0;
        let session = self.session.as_mut().expect("there until the connection is dropped");
        let mut since_warming = MOST_WARMED;
        loop {
            // Messages are among the replies, behind that of the command during which they came.
            if session.has_mail() {
                if session.is_ended() {
                    return Next::Close;
                }
                session.deliver(&mut self.reply, FLUSH_SIZE);
                if self.reply.bytes().len() >= FLUSH_SIZE {
                    return Next::Flush;
                }
            }
            if self.consumed == self.input.len() {
                break;
            }
            if self.place.front().state.supervision.attention.has_killed() && session.is_killed() {
                return Next::Close;
            }
            let input = &self.input[self.consumed..];
            if since_warming == MOST_WARMED && session.authenticated && !session.turned_away {
                let state = &self.place.front().state;
                let shares_a_lock = share_a_lock(&state.keyspace, input);
                if shares_a_lock && may_bundle(state, session) {
                    let bundle = bundle(state, session, &mut self.parser, input, &self.reply, self.now);
                    let progress = bundle.run(state, session, &mut self.reply, self.now, FLUSH_SIZE);
                    if progress.requests > 0 {
                        requests += progress.requests;
                        *only = None;
                        self.consumed += progress.bytes;
                        if self.reply.bytes().len() >= FLUSH_SIZE {
                            return Next::Flush;
                        }
                        continue;
                    }
                }
                if !shares_a_lock {
                    warm(&state.keyspace, session.database, input);
                }
                since_warming = 0;
            }
            since_warming += 1;
            *only = (requests == 0).then_some(self.consumed);
            requests += 1;
            match self.parser.parse(input, session.authenticated) {
                Parsed::Incomplete => {
                    *only = None;
                    break;
                }
                Parsed::Error(error) => {
                    self.reply.error(format!("ERR {error}").as_bytes());
                    return Next::Close;
                }
                Parsed::Request { consumed } => {
                    let arguments = self.parser.arguments(input);
                    self.consumed += consumed;
                    if arguments.is_empty() {
                        continue;
                    }
                    if session.turned_away && session.is_blocked() {
                        // It was woken, and cannot look yet: it does as soon as it can.
                        self.consumed -= consumed;
                        self.handle.wake();
                        return Next::Block { request: consumed };
                    }
                    let flow = execute(&self.place.front().state, session, &arguments, &mut self.reply, self.now);
                    if session.is_blocked()
                        && !matches!(flow, Flow::Block { .. } | Flow::Pause | Flow::Elsewhere { .. })
                    {
                        session.end_waiting(&self.place.front().state, self.now);
                        self.blocked = None;
                    }
                    match flow {
                        Flow::Continue => {}
                        Flow::Block { timeout } => {
                            self.blocked
                                .get_or_insert_with(|| timeout.and_then(|time| Instant::now().checked_add(time)));
                            self.consumed -= consumed;
                            return Next::Block { request: consumed };
                        }
                        Flow::Pause => {
                            self.consumed -= consumed;
                            *only = None;
                            return Next::Pause;
                        }
                        Flow::Elsewhere { thread } => {
                            self.consumed -= consumed;
                            *only = None;
                            return Next::Move { thread };
                        }
                        Flow::Close => return Next::Close,
                        Flow::Save { ended } => return Next::Save { ended },
                        Flow::SaveAndEnd { ended } => return Next::SaveAndEnd { ended },
                        Flow::Wait { replicas, timeout, seq } => return Next::Wait { replicas, timeout, seq },
                    }
                    if self.reply.bytes().len() >= FLUSH_SIZE {
                        return Next::Flush;
                    }
                }
            }
        }
        Next::Read
    }

    /// Was the connection ended by somebody, because its user was deleted, for example?
    fn is_ended(&mut self) -> bool {
        self.session.as_mut().is_some_and(Session::is_ended)
    }

    /// Notes how the last batch went, for others to see.
    fn begin_waiting(&mut self) {
        let BatchNote { input_room, output_room, .. } = self.note_buffers(0);
        let session = self.session.as_ref().expect("there until the connection is dropped");
        let oversized = input_room > SMALL_BUFFER || output_room > SMALL_BUFFER;
        self.handle.begin_waiting(self.home.second.load(Ordering::Relaxed), oversized, session.is_listening());
    }

    /// Notes what the buffers hold, with so much to be sent, for others to see.
    fn note_buffers(&mut self, output: usize) -> BatchNote {
        let (input_room, output_room) = (self.input.capacity(), self.reply.bytes_mut().capacity());
        let note = BatchNote { input: self.input.len() - self.consumed, input_room, output, output_room };
        let now = self.now;
        self.session().record.note_batch(now, note);
        note
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            session.close(&self.place.front().state, self.place.front().clock.wall());
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::cluster::SystemClock;
    use crate::commands::ClientRecord;
    use crate::server::front::Front;
    use crate::server::socket::Socket;
    use crate::server::tests::make_state;

    #[tokio::test]
    async fn ten_thousand_silent_connections_are_no_burden() {
        let front = Arc::new(Front::new(make_state(None, 1, 0, None), Arc::new(SystemClock::default()), 1));
        let place = front.take_place(0).expect("room");
        let home = Arc::new(HomeThread { second: AtomicU64::new(0), hand_over: None, _alive: None });
        let (_client, server) = duplex(1);
        let connection = Connection::open(server, Connected::default(), place, home, Arc::default());
        let task = size_of_val(&attend(Box::new(connection)));
        let sizes = [task, size_of::<Connection<Socket>>(), size_of::<ClientRecord>(), size_of::<Handle>()];
        // Beyond these, the allocator gives each of them a larger piece; two counters belong to the last two.
        assert!(sizes.iter().zip([192, 512, 256 - 16, 64 - 16]).all(|(size, limit)| *size <= limit), "{sizes:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_gives_large_buffers_back() {
        let state = make_state(None, 1, 0, None);
        let front = Arc::new(Front::new(state, Arc::new(SystemClock::default()), 1));
        let place = front.take_place(0).expect("room");
        let (client, server) = duplex(1 << 16);
        let home = Arc::new(HomeThread { second: AtomicU64::new(0), hand_over: None, _alive: None });
        let handle = Arc::new(Handle::default());
        let mut connection = Connection::open(server, Connected::default(), place, home, Arc::clone(&handle));
        let (mut read, mut write) = tokio::io::split(client);
        let scenario = async {
            let value = "x".repeat(1_000_000);
            let request = format!("*2\r\n$4\r\nPING\r\n${}\r\n{value}\r\n", value.len());
            let mut answer = vec![0; "$1000000\r\n\r\n".len() + value.len()];
            let (sent, received) = tokio::join!(write.write_all(request.as_bytes()), read.read_exact(&mut answer));
            sent.and(received.map(drop)).expect("answered");
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        tokio::select! {
            biased;
            ended = connection.run() => drop(ended.expect("the client is there")),
            () = scenario => {}
        }
        assert!(connection.input.capacity() > READ_SIZE && connection.reply.bytes_mut().capacity() > READ_SIZE);
        handle.inspect(1, 0);
        assert_eq!(handle.asked(), Asked::Nothing, "it may go on at once");
        handle.inspect(2, 0);
        tokio::select! {
            biased;
            ended = connection.run() => drop(ended.expect("the client is there")),
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
        assert_eq!((connection.input.capacity(), connection.reply.bytes_mut().capacity() <= SMALL_BUFFER), (0, true));
    }
}
