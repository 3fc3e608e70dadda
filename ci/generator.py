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
# the same presence: both are null, or neither is, and of the same kind:
PRESENCE = "presence"
# the same way of lying in memory, but for the differences that are meant:
ENCODING = "encoding"
# sorted alike; elements that C cannot tell apart (they differ behind a zero byte) in any order:
SORTED = "sorted"
# a part of that (LIMIT): which of such elements it has is open, too:
SORTED_PART = "sorted part"
# HELLO: the same fields, some with values of their own:
HELLO = "hello"
# the last command picks at random from what the first command showed; POP also removes it:
RANDOM, POP = "random", "pop"
# the first command shows a sorted set with its scores; what the last one replies is only defined where all scores are equal:
LEX = "lex"
# the same for positions, defined where all scores differ: which of two members that are equally far comes first is open:
NEAREST = "nearest"
# repeated with the cursor that came back until it is 0, then the same elements (or pairs) in any order:
SCAN, SCAN_PAIRS = "scan", "scan pairs"
# what groups of streams hold: the same but for the times, which are about the same, and what only Redis 7.2 tells:
TIMES = "times"
# exact; then time passes, and the key of the last command must be gone:
EXPIRE = "expire"

RULES = {
    b"PUBSUB": ANY_ORDER, b"KEYS": ANY_ORDER, b"SMEMBERS": ANY_ORDER, b"SINTER": ANY_ORDER, b"SUNION": ANY_ORDER, b"SDIFF": ANY_ORDER,
    b"HKEYS": ANY_ORDER, b"HVALS": ANY_ORDER, b"HGETALL": PAIRS,
    b"TTL": SECONDS, b"EXPIRETIME": SECONDS, b"PTTL": MILLISECONDS, b"PEXPIRETIME": MILLISECONDS,
    b"DUMP": PRESENCE, b"TIME": SHAPE, b"HELLO": HELLO,
    b"GEOSEARCH": ANY_ORDER, b"GEORADIUS": ANY_ORDER, b"GEORADIUS_RO": ANY_ORDER, b"GEORADIUSBYMEMBER": ANY_ORDER,
    b"GEORADIUSBYMEMBER_RO": ANY_ORDER,
    b"XPENDING": TIMES, b"XINFO": TIMES,
}

KEYS = [b"a", b"b", b"c", b"d", b"key:1", b"key:2", b"{tag}x", b"{tag}y", b"", b"with space", b"\x00\xff\r\n\x80",
        b"long" * 80, b"[k]*?", b"Z"]
# Keys that only commands on HyperLogLogs write.
HYPERLOGLOGS = [b"hll:1", b"hll:2", b"hll:3"]
# Keys that hardly any but commands on streams write: long streams, and groups that get somewhere.
STREAMS = [b"stream:1", b"stream:2", b"stream:3"]
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
# What RESTORE takes, without the version and the checksum: a string, an integer, a set, an intset, a hash, a hash in a
# listpack; then an unknown type, a collection that is empty, one that ends too early, and nothing.
SERIALIZED = [b"\x00\x05hello", b"\x00\xc0\x0a", b"\x02\x02\x01a\x01b", b"\x0b\x0c\x02\0\0\0\x02\0\0\0\x05\0\x07\0",
              b"\x04\x01\x01f\x01v", b"\x10\x0d\x0d\0\0\0\x02\0\x81f\x02\x81v\x02\xff",
              b"\xc8\x00", b"\x04\x00", b"\x02\x40\xc8\x01a", b""]
SERIALIZED_VERSION = (10).to_bytes(2, "little")
SCORES = [b"0", b"-0", b"1", b"1", b"2", b"2.5", b"-1", b"0.1", b"1e17", b"5e-324", b"inf", b"-inf", b"+inf", b"3.0e0", b"9007199254740993",
          b"0x1p3", b"0X.8", b"1e-5", b"123456.789", b"1e308", b"Infinity"]
NOT_SCORES = [b"nan", b"-nan", b"NaN(1)", b"", b" 1", b"1 ", b"1e", b"0x", b"1e999", b"1e-999", b"abc", b"1\x00", b"(1", b"--1", b"0x1p", b"1e+"]
SCORE_BOUNDS = [b"-inf", b"+inf", b"(1", b"(2.5", b"(-inf", b"(+inf", b"", b"(", b" 1", b"( 1", b"1\x00x", b"1e999", b"(nan", b"((1", b"[1", b"x"]
NAME_BOUNDS = [b"-", b"+", b"-", b"+", b"[", b"(", b"[x", b"(x", b"[m1", b"(m1", b"[m2", b"[m9", b"(m25", b"[\xff", b"(10", b"x", b"", b"-x", b"+\x00"]
EDGE_IDS = [b"0", b"0-0", b"0-1", b"5-18446744073709551615", b"18446744073709551615-18446744073709551615", b"18446744073709551615",
            b"9223372036854775808-9223372036854775807", b"32503680000000-5", b"007-08", b"+5-6", b"9--01"]
NOT_IDS = [b"", b"-", b"+", b"-1", b"5-", b"-5", b"5-x", b"x", b"5-6-7", b"18446744073709551616", b"5-18446744073709551616", b"1e3", b"5-*",
           b"$", b">", b"5--1", b"0" * 128, b"5 -1", b"5- 1"]
GROUPS = [*[b"g"] * 8, b"h", b"group with space", b""]
CONSUMERS = [b"c", b"c", b"d", b"e", b"", b"consumer\x00x"]
LONG_AGO = (b"1", b"1000000000")
PATTERNS = [b"*", b"key:*", b"?", b"[ab]", b"[^a]", b"[a-c]", b"\\*", b"[k]*", b"\\[k\\]*", b"**", b"", b"*:*", b"[", b"[a", b"a\\",
            b"[z-a]", b"h?llo", b"*x*", b"nothing"]
# Commands whose arguments must not be replaced at random: a short time to live, a reply or value of gigabytes.
FIXED_ARGUMENTS = {b"SETBIT", b"BITFIELD", b"BITFIELD_RO", b"SRANDMEMBER", b"HRANDFIELD", b"SPOP", b"EXPIRE", b"PEXPIRE", b"EXPIREAT", b"PEXPIREAT",
                   b"SETEX", b"PSETEX", b"GETEX", b"SET", b"WAIT", b"SELECT", b"RESET", b"HELLO", b"CLIENT", b"RESTORE",
                   b"BLPOP", b"BRPOP", b"BLMOVE", b"BRPOPLPUSH", b"BLMPOP", b"BZPOPMIN", b"BZPOPMAX", b"BZMPOP", b"XREAD",
                   b"XREADGROUP", b"XCLAIM", b"XAUTOCLAIM", b"XADD"}


def serialized(value, version=SERIALIZED_VERSION):
    """A payload as DUMP answers it: the value, the version of the format, and the CRC-64 of all that."""
    data, checksum = value + version, 0
    for byte in data:
        checksum ^= byte
        for _ in range(8):
            checksum = checksum >> 1 ^ (0x95AC9329AC4BC9B5 if checksum & 1 else 0)
    return data + checksum.to_bytes(8, "little")


# Commands that stand between MULTI and EXEC in no generated step, or end what is between them.
NOT_WITHIN = {b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE", b"MULTI", b"EXEC", b"DISCARD", b"WATCH", b"RESET"}

# Redis 7.2 takes WITHSCORE behind the member; the version that runs beside swytch refuses any further word.
LONGER = {b"ZRANK", b"ZREVRANK"}
# Their last word is a timeout: another word behind it might be one of minutes.
ENDS_IN_TIMEOUT = {b"BLPOP", b"BRPOP", b"BZPOPMIN", b"BZPOPMAX"}


class Generator:
    """Draws steps. `left_out` names commands (upper case) that are not drawn."""

    def __init__(self, seed, left_out=()):
        self.random, self.left_out = random.Random(seed), frozenset(left_out)
        # Ids of streams mostly grow.
        self.tick = 1
        families = {"string": 34, "hash": 24, "set": 24, "list": 34, "sorted": 46, "geo": 14, "generic": 24, "sort": 6, "expire": 14,
                    "bits": 20, "stream": 90, "hyperloglog": 12, "connection": 4, "transaction": 12, "pubsub": 6, "wrong": 2}
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

    # --- sorted sets

    def score(self):
        draw = self.random.random()
        if draw < 0.5:
            # Few, so that there are ties.
            return b"%d" % self.random.randint(-3, 6)
        if draw < 0.65:
            return b"%.*f" % (self.random.randrange(12), self.random.uniform(-1000, 1000))
        return self.random.choice(SCORES if draw < 0.97 else NOT_SCORES)

    def score_bound(self):
        draw = self.random.random()
        if draw < 0.45:
            return self.pick(b"", b"", b"(") + b"%d" % self.random.randint(-4, 7)
        return self.pick(b"-inf", b"+inf") if draw < 0.65 else self.score() if draw < 0.75 else self.random.choice(SCORE_BOUNDS)

    def name_bound(self):
        return self.random.choice(NAME_BOUNDS) if self.chance(0.8) else self.pick(b"[", b"(") + self.word()

    def scored(self, score=None):
        members = self.words()
        if len(members) > 100:
            return sum(([b"%d" % self.random.randint(0, 40) if score is None else score, member] for member in members), [])
        return sum(([score or self.score(), member] for member in members), [])

    def limit(self):
        return self.pick([], [], [], [b"LIMIT", self.index(), self.index()], [b"limit", b"0", b"3"], [b"LIMIT", b"1", b"-1"], [b"LIMIT", b"1"])

    def with_scores(self, probability=0.5):
        return [self.case(b"WITHSCORES")] if self.chance(probability) else []

    def add_options(self):
        options = [option for option, probability in ((b"NX", 0.12), (b"XX", 0.12), (b"GT", 0.1), (b"LT", 0.1), (b"CH", 0.25)) if self.chance(probability)]
        self.random.shuffle(options)
        return [self.case(option) for option in options]

    def sorted_zadd(self):
        return [b"ZADD", self.key(), *self.add_options(), *self.scored()]

    def sorted_zadd__incr(self):
        options = [*self.add_options(), b"INCR"]
        return [b"ZADD", self.key(), *options, self.score(), self.word(), *self.pick([], [], [], [], [self.score(), self.word()])]

    def sorted_zincrby(self):
        return [b"ZINCRBY", self.key(), self.score() if self.chance(0.97) else self.pick(b"NX", b"ch"), self.word()]

    def sorted_zrem(self):
        return [b"ZREM", self.key(), *self.words(6)]

    def sorted_zscore(self):
        return self.pick([b"ZSCORE", self.key(), self.word()], [b"ZMSCORE", self.key(), *self.words()])

    def sorted_zcard(self):
        return [b"ZCARD", self.key()]

    def sorted_zrank(self):
        return [self.pick(b"ZRANK", b"ZREVRANK"), self.key(), self.word()]

    def sorted_zcount(self):
        return [b"ZCOUNT", self.key(), self.score_bound(), self.score_bound()]

    def sorted_zrange(self):
        return [self.pick(b"ZRANGE", b"ZRANGE", b"ZREVRANGE"), self.key(), self.index(), self.index(), *self.pick([], [b"REV"]), *self.limit(), *self.with_scores()]

    def sorted_zrange__score(self):
        options = [[b"BYSCORE"], self.limit(), self.with_scores(), *self.pick([], [[b"rev"]])]
        if self.chance(0.05):
            options.append([self.pick(b"BYLEX", b"REV", b"x", b"WITHSCORES", b"byscore")])
        self.random.shuffle(options)
        return [b"ZRANGE", self.key(), self.score_bound(), self.score_bound(), *sum(options, [])]

    def sorted_zrangebyscore(self):
        options = [self.limit(), self.with_scores()]
        self.random.shuffle(options)
        return [self.pick(b"ZRANGEBYSCORE", b"ZREVRANGEBYSCORE"), self.key(), self.score_bound(), self.score_bound(), *sum(options, [])]

    def lexical(self):
        bounds = (self.name_bound(), self.name_bound())
        return self.pick((b"ZRANGEBYLEX", *bounds, *self.limit()), (b"ZREVRANGEBYLEX", *bounds, *self.limit()), (b"ZLEXCOUNT", *bounds),
                         (b"ZRANGE", *bounds, b"BYLEX", *self.limit()), (b"ZRANGE", *bounds, b"REV", b"bylex", *self.limit()),
                         (b"ZRANGE", *bounds, b"BYLEX", b"WITHSCORES"))

    def sorted_zrangebylex(self):
        name, *rest = self.lexical()
        key = self.key()
        return Step(LEX, ((b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"), (name, key, *rest)))

    def sorted_zrangebylex__equal(self):
        """All scores are equal: then also what removes and what stores is defined."""
        key, score = self.key(), self.pick(b"0", b"1.5", b"-inf")
        filling = [(b"ZADD", key, *self.scored(score)) for _ in range(3)]
        name, *rest = self.lexical()
        last = self.pick((b"ZREMRANGEBYLEX", key, self.name_bound(), self.name_bound()), (name, key, *rest),
                         (b"ZRANGESTORE", self.key(), key, self.name_bound(), self.name_bound(), b"BYLEX", *self.pick([], [b"REV"]), *self.limit()))
        return Step(EXACT, ((b"DEL", key), *filling, last))

    def sorted_zrangestore(self):
        options = self.pick([], [b"REV"], [b"LIMIT", b"0", b"2"], [b"WITHSCORES"])
        return self.pick([b"ZRANGESTORE", self.key(), self.key(), self.index(), self.index(), *options],
                         [b"ZRANGESTORE", self.key(), self.key(), self.score_bound(), self.score_bound(), b"BYSCORE", *self.pick([], [b"REV"]), *self.limit()])

    def sorted_zremrangeby(self):
        return self.pick([b"ZREMRANGEBYRANK", self.key(), self.index(), self.index()],
                         [b"ZREMRANGEBYSCORE", self.key(), self.score_bound(), self.score_bound()])

    def sorted_zpop(self):
        count = self.pick([], [], [self.count()], [b"2"])
        return [self.pick(b"ZPOPMIN", b"ZPOPMAX"), self.key(), *count]

    def sorted_zmpop(self):
        keys = self.keys()
        number = b"%d" % len(keys) if self.chance(0.9) else self.integer()
        count = self.pick([], [], [b"COUNT", b"%d" % self.random.randint(1, 4)], [b"count", self.index()], [b"COUNT"], [b"COUNT", b"1", b"COUNT", b"2"])
        return [b"ZMPOP", number, *keys, self.pick(b"MIN", b"max", b"MIN", b"MAX", b"x"), *count]

    def sorted_bzpop(self):
        return [self.pick(b"BZPOPMIN", b"BZPOPMAX"), *self.keys(3), self.timeout()]

    def sorted_bzmpop(self):
        return [b"BZMPOP", self.timeout(), *self.sorted_zmpop()[1:]]

    def sorted_zrandmember(self):
        key = self.key()
        options = self.pick([], [self.count()], [self.count()], [self.count(), b"WITHSCORES"], [self.count(), b"withscores"], [self.count(), b"x"])
        return Step(RANDOM, ((b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"), (b"ZRANDMEMBER", key, *options)))

    def sources(self):
        keys = self.keys(4)
        return keys, [b"%d" % len(keys) if self.chance(0.93) else self.integer(), *keys]

    def combining(self, keys):
        options = [self.pick([], [b"WEIGHTS", *(self.score() for _ in keys)], [b"weights", b"1"]),
                   self.pick([], [], [b"AGGREGATE", self.pick(b"SUM", b"min", b"MAX", b"x")], [b"AGGREGATE"])]
        self.random.shuffle(options)
        return sum(options, [])

    def sorted_zunion(self):
        keys, sources = self.sources()
        return [self.pick(b"ZUNION", b"ZINTER"), *sources, *self.combining(keys), *self.with_scores()]

    def sorted_zdiff(self):
        _, sources = self.sources()
        return [b"ZDIFF", *sources, *self.with_scores(), *self.pick([], [], [], [b"WEIGHTS", b"1"])]

    def sorted_zunionstore(self):
        keys, sources = self.sources()
        return [self.pick(b"ZUNIONSTORE", b"ZINTERSTORE"), self.key(), *sources, *self.combining(keys), *self.with_scores(0.03)]

    def sorted_zdiffstore(self):
        return [b"ZDIFFSTORE", self.key(), *self.sources()[1]]

    def sorted_zintercard(self):
        return [b"ZINTERCARD", *self.sources()[1], *self.pick([], [], [b"LIMIT", self.index()], [b"LIMIT"], [b"WITHSCORES"])]

    def sorted_zscan(self):
        return self.scan(SCAN_PAIRS, b"ZSCAN", [self.key()], False)

    # --- positions on the earth

    def place(self):
        """The position of a member is nearly always the same: then no two members are equally far from anywhere."""
        number = self.random.randrange(200)
        place = random.Random(number)
        longitude, latitude = place.uniform(-180, 180), place.uniform(-80, 80)
        if number % 2:
            longitude, latitude = 13 + longitude / 100, 38 + latitude / 100
        if self.chance(0.02):
            return [self.pick(b"180", b"-180", b"181", b"x", b"nan", b"0"), self.pick(b"85.05112878", b"-85.05112878", b"86", b"x", b"inf", b"0"), b"p%d" % number]
        return [b"%.10f" % longitude, b"%.10f" % latitude, b"p%d" % number]

    def centre(self):
        """A place to search from. Redis misses what lies beyond the end of the map when that is exactly where it searches from
        (its number of the cell there is one too large); swytch finds it."""
        longitude, latitude, _ = self.place()
        return [b"179.99" if longitude == b"180" else longitude, latitude]

    def member(self):
        return b"p%d" % self.random.randrange(200) if self.chance(0.95) else self.word()

    def unit(self):
        return self.pick(b"m", b"km", b"ft", b"mi", b"KM", b"x") if self.chance(0.3) else b"km"

    def distance(self):
        return self.pick(b"%d" % self.random.randrange(5000), b"%d" % self.random.randrange(300), b"%.3f" % self.random.uniform(0, 3000),
                         b"0", b"-1", b"x", b"100", b"20", b"1000")

    def geo_geoadd(self):
        places = sum((self.place() for _ in range(self.random.randint(1, 12))), [])
        return [b"GEOADD", self.key(), *self.pick([], [], [], [b"NX"], [b"xx"], [b"CH"], [b"NX", b"XX"], [b"XX", b"CH"]), *places]

    def geo_geodist(self):
        return [b"GEODIST", self.key(), self.member(), self.member(), *self.pick([], [self.unit()], [b"km"])]

    def geo_geopos(self):
        return [self.pick(b"GEOPOS", b"GEOHASH"), self.key(), *(self.member() for _ in range(self.random.randint(0, 5)))]

    def search_options(self):
        options = [option for option in ([b"WITHDIST"], [b"WITHHASH"], [b"WITHCOORD"], [self.pick(b"ASC", b"DESC")]) if self.chance(0.3)]
        options += self.pick([], [], [[b"COUNT", b"%d" % self.random.randint(1, 5)]], [[b"COUNT", self.pick(b"0", b"-1", b"x")]], [[b"ANY"]], [[b"COUNT", b"1000", b"any"]])
        return options

    def nearest(self, command):
        """Members that are equally far must not decide what is shown, and in which order. What lies beyond the last cell of
        the map (a longitude of exactly 180 degrees) is left out: redis-server misses it in some searches that reach it."""
        beyond = (b"ZREMRANGEBYSCORE", command[1], b"4503599627370496", b"+inf")
        if not {b"COUNT", b"ASC", b"DESC"} & set(command):
            return Step(RULES.get(command[0], EXACT), (beyond, tuple(command)))
        return Step(NEAREST, ((b"ZRANGE", command[1], b"0", b"-1", b"WITHSCORES"), beyond, tuple(command)))

    def geo_geosearch(self):
        return self.nearest(self.search())

    def search(self):
        options = [self.pick([b"FROMMEMBER", self.member()], [b"FROMLONLAT", *self.centre()]),
                   self.pick([b"BYRADIUS", self.distance(), self.unit()], [b"BYBOX", self.distance(), self.distance(), self.unit()]), *self.search_options()]
        if self.chance(0.05):
            options.append(self.pick([b"FROMMEMBER", b"p1"], [b"FROMLONLAT", b"1", b"1"], [b"BYRADIUS", b"1", b"m"], [b"BYBOX", b"1", b"1", b"m"], [b"STOREDIST"], [b"x"]))
        self.random.shuffle(options)
        return [b"GEOSEARCH", self.key(), *sum(options, [])]

    def geo_geosearchstore(self):
        while b"COUNT" in (found := self.search()):
            pass
        _, source, *options = found
        beyond = (b"ZREMRANGEBYSCORE", source, b"4503599627370496", b"+inf")
        return Step(EXACT, (beyond, (b"GEOSEARCHSTORE", self.key(), source, *options, *self.pick([], [b"STOREDIST"]))))

    def geo_geosearchstore__count(self):
        key, number = self.key(), self.random.randrange(150)
        places = sum(([b"%d.5" % (at % 170), b"%d.25" % (at % 80), b"p%d" % at] for at in range(number, number + 30, 3)), [])
        search = [b"FROMMEMBER", b"p%d" % number, b"BYRADIUS", self.distance(), b"km", self.pick(b"ASC", b"DESC"), b"COUNT", b"4"]
        return Step(EXACT, ((b"DEL", key), (b"GEOADD", key, *places), (b"GEOSEARCHSTORE", self.key(), key, *search, *self.pick([], [b"STOREDIST"]))))

    def geo_georadius(self):
        store = self.pick([], [], [], [[b"STORE", self.key()]], [[b"STOREDIST", self.key()]], [[b"STORE"]])
        options = [option for option in self.search_options() if not store or option[0] != b"COUNT"] + store
        self.random.shuffle(options)
        where = self.pick([self.pick(b"GEORADIUS", b"GEORADIUS_RO"), self.key(), *self.centre()],
                          [self.pick(b"GEORADIUSBYMEMBER", b"GEORADIUSBYMEMBER_RO"), self.key(), self.member()])
        return self.nearest([*where, self.distance(), self.unit(), *sum(options, [])])

    # --- lists

    def elements(self):
        """Few different ones, so that they repeat; now and then so many or so large that one buffer does not hold them."""
        draw = self.random.random()
        if draw < 0.02:
            return [self.word()[:40] or b"%d" % number for number in range(self.pick(300, 900))]
        if draw < 0.04:
            return [self.pick(b"y", b"12") * self.pick(2040, 4090, 8180, 20_000) for _ in range(self.pick(1, 3))]
        return [self.repeated() for _ in range(self.random.randint(1, 5))]

    def repeated(self):
        return self.pick(b"a", b"b", b"a", b"", b"10", b"-7", b"+5", b"007", b"9223372036854775808", self.word(), self.integer())

    def end(self):
        return self.case(self.pick(b"LEFT", b"RIGHT")) if self.chance(0.96) else self.pick(b"UP", b"", b"LEFT ")

    def list_lpush(self):
        return [self.pick(b"LPUSH", b"RPUSH"), self.key(), *self.elements()]

    def list_lpushx(self):
        return [self.pick(b"LPUSHX", b"RPUSHX"), self.key(), *self.elements()]

    def list_lpop(self):
        count = self.pick([], [], [self.count()], [b"%d" % self.random.randint(0, 6)], [b"1", b"1"])
        return [self.pick(b"LPOP", b"RPOP"), self.key(), *count]

    def list_llen(self):
        return [b"LLEN", self.key()]

    def list_lindex(self):
        return [b"LINDEX", self.key(), self.index()]

    def list_lrange(self):
        return [b"LRANGE", self.key(), self.index(), self.index()]

    def list_linsert(self):
        place = self.case(self.pick(b"BEFORE", b"AFTER")) if self.chance(0.95) else self.pick(b"BESIDE", b"")
        return [b"LINSERT", self.key(), place, self.repeated(), self.random.choice(self.elements())]

    def list_lset(self):
        return [b"LSET", self.key(), self.index(), self.random.choice(self.elements())]

    def list_lrem(self):
        return [b"LREM", self.key(), self.pick(b"0", b"1", b"-1", b"-2", self.index()), self.repeated()]

    def list_ltrim(self):
        return [b"LTRIM", self.key(), self.index(), self.pick(b"-1", b"-2", self.index())]

    def list_lpos(self):
        # 7.0 takes the lowest RANK and overflows.
        rank = self.index()
        options = [[self.case(b"RANK"), b"-1" if rank == INTEGERS[10] else rank], [self.case(b"COUNT"), self.index()],
                   [self.case(b"MAXLEN"), self.index()], [b"MAXLEN", b"0"], [b"COUNT", b"0"]]
        chosen = [option for option in options if self.chance(0.3)]
        self.random.shuffle(chosen)
        last = [self.pick(b"RANK", b"COUNT", b"x")] if self.chance(0.05) else []
        return [b"LPOS", self.key(), self.repeated(), *sum(chosen, []), *last]

    def list_lmove(self):
        return [b"LMOVE", self.key(), self.key(), self.end(), self.end()]

    def list_lmove__around(self):
        key = self.key()
        return [b"LMOVE", key, key, self.end(), self.end()]

    def list_rpoplpush(self):
        key = self.key()
        return [b"RPOPLPUSH", key, self.pick(key, self.key(), self.key())]

    def list_lmpop(self):
        keys = self.keys()
        number = b"%d" % len(keys) if self.chance(0.85) else self.integer()
        count = self.pick([], [], [self.case(b"COUNT"), b"%d" % self.random.randint(1, 6)], [b"COUNT", self.count()], [b"COUNT"],
                          [b"COUNT", b"1", b"COUNT", b"1"], [b"x"])
        return [b"LMPOP", number, *keys, self.end(), *count]

    def timeout(self):
        """Short ones, so that both servers go on soon."""
        return self.pick(b"0.01", b"0.01", b".002", b"0x.02", b"1e-3") if self.chance(0.93) else self.pick(b"-1", b"x", b"", b"nan", b"1 ")

    def list_bpop(self):
        return [self.pick(b"BLPOP", b"BRPOP"), *self.keys(3), self.timeout()]

    def list_bmove(self):
        source = self.key()
        target = self.pick(source, self.key(), self.key())
        if self.chance(0.3):
            return [b"BRPOPLPUSH", source, target, self.timeout()]
        return [b"BLMOVE", source, target, self.end(), self.end(), self.timeout()]

    def list_bmpop(self):
        return [b"BLMPOP", self.timeout(), *self.list_lmpop()[1:]]

    # --- streams

    def stream(self):
        return self.pick(*STREAMS) if self.chance(0.95) else self.key()

    def streams(self, most):
        return [self.stream() for _ in range(self.random.randint(1, most))]

    def old_id(self):
        """One that may be there."""
        draw = self.random.random()
        if draw < 0.85:
            return b"%d-%d" % (self.random.randint(max(0, self.tick - self.pick(15, 60)), self.tick + 2), self.pick(0, 0, 0, 0, 0, 1, 2))
        return b"%d" % self.random.randint(0, self.tick) if draw < 0.93 else self.pick(*(EDGE_IDS if draw < 0.98 else NOT_IDS))

    def new_id(self):
        draw = self.random.random()
        if draw < 0.9:
            self.tick += self.pick(0, 1, 1, 1, 2)
            return self.pick(b"%d-0", b"%d-0", b"%d-1", b"%d-*", b"%d-*", b"%d") % self.tick
        return self.old_id()

    def bound(self):
        return self.pick(b"-", b"+", self.old_id(), self.old_id(), b"(" + self.old_id())

    def count_option(self):
        return self.pick([], [], [self.case(b"COUNT"), self.pick(b"1", b"2", b"3", b"10", b"0", b"-1", b"x", b"9223372036854775807")])

    def entry(self):
        draw = self.random.random()
        if draw < 0.6:
            return [b"f", self.value(), b"g", self.value()]
        if draw < 0.95:
            return sum(([self.pick(b"f", b"g", b"7", self.word()), self.value()] for _ in range(self.random.randint(1, 3))), [])
        # Three or so fill a node.
        return [b"f", b"v" * self.random.randint(1000, 4200)]

    def trim_option(self):
        at = self.pick([self.case(b"MAXLEN")], [self.case(b"MINID")])
        at += self.pick([], [b"="], [b"~"], [b"~"])
        if at[0].upper() == b"MAXLEN":
            at.append(self.pick(b"%d" % self.random.randrange(40), b"%d" % self.random.randrange(300), b"0", b"-1", b"x"))
        else:
            at.append(self.old_id())
        if self.chance(0.3 if b"~" in at else 0.03):
            at += [self.case(b"LIMIT"), self.pick(b"0", b"1", b"100", b"101", b"250", b"-1", b"x", b"9223372036854775807")]
        return at

    def stream_xadd(self):
        options = [self.pick(b"NOMKSTREAM", b"nomkstream")] if self.chance(0.1) else []
        if self.chance(0.1):
            options += self.trim_option()
        if self.chance(0.02):
            options += self.trim_option()
        return [b"XADD", self.stream(), *options, self.new_id(), *self.entry()]

    def stream_xadd__many(self):
        """More than a node holds."""
        key, number, entry = self.stream(), self.pick(5, 98, 120, 210), self.entry()
        commands = []
        for _ in range(number):
            self.tick += 1
            commands.append((b"XADD", key, b"%d-*" % self.tick, *entry))
        return Step(EXACT, tuple(commands))

    def stream_xadd__any(self):
        """Of a stream that is ahead of the clocks both servers say the same."""
        key = b"stream:ahead"
        return Step(EXACT, ((b"DEL", key), (b"XADD", key, b"32503680000000-%d" % self.random.randrange(3), b"f", b"v"),
                            *((b"XADD", key, b"*", *self.entry()) for _ in range(3)), (b"XRANGE", key, b"-", b"+"), (b"DEL", key)))

    def stream_copy(self):
        source, target = self.pick(*STREAMS), self.pick(*STREAMS)
        return self.pick([b"COPY", source, target, b"REPLACE"], [b"COPY", source, target], [b"RENAMENX", source, target], [b"TYPE", source],
                         [b"OBJECT", b"ENCODING", source], [b"EXISTS", *STREAMS], [b"DEL", source], [b"SORT", source], [b"EXPIRE", source, b"100000"], [b"RENAME", source, target])

    def stream_xadd__now(self):
        return Step(SHAPE, ((b"DEL", b"now"), (b"XADD", b"now", b"*", b"f", b"v")))

    def stream_xtrim(self):
        return [b"XTRIM", self.stream(), *self.trim_option()]

    def stream_xdel(self):
        return [b"XDEL", self.stream(), *(self.old_id() for _ in range(self.pick(1, 1, 2, 5)))]

    def stream_xlen(self):
        return [b"XLEN", self.stream()]

    def stream_xrange(self):
        return [b"XRANGE", self.stream(), self.pick(b"-", self.bound()), self.pick(b"+", self.bound()), *self.count_option(),
                *(self.count_option() if self.chance(0.05) else [])]

    def stream_xrevrange(self):
        return [b"XREVRANGE", self.stream(), self.pick(b"+", self.bound()), self.pick(b"-", self.bound()), *self.count_option()]

    def stream_xsetid(self):
        # On a key of its own: when entries above the new id have been deleted, redis-server adds the next ones behind them all the
        # same, and a later trim by MINID stops at what is deleted.
        key, id = b"setid", lambda: b"%d-%d" % (self.random.randrange(9), self.random.randrange(3))
        options = self.pick([], [], [b"ENTRIESADDED", self.pick(b"0", b"5", b"500", b"-1", b"x", b"9223372036854775807")])
        options += self.pick([], [], [b"MAXDELETEDID", self.pick(id(), id(), b"0", b"x", b"-")])
        added = [(b"XADD", key, b"%d-*" % number, b"f", b"v") for number in range(self.random.randrange(4))]
        deleted = [(b"XDEL", key, id(), b"%d" % (len(added) - 1))] if added and self.chance(0.5) else []
        return Step(EXACT, ((b"DEL", key), *added, *deleted, (b"XSETID", key, self.pick(id(), id(), b"9-9", b"0", b"x", b"-"), *options),
                            (b"XINFO", b"STREAM", key), (b"XADD", key, b"9-*", b"f", b"v"), (b"XRANGE", key, b"-", b"+"), (b"DEL", key)))

    def block_option(self):
        return [self.case(b"BLOCK"), self.pick(b"1", b"2", b"10")] if self.chance(0.1) else [b"BLOCK", self.pick(b"-1", b"x", b"1.5", b"")] if self.chance(0.01) else []

    def stream_xread(self):
        keys = self.streams(3)
        ids = [self.pick(b"0", self.old_id(), b"$", b"%d" % self.tick) for _ in keys]
        if self.chance(0.02):
            ids.append(b"0")
        return [b"XREAD", *self.count_option(), *self.block_option(), *(self.pick([b"NOACK"], [b"GROUP", b"g", b"c"]) if self.chance(0.02) else []),
                self.case(b"STREAMS"), *keys, *ids]

    def as_consumer(self, key, group, consumer, command):
        """Redis 7.2 makes a consumer also when it gets nothing, 7.0 does not: here it is there before."""
        return Step(EXACT, ((b"XGROUP", b"CREATECONSUMER", key, group, consumer), tuple(command)))

    def stream_xreadgroup(self):
        group, consumer, key = self.pick(*GROUPS), self.pick(*CONSUMERS), self.stream()
        keys = [key, self.stream()] if self.chance(0.1) else [key]
        ids = [self.pick(b">", b">", b">", b"0", self.old_id()) for _ in keys]
        command = [b"XREADGROUP", b"GROUP", group, consumer, *self.count_option(), *self.block_option(), *self.pick([], [], [], [b"NOACK"]),
                   b"STREAMS", *keys, *ids]
        first, second = (self.as_consumer(name, group, consumer, ()).commands[0] for name in (keys[0], keys[-1]))
        return Step(EXACT, (first, second, tuple(command)))

    def stream_xack(self):
        return [b"XACK", self.stream(), self.pick(*GROUPS), *(self.old_id() for _ in range(self.pick(1, 3, 6, 12)))]

    def idle(self):
        """Nothing that the time of a test could reach."""
        return self.pick(b"0", b"0", b"0", b"1000000", b"100000000000000", b"-1", b"x") if self.chance(0.5) else b"0"

    def stream_xclaim(self):
        key, group, consumer = self.stream(), self.pick(*GROUPS), self.pick(*CONSUMERS)
        options = sum((option for option in ([b"IDLE", self.pick(b"0", b"5000000", b"-1", b"x")], [b"TIME", self.pick(b"10", b"1000000000", b"-1", b"x", b"9223372036854775807")],
                                             [b"RETRYCOUNT", self.pick(b"0", b"5", b"-1", b"x")], [b"FORCE"], [b"JUSTID"],
                                             [b"LASTID", self.old_id()], [b"x"]) if self.chance(0.12)), [])
        ids = [self.old_id() for _ in range(self.pick(1, 5, 12))]
        return self.as_consumer(key, group, consumer, [b"XCLAIM", key, group, consumer, self.idle(), *ids, *options])

    def stream_xautoclaim(self):
        key, group, consumer = self.stream(), self.pick(*GROUPS), self.pick(*CONSUMERS)
        count = self.pick([], [b"COUNT", self.pick(b"1", b"2", b"0", b"-1", b"x", b"1000", b"9223372036854775807")])
        return self.as_consumer(key, group, consumer, [b"XAUTOCLAIM", key, group, consumer, self.idle(), self.pick(b"0", b"-", self.bound()), *count,
                                                       *self.pick([], [], [b"JUSTID"])])

    def stream_xpending(self):
        key, group = self.stream(), self.pick(*GROUPS)
        if self.chance(0.3):
            return [b"XPENDING", key, group]
        idle = self.pick([], [], [b"IDLE", self.idle()])
        return [b"XPENDING", key, group, *idle, self.pick(b"-", self.bound()), self.pick(b"+", self.bound()), self.pick(b"10", b"2", b"0", b"-1", b"x"),
                *self.pick([], [self.pick(*CONSUMERS)], [b"nobody"])]

    def stream_xgroup(self):
        key, group = self.stream(), self.pick(*GROUPS)
        position = self.pick(b"0", b"$", b"$", self.old_id())
        read = [b"ENTRIESREAD", self.pick(b"0", b"5", b"-1", b"-2", b"x")] if self.chance(0.2) else []
        return [self.case(b"XGROUP"), *self.pick([b"CREATE", key, group, position, *read, *self.pick([], [b"MKSTREAM"])],
                                      [b"Create", key, group, position, *self.pick([], [b"mkstream"]), *read],
                                      [b"CREATE", key, group, position], [b"SETID", key, group, position, *read], [b"CREATECONSUMER", key, group, self.pick(*CONSUMERS)])]

    def stream_xgroup__less(self):
        key, group = self.stream(), self.pick(*GROUPS)
        return [b"XGROUP", *self.pick([b"DESTROY", key, group], [b"DELCONSUMER", key, group, self.pick(*CONSUMERS)], [b"HELP"], [b"NOTHING", key],
                                      [b"DELCONSUMER", key, group, self.pick(*CONSUMERS)])]

    def stream_xinfo(self):
        key = self.stream()
        return [b"XINFO", *self.pick([b"STREAM", key], [b"stream", key, b"FULL"], [b"STREAM", key, b"full", b"COUNT", self.pick(b"0", b"1", b"3", b"-1", b"x")],
                                     [b"GROUPS", key], [b"GROUPS", key], [b"CONSUMERS", key, self.pick(*GROUPS)], [b"STREAM", key, b"x"], [b"HELP"],
                                     [b"STREAM", key, b"FULL", b"COUNT"])]

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
        return Step(ENCODING, ((b"OBJECT", self.case(b"ENCODING"), self.key()),))

    def generic_object__other(self):
        # FREQ is refused by a Redis that has another policy, once the key is there.
        inner = self.pick(b"NOTHING", b"FREQ", b"ENCODING", b"REFCOUNT", b"IDLETIME")
        command = self.pick((b"OBJECT", inner, *self.pick((), (b"no such key",), (b"a", b"b"))), (b"OBJECT",))
        return Step(EXACT, (command,))

    def generic_object__known(self):
        key = self.key()
        return self.pick(Step(SECONDS, ((b"GET", key), (b"OBJECT", b"IDLETIME", key))), Step(SHAPE, ((b"OBJECT", b"REFCOUNT", key),)))

    def generic_dump(self):
        return [b"DUMP", self.key()]

    def generic_restore(self):
        payload = serialized(self.random.choice(SERIALIZED), self.pick(*[SERIALIZED_VERSION] * 8, b"\x06\0", b"\xe7\x03"))
        if self.chance(0.1):
            payload = self.pick(payload[:-1], payload[:-1] + b"x", b"", payload[:9])
        absolute = self.chance(0.2)
        life = self.moment(1000) if absolute else self.pick(b"0", b"0", b"-1", b"x", b"%d" % self.random.randrange(1_000_000, 9_000_000_000))
        options = [[b"ABSTTL"]] if absolute else []
        options += self.pick([], [], [[b"REPLACE"]], [[b"REPLACE"]], [[b"REPLACE"]], [[b"x"]])
        options += self.pick([], [], [], [[b"IDLETIME", self.pick(b"0", b"1000", b"-1", b"x")]], [[b"FREQ", self.pick(b"0", b"255", b"256", b"-1", b"x")]],
                             [[b"IDLETIME", b"1"], [b"FREQ", b"1"]], [[b"FREQ"]], [[b"IDLETIME"]])
        self.random.shuffle(options)
        return [b"RESTORE", self.key(), life, payload, *sum(options, [])]

    def generic_memory(self):
        options = self.pick([], [], [b"SAMPLES", self.index()], [b"samples", b"0"], [b"SAMPLES"], [b"x"])
        return Step(PRESENCE, ((b"MEMORY", b"USAGE", self.key(), *options),))

    def generic_memory__other(self):
        return self.pick(Step(EXACT, (self.pick((b"MEMORY",), (b"MEMORY", b"NOTHING"), (b"MEMORY", b"PURGE"), (b"MEMORY", b"USAGE"),
                                                (b"MEMORY", b"DOCTOR", b"x")),)),
                         Step(PRESENCE, ((b"MEMORY", self.pick(b"STATS", b"DOCTOR", b"MALLOC-STATS", b"HELP")),)))

    # --- sorting

    def pattern(self):
        return self.pick(b"key:*", b"*", b"{tag}*", b"*->field", b"key:*->x", b"[k*?", b"#", b"nothing", b"", b"*->", b"k\x00*", b"**")

    def sort_sort(self):
        name, options = self.pick(b"SORT", b"SORT", b"SORT_RO"), []
        by = self.pattern() if self.chance(0.4) else None
        limit = [b"LIMIT", self.index(), self.index()] if self.chance(0.3) else None
        alpha = self.chance(0.6)
        if by is not None:
            options.append([self.case(b"BY"), by])
        if limit:
            options.append(limit)
        if alpha:
            options.append([self.case(b"ALPHA")])
        options += [[self.case(b"GET"), self.pattern()] for _ in range(self.pick(0, 0, 1, 2))]
        options += self.pick([], [], [[b"ASC"]], [[self.case(b"DESC")]], [[b"DESC"], [b"ASC"]], [[b"x"]], [[b"LIMIT", b"1"]])
        if self.chance(0.15):
            # Numbers have one order, words that differ only behind a zero byte have none.
            options.append([b"STORE", self.key()])
            if alpha:
                options = [option for option in options if option != limit] + [[b"LIMIT", b"999999", b"1"]]
                limit = None
        self.random.shuffle(options)
        command = (name, self.key(), *sum(options, []))
        # By what is not there or equal, elements are in no order.
        if by is not None and (alpha or b"*" not in by.split(b"\0")[0]):
            return Step(SHAPE if limit else ANY_ORDER, (command,))
        if any(option[0].upper() == b"GET" for option in options):
            return Step(SORTED_PART if limit else SORTED, ((b"SORT", command[1], b"ALPHA"), command))
        return Step(SORTED_PART if limit else SORTED, (command,))

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
            options += [self.case(b"TYPE"), self.pick(b"string", b"hash", b"set", b"zset", b"list", b"STRING", b"nothing")]
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
                                      ((b"DEL", key), (b"SADD", key, b"m"), (b"PEXPIRE", key, b"2")),
                                      ((b"DEL", key), (b"RPUSH", key, b"m"), (b"PEXPIRE", key, b"2")),
                                      ((b"DEL", key), (b"ZADD", key, b"1", b"m"), (b"PEXPIRE", key, b"2"))))

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
                          [b"PING"], [b"NOTHING", b"a"], [b"SINTERSTORE", b"d", b"a", b"b"], [b"LMPOP", b"2", b"a", b"b", b"LEFT"],
                          [b"LMOVE", b"a", b"b", b"LEFT", b"LEFT"], [b"hget", b"a", b"f"], [b"XREAD", b"COUNT", b"1", b"STREAMS", b"a", b"b", b"0", b"0"],
                          [b"XREADGROUP", b"GROUP", b"STREAMS", b"c", b"streams", b"a", b">"], [b"XREAD", b"x", b"STREAMS", b"a", b"0"],
                          [b"XGROUP", b"CREATE", b"a", b"g", b"0"])
        return [b"COMMAND", b"GETKEYS", *inner]

    # --- transactions

    def plain(self):
        """A command whose reply is the same byte for byte, also as a part of another reply."""
        while True:
            step = self.any_step()
            (command, *others), name = step.commands, step.commands[0][0].upper()
            apart = name in RULES or name in NOT_WITHIN or sum(map(len, command)) > 5_000
            if step.rule == EXACT and not others and not apart and not self.has_left_out(step):
                return command

    def told(self):
        """The same, without one that redis-server does not tell those who watch: BITFIELD that fails to write, and makes the string longer
        all the same."""
        while (command := self.plain())[0].upper() == b"BITFIELD" and any(word.upper() == b"FAIL" for word in command):
            pass
        return command

    def transaction_multi(self):
        before = [self.pick((b"WATCH", *self.keys(3)), (b"WATCH", *self.keys(3)), (b"UNWATCH",), self.told(), self.told())
                  for _ in range(self.pick(0, 0, 1, 2, 3))]
        within = [self.plain() for _ in range(self.random.randrange(7))]
        if self.chance(0.1):
            odd = self.pick((b"MULTI",), (b"WATCH", self.key()), (b"GET",), (b"NOTHING", b"x"), (b"multi", b"x"), (b"DISCARD", b"x"),
                            (b"UNWATCH",), (b"UNWATCH", b"x"), (b"WATCH",), (b"CLIENT", b"NOTHING"))
            within.insert(self.random.randint(0, len(within)), odd)
        end = self.pick(*[(b"EXEC",)] * 12, (b"DISCARD",), (b"RESET",), (b"EXEC", b"x"), (b"exec",))
        return Step(EXACT, (*before, (b"MULTI",), *within, end))

    def transaction_exec(self):
        return [self.pick(b"EXEC", b"DISCARD", b"UNWATCH", b"UNWATCH")]

    def transaction_watch(self):
        return [b"WATCH", *self.keys()]

    # --- messages

    def pubsub_pubsub(self):
        return [b"PUBSUB", *self.pick([b"CHANNELS"], [b"channels", self.pattern()], [b"NUMSUB"], [b"NUMSUB", *self.keys()], [b"NUMPAT"],
                                      [b"SHARDCHANNELS"], [b"SHARDCHANNELS", self.pattern()], [b"SHARDNUMSUB", *self.keys()],
                                      [b"NOTHING"], [], [b"NUMPAT", b"x"], [b"CHANNELS", b"a", b"b"])]

    def pubsub_publish(self):
        return [self.pick(b"PUBLISH", b"SPUBLISH"), self.key(), self.value()]

    def pubsub_unsubscribe(self):
        # A step of its own, so that nothing is added to it: each name gets a reply.
        command = (self.pick(b"UNSUBSCRIBE", b"PUNSUBSCRIBE", b"SUNSUBSCRIBE"), *self.pick([], [self.key()]))
        return Step(EXACT, (command,))

    def pubsub_subscribe(self):
        """Listens, tries this and that, and ends it. (One name each time: several get a reply each. Nothing that it listens to is
        published: Redis 7.2 sends it behind the reply, the version that runs beside swytch before.)"""
        within = []
        for _ in range(self.random.randint(1, 6)):
            within.append(self.pick((b"SUBSCRIBE", self.key()), (b"PSUBSCRIBE", self.pattern()), (b"SSUBSCRIBE", self.key()),
                                    (b"UNSUBSCRIBE", self.key()), (b"PUNSUBSCRIBE", self.pattern()), (b"SUNSUBSCRIBE", self.key()),
                                    (b"PING",), (b"PING", self.word()), (b"PING", b"a", b"b"), (b"SUBSCRIBE",), (b"PUBSUB", b"NUMPAT"),
                                    (b"PUBSUB", b"NUMSUB", self.key()), (b"PUBSUB", b"SHARDNUMSUB", self.key()),
                                    (b"CLIENT", b"NOTHING"), (b"CLIENT", b"GETNAME"), (b"GET", self.key()), (b"GET",), (b"EXEC",),
                                    (b"MULTI", b"x"), (b"NOTHING",)))
        if self.chance(0.2):
            within = [(b"MULTI",), *within, self.pick((b"EXEC",), (b"DISCARD",))]
        if self.chance(0.1):
            return Step(EXACT, (*within, (b"RESET",)))
        ending = {b"SUBSCRIBE": b"UNSUBSCRIBE", b"PSUBSCRIBE": b"PUNSUBSCRIBE", b"SSUBSCRIBE": b"SUNSUBSCRIBE"}
        end = [(ending[command[0]], command[1]) for command in within if command[0] in ending and len(command) > 1]
        return Step(EXACT, (*within, *end))

    # --- what nobody means to send

    def wrong_unknown(self):
        return [self.pick(b"NOTHING", b"", b"GETT", b"get\x00", b"\xff\r\n", b"n" * 200, b"SET "), *self.words(3)[:self.random.randrange(4)]]

    def mutate(self, command):
        """Wrong arity, an edge number in any place, another case."""
        command, draw = list(command), self.random.random()
        if draw < 0.3 and len(command) > 1:
            command.pop()
        elif draw < 0.6 and command[0].upper() not in LONGER | ENDS_IN_TIMEOUT:
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
            return Step(ENCODING, (tuple(step), (b"OBJECT", b"ENCODING", step[1])))
        return Step(rule, (tuple(step),))

    def sequence(self, length):
        """`length` steps, and then everything there is to read."""
        steps = [Step(HELLO, ((b"HELLO", b"3"),))] if self.chance(0.5) else []
        steps += [self.step() for _ in range(length)]
        return steps + [step for step in closing_reads() if not self.has_left_out(step)]


# How much rarer (or more frequent) than the others of its family.
RARE = {b"XADD": 8, b"XADD__MANY": 0.15, b"XADD__ANY": 0.2, b"COPY": 0.3, b"XADD__NOW": 0.1, b"XTRIM": 0.5, b"XSETID": 0.3, b"XGROUP": 3, b"XGROUP__LESS": 0.2,
        b"XREADGROUP": 3, b"XCLAIM": 1.5, b"XPENDING": 1.5, b"FLUSHALL": 0.03, b"FLUSHDB": 0.05, b"RESET": 0.1, b"PEXPIRE__SOON": 0.05, b"SELECT": 0.3, b"SWAPDB": 0.2, b"MOVE": 0.5, b"SET": 3,
        b"OBJECT": 3,
        b"HELLO": 0.5, b"SADD": 3, b"HSET": 3, b"ZADD": 4, b"GEOADD": 3, b"LPUSH": 4, b"LMOVE__AROUND": 0.3, b"GETDEL": 0.5, b"DEL": 0.6,
        b"EXEC": 0.05, b"WATCH": 0.1, b"SUBSCRIBE": 0.4,
        b"PFSELFTEST": 0.002, b"PFADD__MANY": 0.3, b"PFDEBUG": 0.5, b"PFDEBUG__TODENSE": 0.1, b"PFADD": 3}


def closing_reads():
    steps = []
    for database in DATABASES:
        commands = [(b"SELECT", database), (b"DBSIZE",), (b"KEYS", b"*")]
        for key in KEYS + HYPERLOGLOGS:
            commands += [(name, key) for name in (b"TYPE", b"GET", b"SMEMBERS", b"HGETALL", b"PTTL")]
            commands.append((b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"))
            commands.append((b"LRANGE", key, b"0", b"-1"))
            commands.append((b"XRANGE", key, b"-", b"+"))
        steps += [Step(RULES.get(command[0], EXACT), (command,)) for command in commands]
        steps += [Step(RULES.get(command[0], EXACT), (command,)) for key in STREAMS for command in (
            (b"XRANGE", key, b"-", b"+"), (b"XREVRANGE", key, b"+", b"-"), (b"XINFO", b"STREAM", key), (b"XINFO", b"GROUPS", key),
            (b"XINFO", b"STREAM", key, b"FULL", b"COUNT", b"0"))]
        steps += [Step(ENCODING, ((b"OBJECT", b"ENCODING", key),)) for key in KEYS]
    return steps
