"""What was asked and answered: operations in memory, and on disk as Jepsen's EDN and as JSON lines."""

import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

OK, FAIL, INFO = "ok", "fail", "info"


@dataclass
class Op:
    """One operation of a client. `kind` is ok (answered), fail (certainly not executed) or info (nobody knows).

    `life` counts the starts of the node, so (node, life) names one memory: what sessions are promised holds within it.
    `safe` is false for an acknowledged write that may be lost: its node died by kill -9 afterwards, and too few peers had
    confirmed it (WAIT).
    """

    f: str
    value: Any
    kind: str = OK
    result: Any = None
    process: int = 0
    node: str = "n1"
    life: int = 1
    start: float = 0.0
    end: float = 0.0
    waited: int = 0
    safe: bool = True
    error: str = ""

    @property
    def ok(self):
        return self.kind == OK

    @property
    def certain(self):
        """Acknowledged, and so that it must survive."""
        return self.kind == OK and self.safe

    @property
    def possible(self):
        """May have been executed, need not be there."""
        return self.kind == INFO or (self.kind == OK and not self.safe)

    @property
    def memory(self):
        return (self.node, self.life)

    def brief(self):
        """One line for a report."""
        answer = {OK: f"→ {short(self.result)}", FAIL: f"refused: {self.error}", INFO: f"unknown: {self.error}"}[self.kind]
        unsafe = "" if self.safe else " (may be lost)"
        return f"{self.start:.3f}–{self.end:.3f} s {self.node}/{self.life} p{self.process} {self.f} {short(self.value)} {answer}{unsafe}"


def short(value, limit=120):
    """A value as text that fits on a line."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= limit else text[:limit] + "…"


@dataclass
class Event:
    """Something that the nemesis did, over an interval that the report shades. `end` is None while it lasts."""

    label: str
    start: float
    end: float | None = None
    detail: str = ""


@dataclass
class History:
    """All operations and events of one cell; `clock()` is its time in seconds."""

    ops: list = field(default_factory=list)
    events: list = field(default_factory=list)
    zero: float = field(default_factory=time.monotonic)
    lock: Any = field(default_factory=threading.Lock)

    def clock(self):
        return time.monotonic() - self.zero

    def add(self, op):
        with self.lock:
            self.ops.append(op)

    def begin(self, label, detail=""):
        event = Event(label, self.clock(), None, detail)
        with self.lock:
            self.events.append(event)
        return event

    def finish(self, event):
        event.end = self.clock()

    def mark_unsafe(self, deaths, needed):
        """Marks the acknowledged operations that `deaths` ([(node, life)]) may have taken with them."""
        deaths = set(deaths)
        for op in self.ops:
            if op.memory in deaths and op.waited < needed:
                op.safe = False

    def lines(self):
        """Invocations and completions in the order of time, as dictionaries with Jepsen's names."""
        entries = []
        for op in self.ops:
            entries.append((op.start, {"type": "invoke", "f": op.f, "value": op.value, "process": op.process, "node": op.node}))
            last = {"type": op.kind, "f": op.f, "value": op.value, "process": op.process, "node": op.node, "life": op.life}
            if op.ok and op.f == "txn":
                last["value"] = op.result  # as Elle expects it
            elif op.ok:
                last["result"] = op.result
            if not op.safe:
                last["safe"] = False
            if op.error:
                last["error"] = op.error
            entries.append((op.end, last))
        for event in self.events:
            entries.append((event.start, {"type": "info", "f": "start", "value": event.label, "process": "nemesis"}))
            if event.end is not None:
                entries.append((event.end, {"type": "info", "f": "stop", "value": event.label, "process": "nemesis"}))
        entries.sort(key=lambda entry: entry[0])
        for index, (when, entry) in enumerate(entries):
            yield {**entry, "time": int(when * 1e9), "index": index}

    def write(self, directory):
        """`history.edn` for Jepsen's and Elle's tools, `history.jsonl` for everything else."""
        with open(directory / "history.edn", "w") as edn, open(directory / "history.jsonl", "w") as jsonl:
            for line in self.lines():
                edn.write(to_edn_line(line) + "\n")
                jsonl.write(json.dumps(line, default=str) + "\n")


# Values of these keys are keywords in Jepsen's histories.
_KEYWORDS = {"type", "f"}


def to_edn_line(line):
    parts = []
    for key, value in line.items():
        if key in _KEYWORDS or value == "nemesis":
            parts.append(f":{key} :{value}")
        elif key == "value" and line["f"] == "txn":
            parts.append(f":value [{' '.join(_micro_op(step) for step in value)}]")
        else:
            parts.append(f":{key} {to_edn(value)}")
    return "{" + ", ".join(parts) + "}"


def _micro_op(step):
    """`["append", key, value]` as `[:append key value]`, which is what Elle reads."""
    return f"[:{step[0]} {to_edn(step[1])} {to_edn(step[2])}]"


def to_edn(value):
    """Plain data as EDN."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(to_edn(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{to_edn(key)} {to_edn(item)}" for key, item in value.items()) + "}"
    return json.dumps(str(value))
