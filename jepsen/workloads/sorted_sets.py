"""Sorted sets: unique members by ZADD, sums by ZINCRBY, removal by ZREM."""

from workloads.base import Verdict, Workload, check_elements, check_sums

SUMS, PER_KEY = 6, 60


class SortedSets(Workload):
    name = "sorted-sets"
    about = "ZADD of unique members, ZINCRBY of shared ones, ZREM, ZRANGE"
    writes = frozenset({"add", "sum", "remove"})
    # The keys; with the commands, what another type with members and sums replaces.
    members_keys, sums_key = "members", "sums"

    def __init__(self, nodes):
        super().__init__(nodes)
        self.numbers, self.removable = {}, {}

    def key_of(self, member):
        return f"{self.members_keys}:{int(member.split('-')[1]) // PER_KEY}"

    def next(self, process, chance):
        number, draw = self.numbers.get(process, 0), chance.random()
        removable = self.removable.setdefault(process, [])
        if draw < 0.15 and removable:
            return "remove", removable.pop(chance.randrange(len(removable)))
        if draw < 0.4:
            self.numbers[process] = number + 1
            return "add", [f"{process}-{number}", chance.randrange(1000)]
        if draw < 0.65:
            return "sum", [f"s{chance.randrange(SUMS)}", chance.randrange(1, 5)]
        if draw < 0.8:
            return "sums", None
        return "read", f"{self.members_keys}:{max(0, number // PER_KEY - chance.randrange(2))}"

    def done(self, process, op):
        if op.f == "read" and op.ok and op.result and int(op.start * 1000) % 3 == 0:
            mine = self.removable[process]
            mine.append(op.result[int(op.start * 1000) % len(op.result)][0])
            del mine[:-20]

    def perform(self, client, f, value):
        if f == "add":
            return client.call("ZADD", self.key_of(value[0]), value[1], value[0])
        if f == "remove":
            return client.call("ZREM", self.key_of(value), value)
        if f == "sum":
            return int(client.call("ZINCRBY", self.sums_key, value[1], value[0]))
        return self.numbers_of(client, self.sums_key if f == "sums" else value)

    def numbers_of(self, client, key):
        flat = client.call("ZRANGE", key, 0, -1, "WITHSCORES")
        return [[member, int(score)] for member, score in zip(flat[::2], flat[1::2])]

    def final(self, client):
        return {key: self.numbers_of(client, key) for key in [*client.call("KEYS", f"{self.members_keys}:*"), self.sums_key]}

    def check(self, ops, finals):
        elements, sums = Verdict("members", "P1 P4 P5 P6"), Verdict("sums of members", "P1 P4 P5")
        check_elements(elements, [(op.value[0], op) for op in ops if op.f == "add"],
                       [(op.value, op) for op in ops if op.f == "remove"],
                       {node: {member for key, shown in data.items() if key != self.sums_key for member, _ in shown}
                        for node, data in finals.items()},
                       [op for op in ops if op.f == "read"], lambda op: {member for member, _ in op.result},
                       self.key_of, lambda op: op.value)
        check_sums(sums, [(op.value[0], op.value[1], op) for op in ops if op.f == "sum"],
                   {node: dict(map(tuple, data[self.sums_key])) for node, data in finals.items()},
                   [(op.value[0], op.result, op) for op in ops if op.f == "sum" and op.ok]
                   + [(member, total, op) for op in ops if op.f == "sums" and op.ok for member, total in op.result])
        return [elements, sums, self._values(ops, finals)]

    def _values(self, ops, finals):
        """Each member has the number it was added with, and a sorted set is in order."""
        verdict = Verdict("scores", "P1 P5")
        given = {op.value[0]: (op.value[1], op) for op in ops if op.f == "add"}
        shown = [(op.result, op) for op in ops if op.f == "read" and op.ok]
        shown += [(data[key], None) for data in finals.values() for key in data if key != self.sums_key]
        for pairs, read in shown:
            verdict.examined += 1
            for member, score in pairs:
                if member in given and given[member][0] != score:
                    verdict.breaks(f"{member} was added with {given[member][0]} and shows {score}", given[member][1], read)
            self._order(verdict, pairs, read)
        return verdict

    def _order(self, verdict, pairs, read):
        if [score for _, score in pairs] != sorted(score for _, score in pairs):
            verdict.breaks("the members are not in the order of their scores", read)
