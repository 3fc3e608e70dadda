"""Faults of nodes: death, freezing, wrong clocks, restarts, and DNS that fails while one starts."""

import time

from cluster import Failure, faketime_library, wait_for
from faults import Nemesis, heal_time
from network_faults import cut, dropped, halves


class Kill(Nemesis):
    """kill -9 of some nodes at once; each starts again with an empty memory and a fresh id."""

    proves = True

    def __init__(self, name, about, count):
        self.name, self.about, self.count, self.needed_waits = name, about, count, count

    def cycle(self, context):
        cluster = context.cluster
        victims = context.pick(self.count)
        before = {node: (cluster.stand.pid(node), known_ids(node)) for node in victims}
        with context.fault(self.name, ", ".join(node.name for node in victims)):
            for node in victims:
                cluster.kill(node)
            context.prove(f"{self.name}: killed nodes do not answer", all(node.ask("PING", timeout=1) is None for node in victims))
            context.hold(context.chance.uniform(1, context.hold_seconds))
            for node in victims:
                cluster.start(node, wait=False)
            cluster.wait_ready(victims)
        for node in victims:
            pid, ids = before[node]
            context.prove(f"{self.name}: another process runs", cluster.stand.pid(node) not in (0, pid), node.name)
            context.promise("a restarted node has a fresh id", known_ids(node) - ids, node.name)
        # Whatever survived is at every node before the next one dies.
        heal_time(context)


class KillInPartition(Nemesis):
    """A cut through the middle; a node dies on one side and starts again there, from what its side has."""

    name, about, proves = "kill-in-partition", "kill -9 and restart while the network is cut", True
    needed_waits = 1

    def cycle(self, context):
        cluster = context.cluster
        nodes = context.pick(len(cluster.live()))
        blocked = halves(nodes)
        # Of the larger side, so that a write can be confirmed there.
        victim = nodes[-1]
        with context.fault(self.name, f"{', '.join(node.name for node in nodes[:len(nodes) // 2])} apart, {victim.name} dies"):
            cut(cluster, blocked)
            context.hold(context.hold_seconds / 2)
            pid = cluster.stand.pid(victim)
            cluster.kill(victim)
            context.hold(context.chance.uniform(0.5, 2))
            # Its new network has no rules; those of the other side still keep it away until it has its own again.
            cluster.start(victim, wait=False)
            cut(cluster, {pair for pair in blocked if pair[1] is victim}, {victim})
            cluster.wait_ready([victim])
            context.prove("kill-in-partition: another process runs", cluster.stand.pid(victim) not in (0, pid), victim.name)
            token = f"{context.chance.getrandbits(48):x}"
            wrote = victim.ask("SET", "probe:cut", token)
            context.hold(max(1.0, context.hold_seconds / 2))
            shown = [node.name for node in nodes[:len(nodes) // 2] if node.ask("GET", "probe:cut") == token]
            context.prove("kill-in-partition: what the new life writes stays on its side", wrote == "OK" and not shown, shown)
            context.prove("kill-in-partition: datagrams were dropped", sum(dropped(cluster).values()) > 0)
            cluster.forget_rules()
        heal_time(context)


def known_ids(node):
    return set(node.ask("HKEYS", "__swytch:members") or ())


class Pause(Nemesis):
    """Freezes a node (docker pause) and lets it go on."""

    proves = True

    def __init__(self, name, about, seconds):
        self.name, self.about, self.seconds = name, about, seconds
        self.minimum_seconds = seconds + 15

    def cycle(self, context):
        cluster = context.cluster
        victim = context.pick()[0]
        rest = [node for node in cluster.live() if node is not victim]
        with context.fault(self.name, victim.name):
            cluster.pause(victim)
            try:
                context.prove(f"{self.name}: the node does not answer", victim.ask("PING", timeout=1) is None, victim.name)
                context.hold(self.seconds)
                if self.seconds > 31:
                    members = {node.name: node.members() for node in rest}
                    context.prove(f"{self.name}: the others took it off the membership",
                                  all(count == len(rest) for count in members.values()), members)
            finally:
                cluster.unpause(victim)
        heal_time(context)


class Clocks(Nemesis):
    """Wall clocks of some nodes jump by libfaketime, forwards and back; the monotonic clock goes on."""

    proves, faketime = True, True

    def __init__(self, name, about, offsets, steps):
        self.name, self.about, self.offsets, self.steps = name, about, offsets, steps
        self.clock_error = max(abs(offset) for offset in offsets)

    def missing(self):
        return None if faketime_library() else "libfaketime is not there (apt package faketime)"

    def cycle(self, context):
        cluster = context.cluster
        victims = context.pick(max(1, len(cluster.live()) // 2))
        with context.fault(self.name, ", ".join(node.name for node in victims)):
            for _ in range(self.steps):
                offsets = {node: context.chance.choice(self.offsets) for node in victims}
                for node, offset in offsets.items():
                    cluster.set_clock(node, offset)
                context.hold(max(2.5, context.hold_seconds / self.steps))
                for node, offset in offsets.items():
                    answer = node.ask("TIME")
                    off = int(answer[0]) - time.time() if answer else 0
                    context.prove(f"{self.name}: the node's clock is off", answer and abs(off - offset) < 3, f"{node.name}: {off:+.0f} s of {offset:+d}")
            for node in victims:
                cluster.set_clock(node, 0)
            context.hold(2)
        heal_time(context)


class Restart(Nemesis):
    """Each node in turn is stopped by SIGTERM and started again."""

    name, about, proves = "rolling-restart", "each node in turn: SIGTERM, start", True
    minimum_seconds = 40

    def cycle(self, context):
        cluster = context.cluster
        for node in list(cluster.live()):
            pid, count = cluster.stand.pid(node), len(cluster.live())
            with context.fault(self.name, node.name):
                stop_gracefully(context, node, count - 1)
                cluster.start(node)
            context.prove(f"{self.name}: another process runs", cluster.stand.pid(node) not in (0, pid), node.name)
            heal_time(context)


def stop_gracefully(context, node, left):
    """SIGTERM, and what is promised of it: status 0, the entry gone at once, without waiting for the 30 s."""
    cluster = context.cluster
    status = cluster.stop(node)
    context.promise("SIGTERM ends a node with status 0", status == 0, f"{node.name}: {status}")
    try:
        seconds = wait_for(lambda: all(other.members() == left for other in cluster.live()), 10, lambda: "the entry stays")
        context.promise("a graceful stop takes the entry away at once", True, f"{node.name}: {seconds:.1f} s")
    except Failure as error:
        context.promise("a graceful stop takes the entry away at once", False, f"{node.name}: {error}")


class GrowAndShrink(Nemesis):
    """From three nodes to all and back, while clients write."""

    name, about, begin_with, proves = "grow-shrink", "3 nodes, all, 3 again", 3, True

    def cycle(self, context):
        cluster = context.cluster
        added = [node for node in cluster.nodes if not node.up]
        with context.fault("grow", ", ".join(node.name for node in added)):
            for node in added:
                cluster.start(node)
            cluster.wait_members(len(cluster.nodes))
        context.prove("grow-shrink: it grew", added and all(node.members() == len(cluster.nodes) for node in cluster.live()),
                      f"{len(cluster.live())} nodes")
        heal_time(context)
        context.hold(context.hold_seconds / 2)
        with context.fault("shrink", ", ".join(node.name for node in added)):
            for node in added:
                stop_gracefully(context, node, len(cluster.live()) - 1)
        context.prove("grow-shrink: it shrank", len(cluster.live()) == 3)
        heal_time(context)


class DnsGone(Nemesis):
    """DNS answers nothing while a node is killed and started: it begins alone, takes writes, and has to come back to the others."""

    name, about, proves = "dns-gone", "DNS fails while a node dies and starts alone", True
    own_dns, needed_waits, lawful_errors = True, 1, ("NOGROUP",)
    minimum_seconds = 40

    def cycle(self, context):
        cluster = context.cluster
        victim = context.pick()[0]
        queries = cluster.dns.queries
        with context.fault(self.name, victim.name):
            cluster.dns.table = {"*": {"mode": context.chance.choice(["servfail", "timeout", "refused"])}}
            cluster.kill(victim)
            context.hold(1)
            cluster.start(victim, wait=False)
            context.hold()
            context.prove("dns-gone: the node asked and got no answer", cluster.dns.queries > queries,
                          f"{cluster.dns.queries - queries} queries, {victim.members()} members at {victim.name}")
            cluster.dns.table = cluster.dns_table()
        cluster.wait_ready([victim], 60)
        heal_time(context)
