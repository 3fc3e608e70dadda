//! The metrics that `/metrics` shows, read when somebody asks.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::page::{Distribution, Page};
use super::stats::{Counter as Count, ThreadStats};
use crate::commands::{ServerState, table};
use crate::keyspace::Kind;
use crate::pubsub::Topic;
use crate::replication::ClusterReport;

/// Upper bounds of the histogram of commands, in nanoseconds. What takes a second or longer is known to be so, and no more
/// is known of it, so there is none beyond half a second.
const COMMAND_BOUNDS: [u64; 18] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
];

/// All metrics in Prometheus's text format.
pub fn render(state: &ServerState) -> String {
    let page = Page::default();
    clients(&page, state);
    commands(&page, state);
    data(&page, state);
    if let Some(reports) = &state.cluster {
        let report = Arc::clone(&reports.borrow());
        cluster(&page, &report);
        peers(&page, &report);
        merging(&page, state, &report);
    }
    page.text()
}

fn clients(page: &Page, state: &ServerState) {
    let total = |counter: fn(&ThreadStats) -> &Count| state.stats.total(counter);
    page.labelled_gauge(
        "swytch_build_info",
        "The version of this node; always 1.",
        &["version"],
        [([env!("CARGO_PKG_VERSION")], 1)],
    );
    page.gauge(
        "swytch_serving",
        "1 when the node serves clients, 0 while it is loading.",
        u64::from(state.is_serving()),
    );
    page.gauge("swytch_start_time_seconds", "When the process started, since the Unix epoch.", state.started / 1000);
    page.gauge("swytch_connected_clients", "Client connections.", total(|thread| &thread.connections));
    page.gauge("swytch_max_clients", "Client connections allowed at a time.", state.config.max_clients() as u64);
    page.counter(
        "swytch_connections_received_total",
        "Client connections accepted.",
        total(|thread| &thread.connections_received),
    );
    page.counter(
        "swytch_connections_rejected_total",
        "Client connections refused because there were too many.",
        total(|thread| &thread.connections_rejected),
    );
    if let Some(tracer) = state.supervision.tracer() {
        page.counter("swytch_trace_spans_exported_total", "Spans that the collector has taken.", tracer.exported());
        page.counter(
            "swytch_trace_spans_dropped_total",
            "Spans that were dropped because the collector did not take them.",
            tracer.dropped(),
        );
    }
    if let Some(certificates) = &state.tls {
        page.gauge(
            "swytch_tls_certificate_not_after_seconds",
            "When the certificate that clients are shown expires, since the Unix epoch.",
            certificates.not_after(),
        );
        page.counter(
            "swytch_tls_handshakes_failed_total",
            "Clients that were not let in over TLS.",
            certificates.failed_handshakes(),
        );
    }
    page.counter("swytch_received_bytes_total", "Bytes received from clients.", total(|thread| &thread.input_bytes));
    page.counter("swytch_sent_bytes_total", "Bytes sent to clients.", total(|thread| &thread.output_bytes));
    page.counter("swytch_error_replies_total", "Errors replied to clients.", total(|thread| &thread.errors));
}

fn commands(page: &Page, state: &ServerState) {
    let used: Vec<_> = (0..)
        .map_while(|id| table().name_of(id).map(|name| (name, state.stats.command(id))))
        .filter(|(_, totals)| totals.calls > 0 || totals.rejected > 0)
        .collect();
    let counts = [
        ("swytch_commands_total", "Commands run."),
        ("swytch_commands_failed_total", "Commands that answered with an error."),
        ("swytch_commands_rejected_total", "Commands refused before they ran."),
    ];
    for (at, (name, help)) in counts.into_iter().enumerate() {
        let value = |totals: &super::stats::CommandTotals| [totals.calls, totals.failed, totals.rejected][at];
        page.labelled_counter(name, help, &["command"], used.iter().map(|(name, totals)| ([*name], value(totals))));
    }
    page.labelled_total(
        "swytch_command_duration_seconds_total",
        "Time spent in commands, estimated from a sample.",
        &["command"],
        used.iter().map(|(name, totals)| ([*name], totals.nanoseconds as f64 / 1e9)),
    );
    let latencies = state.stats.latencies();
    let called = latencies.iter().filter_map(|(id, histogram)| {
        let counts = histogram.up_to(&COMMAND_BOUNDS);
        let bounds = COMMAND_BOUNDS.iter().map(|bound| *bound as f64 / 1e9);
        let cumulative = bounds.zip(counts).collect();
        let has = Distribution { cumulative, count: histogram.count(), sum: histogram.sum() as f64 / 1e9 };
        Some(([table().name_of(*id)?], has))
    });
    page.labelled_histogram(
        "swytch_command_duration_seconds",
        "How long commands took that were called while latency-tracking is on, quick ones estimated from a sample.",
        &["command"],
        called,
    );
}

fn data(page: &Page, state: &ServerState) {
    let (keyspace, total) = (&state.keyspace, |counter: fn(&ThreadStats) -> &Count| state.stats.total(counter));
    page.counter("swytch_keyspace_hits_total", "Reads of keys that were there.", total(|thread| &thread.hits));
    page.counter("swytch_keyspace_misses_total", "Reads of keys that were not there.", total(|thread| &thread.misses));
    page.counter("swytch_evicted_keys_total", "Keys evicted for want of memory.", keyspace.evicted());
    page.counter("swytch_expired_keys_total", "Keys removed because their time was over.", keyspace.expired());
    page.gauge("swytch_memory_used_bytes", "Memory that the data takes.", keyspace.memory() as u64);
    page.gauge(
        "swytch_memory_limit_bytes",
        "Memory that the data may take; 0: no limit.",
        keyspace.memory_limit() as u64,
    );
    let saved = state.persistence.report();
    page.gauge(
        "swytch_last_save_timestamp_seconds",
        "When the data was last saved to its file, or the node started, since the Unix epoch.",
        saved.last_save / 1000,
    );
    page.gauge("swytch_last_save_ok", "1 unless the last save to the file failed.", u64::from(saved.last_ok));
    page.counter("swytch_saves_total", "Saves to the file that ended well.", saved.saves);
    let listened = [
        ("swytch_pubsub_channels", "Channels that clients listen to.", Topic::Channel),
        ("swytch_pubsub_patterns", "Patterns that clients listen to.", Topic::Pattern),
        ("swytch_pubsub_shard_channels", "Shard channels that clients listen to.", Topic::Shard),
    ];
    for (name, help, topic) in listened {
        page.gauge(name, help, state.channels.count(topic) as u64);
    }
    let messages = &state.channels.outbox.counters;
    let counters = [
        ("swytch_pubsub_messages_sent_total", "Messages sent to peers, once for each peer.", &messages.sent),
        ("swytch_pubsub_messages_received_total", "Messages received from peers.", &messages.received),
        (
            "swytch_pubsub_messages_dropped_total",
            "Messages not sent to a peer because too much was waiting.",
            &messages.dropped,
        ),
    ];
    for (name, help, counter) in counters {
        page.counter(name, help, counter.load(Relaxed));
    }
    let resident = (state.facts.resident_memory)() as u64;
    page.gauge("swytch_memory_resident_bytes", "Memory that the process occupies.", resident);
    let sizes: Vec<(String, (usize, usize))> =
        (0..keyspace.databases()).map(|number| (format!("{number}"), keyspace.size(number))).collect();
    let used = || sizes.iter().filter(|(number, (keys, _))| *keys > 0 || number == "0");
    let keys = used().map(|(number, (keys, _))| ([number.as_str()], *keys as u64));
    page.labelled_gauge("swytch_keys", "Keys.", &["database"], keys);
    let expiring = used().map(|(number, (_, expiring))| ([number.as_str()], *expiring as u64));
    page.labelled_gauge("swytch_expiring_keys", "Keys with a time to live.", &["database"], expiring);
}

fn cluster(page: &Page, report: &ClusterReport) {
    let connected = report.members.iter().filter(|member| member.connected).count() as u64;
    page.gauge("swytch_cluster_peers", "Other nodes that this node is connected to.", connected);
    let known = report.members.iter().filter(|member| !member.expired).count() as u64;
    page.gauge("swytch_cluster_members", "Other nodes in the membership.", known);
    let gauges = [
        ("swytch_cluster_log_effects", "Effects kept for other nodes.", report.log_effects),
        ("swytch_cluster_log_bytes", "Size of the effects kept for other nodes.", report.log_bytes),
        ("swytch_cluster_log_limit_bytes", "What those may take.", report.log_limit),
        (
            "swytch_cluster_archive_bytes",
            "Size of what has left the log and is kept for nodes that may come back.",
            report.archive_bytes,
        ),
        ("swytch_cluster_waiting_effects", "Effects received that wait for others.", report.waiting_effects),
        ("swytch_cluster_waiting_bytes", "Size of the effects received that wait for others.", report.waiting_bytes),
        (
            "swytch_cluster_metadata_bytes",
            "Size of what is known about keys that are not stable.",
            report.metadata_bytes,
        ),
        ("swytch_cluster_unmet_addresses", "Addresses that DNS names and where nobody was met.", report.unmet),
    ];
    for (name, help, value) in gauges {
        page.gauge(name, help, value as u64);
    }
    let counters = [
        ("swytch_cluster_own_effects_total", "Effects made here.", report.own_seq),
        ("swytch_cluster_effects_sent_total", "Effects sent, repetitions included.", report.effects_sent),
        ("swytch_cluster_effects_received_total", "Effects received, duplicates included.", report.effects_received),
        ("swytch_cluster_effects_duplicate_total", "Effects received that were there already.", report.duplicates),
        ("swytch_cluster_repairs_total", "Ranges of effects that had to be asked for.", report.repairs),
        ("swytch_cluster_snapshots_sent_total", "Snapshots begun to be sent.", report.snapshots_sent),
        ("swytch_cluster_snapshots_received_total", "Snapshots received.", report.snapshots_received),
        (
            "swytch_cluster_handovers_sent_total",
            "Times that this node handed over at once what a peer lacked.",
            report.handovers_sent,
        ),
        (
            "swytch_cluster_handovers_received_total",
            "Times that a peer handed over at once what this node lacked.",
            report.handovers_received,
        ),
        (
            "swytch_cluster_archives_dropped_total",
            "Times that what is kept for nodes that may come back was over its limit.",
            report.archives_lost,
        ),
        (
            "swytch_cluster_reconciliations_total",
            "Times that this node took over a peer's state while it served.",
            report.reconciliations,
        ),
        ("swytch_cluster_rebases_total", "Times that this node gave up its identity.", report.rebases),
        ("swytch_cluster_peers_refused_total", "Peers disconnected for what they said.", report.refused_peers),
        (
            "swytch_cluster_effects_lost_total",
            "Effects made here that were lost when this node gave up its identity.",
            report.lost_effects,
        ),
        (
            "swytch_cluster_effects_refused_total",
            "Effects received that could not be applied any more.",
            report.refused_effects,
        ),
        (
            "swytch_cluster_effects_dropped_total",
            "Effects received that were dropped because too many waited; they are asked for again.",
            report.dropped_effects,
        ),
        (
            "swytch_cluster_forced_out_total",
            "Nodes that the log is not kept for any more because it was full.",
            report.forced_out,
        ),
        (
            "swytch_cluster_forsaken_total",
            "Nodes whose return is not provided for any more because too much was kept for it.",
            report.forsaken,
        ),
    ];
    for (name, help, value) in counters {
        page.counter(name, help, value);
    }
}

/// How late effects of others come, and what they meet.
fn merging(page: &Page, state: &ServerState, report: &ClusterReport) {
    let delays = &report.delays;
    let cumulative = delays.cumulative().map(|(millis, count)| (millis as f64 / 1e3, count)).collect();
    let has = Distribution { cumulative, count: delays.count(), sum: delays.sum() as f64 / 1e3 };
    page.labelled_histogram(
        "swytch_replication_delay_seconds",
        "Age of effects of other nodes when they were applied here, by the wall clocks of both.",
        &[],
        [([], has)],
    );
    page.labelled_counter(
        "swytch_conflicts_total",
        "Writes that met something at their key that their node had not seen, and were merged with it.",
        &["type"],
        state.keyspace.conflicts().into_iter().map(|(kind, count)| ([kind.map_or("none", Kind::name)], count)),
    );
    page.gauge(
        "swytch_cluster_certificate_expiry_timestamp_seconds",
        "When the certificate that peers are shown expires, since the Unix epoch; it is renewed long before.",
        report.certificate_expires / 1000,
    );
}

fn peers(page: &Page, report: &ClusterReport) {
    let nodes: Vec<String> = report.members.iter().map(|member| member.node.to_string()).collect();
    let labels =
        || report.members.iter().zip(&nodes).map(|(member, node)| (member, [member.name.as_str(), node.as_str()]));
    let names = ["peer", "node"];
    page.labelled_gauge(
        "swytch_cluster_peer_connected",
        "1 when this node is connected to the peer.",
        &names,
        labels().map(|(member, labels)| (labels, u64::from(member.connected))),
    );
    page.labelled_gauge(
        "swytch_cluster_peer_lag_effects",
        "Effects made here that the peer has not acknowledged.",
        &names,
        labels().map(|(member, labels)| (labels, member.lag_effects)),
    );
    page.labelled_quantity(
        "swytch_cluster_peer_lag_seconds",
        "For how long the peer has not acknowledged all effects made here.",
        &names,
        labels().map(|(member, labels)| (labels, member.lag_millis as f64 / 1e3)),
    );
}
