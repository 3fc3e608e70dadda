"""Transactions of appends and reads over lists, with a history that Elle reads: `[[:append k v] [:r k [v ...]]]`.

Elle's models demand one order of transactions, which a store with many writers does not promise: concurrent appends merge. The
check here asks for what is promised: every append once, transactions whole, sessions that do not go back, and one order
of elements at which all reads agree.
"""

from collections import defaultdict

from workloads.base import Verdict, Workload, by_memory

KEYS, PER_KEY = 4, 60


class ListAppend(Workload):
    name = "list-append"
    about = "MULTI of RPUSH and LRANGE over several lists; a history for Elle"
    writes = frozenset({"txn"})

    def __init__(self, nodes):
        super().__init__(nodes)
        self.numbers, self.appended = {}, 0

    def next(self, process, chance):
        steps = []
        for _ in range(chance.randrange(1, 4)):
            # After so many appends the keys are left for fresh ones.
            key = self.appended // (KEYS * PER_KEY) * KEYS + chance.randrange(KEYS)
            if chance.random() < 0.5:
                number = self.numbers[process] = self.numbers.get(process, 0) + 1
                self.appended += 1
                steps.append(["append", key, process * 1_000_000 + number])
            else:
                steps.append(["r", key, None])
        return "txn", steps

    def perform(self, client, f, value):
        replies = client.transaction([("RPUSH", f"list:{key}", number) if step == "append" else ("LRANGE", f"list:{key}", 0, -1)
                                      for step, key, number in value])
        return [[step, key, number if step == "append" else [int(item) for item in reply]]
                for (step, key, number), reply in zip(value, replies)]

    def final(self, client):
        return {key[5:]: [int(item) for item in client.call("LRANGE", key, 0, -1)] for key in client.call("KEYS", "list:*")}

    def check(self, ops, finals):
        writers, together = {}, {}
        for op in ops:
            own = [(key, number) for step, key, number in op.value if step == "append"]
            for key, number in own:
                writers[number] = (key, op)
                together[number] = own
        return [self._appends(ops, finals, writers), self._whole(ops, together), self._sessions(ops, writers), self._order(ops, finals)]

    @staticmethod
    def _reads(op):
        return [(place, key, items) for place, (step, key, items) in enumerate(op.result) if step == "r"] if op.ok else []

    def _appends(self, ops, finals, writers):
        verdict = Verdict("every append once", "P1 P5")
        for node, lists in finals.items():
            for number, (key, op) in writers.items():
                verdict.examined += 1
                count = lists.get(str(key), []).count(number)
                if op.certain and count == 0:
                    verdict.breaks(f"{number} was appended to list {key} and is lost at {node}", op)
                if count > 1:
                    verdict.breaks(f"{number} is {count} times in list {key} at {node}", op)
        shown = [(items, key, op) for op in ops for _, key, items in self._reads(op)]
        shown += [(items, int(key), None) for lists in finals.values() for key, items in lists.items()]
        for items, key, op in shown:
            for number in items:
                if number not in writers or writers[number][0] != key or writers[number][1].kind == "fail":
                    verdict.breaks(f"list {key} shows {number}, which nobody appended there", op)
        return verdict

    def _whole(self, ops, together):
        """A read that shows one append of a transaction shows all of that transaction in the lists that it reads."""
        verdict = Verdict("all or nothing", "P3")
        for op in ops:
            reads = self._reads(op)
            shown = {}
            for _, key, items in reads:
                shown.setdefault(key, set(items))  # a later read of the same key may have own appends on top
            own = {number for step, _, number in op.value if step == "append"}
            verdict.examined += len(reads)
            for key, items in shown.items():
                for number in items - own:
                    for other_key, other in together.get(number, ()):
                        if other_key in shown and other not in shown[other_key]:
                            verdict.breaks(f"{number} of list {key} shows, {other} of list {other_key} from the same transaction does not", op)
            done = set()
            for place, (step, key, number) in enumerate(op.value):
                if step == "append":
                    done.add((key, number))
                elif op.ok:
                    for own_key, own_number in done:
                        if own_key == key and own_number not in op.result[place][2]:
                            verdict.breaks(f"a transaction does not see its own append of {own_number}", op)
        return verdict

    def _sessions(self, ops, writers):
        """What a node acknowledged or showed, it goes on showing."""
        verdict = Verdict("sessions at a node", "P4")
        for memory, group in by_memory(op for op in ops if op.ok).items():
            known, waiting = defaultdict(dict), sorted(group, key=lambda op: op.end)
            position = 0
            for op in group:
                while position < len(waiting) and waiting[position].end < op.start:
                    earlier = waiting[position]
                    for step, key, content in earlier.result:
                        for number in [content] if step == "append" else content:
                            known[key].setdefault(number, earlier)
                    position += 1
                for _, key, items in self._reads(op):
                    verdict.examined += 1
                    for number in known[key].keys() - set(items):
                        verdict.breaks(f"{number} was in list {key} at {memory[0]} and is not any more", known[key][number], op)
        return verdict

    def _order(self, ops, finals):
        """Elements stand in one order: each read is the final list with some elements left out."""
        verdict = Verdict("one order", "P1")
        lists = next(iter(finals.values()), {})
        place = {key: {number: at for at, number in enumerate(items)} for key, items in lists.items()}
        for op in ops:
            for _, key, items in self._reads(op):
                verdict.examined += 1
                at = [place[str(key)][number] for number in items if number in place.get(str(key), {})]
                if at != sorted(at):
                    verdict.breaks(f"list {key} showed another order than it has in the end", op)
        return verdict
