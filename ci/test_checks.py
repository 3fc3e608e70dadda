"""The checks of this folder can fail: `python3 -m unittest discover -s ci -p 'test_*.py'`."""

import importlib.machinery
import importlib.util
import pathlib
import random
import struct
import sys
import types
import unittest

FOLDER = pathlib.Path(__file__).parent
sys.path.insert(0, str(FOLDER))
sys.dont_write_bytecode = True

import dns_server  # noqa: E402
import generator  # noqa: E402
import heal  # noqa: E402
import resp  # noqa: E402


def load_script(name):
    loader = importlib.machinery.SourceFileLoader(name, str(FOLDER / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


differential = load_script("differential")
notifications = load_script("notifications")
recorded = load_script("recorded")
access_control = load_script("access_control")
scripts = load_script("scripts")


def bulk(text):
    return resp.encode((text,)).partition(b"\r\n")[2]


def array(*texts, kind=b"*"):
    return b"%b%d\r\n" % (kind, len(texts)) + b"".join(bulk(text) for text in texts)


class Notifications(unittest.TestCase):
    """A listener that hears what a test says, and a publisher whose marks it hears as well."""

    def side(self, *events):
        side = notifications.Side.__new__(notifications.Side)
        side.marks, heard = 0, list(events)
        side.event = lambda: heard.pop(0)
        return side, types.SimpleNamespace(call=lambda _, channel, __: heard.append((channel, b"")))

    def test_what_comes_before_the_mark_is_what_the_command_caused(self):
        first, second = (b"__keyevent@0__:set", b"a"), (b"__keyevent@0__:expire", b"a")
        side, publisher = self.side(first, second, first)
        self.assertEqual(side.events(publisher), [first, second, first])
        self.assertEqual(side.events(publisher), [])

    def test_a_miss_that_is_told_twice_counts_once_and_nothing_else_does(self):
        miss, pushed = (b"__keyevent@0__:keymiss", b"x"), (b"__keyevent@0__:rpush", b"l")
        side, publisher = self.side(miss, miss, pushed, pushed)
        self.assertEqual(side.events(publisher), [miss, pushed, pushed])

    def test_every_command_can_be_drawn(self):
        draw = random.Random(1)
        drawn = {notifications.drawn(draw)[0] for _ in range(20_000)}
        written = {part.split(" ")[0].encode() for line in notifications.COMMANDS.split("\n") for part in line.split("|") if part}
        self.assertEqual(drawn, written)


class Scripts(unittest.TestCase):
    TEXT = "# a comment\n== one\nset k \"a\\xffb\"\neval 1 k :: return 1\n\n== two\n2: send eval 0 :: a\n b\n\n  c\nwait 5\n"

    def test_cases_are_read(self):
        (one, first), (two, second) = scripts.cases(self.TEXT)
        self.assertEqual((one, two), ("one", "two"))
        self.assertEqual([line.words for line in first], [[b"set", b"k", b"a\xffb"], [b"eval", b"return 1", b"1", b"k"]])
        self.assertEqual([line.words for line in second], [[b"eval", b"a\nb\n\n c", b"0"], [b"wait", b"5"]])
        self.assertEqual([(line.second, line.send) for line in second], [(True, True), (False, False)])

    def test_every_line_is_one_that_can_be_sent(self):
        written = scripts.cases(scripts.CORPUS.read_text())
        self.assertGreater(sum(len(lines) for _, lines in written), 1000)
        self.assertEqual(len({name for name, _ in written}), len(written))

    def test_a_seed_is_always_the_same_scripts(self):
        once, again = (list(scripts.script_generator.scripts(3, 50)) for _ in range(2))
        self.assertEqual(once, again)
        self.assertEqual(scripts.script_generator.literal(b"a'\\\n\xff"), b"'a\\039\\092\\010\\255'")


class Replies(unittest.TestCase):
    def test_split_finds_every_type(self):
        replies = [b"+OK\r\n", b"-ERR x\r\n", b":5\r\n", b"$-1\r\n", b"*-1\r\n", b"_\r\n", b"#t\r\n", b",1.5\r\n", b"$4\r\n\r\n\r\n\r\n",
                   b"%1\r\n+a\r\n*2\r\n:1\r\n~1\r\n:2\r\n", b"=7\r\ntxt:abc\r\n"]
        self.assertEqual(resp.split(b"".join(replies)), replies)

    def test_incomplete_replies_are_not_replies(self):
        whole = b"*2\r\n$3\r\nabc\r\n:1\r\n"
        for length in range(1, len(whole)):
            with self.assertRaises((IndexError, ValueError), msg=str(length)):
                resp.end_of_reply(whole[:length], 0)


class Rules(unittest.TestCase):
    def same(self, rule, ours, theirs):
        return differential.same_reply(rule, ours, theirs)

    def test_times_of_groups_are_about_the_same_and_the_rest_is_the_same(self):
        def pending(consumer, idle, deliveries):
            return b"*1\r\n*4\r\n%b%b:%d\r\n:%d\r\n" % (bulk("1-1"), bulk(consumer), idle, deliveries)
        def consumers(pending, idle, *more):
            fields = [bulk("name"), bulk("c"), bulk("pending"), b":%d\r\n" % pending, bulk("idle"), b":%d\r\n" % idle, *more]
            return b"*1\r\n*%d\r\n" % len(fields) + b"".join(fields)
        self.assertTrue(self.same(generator.TIMES, pending("c", 5, 1), pending("c", 7, 1)))
        self.assertFalse(self.same(generator.TIMES, pending("c", 5, 1), pending("c", 5, 2)))
        self.assertFalse(self.same(generator.TIMES, pending("c", 5, 1), pending("d", 5, 1)))
        self.assertFalse(self.same(generator.TIMES, pending("c", 5, 1), pending("c", 500_000, 1)))
        inactive = (bulk("inactive"), b":-1\r\n")
        self.assertTrue(self.same(generator.TIMES, consumers(2, 5, *inactive), consumers(2, 9)))
        self.assertFalse(self.same(generator.TIMES, consumers(2, 5, *inactive), consumers(3, 5)))
        self.assertFalse(self.same(generator.TIMES, consumers(2, 5, *inactive), consumers(2, 500_000)))

    def test_order_matters_only_where_it_is_promised(self):
        self.assertTrue(self.same(generator.ANY_ORDER, array("a", "b"), array("b", "a")))
        self.assertFalse(self.same(generator.EXACT, array("a", "b"), array("b", "a")))
        self.assertFalse(self.same(generator.ANY_ORDER, array("a", "a"), array("b", "a")))
        self.assertFalse(self.same(generator.ANY_ORDER, array("a", "b"), array("b", "a", kind=b"~")))

    def test_pairs_stay_together(self):
        self.assertTrue(self.same(generator.PAIRS, array("f", "1", "g", "2"), array("g", "2", "f", "1")))
        self.assertFalse(self.same(generator.PAIRS, array("f", "1", "g", "2"), array("g", "1", "f", "2")))

    def test_lifetimes_are_close_and_their_absence_is_exact(self):
        self.assertTrue(self.same(generator.SECONDS, b":100\r\n", b":101\r\n"))
        self.assertFalse(self.same(generator.SECONDS, b":100\r\n", b":110\r\n"))
        self.assertFalse(self.same(generator.SECONDS, b":-1\r\n", b":0\r\n"))
        self.assertFalse(self.same(generator.SECONDS, b":-1\r\n", b":-2\r\n"))

    def test_errors_are_exact_under_every_rule(self):
        for rule in (generator.EXACT, generator.ANY_ORDER, generator.SHAPE, generator.SECONDS, generator.HELLO):
            self.assertFalse(self.same(rule, b"-ERR a\r\n", b"-ERR b\r\n"), rule)

    def test_hello_may_differ_only_in_its_own_fields(self):
        self.assertTrue(self.same(generator.HELLO, array("server", "swytch", "proto", "2"), array("server", "redis", "proto", "2")))
        self.assertFalse(self.same(generator.HELLO, array("server", "swytch", "proto", "3"), array("server", "redis", "proto", "2")))

    def test_random_picks_come_from_what_was_there(self):
        def allowed(command, there, ours, theirs):
            step = generator.Step(generator.RANDOM, ((b"SMEMBERS", b"k"), command))
            return differential.same_step(step, [there, ours], [there, theirs]) is None
        there = array("a", "b", "c")
        self.assertTrue(allowed((b"SRANDMEMBER", b"k"), there, bulk("a"), bulk("b")))
        self.assertFalse(allowed((b"SRANDMEMBER", b"k"), there, bulk("x"), bulk("b")))
        self.assertFalse(allowed((b"SRANDMEMBER", b"k"), there, b"$-1\r\n", bulk("b")))
        self.assertTrue(allowed((b"SPOP", b"k", b"2"), there, array("a", "b"), array("c", "b")))
        self.assertFalse(allowed((b"SPOP", b"k", b"2"), there, array("a", "a"), array("c", "b")))
        self.assertFalse(allowed((b"SPOP", b"k", b"2"), there, array("a"), array("c", "b")))
        self.assertTrue(allowed((b"SRANDMEMBER", b"k", b"-2"), there, array("a", "a"), array("c", "b")))
        pairs = array("f", "1", "g", "2")
        self.assertTrue(allowed((b"HRANDFIELD", b"k", b"1", b"WITHVALUES"), pairs, array("f", "1"), array("g", "2")))
        self.assertFalse(allowed((b"HRANDFIELD", b"k", b"1", b"WITHVALUES"), pairs, array("f", "2"), array("g", "2")))

    def test_a_missing_reply_is_a_difference(self):
        steps = [generator.Step(generator.EXACT, ((b"PING",),)), generator.Step(generator.EXACT, ((b"PING",),))]
        difference, _ = differential.compare_batch(steps, 0, b"+PONG\r\n", b"+PONG\r\n+PONG\r\n")
        self.assertEqual(difference.index, 1)


class Generation(unittest.TestCase):
    def test_a_seed_is_a_sequence(self):
        first, second = (generator.Generator(5).sequence(500) for _ in range(2))
        self.assertEqual(first, second)
        self.assertNotEqual(first, generator.Generator(6).sequence(500))

    def test_left_out_commands_are_not_drawn(self):
        steps = generator.Generator(1, (b"LCS", b"OBJECT")).sequence(5_000)
        names = {command[0].upper() for step in steps for command in step.commands}
        self.assertTrue(names.isdisjoint({b"LCS", b"OBJECT"}))


class Names(unittest.TestCase):
    TABLE = {"cache.test": {"SRV": [[0, 0, 7379, "node1.test"]]}, "node1.test": {"A": ["127.0.0.1"]}, "bad.test": {"mode": "servfail"},
             "slow.test": {"mode": "timeout"}}

    def ask(self, name, record_type):
        query = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0" + dns_server.encode_name(name) + struct.pack("!HH", record_type, 1)
        return dns_server.answer(query, self.TABLE)

    def test_records_and_failures(self):
        self.assertTrue(self.ask("Cache.Test", dns_server.SRV).endswith(struct.pack("!HHH", 0, 0, 7379) + b"\5node1\4test\0"))
        self.assertTrue(self.ask("node1.test", dns_server.A).endswith(b"\0\4\x7f\0\0\1"))
        self.assertEqual(self.ask("nowhere.test", dns_server.A)[3] & 15, dns_server.NAME_ERROR)
        self.assertEqual(self.ask("bad.test", dns_server.A)[3] & 15, dns_server.SERVFAIL)
        self.assertIsNone(self.ask("slow.test", dns_server.A))


class Keys(unittest.TestCase):
    def same(self, rule, ours, theirs):
        return differential.same_reply(rule, ours, theirs)

    def test_presence_does_not_take_null_for_a_value(self):
        self.assertTrue(self.same(generator.PRESENCE, bulk(b"a"), bulk(b"b")))
        self.assertFalse(self.same(generator.PRESENCE, b"$-1\r\n", bulk(b"b")))
        self.assertFalse(self.same(generator.PRESENCE, b":1\r\n", bulk(b"b")))

    def test_encodings_differ_only_where_it_is_meant(self):
        self.assertTrue(self.same(generator.ENCODING, bulk(b"embstr"), bulk(b"raw")))
        self.assertFalse(self.same(generator.ENCODING, bulk(b"raw"), bulk(b"embstr")))
        self.assertFalse(self.same(generator.ENCODING, bulk(b"hashtable"), bulk(b"listpack")))

    def test_sorted_elements_have_an_order(self):
        self.assertFalse(self.same(generator.SORTED, array(b"a", b"b"), array(b"b", b"a")))
        self.assertTrue(self.same(generator.SORTED, array(b"a\0x", b"a\0y"), array(b"a\0y", b"a\0x")))
        self.assertFalse(self.same(generator.SORTED, array(b"a\0x", b"a\0y"), array(b"a\0y", b"a\0z")))
        tree = b"$15\r\nradix-tree-keys\r\n:%d\r\n$16\r\nradix-tree-nodes\r\n:%d\r\n"
        self.assertTrue(self.same(generator.EXACT, tree % (1, 2), tree % (2, 6)))
        self.assertFalse(self.same(generator.EXACT, tree % (2, 6), tree % (1, 2)))
        self.assertTrue(self.same(generator.SORTED_PART, array(b"a\0x", b"a\0y"), array(b"a\0y", b"a\0z")))
        self.assertFalse(self.same(generator.SORTED_PART, array(b"a\0x", b"b"), array(b"a", b"c")))
        self.assertFalse(self.same(generator.SORTED, differential.NOT_SORTED, array(b"1")))

    def test_left_over_errors_of_xadd(self):
        low, stored = differential.TOO_LOW, differential.NOT_STORED
        self.assertTrue(self.same(generator.EXACT, low, stored))
        self.assertTrue(self.same(generator.EXACT, b"*2\r\n" + low + b":1\r\n", b"*2\r\n" + stored + b":1\r\n"))
        self.assertFalse(self.same(generator.EXACT, stored, low))
        self.assertFalse(self.same(generator.EXACT, b":1\r\n", stored))

    def test_payloads_end_with_their_checksum(self):
        # As redis-server 7.0.15 dumps the string "hello".
        self.assertEqual(generator.serialized(b"\x00\x05hello")[-8:].hex(), "6372df766534200a")


class Recorded(unittest.TestCase):
    def test_sections_have_steps_with_replies(self):
        sections = recorded.parse("# text\n\n== title\n> GET 'a b'\n[2] $-1\n[3] _\n~ 20\n> PING\n+PONG\n")
        self.assertEqual(sections, [("title", [(4, ["GET", "a b"], ["[2] $-1", "[3] _"]), (7, 20, None), (8, ["PING"], ["+PONG"])])])
        for wrong in ("> PING\n+PONG\n", "== title\n", "== title\n> PING\n", "== title\n+PONG\n", "== title\n~ 20\n+PONG\n"):
            self.assertRaises(ValueError, recorded.parse, wrong)

    def test_lines_of_one_protocol(self):
        lines = ["*1", "[2] $-1", "[3] _"]
        self.assertEqual([recorded.expected(lines, protocol) for protocol in (2, 3)], [["*1", "$-1"], ["*1", "_"]])

    def test_a_reply_fits_line_by_line(self):
        self.assertTrue(recorded.fits(["*2", ":{9..10}", ":-2"], b"*2\r\n:10\r\n:-2\r\n"))
        self.assertFalse(recorded.fits(["*2", ":{9..10}", ":-2"], b"*2\r\n:11\r\n:-2\r\n"))
        self.assertFalse(recorded.fits([":{9..10}"], b"+OK\r\n"))
        self.assertFalse(recorded.fits(["*2", ":1"], b"*2\r\n:1\r\n:1\r\n"))
        self.assertFalse(recorded.fits(["*2", ":1", ":1"], b"*2\r\n:1\r\n"))
        self.assertFalse(recorded.fits([":1"], b":1"))


class AccessControl(unittest.TestCase):
    def test_replies_of_7_0_become_those_of_7_2(self):
        def translated(reply, *command, user=b"u"):
            return access_control.as_in_7_2(command, reply, user)
        self.assertEqual(translated(b"-NOPERM this user has no permissions to run the 'get' command\r\n", b"get"),
                         b"-NOPERM User u has no permissions to run the 'get' command\r\n")
        self.assertEqual(translated(b"-NOPERM this user has no permissions to access one of the keys used as arguments\r\n", b"get"),
                         b"-NOPERM No permissions to access a key\r\n")
        self.assertEqual(translated(bulk("This user has no permissions to access the 'k' key"), b"acl", b"dryrun", b"bob", b"get", b"k"),
                         bulk("User bob has no permissions to access the 'k' key"))
        for other in (b"+OK\r\n", b"-ERR unknown command 'x'\r\n", bulk("This user")):
            self.assertEqual(translated(other, b"acl", b"dryrun", b"bob", b"get", b"k"), other)

    def test_only_ages_times_and_connections_are_masked(self):
        def entry(age, client, count=b":1\r\n"):
            return bulk("count") + count + bulk("object") + bulk("k") + bulk("age-seconds") + age + bulk("client-info") + bulk(client)
        self.assertEqual(access_control.masked(entry(bulk("0.001"), "id=1")), access_control.masked(entry(b",12.5\r\n", "id=22")))
        self.assertNotEqual(access_control.masked(entry(bulk("0"), "id=1")), access_control.masked(entry(bulk("0"), "id=1", b":2\r\n")))


class Heal(unittest.TestCase):
    def test_the_last_of_a_hundred_is_not_their_99th_percentile(self):
        self.assertEqual([heal.percentile(list(range(100, 0, -1)), part) for part in (0.5, 0.99, 1)], [50, 99, 100])
        self.assertEqual(heal.percentile([3], 0.99), 3)

    def test_only_chains_of_runs_that_are_gone_are_removed(self):
        asked = []
        shown = {("-S", "INPUT"): "-P INPUT ACCEPT\n-A INPUT -p udp -j swytch-heal-cut-7\n-A INPUT -p udp -j swytch-heal-cut-8\n",
                 ("-S",): "-N swytch-heal-cut-7\n-N swytch-heal-cut-8\n-N mine-swytch-heal-cut-7\n"}
        true_one, heal.iptables = heal.iptables, lambda *words: asked.append(words) or shown.get(words, "")
        try:
            heal.remove_chains(lambda pid: pid == 7)
        finally:
            heal.iptables = true_one
        self.assertEqual([words for words in asked if words not in shown],
                         [("-D", "INPUT", "-p", "udp", "-j", "swytch-heal-cut-7"), ("-F", "swytch-heal-cut-7"),
                          ("-X", "swytch-heal-cut-7")])

    def test_nodes_that_differ_in_one_value_are_told_apart(self):
        true_one = heal.dump
        try:
            heal.dump = lambda node: node.data
            node = lambda name, **data: types.SimpleNamespace(name=name, data=data)
            self.assertEqual(heal.compare([node("a", x=1, y=2), node("b", y=2, x=1)]), 2)
            for other in ({"x": 1}, {"x": 1, "y": 3}, {"x": 1, "y": 2, "z": 3}):
                with self.assertRaises(RuntimeError):
                    heal.compare([node("a", x=1, y=2), node("b", **other)])
        finally:
            heal.dump = true_one


if __name__ == "__main__":
    unittest.main()
