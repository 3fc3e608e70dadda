"""Locks: SET NX PX with a token, released by a script that compares it.

A lock that is used at one node only is mutually exclusive. One that is used at several is not, since such commands decide
locally (P7 is not built): what happens there is counted and shown.
"""

from collections import defaultdict

from workloads.base import Verdict, Workload, check_ended, lives

SHARED, LIFE_MS = 3, 2000
RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class Locks(Workload):
    name = "locks"
    about = "SET NX PX and a release script; exclusive at one node, double grants across nodes counted"
    writes = frozenset({"acquire", "release"})
    wait_before_final = LIFE_MS / 1000 + 1

    def __init__(self, nodes):
        super().__init__(nodes)
        self.numbers, self.held = {}, {}

    def next(self, process, chance):
        held = self.held.setdefault(process, [])
        if held and chance.random() < 0.6:
            return "release", held.pop()
        number = self.numbers[process] = self.numbers.get(process, 0) + 1
        lock = f"lock:own:{process % self.nodes}" if chance.random() < 0.6 else f"lock:shared:{chance.randrange(SHARED)}"
        return "acquire", [lock, f"{process}.{number}"]

    def done(self, process, op):
        if op.f == "acquire" and op.ok and op.result == "OK":
            self.held[process].append(op.value)

    def perform(self, client, f, value):
        lock, token = value
        if f == "acquire":
            return client.call("SET", lock, token, "NX", "PX", LIFE_MS)
        return client.call("EVAL", RELEASE, 1, lock, token)

    def final(self, client):
        return lives(client, "lock:*")

    def check(self, ops, finals):
        exclusive, ended = Verdict("exclusive at one node", "P4"), Verdict("locks end", "P6")
        released = {op.value[1]: op for op in ops if op.f == "release" and op.kind != "fail"}
        grants = defaultdict(list)
        for op in ops:
            if op.f == "acquire" and op.ok and op.result == "OK":
                release = released.get(op.value[1])
                # Held for certain from the answer until the release is asked for or its life may be over.
                end = min(op.start + LIFE_MS / 1000, release.start if release else float("inf"))
                grants[op.value[0]].append((op.end, end, op))
        double = shared = 0
        for lock, held in grants.items():
            held.sort(key=lambda grant: grant[0])
            for index, (_, end, op) in enumerate(held):
                overlapping = [other for start, _, other in held[index + 1:index + 20] if start < end]
                if lock.startswith("lock:shared"):
                    shared, double = shared + 1, double + bool(overlapping)
                    continue
                exclusive.examined += 1
                for other in overlapping:
                    if other.memory == op.memory and not self.clock_error:
                        exclusive.breaks(f"{lock} was granted to {other.value[1]} while {op.value[1]} held it", op, other)
        exclusive.notes.append(f"locks used at several nodes: {double} of {shared} grants overlapped another, "
                               "as expected until decisions are built")
        check_ended(ended, finals, self.clock_error, LIFE_MS)
        return [exclusive, ended]
