//! A node from start to end: everything bound before anything is promised, then serving, then an orderly end.

use std::fmt::Write;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::balance::{self, Balance};
use super::clustering::{self, Credentials};
use super::descriptors;
use super::front::Front;
use super::listener::{BindError, UnixSocket, bind_all, bind_tcp};
use super::options::{Options, TracingSettings};
use super::readiness::Manager;
use super::serve::{keep_up, stopped};
use super::threads::{Dispatcher, Threads, threads_for};
use crate::acl::{ChannelDefault, Users};
use crate::cluster::{Clock, ClusterHandle, SystemClock};
use crate::commands::{
    ClientRegistry, Config, Scripting, ServerFacts, ServerState, Supervision, begin_with, resident_memory, table,
};
use crate::keyspace::{Keyspace, KeyspaceOptions};
use crate::observe::{self, NodeStatus, Stats};
use crate::persistence::{LoadError, Persistence};
use crate::tls::{Certificates, Prepared, TlsError};
use crate::trace::{Resource, Tracer, start_exporter};

/// At the end, the collector has so long to take the last spans.
const LAST_SPANS: Duration = Duration::from_secs(1);

/// Why a node does not start. Displayed as one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Where clients, peers or scrapers should have connected.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The certificates for clients.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system has no randomness, threads, event loops or descriptors left.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// The users of the ACL file.
    #[error("--aclfile: {0}")]
    Users(String),
    /// The cluster.
    #[error("cannot join the cluster: {0}")]
    Cluster(String),
    /// The file with the data.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// At the end, the data could not be saved.
    #[error("{0}")]
    Save(String),
}

/// Runs a node until the process is asked to end (SIGTERM, SIGINT) and everything in flight is answered. Asked a second
/// time, the process exits at once, with status 1.
pub fn run(options: Options) -> Result<(), StartError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run_node(options))
}

async fn run_node(mut options: Options) -> Result<(), StartError> {
    let manager = Manager::from_environment();
    let mut signals = Signals::new()?;
    // From here on, since it would end the process otherwise: who has just started a node may ask at once.
    let hangups = signal(SignalKind::hangup())?;
    options.max_clients = descriptors::make_room(options.max_clients);
    let certificates = options.tls.as_ref().map(|tls| Prepared::new(tls.settings.clone())).transpose()?;
    let certificates = certificates.map(|prepared| Arc::new(Certificates::new(prepared)));
    let tcp = if options.port == 0 { Vec::new() } else { bind_all(&options.bind, options.port, "--port")? };
    let tls = options.tls.as_ref().map(|tls| bind_all(&options.bind, tls.port, tls.port_flag)).transpose()?;
    let unix = options.unix_socket.as_deref().map(UnixSocket::bind).transpose()?;
    let metrics = options.metrics_port.map(|port| bind_metrics(&options, port)).transpose()?;

    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let credentials = options.cluster.as_ref().map(Credentials::derive).transpose()?;
    let mut state = make_state(&options, clock.wall(), credentials.as_ref())?;
    let tracer = options.tracing.as_ref().map(|settings| begin_to_trace(settings, &options, &state)).transpose()?;
    let cluster = match (&options.cluster, credentials) {
        (Some(settings), Some(credentials)) => {
            let data = (&state.keyspace, &state.channels);
            Some(clustering::start(settings, &options, credentials, data, tracer.clone(), clock.clone(), random()?)?)
        }
        _ => None,
    };
    state.cluster = cluster.as_ref().map(ClusterHandle::report);
    state.tls = certificates;
    begin_with(&state, &options.parameters);
    if state.users.channel_default() != ChannelDefault::None
        && let Some(Err(error)) = state.users.load()
    {
        // The file was read before the parameter counted.
        return Err(StartError::Users(error.for_operator()));
    }
    if !options.passed_over.is_empty() {
        let names = options.passed_over.join(", ");
        warn!("these directives of the configuration file mean nothing here and are passed over: {names}");
    }
    let state = Arc::new(state);
    if let Some(listener) = metrics {
        observe::serve_http(listener, Arc::new(Observed { state: Arc::clone(&state), clock: Arc::clone(&clock) }))?;
    }

    // Alone and without a file there is nothing to wait for: the first client that gets in is served.
    if cluster.is_none() && state.persistence.has_no_file() {
        state.serving.store(true, Ordering::Relaxed);
    }
    let balance = Balance::new(threads_for(state.facts.threads), state.facts.threads);
    let front = Arc::new(Front::balanced(Arc::clone(&state), Arc::clone(&clock), random()?, balance));
    let (stop_sender, stop) = watch::channel(false);
    let threads = Threads::start(&front, &stop)?;
    let mut tasks = JoinSet::new();
    let plain = tcp.into_iter().map(|listener| (listener, None));
    let with_tls = tls.into_iter().flatten().map(|listener| (listener, state.tls.clone()));
    for (listener, tls) in plain.chain(with_tls) {
        tasks.spawn(threads.dispatcher().accept_tcp(TcpListener::from_std(listener)?, tls, stop.clone()));
    }
    if let Some(socket) = &unix {
        spawn_unix(&mut tasks, threads.dispatcher(), socket, &state, &stop)?;
    }
    tasks.spawn(keep_up(Arc::clone(&front), stop.clone()));
    tasks.spawn(balance::watch(Arc::clone(&front), stop.clone()));
    tasks.spawn(reload_when_asked(hangups, Arc::clone(&state), stop.clone()));
    announce(&options, &state);
    if options.users.is_some() && options.password.is_some() {
        warn!("--requirepass has no effect beside --aclfile: the file says who may log in");
    }
    let ready = become_ready(&state, cluster.as_ref(), Arc::clone(&clock), &manager);
    let mut wishes = state.supervision.ending();
    let name = tokio::select! {
        biased;
        name = asked_to_end(&mut signals, &mut wishes) => name,
        loaded = ready => {
            loaded?;
            if let Some(cluster) = &cluster {
                // Before anybody is told that commands are answered, they are.
                state.serving.store(*cluster.serving().borrow(), Ordering::Relaxed);
                tasks.spawn(follow_cluster(cluster.serving(), Arc::clone(&state), stop.clone()));
            }
            manager.ready();
            asked_to_end(&mut signals, &mut wishes).await
        }
    };
    manager.stopping();
    info!(cause = name, "stopping: no new clients; what is in flight is completed");
    // A script that takes long ends now, too.
    state.supervision.end();
    // Nobody listening any more is no failure here.
    let _ = stop_sender.send(true);
    let ending = async {
        while tasks.join_next().await.is_some() {}
        let saving = Arc::clone(&state);
        let saved = tokio::task::spawn_blocking(move || {
            threads.join();
            // Only when no client can write any more.
            saving.persistence.end(&saving.keyspace, clock.wall(), saving.use_hint())
        });
        let saved = saved.await;
        if let Some(cluster) = &cluster {
            cluster.leave().await;
        }
        if let Some(tracer) = tracer {
            // Should it fail, the spans that still waited are lost, which harms nobody.
            let _ = tokio::task::spawn_blocking(move || tracer.close(LAST_SPANS)).await;
        }
        saved
    };
    let mut outcome = Ok(());
    tokio::select! {
        biased;
        ended = ending => match ended {
            Ok(saved) => outcome = saved.map_err(StartError::Save),
            Err(error) => warn!(%error, "could not wait for the server threads"),
        },
        name = signals.next() => {
            warn!(signal = name, "asked to stop a second time: exiting at once");
            drop(unix);
            std::process::exit(1);
        }
    }
    drop(unix);
    info!("stopped");
    outcome
}

/// Loads the file with the data, and lets clients get at it.
///
/// In a cluster the file counts only where a cluster begins: what others have is newer, and may be without keys that are
/// in the file because somebody has deleted them. Who begins one has seen no effect of anybody else.
async fn become_ready(
    state: &Arc<ServerState>,
    cluster: Option<&ClusterHandle>,
    clock: Arc<dyn Clock>,
    manager: &Manager,
) -> Result<(), StartError> {
    if let Some(cluster) = cluster {
        manager.working("joining the cluster");
        // An error means that the cluster's thread has ended: it has said why, and the node will not serve.
        if cluster.serving().wait_for(|serving| *serving).await.is_err() {
            return std::future::pending().await;
        }
        if state.keyspace.frontier().iter().any(|(node, _)| node != cluster.node()) {
            let path = state.persistence.path();
            if path.exists() {
                info!(path = %path.display(), "not loaded: this node has joined a cluster, whose data is newer");
            }
            return Ok(());
        }
    }
    if state.is_serving() {
        return Ok(());
    }
    manager.working(&format!("loading {}", state.persistence.path().display()));
    let loading = Arc::clone(state);
    let load = move || loading.persistence.load(&loading.keyspace, &|| clock.wall());
    tokio::task::spawn_blocking(load).await.map_err(io::Error::other)??;
    if cluster.is_none() {
        state.serving.store(true, Ordering::Relaxed);
    }
    Ok(())
}

/// Waits until the process is to end, by a signal or by a client's wish. What it was.
async fn asked_to_end(signals: &mut Signals, wishes: &mut watch::Receiver<bool>) -> &'static str {
    tokio::select! {
        biased;
        name = signals.next() => name,
        Ok(_) = wishes.wait_for(|wished| *wished) => "SHUTDOWN",
    }
}

/// Keeps `state.serving` as the cluster says, until `stop` turns true.
pub async fn follow_cluster(
    mut serving: watch::Receiver<bool>,
    state: Arc<ServerState>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        state.serving.store(*serving.borrow_and_update(), Ordering::Relaxed);
        tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            changed = serving.changed() => if changed.is_err() {
                return;
            }
        }
    }
}

/// SIGHUP: the certificate files are read again. Whoever has none takes it without harm, as with Redis.
async fn reload_when_asked(mut hangups: Signal, state: Arc<ServerState>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            _ = hangups.recv() => match &state.tls {
                Some(certificates) => certificates.reload(),
                None => info!("SIGHUP: there is nothing to read again"),
            }
        }
    }
}

/// Starts to sample commands, and to bring their spans to the collector.
fn begin_to_trace(
    settings: &TracingSettings,
    options: &Options,
    state: &ServerState,
) -> Result<Arc<Tracer>, StartError> {
    let tracer = Arc::new(Tracer::new(settings.ratio.get()));
    let resource = Resource(vec![
        ("service.name", "swytch".to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", state.run_id.clone()),
        ("host.name", options.node_name.clone()),
        ("process.pid", state.facts.process.to_string()),
    ]);
    start_exporter(Arc::clone(&tracer), settings.endpoint.clone(), resource)?;
    state.supervision.trace_with(Arc::clone(&tracer));
    info!(collector = settings.endpoint.url(), ratio = settings.ratio.get(), "some commands are traced");
    Ok(tracer)
}

fn spawn_unix(
    tasks: &mut JoinSet<()>,
    dispatcher: Dispatcher,
    socket: &UnixSocket,
    state: &ServerState,
    stop: &watch::Receiver<bool>,
) -> io::Result<()> {
    let listener = UnixListener::from_std(socket.listener.try_clone()?)?;
    tasks.spawn(dispatcher.accept_unix(listener, state.facts.unix_socket.clone(), stop.clone()));
    Ok(())
}

/// The metrics listen where the first clients do.
fn bind_metrics(options: &Options, port: u16) -> Result<std::net::TcpListener, BindError> {
    let address = options.bind.first().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |bind| bind.address);
    bind_tcp(SocketAddr::new(address, port), "--metrics-port")
}

fn make_state(options: &Options, now: u64, credentials: Option<&Credentials>) -> Result<ServerState, StartError> {
    let threads = match options.threads {
        0 => std::thread::available_parallelism()?.get(),
        threads => threads,
    };
    let keyspace = Keyspace::new(KeyspaceOptions {
        databases: options.databases,
        hash_seed: credentials.map_or_else(random, |credentials| Ok(credentials.hash_seed()))?,
        memory_limit: options.max_memory,
        random_seed: random()?,
        node: credentials.map(|credentials| credentials.identity.node()),
    });
    let addresses: Vec<String> = options.bind.iter().map(|bind| bind.address.to_string()).collect();
    let facts = ServerFacts {
        port: options.port,
        tls_port: options.tls.as_ref().map_or(0, |tls| tls.port),
        bind: addresses.join(" "),
        unix_socket: options.unix_socket.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        process: std::process::id(),
        executable: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("swytch")).display().to_string(),
        config_file: options.config_file.clone(),
        threads,
        resident_memory,
        stopwatch: Some(nanoseconds),
    };
    keyspace.set_event_classes(options.event_classes);
    keyspace.set_eviction_policy(options.eviction_policy);
    let state = ServerState {
        keyspace: Arc::new(keyspace),
        config: Config::new(
            options.password.clone(),
            usize::try_from(options.max_clients).unwrap_or(usize::MAX),
            options.timeout,
        ),
        users: Users::new(options.password.as_deref().map(str::as_bytes), options.users.clone()),
        channels: Arc::default(),
        persistence: Arc::new(Persistence::new(options.persistence.clone(), now)),
        stats: Arc::new(Stats::new(threads_for(threads), table().ids())),
        clients: ClientRegistry::default(),
        trackers: Arc::default(),
        scripting: Scripting::default(),
        supervision: Supervision::new(options.debug_access),
        cluster: None,
        tls: None,
        serving: AtomicBool::new(false),
        started: now,
        run_id: run_id()?,
        facts,
    };
    state.publish_events();
    Ok(state)
}

/// A random number from the operating system, to seed generators with.
fn random() -> io::Result<u64> {
    getrandom::u64().map_err(|error| io::Error::other(format!("the system gives no randomness: {error}")))
}

/// 40 hexadecimal digits.
fn run_id() -> io::Result<String> {
    let mut id = String::with_capacity(48);
    while id.len() < 40 {
        write!(id, "{:016x}", random()?).map_err(io::Error::other)?;
    }
    id.truncate(40);
    Ok(id)
}

/// Time for measuring commands.
fn nanoseconds() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn announce(options: &Options, state: &ServerState) {
    info!(
        version = env!("CARGO_PKG_VERSION"),
        mode = if options.cluster.is_some() { "cluster" } else { "single node" },
        bind = if options.client_port() == 0 { "" } else { &state.facts.bind },
        port = options.port,
        tls_port = state.facts.tls_port,
        unixsocket = state.facts.unix_socket,
        threads = state.facts.threads,
        maxmemory = options.max_memory,
        process = state.facts.process,
        "swytch accepts connections"
    );
}

/// What the metrics, the health check and the status look at.
struct Observed {
    state: Arc<ServerState>,
    clock: Arc<dyn Clock>,
}

impl observe::Subject for Observed {
    fn is_serving(&self) -> bool {
        self.state.is_serving()
    }

    fn metrics(&self) -> String {
        observe::render(&self.state)
    }

    fn status(&self) -> String {
        NodeStatus::of(&self.state, self.clock.wall()).json()
    }
}

/// The signals that ask the process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
