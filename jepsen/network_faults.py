"""Faults of the network between the nodes: cuts of every shape, and packets that are late, lost, overtaken or doubled."""

import json
import signal
import subprocess
import sys
import time

import packets
from cluster import CLUSTER_PORT, HERE, Failure, wait_for
from faults import Nemesis, heal_time


class Partition(Nemesis):
    """Drops the datagrams between some nodes, each direction for itself; clients reach all nodes."""

    proves = True

    def __init__(self, name, about, shape, separates, seconds=None):
        self.name, self.about, self.shape, self.separates, self.seconds = name, about, shape, separates, seconds
        self.minimum_seconds = seconds + 15 if seconds else 0

    def cycle(self, context):
        cluster = context.cluster
        nodes = context.pick(len(cluster.live()))
        blocked = self.shape(nodes)
        label = ", ".join(f"{a.name}↛{b.name}" for a, b in sorted(blocked, key=lambda pair: (pair[0].number, pair[1].number)))
        with context.fault(self.name, label):
            cut(cluster, blocked)
            context.hold(min(1.0, context.hold_seconds / 4))
            if self.separates:
                self.probe(context, nodes, blocked)
            context.hold(self.seconds)
            counters = dropped(cluster)
            context.prove(f"{self.name}: datagrams were dropped",
                          blocked and all(counters.get(pair, 0) > 0 for pair in blocked_names(blocked)),
                          f"{sum(counters.values())} in {len(blocked)} directions")
            cluster.forget_rules()
        heal_time(context)

    def probe(self, context, nodes, blocked):
        """A write on one side must not show on the other while the cut lasts."""
        first = nodes[0]
        far = [node for node in nodes if (first, node) in blocked]
        token = f"{context.chance.getrandbits(48):x}"
        wrote = first.ask("SET", f"probe:cut:{first.name}", token)
        time.sleep(1.0)
        shown = {node.name: node.ask("GET", f"probe:cut:{first.name}") for node in far}
        context.prove(f"{self.name}: a write at one side does not show at the other",
                      wrote == "OK" and all(value != token for value in shown.values()), f"{first.name} → {', '.join(shown)}")


def cut(cluster, blocked, receivers=None):
    """Blocks datagrams in each direction given as (from, to), at the receiver."""
    for node in receivers or cluster.live():
        rules = [f"-A INPUT -s {source.address}/32 -p udp -j DROP" for source, target in blocked if target is node]
        if rules:
            cluster.stand.inside(node, "iptables-restore", "--noflush", "-w", text="\n".join(["*filter", *rules, "COMMIT", ""]))


def dropped(cluster):
    """How many datagrams each rule has dropped, by (from, to)."""
    names = {node.address: node.name for node in cluster.nodes}
    found = {}
    for node in cluster.live():
        for line in cluster.stand.inside(node, "iptables", "-w", "-L", "INPUT", "-v", "-x", "-n").splitlines():
            words = line.split()
            if len(words) > 7 and words[2] == "DROP":
                source = next((names[word] for word in words if word in names), None)
                found[(source, node.name)] = int(words[0])
    return found


def blocked_names(blocked):
    return {(source.name, target.name) for source, target in blocked}


def between(one, other):
    return {(a, b) for a in one for b in other} | {(b, a) for a in one for b in other}


def halves(nodes):
    middle = len(nodes) // 2
    return between(nodes[:middle], nodes[middle:])


def isolated(nodes):
    return between(nodes[:1], nodes[1:])


def ring(nodes):
    """Each node reaches its two neighbours only."""
    count = len(nodes)
    return {(nodes[a], nodes[b]) for a in range(count) for b in range(count) if (a - b) % count not in (0, 1, count - 1)}


def bridge(nodes):
    """Two sides that one node reaches both."""
    middle = (len(nodes) - 1) // 2
    return between(nodes[:middle], nodes[middle + 1:])


def one_way(nodes):
    """One node is heard and does not hear."""
    return {(other, nodes[0]) for other in nodes[1:]}


class Overflow(Nemesis):
    """One node alone, while the others write more than their logs hold: they forget what it lacks, and it has to come back all the same.

    Single effects no longer help: it takes over the state of another, or gives up its identity and makes its own writes anew
    (DESIGN.md, handover, reconciliation, rebase).
    """

    # What the log of such a node says.
    ways_back = ("handover received", "the data of a peer is taken over", "rebase:")

    name, about, proves = "log-overflow", "a node alone while the others write 160 MiB, more than a log holds", True
    minimum_seconds = 40

    def cycle(self, context):
        cluster = context.cluster
        nodes = context.pick(len(cluster.live()))
        value, keys = b"x" * (256 << 10), [f"bulk:{number}" for number in range(640)]
        before = self.count_ways_back(cluster, nodes)
        with context.fault(self.name, f"{nodes[0].name} alone"):
            cut(cluster, isolated(nodes))
            context.hold(2)
            with nodes[1].client(30) as client:
                for start in range(0, len(keys), 20):
                    client.pipeline([("SET", key, value) for key in keys[start:start + 20]])
                    time.sleep(0.05)
            seconds = wait_for(lambda: all(node.ask("EXISTS", *keys, timeout=20) == len(keys) for node in nodes[1:]), 90,
                               lambda: "the others do not hold what was written")
            context.prove("log-overflow: the others hold it all", True, f"{seconds:.1f} s after it was written")
            context.hold()
            context.prove("log-overflow: datagrams were dropped", sum(dropped(cluster).values()) > 0)
            cluster.forget_rules()
        heal_time(context)
        after = self.count_ways_back(cluster, nodes)
        context.prove("log-overflow: a node took over a state, or rebased", after > before, f"{after - before} of {len(nodes)}")
        with nodes[1].client(30) as client:
            client.call("DEL", *keys)

    def count_ways_back(self, cluster, nodes):
        lines = [line for node in nodes for line in cluster.stand.logs(node).splitlines()]
        return sum(way in line for line in lines for way in self.ways_back)


class Packets(Nemesis):
    """A bad network by packets.py: what `options` say happens to each datagram between nodes."""

    proves = True

    def __init__(self, name, about, options, counters):
        self.name, self.about, self.options, self.counters = name, about, options, counters

    def cycle(self, context):
        cluster = context.cluster
        pids = [str(cluster.stand.pid(node)) for node in cluster.live()]
        arguments = [part for name, value in self.options.items() for part in (f"--{name}", str(value))]
        with context.fault(self.name, " ".join(arguments)):
            worker = subprocess.Popen([sys.executable, str(HERE / "packets.py"), *arguments, "--seed",
                                       str(context.chance.getrandbits(30)), *pids], stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            try:
                if worker.stdout.readline().strip() != "ready":
                    raise Failure(f"packets.py: {worker.stderr.read()}")
                rule = (f"*mangle\n-A OUTPUT -p udp --dport {CLUSTER_PORT} -m mark ! --mark {packets.MARK:#x} -j NFQUEUE "
                        f"--queue-num {packets.QUEUE} --queue-bypass\nCOMMIT\n")
                for node in cluster.live():
                    cluster.stand.inside(node, "iptables-restore", "--noflush", "-w", text=rule)
                context.hold()
                if self.options.get("delay"):
                    self.measure(context)
                cluster.forget_rules()
            finally:
                worker.send_signal(signal.SIGTERM)
                try:
                    said, errors = worker.communicate(timeout=10)
                except subprocess.TimeoutExpired:
                    worker.kill()
                    said, errors = worker.communicate()
        counters = json.loads(said) if said.strip() else {}
        context.prove(f"{self.name}: packets met their fate", all(counters.get(name, 0) > 0 for name in self.counters),
                      counters or errors)
        heal_time(context)

    def measure(self, context):
        """A write takes at least the delay to show elsewhere."""
        first, second = context.pick(2)
        token = f"{context.chance.getrandbits(48):x}"
        start = time.monotonic()
        first.ask("SET", "probe:delay", token)
        seconds = wait_for(lambda: second.ask("GET", "probe:delay") == token, 20, lambda: "a write under delay does not arrive", 0.002)
        least = (self.options["delay"] - self.options.get("jitter", 0)) / 1000
        context.prove(f"{self.name}: a write takes its time to the next node", time.monotonic() - start >= least,
                      f"{seconds * 1000:.0f} ms, at least {least * 1000:.0f}")
