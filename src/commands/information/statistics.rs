//! The sections about what was done: how often, with which outcome, and how long it took.

use super::{field, line};
use crate::acl::LogReason;
use crate::commands::context::Context;
use crate::commands::table;
use crate::pubsub::Topic;

pub fn stats(context: &Context<'_>, out: &mut String) {
    let (state, now) = (context.state, context.now);
    let stats = &state.stats;
    let rates = stats.rates(now);
    let kilobytes = |rate: u64| format!("{:.2}", rate as f64 / 1024.0);
    field(out, "total_connections_received", stats.total(|thread| &thread.connections_received));
    field(out, "total_commands_processed", stats.total(|thread| &thread.commands));
    field(out, "instantaneous_ops_per_sec", rates.commands);
    field(out, "total_net_input_bytes", stats.total(|thread| &thread.input_bytes));
    field(out, "total_net_output_bytes", stats.total(|thread| &thread.output_bytes));
    field(out, "total_net_repl_input_bytes", 0);
    field(out, "total_net_repl_output_bytes", 0);
    field(out, "instantaneous_input_kbps", kilobytes(rates.input_bytes));
    field(out, "instantaneous_output_kbps", kilobytes(rates.output_bytes));
    field(out, "instantaneous_input_repl_kbps", "0.00");
    field(out, "instantaneous_output_repl_kbps", "0.00");
    field(out, "rejected_connections", stats.total(|thread| &thread.connections_rejected));
    for name in ["sync_full", "sync_partial_ok", "sync_partial_err"] {
        field(out, name, 0);
    }
    field(out, "expired_keys", state.keyspace.expired());
    field(out, "expired_stale_perc", "0.00");
    field(out, "expired_time_cap_reached_count", 0);
    field(out, "expire_cycle_cpu_milliseconds", 0);
    field(out, "evicted_keys", state.keyspace.evicted());
    field(out, "evicted_clients", state.clients.evicted());
    let (exceeded, exceeded_now) = state.keyspace.exceeded(context.now);
    field(out, "total_eviction_exceeded_time", exceeded);
    field(out, "current_eviction_exceeded_time", exceeded_now);
    field(out, "keyspace_hits", stats.total(|thread| &thread.hits));
    field(out, "keyspace_misses", stats.total(|thread| &thread.misses));
    field(out, "pubsub_channels", state.channels.count(Topic::Channel));
    field(out, "pubsub_patterns", state.channels.count(Topic::Pattern));
    field(out, "pubsubshard_channels", state.channels.count(Topic::Shard));
    // Nothing is forked or moved about in memory.
    for name in [
        "latest_fork_usec",
        "total_forks",
        "migrate_cached_sockets",
        "slave_expires_tracked_keys",
        "active_defrag_hits",
        "active_defrag_misses",
        "active_defrag_key_hits",
        "active_defrag_key_misses",
        "total_active_defrag_time",
        "current_active_defrag_time",
    ] {
        field(out, name, 0);
    }
    let (keys, items) = state.keyspace.tracked();
    field(out, "tracking_total_keys", keys);
    field(out, "tracking_total_items", items);
    field(out, "tracking_total_prefixes", state.trackers.prefixes());
    field(out, "unexpected_error_replies", 0);
    field(out, "total_error_replies", stats.total(|thread| &thread.errors));
    field(out, "dump_payload_sanitizations", 0);
    let (reads, writes) = (stats.total(|thread| &thread.reads), stats.total(|thread| &thread.writes));
    field(out, "total_reads_processed", reads);
    field(out, "total_writes_processed", writes);
    // With several threads, each of them reads and writes for its clients.
    let threaded = state.facts.threads > 1;
    field(out, "io_threaded_reads_processed", if threaded { reads } else { 0 });
    field(out, "io_threaded_writes_processed", if threaded { writes } else { 0 });
    field(out, "reply_buffer_shrinks", 0);
    field(out, "reply_buffer_expands", 0);
    field(out, "acl_access_denied_auth", state.users.denials(LogReason::Auth));
    field(out, "acl_access_denied_cmd", state.users.denials(LogReason::Command));
    field(out, "acl_access_denied_key", state.users.denials(LogReason::Key));
    field(out, "acl_access_denied_channel", state.users.denials(LogReason::Channel));
}

pub fn commands(context: &Context<'_>, out: &mut String) {
    let state = context.state;
    for entry in table().entries().iter().flat_map(|entry| std::iter::once(entry).chain(&entry.subcommands)) {
        let totals = state.stats.command(entry.id);
        if totals.calls == 0 && totals.rejected == 0 {
            continue;
        }
        let each = totals.nanoseconds as f64 / 1000.0 / totals.calls.max(1) as f64;
        line(
            out,
            format_args!(
                "cmdstat_{}:calls={},usec={},usec_per_call={each:.2},rejected_calls={},failed_calls={}",
                entry.full_name,
                totals.calls,
                totals.nanoseconds / 1000,
                totals.rejected,
                totals.failed
            ),
        );
    }
}

pub fn errors(context: &Context<'_>, out: &mut String) {
    let state = context.state;
    for (code, count) in state.stats.error_kinds() {
        line(out, format_args!("errorstat_{code}:count={count}"));
    }
}

pub fn latencies(context: &Context<'_>, out: &mut String) {
    let state = context.state;
    let percentiles = state.supervision.timing.percentiles();
    for (id, histogram) in state.stats.latencies() {
        let Some(name) = table().name_of(id) else { continue };
        let value = |percent: &f64| format!("p{percent}={:.3}", histogram.percentile(*percent) as f64 / 1000.0);
        let values: Vec<String> = percentiles.iter().map(value).collect();
        line(out, format_args!("latency_percentiles_usec_{name}:{}", values.join(",")));
    }
}
