//! The section about memory.

use super::{field, human};
use crate::commands::context::Context;
use crate::commands::script_state::library_counts;
use crate::observe::process;

/// What of the allocator's books is known without asking it: what was asked of it, and what the process has of the system.
struct Sizes {
    used: u64,
    metadata: u64,
    clients: u64,
    resident: u64,
}

impl Sizes {
    fn of(context: &Context<'_>) -> Sizes {
        let state = context.state;
        Sizes {
            used: state.keyspace.memory() as u64,
            metadata: state.keyspace.metadata() as u64,
            clients: state.clients.all().iter().map(|record| record.memory() as u64).sum(),
            resident: (state.facts.resident_memory)() as u64,
        }
    }
}

fn ratio(part: u64, whole: u64) -> String {
    format!("{:.2}", part as f64 / whole.max(1) as f64)
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.2}%", part as f64 * 100.0 / whole.max(1) as f64)
}

fn bytes(out: &mut String, name: &str, value: u64) {
    field(out, name, value);
    field(out, &format!("{name}_human"), human(value));
}

pub fn memory(context: &Context<'_>, out: &mut String) {
    let state = context.state;
    let Sizes { used, metadata, clients, resident } = Sizes::of(context);
    let allocated = used + metadata + clients;
    let beyond = resident.saturating_sub(allocated);
    let peak = state.stats.note_memory(used);
    bytes(out, "used_memory", used);
    bytes(out, "used_memory_rss", resident);
    bytes(out, "used_memory_peak", peak);
    field(out, "used_memory_peak_perc", percent(used, peak));
    field(out, "used_memory_overhead", metadata);
    field(out, "used_memory_startup", 0);
    field(out, "used_memory_dataset", used.saturating_sub(metadata));
    field(out, "used_memory_dataset_perc", percent(used.saturating_sub(metadata), used));
    field(out, "allocator_allocated", allocated);
    field(out, "allocator_active", resident);
    field(out, "allocator_resident", resident);
    bytes(out, "total_system_memory", process::total_memory());
    // Scripts and functions of a thread share a Lua state.
    let lua = state.scripting.memory() as u64;
    let (scripts, script_bytes) = state.scripting.texts();
    let (libraries, functions, library_bytes) = library_counts(context);
    bytes(out, "used_memory_lua", lua);
    field(out, "used_memory_vm_eval", lua);
    field(out, "used_memory_scripts_eval", script_bytes);
    field(out, "number_of_cached_scripts", scripts);
    field(out, "number_of_functions", functions);
    field(out, "number_of_libraries", libraries);
    field(out, "used_memory_vm_functions", 0);
    bytes(out, "used_memory_vm_total", lua);
    field(out, "used_memory_functions", library_bytes);
    bytes(out, "used_memory_scripts", (script_bytes + library_bytes) as u64);
    bytes(out, "maxmemory", state.keyspace.memory_limit() as u64);
    field(out, "maxmemory_policy", state.keyspace.eviction_policy().name());
    field(out, "allocator_frag_ratio", ratio(resident, allocated));
    field(out, "allocator_frag_bytes", beyond);
    field(out, "allocator_rss_ratio", "1.00");
    field(out, "allocator_rss_bytes", 0);
    field(out, "rss_overhead_ratio", "1.00");
    field(out, "rss_overhead_bytes", 0);
    field(out, "mem_fragmentation_ratio", ratio(resident, used));
    field(out, "mem_fragmentation_bytes", resident.saturating_sub(used));
    field(out, "mem_not_counted_for_evict", 0);
    field(out, "mem_replication_backlog", 0);
    field(out, "mem_total_replication_buffers", 0);
    field(out, "mem_clients_slaves", 0);
    field(out, "mem_clients_normal", clients);
    field(out, "mem_cluster_links", 0);
    field(out, "mem_aof_buffer", 0);
    field(out, "mem_allocator", "jemalloc");
    field(out, "active_defrag_running", 0);
    field(out, "lazyfree_pending_objects", 0);
    field(out, "lazyfreed_objects", 0);
}
