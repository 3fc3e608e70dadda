"""Registers with causes: x, then y, then z copied from y elsewhere. Who sees the later one sees the earlier.

Each chain has one writer, which sets x and then y to the same rising number at its node, and one relay at another node, which
reads y and sets z to what it saw. Readers at all nodes read z, y and x in this order, so z <= y <= x holds at every read.
"""

from workloads.base import Verdict, Workload, with_floor


class Registers(Workload):
    name = "registers"
    about = "causal chains over three keys and two nodes; SET and GET"
    writes = frozenset({"write", "relay"})

    def __init__(self, nodes):
        super().__init__(nodes)
        self.numbers = {}

    def next(self, process, chance):
        chains = self.nodes
        draw = chance.random()
        # Process p of node n (p % nodes) writes the chain n; the second one relays the chain of the next node.
        place, second = process % chains, process // chains % 2
        if draw < 0.4:
            if second:
                return "relay", [(place + 1) % chains, None]
            self.numbers[place] = self.numbers.get(place, 0) + 1
            return "write", [place, self.numbers[place]]
        return "read", [chance.randrange(chains), None]

    def perform(self, client, f, value):
        chain, number = value
        if f == "write":
            client.call("SET", f"x:{chain}", number)
            client.call("SET", f"y:{chain}", number)
            return [chain, number]
        if f == "relay":
            seen = int(client.call("GET", f"y:{chain}") or 0)
            client.call("SET", f"z:{chain}", seen)
            return [chain, seen]
        return [chain, [int(client.call("GET", f"{key}:{chain}") or 0) for key in "zyx"]]

    def final(self, client):
        return {f"{key}:{chain}": int(client.call("GET", f"{key}:{chain}") or 0) for key in "xyz" for chain in range(self.nodes)}

    def check(self, ops, finals):
        causes, sessions = Verdict("causes before consequences", "P2"), Verdict("sessions at a node", "P4")
        last = Verdict("the last write stays", "P5")
        for op in ops:
            if op.f == "read" and op.ok:
                causes.examined += 1
                z, y, x = op.result[1]
                if not z <= y <= x:
                    causes.breaks(f"chain {op.value[0]}: read z={z}, then y={y}, then x={x}; each should be at least the one before", op)
        for chain in sorted({op.value[0] for op in ops}):
            for name, at in (("x", 2), ("y", 1)):
                self._session(sessions, chain, name, at, ops)
            self._last(last, chain, ops, finals)
        return [causes, sessions, last]

    @staticmethod
    def _session(verdict, chain, name, at, ops):
        """A node's own view of a chain with a single writer never goes back."""
        def value(op):
            if op.f == "read" and op.ok:
                return op.result[1][at]
            return op.value[1] if op.f == "write" else None
        for op, before in with_floor([op for op in ops if op.value[0] == chain and op.f != "relay"], value):
            if op.f != "read":
                continue
            verdict.examined += 1
            if before is not None and value(op) < value(before):
                verdict.breaks(f"{name}:{chain} at {op.node} was {value(before)} and then {value(op)}", before, op)

    @staticmethod
    def _last(verdict, chain, ops, finals):
        writes = [op for op in ops if op.f == "write" and op.value[0] == chain]
        certain = max((op.value[1] for op in writes if op.certain), default=0)
        possible = max((op.value[1] for op in writes if op.kind != "fail"), default=0)
        verdict.examined += len(writes)
        for node, values in finals.items():
            for name in ("x", "y"):
                found = values[f"{name}:{chain}"]
                if not certain <= found <= possible:
                    verdict.breaks(f"{name}:{chain} is {found} at {node}; acknowledged up to {certain}, asked for up to {possible}")
