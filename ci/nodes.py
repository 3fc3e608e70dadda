"""Starting, measuring and ending server processes: shared by bench, differential and processes.

Every process started here is ended when its `Stand` is left, also after an error or a SIGTERM.
"""

import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import dns_server
import resp

ROOT = pathlib.Path(__file__).resolve().parent.parent
SWYTCH = ROOT / "target" / "release" / "swytch"
HOST = "127.0.0.1"
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def spare_port():
    """A port on loopback that is free for TCP and for UDP, below the range that the kernel gives to clients."""
    for _ in range(1000):
        port = random.SystemRandom().randrange(20000, 32000)
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
                tcp.bind((HOST, port))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.bind((HOST, port))
        except OSError:
            continue
        return port
    raise RuntimeError("no free port between 20000 and 32000 on 127.0.0.1")


class Server:
    """One server process that speaks RESP on a loopback port."""

    def __init__(self, name, command, port, log):
        self.name, self.command, self.port, self.log = name, [str(part) for part in command], port, pathlib.Path(log)
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            cwd=self.log.parent)
        return self

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def wait_ready(self, seconds=30):
        """Until it answers PING with PONG (and so is not loading either)."""
        deadline = time.monotonic() + seconds
        answer = "nothing"
        while time.monotonic() < deadline:
            if not self.alive():
                raise RuntimeError(f"{self.name} ended with status {self.process.returncode}:\n{self.log_tail()}")
            try:
                with resp.Connection(self.port, timeout=2) as connection:
                    answer = connection.call("PING")
                    if answer == b"+PONG\r\n":
                        return self
            except OSError as error:
                answer = error
            time.sleep(0.02)
        raise RuntimeError(f"{self.name} is not ready after {seconds} s (last answer: {answer}):\n{self.log_tail()}")

    def connect(self, timeout=30):
        return resp.Connection(self.port, timeout=timeout)

    def cpu_times(self):
        """Seconds that all its threads have spent so far, in the program and in the system."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) / _TICKS_PER_SECOND, int(fields[12]) / _TICKS_PER_SECOND

    def cpu_seconds(self):
        """User and system time of all its threads so far."""
        return sum(self.cpu_times())

    def resident_bytes(self):
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"{self.name} has no VmRSS: it has ended")

    def log_tail(self, lines=60):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, seconds=10):
        """Ends it as an operator does (SIGTERM); returns its exit status."""
        if self.alive():
            self.signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self):
        """Ends it at once, stopped or not."""
        if self.alive():
            self.process.kill()
        if self.process is not None:
            self.process.wait()


class Stand:
    """What runs for the length of a `with` block: servers, a DNS server, a directory for their files."""

    def __init__(self, binary=SWYTCH):
        self.binary = pathlib.Path(binary).resolve()
        self.servers = []
        self.dns = None

    def __enter__(self):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="swytch-ci-"))
        return self

    def __exit__(self, *_):
        for server in self.servers:
            server.kill()
        if self.dns:
            self.dns.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def add(self, name, command, port):
        server = Server(name, command, port, self.directory / f"{name}.log")
        self.servers.append(server)
        return server.start()

    def redis(self, name="redis", arguments=()):
        port = spare_port()
        command = ["redis-server", "--port", port, "--bind", HOST, "--save", "", "--appendonly", "no",
                   "--dir", self.directory, *arguments]
        return self.add(name, command, port).wait_ready()

    def swytch(self, name="swytch", arguments=(), threads=0, maxmemory="4gb"):
        port = spare_port()
        command = [self.need_binary(), "redis", "--port", port, "--bind", HOST, "--threads", threads,
                   "--maxmemory", maxmemory, *arguments]
        return self.add(name, command, port).wait_ready()

    def need_binary(self):
        if not self.binary.exists():
            raise SystemExit(f"{self.binary} is not there: build it with `cargo build --release`")
        return self.binary

    def passphrase(self):
        return subprocess.run([self.need_binary(), "gen-passphrase"], check=True, capture_output=True,
                              text=True).stdout.strip()

    def cluster(self, count, threads=1, maxmemory="4gb", passphrase=None):
        """A cluster that finds itself by SRV records of `cache.test`; not started yet: call `start()` on each node."""
        self.dns = self.dns or dns_server.DnsServer()
        passphrase = passphrase or self.passphrase()
        nodes = [self.node(f"node{number}", passphrase, threads, maxmemory) for number in range(1, count + 1)]
        services = [[0, 0, node.cluster_port, f"{node.name}.test"] for node in nodes]
        self.dns.table = {"cache.test": {"SRV": services}, **{f"{node.name}.test": {"A": [HOST]} for node in nodes}}
        return nodes

    def node(self, name, passphrase, threads=1, maxmemory="4gb"):
        """One node of a cluster, not started yet."""
        port, cluster_port, metrics_port = spare_port(), spare_port(), spare_port()
        command = [self.need_binary(), "redis", "--port", port, "--bind", HOST, "--threads", threads,
                   "--maxmemory", maxmemory, "--cluster-passphrase", passphrase, "--join", "cache.test",
                   "--cluster-port", cluster_port, "--metrics-port", metrics_port,
                   "--dns-server", f"{HOST}:{self.dns.port}"]
        server = Server(name, command, port, self.directory / f"{name}.log")
        server.cluster_port, server.metrics_port = cluster_port, metrics_port
        self.servers.append(server)
        return server


def wait_for(what, check, seconds, interval=0.05):
    """Until `check()` is true; the seconds it took. An error says what did not happen."""
    start = time.monotonic()
    while not check():
        if time.monotonic() - start > seconds:
            raise RuntimeError(f"after {seconds} s still not: {what}")
        time.sleep(interval)
    return time.monotonic() - start


def members(server):
    """How many members a node's own view has; 0 while it does not answer."""
    try:
        with server.connect(timeout=2) as connection:
            reply = connection.call("HLEN", "__swytch:members")
    except OSError:
        return 0
    return int(reply[1:]) if reply.startswith(b":") else 0


def wait_for_members(nodes, count, seconds=30):
    return wait_for(f"{count} members at {', '.join(node.name for node in nodes)}",
                    lambda: all(members(node) == count for node in nodes), seconds)
