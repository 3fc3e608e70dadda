//! The swytch executable.

use std::io::Write;
use std::process::ExitCode;

use swytch::cli::{self, Invocation, StatusQuestion};
use swytch::observe;
use swytch::server::{self, LogFormat, Options};
use tracing::error;

/// Redis's allocator, too: far less fragmentation under a changing set of small values than the system's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os()) {
        Invocation::Serve(options) => serve(*options),
        Invocation::Print(text) => print(&text),
        Invocation::CheckHealth(address) => told(observe::check_health(address).map(|health| health + "\n")),
        Invocation::ShowStatus(question) => told(status(question)),
        Invocation::Mistake(text) => {
            // When standard error is closed, the exit status has to do.
            let _ = std::io::stderr().write_all(text.as_bytes());
            ExitCode::from(2)
        }
    }
}

/// Prints what there is to say, or in one line why there is nothing.
fn told(answer: Result<String, String>) -> ExitCode {
    match answer {
        Ok(text) => print(&text),
        Err(error) => {
            // When standard error is closed, the exit status has to do.
            let _ = writeln!(std::io::stderr(), "swytch: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn status(question: StatusQuestion) -> Result<String, String> {
    let (status, json) = observe::ask_status(question.address)?;
    Ok(if question.json { json + "\n" } else { observe::status_text(&status) })
}

fn serve(options: Options) -> ExitCode {
    observe::start_logging(options.log_format == LogFormat::Json).expect("started here, and only here");
    match server::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error}");
            ExitCode::FAILURE
        }
    }
}
