"""The nemeses by name: what goes wrong, how often and how badly."""

from faults import Nemesis
from network_faults import Overflow, Packets, Partition, bridge, halves, isolated, one_way, ring
from node_faults import Clocks, DnsGone, GrowAndShrink, Kill, KillInPartition, Pause, Restart


class Mixed(Nemesis):
    """In each cycle another of several nemeses, at random."""

    name, about, proves, needed_waits = "mixed", "cuts, kills, pauses and bad networks in turn", True, 1
    minimum_seconds = 40

    def __init__(self, parts):
        self.parts = parts

    def cycle(self, context):
        context.chance.choice(self.parts).cycle(context)


def _all():
    yield Nemesis()
    parts = [Partition("partition-halves", "two sides that do not hear each other", halves, True)]
    yield parts[0]
    yield Partition("partition-one", "one node alone", isolated, True)
    yield Partition("partition-ring", "each node reaches two neighbours only", ring, False)
    yield Partition("partition-bridge", "two sides, one node reaches both", bridge, False)
    yield Partition("partition-one-way", "one node is heard and does not hear", one_way, False)
    yield Partition("partition-long", "two sides for 40 s, longer than members live", halves, True, 40)
    yield Overflow()
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
