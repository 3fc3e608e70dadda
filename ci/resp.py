"""A minimal RESP client that keeps replies as the bytes that came: both protocols, nothing interpreted."""

import socket


class Closed(OSError):
    """The server closed the connection."""


def encode(command):
    """One command as the wire form; arguments are bytes, text or integers."""
    parts = [b"*%d\r\n" % len(command)]
    for argument in command:
        if not isinstance(argument, bytes):
            argument = str(argument).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(argument), argument))
    return b"".join(parts)


def end_of_reply(data, start):
    """Where the reply that starts there ends; IndexError or ValueError when it is not complete."""
    kind = data[start]
    line_end = data.index(b"\r\n", start)
    end = line_end + 2
    if kind in b"+-:_#,(":
        return end
    length = int(data[start + 1:line_end])
    if length < 0:
        return end
    if kind in b"$=!":
        end += length + 2
        if end > len(data):
            raise IndexError
        return end
    if kind in b"*~>":
        count = length
    elif kind in b"%|":
        count = 2 * length
    else:
        raise RuntimeError(f"not a reply: {bytes(data[start:start + 80])!r}")
    for _ in range(count):
        end = end_of_reply(data, end)
    return end


def split(data):
    """The replies in a buffer of complete replies."""
    replies, position = [], 0
    while position < len(data):
        end = end_of_reply(data, position)
        replies.append(data[position:end])
        position = end
    return replies


def children(reply):
    """The raw elements of an array, set or map (a map's keys and values alternate); None for anything else."""
    if reply[:1] not in (b"*", b"~", b"%", b">") or reply[1:2] == b"-":
        return None
    return split(reply[reply.index(b"\r\n") + 2:])


def text(reply):
    """The bytes of a bulk or simple string; None for anything else."""
    if reply[:1] == b"+":
        return reply[1:-2]
    if reply[:1] == b"$" and reply[1:2] != b"-":
        return reply[reply.index(b"\r\n") + 2:-2]
    return None


class Connection:
    """A blocking connection to a server on loopback."""

    def __init__(self, port, timeout=30):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def receive(self):
        chunk = self.socket.recv(1 << 20)
        if not chunk:
            raise Closed("the server closed the connection")
        self.buffer += chunk

    def reply(self):
        """The next reply, raw."""
        while True:
            try:
                end = end_of_reply(self.buffer, 0)
            except (IndexError, ValueError):
                self.receive()
                continue
            raw = bytes(self.buffer[:end])
            del self.buffer[:end]
            return raw

    def call(self, *command):
        self.send(encode(command))
        return self.reply()

    def until(self, ending):
        """Everything up to and without `ending`, which must be the last thing to come."""
        while not self.buffer.endswith(ending):
            self.receive()
        raw = bytes(self.buffer[:-len(ending)])
        self.buffer.clear()
        return raw

    def expect_bytes(self, count):
        """That many bytes of replies."""
        while len(self.buffer) < count:
            self.receive()
        raw = bytes(self.buffer[:count])
        del self.buffer[:count]
        return raw
