"""Scripts from a seed, for ci/scripts.

Two kinds: values through the libraries cjson, cmsgpack, struct and bit, whole and damaged; and sequences of commands (those of
generator.py whose reply is exact) through redis.call and redis.pcall. The same seed always gives the same scripts.
"""

import random

import generator

# Shows a value and all that is in it, as the script sees it. The order in which Lua walks through a table means nothing: it is sorted.
SHOW = (b"local function show(v, d) if type(v) == 'table' then if d > 20 then return '...' end local o = {} for k, w in pairs(v) do "
        b"o[#o + 1] = show(k, d + 1) .. '=' .. show(w, d + 1) end table.sort(o) return '{' .. table.concat(o, ',') .. '}' end "
        b"if type(v) == 'number' then return string.format('%.17g', v) end return type(v) .. ':' .. tostring(v) end "
        b"local function all(...) local o = {} for i = 1, select('#', ...) do o[#o + 1] = show((select(i, ...)), 0) end "
        b"return table.concat(o, ';') end ")
# Words whose replies depend on the clock, are not defined (BYLEX and its kin with different scores), or are those of 7.2 (there, what claims or reads nothing makes
# its consumer all the same).
UNSURE = {b"*", b"BYLEX", b"CREATECONSUMER", b"XAUTOCLAIM", b"XCLAIM", b"XREADGROUP"}
# Commands that mean another thing within a script, or that tell of the server.
LEFT_OUT = {b"HELLO", b"CLIENT", b"RESET", b"CONFIG", b"INFO", b"COMMAND", b"OBJECT", b"DEBUG", b"PUBSUB", b"TIME", b"SCAN", b"MEMORY", b"WAIT",
            b"DUMP", b"PFDEBUG", b"RANDOMKEY", b"SRANDMEMBER", b"SPOP", b"HRANDFIELD", b"ZRANDMEMBER", b"LATENCY", b"SLOWLOG", b"SHUTDOWN"}


def literal(data):
    """A text as Lua writes it."""
    return b"'" + b"".join(b"\\%03d" % byte if byte < 32 or byte > 126 or byte in b"'\\" else bytes([byte]) for byte in data) + b"'"


class Values:
    """Random values of Lua, JSON and MessagePack."""

    def __init__(self, draw):
        self.draw = draw

    def number(self):
        draw = self.draw
        return draw.choice((
            lambda: str(draw.randrange(-200, 70_000)), lambda: str(draw.randrange(-2 ** 66, 2 ** 66) >> draw.randrange(66)),
            lambda: repr(draw.uniform(-1, 1) * 10.0 ** draw.randrange(-320, 308)),
            lambda: draw.choice(("1/0", "-1/0", "0/0", "-0", "0.5"))))().encode()

    def key(self):
        return self.draw.choice((b"1", b"2", b"3", b"1.5", b"'a'", b"'b'", b"'long key'", b"true", b"-3", b"0", b"2^53", b"1e10", b"1/0"))

    def lua(self, depth=0):
        draw = self.draw
        kind = draw.randrange(11)
        if kind < 3 and depth < 4:
            return b"{" + b",".join(self.lua(depth + 1) for _ in range(draw.randrange(5))) + b"}"
        if kind < 5 and depth < 4:
            keys = [self.key() if kind == 3 else b"%d" % draw.randrange(-1, 14) for _ in range(draw.randrange(6))]
            return b"{" + b",".join(b"[%b]=%b" % (key, self.lua(depth + 1)) for key in keys) + b"}"
        if kind == 5:
            return draw.choice((b"true", b"false", b"cjson.null", b"nil"))
        if kind == 6:
            return literal(draw.randbytes(draw.randrange(6)))
        if kind == 7:
            return literal(b"a/b\"\\\n"[:draw.randrange(7)])
        return self.number()

    def json(self, depth=0):
        draw = self.draw
        kind = draw.randrange(14)
        if kind == 0 and depth < 5:
            return "[" + ",".join(self.json(depth + 1) for _ in range(draw.randrange(4))) + "]"
        if kind == 1 and depth < 5:
            return "{" + ",".join(f'"{draw.choice("abcde1")}":{self.json(depth + 1)}' for _ in range(draw.randrange(5))) + "}"
        if kind == 2:
            return draw.choice(("true", "false", "null", "nan", "inf", "-inf", "Infinity"))
        if kind < 5:
            pieces = ("a", "é", "\\n", "\\/", "\\u00e9", "\\ud83d\\ude00", "\\u12", "\\", "/", "\x7f", "\x01", "\\ud83d", "\\\"", "\\x")
            return '"' + "".join(draw.choice(pieces[:draw.choice((6, 14))]) for _ in range(draw.randrange(5))) + '"'
        if kind == 5:
            return repr(draw.uniform(-1, 1) * 10.0 ** draw.randrange(-320, 308))
        if kind == 6:
            return f"{draw.choice(('0x', '-0x', '0X'))}{draw.getrandbits(draw.randrange(1, 80)):x}.{draw.getrandbits(40):x}p{draw.randrange(-1100, 1000)}"
        if kind == 7:
            return "".join(draw.choice("0123456789+-.eExXpP") for _ in range(draw.randrange(1, 8)))
        if kind == 8:
            return draw.choice(("[", "]", "{", "}", ":", ",", '"', "\\", " ", "\t", "\0"))
        return str(draw.randrange(-10 ** 19, 10 ** 19) // 10 ** draw.randrange(20))

    def packed(self, depth=0):
        draw = self.draw
        kind = draw.randrange(20)
        if kind == 0 and depth < 5:
            return b"\x93" + b"".join(self.packed(depth + 1) for _ in range(3))
        if kind == 1 and depth < 5:
            return b"\x82" + b"".join(self.packed(depth + 1) for _ in range(4))
        if kind == 2 and depth < 5:
            return draw.choice((b"\xdc\x00\x02", b"\xde\x00\x01", b"\xdd\0\0\0\x02")) + self.packed(depth + 1) + self.packed(depth + 1)
        if kind == 3:
            return draw.choice((b"\xa0", b"\xa3abc", b"\xd9\x02hi", b"\xc0", b"\xc2", b"\xc3"))
        if kind == 4:
            return draw.choice((b"\xca" + draw.randbytes(4), b"\xcb" + draw.randbytes(8)))
        if kind < 12:
            tag = draw.randrange(0xcc, 0xd4)
            return bytes([tag]) + draw.randbytes(1 << (tag - 0xcc) % 4)
        return draw.randbytes(1)

    def damaged(self, data):
        draw, data = self.draw, bytearray(data)
        for _ in range(draw.choice((0, 0, 1, 2))):
            if data:
                place, how = draw.randrange(len(data)), draw.randrange(3)
                if how == 0:
                    data[place] = draw.randrange(256)
                elif how == 1:
                    del data[place]
                else:
                    data.insert(place, draw.choice(b'[]{},:"\\ 01u\0'))
        return bytes(data)

    def format(self, letters):
        return "".join(self.draw.choice(letters) for _ in range(self.draw.randrange(7))).encode()


FORMATS = "< > ! !2 !4 !8 b B h H i I l L T i2 i3 I5 i7 i8 I9 i16 f d s c c0 c2 c3 x i0 !1 q !3".split()
FIXED_FORMATS = "< ! !4 b h i l i3 i9 f d c4 x".split()
CJSON_OPTIONS = [b"", b"", b"encode_invalid_numbers(true)", b"encode_invalid_numbers('null')", b"encode_sparse_array(true)",
                 b"encode_sparse_array(false,1,3)", b"encode_sparse_array(true,0)", b"encode_number_precision(3)", b"encode_max_depth(3)",
                 b"decode_invalid_numbers(false)", b"decode_max_depth(2)"]


def of_library(draw):
    """A script on one of the libraries. Options of cjson would stay: a table of its own has them."""
    values, kind = Values(draw), draw.randrange(9)
    packed = lambda: literal(values.damaged(b"".join(values.packed() for _ in range(draw.randrange(4)))))  # noqa: E731
    json = lambda: literal(values.damaged(values.json().encode()))  # noqa: E731
    option = draw.choice(CJSON_OPTIONS)
    start = SHOW + b"local cjson = cjson.new() " + (b"cjson." + option + b" " if option else b"")
    if kind == 0:
        return SHOW + b"return all(cmsgpack.unpack(%b))" % packed()
    if kind == 1:
        return SHOW + b"return all(cmsgpack.unpack_%b(%b,%d))" % (draw.choice((b"one", b"limit")), packed(), draw.randrange(-1, 5))
    if kind < 4:
        return start + b"return all(cjson.decode(%b))" % json()
    if kind == 4:
        return start + b"return cjson.encode(%b)" % values.lua()
    if kind == 5:
        return start + b"return {cmsgpack.pack(%b), cjson.encode(cmsgpack.unpack(cmsgpack.pack(%b)))}" % (values.lua(), values.lua())
    if kind == 6:
        arguments = b",".join(draw.choice((values.lua(9), b"'abc'", b"'12'", b"7")) for _ in range(draw.randrange(1, 7)))
        return SHOW + b"return all(struct.pack('%b',%b))" % (values.format(FORMATS), arguments)
    if kind == 7:
        data = draw.choice((draw.randbytes(draw.randrange(40)), bytes(draw.randrange(4) for _ in range(draw.randrange(30)))))
        place = draw.choice((b"", b"", b",%d" % draw.randrange(-1, 6)))
        return SHOW + b"return all(struct.unpack('%b',%b%b))" % (values.format(FORMATS), literal(data), place)
    name = draw.choice((b"tobit", b"bnot", b"band", b"bor", b"bxor", b"lshift", b"rshift", b"arshift", b"rol", b"ror", b"bswap", b"tohex"))
    shift = draw.choice((b"1", b"33", b"-5", b"2^40", b"-1.5"))
    return SHOW + b"return all(struct.size('%b'),bit.%b(%b,%b))" % (values.format(FIXED_FORMATS), name, values.lua(9), shift)


def exact_commands(seed):
    """Commands of generator.py whose replies are the same byte for byte, for ever."""
    while True:
        for step in generator.Generator(seed).sequence(500):
            if step.rule == generator.EXACT:
                for command in step.commands:
                    name, words = command[0].upper(), {word.upper() for word in command}
                    # After the last id of a stream redis-server tells whatever its last other error was.
                    unsure = words & UNSURE or b"LEX" in name or any(word.endswith(b"-*") for word in words)
                    if name not in LEFT_OUT and b"-0" not in words and not unsure and name not in generator.RULES:
                        yield command
        seed += 1


def of_commands(draw, commands):
    """A script that runs some commands, and returns what they reply, as they are or as the script sees them."""
    lines = [draw.choice((b"", b"", b"redis.setresp(3) "))]
    shows = draw.random() < 0.5
    lines.append(SHOW + b"local r = {} ")
    for _ in range(draw.randrange(1, 7)):
        call = b"redis.%b(%b)" % (draw.choice((b"pcall", b"pcall", b"pcall", b"call")), b",".join(map(literal, next(commands))))
        lines.append(b"r[#r + 1] = " + (b"all(%b)" % call if shows else call) + b" ")
    return b"".join(lines) + draw.choice((b"return r", b"return r", b"return r[#r]", b"return {r, #r}"))


def scripts(seed, count):
    """So many scripts."""
    draw, commands = random.Random(seed), exact_commands(seed)
    for _ in range(count):
        yield of_library(draw) if draw.random() < 0.4 else of_commands(draw, commands)
