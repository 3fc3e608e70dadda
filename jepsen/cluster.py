"""A cluster of swytch in real containers on a network of its own, and what can be done to its nodes.

Everything made here carries one name per run and is removed when the `Docker` stand is left, also after an error or SIGTERM.
The image is built from nothing but the binary and the libraries it names.
"""

import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

from client import Client, Indeterminate, Refused

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "ci"))
import dns_server  # noqa: E402  (the project's own DNS server, which lies beside the other checks)

PORT, CLUSTER_PORT = 6379, 7379
ALIAS = "cache"
OWN_NAME = "cache.test"
FAKETIME_LIBRARIES = [f"/usr/lib/{machine}-linux-gnu/faketime/libfaketime.so.1" for machine in ("x86_64", "aarch64")]
TOOLS = {"docker": "docker.io", "iptables": "iptables", "nsenter": "util-linux", "ip": "iproute2"}


class Missing(Exception):
    """Something that has to be installed; says what and by which package."""


class Failure(Exception):
    """The harness could not do what it was to do; the cell has no verdict on the server."""


def command(*parts, check=True, timeout=60, text=None):
    """Runs a program to its end; its standard output. An error says what it said."""
    done = subprocess.run([str(part) for part in parts], stdin=subprocess.DEVNULL if text is None else None, input=text,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)
    if check and done.returncode:
        raise Failure(f"{' '.join(str(part) for part in parts)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def faketime_library():
    """Where libfaketime lies on this machine, or None."""
    return next((path for path in FAKETIME_LIBRARIES if os.path.exists(path)), None)


def need_tools(names):
    for name in names:
        if not shutil.which(name):
            raise Missing(f"{name} is not there (apt package {TOOLS[name]})")


def libraries(binary):
    """The files that the dynamic linker needs for the binary, the linker itself among them."""
    found = []
    for line in command("ldd", binary).splitlines():
        found += [word for word in line.split() if word.startswith("/") and os.path.exists(word)][:1]
    return found


class Node:
    """One node: its name and address stay; each start is a new life with an empty memory."""

    def __init__(self, number, address):
        self.number, self.address, self.name = number, address, f"n{number}"
        self.life, self.up, self.paused = 0, False, False

    def client(self, timeout=3.0):
        return Client(self.address, PORT, timeout)

    def ask(self, *words, timeout=3.0):
        """One command on a connection of its own; None if the node refuses or does not answer."""
        try:
            with self.client(timeout) as client:
                return client.call(*words)
        except (Refused, Indeterminate):
            return None

    def ready(self):
        return self.ask("PING", timeout=1.0) == "PONG"

    def members(self):
        return self.ask("HLEN", "__swytch:members") or 0


class Docker:
    """The image and the network for all cells of a run; makes the containers of one cell at a time."""

    kind = "containers of Docker"

    def __init__(self, binary, log=print):
        self.binary, self.log = pathlib.Path(binary), log
        self.run = f"swytch-jepsen-{os.getpid()}"
        self.directory = None
        self.network_made = self.image_made = False

    def __enter__(self):
        need_tools(["docker", "iptables", "nsenter"])
        if not self.binary.exists():
            raise Missing(f"{self.binary} is not there: build it with `cargo build --release`")
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="swytch-jepsen-"))
        try:
            self._build_image()
            self._make_network()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        containers = command("docker", "ps", "-aq", "--filter", f"label={self.run}", check=False).split()
        if containers:
            command("docker", "rm", "-f", "-v", *containers, check=False)
        if self.network_made:
            command("docker", "network", "rm", self.run, check=False)
        if self.image_made:
            command("docker", "rmi", "-f", self.run, check=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _build_image(self):
        context = self.directory / "image"
        context.mkdir()
        shutil.copy(self.binary, context / "swytch")
        for library in libraries(self.binary):
            place = context / library.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, place)
        if faketime_library():
            shutil.copy(faketime_library(), context / "libfaketime.so")
        (context / "Dockerfile").write_text('FROM scratch\nCOPY . /\nENTRYPOINT ["/swytch"]\n')
        command("docker", "build", "-q", "-t", self.run, context, timeout=180)
        self.image_made = True
        shutil.rmtree(context)

    def _make_network(self):
        last = None
        for third in random.SystemRandom().sample(range(1, 255), 8):
            try:
                command("docker", "network", "create", "--label", self.run, "--subnet", f"10.213.{third}.0/24",
                        "--gateway", f"10.213.{third}.1", self.run)
            except Failure as error:  # somebody has that subnet
                last = error
                continue
            self.network_made, self.prefix = True, f"10.213.{third}"
            self.gateway = f"{self.prefix}.1"
            return
        raise Failure(f"no free subnet in 10.213.0.0/16: {last}")

    def container(self, node):
        return f"{self.run}-{node.name}"

    def create(self, node, arguments, environment, clock_directory):
        mounts = ["-v", f"{clock_directory}:/clock:ro"] if clock_directory else []
        variables = [part for name, value in environment.items() for part in ("-e", f"{name}={value}")]
        command("docker", "create", "--name", self.container(node), "--label", self.run, "--network", self.run,
                "--network-alias", ALIAS, "--ip", node.address, "--hostname", node.name, *mounts, *variables, self.run,
                "redis", *arguments)

    def start(self, node):
        command("docker", "start", self.container(node))

    def kill(self, node):
        command("docker", "kill", "-s", "KILL", self.container(node))

    def stop(self, node):
        """Ends it by SIGTERM; its exit status."""
        command("docker", "stop", "-t", "20", self.container(node))
        return int(command("docker", "inspect", "-f", "{{.State.ExitCode}}", self.container(node)))

    def pause(self, node):
        command("docker", "pause", self.container(node))

    def unpause(self, node):
        command("docker", "unpause", self.container(node))

    def pid(self, node):
        """The process on this machine; 0 while it does not run."""
        return int(command("docker", "inspect", "-f", "{{.State.Pid}}", self.container(node)))

    def inside(self, node, *parts, check=True, text=None):
        """Runs a program of this machine in the node's network."""
        return command("nsenter", "-t", self.pid(node), "-n", *parts, check=check, text=text)

    def logs(self, node):
        done = subprocess.run(["docker", "logs", self.container(node)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=60)
        return done.stdout.decode(errors="replace")

    def remove(self, node):
        command("docker", "rm", "-f", "-v", self.container(node), check=False)


class Cluster:
    """The nodes of one cell."""

    def __init__(self, stand, count, faketime=False, own_dns=False, maxmemory="512mb"):
        self.stand, self.nodes = stand, [Node(number, f"{stand.prefix}.{10 + number}") for number in range(1, count + 1)]
        self.faketime, self.maxmemory = faketime, maxmemory
        self.dns = dns_server.DnsServer(host=stand.gateway) if own_dns or not stand.kind.endswith("Docker") else None
        self.deaths = []
        self.made = []
        self.clock_root = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for node in self.made:
            self.stand.remove(node)
        if self.dns:
            self.dns.close()

    def begin(self, count):
        """Makes all nodes, starts the first `count` and waits until they are one cluster."""
        passphrase = command(self.stand.binary, "gen-passphrase")
        arguments = ["--bind", "0.0.0.0", "--cluster-passphrase", passphrase, "--join", OWN_NAME if self.dns else ALIAS,
                     "--maxmemory", self.maxmemory, "--threads", "2", "--maxmemory-policy", "noeviction"]
        if self.dns:
            arguments += ["--dns-server", f"{self.stand.gateway}:{self.dns.port}"]
            self.dns.table = self.dns_table()
        for node in self.nodes:
            environment, clock = {}, None
            if self.faketime:
                clock = self.stand.directory / "clock" / node.name
                clock.mkdir(parents=True, exist_ok=True)
                (clock / "offset").write_text("+0\n")
                environment = {"LD_PRELOAD": "/libfaketime.so", "FAKETIME_TIMESTAMP_FILE": "/clock/offset",
                               "FAKETIME_CACHE_DURATION": "1", "DONT_FAKE_MONOTONIC": "1"}
            self.made.append(node)
            self.stand.create(node, arguments, environment, clock)
        for node in self.nodes[:count]:
            self.start(node, wait=False)
        self.wait_ready(self.live())
        self.wait_members(count)

    def dns_table(self):
        return {OWN_NAME: {"A": [node.address for node in self.nodes]}}

    def set_clock(self, node, offset):
        (self.stand.directory / "clock" / node.name / "offset").write_text(f"{offset:+d}\n")

    def live(self):
        return [node for node in self.nodes if node.up]

    def start(self, node, wait=True):
        # Before it runs, so that whoever connects to it finds its new life.
        node.life += 1
        self.stand.start(node)
        node.up = True
        if wait:
            self.wait_ready([node])

    def kill(self, node):
        """kill -9: what only this node had is gone. Clients write to it until it dies."""
        self.deaths.append((node.name, node.life))
        self.stand.kill(node)
        node.up = False

    def stop(self, node):
        """SIGTERM; its exit status. Clients write to it until it has ended."""
        status = self.stand.stop(node)
        node.up = False
        return status

    def pause(self, node):
        self.stand.pause(node)
        node.paused = True

    def unpause(self, node):
        self.stand.unpause(node)
        node.paused = False

    def wait_ready(self, nodes, seconds=45):
        wait_for(lambda: all(node.ready() for node in nodes), seconds,
                 lambda: f"not ready: {', '.join(node.name for node in nodes if not node.ready())}")

    def wait_members(self, count, seconds=60):
        wait_for(lambda: all(node.members() == count for node in self.live()), seconds,
                 lambda: f"not {count} members: {[(node.name, node.members()) for node in self.live()]}")

    def wait_connected(self, seconds=60):
        """Until a write of each live node is visible at each: whatever any of them had before, all have now (P2)."""
        live, token = self.live(), f"{random.SystemRandom().getrandbits(48):x}"
        wrote = set()

        def all_visible():
            for node in live:
                if node.name not in wrote and node.ask("SET", f"probe:{node.name}", token) == "OK":
                    wrote.add(node.name)
            keys = [f"probe:{node.name}" for node in live]
            return len(wrote) == len(live) and all(node.ask("MGET", *keys) == [token] * len(live) for node in live)

        return wait_for(all_visible, seconds, lambda: f"writes of {', '.join(node.name for node in live)} are not visible at all of them")

    def forget_rules(self):
        """Takes away every packet filter rule of the harness."""
        for node in self.live():
            for table in ("filter", "mangle"):
                self.stand.inside(node, "iptables", "-w", "-t", table, "-F", check=False)

    def heal(self):
        """Undoes whatever a nemesis may have left: pauses, rules, clocks, dead nodes stay with the nemesis."""
        for node in self.nodes:
            if node.paused:
                self.unpause(node)
        self.forget_rules()
        if self.faketime:
            for node in self.nodes:
                self.set_clock(node, 0)
        if self.dns:
            self.dns.table = self.dns_table()


def wait_for(check, seconds, what, interval=0.1):
    """Until `check()` holds; the seconds it took. `what()` is the text of the failure."""
    start = time.monotonic()
    while not check():
        if time.monotonic() - start > seconds:
            raise Failure(f"after {seconds} s: {what()}")
        time.sleep(interval)
    return time.monotonic() - start
