#!/usr/bin/env python3
"""The parts of the harness that need no cluster: histories, shapes of partitions, packets' messages, the report."""

import contextlib
import json
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import cell  # noqa: E402
import client  # noqa: E402
import convergence  # noqa: E402
import network_faults  # noqa: E402
import packets  # noqa: E402
import report  # noqa: E402
from history import INFO, History, Op, to_edn  # noqa: E402
from nemesis import NEMESES  # noqa: E402
from workloads import WORKLOADS  # noqa: E402


class HistoryTest(unittest.TestCase):
    def test_edn_that_elle_reads(self):
        history = History()
        history.add(Op("txn", [["append", 0, 1], ["r", 0, None]], result=[["append", 0, 1], ["r", 0, [1]]], process=3, start=0.5, end=0.75))
        event = history.begin("kill")
        history.finish(event)
        with tempfile.TemporaryDirectory() as folder:
            history.write(pathlib.Path(folder))
            lines = (pathlib.Path(folder) / "history.edn").read_text().splitlines()
            records = [json.loads(line) for line in (pathlib.Path(folder) / "history.jsonl").read_text().splitlines()]
        self.assertIn('{:type :invoke, :f :txn, :value [[:append 0 1] [:r 0 nil]], :process 3, :node "n1", :time 500000000, :index 2}', lines)
        self.assertIn('{:type :ok, :f :txn, :value [[:append 0 1] [:r 0 [1]]], :process 3, :node "n1", :life 1, :time 750000000, :index 3}', lines)
        self.assertTrue(lines[0].startswith('{:type :info, :f :start, :value "kill", :process :nemesis'))
        self.assertEqual([record["index"] for record in records], [0, 1, 2, 3])

    def test_edn_of_plain_data(self):
        self.assertEqual(to_edn({"a": [1, None, True, "x\"y"]}), '{"a" [1 nil true "x\\"y"]}')

    def test_only_what_nobody_confirmed_may_be_lost(self):
        history = History(ops=[Op("add", 1, node="n1", life=1, waited=0), Op("add", 2, node="n1", life=1, waited=1),
                               Op("add", 3, node="n1", life=2, waited=0), Op("add", 4, node="n2", life=1, waited=0)])
        history.mark_unsafe([("n1", 1)], 1)
        self.assertEqual([op.safe for op in history.ops], [False, True, True, True])


class ShapesTest(unittest.TestCase):
    nodes = list("abcde")

    def test_shapes(self):
        self.assertEqual(len(network_faults.halves(self.nodes)), 12)
        self.assertEqual(len(network_faults.isolated(self.nodes)), 8)
        self.assertEqual(network_faults.one_way(self.nodes), {(other, "a") for other in "bcde"})
        ring = network_faults.ring(self.nodes)
        self.assertEqual({other for one, other in ring if one == "a"}, {"c", "d"})
        self.assertEqual(network_faults.bridge(self.nodes), network_faults.between("ab", "de"))

    def test_three_nodes_still_have_a_cut(self):
        for shape in (network_faults.halves, network_faults.isolated, network_faults.bridge, network_faults.one_way):
            self.assertTrue(shape(list("abc")), shape.__name__)


class ClientTest(unittest.TestCase):
    """What is known about a request after each way in which an answer can fail to come."""

    def answered(self, reply, *words):
        server = socket.create_server(("127.0.0.1", 0))

        def serve():
            connection, _ = server.accept()
            connection.recv(4096)
            connection.sendall(reply)
            connection.close()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with client.Client("127.0.0.1", server.getsockname()[1], 2) as connection:
                return connection.call(*words)
        finally:
            thread.join(5)
            server.close()

    def test_replies(self):
        self.assertEqual(self.answered(b"*3\r\n$1\r\na\r\n:7\r\n$-1\r\n", "X"), ["a", 7, None])

    def test_an_error_is_a_refusal(self):
        with self.assertRaises(client.Refused):
            self.answered(b"-LOADING\r\n", "X")

    def test_no_answer_is_unknown(self):
        for reply in (b"", b"$5\r\nab", b"+O"):
            with self.assertRaises(client.Indeterminate):
                self.answered(reply, "X")

    def test_no_connection_is_a_refusal(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        with self.assertRaises(client.Refused):
            client.Client("127.0.0.1", port, 1)


class PartsTest(unittest.TestCase):
    def test_netlink_messages(self):
        data = packets.message(packets.VERDICT, 7, packets.attribute(packets.VERDICT_HEADER, b"\0\0\0\1\0\0\0\5"))
        self.assertEqual(len(data), int.from_bytes(data[:4], sys.byteorder))
        self.assertEqual(packets.attributes(data[20:]), {packets.VERDICT_HEADER: b"\0\0\0\1\0\0\0\5"})

    def test_differences_of_nodes(self):
        same = {"k": ("string", -1, "1")}
        self.assertEqual(convergence.difference({"n1": same, "n2": dict(same)})[0], 0)
        for other in ({}, {"k": ("string", 5, "1")}, {"k": ("string", -1, "2")}):
            self.assertEqual(convergence.difference({"n1": same, "n2": other})[0], 1)

    def test_unexplained_errors(self):
        ops = [Op("add", 1, kind="fail", error="LOADING the data"), Op("add", 1, kind="fail", error="WRONGTYPE of key")]
        verdict = cell.answers(ops, ())
        self.assertEqual([broken["text"] for broken in verdict.broken], ["WRONGTYPE of key"])
        self.assertFalse(cell.answers([Op("txn", 1, kind=INFO, error="an error within EXEC: ERR")], ()).holds)

    def test_nodes_that_stay_different(self):
        same = {"same": True, "seconds": 1, "keys": 3, "digest": "x", "differing": 0, "examples": [], "error": ""}
        self.assertTrue(cell.converged(same, same, None).holds)
        self.assertFalse(cell.converged({**same, "same": False, "differing": 1}, same, None).holds)
        self.assertFalse(cell.converged(same, same, "not connected").holds)

    def test_report_is_whole_and_escapes(self):
        result = {"workload": "sets", "nemesis": "kill", "seed": 1, "plant": None, "status": "broken", "error": "<&>", "took": 3,
                  "about": ["a", "b"], "counts": {"ok": 2}, "may_be_lost": 0, "convergence": {"seconds": 1},
                  "events": [{"label": "kill", "start": 0.5, "end": 1.5, "detail": "n1"}],
                  "timeline": cell.timeline([Op("add", 1, start=0, end=0.4), Op("add", 1, start=1, end=2.5)]),
                  "evidence": [{"what": "dead", "holds": False, "detail": ""}],
                  "verdicts": [{"check": "elements", "promise": "P5", "examined": 1, "broken_count": 9, "notes": ["n"],
                                "broken": [{"text": "<lost>", "ops": ["op & op"]}]}]}
        page = report.page([result])
        for expected in ("9 findings", "&lt;lost&gt;", "op &amp; op", "&lt;&amp;&gt;", "and 8 more", "0 of 1", "<svg"):
            self.assertIn(expected, page)
        self.assertIn(">caught<", report.page([{**result, "plant": "flush"}]))
        self.assertIn("not caught", report.page([{**result, "plant": "flush", "status": "held"}]))
        self.assertNotIn("http://", page.replace("http://www.w3.org", ""))


class CommandTest(unittest.TestCase):
    """What the command says without starting anything."""

    def run_it(self, *words):
        script = pathlib.Path(__file__).resolve().parent / "run"
        return subprocess.run([sys.executable, script, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)

    def test_wrong_calls(self):
        for words in ((), ("--workload", "none"), ("--workload", "sets", "--time", "1"), ("--ci", "--nodes", "2")):
            self.assertEqual(self.run_it(*words).returncode, 2, words)

    def test_list_names_everything(self):
        listed = self.run_it("--list").stdout
        for name in (*NEMESES, *WORKLOADS):
            self.assertIn(f"  {name} ", listed)

    def test_no_results_make_no_success(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(self.run_it("--report", folder, "--out", folder).returncode, 1)

    def test_statuses(self):
        """Only a cell whose checks examined something, held, and whose fault took hold has held."""
        good = {"check": "c", "promise": "p", "examined": 1, "broken": [], "broken_count": 0, "notes": []}
        proof = {"what": "w", "holds": True, "detail": ""}
        for verdicts, evidence, nemesis, ops, expected in (
                ([good], [proof], "kill", [Op("add", 1)], "held"),
                ([good], [], "none", [Op("add", 1)], "held"),
                ([{**good, "broken_count": 1}], [proof], "kill", [Op("add", 1)], "broken"),
                ([good], [], "kill", [Op("add", 1)], "no fault"),
                ([good], [proof, {**proof, "holds": False}], "kill", [Op("add", 1)], "no fault"),
                ([good, {**good, "examined": 0}], [proof], "kill", [Op("add", 1)], "nothing examined"),
                ([good], [proof], "kill", [Op("add", 1, kind=INFO)], "nothing examined"),
                ([], [proof], "kill", [Op("add", 1)], "error")):
            one = cell.Trial(None, ["sets"], nemesis, 10, 3, 1, 100, None).cells[0]
            one.history.ops = ops
            one.result.update(verdicts=verdicts, evidence=evidence)
            one.summarise()
            self.assertEqual(one.result["status"], expected)

    def test_workloads_that_run_side_by_side_have_keys_of_their_own(self):
        keys = {}
        for name, kind in WORKLOADS.items():
            workload, chance, asked = kind(3), random.Random(1), Recorder()
            with contextlib.suppress(NotUnderstood):
                workload.setup(asked)
            for number in range(400):
                slot = number % 6
                f, value = workload.next(slot, chance)
                with contextlib.suppress(NotUnderstood):
                    workload.perform(asked, f, value)
            keys[name] = asked.keys
            self.assertTrue(asked.keys, name)
        for one in keys:
            for other in keys:
                if one < other:
                    self.assertFalse(keys[one] & keys[other], f"{one} and {other}")


class NotUnderstood(Exception):
    """An answer of the recorder that the workload cannot use; what it asked for is noted all the same."""


class Recorder:
    """Stands for a client: notes the keys of each command, and answers nothing useful."""

    def __init__(self):
        self.keys = set()

    def note(self, words):
        """Where the keys are: behind their number for scripts, everywhere for reads of several."""
        name = words[0]
        if name == "EVAL":
            found = words[3:3 + int(words[2])]
        elif name in ("MGET", "DEL"):
            found = words[1:]
        elif name in ("XREADGROUP", "XGROUP", "XINFO"):
            found = [word for word in words[1:] if str(word).startswith("stream:")]
        else:
            found = words[1:2]
        self.keys.update(str(key) for key in found)

    def call(self, *words):
        self.note(words)
        raise NotUnderstood

    def transaction(self, requests):
        for words in requests:
            self.note(words)
        raise NotUnderstood

    pipeline = transaction


if __name__ == "__main__":
    unittest.main()
