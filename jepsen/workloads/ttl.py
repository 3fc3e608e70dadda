"""Times to live: keys with PX, some of them extended. They end not before and not after their time, and never come back.

All clocks of the run are one machine's, so the history's times tell exactly when a key may and must be gone. Where a
nemesis changes clocks, a key may live as long as a clock was wrong, but has an end.
"""

from collections import defaultdict

from workloads.base import Verdict, Workload, check_ended, lives

# A batch of requests reads the clock once, and clocks have milliseconds.
TOLERANCE = 0.02
LONGEST = 6000


class TimesToLive(Workload):
    name = "ttl"
    about = "SET PX, PEXPIRE to a longer life, GET"
    writes = frozenset({"set", "extend"})
    # By then all lives are over.
    wait_before_final = 7.0

    def __init__(self, nodes):
        super().__init__(nodes)
        self.numbers, self.recent, self.mine = {}, [], {}

    def next(self, process, chance):
        draw, mine = chance.random(), self.mine.setdefault(process, [])
        if draw < 0.2:
            number = self.numbers[process] = self.numbers.get(process, 0) + 1
            key = f"ttl:{process}-{number}"
            self.recent.append(key)
            del self.recent[:-60]
            return "set", [key, chance.randrange(300, 4000)]
        if draw < 0.3 and mine:
            return "extend", [mine.pop(), chance.randrange(4000, LONGEST)]
        return "read", [chance.choice(self.recent[-60:]) if self.recent else "ttl:none", None]

    def done(self, process, op):
        if op.f == "set" and op.ok:
            self.mine[process].append(op.value[0])
            del self.mine[process][:-3]

    def perform(self, client, f, value):
        key, life = value
        if f == "set":
            return client.call("SET", key, "here", "PX", life)
        if f == "extend":
            return client.call("PEXPIRE", key, life)
        return client.call("GET", key)

    def final(self, client):
        return lives(client, "ttl:*")

    def check(self, ops, finals):
        times, back = Verdict("not before and not after their time", "P4"), Verdict("gone is gone", "P6")
        ended = Verdict("all are gone in the end", "P6")
        check_ended(ended, finals, self.clock_error, LONGEST)
        if self.clock_error:
            ended.notes.append("the nemesis changes clocks: only that every key has an end is checked")
            return [ended]
        by_key = defaultdict(list)
        for op in ops:
            by_key[op.value[0]].append(op)
        for key, group in by_key.items():
            self._key(times, back, key, sorted(group, key=lambda op: op.start))
        return [times, back, ended]

    @staticmethod
    def _key(times, back, key, group):
        writes = [op for op in group if op.f == "set" and op.kind != "fail"]
        if len(writes) != 1:
            return
        write = writes[0]
        changes = [write] + [op for op in group if op.f == "extend" and (op.kind == "info" or (op.ok and op.result == 1))]
        # An unanswered write ends nobody knows when.
        latest = max((op.end + op.value[1] / 1000 if op.ok else float("inf")) for op in changes)
        reads = [op for op in group if op.f == "read" and op.ok]
        gone = {}
        for read in reads:
            times.examined += 1
            back.examined += read.memory in gone
            if read.result is not None and read.start > latest + TOLERANCE:
                times.breaks(f"{key} had to end at {latest:.3f} s and shows at {read.start:.3f} s", write, read)
            if read.result is None:
                # What this memory had acknowledged or shown must not be gone yet. An extension does not count here: a node that
                # has not seen it may lawfully end the key at its former time.
                known = [op for op in (write, *reads) if op.ok and op.memory == read.memory and op.end < read.start
                         and (op is write or op.result is not None)]
                earliest = write.start + write.value[1] / 1000
                if known and read.end < earliest - TOLERANCE:
                    times.breaks(f"{key} was to live until {earliest:.3f} s and is gone at {read.end:.3f} s", write, known[0], read)
                if known:
                    gone.setdefault(read.memory, read)
            elif read.memory in gone and gone[read.memory].end < read.start:
                # An extension that reached a key whose life was not over elsewhere lawfully shows it again.
                if len(changes) == 1:
                    back.breaks(f"{key} was gone at {read.node} and is back", gone[read.memory], read)
