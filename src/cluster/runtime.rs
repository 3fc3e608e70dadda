//! The loop that owns the replication core: feeds it what happens, and carries out what it asks for.
//!
//! Everything runs on one thread, and the loop alone touches the core, the connections' queues and the keyspace's merge
//! side. Tasks that read, dial or look up names report to it through one bounded channel. Local commits only wake it;
//! before each input it collects them, so that the core hears of a local effect before it applies anything later.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::spawn_local;

use super::discovery::{Discovery, Step};
use super::event::{Event, LinkEvent, LinkId};
use super::import::Import;
use super::inheritance::Heritage;
use super::leaving::Leaving;
use super::mesh::{Change, Lead, Mesh};
use super::options::Tune;
use super::rebase::OwnPast;
use super::start::random_bytes;
use super::traces::Traces;
use super::upkeep::{Folding, Reports};
use super::{
    Clock, ClusterError, ClusterSecret, ClusterTask, Identity, Net, Resolver, Transport, TransportOptions, address,
    discover, members,
};
use crate::effects::{Frontier, NodeId, Reissue};
use crate::keyspace::Keyspace;
use crate::pubsub::Channels;
use crate::replication::{Core, CoreOptions, Frame, Input, Member, Now, Output, Remains, Stream};

/// Events that may wait for the loop. Those of links are bounded in bytes as well.
const EVENTS: usize = 1024;

/// The most events that are handled before everybody else on this thread has a turn.
const EVENTS_PER_TURN: usize = 256;

/// What stays the same when a node gives up one identity for the next.
pub(super) struct Settings {
    pub secret: ClusterSecret,
    pub also_accepted: Vec<ClusterSecret>,
    pub bind: SocketAddr,
    pub join: Option<String>,
    pub join_port: u16,
    pub idle_timeout: Duration,
    pub keep_alive: Duration,
    pub tune: Tune,
}

/// A node of a cluster, bound and ready to run.
pub struct ClusterLoop {
    pub(super) settings: Settings,
    pub(super) keyspace: Arc<Keyspace>,
    pub(super) channels: Arc<Channels>,
    pub(super) net: Arc<dyn Net>,
    pub(super) clock: Arc<dyn Clock>,
    resolver: Arc<dyn Resolver>,
    pub(super) random: fastrand::Rng,
    commits: Arc<Notify>,
    requests: mpsc::Receiver<oneshot::Sender<()>>,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) event_sender: mpsc::Sender<Event>,
    pub(super) serving: watch::Sender<bool>,
    pub(super) reports: Reports,
    pub(super) member: Member,
    pub(super) node: NodeId,
    pub(super) core: Core,
    pub(super) mesh: Mesh,
    pub(super) discovery: Discovery,
    pub(super) import: Import,
    pub(super) folding: Folding,
    pub(super) own_past: OwnPast,
    /// What identities given up left to be made again.
    pub(super) remains: Remains,
    /// None of that is here: what is, was forgotten when another node had it.
    pub(super) remains_are_settled: bool,
    /// Makes effects again under the current identity.
    pub(super) reissue: Reissue,
    /// The data of the identity before, for as long as it is untouched.
    pub(super) heritage: Option<Heritage>,
    pub(super) unserved_since: Option<Duration>,
    /// What clients of the identities before may have seen, and until when the next one lets clients wait for it.
    pub(super) shown: Frontier,
    pub(super) opens_at: Option<Duration>,
    /// This identity is about to be given up: clients wait.
    pub(super) is_about_to_part: bool,
    pub(super) leaving: Option<Leaving>,
    /// Traces of sampled writes, when somebody collects them.
    pub(super) traces: Option<Traces>,
    /// The core wants another identity; it does nothing more itself.
    pub(super) rebase: Option<&'static str>,
    pub(super) inputs: VecDeque<Input>,
    outputs: Vec<Output>,
    pub(super) members_changed: bool,
    /// The keyspace holds data that the core knows nothing of: of the identity before, or of half a snapshot.
    pub(super) is_stale: bool,
    tick_interval: Duration,
    next_tick: Duration,
}

impl ClusterLoop {
    pub(super) async fn bind(task: ClusterTask) -> Result<ClusterLoop, ClusterError> {
        let ClusterTask { options, keyspace, net, clock, resolver, seed, report, serving, requests, commits } = task;
        let mut settings = Settings {
            secret: options.secret,
            also_accepted: options.also_accepted,
            bind: options.bind,
            join: options.join,
            join_port: options.join_port,
            idle_timeout: options.idle_timeout,
            keep_alive: options.keep_alive,
            tune: options.tune,
        };
        let node = options.identity.node();
        let transport = bind_transport(&settings, &*net, clock.clone(), options.identity)?;
        let bound = transport.local_address().unwrap_or(settings.bind);
        // Another identity of this node comes back to the same port.
        settings.bind.set_port(bound.port());
        let address = match options.advertise {
            Some(address) => address,
            None => address::advertised(bound, first_address(&settings, bound, &*resolver).await).to_string(),
        };
        let name = if options.name.is_empty() { address.clone() } else { options.name };
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let (client_port, started) = (options.client_port, clock.wall());
        let member = Member { name, address, client_port, version, started, ..Member::default() };
        let (event_sender, events) = mpsc::channel(EVENTS);
        let mut random = fastrand::Rng::with_seed(seed);
        let traces = options.tracer.map(|tracer| Traces::new(tracer, random.fork()));
        let now = clock.monotonic();
        let (core, tick_interval) = new_core(&settings, node, member.clone(), &Remains::default(), &*clock);
        let mut cluster = ClusterLoop {
            mesh: Mesh::start(transport, 0, event_sender.clone()),
            settings,
            keyspace,
            channels: options.channels,
            net,
            clock,
            resolver,
            random,
            commits,
            requests,
            events,
            event_sender,
            serving,
            reports: Reports::new(report),
            member,
            node,
            core,
            discovery: Discovery::default(),
            import: Import::default(),
            folding: Folding::default(),
            own_past: OwnPast::default(),
            remains: Remains::default(),
            remains_are_settled: true,
            reissue: Reissue::new(node),
            heritage: None,
            unserved_since: None,
            shown: Frontier::EMPTY,
            opens_at: None,
            is_about_to_part: false,
            leaving: None,
            traces,
            rebase: None,
            inputs: VecDeque::new(),
            outputs: Vec::new(),
            members_changed: false,
            is_stale: false,
            tick_interval,
            next_tick: now,
        };
        cluster.search(now);
        Ok(cluster)
    }

    /// The address that was bound.
    pub fn local_address(&self) -> SocketAddr {
        self.mesh.local_address().unwrap_or(self.settings.bind)
    }

    /// Works until the node has left the cluster.
    pub async fn run(mut self) {
        tracing::info!(node = %self.node, name = %self.member.name, address = %self.member.address, "cluster node started");
        loop {
            let event = self.wait().await;
            let mut handled = 0;
            let mut next = event;
            while let Some(event) = next {
                self.handle(event);
                handled += 1;
                next = if handled < EVENTS_PER_TURN { self.events.try_recv().ok() } else { None };
            }
            self.collect_local_effects(false);
            self.process_inputs();
            self.send_messages();
            self.keep_time();
            if let Some(reason) = self.rebase.take()
                && let Err(error) = self.give_up_identity(reason).await
            {
                // Not serving, the node fails its health check and is restarted.
                return tracing::error!(%error, "the cluster node stops");
            }
            if self.has_left() {
                return self.say_goodbye().await;
            }
            // The tasks that write what this turn queued run on this thread, too.
            tokio::task::yield_now().await;
        }
    }

    /// Waits until something happens or is due.
    async fn wait(&mut self) -> Option<Event> {
        let pause = if self.folding.is_pending() {
            Duration::ZERO
        } else {
            self.next_due().saturating_sub(self.clock.monotonic())
        };
        tokio::select! {
            biased;
            Some(done) = self.requests.recv() => {
                self.begin_to_leave(done);
                None
            }
            event = self.events.recv() => event,
            () = self.commits.notified() => None,
            () = tokio::time::sleep(pause), if !pause.is_zero() => None,
            () = std::future::ready(()), if pause.is_zero() => None,
        }
    }

    fn next_due(&self) -> Duration {
        let others = [self.mesh.next_due(), self.discovery.next_due(), self.reports.next_due(), self.leaving_due()];
        others.into_iter().flatten().fold(self.next_tick, Duration::min)
    }

    /// Does what is due by the clock.
    fn keep_time(&mut self) {
        let now = self.clock.monotonic();
        if self.next_tick <= now {
            self.next_tick = now + self.tick_interval;
            self.step(Input::Metadata { bytes: self.keyspace.metadata() });
            self.step(Input::Tick);
            self.consider_opening(now);
        }
        match self.discovery.advance(now, self.mesh.outlook()) {
            Step::Rest => {}
            Step::Ask => self.ask_for_peers(),
            Step::NobodyFound => self.nobody_found(),
        }
        self.consider_inheritance(now);
        self.mesh.dial(now);
        self.folding.advance(&self.keyspace);
        self.renew_certificate(now);
        self.advance_leaving(now);
        self.publish();
    }

    pub(super) fn now(&self) -> Now {
        let monotonic = u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX);
        Now { monotonic, wall: self.clock.wall() }
    }

    fn handle(&mut self, event: Event) {
        let now = self.clock.monotonic();
        match event {
            // The share of the budget ends with this arm: the peer may send more.
            Event::Link { link, event, budget: _budget } => self.handle_link(link, event),
            Event::Dialed { address, outcome } => {
                let changes = self.mesh.dialed(address, outcome, now, &mut self.random);
                self.tell(changes);
            }
            Event::Accepted { outcome } => {
                let changes = self.mesh.accepted(outcome, now);
                self.tell(changes);
            }
            Event::Resolved { found } => self.resolved(found),
            Event::Located { found } => found.into_iter().for_each(|address| self.mesh.want(address, now)),
        }
    }

    fn handle_link(&mut self, link: LinkId, event: LinkEvent) {
        // What a link said that was replaced meanwhile does not count.
        let Some(peer) = self.mesh.peer(link) else { return };
        match event {
            LinkEvent::Frame(frame) => {
                self.reports.urgent |= matches!(frame, Frame::Ack { .. } | Frame::Gossip { .. });
                self.trace_frame(peer, &frame);
                self.step(Input::Received { peer, frame });
            }
            LinkEvent::Traces(effects) => self.expect_traces(peer, effects),
            LinkEvent::Messages(messages) => self.receive_messages(messages),
            LinkEvent::Snapshot { stream, part } => self.take_snapshot_part(peer, link, stream, part),
            LinkEvent::SnapshotBroken { stream } => self.snapshot_broke(peer, link, stream),
            LinkEvent::SnapshotEnding { begin, answer } => {
                let ending = self.end_snapshot(&begin);
                if ending.is_none() {
                    tracing::warn!(%peer, "snapshot abandoned: the log was full before it was sent");
                }
                // Who asked may be gone with its link.
                let _ = answer.send(ending);
            }
            LinkEvent::SnapshotSent { bytes, elapsed } => {
                tracing::info!(%peer, bytes, millis = elapsed.as_millis() as u64, "snapshot sent");
            }
            LinkEvent::Violation(reason) => {
                self.reports.violations += 1;
                self.lose(peer, &format!("protocol violation: {reason}"));
            }
            LinkEvent::Closed(reason) => self.lose(peer, &reason),
        }
    }

    /// Tells the core who came and who went.
    fn tell(&mut self, changes: Vec<Change>) {
        for change in changes {
            if let Change::Disconnected(peer) = change {
                self.trace_lost(peer);
            }
            self.step(match change {
                Change::Connected(peer) => Input::Connected { peer },
                Change::Disconnected(peer) => Input::Disconnected { peer },
            });
        }
    }

    /// Ends the connection to a peer, if there is one.
    pub(super) fn lose(&mut self, peer: NodeId, reason: &str) {
        if self.mesh.lose(peer, reason, self.clock.monotonic(), &mut self.random) {
            self.import_lost(peer);
            self.trace_lost(peer);
            self.step(Input::Disconnected { peer });
        }
    }

    /// Hands the core an input, after everything that was committed here before.
    pub(super) fn step(&mut self, input: Input) {
        self.collect_local_effects(matches!(input, Input::Tick));
        self.inputs.push_back(input);
        self.process_inputs();
    }

    /// Queues local effects for the core; an empty list only when `always`.
    pub(super) fn collect_local_effects(&mut self, always: bool) {
        let effects = self.keyspace.drain_effects();
        let (effects, late): (Vec<_>, Vec<_>) = effects.into_iter().partition(|effect| effect.dot.node == self.node);
        self.keep_late_effects(late);
        if !effects.is_empty() {
            self.tell_traces();
        }
        if !effects.is_empty() || always {
            self.inputs.push_back(Input::LocalEffects(effects));
        }
    }

    pub(super) fn process_inputs(&mut self) {
        while self.rebase.is_none()
            && let Some(input) = self.inputs.pop_front()
        {
            if let Input::LocalEffects(effects) = &input {
                for effect in effects {
                    self.own_past.follow(effect);
                }
            }
            let mut outputs = std::mem::take(&mut self.outputs);
            self.core.step(self.now(), input, &mut outputs);
            self.outputs = self.carry_out_all(outputs);
        }
        self.traces_handed_over();
    }

    /// Carries out what one or more steps of the core ask for. Returns the empty list, to be used again.
    pub(super) fn carry_out_all(&mut self, mut outputs: Vec<Output>) -> Vec<Output> {
        for output in outputs.drain(..) {
            self.carry_out(output);
        }
        if std::mem::take(&mut self.members_changed) {
            // First what changed them, if it was done here, then how they are now, then everything else.
            let waiting = std::mem::take(&mut self.inputs);
            let is_made_here = |input: &Input| matches!(input, Input::LocalEffects(_) | Input::MadeAgain(_));
            let (made, waiting): (VecDeque<_>, VecDeque<_>) = waiting.into_iter().partition(is_made_here);
            self.inputs = made;
            self.collect_local_effects(false);
            let members = self.read_members();
            self.inputs.push_back(Input::Members(members));
            self.inputs.extend(waiting);
        }
        outputs
    }

    fn carry_out(&mut self, output: Output) {
        let wall = self.clock.wall();
        match output {
            Output::Send { peer, frame } => self.send(peer, &frame),
            Output::Apply { effect, seen } => {
                self.drop_stale_data();
                self.keyspace.apply(&effect, &seen, wall);
                self.trace_applied(effect.dot);
                // A clock that is ahead of this one makes no time negative.
                self.reports.delays.add(wall.saturating_sub(effect.stamp().millis()));
                self.members_changed |= members::touches_members(&effect);
            }
            Output::TakeOver { beyond, .. } => {
                // It is done already: see `import`.
                tracing::info!(
                    effects = beyond.len(),
                    "the data of a peer is taken over, with what only this node has"
                );
                self.folding.cancel();
                self.members_changed = true;
            }
            Output::ApplyTogether { effects, .. } => {
                // It is done already: see `import`.
                tracing::info!(effects = effects.len(), "what a peer has handed over is applied");
                self.members_changed = true;
            }
            Output::HandOver { peer, header, effects } => self.hand_over(peer, header, effects),
            Output::Fold(stable) => self.folding.begin(stable),
            Output::SendSnapshot { peer, header } => self.send_snapshot(peer, header),
            Output::CatchUpComplete => self.keyspace.end_catch_up(),
            Output::Serving { again } => self.begin_to_serve(&again),
            Output::Part => self.part(),
            Output::Stay => self.stay(),
            Output::MakeAgain(again) => self.make_again(&[again]),
            Output::Forgo(origin) => self.remains.forgo(origin),
            Output::Heartbeat(_) if self.leaving.is_some() => {}
            Output::Heartbeat(member) => {
                members::write(&self.keyspace, wall, self.node, &member);
                self.members_changed = true;
            }
            Output::Admit { node, member } => {
                tracing::info!(%node, name = %member.name, address = %member.address, "node joins");
                members::write(&self.keyspace, wall, node, &member);
                self.members_changed = true;
            }
            Output::RemoveMember(node) => {
                if members::remove(&self.keyspace, wall, node) {
                    tracing::warn!(%node, "member expired");
                    self.members_changed = true;
                }
            }
            Output::Connect { node, address } => self.connect(node, address),
            Output::Disconnect { peer, reason } => {
                if self.mesh.lose(peer, reason, self.clock.monotonic(), &mut self.random) {
                    self.trace_lost(peer);
                    self.inputs.push_back(Input::Disconnected { peer });
                }
            }
            Output::Dial { address } => self.dial_named(address),
            Output::LookUp => self.ask_for_peers(),
            Output::Discover => self.search(self.clock.monotonic()),
            Output::Rebase { reason } => self.rebase = Some(reason),
            Output::Warn(message) => tracing::warn!("{message}"),
        }
    }

    fn send(&mut self, peer: NodeId, frame: &Frame) {
        if let Frame::SnapshotRequest { attempt } | Frame::HandoverRequest { attempt, .. } = frame {
            self.import.expect(peer, *attempt);
        }
        let Some(link) = self.mesh.link(peer) else { return };
        if link.send(frame) || self.is_parting() {
            return;
        }
        match frame.stream() {
            // Repaired when the peer keeps up again.
            Stream::Effects => self.reports.dropped_frames += 1,
            Stream::Control => {
                let reason = "it does not read what it is sent";
                if self.mesh.lose(peer, reason, self.clock.monotonic(), &mut self.random) {
                    self.trace_lost(peer);
                    self.inputs.push_back(Input::Disconnected { peer });
                }
            }
        }
    }

    fn connect(&mut self, node: NodeId, address: String) {
        self.mesh.doubt(node, self.clock.monotonic());
        match address.parse() {
            Ok(address) => self.mesh.want(address, self.clock.monotonic()),
            Err(_) => {
                // Advertised by name. Where that name leads may change, so it is looked up each time.
                let (resolver, events) = (self.resolver.clone(), self.event_sender.clone());
                let port = self.settings.join_port;
                spawn_local(async move {
                    // Nothing found is nothing to dial; the core keeps wishing.
                    let found = discover(&*resolver, &address, port).await.unwrap_or_default();
                    // The loop is gone only when the whole node stops.
                    let _ = events.send(Event::Located { found }).await;
                });
            }
        }
    }

    /// A core for the current identity.
    pub(super) fn new_core(&self) -> Core {
        new_core(&self.settings, self.node, self.member.clone(), &self.remains, &*self.clock).0
    }

    /// Begins to look for peers, or finds at once that nobody was named.
    fn search(&mut self, now: Duration) {
        if self.settings.join.is_some() || self.heritage.is_some() {
            self.discovery.start(now);
        } else {
            // Not now: the core may be in the middle of a step.
            self.inputs.push_back(Input::NobodyFound);
        }
    }

    /// Looks up the name to join, and during a rebase also the peers of before.
    fn ask_for_peers(&mut self) {
        if self.settings.join.is_none() && self.heritage.is_none() {
            return;
        }
        let (resolver, events, port) = (self.resolver.clone(), self.event_sender.clone(), self.settings.join_port);
        let names: Vec<String> = self.settings.join.iter().cloned().chain(self.former_peers()).collect();
        spawn_local(async move {
            let mut found = Vec::new();
            for name in names {
                match discover(&*resolver, &name, port).await {
                    Ok(addresses) => found.extend(addresses),
                    Err(error) => tracing::debug!(name, %error, "no addresses of peers"),
                }
            }
            // The loop is gone only when the whole node stops.
            let _ = events.send(Event::Resolved { found }).await;
        });
    }

    fn resolved(&mut self, addresses: Vec<SocketAddr>) {
        let (now, bound) = (self.clock.monotonic(), self.local_address());
        let has_answer = !addresses.is_empty();
        let is_own = |found: &SocketAddr| found.to_string() == self.member.address || address::is_own(*found, bound);
        let peers: Vec<SocketAddr> = addresses.into_iter().filter(|found| !is_own(found)).collect();
        for address in &peers {
            self.mesh.want(*address, now);
        }
        self.mesh.dial(now);
        self.discovery.answered(now, peers.len());
        if has_answer {
            // Those of the other family answer nobody who is bound to this one.
            let answering = peers.iter().filter(|found| bound.is_ipv6() || found.is_ipv4());
            self.step(Input::Named(answering.map(SocketAddr::to_string).collect()));
        }
    }

    /// Dials an address that DNS names, or tells the core where it leads.
    fn dial_named(&mut self, address: String) {
        let Ok(target) = address.parse() else { return };
        match self.mesh.lead(target) {
            Some(Lead::Peer(peer)) => self.inputs.push_back(Input::Reached { address, peer: Some(peer) }),
            Some(Lead::Nowhere) => self.inputs.push_back(Input::Reached { address, peer: None }),
            None => self.mesh.want(target, self.clock.monotonic()),
        }
    }
}

/// A core for one identity, and how often it wants to be told the time.
fn new_core(
    settings: &Settings,
    node: NodeId,
    member: Member,
    remains: &Remains,
    clock: &dyn Clock,
) -> (Core, Duration) {
    let mut options = CoreOptions::new(node, member);
    (options.legacy, options.holders, options.absent) = (remains.legacy(), remains.holders(), remains.absent());
    (settings.tune)(&mut options);
    let tick_interval = Duration::from_millis(options.tick_interval);
    let monotonic = u64::try_from(clock.monotonic().as_millis()).unwrap_or(u64::MAX);
    (Core::new(options, Now { monotonic, wall: clock.wall() }), tick_interval)
}

/// The transport of one identity.
pub(super) fn bind_transport(
    settings: &Settings,
    net: &dyn Net,
    clock: Arc<dyn Clock>,
    identity: Identity,
) -> Result<Transport, ClusterError> {
    let mut options = TransportOptions::new(settings.bind, random_bytes(net)?);
    options.idle_timeout = settings.idle_timeout;
    options.keep_alive = settings.keep_alive;
    Ok(Transport::bind(net, clock, identity, options)?)
}

/// An address behind the name to join, for finding out from where this machine reaches it.
async fn first_address(settings: &Settings, bound: SocketAddr, resolver: &dyn Resolver) -> Option<SocketAddr> {
    let name = settings.join.as_deref().filter(|_| bound.ip().is_unspecified())?;
    discover(resolver, name, settings.join_port).await.ok()?.first().copied()
}
