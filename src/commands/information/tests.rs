//! Tests of INFO.

use std::collections::BTreeMap;

use super::human;
use crate::commands::testing::Fixture;

#[test]
fn bytes_for_people() {
    let known = [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (1_572_864, "1.50M"), (5 << 30, "5.00G")];
    for (bytes, text) in known {
        assert_eq!(human(bytes), text);
    }
}

/// A node that has been used a little.
fn used() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.state.facts.stopwatch = Some(|| 0);
    for request in ["set k v ex 100", "get k", "get nosuch", "lrange k 0 -1", "config get port", "nosuch"] {
        fixture.run(request);
    }
    fixture
}

/// The value of each field.
fn fields(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// What redis_exporter reads is there, and is what it takes it for.
#[test]
fn what_a_monitor_reads_is_there() {
    let text = used().run("info everything");
    let found = fields(&text);
    let mut checked = 0;
    for line in include_str!("redis_exporter_fields.txt").lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some((name, kind)) = line.split_once(' ') else { continue };
        checked += 1;
        if kind == "absent" {
            assert!(!found.contains_key(name), "{name} is there by now");
            continue;
        }
        let value = found.get(name).unwrap_or_else(|| panic!("{name} is missing"));
        let fits = match kind {
            "integer" => value.parse::<i64>().is_ok(),
            "float" => value.parse::<f64>().is_ok(),
            "status" => value == "ok" || value == "err",
            "text" => !value.is_empty(),
            "keyspace" => is_keyspace(value),
            "command" => has_numbers(value, &["calls", "usec", "usec_per_call", "rejected_calls", "failed_calls"]),
            "error" => has_numbers(value, &["count"]),
            "percentiles" => has_numbers(value, &["p50", "p99", "p99.9"]),
            other => panic!("{name} is of an unknown kind: {other}"),
        };
        assert!(fits, "{name} is no {kind}: {value}");
    }
    assert!(checked > 100, "the list was read");
}

/// `name=number` for each of these, in their order.
fn has_numbers(value: &str, names: &[&str]) -> bool {
    let parts: Vec<_> = value.split(',').filter_map(|part| part.split_once('=')).collect();
    let found: Vec<_> = parts.iter().map(|(name, _)| *name).collect();
    found == names && parts.iter().all(|(_, number)| number.parse::<f64>().is_ok())
}

fn is_keyspace(value: &str) -> bool {
    has_numbers(value, &["keys", "expires", "avg_ttl"])
}

#[test]
fn sections_stand_in_their_order_and_once() {
    let mut fixture = used();
    let mut titles = |request: &str| -> Vec<String> {
        let text = fixture.run(request);
        text.lines().filter_map(|line| line.strip_prefix("# ")).map(str::to_string).collect()
    };
    let all = titles("info everything");
    assert_eq!(
        all.join(" "),
        "Server Clients Memory Persistence Stats Replication CPU Modules Commandstats Errorstats Latencystats Cluster \
         Swytch Keyspace"
    );
    let default = titles("info");
    assert_eq!(default, titles("info default"));
    assert!(!default.iter().any(|title| title == "Commandstats" || title == "Latencystats"));
    assert_eq!(titles("info keyspace CPU nosuch cpu"), ["CPU", "Keyspace"]);
    assert_eq!(titles("info all"), all);
    let with_default = titles("info commandstats default");
    assert!(with_default.len() == default.len() + 1);
}

/// CONFIG RESETSTAT sets back what it does in Redis.
#[test]
fn statistics_are_set_back() {
    let mut fixture = used();
    fixture.state.stats.note_memory(1 << 30);
    fixture.run("config resetstat");
    let text = fixture.run("info everything");
    let found = fields(&text);
    for name in [
        "total_connections_received",
        "rejected_connections",
        "keyspace_hits",
        "keyspace_misses",
        "expired_keys",
        "evicted_keys",
        "total_error_replies",
        "total_net_input_bytes",
        "total_net_output_bytes",
    ] {
        assert_eq!(found[name], "0", "{name}");
    }
    assert!(!text.contains("cmdstat_get:") && !text.contains("errorstat_") && !text.contains("percentiles_usec_get"));
    assert_eq!(found["connected_clients"], "1");
    assert_eq!(found["used_memory_peak"], found["used_memory"], "the peak begins anew");
}
