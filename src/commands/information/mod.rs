//! The text of INFO: the fields that clients and monitors read, and this server's own beside them.
//!
//! A field of Redis that means nothing here has the value that it has in a Redis that does not use what it is about, so that what
//! reads it goes on working. `redis_exporter_fields.txt` lists what a widely used monitor reads; a test compares.
//! Must not know how the text is sent.

mod cluster;
mod memory;
mod statistics;
#[cfg(test)]
mod tests;

use std::fmt::Write;
use std::sync::atomic::Ordering;

use super::REDIS_VERSION;
use super::context::Context;
use crate::observe::process;

/// Writes one section's lines.
type Writer = fn(&Context<'_>, &mut String);

/// When a section is shown without being named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// When none is named.
    Default,
    /// For `all` and `everything`.
    All,
}

/// The sections in their order: name, title, writer, and when they are shown.
const SECTIONS: [(&str, &str, Writer, Shown); 14] = [
    ("server", "Server", server, Shown::Default),
    ("clients", "Clients", clients, Shown::Default),
    ("memory", "Memory", memory::memory, Shown::Default),
    ("persistence", "Persistence", persistence, Shown::Default),
    ("stats", "Stats", statistics::stats, Shown::Default),
    ("replication", "Replication", replication, Shown::Default),
    ("cpu", "CPU", processors, Shown::Default),
    ("modules", "Modules", |_, _| {}, Shown::Default),
    ("commandstats", "Commandstats", statistics::commands, Shown::All),
    ("errorstats", "Errorstats", statistics::errors, Shown::Default),
    ("latencystats", "Latencystats", statistics::latencies, Shown::All),
    ("cluster", "Cluster", cluster::redis_cluster, Shown::Default),
    ("swytch", "Swytch", cluster::swytch, Shown::Default),
    ("keyspace", "Keyspace", keyspace, Shown::Default),
];

/// The text for the sections asked for: some by name, `default`, or `all` (`everything`); unknown ones are left out.
pub fn text<'a>(context: &Context<'_>, asked: impl Iterator<Item = &'a [u8]> + Clone) -> String {
    let mut out = String::new();
    let is_asked = |name: &str| asked.clone().any(|word| word.eq_ignore_ascii_case(name.as_bytes()));
    let all = is_asked("all") || is_asked("everything");
    let default = is_asked("default") || asked.clone().next().is_none();
    for (name, title, write, shown) in SECTIONS {
        if all || (default && shown == Shown::Default) || is_asked(name) {
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
    field(out, "redis_git_sha1", "00000000");
    field(out, "redis_git_dirty", 0);
    field(out, "redis_build_id", env!("CARGO_PKG_VERSION"));
    field(out, "redis_mode", "standalone");
    field(out, "os", format_args!("Linux {} {}", process::kernel_release(), std::env::consts::ARCH));
    field(out, "arch_bits", usize::BITS);
    field(out, "monotonic_clock", "POSIX clock_gettime");
    field(out, "multiplexing_api", "epoll");
    field(out, "process_id", facts.process);
    field(out, "process_supervised", "no");
    field(out, "run_id", &state.run_id);
    field(out, "tcp_port", if facts.port == 0 { facts.tls_port } else { facts.port });
    field(out, "server_time_usec", now.saturating_mul(1000));
    field(out, "uptime_in_seconds", uptime);
    field(out, "uptime_in_days", uptime / 86_400);
    // The background work runs ten times a second.
    field(out, "hz", 10);
    field(out, "configured_hz", 10);
    field(out, "lru_clock", (now / 1000) & 0x00ff_ffff);
    field(out, "executable", &facts.executable);
    let file = facts.config_file.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    field(out, "config_file", file);
    let active = match state.supervision.serving_threads.load(Ordering::Relaxed) {
        0 => facts.threads,
        active => active,
    };
    field(out, "io_threads_active", u8::from(active > 1));
    field(out, "server_threads", facts.threads);
    field(out, "server_threads_active", active);
    if facts.port > 0 {
        field(out, "listener0", format_args!("name=tcp,bind={},port={}", facts.bind, facts.port));
    }
}

fn clients(context: &Context<'_>, out: &mut String) {
    let state = context.state;
    let all = state.clients.all();
    let buffered = || all.iter().map(|record| record.buffered());
    let blocked = state.clients.blocked();
    field(out, "connected_clients", all.len());
    field(out, "cluster_connections", 0);
    field(out, "maxclients", state.config.max_clients());
    field(out, "client_recent_max_input_buffer", buffered().map(|(input, _)| input).max().unwrap_or(0));
    field(out, "client_recent_max_output_buffer", buffered().map(|(_, output)| output).max().unwrap_or(0));
    field(out, "blocked_clients", blocked);
    field(out, "tracking_clients", state.trackers.len());
    field(out, "clients_in_timeout_table", blocked);
    field(out, "total_blocking_keys", context.lock_all().waited_for());
    field(out, "total_blocking_keys_on_nokey", 0);
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

/// What clients expect of a server that takes writes: there is no leader here, and nobody follows.
fn replication(context: &Context<'_>, out: &mut String) {
    let state = context.state;
    field(out, "role", "master");
    field(out, "connected_slaves", 0);
    field(out, "master_failover_state", "no-failover");
    field(out, "master_replid", &state.run_id);
    field(out, "master_replid2", "0".repeat(40));
    field(out, "master_repl_offset", 0);
    field(out, "second_repl_offset", -1);
    field(out, "repl_backlog_active", 0);
    field(out, "repl_backlog_size", 0);
    field(out, "repl_backlog_first_byte_offset", 0);
    field(out, "repl_backlog_histlen", 0);
}

fn processors(_: &Context<'_>, out: &mut String) {
    let (all, main) = (process::processor_time(), process::main_thread_time());
    let mut seconds = |name: &str, value: f64| field(out, name, format_args!("{value:.6}"));
    seconds("used_cpu_sys", all.system);
    seconds("used_cpu_user", all.user);
    seconds("used_cpu_sys_children", 0.0);
    seconds("used_cpu_user_children", 0.0);
    seconds("used_cpu_sys_main_thread", main.system);
    seconds("used_cpu_user_main_thread", main.user);
}

fn keyspace(context: &Context<'_>, out: &mut String) {
    let mut transaction = context.lock_all();
    let mut random = fastrand::Rng::with_seed(context.now);
    for database in 0..context.state.keyspace.databases() {
        transaction.select(database);
        let (keys, ending) = transaction.size();
        if keys > 0 {
            let life = transaction.average_remaining(&mut random);
            line(out, format_args!("db{database}:keys={keys},expires={ending},avg_ttl={life}"));
        }
    }
}
