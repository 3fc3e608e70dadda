//! What operators and clients can see of a running node: counters, metrics, health, logs.
//!
//! Architecture invariant: nothing here changes a node, and a slow or hostile reader of metrics costs its clients nothing.

mod health;
mod latency_events;
mod latency_histogram;
mod logging;
mod metrics;
mod page;
pub mod process;
mod question;
mod slow_log;
pub mod stats;
mod status;
mod status_text;

pub use health::{Subject, serve_http};
pub use latency_events::{LatencyEvents, SAMPLES, Sample, Series, Summary};
pub use latency_histogram::LatencyHistogram;
pub use logging::{LogLevel, set_log_level, start_logging};
pub use metrics::render;
pub use question::{ask_status, check_health};
pub use slow_log::{SlowCommand, SlowEntry, SlowLog};
pub use stats::{Stats, ThreadStats};
pub use status::{ClientStatus, ClusterStatus, MemberStatus, MemoryStatus, NodeStatus};
pub use status_text::status_text;
