"""Streams with a consumer group: XADD at all nodes, XREADGROUP and XACK by a consumer for each process.

Two nodes may hand out one entry (P7 is not built); an entry is never passed over and never lost.
"""

from collections import Counter, defaultdict

from workloads.base import Verdict, Workload, by_memory

KEYS, GROUP = 2, "workers"


def number_of(entry):
    """An id as a pair of numbers, which is its order."""
    milliseconds, sequence = entry.split("-")
    return int(milliseconds), int(sequence)


class Streams(Workload):
    name = "streams"
    about = "XADD, XREADGROUP and XACK of one group at all nodes, XRANGE"
    writes = frozenset({"add", "take", "acknowledge"})

    def __init__(self, nodes):
        super().__init__(nodes)
        self.numbers, self.held, self.drained = {}, {}, {}

    def setup(self, client):
        for key in range(KEYS):
            client.call("XGROUP", "CREATE", f"stream:{key}", GROUP, "0", "MKSTREAM")

    def next(self, process, chance):
        key, draw = f"stream:{chance.randrange(KEYS)}", chance.random()
        held = self.held.setdefault(process, [])
        if draw < 0.4:
            number = self.numbers[process] = self.numbers.get(process, 0) + 1
            return "add", [key, f"{process}.{number}"]
        if draw < 0.7:
            return "take", [key, f"c{process}", chance.randrange(1, 5)]
        if draw < 0.9 and held:
            return "acknowledge", held.pop()
        return "read", [key]

    def done(self, process, op):
        if op.f == "take" and op.ok:
            self.held[process] += [[op.value[0], entry] for entry, _ in op.result]

    def perform(self, client, f, value):
        key = value[0]
        if f == "add":
            return client.call("XADD", key, "*", "v", value[1])
        if f == "take":
            reply = client.call("XREADGROUP", "GROUP", GROUP, value[1], "COUNT", value[2], "STREAMS", key, ">")
            return [[entry, fields[1]] for entry, fields in reply[0][1]] if reply else []
        if f == "acknowledge":
            return client.call("XACK", key, GROUP, value[1])
        # The newest ones: a read stays small.
        return [[entry, fields[1]] for entry, fields in reversed(client.call("XREVRANGE", key, "+", "-", "COUNT", 60))]

    def final(self, client):
        data = {}
        for key in (f"stream:{key}" for key in range(KEYS)):
            entries = [[entry, fields[1]] for entry, fields in client.call("XRANGE", key, "-", "+")]
            pending = [entry for entry, *_ in client.call("XPENDING", key, GROUP, "-", "+", 1000000)]
            data[key] = {"entries": entries, "pending": pending, "drained": self.drained.get(key, [])}
        return data

    def settle(self, client):
        """Takes what the group has not delivered yet, at one node."""
        for key in (f"stream:{key}" for key in range(KEYS)):
            taken = self.drained[key] = []
            for _ in range(100000):
                reply = client.call("XREADGROUP", "GROUP", GROUP, "last", "COUNT", 500, "STREAMS", key, ">")
                if not reply:
                    break
                taken += [entry for entry, _ in reply[0][1]]

    def check(self, ops, finals):
        return [self._entries(ops, finals), self._delivered(ops, finals), self._once_at_a_node(ops)]

    @staticmethod
    def _entries(ops, finals):
        verdict = Verdict("entries", "P1 P5")
        added = {op.value[1]: op for op in ops if op.f == "add"}
        for node, data in finals.items():
            for key, shown in data.items():
                there = {value: entry for entry, value in shown["entries"]}
                if len(there) != len(shown["entries"]):
                    verdict.breaks(f"{key} shows an entry twice at {node}")
                for value, op in added.items():
                    if op.value[0] != key:
                        continue
                    verdict.examined += 1
                    if op.certain and value not in there:
                        verdict.breaks(f"entry {value} was acknowledged and is not in {key} at {node}", op)
                    if op.certain and value in there and there[value] != op.result:
                        verdict.breaks(f"entry {value} was acknowledged as {op.result} and is {there[value]} at {node}", op)
                    if op.kind == "fail" and value in there:
                        verdict.breaks(f"entry {value} was refused and is in {key} at {node}", op)
                for value in set(there) - set(added):
                    verdict.breaks(f"entry {value} is in {key} at {node} and nobody added it")
        reads = [(op.result, op) for op in ops if op.f == "read" and op.ok]
        reads += [(shown["entries"], None) for data in finals.values() for shown in data.values()]
        for entries, op in reads:
            verdict.examined += 1
            numbers = [number_of(entry) for entry, _ in entries]
            if any(first >= second for first, second in zip(numbers, numbers[1:])):
                verdict.breaks("ids do not rise", op)
        identities = defaultdict(list)
        for op in added.values():
            if op.ok:
                identities[(op.value[0], op.result)].append(op)
        for (key, entry), same in identities.items():
            if len(same) > 1:
                verdict.breaks(f"id {entry} of {key} was given to {len(same)} entries", *same)
        return verdict

    @staticmethod
    def _delivered(ops, finals):
        """Each entry in the end was delivered to somebody, or is pending (its delivery was not answered), or was left and drained."""
        verdict = Verdict("the group passes over nothing", "P5")
        delivered, added = set(), {}
        for op in ops:
            if op.f == "take" and op.ok:
                delivered |= {(op.value[0], entry) for entry, _ in op.result}
            if op.f == "add" and op.ok:
                added[(op.value[0], op.result)] = op
        # A take without an answer may have been acknowledged by nobody, so it must be pending; only XACK takes it from there.
        for node, data in finals.items():
            for key, shown in data.items():
                accounted = set(shown["pending"]) | set(shown["drained"])
                for entry, value in shown["entries"]:
                    verdict.examined += 1
                    if (key, entry) not in delivered and entry not in accounted:
                        verdict.breaks(f"{value} ({entry}) of {key} was never delivered and is not pending at {node}",
                                       added.get((key, entry)))
        return verdict

    @staticmethod
    def _once_at_a_node(ops):
        verdict = Verdict("delivered once at a node", "P4")
        takes, times = [op for op in ops if op.f == "take" and op.ok], Counter()
        for memory, group in by_memory(takes).items():
            first = {}
            for op in group:
                for entry, value in op.result:
                    verdict.examined += 1
                    if (op.value[0], entry) in first:
                        verdict.breaks(f"{value} ({entry}) was delivered twice as new at {memory[0]}", first[op.value[0], entry], op)
                    first.setdefault((op.value[0], entry), op)
        for op in takes:
            times.update((op.value[0], entry) for entry, _ in op.result)
        twice = sum(count > 1 for count in times.values())
        if twice:
            verdict.notes.append(f"{twice} of {len(times)} entries were delivered at more than one node, as expected without decisions")
        return verdict
