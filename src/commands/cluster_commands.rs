//! CLUSTER and its kin, as a server answers them that is no node of a Redis Cluster: a swytch cluster has no slots and
//! redirects nobody, so its clients need nothing of this. Also MODULE: there are none.

use super::context::{Context, Outcome, Refusal};
use super::spec::{Categories, Command, Flags, Group, Handler};
use super::{Flow, wrong_arity};

const CHANGES_ANY: &[&str] = &["nondeterministic_output"];

const fn question(name: &'static str, arity: isize) -> Command {
    Command::new(Group::Cluster, name, arity, disabled).flags(Flags::STALE)
}

const fn change(name: &'static str, arity: isize) -> Command {
    question(name, arity).flags(Flags::ADMIN.with(Flags::NO_ASYNC_LOADING))
}

const fn mode(name: &'static str, flags: Flags) -> Command {
    Command::new(Group::Cluster, name, 1, disabled).flags(flags.with(Flags::FAST)).categories(Categories::CONNECTION)
}

const fn module(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::Server, name, arity, handler).flags(Flags::ADMIN.with(Flags::NOSCRIPT))
}

const PER_SLOT: &str = "O(N) with N slots";
const PER_NODE: &str = "O(N) with N nodes";

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new(Group::Cluster, "cluster", -2, container)
        .docs("3.0.0", "Depends on subcommand.", "About Redis Cluster, which this is not")
        .subcommands(&[
            change("addslots", -3).docs("3.0.0", PER_SLOT, "Refused: no Redis Cluster"),
            change("addslotsrange", -4).docs("7.0.0", PER_SLOT, "Refused: no Redis Cluster"),
            change("bumpepoch", 2).hints(CHANGES_ANY).docs("3.0.0", "O(1)", "Refused: no Redis Cluster"),
            question("count-failure-reports", 3).flags(Flags::ADMIN).hints(CHANGES_ANY).docs(
                "3.0.0",
                "O(N) with N reports",
                "Refused: no Redis Cluster",
            ),
            question("countkeysinslot", 3).docs("3.0.0", "O(1)", "Refused: no Redis Cluster"),
            change("delslots", -3).docs("3.0.0", PER_SLOT, "Refused: no Redis Cluster"),
            change("delslotsrange", -4).docs("7.0.0", PER_SLOT, "Refused: no Redis Cluster"),
            change("failover", -2).docs("3.0.0", "O(1)", "Refused: no Redis Cluster"),
            change("flushslots", 2).docs("3.0.0", "O(1)", "Refused: no Redis Cluster"),
            change("forget", 3).docs("3.0.0", "O(1)", "Refused: no Redis Cluster"),
            question("getkeysinslot", 4).hints(CHANGES_ANY).docs(
                "3.0.0",
                "O(log N) with N keys",
                "Refused: no Redis Cluster",
            ),
            question("help", 2).flags(Flags::LOADING).docs("5.0.0", "O(1)", "Refused: no Redis Cluster"),
            question("info", 2).hints(CHANGES_ANY).docs("3.0.0", "O(1)", "Refused: no Redis Cluster"),
            question("keyslot", 3).docs("3.0.0", "O(N) with N bytes", "Refused: no Redis Cluster"),
            question("links", 2).hints(CHANGES_ANY).docs("7.0.0", PER_NODE, "Refused: no Redis Cluster"),
            change("meet", -4).docs("3.0.0", "O(1)", "Refused: no Redis Cluster"),
            question("myid", 2).docs("3.0.0", "O(1)", "Refused: no Redis Cluster"),
            question("myshardid", 2).hints(CHANGES_ANY).docs("7.2.0", "O(1)", "Refused: no Redis Cluster"),
            question("nodes", 2).hints(CHANGES_ANY).docs("3.0.0", PER_NODE, "Refused: no Redis Cluster"),
            question("replicas", 3).flags(Flags::ADMIN).hints(CHANGES_ANY).docs(
                "5.0.0",
                "O(N) with N replicas",
                "Refused: no Redis Cluster",
            ),
            change("replicate", 3).docs("3.0.0", "O(1)", "Refused: no Redis Cluster"),
            question("reset", -2).flags(Flags::ADMIN.with(Flags::NOSCRIPT)).docs(
                "3.0.0",
                PER_NODE,
                "Refused: no Redis Cluster",
            ),
            change("saveconfig", 2).docs("3.0.0", "O(1)", "Refused: no Redis Cluster"),
            change("set-config-epoch", 3).docs("3.0.0", "O(1)", "Refused: no Redis Cluster"),
            change("setslot", -4).docs("3.0.0", "O(1)", "Refused: no Redis Cluster"),
            question("shards", 2).hints(CHANGES_ANY).docs("7.0.0", PER_NODE, "Refused: no Redis Cluster"),
            question("slaves", 3)
                .flags(Flags::ADMIN)
                .hints(CHANGES_ANY)
                .deprecated("5.0.0", "`CLUSTER REPLICAS`")
                .docs("3.0.0", "O(N) with N replicas", "Refused: no Redis Cluster"),
            question("slots", 2).hints(CHANGES_ANY).deprecated("7.0.0", "`CLUSTER SHARDS`").docs(
                "3.0.0",
                PER_NODE,
                "Refused: no Redis Cluster",
            ),
        ]),
    mode("asking", Flags::NONE).docs("3.0.0", "O(1)", "Refused: no Redis Cluster"),
    mode("readonly", Flags::LOADING.with(Flags::STALE)).docs("3.0.0", "O(1)", "Refused: no Redis Cluster"),
    mode("readwrite", Flags::LOADING.with(Flags::STALE)).docs("3.0.0", "O(1)", "Refused: no Redis Cluster"),
    Command::new(Group::Server, "module", -2, container)
        .docs("4.0.0", "Depends on subcommand.", "About modules, of which there are none")
        .subcommands(&[
            module("list", 2, no_modules).hints(&["nondeterministic_output_order"]).docs(
                "4.0.0",
                "O(N) with N modules",
                "Lists the modules: none",
            ),
            module("load", -3, not_loaded).flags(Flags::NO_ASYNC_LOADING).docs("4.0.0", "O(1)", "Refused: no modules"),
            module("loadex", -3, not_loaded).flags(Flags::NO_ASYNC_LOADING).docs(
                "7.0.0",
                "O(1)",
                "Refused: no modules",
            ),
            module("unload", 3, not_loaded).flags(Flags::NO_ASYNC_LOADING).docs("4.0.0", "O(1)", "Refused: no modules"),
            Command::new(Group::Server, "help", 2, module_help).flags(Flags::LOADING.with(Flags::STALE)).docs(
                "5.0.0",
                "O(1)",
                "Lists the subcommands",
            ),
        ]),
];

/// Not reached: without a subcommand the number of arguments is wrong.
fn container(context: &mut Context<'_>) -> Outcome {
    Err(wrong_arity(context.entry))
}

fn disabled(_: &mut Context<'_>) -> Outcome {
    Err(Refusal::Fixed("ERR This instance has cluster support disabled"))
}

fn no_modules(context: &mut Context<'_>) -> Outcome {
    context.reply.array(0);
    Ok(Flow::Continue)
}

fn not_loaded(_: &mut Context<'_>) -> Outcome {
    Err(Refusal::Fixed("ERR MODULE command not allowed: this server has no modules"))
}

fn module_help(context: &mut Context<'_>) -> Outcome {
    context.reply_help(&[
        "LIST",
        "    Return the modules: none.",
        "LOAD, LOADEX, UNLOAD",
        "    Refused: there are no modules.",
    ])
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    #[test]
    fn there_is_no_redis_cluster_and_no_module() {
        let mut fixture = Fixture::new();
        let disabled = "-ERR This instance has cluster support disabled\r\n";
        fixture.expect(&[
            ("cluster info", disabled),
            ("cluster help", disabled),
            ("cluster keyslot k", disabled),
            ("cluster keyslot", "-ERR wrong number of arguments for 'cluster|keyslot' command\r\n"),
            ("cluster foo", "-ERR unknown subcommand 'foo'. Try CLUSTER HELP.\r\n"),
            ("readonly", disabled),
            ("asking", disabled),
            ("module list", "*0\r\n"),
        ]);
        assert!(fixture.run("module load x").starts_with("-ERR MODULE command not allowed"));
    }
}
