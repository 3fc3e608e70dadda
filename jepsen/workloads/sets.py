"""Sets: unique elements by SADD, removed by SREM, read by SMEMBERS and SISMEMBER."""

from workloads.base import Verdict, Workload, check_elements

# So many elements share a key before the next key begins: a read stays small.
PER_KEY = 60


def key_of(element):
    process, number = element.split("-")
    return f"set:{int(number) // PER_KEY}"


class Sets(Workload):
    name = "sets"
    about = "SADD of unique elements, SREM, SMEMBERS"
    writes = frozenset({"add", "remove"})

    def __init__(self, nodes):
        super().__init__(nodes)
        self.numbers, self.removable = {}, {}

    def next(self, process, chance):
        number = self.numbers.get(process, 0)
        draw = chance.random()
        removable = self.removable.setdefault(process, [])
        if draw < 0.2 and removable:
            return "remove", removable.pop(chance.randrange(len(removable)))
        if draw < 0.65:
            self.numbers[process] = number + 1
            return "add", f"{process}-{number}"
        return "read", f"set:{max(0, number // PER_KEY - chance.randrange(2))}"

    def done(self, process, op):
        # Removes what was seen, whoever added it: a removal acts on what its node has seen.
        if op.f == "read" and op.ok and op.result and int(op.start * 1000) % 3 == 0:
            mine = self.removable[process]
            mine.append(op.result[int(op.start * 1000) % len(op.result)])
            del mine[:-20]

    def perform(self, client, f, value):
        if f == "read":
            return sorted(client.call("SMEMBERS", value))
        return client.call("SADD" if f == "add" else "SREM", key_of(value), value)

    def final(self, client):
        keys = client.call("KEYS", "set:*")
        return {key: sorted(client.call("SMEMBERS", key)) for key in keys}

    def check(self, ops, finals):
        verdict = Verdict("elements", "P1 P4 P5 P6")
        check_elements(verdict, [(op.value, op) for op in ops if op.f == "add"],
                       [(op.value, op) for op in ops if op.f == "remove"],
                       {node: {element for elements in sets.values() for element in elements} for node, sets in finals.items()},
                       [op for op in ops if op.f == "read"], lambda op: set(op.result),
                       key_of, lambda op: op.value)
        return [verdict]
