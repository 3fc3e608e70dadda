"""Sequences of commands from a seed, for ci/differential.

A sequence is a list of steps. A step is a rule, which says how its replies compare, and one or more commands that belong
together. Few keys, so that types collide; every option; wrong arity, wrong types, and numbers at the edges.
Nothing here depends on a reply or on the clock: the same seed is always the same sequence. Times to live are far away
(or long over), and so many that two of them are never about equal: only then is EXPIRE GT the same on both servers.
"""

import random
from collections import namedtuple

Step = namedtuple("Step", "rule commands")

# Rules. The reply is the same byte for byte:
EXACT = "exact"
# the same elements, in any order; the same pairs, in any order:
ANY_ORDER, PAIRS = "any order", "pairs"
# integers no further apart than a few seconds, in seconds or in milliseconds:
SECONDS, MILLISECONDS = "seconds", "milliseconds"
# only the same kind of reply:
SHAPE = "shape"
# HELLO: the same fields, some with values of their own:
HELLO = "hello"
# the last command picks at random from what the first command showed; POP also removes it:
RANDOM, POP = "random", "pop"
# repeated with the cursor that came back until it is 0, then the same elements (or pairs) in any order:
SCAN, SCAN_PAIRS = "scan", "scan pairs"
# exact; then time passes, and the key of the last command must be gone:
EXPIRE = "expire"

RULES = {
    b"KEYS": ANY_ORDER, b"SMEMBERS": ANY_ORDER, b"SINTER": ANY_ORDER, b"SUNION": ANY_ORDER, b"SDIFF": ANY_ORDER,
    b"HKEYS": ANY_ORDER, b"HVALS": ANY_ORDER, b"HGETALL": PAIRS,
    b"TTL": SECONDS, b"EXPIRETIME": SECONDS, b"PTTL": MILLISECONDS, b"PEXPIRETIME": MILLISECONDS,
    b"TIME": SHAPE, b"HELLO": HELLO,
}

KEYS = [b"a", b"b", b"c", b"d", b"key:1", b"key:2", b"{tag}x", b"{tag}y", b"", b"with space", b"\x00\xff\r\n\x80",
        b"long" * 80, b"[k]*?", b"Z"]
# Keys that only commands on HyperLogLogs write.
HYPERLOGLOGS = [b"hll:1", b"hll:2", b"hll:3"]
DATABASES = (b"0", b"1", b"2")
WORDS = [b"", b"x", b"y", b"hello", b"Hello World", b"\x00", b"\xff\xfe\r\n", b"\xc3\xa9", b"10", b"-7", b"0", b"3.5", b"w" * 44,
         b"w" * 45, b"w" * 64, b"w" * 65, b"99999", b"aaa", b"aab", b"field", b"*", b"%s", b"\"quoted\"", b"'"]
INTEGERS = [b"0", b"1", b"-1", b"2", b"7", b"100", b"-100", b"9999", b"10000", b"9223372036854775807", b"-9223372036854775808",
            b"9223372036854775806", b"-9223372036854775807"]
NOT_INTEGERS = [b"9223372036854775808", b"-9223372036854775809", b"18446744073709551615", b"18446744073709551616", b"007",
                b"+5", b" 5", b"5 ", b"-0", b"1e3", b"1.0", b"", b"abc", b"0x10", b"--1", b"1\x00", b"\xb2"]
FLOATS = [b"0", b"1", b"-1", b"0.1", b"0.2", b"-0.3", b"3.0e3", b"1e-7", b"1e17", b"1e18", b"5e-324", b"1e-20", b"1e300", b"-2.5e2",
          b"1.7976931348623157e308", b"3.14159265358979323846264338327950288", b"0.000001", b"123456789.123456789", b"+5", b"007",
          b"-0", b"-0.0", b".5", b"5.", b"0x10", b"1e4000", b"1e5000", b"9007199254740993", b"18446744073709551615"]
NOT_FLOATS = [b"nan", b"NaN", b"inf", b"-inf", b"Infinity", b"", b"abc", b" 1", b"1 ", b"1.0.0", b"1e", b"e5", b"1\x00", b"1e99999",
              b"--1", b"1,5"]
LONG_AGO = (b"1", b"1000000000")
PATTERNS = [b"*", b"key:*", b"?", b"[ab]", b"[^a]", b"[a-c]", b"\\*", b"[k]*", b"\\[k\\]*", b"**", b"", b"*:*", b"[", b"[a", b"a\\",
            b"[z-a]", b"h?llo", b"*x*", b"nothing"]
# Commands whose arguments must not be replaced at random: a short time to live, a reply or value of gigabytes.
FIXED_ARGUMENTS = {b"SETBIT", b"BITFIELD", b"BITFIELD_RO", b"SRANDMEMBER", b"HRANDFIELD", b"SPOP", b"EXPIRE", b"PEXPIRE", b"EXPIREAT", b"PEXPIREAT",
                   b"SETEX", b"PSETEX", b"GETEX", b"SET", b"WAIT", b"SELECT", b"RESET", b"HELLO", b"CLIENT"}


class Generator:
    """Draws steps. `left_out` names commands (upper case) that are not drawn."""

    def __init__(self, seed, left_out=()):
        self.random, self.left_out = random.Random(seed), frozenset(left_out)
        families = {"string": 34, "hash": 24, "set": 24, "generic": 18, "expire": 14, "bits": 20, "hyperloglog": 12, "connection": 4, "wrong": 2}
        self.drawers, self.weights = [], []
        for family, weight in families.items():
            drawers = self.family(family)
            for name in drawers:
                self.drawers.append((name, drawers[name]))
                self.weights.append(weight / len(drawers) * RARE.get(name, 1))

    def family(self, family):
        prefix = f"{family}_"
        return {name[len(prefix):].upper().encode(): getattr(self, name) for name in dir(self) if name.startswith(prefix)}

    # --- pieces

    def chance(self, probability):
        return self.random.random() < probability

    def pick(self, *options):
        return self.random.choice(options)

    def key(self):
        return self.random.choice(KEYS)

    def keys(self, most=3):
        return [self.key() for _ in range(self.random.randint(1, most))]

    def word(self):
        draw = self.random.random()
        if draw < 0.55:
            return self.random.choice(WORDS)
        if draw < 0.8:
            return b"%d" % self.random.randint(-20, 200)
        if draw < 0.985:
            return b"m%d" % self.random.randrange(30)
        if draw < 0.995:
            return self.random.randbytes(self.random.randrange(100))
        return self.random.choice((b"z", b"ab\x00")) * self.random.randrange(1, 5000)

    def words(self, most=4):
        if self.chance(0.01):
            # About as many as a compact encoding holds (512 fields or integers), and more.
            start = self.random.randrange(300)
            return [b"%d" % number for number in range(start, start + self.pick(130, 511, 512, 513))]
        return [self.word() for _ in range(self.random.randint(1, most))]

    def value(self):
        return self.random.choice((self.word, self.integer, self.float))()

    def integer(self):
        draw = self.random.random()
        if draw < 0.6:
            return b"%d" % self.random.randint(-50, 50)
        return self.random.choice(INTEGERS if draw < 0.85 else NOT_INTEGERS)

    def float(self):
        draw = self.random.random()
        if draw < 0.4:
            return b"%.*f" % (self.random.randrange(12), self.random.uniform(-1000, 1000))
        return self.random.choice(FLOATS if draw < 0.85 else NOT_FLOATS)

    def index(self):
        return b"%d" % self.random.randint(-8, 12) if self.chance(0.8) else self.integer()

    def lifetime(self, unit):
        """Seconds (unit 1) or milliseconds (unit 1000) from now."""
        draw = self.random.random()
        if draw < 0.8:
            return b"%d" % (self.random.randrange(1_000, 10_000_000) * unit)
        if draw < 0.9:
            return self.pick(b"0", b"-1", b"-1000", b"-9223372036854775808")
        return self.pick(b"9223372036854775807", b"9223372036854776", b"9223372036854775", b"-9223372036854776",
                         *NOT_INTEGERS)

    def moment(self, unit):
        """A Unix time: in the next century or long ago."""
        draw = self.random.random()
        if draw < 0.75:
            return b"%d" % (self.random.randrange(4_102_444_800, 7_258_118_400) * unit)
        if draw < 0.9:
            return self.pick(b"0", b"-1", b"-9223372036854775808", *LONG_AGO)
        return self.pick(b"9223372036854775807", b"9223372036854776", b"9223372036854775", *NOT_INTEGERS)

    def life_options(self):
        option = self.pick(b"EX", b"PX", b"EXAT", b"PXAT")
        unit = 1000 if option.startswith(b"P") else 1
        if not option.endswith(b"AT"):
            return [option, self.lifetime(unit)]
        moment = self.moment(unit)
        # SET with a moment long ago leaves a key that DBSIZE counts until Redis happens on it: only PEXPIRE__SOON does that.
        return [option, b"0" if moment in LONG_AGO else moment]

    def case(self, option):
        return self.pick(option, option, option.lower(), option.title())

    # --- strings

    def string_set(self):
        command = [b"SET", self.key(), self.value()]
        options = []
        for _ in range(self.pick(0, 0, 1, 1, 2, 3)):
            draw = self.random.random()
            if draw < 0.35:
                options.append(self.life_options())
            elif draw < 0.97:
                options.append([self.case(self.pick(b"NX", b"XX", b"GET", b"KEEPTTL"))])
            else:
                options.append([self.pick(b"EX", b"PX", b"KEEP", b"PERSIST", b"")])
        self.random.shuffle(options)
        return command + sum(options, [])

    def string_get(self):
        return [b"GET", self.key()]

    def string_getset(self):
        return [b"GETSET", self.key(), self.value()]

    def string_getdel(self):
        return [b"GETDEL", self.key()]

    def string_getex(self):
        options = self.pick([], [b"PERSIST"], self.life_options(), self.life_options(), [b"PERSIST", *self.life_options()], [b"KEEPTTL"])
        return [b"GETEX", self.key(), *options]

    def string_setnx(self):
        return [b"SETNX", self.key(), self.value()]

    def string_setex(self):
        return [b"SETEX", self.key(), self.lifetime(1), self.value()]

    def string_psetex(self):
        return [b"PSETEX", self.key(), self.lifetime(1000), self.value()]

    def string_mset(self):
        return [b"MSET", *sum(([key, self.value()] for key in self.keys(4)), [])]

    def string_msetnx(self):
        return [b"MSETNX", *sum(([key, self.value()] for key in self.keys(2)), [])]

    def string_mget(self):
        return [b"MGET", *self.keys(5)]

    def string_append(self):
        return [b"APPEND", self.key(), self.word()]

    def string_strlen(self):
        return [b"STRLEN", self.key()]

    def string_setrange(self):
        offset = self.pick(b"0", b"1", b"5", b"60", b"-1", b"3000", b"536870912", b"536870911000", b"9223372036854775807", self.index())
        return [b"SETRANGE", self.key(), offset, self.word()]

    def string_getrange(self):
        return [self.pick(b"GETRANGE", b"SUBSTR"), self.key(), self.index(), self.index()]

    def string_incr(self):
        return [self.pick(b"INCR", b"DECR"), self.key()]

    def string_incrby(self):
        return [self.pick(b"INCRBY", b"DECRBY"), self.key(), self.integer()]

    def string_incrbyfloat(self):
        return [b"INCRBYFLOAT", self.key(), self.float()]

    def string_lcs(self):
        options = [option for option in ([b"LEN"], [b"IDX"], [b"MINMATCHLEN", self.index()], [b"WITHMATCHLEN"]) if self.chance(0.4)]
        return [b"LCS", self.key(), self.key(), *sum(options, [])]

    # --- bits

    def bit_offset(self):
        """Of a bit that is written: near, or refused. In between lie strings of up to 512 MB."""
        return self.pick(b"%d" % self.random.randrange(64), b"%d" % self.random.randrange(5000), b"%d" % self.random.randrange(200_000),
                         b"-1", b"4294967296", b"9223372036854775807", b"007", b"abc", b"")

    def read_bit_offset(self):
        return self.bit_offset() if self.chance(0.9) else self.pick(b"4294967295", b"4294967288", b"1000000000")

    def bit_index(self):
        return self.index() if self.chance(0.6) else b"%d" % self.random.randint(-6000, 6000)

    def bit_span(self, shorter):
        span = [self.bit_index(), self.bit_index()]
        return self.pick([], shorter, span, span, [*span, b"BIT"], [*span, b"BYTE"], [*span, self.pick(b"bit", b"Byte", b"x", b"")], [*span, b"BIT", b"x"])

    def bits_setbit(self):
        return [b"SETBIT", self.key(), self.bit_offset(), self.pick(b"0", b"1", b"1", b"1", b"2", b"01", b"x")]

    def bits_getbit(self):
        return [b"GETBIT", self.key(), self.read_bit_offset()]

    def bits_bitcount(self):
        return [b"BITCOUNT", self.key(), *self.bit_span([self.bit_index()])]

    def bits_bitpos(self):
        return [b"BITPOS", self.key(), self.pick(b"0", b"0", b"1", b"1", b"2", b"-1", b"x"), *self.bit_span([self.bit_index()])]

    def bits_bitop(self):
        return [b"BITOP", self.pick(b"AND", b"or", b"Xor", b"NOT", b"NAND"), self.key(), *self.keys(self.pick(1, 2, 5))]

    def field(self, offset):
        width = self.pick(b"u%d" % self.random.randint(1, 63), b"i%d" % self.random.randint(1, 64), b"u%d" % self.random.randint(1, 9),
                          b"i%d" % self.random.randint(1, 9), b"u8", b"i64", self.pick(b"u64", b"i65", b"u0", b"i-1", b"u08", b"I8", b"u", b"8", b"x", b""))
        # A # and a number whose product does not fit into 64 bits is not drawn: redis-server then takes what the product
        # wraps around to, and that is a valid place only where the offset could not have meant it.
        return [width, offset() if self.chance(0.7) else self.pick(b"#%d" % self.random.randrange(40), b"#%d" % self.random.randrange(40), b"#-1", b"#x", b"#",
                                                                   b"#4294967296")]

    def field_value(self):
        """For SET. Below -2^62 redis-server takes an underflow for an overflow and saturates to the greatest number, not to
        the least as its documentation says: the comparison of such numbers overflows itself."""
        value = self.integer()
        return self.pick(b"-4611686018427387904", b"-1") if value in (b"-9223372036854775808", b"-9223372036854775807") else value

    def bits_bitfield(self):
        command = [self.case(b"BITFIELD"), self.key()]
        for _ in range(self.random.randint(0, 5)):
            command += self.pick([self.case(b"GET"), *self.field(self.read_bit_offset)],
                                 [self.case(b"SET"), *self.field(self.bit_offset), self.field_value()],
                                 [self.case(b"INCRBY"), *self.field(self.bit_offset), self.integer()],
                                 [self.case(b"OVERFLOW"), self.pick(b"WRAP", b"SAT", b"fail", b"Sat", b"FAIL", b"x")])
        if self.chance(0.03):
            command.append(self.pick(b"GET", b"OVERFLOW", b"x"))
        return command

    def bits_bitfield__plain(self):
        """Without a word that is refused, and so all of it carried out."""
        def field():
            return self.pick([b"u%d" % self.random.randint(1, 63)], [b"i%d" % self.random.randint(1, 64)]) + [
                self.pick(b"%d" % self.random.randrange(200), b"#%d" % self.random.randrange(9))]
        command = [b"BITFIELD", self.key()]
        for _ in range(self.random.randint(1, 6)):
            number = self.pick(b"%d" % self.random.randint(-300, 300), b"%d" % self.random.randint(-2**63, 2**63 - 1), b"9223372036854775807",
                               b"-9223372036854775808")
            value = self.pick(b"%d" % self.random.randint(-300, 300), b"%d" % self.random.randint(-2**62, 2**63 - 1), b"9223372036854775807")
            command += self.pick([b"GET", *field()], [b"SET", *field(), value], [b"INCRBY", *field(), number],
                                 [b"OVERFLOW", self.pick(b"WRAP", b"SAT", b"FAIL")])
        return command

    def bits_bitfield_ro(self):
        command = [b"BITFIELD_RO", self.key()]
        for _ in range(self.random.randint(0, 4)):
            command += self.pick([b"GET", *self.field(self.read_bit_offset)], [b"get", *self.field(self.read_bit_offset)],
                                 [b"GET", b"u8", self.read_bit_offset()], [b"OVERFLOW", self.pick(b"SAT", b"x")],
                                 self.pick([b"SET", b"u8", b"0", b"1"], [b"INCRBY", b"u8", b"0", b"1"], [b"x"]))
        return command

    # --- HyperLogLogs

    def hyperloglog(self):
        """Half of them are safe from the writes of strings."""
        return self.random.choice(HYPERLOGLOGS) if self.chance(0.5) else self.key()

    def hyperloglog_pfadd(self):
        return [b"PFADD", self.hyperloglog(), *self.words(6)[self.pick(0, 0, 0, 0, 6):]]

    def hyperloglog_pfadd__many(self):
        """So many that the sparse representation comes near its limit, or goes beyond it."""
        start = self.random.randrange(100_000)
        command = (b"PFADD", self.hyperloglog(), *(b"%d" % number for number in range(start, start + self.pick(50, 300, 900, 1500))))
        return Step(EXACT, (command,))

    def hyperloglog_pfcount(self):
        return [b"PFCOUNT", *(self.hyperloglog() for _ in range(self.pick(1, 1, 2, 4)))]

    def hyperloglog_pfmerge(self):
        return [b"PFMERGE", *(self.hyperloglog() for _ in range(self.pick(1, 2, 2, 4)))]

    def hyperloglog_get__bytes(self):
        return [b"GET", self.hyperloglog()]

    def hyperloglog_pfdebug(self):
        return [b"PFDEBUG", self.pick(b"ENCODING", b"DECODE", b"decode", b"GETREG", b"x"), self.hyperloglog()]

    def hyperloglog_pfdebug__todense(self):
        return [b"PFDEBUG", b"TODENSE", self.hyperloglog()]

    def hyperloglog_pfselftest(self):
        return [b"PFSELFTEST"]

    def hyperloglog_setrange__inside(self):
        """Somewhere into the header or the registers: some of it makes no sense afterwards."""
        offset = self.pick(b"0", b"4", b"8", b"15", b"16", b"17", b"20", b"%d" % self.random.randrange(12_304))
        return [b"SETRANGE", self.key(), offset, self.random.randbytes(self.random.randint(1, 3))]

    def hyperloglog_set__made(self):
        """Made elsewhere: empty, with a known number of elements, with a value of 32, without registers, dense, no HyperLogLog."""
        header = b"HYLL\x01\x00\x00\x00"
        value = self.pick(header + b"\x00" * 7 + b"\x80\x7f\xff", header + b"\x05" + b"\x00" * 7 + b"\x7f\xff", header + b"\x00" * 7 + b"\x80\xfc\x7f\xfe",
                          header + b"\x00" * 8, b"HYLL\x00" + b"\x00" * 12_299, b"HYLL")
        return [b"SET", self.hyperloglog(), value]

    # --- hashes

    def pairs(self):
        fields = self.words()
        # Many short values: a long one would end the compact encoding before their number does.
        return sum(([field, self.value() if len(fields) < 100 else b"v"] for field in fields), [])

    def hash_hset(self):
        return [self.pick(b"HSET", b"HSET", b"HMSET"), self.key(), *self.pairs()]

    def hash_hsetnx(self):
        return [b"HSETNX", self.key(), self.word(), self.value()]

    def hash_hget(self):
        return [self.pick(b"HGET", b"HEXISTS", b"HSTRLEN"), self.key(), self.word()]

    def hash_hmget(self):
        return [b"HMGET", self.key(), *self.words()]

    def hash_hgetall(self):
        return [self.pick(b"HGETALL", b"HKEYS", b"HVALS"), self.key()]

    def hash_hlen(self):
        return [b"HLEN", self.key()]

    def hash_hdel(self):
        return [b"HDEL", self.key(), *self.words(6)]

    def hash_hincrby(self):
        return [b"HINCRBY", self.key(), self.word(), self.integer()]

    def hash_hincrbyfloat(self):
        return [b"HINCRBYFLOAT", self.key(), self.word(), self.float()]

    def count(self):
        return self.pick(b"0", b"1", b"2", b"5", b"100", b"-1", b"-5", b"-100", b"9223372036854775807", b"-9223372036854775808", *NOT_INTEGERS)

    def hash_hrandfield(self):
        key = self.key()
        options = self.pick([], [self.count()], [self.count()], [self.count(), b"WITHVALUES"], [self.count(), b"withvalues"], [self.count(), b"x"])
        return Step(RANDOM, ((b"HGETALL", key), (b"HRANDFIELD", key, *options)))

    def hash_hscan(self):
        return self.scan(SCAN_PAIRS, b"HSCAN", [self.key()], False)

    # --- sets

    def set_sadd(self):
        return [b"SADD", self.key(), *self.words()]

    def set_srem(self):
        return [b"SREM", self.key(), *self.words(6)]

    def set_sismember(self):
        return [b"SISMEMBER", self.key(), self.word()]

    def set_smismember(self):
        return [b"SMISMEMBER", self.key(), *self.words()]

    def set_scard(self):
        return [b"SCARD", self.key()]

    def set_smembers(self):
        return [b"SMEMBERS", self.key()]

    def set_smove(self):
        return [b"SMOVE", self.key(), self.key(), self.word()]

    def set_sinter(self):
        return [self.pick(b"SINTER", b"SUNION", b"SDIFF"), *self.keys()]

    def set_sinterstore(self):
        return [self.pick(b"SINTERSTORE", b"SUNIONSTORE", b"SDIFFSTORE"), self.key(), *self.keys()]

    def set_sintercard(self):
        keys = self.keys()
        number = b"%d" % len(keys) if self.chance(0.85) else self.integer()
        limit = self.pick([], [], [b"LIMIT", self.index()], [b"LIMIT"], [b"x"])
        return [b"SINTERCARD", number, *keys, *limit]

    def set_srandmember(self):
        key = self.key()
        options = self.pick([], [self.count()], [self.count()], [self.count(), b"x"])
        return Step(RANDOM, ((b"SMEMBERS", key), (b"SRANDMEMBER", key, *options)))

    def set_spop(self):
        key = self.key()
        options = self.pick([], [], [self.count()], [self.count(), b"x"])
        return Step(POP, ((b"SMEMBERS", key), (b"SPOP", key, *options)))

    def set_sscan(self):
        return self.scan(SCAN, b"SSCAN", [self.key()], False)

    # --- generic

    def generic_del(self):
        return [self.pick(b"DEL", b"UNLINK"), *self.keys(2)]

    def generic_exists(self):
        return [self.pick(b"EXISTS", b"TOUCH"), *self.keys(4)]

    def generic_type(self):
        return [b"TYPE", self.key()]

    def generic_rename(self):
        return [self.pick(b"RENAME", b"RENAMENX"), self.key(), self.key()]

    def generic_copy(self):
        options = self.pick([], [], [b"REPLACE"], [b"DB", self.random.choice(DATABASES)], [b"DB", self.random.choice(DATABASES), b"replace"],
                            [b"DB", self.pick(b"16", b"-1", b"x")], [b"DB"], [b"x"])
        return [b"COPY", self.key(), self.key(), *options]

    def generic_move(self):
        return [b"MOVE", self.key(), self.pick(*DATABASES, *DATABASES, b"16", b"-1", b"x")]

    def generic_swapdb(self):
        return [b"SWAPDB", self.pick(*DATABASES, *DATABASES, b"16", b"-1", b"x"), self.pick(*DATABASES, *DATABASES, b"16", b"x")]

    def generic_select(self):
        return [b"SELECT", self.pick(*DATABASES, *DATABASES, b"16", b"-1", b"x", b"99999999999", b"")]

    def generic_dbsize(self):
        return [b"DBSIZE"]

    def generic_keys(self):
        return [b"KEYS", self.random.choice(PATTERNS)]

    def generic_randomkey(self):
        return Step(RANDOM, ((b"KEYS", b"*"), (b"RANDOMKEY",)))

    def generic_object(self):
        return [b"OBJECT", b"ENCODING", self.key()]

    def generic_object__other(self):
        return [b"OBJECT", self.pick(b"FREQ", b"NOTHING", b"ENCODING"), *self.keys(2)[:self.random.randrange(3)]]

    def generic_flushdb(self):
        return [b"FLUSHDB", *self.pick([], [b"ASYNC"], [b"sync"], [b"x"], [b"SYNC", b"SYNC"])]

    def generic_flushall(self):
        return [b"FLUSHALL", *self.pick([], [b"async"], [b"SYNC"], [b"x"])]

    def generic_scan(self):
        return self.scan(SCAN, b"SCAN", [], True)

    def scan(self, rule, name, before, types):
        options = []
        if self.chance(0.5):
            options += [self.case(b"MATCH"), self.random.choice(PATTERNS)]
        if self.chance(0.5):
            options += [self.case(b"COUNT"), self.pick(b"1", b"3", b"10", b"1000", b"0", b"-1", b"x", b"9223372036854775807")]
        if types and self.chance(0.4):
            options += [self.case(b"TYPE"), self.pick(b"string", b"hash", b"set", b"list", b"STRING", b"nothing")]
        if self.chance(0.05):
            options.append(self.pick(b"COUNT", b"MATCH", b"TYPE", b"x"))
        cursor = b"0" if self.chance(0.9) else self.pick(b"x", b"", b"0x", b"18446744073709551616")
        return Step(rule, ((name, *before, cursor, *options),))

    # --- times to live

    def condition(self):
        return self.pick([], [], [], [b"NX"], [b"XX"], [b"GT"], [b"LT"], [b"gt"], [b"XX", b"GT"], [b"NX", b"XX"], [b"GT", b"LT"], [b"NX", b"LT"], [b"x"])

    def expire_expire(self):
        return [b"EXPIRE", self.key(), self.lifetime(1), *self.condition()]

    def expire_pexpire(self):
        return [b"PEXPIRE", self.key(), self.lifetime(1000), *self.condition()]

    def expire_expireat(self):
        return [b"EXPIREAT", self.key(), self.moment(1), *self.condition()]

    def expire_pexpireat(self):
        return [b"PEXPIREAT", self.key(), self.moment(1000), *self.condition()]

    def expire_ttl(self):
        return [self.pick(b"TTL", b"PTTL", b"EXPIRETIME", b"PEXPIRETIME"), self.key()]

    def expire_persist(self):
        return [b"PERSIST", self.key()]

    def expire_pexpire__soon(self):
        key = self.key()
        return Step(EXPIRE, self.pick(((b"SET", key, b"v", b"PX", b"2"),), ((b"SET", key, b"v", b"EXAT", b"1"),),
                                      ((b"PSETEX", key, b"1", b"v"),),
                                      ((b"SET", key, b"v"), (b"PEXPIRE", key, b"1")),
                                      ((b"DEL", key), (b"HSET", key, b"f", b"v"), (b"PEXPIRE", key, b"1")),
                                      ((b"DEL", key), (b"SADD", key, b"m"), (b"PEXPIRE", key, b"2"))))

    # --- the connection

    def connection_ping(self):
        return [b"PING", *self.words(2)[:self.random.randrange(3)]]

    def connection_echo(self):
        return [b"ECHO", self.word()]

    def connection_client(self):
        return self.pick([b"CLIENT", b"GETNAME"], [b"client", b"setname", self.pick(b"name", b"", b"with space", b"\xff", b"new\nline")],
                         [b"CLIENT", b"NOTHING"], [b"CLIENT"], [b"CLIENT", b"SETNAME"], [b"CLIENT", b"REPLY", b"ON"],
                         [b"CLIENT", b"REPLY", b"x"], [b"CLIENT", b"GETNAME", b"x"])

    def connection_client__id(self):
        return Step(SHAPE, ((b"CLIENT", b"ID"),))

    def connection_hello(self):
        return [b"HELLO", *self.pick([], [b"2"], [b"3"], [b"3"], [b"1"], [b"4"], [b"x"], [b"3", b"SETNAME", b"n"], [b"3", b"SETNAME"],
                                     [b"2", b"AUTH", b"default", b"any"], [b"3", b"AUTH", b"nobody", b"x"], [b"3", b"AUTH", b"x"],
                                     [b"3", b"SETNAME", b"with space"], [b"3", b"x"])]

    def connection_auth(self):
        return [b"AUTH", *self.pick([b"x"], [b"default", b"any"], [b"nobody", b"x"], [b"a", b"b", b"c"])]

    def connection_reset(self):
        return [b"RESET"]

    def connection_time(self):
        return [b"TIME"]

    def connection_wait(self):
        return [b"WAIT", *self.pick([b"0", b"0"], [b"0", b"10"], [b"x", b"0"], [b"0", b"x"], [b"0", b"-1"])]

    def connection_command(self):
        inner = self.pick([b"SET", b"a", b"b"], [b"MSET", b"a", b"1", b"b", b"2"], [b"SINTERCARD", b"2", b"a", b"b"], [b"GET"],
                          [b"PING"], [b"NOTHING", b"a"], [b"SINTERSTORE", b"d", b"a", b"b"], [b"hget", b"a", b"f"])
        return [b"COMMAND", b"GETKEYS", *inner]

    # --- what nobody means to send

    def wrong_unknown(self):
        return [self.pick(b"NOTHING", b"", b"GETT", b"get\x00", b"\xff\r\n", b"n" * 200, b"SET "), *self.words(3)[:self.random.randrange(4)]]

    def mutate(self, command):
        """Wrong arity, an edge number in any place, another case."""
        command, draw = list(command), self.random.random()
        if draw < 0.3 and len(command) > 1:
            command.pop()
        elif draw < 0.6:
            command.append(self.value())
        elif draw < 0.8 and len(command) > 2 and command[0].upper() not in FIXED_ARGUMENTS:
            command[self.random.randrange(2, len(command))] = self.random.choice((self.integer, self.float, self.word))()
        elif draw < 0.85:
            command = command[:1]
        else:
            command[0] = self.pick(command[0].lower(), command[0].title())
        return command

    def has_left_out(self, step):
        return any(command[0].upper() in self.left_out for command in step.commands)

    def step(self):
        while True:
            step = self.any_step()
            if not self.has_left_out(step):
                return step

    def any_step(self):
        (_, draw), = self.random.choices(self.drawers, self.weights)
        step = draw()
        if isinstance(step, Step):
            return step
        # A bare COMMAND lists every command there is, in an order of its own.
        if self.chance(0.05) and step[0] != b"COMMAND":
            step = self.mutate(step)
        rule = RULES.get(step[0].upper(), EXACT)
        if len(step) > 100 and rule == EXACT:
            return Step(EXACT, (tuple(step), (b"OBJECT", b"ENCODING", step[1])))
        return Step(rule, (tuple(step),))

    def sequence(self, length):
        """`length` steps, and then everything there is to read."""
        steps = [Step(HELLO, ((b"HELLO", b"3"),))] if self.chance(0.5) else []
        steps += [self.step() for _ in range(length)]
        return steps + [step for step in closing_reads() if not self.has_left_out(step)]


# How much rarer (or more frequent) than the others of its family.
RARE = {b"FLUSHALL": 0.03, b"FLUSHDB": 0.05, b"RESET": 0.1, b"PEXPIRE__SOON": 0.05, b"SELECT": 0.3, b"SWAPDB": 0.2, b"MOVE": 0.5, b"SET": 3,
        b"OBJECT": 3,
        b"HELLO": 0.5, b"SADD": 3, b"HSET": 3, b"GETDEL": 0.5, b"DEL": 0.6,
        b"PFSELFTEST": 0.002, b"PFADD__MANY": 0.3, b"PFDEBUG": 0.5, b"PFDEBUG__TODENSE": 0.1, b"PFADD": 3}


def closing_reads():
    steps = []
    for database in DATABASES:
        commands = [(b"SELECT", database), (b"DBSIZE",), (b"KEYS", b"*")]
        for key in KEYS + HYPERLOGLOGS:
            commands += [(name, key) for name in (b"TYPE", b"GET", b"SMEMBERS", b"HGETALL", b"PTTL")]
            commands.append((b"OBJECT", b"ENCODING", key))
        steps += [Step(RULES.get(command[0], EXACT), (command,)) for command in commands]
    return steps
