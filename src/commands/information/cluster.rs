//! The sections about clusters: Redis's, which this is not, and our own.

use super::{field, line};
use crate::commands::context::Context;

/// `cluster_enabled` is about Redis Cluster, with slots and redirections: a swytch cluster needs no such client.
pub fn redis_cluster(_: &Context<'_>, out: &mut String) {
    field(out, "cluster_enabled", 0);
}

/// The cluster as this node sees it; without one, the node alone.
pub fn swytch(context: &Context<'_>, out: &mut String) {
    let state = context.state;
    field(out, "swytch_cluster", u8::from(state.cluster.is_some()));
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
    field(out, "swytch_effects_refused", report.refused_effects);
    field(out, "swytch_effects_dropped", report.dropped_effects);
    field(out, "swytch_effects_lost", report.lost_effects);
    field(out, "swytch_effects_waiting", report.waiting_effects);
    field(out, "swytch_effects_waiting_bytes", report.waiting_bytes);
    field(out, "swytch_log_effects", report.log_effects);
    field(out, "swytch_log_bytes", report.log_bytes);
    field(out, "swytch_archive_bytes", report.archive_bytes);
    field(out, "swytch_repairs", report.repairs);
    field(out, "swytch_snapshots_sent", report.snapshots_sent);
    field(out, "swytch_snapshots_received", report.snapshots_received);
    field(out, "swytch_handovers_sent", report.handovers_sent);
    field(out, "swytch_handovers_received", report.handovers_received);
    field(out, "swytch_archives_dropped", report.archives_lost);
    field(out, "swytch_reconciliations", report.reconciliations);
    field(out, "swytch_rebases", report.rebases);
    field(out, "swytch_refused_peers", report.refused_peers);
    field(out, "swytch_forced_out", report.forced_out);
    field(out, "swytch_forsaken", report.forsaken);
    field(out, "swytch_metadata_bytes", report.metadata_bytes);
    field(out, "swytch_unmet_addresses", report.unmet);
    let live = || report.members.iter().filter(|member| !member.expired);
    field(out, "swytch_lag_effects", live().map(|member| member.lag_effects).max().unwrap_or(0));
    field(out, "swytch_lag_millis", live().map(|member| member.lag_millis).max().unwrap_or(0));
    field(out, "swytch_view", live().map(|member| member.node.to_string()).collect::<Vec<_>>().join(","));
    for (number, member) in report.members.iter().enumerate() {
        line(
            out,
            format_args!(
                "swytch_peer{number}:node={},name={},address={},connected={},expired={},serving={},acknowledged={},lag_effects={},lag_millis={}",
                member.node,
                member.name,
                member.address,
                u8::from(member.connected),
                u8::from(member.expired),
                u8::from(member.serving),
                member.acknowledged,
                member.lag_effects,
                member.lag_millis
            ),
        );
    }
}
