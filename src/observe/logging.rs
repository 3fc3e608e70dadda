//! Logs: one line per event on standard error, for people or as JSON.
//!
//! As JSON, each line has `timestamp`, `level`, `message` and the event's own fields beside them.

use std::io::{self, IsTerminal};
use std::panic;
use std::sync::OnceLock;

use tracing::error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// How much goes to the log, in Redis's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// The same.
    Verbose,
    /// What an operator wants to know.
    #[default]
    Notice,
    /// What an operator should look at.
    Warning,
}

impl LogLevel {
    /// The names, in the order of the levels.
    pub const NAMES: [&str; 4] = ["debug", "verbose", "notice", "warning"];

    /// The level whose name is at this place.
    pub fn from_place(place: usize) -> Option<LogLevel> {
        [LogLevel::Debug, LogLevel::Verbose, LogLevel::Notice, LogLevel::Warning].get(place).copied()
    }

    fn targets(self) -> Targets {
        let own = match self {
            LogLevel::Debug | LogLevel::Verbose => LevelFilter::DEBUG,
            LogLevel::Notice => LevelFilter::INFO,
            LogLevel::Warning => LevelFilter::WARN,
        };
        // What the libraries below have to say is for operators only when it is at least a warning.
        Targets::new().with_target("swytch", own).with_default(LevelFilter::WARN)
    }
}

/// The filter of the process, once logging has started.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Changes how much goes to the log from now on, if logging has started.
pub fn set_log_level(level: LogLevel) {
    if let Some(filter) = FILTER.get() {
        // It fails only when there is no log any more.
        let _ = filter.reload(level.targets());
    }
}

/// Starts logging for the whole process, panics included. An error says that it was started before.
pub fn start_logging(json: bool) -> Result<(), TryInitError> {
    let (levels, filter) = reload::Layer::new(LogLevel::default().targets());
    let layer = fmt::layer().with_writer(io::stderr).with_target(false);
    if json {
        let layer = layer.json().flatten_event(true).with_current_span(false).with_span_list(false);
        tracing_subscriber::registry().with(levels).with(layer).try_init()?;
    } else {
        let layer = layer.with_ansi(io::stderr().is_terminal());
        tracing_subscriber::registry().with(levels).with(layer).try_init()?;
    }
    // Logging starts once, as `try_init` has seen to.
    let _ = FILTER.set(filter);
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        error!(place, "internal error: {}", text.unwrap_or("no message"));
    }));
    Ok(())
}
