"""What every workload is: operations for the clients, final reads, and checks of the history against the promises.

A check looks only at what was promised (DESIGN.md, section 2). Its result says how much it examined, so that a check which had
nothing to look at is not taken for one that held.
"""

from collections import defaultdict
from dataclasses import dataclass, field

MAX_SHOWN = 8


@dataclass
class Verdict:
    """The result of one check: what it examined and what broke it, each with the operations concerned."""

    check: str
    promise: str
    examined: int = 0
    broken: list = field(default_factory=list)
    broken_count: int = 0
    notes: list = field(default_factory=list)

    def breaks(self, text, *ops):
        self.broken_count += 1
        if len(self.broken) < MAX_SHOWN:
            self.broken.append({"text": text, "ops": [op.brief() for op in ops if op is not None]})

    @property
    def holds(self):
        return not self.broken_count

    def as_dict(self):
        return {"check": self.check, "promise": self.promise, "examined": self.examined, "broken": self.broken,
                "broken_count": self.broken_count, "notes": self.notes}


class Workload:
    """One kind of use. `writes` are the operations after which a client waits for a peer where the nemesis kills."""

    name = about = ""
    writes = frozenset()

    def __init__(self, nodes):
        self.nodes = nodes

    def setup(self, client):
        """Before the first operation, at one node."""

    def next(self, process, chance):
        """The next operation of a process: (f, value)."""
        raise NotImplementedError

    def perform(self, client, f, value):
        """Executes it; the result for the history. `Refused` and `Indeterminate` pass through."""
        raise NotImplementedError

    def done(self, process, op):
        """After an operation: what the process may want to remember for its next one."""

    # Seconds between the end of the operations and the final reads, for what ends by itself.
    wait_before_final = 0.0
    # By how many seconds a nemesis lets the clocks of nodes be off.
    clock_error = 0

    def settle(self, client):
        """Before the final reads, at one node."""

    def final(self, client):
        """What one node shows in the end, for `check`."""
        return {}

    def check(self, ops, finals):
        """The verdicts, from all operations and {node name: what `final` gave there}."""
        raise NotImplementedError


def by_memory(ops):
    """Operations for each (node, life), in the order of their start."""
    groups = defaultdict(list)
    for op in sorted(ops, key=lambda op: op.start):
        groups[op.memory].append(op)
    return groups


def lives(client, pattern):
    """The keys that are left, with what is left of their lives in milliseconds (-1: no end)."""
    keys = client.call("KEYS", pattern)
    left = {key: client.call("PTTL", key) for key in keys}
    return {key: milliseconds for key, milliseconds in left.items() if milliseconds != -2}


def check_ended(verdict, finals, clock_error, longest_ms):
    """Long after the operations no key is left, unless its node's clock was wrong; and then it has an end."""
    for node, left in finals.items():
        verdict.examined += 1
        for key, milliseconds in left.items():
            if not clock_error or not 0 <= milliseconds <= clock_error * 1000 + longest_ms:
                verdict.breaks(f"{key} is still there at {node} in the end, with {milliseconds} ms to live")


def with_floor(ops, value_of):
    """For each operation with a value: (op, the operation with the highest value that the same memory had answered before).

    `value_of(op)` is a number that this memory has shown or taken, or None. The second is None for the first ones.
    """
    for group in by_memory(ops).values():
        answered = sorted((op for op in group if op.ok and value_of(op) is not None), key=lambda op: op.end)
        position, highest = 0, None
        for op in group:
            while position < len(answered) and answered[position].end < op.start:
                if highest is None or value_of(answered[position]) > value_of(highest):
                    highest = answered[position]
                position += 1
            if op.ok and value_of(op) is not None:
                yield op, highest


def may_have_removed(op):
    """Whether a removal can have taken its element: it did, or nobody knows. One that found nothing has removed nothing."""
    return op.kind == "info" or (op.ok and op.result == 1)


def check_elements(verdict, adds, removes, finals, reads, of_read, key_of, key_of_read):
    """What sets, members, fields and entries have in common, for elements that are added once under names of their own.

    `adds` and `removes` are operations by element; `finals` is {node: set of elements}; `of_read(op)` the set of
    elements a read showed; `key_of(element)` and `key_of_read(op)` say which key it is in and which key was read.
    Nothing acknowledged is lost, nothing unknown shows, nothing that was removed after being seen comes back.
    """
    removed = defaultdict(list)
    for element, op in removes:
        removed[element].append(op)
    added = {}
    for element, op in adds:
        verdict.examined += 1
        added[element] = op
        executed = [other for other in removed[element] if other.ok and other.result == 1]
        for node, shown in finals.items():
            if op.certain and element not in shown and not any(may_have_removed(other) for other in removed[element]):
                verdict.breaks(f"{element} was acknowledged, never removed, and is lost at {node}", op)
            if op.kind == "fail" and element in shown:
                verdict.breaks(f"{element} was refused and shows at {node}", op)
            for other in executed:
                if other.certain and element in shown:
                    verdict.breaks(f"{element} was removed after being seen and is back at {node}", op, other)
    for node, shown in finals.items():
        for element in shown - set(added):
            verdict.breaks(f"{element} shows at {node} and nobody added it")
    _check_sessions(verdict, added, removed, reads, of_read, key_of, key_of_read)


def _check_sessions(verdict, added, removed, reads, of_read, key_of, key_of_read):
    """At one memory: what was acknowledged or seen before a read shows in it, unless it was removed; and once gone it stays gone."""
    adds, removals = defaultdict(list), {}
    for element, op in added.items():
        if op.ok:
            adds[op.memory, key_of(element)].append((element, op))
    for element, ops in removed.items():
        for op in ops:
            if op.ok and op.result == 1:
                removals[op.memory, element] = op
    stays = {element for element in added if not any(may_have_removed(op) for op in removed[element])}
    seen, gone = defaultdict(dict), {}
    for op in sorted((op for op in reads if op.ok), key=lambda op: op.end):
        place, shown, where = (op.memory, key_of_read(op)), of_read(op), op.node
        verdict.examined += 1
        for element, add in adds[place]:
            if add.end < op.start and element not in shown and element in stays:
                verdict.breaks(f"{element} was acknowledged at {where} and a later read there lacks it", add, op)
        for element, first in seen[place].items():
            if element not in shown and first.end < op.start:
                if element in stays:
                    verdict.breaks(f"{element} was seen at {where}, nobody removed it, and a later read lacks it", first, op)
                gone.setdefault((op.memory, element), op)
        for element in shown:
            since = gone.get((op.memory, element))
            if since is not None and since.end < op.start:
                verdict.breaks(f"{element} was seen at {where}, was gone, and is back", since, op)
            removal = removals.get((op.memory, element))
            if removal is not None and removal.end < op.start:
                verdict.breaks(f"{element} was removed at {where} and a later read there shows it", removal, op)
            seen[place].setdefault(element, op)


def check_sums(verdict, adds, finals, reads, rising=True):
    """Sums of concurrent additions. `adds`: (name, amount, op); `finals`: {node: {name: sum}}; `reads`: (name, sum, op).

    In the end each sum lies between all that must be in it and that plus all that may be. While amounts are positive
    (`rising`), a memory never shows less than it has acknowledged or shown, nor more than was asked for by then.
    """
    totals = defaultdict(list)
    for name, amount, op in adds:
        totals[name].append((amount, op))
        verdict.examined += 1
    for name, parts in totals.items():
        certain = sum(amount for amount, op in parts if op.certain)
        low = certain + sum(min(0, amount) for amount, op in parts if op.possible)
        high = certain + sum(max(0, amount) for amount, op in parts if op.possible)
        for node, sums in finals.items():
            if not low <= sums.get(name, 0) <= high:
                verdict.breaks(f"{name} is {sums.get(name, 0)} at {node}; acknowledged: {certain}, possible: {low} to {high}")
    if not rising:
        return
    reads_of = defaultdict(list)
    for name, total, op in reads:
        reads_of[name].append((total, op))
    for name, shown in reads_of.items():
        value = {id(op): total for total, op in shown}
        for op, before in with_floor([op for _, op in shown], lambda op: value.get(id(op))):
            verdict.examined += 1
            if before is not None and value[id(op)] < value[id(before)]:
                verdict.breaks(f"{name} fell from {value[id(before)]} to {value[id(op)]} at {op.node}", before, op)
        parts = totals[name]
        by_start = sorted(((op.start, amount) for amount, op in parts if op.kind != "fail"))
        own = defaultdict(list)
        for amount, op in parts:
            if op.ok:
                own[op.memory].append((op.end, amount))
        for total, op in shown:
            most = sum(amount for start, amount in by_start if start <= op.end)
            least = sum(amount for end, amount in own[op.memory] if end < op.start)
            if total > most:
                verdict.breaks(f"{name} showed {total} when only {most} had been asked for", op)
            if total < least:
                verdict.breaks(f"{name} showed {total} at {op.node}, which had acknowledged {least}", op)
