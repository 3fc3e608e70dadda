"""Counters: INCRBY and DECRBY at all nodes. Concurrent additions add up; none is lost, none counts twice."""

from workloads.base import Verdict, Workload, check_sums

KEYS = 5


class Counters(Workload):
    name = "counters"
    about = "INCRBY, DECRBY, GET of a few shared keys"
    writes = frozenset({"add", "change"})

    def next(self, process, chance):
        key = chance.randrange(KEYS)
        draw = chance.random()
        if draw < 0.45:
            return "add", [f"up:{key}", chance.randrange(1, 6)]
        if draw < 0.6:
            return "change", [f"both:{key}", chance.choice([-3, -2, -1, 1, 2, 4])]
        return "read", f"up:{key}"

    def perform(self, client, f, value):
        if f == "read":
            return int(client.call("GET", value) or 0)
        key, amount = value
        return client.call("INCRBY", key, amount) if amount > 0 else client.call("DECRBY", key, -amount)

    def final(self, client):
        keys = [f"{kind}:{key}" for kind in ("up", "both") for key in range(KEYS)]
        return {key: int(value or 0) for key, value in zip(keys, client.call("MGET", *keys))}

    def check(self, ops, finals):
        rising, both = Verdict("sums that only rise", "P1 P4 P5"), Verdict("sums that rise and fall", "P1 P5")
        adds = [(op.value[0], op.value[1], op) for op in ops if op.f == "add"]
        reads = [(op.value if op.f == "read" else op.value[0], op.result, op) for op in ops if op.f in ("read", "add") and op.ok]
        check_sums(rising, adds, finals, reads)
        check_sums(both, [(op.value[0], op.value[1], op) for op in ops if op.f == "change"], finals, [], rising=False)
        return [rising, both]
