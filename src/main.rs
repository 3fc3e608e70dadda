//! The swytch executable.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use swytch::cli::{self, Invocation, StatusQuestion};
use swytch::observe;
use swytch::server::{self, LogFormat, Options};
use tracing::error;

/// Redis's allocator, too: far less fragmentation under a changing set of small values than the system's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// `swytch status --watch` asks this often.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// What terminals obey (ECMA-48): clear all, go to the upper left, clear the rest of the line, clear everything below.
const CLEAR_ALL: &str = "\x1b[2J";
const UPPER_LEFT: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

fn main() -> ExitCode {
    match cli::parse(std::env::args_os()) {
        Invocation::Serve(options) => serve(*options),
        Invocation::Print(text) => print(&text),
        Invocation::CheckHealth(address) => told(observe::check_health(address).map(|health| health + "\n")),
        Invocation::ShowStatus(question) if question.watch => watch(question),
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

/// Prints the status anew each second, in the place of the one before. Who watches may see the node end and come back; only
/// when nobody answers at first, there is nothing to watch.
fn watch(question: StatusQuestion) -> ExitCode {
    let mut answer = status(question);
    if answer.is_err() {
        return told(answer);
    }
    let mut start = CLEAR_ALL;
    loop {
        let text = answer.unwrap_or_else(|error| format!("swytch: {error}\n"));
        let page = format!("{start}{UPPER_LEFT}{}{CLEAR_BELOW}", text.replace('\n', &format!("{CLEAR_LINE}\n")));
        let mut out = std::io::stdout();
        if out.write_all(page.as_bytes()).and_then(|()| out.flush()).is_err() {
            return ExitCode::FAILURE;
        }
        start = "";
        std::thread::sleep(WATCH_INTERVAL);
        answer = status(question);
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
