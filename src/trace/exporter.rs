//! The thread that brings spans to the collector, in batches, and bears with one that is down.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tracing::{info, warn};

use super::endpoint::{Endpoint, NotTaken};
use super::{Tracer, otlp};

/// Spans wait this long for company.
const INTERVAL: Duration = Duration::from_secs(1);
/// After a failure the next attempt comes after this long, then after twice as long, and so on.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// But never after longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Who this node is to the collector: attributes that each of its spans has, by OpenTelemetry's names.
#[derive(Clone, Debug, Default)]
pub struct Resource(pub Vec<(&'static str, String)>);

/// Starts the thread. It ends after [`Tracer::close`].
///
/// # Errors
/// When the system has no thread left.
pub fn start_exporter(tracer: Arc<Tracer>, endpoint: Endpoint, resource: Resource) -> io::Result<()> {
    let work = move || {
        export(&tracer, &endpoint, &resource);
        tracer.ended();
    };
    thread::Builder::new().name("traces".to_owned()).spawn(work).map(drop)
}

fn export(tracer: &Tracer, endpoint: &Endpoint, resource: &Resource) {
    let (mut pause, mut failing) = (FIRST_PAUSE, false);
    while let Some(spans) = tracer.take(INTERVAL) {
        if spans.is_empty() {
            continue;
        }
        let count = spans.len();
        let outcome = endpoint.post(&otlp::request(&resource.0, &spans));
        match &outcome {
            Ok(()) => {
                tracer.count_exported(count);
                pause = FIRST_PAUSE;
                if std::mem::take(&mut failing) {
                    info!("the collector of traces takes spans again");
                }
                continue;
            }
            Err(NotTaken::Now(error) | NotTaken::Ever(error)) => {
                if !std::mem::replace(&mut failing, true) {
                    let url = endpoint.url();
                    warn!(
                        url,
                        error,
                        "the collector of traces does not take spans; some are dropped and counted until it does"
                    );
                }
            }
        }
        if tracer.is_closing() {
            // There is no later.
            tracer.drop_spans(count);
            return;
        }
        match outcome {
            Err(NotTaken::Now(_)) => tracer.put_back(spans),
            _ => tracer.drop_spans(count),
        }
        tracer.pause(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
