//! The text of INFO: the fields that clients and monitors read, and this server's own beside them.
//!
//! Must not know how the text is sent.

use std::fmt::Write;

use super::context::Context;
use super::{REDIS_VERSION, table};
use crate::acl::LogReason;
use crate::pubsub::Topic;

/// Writes one section's lines.
type Writer = fn(&Context<'_>, &mut String);

/// The sections in their order: name, title, writer, and whether they are shown when none is named.
const SECTIONS: [(&str, &str, Writer, bool); 10] = [
    ("server", "Server", server, true),
    ("clients", "Clients", clients, true),
    ("memory", "Memory", memory, true),
    ("persistence", "Persistence", persistence, true),
    ("stats", "Stats", stats, true),
    ("replication", "Replication", replication, true),
    ("commandstats", "Commandstats", commands, false),
    ("errorstats", "Errorstats", errors, true),
    ("cluster", "Cluster", cluster, true),
    ("keyspace", "Keyspace", keyspace, true),
];

/// The text for the sections asked for: some by name, `default`, or `all` (`everything`); unknown ones are left out.
pub fn text<'a>(context: &Context<'_>, asked: impl Iterator<Item = &'a [u8]> + Clone) -> String {
    let mut out = String::new();
    let is_asked = |name: &str| asked.clone().any(|word| word.eq_ignore_ascii_case(name.as_bytes()));
    let all = is_asked("all") || is_asked("everything");
    let default = is_asked("default") || asked.clone().next().is_none();
    for (name, title, write, in_default) in SECTIONS {
        if all || (default && in_default) || is_asked(name) {
            if !out.is_empty() {
                out.push_str("\r\n");
            }
            line(&mut out, format_args!("# {title}"));
            write(context, &mut out);
        }
    }
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes everything");
    out.push_str("\r\n");
}

fn field(out: &mut String, name: &str, value: impl std::fmt::Display) {
    line(out, format_args!("{name}:{value}"));
}

/// As Redis shortens bytes: `1.50M`.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.2}{}", UNITS[unit])
}

fn server(context: &Context<'_>, out: &mut String) {
    let (state, now) = (context.state, context.now);
    let facts = &state.facts;
    let uptime = now.saturating_sub(state.started) / 1000;
    field(out, "redis_version", REDIS_VERSION);
    field(out, "swytch_version", env!("CARGO_PKG_VERSION"));
    field(out, "redis_mode", "standalone");
    field(out, "os", format_args!("{} {}", std::env::consts::OS, std::env::consts::ARCH));
    field(out, "arch_bits", usize::BITS);
    field(out, "process_id", facts.process);
    field(out, "run_id", &state.run_id);
    field(out, "tcp_port", if facts.port == 0 { facts.tls_port } else { facts.port });
    field(out, "server_time_usec", now.saturating_mul(1000));
    field(out, "uptime_in_seconds", uptime);
    field(out, "uptime_in_days", uptime / 86_400);
    field(out, "executable", &facts.executable);
    let file = facts.config_file.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    field(out, "config_file", file);
    field(out, "io_threads_active", u8::from(facts.threads > 1));
    field(out, "server_threads", facts.threads);
}

fn clients(context: &Context<'_>, out: &mut String) {
    let state = context.state;
    field(out, "connected_clients", state.clients.len());
    field(out, "cluster_connections", 0);
    field(out, "maxclients", state.config.max_clients());
    field(out, "blocked_clients", state.clients.blocked());
}

fn memory(context: &Context<'_>, out: &mut String) {
    let state = context.state;
    let used = state.keyspace.memory() as u64;
    let resident = (state.facts.resident_memory)() as u64;
    let limit = state.keyspace.memory_limit() as u64;
    field(out, "used_memory", used);
    field(out, "used_memory_human", human(used));
    field(out, "used_memory_rss", resident);
    field(out, "used_memory_rss_human", human(resident));
    field(out, "used_memory_dataset", used);
    field(out, "maxmemory", limit);
    field(out, "maxmemory_human", human(limit));
    field(out, "maxmemory_policy", "allkeys-lfu");
    field(out, "mem_fragmentation_ratio", format_args!("{:.2}", resident as f64 / used.max(1) as f64));
    field(out, "mem_allocator", "jemalloc");
}

/// There is no append-only file and no forked child: what Redis says about them is constant.
fn persistence(context: &Context<'_>, out: &mut String) {
    let state = context.state;
    let report = state.persistence.report();
    let changes = context.lock_all().changes().saturating_sub(report.changes_saved);
    let seconds = |seconds: Option<u64>| seconds.map_or(-1, |seconds| i64::try_from(seconds).unwrap_or(i64::MAX));
    let is_saving = report.running_seconds.is_some();
    field(out, "loading", u8::from(report.loading || !state.is_serving()));
    field(out, "async_loading", 0);
    field(out, "current_cow_peak", 0);
    field(out, "current_cow_size", 0);
    field(out, "current_cow_size_age", 0);
    let percentage = report.keys_done as f64 * 100.0 / report.keys_in_all.max(1) as f64;
    field(out, "current_fork_perc", format_args!("{:.2}", if is_saving { percentage } else { 0.0 }));
    field(out, "current_save_keys_processed", if is_saving { report.keys_done } else { 0 });
    field(out, "current_save_keys_total", if is_saving { report.keys_in_all } else { 0 });
    field(out, "rdb_changes_since_last_save", changes);
    field(out, "rdb_bgsave_in_progress", u8::from(is_saving));
    field(out, "rdb_last_save_time", report.last_save / 1000);
    field(out, "rdb_last_bgsave_status", if report.last_ok { "ok" } else { "err" });
    field(out, "rdb_last_bgsave_time_sec", seconds(report.last_seconds));
    field(out, "rdb_current_bgsave_time_sec", seconds(report.running_seconds));
    field(out, "rdb_saves", report.saves);
    field(out, "rdb_last_cow_size", 0);
    field(out, "rdb_last_load_keys_expired", report.loaded.expired);
    field(out, "rdb_last_load_keys_loaded", report.loaded.keys);
    for name in ["aof_enabled", "aof_rewrite_in_progress", "aof_rewrite_scheduled"] {
        field(out, name, 0);
    }
    field(out, "aof_last_rewrite_time_sec", -1);
    field(out, "aof_current_rewrite_time_sec", -1);
    field(out, "aof_last_bgrewrite_status", "ok");
    field(out, "aof_rewrites", 0);
    field(out, "aof_rewrites_consecutive_failures", 0);
    field(out, "aof_last_write_status", "ok");
    field(out, "aof_last_cow_size", 0);
    field(out, "module_fork_in_progress", 0);
    field(out, "module_fork_last_cow_size", 0);
}

fn stats(context: &Context<'_>, out: &mut String) {
    let (state, now) = (context.state, context.now);
    let stats = &state.stats;
    let rates = stats.rates(now);
    field(out, "total_connections_received", stats.total(|thread| &thread.connections_received));
    field(out, "total_commands_processed", stats.total(|thread| &thread.commands));
    field(out, "instantaneous_ops_per_sec", rates.commands);
    field(out, "total_net_input_bytes", stats.total(|thread| &thread.input_bytes));
    field(out, "total_net_output_bytes", stats.total(|thread| &thread.output_bytes));
    field(out, "instantaneous_input_kbps", format_args!("{:.2}", rates.input_bytes as f64 / 1024.0));
    field(out, "instantaneous_output_kbps", format_args!("{:.2}", rates.output_bytes as f64 / 1024.0));
    field(out, "rejected_connections", stats.total(|thread| &thread.connections_rejected));
    field(out, "expired_keys", state.keyspace.expired());
    field(out, "evicted_keys", state.keyspace.evicted());
    field(out, "keyspace_hits", stats.total(|thread| &thread.hits));
    field(out, "keyspace_misses", stats.total(|thread| &thread.misses));
    field(out, "pubsub_channels", state.channels.count(Topic::Channel));
    field(out, "pubsub_patterns", state.channels.count(Topic::Pattern));
    field(out, "pubsubshard_channels", state.channels.count(Topic::Shard));
    field(out, "acl_access_denied_auth", state.users.denials(LogReason::Auth));
    field(out, "acl_access_denied_cmd", state.users.denials(LogReason::Command));
    field(out, "acl_access_denied_key", state.users.denials(LogReason::Key));
    field(out, "acl_access_denied_channel", state.users.denials(LogReason::Channel));
    field(out, "total_error_replies", stats.total(|thread| &thread.errors));
}

/// What clients expect of a server that takes writes: there is no leader here, and nobody follows.
fn replication(context: &Context<'_>, out: &mut String) {
    let state = context.state;
    field(out, "role", "master");
    field(out, "connected_slaves", 0);
    field(out, "master_failover_state", "no-failover");
    field(out, "master_replid", &state.run_id);
    field(out, "master_repl_offset", 0);
}

fn commands(context: &Context<'_>, out: &mut String) {
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

fn errors(context: &Context<'_>, out: &mut String) {
    let state = context.state;
    for (code, count) in state.stats.error_kinds() {
        line(out, format_args!("errorstat_{code}:count={count}"));
    }
}

/// `cluster_enabled` is about Redis Cluster, with slots and redirections: a swytch cluster needs no such client.
fn cluster(context: &Context<'_>, out: &mut String) {
    let state = context.state;
    field(out, "cluster_enabled", 0);
    let Some(reports) = &state.cluster else { return };
    let report = reports.borrow().clone();
    field(out, "swytch_node", report.node);
    field(out, "swytch_node_name", &report.name);
    field(out, "swytch_serving", u8::from(report.serving));
    let members = report.members.iter().filter(|member| !member.expired).count();
    field(out, "swytch_members", members + 1);
    field(out, "swytch_connected_peers", report.members.iter().filter(|member| member.connected).count());
    field(out, "swytch_own_effects", report.own_seq);
    field(out, "swytch_effects_sent", report.effects_sent);
    field(out, "swytch_effects_received", report.effects_received);
    field(out, "swytch_effects_duplicate", report.duplicates);
    field(out, "swytch_effects_waiting", report.waiting_effects);
    field(out, "swytch_effects_waiting_bytes", report.waiting_bytes);
    field(out, "swytch_log_effects", report.log_effects);
    field(out, "swytch_log_bytes", report.log_bytes);
    field(out, "swytch_repairs", report.repairs);
    field(out, "swytch_snapshots_sent", report.snapshots_sent);
    field(out, "swytch_snapshots_received", report.snapshots_received);
    field(out, "swytch_rebases", report.rebases);
    field(out, "swytch_refused_peers", report.refused_peers);
    for (number, member) in report.members.iter().enumerate() {
        line(
            out,
            format_args!(
                "swytch_peer{number}:node={},name={},address={},connected={},expired={},lag_effects={},lag_millis={}",
                member.node,
                member.name,
                member.address,
                u8::from(member.connected),
                u8::from(member.expired),
                member.lag_effects,
                member.lag_millis
            ),
        );
    }
}

fn keyspace(context: &Context<'_>, out: &mut String) {
    for database in 0..context.state.keyspace.databases() {
        let (keys, ending) = context.size(database);
        if keys > 0 {
            line(out, format_args!("db{database}:keys={keys},expires={ending},avg_ttl=0"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn bytes_for_people() {
        let known = [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (1_572_864, "1.50M"), (5 << 30, "5.00G")];
        for (bytes, text) in known {
            assert_eq!(human(bytes), text);
        }
    }
}
