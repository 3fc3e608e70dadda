"""One cell of the matrix: a cluster, a workload, a nemesis; then healing, convergence, and the checks."""

import json
import random
import subprocess
import threading
import time
import traceback
from collections import Counter

import convergence
from client import Indeterminate, Refused
from cluster import Cluster, Failure
from faults import Context
from history import FAIL, INFO, OK, Event, History, Op
from nemesis import NEMESES
from plants import PLANTS
from workloads import WORKLOADS
from workloads.base import Verdict

THREADS_PER_NODE = 2
CONVERGENCE_SECONDS = 90
WAIT_MS = 400
# A node that is catching up, and one that ends, say so.
LAWFUL_ERRORS = ("LOADING", "no connection")


class Worker(threading.Thread):
    """One client process: bound to a node, one operation at a time. Its errors are kept for the cell."""

    def __init__(self, cell, slot):
        super().__init__(daemon=True)
        self.cell, self.slot, self.process = cell, slot, slot
        self.node = cell.cluster.nodes[slot % len(cell.cluster.nodes)]
        self.chance = random.Random(f"{cell.seed}/{slot}")
        self.client, self.life, self.error = None, 0, None

    def run(self):
        try:
            pause = self.cell.processes / self.cell.rate
            while not self.cell.stopping.is_set():
                if not self.node.up:
                    self.drop()
                    time.sleep(0.1)
                    continue
                self.step()
                time.sleep(self.chance.expovariate(1 / pause))
        except Exception:  # whatever it is, the cell reports it
            self.error = traceback.format_exc()
        finally:
            self.drop()

    def drop(self):
        if self.client:
            self.client.close()
            self.client = None

    def step(self):
        workload, history = self.cell.workload, self.cell.history
        with self.cell.lock:
            f, value = workload.next(self.slot, self.chance)
        op = Op(f, value, process=self.process, node=self.node.name, start=history.clock())
        try:
            if self.client is None:
                self.client = self.node.client()
                self.life = self.node.life
            op.result = workload.perform(self.client, f, value)
            op.kind = OK
        except Refused as error:
            op.kind, op.error = FAIL, str(error)
            if self.client is None:
                time.sleep(0.25)
        except Indeterminate as error:
            op.kind, op.error = INFO, str(error)
            self.drop()
            # As in Jepsen: nobody knows whether that process is still at it, so another one goes on.
            self.process += self.cell.processes
        op.end, op.life = history.clock(), self.life or self.node.life
        if op.ok and self.cell.needed_waits and f in workload.writes:
            op.waited = self.wait()
        with self.cell.lock:
            workload.done(self.slot, op)
        history.add(op)

    def wait(self):
        """How many peers have applied the write, for writes that must survive their node."""
        try:
            return self.client.call("WAIT", self.cell.needed_waits, WAIT_MS)
        except (Refused, Indeterminate):
            self.drop()
            return 0


class Cell:
    """Runs one combination and keeps everything that the report needs in `result`."""

    def __init__(self, stand, workload, nemesis, seconds, nodes, seed, rate, directory, plant=None):
        self.stand, self.nemesis, self.seconds, self.seed, self.rate = stand, NEMESES[nemesis], seconds, seed, rate
        self.workload = WORKLOADS[workload](nodes)
        self.workload.clock_error = self.nemesis.clock_error
        self.directory, self.plant, self.nodes = directory, plant, nodes
        self.processes = nodes * THREADS_PER_NODE
        self.needed_waits = self.nemesis.needed_waits
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.history, self.cluster = History(), None
        self.result = {"workload": workload, "nemesis": nemesis, "seed": seed, "seconds": seconds, "plant": plant, "status": "error",
                       "verdicts": [], "evidence": [], "heals": [], "convergence": {}, "error": "", "about": [self.workload.about, self.nemesis.about]}

    def run(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        self.cluster = Cluster(self.stand, self.nodes, self.nemesis.faketime, self.nemesis.own_dns)
        with self.cluster:
            try:
                self.drive()
            except (Failure, Refused, Indeterminate, subprocess.TimeoutExpired) as error:
                self.result["error"] = f"{type(error).__name__}: {error}"
            finally:
                self.keep_logs()
        self.history.write(self.directory)
        self.result["took"] = round(time.monotonic() - started, 1)
        self.summarise()
        (self.directory / "result.json").write_text(json.dumps(self.result, indent=1, default=str))
        return self.result

    def drive(self):
        cluster, nemesis = self.cluster, self.nemesis
        cluster.begin(nemesis.begin_with or self.nodes)
        self.stand_setup()
        context = Context(cluster, self.history, random.Random(f"{self.seed}/nemesis"), min(8.0, max(3.0, self.seconds / 5)))
        self.history.zero = time.monotonic()
        workers = [Worker(self, slot) for slot in range(self.processes)]
        for worker in workers:
            worker.start()
        failure = None
        try:
            self.faults(context)
        except Failure as error:
            failure = error
        finally:
            cluster.heal()
            self.stopping.set()
            for worker in workers:
                worker.join(20)
        self.result["evidence"], self.result["heals"] = context.evidence, context.heals
        broken_threads = [worker.error or "a client is still waiting" for worker in workers if worker.error or worker.is_alive()]
        if broken_threads:
            raise Failure(f"a client of the harness failed: {broken_threads[0]}")
        self.judge(context, failure)

    def stand_setup(self):
        with self.cluster.nodes[0].client(10) as client:
            self.workload.setup(client)
        self.cluster.wait_connected()

    def faults(self, context):
        """Quiet, then at least one cycle of the nemesis and more while there is time for another, then quiet."""
        quiet = min(4.0, self.seconds / 8)
        end = time.monotonic() + max(self.seconds, self.nemesis.minimum_seconds)
        if self.plant:
            timer = threading.Thread(target=self.sabotage, args=(end,), daemon=True)
            timer.start()
        time.sleep(quiet)
        took = 0.0
        while not took or time.monotonic() + took < end - quiet:
            start = time.monotonic()
            self.nemesis.cycle(context)
            time.sleep(1)
            took = time.monotonic() - start
        time.sleep(max(0.0, end - time.monotonic()))

    def sabotage(self, end):
        """Plants the fault behind the checkers' back, halfway and whenever it did not work out."""
        time.sleep(self.seconds / 2)
        chance = random.Random(f"{self.seed}/plant")
        while time.monotonic() < end and not PLANTS[self.plant](self.cluster, chance):
            time.sleep(0.5)

    def judge(self, context, failure):
        """Convergence, final reads and all checks."""
        healed, verdicts = self.history.clock(), []
        self.cluster.wait_ready(self.cluster.live(), 60)
        same = convergence.wait(self.cluster.live(), CONVERGENCE_SECONDS)
        self.result["convergence"] = same
        self.history.events.append(Event("convergence", healed, healed + same["seconds"]))
        time.sleep(self.workload.wait_before_final)
        live, reads, finals = self.cluster.live(), Verdict("final reads", "every node answers"), {}
        again = same
        try:
            with live[-1].client(20) as client:
                self.workload.settle(client)
            again = convergence.wait(live, CONVERGENCE_SECONDS)
            for node in live:
                reads.examined += 1
                with node.client(20) as client:
                    finals[node.name] = self.workload.final(client)
        except (Refused, Indeterminate) as error:
            reads.breaks(f"in the end a node answers {error}")
        verdicts.append(reads)
        self.history.mark_unsafe(self.cluster.deaths, self.needed_waits)
        verdicts += self.workload.check(self.history.ops, finals)
        verdicts.append(converged(same, again, failure))
        verdicts.append(answers(self.history.ops, self.nemesis.lawful_errors))
        verdicts.append(self.alive(live))
        if context.promises:
            verdicts.append(kept(context.promises))
        self.result["verdicts"] = [verdict.as_dict() for verdict in verdicts]
        (self.directory / "finals.json").write_text(json.dumps(finals, default=str))

    def alive(self, live):
        verdict = Verdict("servers go on", "no panic, no exit unasked")
        for node in live:
            verdict.examined += 1
            if not self.stand.pid(node):
                verdict.breaks(f"{node.name} has ended by itself")
        for node in self.cluster.made:
            if "panicked" in self.stand.logs(node):
                verdict.breaks(f"{node.name} panicked: see its log")
        return verdict

    def keep_logs(self):
        for node in self.cluster.made:
            (self.directory / f"{node.name}.log").write_text(self.stand.logs(node))

    def summarise(self):
        """The status, and the numbers that the report draws."""
        result, ops = self.result, self.history.ops
        result["counts"] = dict(Counter(op.kind for op in ops))
        result["may_be_lost"] = sum(op.ok and not op.safe and op.f in self.workload.writes for op in ops)
        result["events"] = [{"label": event.label, "start": event.start, "end": event.end or event.start, "detail": event.detail}
                            for event in self.history.events]
        result["timeline"] = timeline(ops)
        fault_held = all(item["holds"] for item in result["evidence"]) and (result["evidence"] or not self.nemesis.proves)
        examined = all(verdict["examined"] for verdict in result["verdicts"]) and result["counts"].get(OK, 0) > 0
        if result["error"] or not result["verdicts"]:
            result["status"] = "error"
        elif any(verdict["broken_count"] for verdict in result["verdicts"]):
            result["status"] = "broken"
        elif not fault_held:
            result["status"] = "no fault"
        elif not examined:
            result["status"] = "nothing examined"
        else:
            result["status"] = "held"


def converged(same, again, failure):
    verdict = Verdict("all nodes hold the same data", "P1")
    verdict.examined = same["keys"]
    verdict.notes.append(f"the same {same['seconds']} s after the end: {same['keys']} keys, digest {same['digest']}")
    if failure:
        verdict.breaks(f"after a fault: {failure}")
    for result in (same, again):
        if not result["same"]:
            verdict.breaks(f"{result['differing']} keys differ after {result['seconds']} s {result['error']}: {json.dumps(result['examples'])}")
    return verdict


def answers(ops, lawful):
    """Error replies that no fault explains."""
    verdict = Verdict("answers", "no error without reason")
    kinds = Counter()
    for op in ops:
        verdict.examined += 1
        if op.error:
            kinds[op.error[:60]] += 1
        if op.kind == FAIL and not op.error.startswith((*LAWFUL_ERRORS, *lawful)) or "error within EXEC" in op.error:
            verdict.breaks(op.error, op)
    verdict.notes += [f"{count} × {text}" for text, count in kinds.most_common(6)]
    return verdict


def kept(promises):
    verdict = Verdict("around the fault", "membership and lives")
    for promise in promises:
        verdict.examined += 1
        if not promise["holds"]:
            verdict.breaks(f"{promise['what']}: {promise['detail']}")
    details = Counter(promise["what"] for promise in promises if promise["holds"])
    verdict.notes += [f"{count} × {what}" for what, count in details.items()]
    return verdict


def timeline(ops):
    """For each second: operations by outcome, and latencies of the answered ones in ms."""
    seconds = int(max((op.end for op in ops), default=0)) + 1
    rows = [{"ok": 0, "fail": 0, "info": 0, "latencies": []} for _ in range(seconds)]
    for op in ops:
        row = rows[int(op.end)]
        row[op.kind] += 1
        if op.ok:
            row["latencies"].append((op.end - op.start) * 1000)
    for row in rows:
        latencies = sorted(row.pop("latencies"))
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
            row[name] = round(latencies[min(len(latencies) - 1, int(share * len(latencies)))], 3) if latencies else None
    return rows
