//! The status of a node as lines of text, for people at a terminal.

use std::borrow::Cow;
use std::fmt::Write;

use super::{ClusterStatus, MemberStatus, NodeStatus};

const COLUMNS: [&str; 6] = ["MEMBER", "NODE", "ADDRESS", "STATE", "LAG", "HEARD"];
/// Between two columns.
const GAP: &str = "  ";

/// Everything that the status says, a line for each thing.
pub fn status_text(status: &NodeStatus) -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: String| {
        // Writing into a string cannot fail.
        let _ = writeln!(out, "{name:<9} {text}");
    };
    let stage = printable(&status.stage).replace('_', " ");
    line(
        "swytch",
        format!(
            "{}, port {}, {stage}, up for {}",
            printable(&status.version),
            status.port,
            span(status.uptime_seconds)
        ),
    );
    if let Some(cluster) = &status.cluster {
        line(
            "node",
            format!("{}, {} at {}", printable(&cluster.node), printable(&cluster.name), printable(&cluster.address)),
        );
    }
    line("clients", format!("{} of {}", status.clients.connected, status.clients.limit));
    let memory = &status.memory;
    let limit = if memory.limit_bytes == 0 { "no limit".into() } else { bytes(memory.limit_bytes) };
    line(
        "memory",
        format!("{} of {limit}; the process occupies {}", bytes(memory.used_bytes), bytes(memory.resident_bytes)),
    );
    line("keys", status.keys.to_string());
    let Some(cluster) = &status.cluster else { return out };
    let ClusterStatus { log_bytes, log_limit_bytes, log_effects, waiting_bytes, waiting_effects, .. } = *cluster;
    line("log", format!("{} of {}, {log_effects} effects", bytes(log_bytes), bytes(log_limit_bytes)));
    line("waiting", format!("{}, {waiting_effects} effects", bytes(waiting_bytes)));
    line("metadata", bytes(cluster.metadata_bytes));
    if cluster.unmet_addresses > 0 {
        line("unmet", format!("{} addresses that DNS names and where nobody was met", cluster.unmet_addresses));
    }
    out.push('\n');
    if cluster.members.is_empty() {
        out.push_str("no other members\n");
    } else {
        table(&mut out, &cluster.members);
    }
    out
}

fn table(out: &mut String, members: &[MemberStatus]) {
    let mut rows = vec![COLUMNS.map(Cow::Borrowed)];
    rows.extend(members.iter().map(row));
    let widths: Vec<usize> = (0..COLUMNS.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default())
        .collect();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(cells.join(GAP).trim_end());
        out.push('\n');
    }
}

fn row(member: &MemberStatus) -> [Cow<'_, str>; COLUMNS.len()] {
    let state = match (member.connected, member.serving, member.expired) {
        (true, true, _) => "serving",
        (true, false, _) => "loading",
        (false, _, false) => "not connected",
        (false, _, true) => "gone",
    };
    let lag = match member.lag_effects {
        0 => "none".to_owned(),
        effects => format!("{effects} effects, {} ms", member.lag_milliseconds),
    };
    let heard = match member.silent_milliseconds {
        millis @ 0..10_000 => format!("{}.{} s ago", millis / 1000, millis % 1000 / 100),
        millis => format!("{} ago", span(millis / 1000)),
    };
    [
        printable(&member.name),
        printable(&member.node),
        printable(&member.address),
        state.into(),
        lag.into(),
        heard.into(),
    ]
}

/// Text that came from elsewhere, without what a terminal might obey.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) { text.replace(char::is_control, "?").into() } else { text.into() }
}

/// A span of time in its two largest units.
fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// A size in its largest unit, with one digit behind the point.
fn bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut shown = format!("{bytes} B");
    let mut size = bytes as f64;
    for unit in units {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        shown = format!("{size:.1} {unit}");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_alone_has_no_cluster_to_tell_of() {
        let mut status =
            NodeStatus { version: "0.1.0".into(), stage: "serving".into(), port: 6379, ..NodeStatus::default() };
        (status.uptime_seconds, status.keys) = (90_061, 7);
        (status.clients.connected, status.clients.limit) = (2, 10_000);
        (status.memory.used_bytes, status.memory.resident_bytes) = (1536, 5 << 20);
        let expected = "swytch    0.1.0, port 6379, serving, up for 1 d 1 h\n\
            clients   2 of 10000\n\
            memory    1.5 KiB of no limit; the process occupies 5.0 MiB\n\
            keys      7\n";
        assert_eq!(status_text(&status), expected);
    }

    #[test]
    fn members_stand_in_columns() {
        let member = |name: &str, connected, serving| MemberStatus {
            node: "00000000000000ab".into(),
            name: name.into(),
            address: "10.0.0.2:7379".into(),
            connected,
            serving,
            ..MemberStatus::default()
        };
        let mut late = member("a\u{1b}[2Jlonger", false, true);
        (late.lag_effects, late.lag_milliseconds, late.silent_milliseconds) = (12, 3_400, 65_000);
        let mut gone = member("c", false, false);
        gone.expired = true;
        let members = vec![member("b", true, true), late, gone, member("d", true, false)];
        let cluster =
            ClusterStatus { node: "00000000000000aa".into(), name: "a".into(), members, ..ClusterStatus::default() };
        let status = NodeStatus { stage: "catching_up".into(), cluster: Some(cluster), ..NodeStatus::default() };
        let text = status_text(&status);
        let expected = "MEMBER       NODE              ADDRESS        STATE          LAG                  HEARD\n\
            b            00000000000000ab  10.0.0.2:7379  serving        none                 0.0 s ago\n\
            a?[2Jlonger  00000000000000ab  10.0.0.2:7379  not connected  12 effects, 3400 ms  1 min 5 s ago\n\
            c            00000000000000ab  10.0.0.2:7379  gone           none                 0.0 s ago\n\
            d            00000000000000ab  10.0.0.2:7379  loading        none                 0.0 s ago\n";
        assert!(text.ends_with(expected), "{text}");
        assert!(text.contains(", catching up, up for 0 s\nnode      00000000000000aa, a at \n"), "{text}");
    }
}
