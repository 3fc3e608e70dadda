"""Sets: unique elements by SADD, removed by SREM, read by SMEMBERS. Besides, each process puts a few elements of its own in and
takes them out again, over and over: what it did last is what stays."""

from collections import defaultdict

from workloads.base import Verdict, Workload, by_memory, check_elements

# So many elements share a key before the next key begins: a read stays small.
PER_KEY = 60
OWN, OWN_KEYS = 3, 3


def key_of(element):
    process, number = element.split("-")
    return f"set:{int(number) // PER_KEY}"


class Sets(Workload):
    name = "sets"
    about = "SADD of unique elements, SREM, SMEMBERS; elements put in and taken out over and over"
    writes = frozenset({"add", "remove", "put", "take"})

    def __init__(self, nodes):
        super().__init__(nodes)
        self.numbers, self.removable = {}, {}

    def next(self, process, chance):
        number = self.numbers.get(process, 0)
        draw = chance.random()
        removable = self.removable.setdefault(process, [])
        if chance.random() < 0.4:
            if draw < 0.4:
                return "look", f"own:{process % OWN_KEYS}"
            return ("put" if draw < 0.7 else "take"), [f"own:{process % OWN_KEYS}", f"{process}:{chance.randrange(OWN)}"]
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
        if f in ("read", "look"):
            return sorted(client.call("SMEMBERS", value))
        if f in ("put", "take"):
            return client.call("SADD" if f == "put" else "SREM", *value)
        return client.call("SADD" if f == "add" else "SREM", key_of(value), value)

    def final(self, client):
        keys = client.call("KEYS", "set:*")
        keys += [f"own:{number}" for number in range(OWN_KEYS)]
        return {key: sorted(client.call("SMEMBERS", key)) for key in keys}

    def check(self, ops, finals):
        verdict = Verdict("elements", "P1 P4 P5 P6")
        check_elements(verdict, [(op.value, op) for op in ops if op.f == "add"],
                       [(op.value, op) for op in ops if op.f == "remove"],
                       {node: {element for key, elements in sets.items() if key.startswith("set:") for element in elements}
                        for node, sets in finals.items()},
                       [op for op in ops if op.f == "read"], lambda op: set(op.result),
                       key_of, lambda op: op.value)
        return [verdict, self._own(ops, finals)]

    @staticmethod
    def _own(ops, finals):
        """An element that one process alone puts in and takes out is as it was left, at its node at once and everywhere in the end."""
        verdict = Verdict("as its only owner left it", "P1 P4 P5 P6")
        changes = defaultdict(list)
        for op in sorted((op for op in ops if op.f in ("put", "take") and op.kind != "fail"), key=lambda op: op.start):
            changes[tuple(op.value)].append(op)
        for (key, element), group in changes.items():
            last = group[-1]
            # After a death the new life may take out only what it has heard of; such an end is not foretold.
            foretold = last.certain and (last.f == "put" or all(op.memory == last.memory and op.kind == "ok" for op in group))
            verdict.examined += foretold
            for node, sets in finals.items():
                if foretold and (element in sets[key]) != (last.f == "put"):
                    verdict.breaks(f"{element} is {'' if element in sets[key] else 'not '}in {key} at {node}", last)
        by_key = defaultdict(list)
        for (key, element), group in changes.items():
            by_key[key].append((element, group))
        for memory, looks in by_memory(op for op in ops if op.f == "look" and op.ok).items():
            for look in looks:
                for element, group in by_key[look.value]:
                    before = [op for op in group if op.start < look.end]
                    near = [op for op in before if op.memory == memory][-1:]
                    # As above: what a former life had put in may come back from others.
                    foretold = near and (near[0].f == "put" or all(op.memory == memory for op in before))
                    if foretold and near[0].ok and near[0].end < look.start:
                        verdict.examined += 1
                        if (element in look.result) != (near[0].f == "put"):
                            verdict.breaks(f"{element} was {'put into' if near[0].f == 'put' else 'taken from'} {look.value} at "
                                           f"{memory[0]} and a read there shows otherwise", near[0], look)
        return verdict
