"""What goes wrong, and the proof that it went wrong.

A nemesis has one fault from its beginning to its end in `cycle`; the cell repeats that while there is time. Each cycle proves
that its fault took hold: a run whose fault did not is a failed test of the test.
"""

import contextlib
import json
import signal
import subprocess
import sys
import time

from cluster import CLUSTER_PORT, HERE, Failure, faketime_library, wait_for
import packets


class Context:
    """What a nemesis works with in one cell."""

    def __init__(self, cluster, history, chance, hold):
        self.cluster, self.history, self.chance, self.hold_seconds = cluster, history, chance, hold
        self.evidence, self.promises = [], []

    def prove(self, what, holds, detail=""):
        """Notes whether a fault took hold."""
        self.evidence.append({"what": what, "holds": bool(holds), "detail": str(detail)[:300]})

    def promise(self, what, holds, detail=""):
        """Notes whether the server did what it promises about this fault."""
        self.promises.append({"what": what, "holds": bool(holds), "detail": str(detail)[:300]})

    @contextlib.contextmanager
    def fault(self, label, detail=""):
        event = self.history.begin(label, detail)
        try:
            yield event
        finally:
            self.history.finish(event)

    def pick(self, count=1):
        return self.chance.sample(self.cluster.live(), count)

    def hold(self, seconds=None):
        time.sleep(self.hold_seconds if seconds is None else seconds)


class Nemesis:
    """No fault at all, and what all faults have in common."""

    name, about = "none", "nothing goes wrong"
    # How many nodes run at first; None for all.
    begin_with = None
    # How many peers have to confirm a write so that it must survive this nemesis.
    needed_waits = 0
    faketime = own_dns = False
    clocks_agree = True
    minimum_seconds = 0
    # Beginnings of error replies that are in order under this nemesis, besides LOADING.
    lawful_errors = ()

    def missing(self):
        """What has to be installed for it, or None."""

    def cycle(self, context):
        context.hold(1)

    proves = False


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
            context.prove(f"{self.name}: datagrams were dropped", all(counters.get(pair, 0) > 0 for pair in blocked_names(blocked)),
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


def heal_time(context):
    """Until every node sees every other again; that they do is promised (P1)."""
    seconds = context.cluster.wait_connected()
    context.promise("connected again after the fault", True, f"{seconds:.1f} s")


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


class Mixed(Nemesis):
    """In each cycle another of several nemeses, at random."""

    name, about, proves, needed_waits = "mixed", "cuts, kills, pauses and bad networks in turn", True, 1
    minimum_seconds = 40

    def __init__(self, parts):
        self.parts = parts

    def cycle(self, context):
        context.chance.choice(self.parts).cycle(context)


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


class Clocks(Nemesis):
    """Wall clocks of some nodes jump by libfaketime, forwards and back; the monotonic clock goes on."""

    proves, faketime, clocks_agree = True, True, False

    def __init__(self, name, about, offsets, steps):
        self.name, self.about, self.offsets, self.steps = name, about, offsets, steps

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
        context.prove("grow-shrink: it grew", all(node.members() == len(cluster.nodes) for node in cluster.live()),
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


def _all():
    yield Nemesis()
    parts = [Partition("partition-halves", "two sides that do not hear each other", halves, True)]
    yield parts[0]
    yield Partition("partition-one", "one node alone", isolated, True)
    yield Partition("partition-ring", "each node reaches two neighbours only", ring, False)
    yield Partition("partition-bridge", "two sides, one node reaches both", bridge, False)
    yield Partition("partition-one-way", "one node is heard and does not hear", one_way, False)
    yield Partition("partition-long", "two sides for 40 s, longer than members live", halves, True, 40)
    parts.append(Kill("kill", "kill -9 of a node, restart with an empty memory", 1))
    yield parts[-1]
    yield Kill("kill-two", "kill -9 of two nodes at once", 2)
    yield KillInPartition()
    parts.append(Pause("pause-short", "a node frozen for 5 s", 5))
    yield parts[-1]
    yield Pause("pause-long", "a node frozen for 38 s, longer than a member lives", 38)
    yield Packets("packets-delay", "each datagram 20 to 60 ms late", {"delay": 40, "jitter": 20}, ["delayed"])
    yield Packets("packets-loss", "a tenth of all datagrams lost", {"loss": 0.1}, ["lost"])
    yield Packets("packets-reorder", "a third of all datagrams overtaken", {"delay": 10, "jitter": 10, "reorder": 0.33}, ["reordered"])
    yield Packets("packets-duplicate", "a third of all datagrams twice", {"duplicate": 0.33}, ["duplicated"])
    parts.append(Packets("packets-all", "late, lost, overtaken and twice",
                         {"delay": 20, "jitter": 15, "loss": 0.05, "duplicate": 0.1}, ["delayed", "lost", "reordered", "duplicated"]))
    yield parts[-1]
    yield Clocks("clock-jump", "clocks jump by minutes and hours", [-7200, -300, 300, 7200], 1)
    yield Clocks("clock-strobe", "clocks jump to and fro by seconds", [-40, -5, 5, 40], 3)
    yield Restart()
    yield GrowAndShrink()
    yield DnsGone()
    yield Mixed([*parts, KillInPartition()])


NEMESES = {nemesis.name: nemesis for nemesis in _all()}
