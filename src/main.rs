//! The swytch executable.

use std::io::Write;
use std::process::ExitCode;

use swytch::cli::{self, Invocation};
use swytch::observe;
use swytch::server::{self, LogFormat, Options};
use tracing::error;

/// Redis's allocator, too: far less fragmentation under a changing set of small values than the system's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os()) {
        Invocation::Serve(options) => serve(*options),
        Invocation::Print(text) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Invocation::CheckHealth(address) => match observe::check_health(address) {
            Ok(health) => {
                println!("{health}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("swytch: {error}");
                ExitCode::FAILURE
            }
        },
        Invocation::Mistake(text) => {
            // When standard error is closed, the exit status has to do.
            let _ = std::io::stderr().write_all(text.as_bytes());
            ExitCode::from(2)
        }
    }
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
