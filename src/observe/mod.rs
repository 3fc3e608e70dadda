//! What operators and clients can see of a running node: counters, metrics, health, logs.
//!
//! Architecture invariant: nothing here changes a node, and a slow or hostile reader of metrics costs its clients nothing.

mod health;
mod health_check;
mod latency_events;
mod latency_histogram;
mod logging;
mod metrics;
pub mod process;
mod slow_log;
pub mod stats;

pub use health::{Subject, serve_http};
pub use health_check::check_health;
pub use latency_events::{LatencyEvents, SAMPLES, Sample, Series, Summary};
pub use latency_histogram::LatencyHistogram;
pub use logging::{LogLevel, set_log_level, start_logging};
pub use metrics::render;
pub use slow_log::{SlowCommand, SlowEntry, SlowLog};
pub use stats::{Stats, ThreadStats};
