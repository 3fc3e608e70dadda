//! What an operator does to a running node, beside its parameters: who is to attend to what, pauses, who reads along, what was slow,
//! the wish that it ends.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use tokio::sync::watch;

use super::attention::{Attention, CLOSELY, TRACED};
use super::monitoring::Monitors;
use super::pausing::Pausing;
use crate::observe::{LatencyEvents, SlowLog};
use crate::trace::Tracer;

/// Who may use DEBUG.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DebugAccess {
    /// Nobody.
    #[default]
    No,
    /// Clients of this machine.
    Local,
    /// Everybody.
    Yes,
}

impl DebugAccess {
    /// As CONFIG GET shows it.
    pub fn name(self) -> &'static str {
        match self {
            DebugAccess::No => "no",
            DebugAccess::Local => "local",
            DebugAccess::Yes => "yes",
        }
    }
}

/// Below this threshold, in microseconds, every command is timed: what takes so little may be any of them.
const CLOSE_THRESHOLD: i64 = 1000;

/// Parameters of how commands are timed.
#[derive(Debug)]
pub struct Timing {
    /// `slowlog-log-slower-than`, in microseconds; negative: nothing is logged.
    slower_than: AtomicI64,
    /// `slowlog-max-len`.
    log_length: AtomicUsize,
    /// `latency-monitor-threshold`, in milliseconds; 0: nothing is noted.
    event_threshold: AtomicU64,
    /// `latency-tracking`.
    tracking: AtomicBool,
    /// `latency-tracking-info-percentiles`.
    percentiles: RwLock<Vec<f64>>,
    /// What something must take to be looked at, in nanoseconds: the lower of both thresholds.
    suspicious: AtomicU64,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            slower_than: AtomicI64::new(10_000),
            log_length: AtomicUsize::new(128),
            event_threshold: AtomicU64::new(0),
            tracking: AtomicBool::new(true),
            percentiles: RwLock::new(vec![50.0, 99.0, 99.9]),
            suspicious: AtomicU64::new(10_000_000),
        }
    }
}

impl Timing {
    /// Commands that take longer are logged; in microseconds, `None`: none is.
    pub fn slower_than(&self) -> Option<u64> {
        u64::try_from(self.slower_than.load(Relaxed)).ok()
    }

    /// The parameter itself.
    pub fn slower_than_parameter(&self) -> i64 {
        self.slower_than.load(Relaxed)
    }

    /// Entries of the slow log.
    pub fn log_length(&self) -> usize {
        self.log_length.load(Relaxed)
    }

    /// Events that take so long are noted; in milliseconds, `None`: none is.
    pub fn event_threshold(&self) -> Option<u64> {
        Some(self.event_threshold.load(Relaxed)).filter(|threshold| *threshold > 0)
    }

    /// Are histograms kept?
    pub fn tracking(&self) -> bool {
        self.tracking.load(Relaxed)
    }

    /// Which percentiles INFO shows.
    pub fn percentiles(&self) -> Vec<f64> {
        self.percentiles.read().clone()
    }

    /// From how many nanoseconds on somebody wants to know.
    pub fn suspicious(&self) -> u64 {
        self.suspicious.load(Relaxed)
    }

    fn refresh(&self, attention: &Attention) {
        let log = self.slower_than();
        let events = self.event_threshold().map(|milliseconds| milliseconds.saturating_mul(1000));
        let lowest = [log, events].into_iter().flatten().min();
        self.suspicious.store(lowest.map_or(u64::MAX, |lowest| lowest.saturating_mul(1000)), Relaxed);
        attention.set(CLOSELY, (0..CLOSE_THRESHOLD).contains(&self.slower_than.load(Relaxed)));
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Supervision {
    /// Why commands take more than their straight way.
    pub attention: Attention,
    /// CLIENT PAUSE.
    pub pausing: Pausing,
    /// MONITOR.
    pub monitors: Monitors,
    /// How commands are timed.
    pub timing: Timing,
    /// SLOWLOG.
    pub slow_log: SlowLog,
    /// LATENCY.
    pub latency: LatencyEvents,
    /// Are keys whose time is over looked for (DEBUG SET-ACTIVE-EXPIRE)?
    pub active_expire: AtomicBool,
    /// Who may use DEBUG.
    pub debug_access: DebugAccess,
    /// So many of the server threads take clients at the moment; 0: all of them.
    pub serving_threads: AtomicUsize,
    /// Who gets the spans of sampled commands.
    tracer: OnceLock<Arc<Tracer>>,
    ending: watch::Sender<bool>,
}

impl Supervision {
    /// Of a node that has just been started.
    pub fn new(debug_access: DebugAccess) -> Supervision {
        Supervision {
            attention: Attention::default(),
            pausing: Pausing::default(),
            monitors: Monitors::default(),
            timing: Timing::default(),
            slow_log: SlowLog::default(),
            latency: LatencyEvents::default(),
            active_expire: AtomicBool::new(true),
            debug_access,
            serving_threads: AtomicUsize::new(0),
            tracer: OnceLock::new(),
            ending: watch::Sender::new(false),
        }
    }

    /// From now on some commands are traced. To be said once.
    pub fn trace_with(&self, tracer: Arc<Tracer>) {
        self.tracer.get_or_init(|| tracer);
        self.attention.set(TRACED, true);
    }

    /// Who gets the spans of sampled commands, if there is somebody.
    pub fn tracer(&self) -> Option<&Tracer> {
        self.tracer.get().map(|tracer| &**tracer)
    }

    /// Asks for the process to end.
    pub fn end(&self) {
        self.ending.send_replace(true);
    }

    /// Is the process to end?
    pub fn is_ending(&self) -> bool {
        *self.ending.borrow()
    }

    /// Turns true when the process is to end.
    pub fn ending(&self) -> watch::Receiver<bool> {
        self.ending.subscribe()
    }

    /// Changes `slowlog-log-slower-than`.
    pub fn set_slower_than(&self, microseconds: i64) {
        self.timing.slower_than.store(microseconds, Relaxed);
        self.timing.refresh(&self.attention);
    }

    /// Changes `slowlog-max-len`.
    pub fn set_log_length(&self, length: usize) {
        self.timing.log_length.store(length, Relaxed);
    }

    /// Changes `latency-monitor-threshold`.
    pub fn set_event_threshold(&self, milliseconds: u64) {
        self.timing.event_threshold.store(milliseconds, Relaxed);
        self.timing.refresh(&self.attention);
    }

    /// Changes `latency-tracking`.
    pub fn set_tracking(&self, tracking: bool) {
        self.timing.tracking.store(tracking, Relaxed);
    }

    /// Changes `latency-tracking-info-percentiles`.
    pub fn set_percentiles(&self, percentiles: Vec<f64>) {
        *self.timing.percentiles.write() = percentiles;
    }
}

impl Default for Supervision {
    fn default() -> Supervision {
        Supervision::new(DebugAccess::No)
    }
}
