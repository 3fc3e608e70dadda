"""A small RESP client whose errors say what is known about a request: refused for certain, or perhaps executed."""

import pathlib
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "ci"))
from resp import encode  # noqa: E402  (the wire form is that of the other checks)


class Refused(Exception):
    """The request was certainly not executed: an error reply, or no connection to send it on."""


class Indeterminate(Exception):
    """The request was sent and not answered: it may have been executed, or may be yet."""


class Reply(Exception):
    """An error reply inside an array, as EXEC gives for a single command; kept as a value, not raised."""

    def __eq__(self, other):
        return isinstance(other, Reply) and self.args == other.args

    __hash__ = Exception.__hash__


class Client:
    """A blocking connection to one node that decodes RESP2: text, numbers, None, lists."""

    def __init__(self, host, port, timeout=3.0):
        try:
            self.socket = socket.create_connection((host, port), timeout=timeout)
        except OSError as error:
            raise Refused(f"no connection: {error}") from None
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", 1 << 16)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Lets the connection go; harmless when that has happened already."""
        self.file.close()
        self.socket.close()

    def call(self, *command):
        """One command and its decoded reply."""
        return self.pipeline([command])[0]

    def pipeline(self, commands):
        """Several commands in one write. An error reply to any of them is `Refused` (the first one's text)."""
        try:
            self.socket.sendall(b"".join(encode(command) for command in commands))
            replies = [self._reply() for _ in commands]
        except (OSError, ValueError) as error:
            raise Indeterminate(f"no answer: {error}") from None
        for reply in replies:
            if isinstance(reply, Reply):
                raise Refused(str(reply))
        return replies

    def transaction(self, commands):
        """The replies of commands within MULTI and EXEC. An error at EXEC means that nothing was executed."""
        replies = self.pipeline([("MULTI",), *commands, ("EXEC",)])[-1]
        for reply in replies or ():
            if isinstance(reply, Reply):
                raise Indeterminate(f"an error within EXEC: {reply}")
        return replies

    def _line(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise OSError("the server closed the connection")
        return line[:-2]

    def _reply(self):
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b":":
            return int(rest)
        if kind == b"-":
            return Reply(rest.decode(errors="replace"))
        if kind == b"$":
            if rest == b"-1":
                return None
            body = self.file.read(int(rest) + 2)
            if len(body) != int(rest) + 2:
                raise OSError("the server closed the connection")
            return body[:-2].decode(errors="surrogateescape")
        if kind == b"*":
            return None if rest == b"-1" else [self._reply() for _ in range(int(rest))]
        raise ValueError(f"not a reply: {line[:80]!r}")
