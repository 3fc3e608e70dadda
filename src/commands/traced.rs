//! Commands that are sampled for tracing: the root of a trace, and the mark on whatever the command commits.
//!
//! Off, this costs a command one bit of a word that it reads anyhow.

use super::attention::TRACED;
use super::spec::Flags;
use super::table::Entry;
use super::{Context, ServerState, Session};
use crate::effects::{TraceContext, TraceScope, current_trace};
use crate::trace::{Span, SpanKind, Tracer, Value};

/// A sampled command that runs. What its thread commits until this is dropped belongs to its trace.
pub(super) struct Traced<'s> {
    tracer: &'s Tracer,
    context: TraceContext,
    begun: u64,
    written_before: u64,
    _scope: TraceScope,
}

/// Begins to trace the command that is about to run, if it is sampled. What runs within another is part of that.
#[inline]
pub(super) fn begin<'s>(context: &mut Context<'s>) -> Option<Traced<'s>> {
    let state = context.state;
    if state.supervision.attention.get() & TRACED == 0 {
        return None;
    }
    sample(state, context.session, context.entry)
}

#[cold]
fn sample<'s>(state: &'s ServerState, session: &mut Session, entry: &Entry) -> Option<Traced<'s>> {
    let tracer = state.supervision.tracer()?;
    // Readers along and waiters are no work of the server.
    if current_trace().is_some() || entry.command.flags.has(Flags::SKIP_MONITOR) {
        return None;
    }
    let context = tracer.sample(&mut session.random)?;
    Some(Traced {
        tracer,
        context,
        begun: tracer.now(),
        written_before: session.last_written,
        _scope: TraceScope::enter(context),
    })
}

impl Traced<'_> {
    /// The command has run: its span is complete. It tells the command and the database, and of keys and values nothing.
    pub(super) fn end(self, session: &Session, entry: &Entry, failed: bool) {
        let mut attributes = vec![
            ("db.system.name", Value::Text("redis".to_owned())),
            ("db.operation.name", Value::Text(entry.full_name.to_uppercase())),
            ("db.namespace", Value::Text(session.database.to_string())),
        ];
        if session.last_written != self.written_before {
            let seq = i64::try_from(session.last_written).unwrap_or(i64::MAX);
            attributes.push(("swytch.effect.seq", Value::Number(seq)));
        }
        self.tracer.finish(Span {
            name: "command",
            kind: SpanKind::Server,
            context: self.context,
            parent: None,
            begun: self.begun,
            ended: self.tracer.now(),
            failed,
            attributes,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::commands::testing::Fixture;
    use crate::trace::testing::Collector;
    use crate::trace::{Endpoint, Resource, start_exporter};

    /// A node of a cluster that samples everything, and who gets the spans.
    fn traced() -> (Fixture, Collector) {
        let (fixture, collector) = (Fixture::in_a_cluster(), Collector::start());
        let tracer = Arc::new(Tracer::new(1.0));
        let endpoint = Endpoint::parse(&collector.url()).expect("a URL");
        start_exporter(Arc::clone(&tracer), endpoint, Resource::default()).expect("a thread");
        fixture.state.supervision.trace_with(tracer);
        (fixture, collector)
    }

    #[test]
    fn a_sampled_command_is_a_root_that_says_nothing_about_the_data() {
        let (mut fixture, collector) = traced();
        fixture.run("SET secret-key secret-value");
        fixture.run("GET secret-key");
        fixture.run("CONFIG GET port");
        fixture.run("INCR secret-key");
        let spans = collector.wait_for(|spans| spans.len() == 4);
        let shown = format!("{spans:?}");
        assert!(!shown.contains("secret"), "{shown}");
        let names = ["SET", "GET", "CONFIG|GET", "INCR"];
        for (span, name) in spans.iter().zip(names) {
            assert!(format!("{span:?}").contains(&format!("{name:?}")), "{name}: {span:?}");
            assert!(span.parent_span_id.is_empty() && span.end_time_unix_nano >= span.start_time_unix_nano);
            assert_eq!(span.status.is_some(), name == "INCR", "{span:?}");
        }
        let traced = fixture.state.keyspace.drain_traced();
        assert_eq!(traced.len(), 1, "SET alone has written");
        assert_eq!(traced[0].context.trace.to_be_bytes()[..], spans[0].trace_id);
        assert_eq!(traced[0].context.span.to_be_bytes()[..], spans[0].span_id);
    }

    #[test]
    fn a_transaction_and_a_script_are_one_command_each() {
        let (mut fixture, collector) = traced();
        fixture.run("MULTI");
        fixture.run("SET a 1");
        fixture.run("SET b 1");
        fixture.run("EXEC");
        let spans = collector.wait_for(|spans| spans.len() == 2);
        assert!(format!("{:?}", spans[1]).contains("EXEC"), "{spans:?}");
        let traced = fixture.state.keyspace.drain_traced();
        assert_eq!(traced.len(), 1);
        assert_eq!(traced[0].context.trace.to_be_bytes()[..], spans[1].trace_id);
    }

    #[test]
    fn without_a_collector_nothing_is_traced() {
        let mut fixture = Fixture::in_a_cluster();
        fixture.run("SET a 1");
        assert!(fixture.state.keyspace.drain_traced().is_empty());
    }
}
