"""MULTI and EXEC: keys of several types that are always written together are equal at every read, at every node."""

from workloads.base import Verdict, Workload, by_memory

GROUPS = 4


class Transactions(Workload):
    name = "multi"
    about = "three keys of different types written in one EXEC, read in one EXEC"
    writes = frozenset({"write"})

    def __init__(self, nodes):
        super().__init__(nodes)
        self.numbers = {}

    def next(self, process, chance):
        group = chance.randrange(GROUPS)
        if chance.random() < 0.4:
            number = self.numbers[process] = self.numbers.get(process, 0) + 1
            return "write", [group, process * 1_000_000 + number]
        return "read", [group, None]

    def perform(self, client, f, value):
        group, number = value
        if f == "write":
            client.transaction([("SET", f"m:{group}:string", number), ("HSET", f"m:{group}:hash", "field", number),
                                ("ZADD", f"m:{group}:zset", number, "member")])
            return [group, number]
        return [group, self._read(client, group)]

    @staticmethod
    def _read(client, group):
        replies = client.transaction([("GET", f"m:{group}:string"), ("HGET", f"m:{group}:hash", "field"),
                                      ("ZSCORE", f"m:{group}:zset", "member")])
        return [None if reply is None else int(reply) for reply in replies]

    def final(self, client):
        return {str(group): self._read(client, group) for group in range(GROUPS)}

    def check(self, ops, finals):
        whole, known, own = Verdict("all or nothing", "P3"), Verdict("only what was written", "P5"), Verdict("sessions at a node", "P4")
        written = {op.value[1]: op for op in ops if op.f == "write" and op.kind != "fail"}
        shown = [(op.result[1], op.value[0], op) for op in ops if op.f == "read" and op.ok]
        shown += [(values, int(group), None) for data in finals.values() for group, values in data.items()]
        for values, group, op in shown:
            whole.examined += 1
            known.examined += 1
            if len(set(values)) != 1:
                whole.breaks(f"group {group} shows {values}", *(written.get(value) for value in set(values)), op)
            for value in set(values) - {None} - set(written):
                known.breaks(f"group {group} shows {value}, which nobody wrote", op)
        for group in range(GROUPS):
            certain = [op for op in written.values() if op.value[0] == group and op.certain]
            for node, data in finals.items():
                if certain and None in data[str(group)]:
                    known.breaks(f"group {group} was written and is empty at {node}", certain[-1])
        for memory, group in by_memory(op for op in ops if op.ok).items():
            acknowledged = {}
            for op in group:
                own.examined += op.f == "read"
                if op.f == "write":
                    acknowledged.setdefault(op.value[0], op)
                elif op.result[1] == [None] * 3 and op.value[0] in acknowledged and acknowledged[op.value[0]].end < op.start:
                    own.breaks(f"group {op.value[0]} was written at {memory[0]} and reads as nothing there", acknowledged[op.value[0]], op)
        return [whole, known, own]
