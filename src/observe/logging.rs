//! Logs: one line per event on standard error, for people or as JSON.
//!
//! As JSON, each line has `timestamp`, `level`, `message` and the event's own fields beside them.

use std::io::{self, IsTerminal};
use std::panic;

use tracing::error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// Starts logging for the whole process, panics included. An error says that it was started before.
pub fn start_logging(json: bool) -> Result<(), TryInitError> {
    // What the libraries below have to say is for operators only when it is at least a warning.
    let levels = Targets::new().with_target("swytch", LevelFilter::INFO).with_default(LevelFilter::WARN);
    let layer = fmt::layer().with_writer(io::stderr).with_target(false);
    if json {
        let layer = layer.json().flatten_event(true).with_current_span(false).with_span_list(false);
        tracing_subscriber::registry().with(levels).with(layer).try_init()?;
    } else {
        let layer = layer.with_ansi(io::stderr().is_terminal());
        tracing_subscriber::registry().with(levels).with(layer).try_init()?;
    }
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        error!(place, "internal error: {}", text.unwrap_or("no message"));
    }));
    Ok(())
}
