#!/usr/bin/env python3
"""Each check holds on a good history and catches each kind of violation that it is for."""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from history import FAIL, INFO, Op  # noqa: E402
from workloads import WORKLOADS  # noqa: E402

NODES = 3


class Story:
    """A history told line by line: each operation takes from one second to the next."""

    def __init__(self):
        self.ops, self.now = [], 0.0

    def op(self, f, value, result=None, **more):
        start = more.pop("start", self.now)
        end = more.pop("end", start + 0.5)
        self.now = max(self.now, end) + 0.5
        self.ops.append(Op(f, value, result=result, start=start, end=end, **more))
        return self


class Case(unittest.TestCase):
    workload = ""

    def verdicts(self, story, finals, **attributes):
        workload = WORKLOADS[self.workload](NODES)
        for name, value in attributes.items():
            setattr(workload, name, value)
        return {verdict.check: verdict for verdict in workload.check(story.ops, finals)}

    def holds(self, story, finals, **attributes):
        for verdict in self.verdicts(story, finals, **attributes).values():
            self.assertEqual(verdict.broken, [], verdict.check)

    def caught(self, check, text, story, finals, **attributes):
        """That check, and a finding with that text."""
        verdicts = self.verdicts(story, finals, **attributes)
        found = [broken["text"] for broken in verdicts[check].broken]
        self.assertTrue(any(text in item for item in found), f"{check} should find '{text}', found {found}")

    def examined(self, story, finals):
        for verdict in self.verdicts(story, finals).values():
            self.assertGreater(verdict.examined, 0, verdict.check)


def everywhere(data):
    return {f"n{number}": data for number in range(1, NODES + 1)}


class CountersTest(Case):
    workload = "counters"

    def story(self):
        return (Story().op("add", ["up:0", 3], 3).op("add", ["up:0", 2], 5, node="n2").op("read", "up:0", 5)
                .op("change", ["both:0", -2], -2).op("add", ["up:0", 4], kind=INFO).op("add", ["up:0", 9], kind=FAIL))

    def test_good(self):
        for total in (5, 9):
            self.holds(self.story(), everywhere({"up:0": total, "both:0": -2}))
        self.examined(self.story(), everywhere({"up:0": 5, "both:0": -2}))

    def test_lost(self):
        self.caught("sums that only rise", "up:0 is 3", self.story(), everywhere({"up:0": 3, "both:0": -2}))

    def test_counted_twice(self):
        self.caught("sums that only rise", "up:0 is 10", self.story(), everywhere({"up:0": 10, "both:0": -2}))
        self.caught("sums that rise and fall", "both:0 is -4", self.story(), everywhere({"up:0": 5, "both:0": -4}))

    def test_went_back(self):
        story = self.story().op("read", "up:0", 3)
        self.caught("sums that only rise", "fell from 5 to 3", story, everywhere({"up:0": 5, "both:0": -2}))

    def test_own_write_not_read(self):
        story = Story().op("add", ["up:0", 3], 3, node="n1").op("add", ["up:1", 1], 1).op("read", "up:0", 0)
        self.caught("sums that only rise", "which had acknowledged 3", story, everywhere({"up:0": 3, "up:1": 1}))

    def test_from_nowhere(self):
        story = Story().op("read", "up:0", 7).op("add", ["up:0", 7], 7)
        self.caught("sums that only rise", "only 0 had been asked for", story, everywhere({"up:0": 7}))

    def test_what_died_may_be_lost(self):
        story = Story().op("add", ["up:0", 3], 3, safe=False).op("add", ["up:0", 1], 1, node="n2")
        self.holds(story, everywhere({"up:0": 1}))
        self.holds(story, everywhere({"up:0": 4}))

    def test_a_new_life_is_a_new_session(self):
        story = Story().op("add", ["up:0", 3], 3, safe=False).op("read", "up:0", 0, life=2)
        self.holds(story, everywhere({"up:0": 0}))


class SetsTest(Case):
    workload = "sets"

    def story(self):
        return (Story().op("add", "1-0", 1).op("add", "2-0", 1, node="n2").op("read", "set:0", ["1-0", "2-0"])
                .op("put", ["own:0", "0:1"], 1).op("take", ["own:0", "0:1"], 1).op("put", ["own:0", "0:1"], 1).op("look", "own:0", ["0:1"]))

    def end(self, *elements):
        return everywhere({"set:0": list(elements), "own:0": ["0:1"]})

    def test_good(self):
        self.holds(self.story(), self.end("1-0", "2-0"))
        removed = self.story().op("remove", "1-0", 1).op("read", "set:0", ["2-0"])
        self.holds(removed, self.end("2-0"))
        self.examined(removed, self.end("2-0"))
        self.holds(self.story().op("remove", "1-0", kind=INFO), self.end("2-0"))

    def test_lost(self):
        self.caught("elements", "2-0 was acknowledged, never removed, and is lost at n1", self.story(), self.end("1-0"))

    def test_lost_although_a_removal_found_nothing(self):
        story = self.story().op("remove", "2-0", 0, node="n3")
        self.caught("elements", "2-0 was acknowledged, never removed", story, self.end("1-0"))

    def test_resurrected(self):
        self.caught("elements", "is back at n1", self.story().op("remove", "1-0", 1), self.end("1-0", "2-0"))

    def test_resurrected_in_between(self):
        story = self.story().op("remove", "1-0", 1, node="n2").op("read", "set:0", ["2-0"]).op("read", "set:0", ["1-0", "2-0"])
        self.caught("elements", "was gone, and is back", story, self.end("2-0"))

    def test_removed_and_still_read_there(self):
        story = self.story().op("remove", "1-0", 1).op("read", "set:0", ["1-0", "2-0"])
        self.caught("elements", "was removed at n1 and a later read there shows it", story, self.end("2-0"))

    def test_seen_and_lost(self):
        self.caught("elements", "2-0 was seen at n1, nobody removed it", self.story().op("read", "set:0", ["1-0"]), self.end("1-0", "2-0"))

    def test_own_write_not_read(self):
        story = Story().op("add", "1-0", 1).op("read", "set:0", [])
        self.caught("elements", "1-0 was acknowledged at n1 and a later read there lacks it", story, self.end("1-0"))

    def test_refused_and_unknown(self):
        self.caught("elements", "was refused", self.story().op("add", "3-0", kind=FAIL), self.end("1-0", "2-0", "3-0"))
        self.caught("elements", "nobody added it", self.story(), self.end("1-0", "2-0", "9-0"))

    def test_owned_and_not_as_left(self):
        check, end = "as its only owner left it", self.end("1-0", "2-0")
        self.caught(check, "0:1 is not in own:0", self.story(), everywhere({"set:0": ["1-0", "2-0"], "own:0": []}))
        taken = self.story().op("take", ["own:0", "0:1"], 1)
        self.caught(check, "0:1 is in own:0", taken, end)
        self.caught(check, "shows otherwise", self.story().op("look", "own:0", []), end)
        self.caught(check, "shows otherwise", taken.op("look", "own:0", ["0:1"]), everywhere({"set:0": ["1-0", "2-0"], "own:0": []}))

    def test_owned_in_a_later_life(self):
        taken = self.story().op("take", ["own:0", "0:1"], 0, life=2)
        self.holds(taken.op("look", "own:0", ["0:1"], life=2), self.end("1-0", "2-0"))
        put = self.story().op("put", ["own:0", "0:1"], 1, life=2)
        self.caught("as its only owner left it", "shows otherwise", put.op("look", "own:0", [], life=2), self.end("1-0", "2-0"))

    def test_owned_with_an_unknown_end(self):
        for safe, kind in ((True, INFO), (False, "ok")):
            story = self.story().op("take", ["own:0", "0:1"], 1, kind=kind, safe=safe)
            self.holds(story, self.end("1-0", "2-0"))


class RegistersTest(Case):
    workload = "registers"

    def end(self, x=2, y=2, z=1):
        return everywhere({f"{key}:{chain}": value if chain == 0 else 0 for key, value in (("x", x), ("y", y), ("z", z))
                           for chain in range(NODES)})

    def story(self):
        return (Story().op("write", [0, 1], [0, 1]).op("relay", [0, None], [0, 1], node="n2")
                .op("write", [0, 2], [0, 2]).op("read", [0, None], [0, [1, 2, 2]]).op("read", [0, None], [0, [1, 1, 2]], node="n3"))

    def test_good(self):
        self.holds(self.story(), self.end())
        self.examined(self.story(), self.end())

    def test_consequence_without_cause(self):
        for z, y, x in ((1, 2, 1), (2, 1, 2)):
            story = self.story().op("read", [0, None], [0, [z, y, x]], node="n2")
            self.caught("causes before consequences", "chain 0", story, self.end())

    def test_went_back(self):
        self.caught("sessions at a node", "x:0 at n1 was 2 and then 1", self.story().op("read", [0, None], [0, [1, 1, 1]]), self.end())

    def test_last_write_lost(self):
        self.caught("the last write stays", "y:0 is 1", self.story(), self.end(y=1))

    def test_never_written(self):
        self.caught("the last write stays", "x:0 is 5", self.story(), self.end(x=5))


class QueuesTest(Case):
    workload = "queues"

    def story(self):
        return (Story().op("push", ["queue:0", "R", ["a1", "a2", "a3"]], 3).op("push", ["queue:0", "L", ["b1", "b2"]], 5, node="n2")
                .op("read", ["queue:0"], ["b2", "b1", "a1", "a2", "a3"]).op("pop", ["queue:0", "L"], "b2"))

    def end(self, *elements):
        return everywhere({"queue:0": list(elements)})

    def test_good(self):
        self.holds(self.story(), self.end("b1", "a1", "a2", "a3"))
        self.examined(self.story(), self.end("b1", "a1", "a2", "a3"))
        self.holds(self.story().op("pop", ["queue:0", "L"], kind=INFO), self.end("a1", "a2", "a3"))

    def test_taken_twice_at_two_nodes_is_noted(self):
        story = self.story().op("pop", ["queue:0", "L"], "b2", node="n3")
        self.holds(story, self.end("b1", "a1", "a2", "a3"))
        self.assertIn("more than one node", self.verdicts(story, self.end("b1", "a1", "a2", "a3"))["nothing pushed is lost"].notes[0])

    def test_lost(self):
        self.caught("nothing pushed is lost", "a2 was pushed", self.story(), self.end("b1", "a1", "a3"))

    def test_more_lost_than_unanswered_pops_explain(self):
        story = self.story().op("pop", ["queue:0", "L"], kind=INFO)
        self.caught("nothing pushed is lost", "explain at most 1", story, self.end("a2", "a3"))

    def test_taken_and_back(self):
        self.caught("nothing pushed is lost", "was taken and is back", self.story(), self.end("b2", "b1", "a1", "a2", "a3"))

    def test_twice_in_the_list(self):
        self.caught("nothing pushed is lost", "2 times", self.story(), self.end("b1", "a1", "a1", "a2", "a3"))

    def test_taken_from_nowhere(self):
        self.caught("nothing pushed is lost", "nobody pushed it", self.story().op("pop", ["queue:0", "L"], "zz"), self.end("b1", "a1", "a2", "a3"))

    def test_taken_twice_at_one_node(self):
        self.caught("taken once at a node", "taken twice", self.story().op("pop", ["queue:0", "L"], "b2"), self.end("b1", "a1", "a2", "a3"))

    def test_torn_batch(self):
        self.caught("batches stay together", "not beside the rest", self.story(), self.end("a1", "b1", "a2", "a3"))

    def test_turned_batch(self):
        self.caught("batches stay together", "behind a later part", self.story(), self.end("b1", "a2", "a1", "a3"))


class SortedSetsTest(Case):
    workload = "sorted-sets"

    members, sums = "members:0", "sums"

    def story(self):
        return (Story().op("add", ["1-0", 5], 1).op("add", ["2-0", 3], 1, node="n2").op("read", self.members, [["2-0", 3], ["1-0", 5]])
                .op("sum", ["s0", 2], 2).op("sum", ["s0", 3], 5, node="n2"))

    def end(self, members=(("2-0", 3), ("1-0", 5)), total=5):
        return everywhere({self.members: [list(member) for member in members], self.sums: [["s0", total]]})

    def test_good(self):
        self.holds(self.story(), self.end())
        self.examined(self.story(), self.end())

    def test_lost_member_and_lost_sum(self):
        self.caught("members", "lost at n1", self.story(), self.end(members=[("1-0", 5)]))
        self.caught("sums of members", "s0 is 3", self.story(), self.end(total=3))

    def test_removed_and_back(self):
        self.caught("members", "is back", self.story().op("remove", "1-0", 1), self.end())

    def test_wrong_score_and_order(self):
        self.caught("scores", "was added with 5 and shows 6", self.story(), self.end(members=[("2-0", 3), ("1-0", 6)]))
        self.caught("scores", "order", self.story(), self.end(members=[("1-0", 5), ("2-0", 3)]))


class HashesTest(SortedSetsTest):
    workload = "hashes"
    members, sums = "fields:0", "field-sums"

    def test_wrong_score_and_order(self):
        self.caught("scores", "was added with 5 and shows 6", self.story(), self.end(members=[("2-0", 3), ("1-0", 6)]))
        self.caught("scores", "shows twice", self.story(), self.end(members=[("1-0", 5), ("1-0", 5), ("2-0", 3)]))


class StreamsTest(Case):
    workload = "streams"

    def story(self):
        return (Story().op("add", ["stream:0", "v1"], "1-1").op("add", ["stream:0", "v2"], "2-1", node="n2")
                .op("take", ["stream:0", "c1", 2], [["1-1", "v1"]]).op("take", ["stream:0", "c2", 2], [["2-1", "v2"]], node="n2")
                .op("read", ["stream:0"], [["1-1", "v1"], ["2-1", "v2"]]))

    def end(self, entries=(("1-1", "v1"), ("2-1", "v2")), pending=(), drained=()):
        return everywhere({"stream:0": {"entries": [list(entry) for entry in entries], "pending": list(pending), "drained": list(drained)}})

    def test_good(self):
        self.holds(self.story(), self.end())
        self.examined(self.story(), self.end())
        late = self.story().op("add", ["stream:0", "v3"], "3-1")
        entries = (("1-1", "v1"), ("2-1", "v2"), ("3-1", "v3"))
        self.holds(late, self.end(entries, pending=["3-1"]))
        self.holds(late, self.end(entries, drained=["3-1"]))

    def test_lost(self):
        self.caught("entries", "v2 was acknowledged and is not in stream:0", self.story(), self.end([("1-1", "v1")]))

    def test_passed_over(self):
        late = self.story().op("add", ["stream:0", "v3"], "3-1")
        self.caught("the group passes over nothing", "v3 (3-1)", late, self.end((("1-1", "v1"), ("2-1", "v2"), ("3-1", "v3"))))

    def test_same_id_twice(self):
        self.caught("entries", "given to 2 entries", self.story().op("add", ["stream:0", "v3"], "2-1", node="n3"), self.end())

    def test_another_id(self):
        self.caught("entries", "acknowledged as 2-1 and is 3-1", self.story(), self.end([("1-1", "v1"), ("3-1", "v2")]))

    def test_ids_fall(self):
        self.caught("entries", "do not rise", self.story(), self.end([("2-1", "v2"), ("1-1", "v1")]))

    def test_delivered_twice_at_one_node(self):
        self.caught("delivered once at a node", "twice", self.story().op("take", ["stream:0", "c3", 1], [["1-1", "v1"]]), self.end())

    def test_delivered_at_two_nodes_is_noted(self):
        self.holds(self.story().op("take", ["stream:0", "c3", 1], [["1-1", "v1"]], node="n3"), self.end())


class TimesToLiveTest(Case):
    workload = "ttl"

    def story(self):
        return Story().op("set", ["k", 2000], "OK", start=0, end=0.1).op("read", ["k", None], "here", start=1.8, end=1.85)

    def test_good(self):
        story = self.story().op("read", ["k", None], None, start=2.5, end=2.6).op("read", ["k", None], None, start=3, end=3.1)
        self.holds(story, everywhere({}))
        self.examined(story.op("read", ["k", None], None), everywhere({}))

    def test_too_late(self):
        self.caught("not before and not after their time", "had to end", self.story().op("read", ["k", None], "here", start=2.5, end=2.6), everywhere({}))

    def test_too_early(self):
        self.caught("not before and not after their time", "was to live until", self.story().op("read", ["k", None], None, start=1.86, end=1.9), everywhere({}))

    def test_back(self):
        story = self.story().op("read", ["k", None], None, start=2.0, end=2.01).op("read", ["k", None], "here", start=2.05, end=2.06)
        self.caught("gone is gone", "is back", story, everywhere({}))
        self.caught("all are gone in the end", "still there", self.story(), everywhere({"k": 500}))

    def test_extended(self):
        story = self.story().op("extend", ["k", 5000], 1, start=1.9, end=1.95).op("read", ["k", None], "here", start=6, end=6.1)
        self.holds(story, everywhere({}))
        self.caught("not before and not after their time", "had to end", story.op("read", ["k", None], "here", start=7.5, end=7.6), everywhere({}))

    def test_changed_clocks_leave_an_end(self):
        self.holds(self.story(), everywhere({"k": 200_000}), clock_error=300)
        self.caught("all are gone in the end", "still there", self.story(), everywhere({"k": 400_000}), clock_error=300)
        self.caught("all are gone in the end", "still there", self.story(), everywhere({"k": -1}), clock_error=300)


class TransactionsTest(Case):
    workload = "multi"

    def story(self):
        return Story().op("write", [0, 11], [0, 11]).op("read", [0, None], [0, [11, 11, 11]]).op("read", [1, None], [1, [None] * 3])

    def end(self, *values):
        return everywhere({str(group): list(values) if group == 0 else [None] * 3 for group in range(4)})

    def test_good(self):
        self.holds(self.story(), self.end(11, 11, 11))
        self.examined(self.story(), self.end(11, 11, 11))

    def test_torn(self):
        self.caught("all or nothing", "[11, None, 11]", self.story().op("read", [0, None], [0, [11, None, 11]]), self.end(11, 11, 11))
        self.caught("all or nothing", "group 0", self.story().op("write", [0, 12], [0, 12]), self.end(11, 12, 12))

    def test_unknown(self):
        self.caught("only what was written", "nobody wrote", self.story(), self.end(9, 9, 9))

    def test_lost(self):
        self.caught("only what was written", "is empty", self.story(), self.end(None, None, None))
        self.caught("sessions at a node", "reads as nothing", self.story().op("read", [0, None], [0, [None] * 3]), self.end(11, 11, 11))


class ScriptsTest(Case):
    workload = "scripts"

    def story(self):
        return Story().op("move", [0, 1, 5], "moved").op("read", "exec", {"0": -5, "1": 5}).op("move", [1, 2, 3], kind=INFO)

    def test_good(self):
        for end in ({"0": -5, "1": 5}, {"0": -5, "1": 2, "2": 3}):
            self.holds(self.story(), everywhere(end))
        self.examined(self.story(), everywhere({"0": -5, "1": 5}))

    def test_half_a_move(self):
        self.caught("nothing appears, nothing vanishes", "add up to -5", self.story().op("read", "script", {"0": -5}), everywhere({"0": -5, "1": 5}))

    def test_lost_and_twice(self):
        self.caught("every move counts once", "account 0 is 0", self.story(), everywhere({"0": 0, "1": 0}))
        self.caught("every move counts once", "account 1 is 10", self.story(), everywhere({"0": -10, "1": 10}))


class LocksTest(Case):
    workload = "locks"

    def story(self, lock="lock:own:0"):
        return (Story().op("acquire", [lock, "1.1"], "OK", start=0, end=0.1).op("acquire", [lock, "2.1"], None, start=0.2, end=0.3)
                .op("release", [lock, "1.1"], 1, start=0.5, end=0.6).op("acquire", [lock, "2.2"], "OK", start=0.7, end=0.8))

    def test_good(self):
        self.holds(self.story(), everywhere({}))
        self.examined(self.story(), everywhere({}))

    def test_granted_twice(self):
        story = self.story().op("acquire", ["lock:own:0", "3.1"], "OK", start=0.9, end=1.0)
        self.caught("exclusive at one node", "3.1 while 2.2", story, everywhere({}))

    def test_shared_is_noted(self):
        story = self.story("lock:shared:0").op("acquire", ["lock:shared:0", "3.1"], "OK", start=0.9, end=1.0, node="n2")
        story.op("acquire", ["lock:own:0", "9.9"], "OK", start=9, end=9.1)
        self.holds(story, everywhere({}))
        self.assertIn("1 of 3 grants", self.verdicts(story, everywhere({}))["exclusive at one node"].notes[0])

    def test_held_for_ever(self):
        self.caught("locks end", "still there", self.story(), everywhere({"lock:own:0": 500}))


class ListAppendTest(Case):
    workload = "list-append"

    def story(self):
        return (Story().op("txn", [["append", 0, 1], ["append", 1, 2]], [["append", 0, 1], ["append", 1, 2]])
                .op("txn", [["r", 0, None], ["r", 1, None]], [["r", 0, [1]], ["r", 1, [2]]])
                .op("txn", [["append", 0, 3], ["r", 0, None]], [["append", 0, 3], ["r", 0, [1, 3]]], node="n2"))

    def end(self, zero=(1, 3), one=(2,)):
        return everywhere({"0": list(zero), "1": list(one)})

    def test_good(self):
        self.holds(self.story(), self.end())
        self.examined(self.story(), self.end())

    def test_lost_twice_unknown(self):
        self.caught("every append once", "3 was appended to list 0 and is lost", self.story(), self.end(zero=[1]))
        self.caught("every append once", "2 times", self.story(), self.end(zero=[1, 3, 3]))
        self.caught("every append once", "nobody appended", self.story(), self.end(zero=[1, 3, 7]))

    def test_refused_and_read(self):
        story = self.story().op("txn", [["append", 0, 8]], kind=FAIL).op("txn", [["r", 0, None]], [["r", 0, [1, 3, 8]]])
        self.caught("every append once", "shows 8", story, self.end())

    def test_torn(self):
        story = self.story().op("txn", [["r", 0, None], ["r", 1, None]], [["r", 0, [1]], ["r", 1, []]], node="n3")
        self.caught("all or nothing", "2 of list 1 from the same transaction", story, self.end())

    def test_own_append_unseen(self):
        story = self.story().op("txn", [["append", 1, 9], ["r", 1, None]], [["append", 1, 9], ["r", 1, [2]]], node="n3")
        self.caught("all or nothing", "own append", story, self.end(one=[2, 9]))

    def test_went_back(self):
        self.caught("sessions at a node", "1 was in list 0", self.story().op("txn", [["r", 0, None]], [["r", 0, []]]), self.end())

    def test_another_order(self):
        self.caught("one order", "another order", self.story().op("txn", [["r", 0, None]], [["r", 0, [3, 1]]], node="n3"), self.end())


if __name__ == "__main__":
    unittest.main()
