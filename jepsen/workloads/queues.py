"""Lists as queues: batches by RPUSH and LPUSH, taken by LPOP and RPOP. Nothing pushed is lost; a batch stays together.

Taking from a list is decided at the node that is asked (P7 is not built): two nodes may hand out the same element.
That is counted and shown, not a broken promise.
"""

from collections import Counter, defaultdict

from workloads.base import Verdict, Workload, by_memory

KEYS = 4


class Queues(Workload):
    name = "queues"
    about = "RPUSH and LPUSH of batches, LPOP, RPOP, LRANGE"
    writes = frozenset({"push", "pop"})

    def __init__(self, nodes):
        super().__init__(nodes)
        self.numbers = {}

    def next(self, process, chance):
        key, draw = chance.randrange(KEYS), chance.random()
        if draw < 0.3:
            number = self.numbers[process] = self.numbers.get(process, 0) + 1
            end = chance.choice(["R", "L"])
            return "push", [f"queue:{key}", end, [f"{process}.{number}.{part}" for part in range(chance.randrange(1, 4))]]
        if draw < 0.85:
            return "pop", [f"queue:{key}", chance.choice("LLR")]
        return "read", [f"queue:{key}"]

    def perform(self, client, f, value):
        if f == "push":
            return client.call(f"{value[1]}PUSH", value[0], *value[2])
        if f == "pop":
            return client.call(f"{value[1]}POP", value[0])
        return client.call("LRANGE", value[0], 0, -1)

    def final(self, client):
        return {f"queue:{key}": client.call("LRANGE", f"queue:{key}", 0, -1) for key in range(KEYS)}

    def check(self, ops, finals):
        return [self._nothing_lost(ops, finals), self._batches(ops, finals), self._taken_once_at_a_node(ops)]

    @staticmethod
    def _nothing_lost(ops, finals):
        verdict = Verdict("nothing pushed is lost", "P5 P6")
        taken, unknown = defaultdict(list), Counter()
        for op in ops:
            if op.f == "pop":
                if op.ok and op.result is not None:
                    taken[op.result].append(op)
                elif op.kind == "info":
                    unknown[op.value[0]] += 1
        pushed = {element: op for op in ops if op.f == "push" for element in op.value[2]}
        for node, lists in finals.items():
            missing = Counter()
            there = Counter(element for elements in lists.values() for element in elements)
            for element, op in pushed.items():
                verdict.examined += 1
                if op.certain and not taken[element] and not there[element]:
                    missing[op.value[0]] += 1
                    if missing[op.value[0]] > unknown[op.value[0]]:
                        verdict.breaks(f"{element} was pushed and acknowledged, never taken, and is not in {op.value[0]} at {node}; "
                                       f"unanswered pops explain at most {unknown[op.value[0]]} such elements", op)
                if op.kind == "fail" and there[element]:
                    verdict.breaks(f"{element} was refused and is in {op.value[0]} at {node}", op)
            for element, count in there.items():
                if count > 1:
                    verdict.breaks(f"{element} is {count} times in {node}'s lists", pushed.get(element))
                for pop in taken[element]:
                    if pop.certain:
                        verdict.breaks(f"{element} was taken and is back at {node}", pushed.get(element), pop)
        for element, pops in taken.items():
            if element not in pushed:
                verdict.breaks(f"{element} was taken and nobody pushed it", *pops)
        twice = sum(len(pops) > 1 for pops in taken.values())
        if twice:
            verdict.notes.append(f"{twice} of {len(taken)} elements were taken at more than one node, as expected without decisions")
        return verdict

    @staticmethod
    def _batches(ops, finals):
        """What is left of a batch lies side by side, in its order (LPUSH: turned round)."""
        verdict = Verdict("batches stay together", "P3")
        batch_of = {element: (number, place, op) for number, op in enumerate(op for op in ops if op.f == "push")
                    for place, element in enumerate(op.value[2] if op.value[1] == "R" else reversed(op.value[2]))}
        shown = [(op.result, op) for op in ops if op.f == "read" and op.ok]
        shown += [(elements, None) for lists in finals.values() for elements in lists.values()]
        for elements, read in shown:
            verdict.examined += 1
            ended, previous = set(), None
            for element in elements:
                if element not in batch_of:
                    verdict.breaks(f"{element} shows and nobody pushed it", read)
                    previous = None
                    continue
                number, place, push = batch_of[element]
                if previous is not None and previous[0] == number:
                    if previous[1] >= place:
                        verdict.breaks(f"{element} stands behind a later part of its batch", push, read)
                elif number in ended:
                    verdict.breaks(f"{element} is not beside the rest of its batch", push, read)
                if previous is not None and previous[0] != number:
                    ended.add(previous[0])
                previous = (number, place)
        return verdict

    @staticmethod
    def _taken_once_at_a_node(ops):
        verdict = Verdict("taken once at a node", "P4 P6")
        for memory, group in by_memory(op for op in ops if op.f == "pop" and op.ok and op.result is not None).items():
            first = {}
            for op in group:
                verdict.examined += 1
                if op.result in first:
                    verdict.breaks(f"{op.result} was taken twice at {memory[0]}", first[op.result], op)
                first.setdefault(op.result, op)
        return verdict
