//! What operators and clients can see of a running node: counters, metrics, health, logs.
//!
//! Architecture invariant: nothing here changes a node, and a slow or hostile reader of metrics costs its clients nothing.

mod health;
mod logging;
mod metrics;
pub mod stats;

pub use health::{Subject, serve_http};
pub use logging::{LogLevel, set_log_level, start_logging};
pub use metrics::render;
pub use stats::{Stats, ThreadStats};
