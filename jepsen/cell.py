"""Cells of the matrix, one or several side by side on one cluster: clients, a nemesis; then healing, convergence, and the checks.

A `Cell` is one workload: its clients, its history, its verdict. A `Trial` is one cluster under one nemesis, and the cells that are
run against it. Workloads have keys of their own, so each cell is judged as if it were alone; what the nemesis did, and whether the
nodes agree in the end, is the same for all cells of a trial.
"""

import json
import os
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
        self.node = cell.trial.cluster.nodes[slot % cell.trial.nodes]
        self.chance = random.Random(f"{cell.trial.seed}/{cell.workload.name}/{slot}")
        self.client, self.life, self.error = None, 0, None

    def run(self):
        try:
            pause = self.cell.processes / self.cell.trial.rate
            while not self.cell.trial.stopping.is_set():
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
        if op.ok and self.cell.trial.nemesis.needed_waits and f in workload.writes:
            op.waited = self.wait()
        with self.cell.lock:
            workload.done(self.slot, op)
        history.add(op)

    def wait(self):
        """How many peers have applied the write, for writes that must survive their node."""
        try:
            return self.client.call("WAIT", self.cell.trial.nemesis.needed_waits, WAIT_MS)
        except (Refused, Indeterminate):
            self.drop()
            return 0


class Cell:
    """One workload of a trial: its clients and its history. `result` has everything that the report needs."""

    def __init__(self, trial, workload, directory):
        self.trial, self.directory = trial, directory
        self.workload = WORKLOADS[workload](trial.nodes)
        self.workload.clock_error = trial.nemesis.clock_error
        self.processes = trial.nodes * THREADS_PER_NODE
        self.lock, self.history, self.workers = threading.Lock(), History(), []
        self.result = {"workload": workload, "nemesis": trial.nemesis.name, "seed": trial.seed, "seconds": trial.seconds,
                       "plant": trial.plant, "status": "error", "verdicts": [], "evidence": [], "heals": [], "convergence": {},
                       "error": "", "about": [self.workload.about, trial.nemesis.about]}

    def begin(self, zero):
        self.history.zero = zero
        self.workers = [Worker(self, slot) for slot in range(self.processes)]
        for worker in self.workers:
            worker.start()

    def end(self):
        """Waits for the clients, which have been told to stop."""
        for worker in self.workers:
            worker.join(20)
        broken = [worker.error or "a client is still waiting" for worker in self.workers if worker.error or worker.is_alive()]
        if broken:
            raise Failure(f"a client of {self.workload.name} failed: {broken[0]}")

    def final_reads(self, live):
        """What the workload reads at each node in the end, and whether every node answers."""
        reads, finals = Verdict("final reads", "every node answers"), {}
        try:
            for node in live:
                reads.examined += 1
                with node.client(20) as client:
                    finals[node.name] = self.workload.final(client)
        except (Refused, Indeterminate) as error:
            reads.breaks(f"in the end a node answers {error}")
        return finals, reads

    def judge(self, finals, common):
        """All verdicts: those of the workload on its own history, and those that are `common` to the trial."""
        self.history.mark_unsafe(self.trial.cluster.deaths, self.trial.nemesis.needed_waits)
        verdicts = [*self.workload.check(self.history.ops, finals), answers(self.history.ops, self.trial.nemesis.lawful_errors), *common]
        self.result["verdicts"] = [verdict.as_dict() for verdict in verdicts]
        (self.directory / "finals.json").write_text(json.dumps(finals, default=str))

    def conclude(self, events, took):
        """Writes everything down; the result."""
        self.history.events = events
        self.history.write(self.directory)
        self.result["took"] = took
        self.summarise()
        (self.directory / "result.json").write_text(json.dumps(self.result, indent=1, default=str))
        return self.result

    def summarise(self):
        """The status, and the numbers that the report draws."""
        result, ops = self.result, self.history.ops
        result["counts"] = dict(Counter(op.kind for op in ops))
        result["may_be_lost"] = sum(op.ok and not op.safe and op.f in self.workload.writes for op in ops)
        result["events"] = [{"label": event.label, "start": event.start, "end": event.end or event.start, "detail": event.detail}
                            for event in self.history.events]
        result["timeline"] = timeline(ops)
        fault_held = all(item["holds"] for item in result["evidence"]) and (result["evidence"] or not self.trial.nemesis.proves)
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


class Trial:
    """One cluster under one nemesis, and the cells that run against it side by side. `rate` is that of each cell."""

    def __init__(self, stand, workloads, nemesis, seconds, nodes, seed, rate, out, plant=None):
        self.stand, self.nemesis, self.seconds, self.seed, self.rate = stand, NEMESES[nemesis], seconds, seed, rate
        self.nodes, self.plant = nodes, plant
        self.stopping = threading.Event()
        # What the nemesis did; its clock is that of every cell.
        self.log, self.cluster = History(), None
        planted = f"--plant-{plant}" if plant else ""
        self.cells = [Cell(self, workload, out and out / f"{workload}--{nemesis}{planted}") for workload in workloads]

    def run(self):
        """The results, one for each cell."""
        for cell in self.cells:
            cell.directory.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        self.cluster = Cluster(self.stand, self.nodes, self.nemesis.faketime, self.nemesis.own_dns)
        with self.cluster:
            try:
                self.drive()
            except (Failure, Refused, Indeterminate, subprocess.TimeoutExpired) as error:
                for cell in self.cells:
                    cell.result["error"] = f"{type(error).__name__}: {error}"
            finally:
                self.keep_logs()
        took = round(time.monotonic() - started, 1)
        return [cell.conclude(self.log.events, took) for cell in self.cells]

    def drive(self):
        cluster, nemesis = self.cluster, self.nemesis
        cluster.begin(nemesis.begin_with or self.nodes)
        with cluster.nodes[0].client(10) as client:
            for cell in self.cells:
                cell.workload.setup(client)
        cluster.wait_connected()
        context = Context(cluster, self.log, random.Random(f"{self.seed}/nemesis"), min(8.0, max(3.0, self.seconds / 5)))
        self.log.zero = time.monotonic()
        for cell in self.cells:
            cell.begin(self.log.zero)
        failure = None
        try:
            self.faults(context)
        except Failure as error:
            failure = error
        finally:
            cluster.heal()
            self.stopping.set()
            for cell in self.cells:
                cell.result["evidence"], cell.result["heals"] = context.evidence, context.heals
                cell.end()
        self.judge(context, failure)

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
        healed = self.log.clock()
        self.cluster.wait_ready(self.cluster.live(), 60)
        same = again = convergence.wait(self.cluster.live(), CONVERGENCE_SECONDS)
        self.log.events.append(Event("convergence", healed, healed + same["seconds"]))
        time.sleep(max(cell.workload.wait_before_final for cell in self.cells))
        live, settled = self.cluster.live(), Verdict("settling", "every node answers")
        try:
            with live[-1].client(20) as client:
                for cell in self.cells:
                    settled.examined += 1
                    cell.workload.settle(client)
            again = convergence.wait(live, CONVERGENCE_SECONDS)
        except (Refused, Indeterminate) as error:
            settled.breaks(f"in the end a node answers {error}")
        common = [settled, converged(same, again, failure), self.alive(live)]
        if context.promises:
            common.append(kept(context.promises))
        read = [cell.final_reads(live) for cell in self.cells]
        for cell, (finals, reads) in zip(self.cells, read):
            cell.result["convergence"] = same
            cell.judge(finals, [reads, *common])

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
        """In the folder of each cell; on disk they are there once."""
        for node in self.cluster.made:
            first = self.cells[0].directory / f"{node.name}.log"
            first.write_text(self.stand.logs(node))
            for cell in self.cells[1:]:
                other = cell.directory / first.name
                other.unlink(missing_ok=True)
                os.link(first, other)


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
