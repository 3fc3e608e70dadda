"""How long a cluster takes to agree again after it was cut in two: `ci/bench heal`.

The cut is made by iptables, which drops the UDP packets between the cluster's ports of the two sides as they arrive (a
rule for OUTPUT would tell the sender). Only those ports are named, and they are this run's own. Rules of runs that died
are removed at the next start.
"""

import collections
import datetime
import math
import os
import pathlib
import random
import re
import socket
import statistics
import subprocess
import threading
import time

import nodes
import resp

CHAIN = "swytch-heal"
COUNTERS, COLLECTIONS = 100, 1_000
# So many blocks of writes are sent in a second.
BLOCKS = 20
# A connection over which nothing comes is given up after ten seconds.
IDLE_SECONDS = 10
CONVERGENCE_SECONDS = 300


def iptables(*arguments):
    run = subprocess.run(["iptables", "-w", *map(str, arguments)], capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"iptables {' '.join(map(str, arguments))}: {run.stderr.strip()}")
    return run.stdout


def remove_chains(is_mine):
    """Takes out the chains of processes for which `is_mine` holds, and every jump to them."""
    for line in iptables("-S", "INPUT").splitlines():
        found = re.search(rf"-j ({CHAIN}-(?:cut|count)-(\d+))$", line)
        if found and is_mine(int(found[2])):
            iptables("-D", "INPUT", "-p", "udp", "-j", found[1])
    for line in iptables("-S").splitlines():
        found = re.fullmatch(rf"-N ({CHAIN}-(?:cut|count)-(\d+))", line)
        if found and is_mine(int(found[2])):
            iptables("-F", found[1])
            iptables("-X", found[1])


class Network:
    """Counts what passes between two sides, and cuts them from each other. Undoes everything when its block is left."""

    def __init__(self, sides):
        own = os.getpid()
        self.counting, self.cutting = f"{CHAIN}-count-{own}", f"{CHAIN}-cut-{own}"
        self.ways = [(one.cluster_port, other.cluster_port) for here, there in (sides, sides[::-1])
                     for one in here for other in there]

    def __enter__(self):
        remove_chains(lambda pid: not pathlib.Path(f"/proc/{pid}").exists())
        try:
            for chain, verdict in ((self.counting, "RETURN"), (self.cutting, "DROP")):
                iptables("-N", chain)
                for source, destination in self.ways:
                    iptables("-A", chain, "-p", "udp", "--sport", source, "--dport", destination, "-j", verdict)
            iptables("-I", "INPUT", 1, "-p", "udp", "-j", self.counting)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        remove_chains(lambda pid: pid == os.getpid())

    def cut(self):
        iptables("-I", "INPUT", 2, "-p", "udp", "-j", self.cutting)

    def heal(self):
        # One rule: all ways are open at the same moment.
        iptables("-D", "INPUT", "-p", "udp", "-j", self.cutting)

    def counted(self, chain):
        """Packets and bytes of each way."""
        lines = iptables("-nvxL", chain).splitlines()[2:]
        return [tuple(map(int, line.split()[:2])) for line in lines]

    def passed(self):
        """Bytes that arrived and were not dropped."""
        count = [sum(size for _, size in self.counted(chain)) for chain in (self.counting, self.cutting)]
        return count[0] - count[1]


class Writer(threading.Thread):
    """So many writes a second to one node until told to stop, a mix over many keys; then it has all answers."""

    def __init__(self, node, rate, seed):
        super().__init__(daemon=True)
        self.node, self.rate, self.random = node, rate, random.Random(seed)
        self.stopping, self.error, self.writes = threading.Event(), None, 0

    def command(self):
        pick = self.random.randrange
        which, number = pick(5), pick(COLLECTIONS)
        value = f"{self.node.name}:{self.writes}"
        if which == 0:
            return "SET", f"string:{pick(100_000)}", value.ljust(32, ".")
        if which == 1:
            return "INCR", f"counter:{pick(COUNTERS)}"
        if which == 2:
            return "HSET", f"hash:{number}", f"field:{pick(100)}", value
        if which == 3:
            return "SADD", f"set:{number}", value
        return "LPUSH", f"list:{number}", value

    def run(self):
        try:
            with self.node.connect() as connection:
                start, block = time.monotonic(), max(1, self.rate // BLOCKS)
                while not self.stopping.wait(max(0.0, start + self.writes / self.rate - time.monotonic())):
                    commands = []
                    for _ in range(block):
                        commands.append(resp.encode(self.command()))
                        self.writes += 1
                    connection.send(b"".join(commands))
                    for _ in commands:
                        if (reply := connection.reply()).startswith(b"-"):
                            raise RuntimeError(f"{self.node.name} refused a write: {reply!r}")
        except Exception as error:  # whatever it is, finish() hands it to the main thread
            self.error = error

    def finish(self):
        self.stopping.set()
        self.join(60)
        if self.error or self.is_alive():
            raise RuntimeError(f"writes to {self.node.name} failed: {self.error or 'no answer'}")


READERS = {b"string": ("GET",), b"hash": ("HGETALL",), b"set": ("SMEMBERS",), b"list": ("LRANGE", 0, -1)}


def dump(node):
    """All that clients wrote there: type and value of each key, in a form that can be compared."""
    found, cursor = {}, b"0"
    with node.connect(timeout=120) as connection:
        while True:
            cursor, keys = resp.children(connection.call("SCAN", cursor, "COUNT", 1000))
            cursor = resp.text(cursor)
            keys = [key for key in map(resp.text, resp.children(keys)) if not key.startswith(b"__")]
            connection.send(b"".join(resp.encode(("TYPE", key)) for key in keys))
            kinds = [resp.text(connection.reply()) for _ in keys]
            for key, kind in zip(keys, kinds):
                name, *rest = READERS[kind]
                connection.send(resp.encode((name, key, *rest)))
            for key, kind in zip(keys, kinds):
                value = connection.reply()
                parts = resp.children(value)
                if kind == b"hash":
                    value = sorted(zip(parts[::2], parts[1::2]))
                elif kind == b"set":
                    value = sorted(parts)
                found[key] = kind, value
            if cursor == b"0":
                return found


def compare(cluster):
    """How many keys all nodes hold alike; an error when they differ."""
    first = dump(cluster[0])
    for node in cluster[1:]:
        other = dump(node)
        different = [key for key in first.keys() | other.keys() if first.get(key) != other.get(key)]
        if different:
            raise RuntimeError(f"{cluster[0].name} and {node.name} differ in {len(different)} keys, one is {different[0]}")
    return len(first)


def metric(node, name):
    return sum(metrics(node)[name])


def metrics(node):
    """All values of each metric of a node, whatever their labels."""
    with socket.create_connection((nodes.HOST, node.metrics_port), timeout=10) as connection:
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = b"".join(iter(lambda: connection.recv(1 << 20), b"")).decode()
    found = collections.defaultdict(list)
    for line in text.partition("\r\n\r\n")[2].splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[name.partition("{")[0]].append(float(value))
    return found


def reconnected(node, mark):
    """When the node's log says for the first time after `mark` that a peer is connected, since the Unix epoch."""
    with open(node.log, "rb") as log:
        log.seek(mark)
        for line in log.read().decode(errors="replace").splitlines():
            if "peer connected" in line:
                stamp = re.search(r"\d{4}-\d\d-\d\dT[\d:.]+Z", line)
                return datetime.datetime.fromisoformat(stamp[0]).timestamp()
    return None


def write_marks(cluster, name):
    """The last write of each node. Effects of a node are applied in order: who shows it has all of that node."""
    for node in cluster:
        with node.connect() as connection:
            connection.call("SET", f"__mark:{name}:{node.name}", "1")


def await_marks(cluster, name):
    """Until every node shows the last write of each."""
    keys = [f"__mark:{name}:{node.name}" for node in cluster]
    wanted = b":%d\r\n" % len(keys)
    connections = [node.connect() for node in cluster]
    try:
        nodes.wait_for("the last write of each node at all nodes",
                       lambda: all(connection.call("EXISTS", *keys) == wanted for connection in connections),
                       CONVERGENCE_SECONDS, 0.002)
    finally:
        for connection in connections:
            connection.socket.close()


def loopback():
    """Bytes a second through one TCP connection of this machine's loopback, and seconds of a round trip (the median)."""
    size, chunk = 512 << 20, 1 << 18
    with socket.create_server((nodes.HOST, 0)) as listener:
        def answer():
            peer, _ = listener.accept()
            with peer:
                for _ in range(2_000):
                    peer.sendall(peer.recv(1))
                left = size
                while left:
                    left -= len(peer.recv(min(left, chunk)))
                peer.sendall(b"!")

        thread = threading.Thread(target=answer)
        thread.start()
        with socket.create_connection(listener.getsockname()) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            trips = []
            for _ in range(2_000):
                start = time.perf_counter()
                client.sendall(b"?")
                client.recv(1)
                trips.append(time.perf_counter() - start)
            start, data = time.perf_counter(), bytes(chunk)
            for _ in range(size // chunk):
                client.sendall(data)
            client.recv(1)
            bandwidth = size / (time.perf_counter() - start)
        thread.join()
    return bandwidth, statistics.median(trips)


def one_run(stand, options, number):
    """One cluster, one cut, one heal."""
    count = options.side
    cluster = stand.cluster(2 * count, threads=options.threads or 1)
    sides = cluster[:count], cluster[count:]
    for node in cluster:
        node.start()
    for node in cluster:
        node.wait_ready()
    nodes.wait_for_members(cluster, 2 * count, 60)
    # Each connection was announced in the log before the node was a member.
    with Network(sides) as network:
        writers = [Writer(node, max(1, options.rate // count), 1_000 * number + place) for place, node in enumerate(cluster)]
        network.cut()
        begun = time.monotonic()
        for writer in writers:
            writer.start()
        try:
            # A phase of its own for each run: neither side's timers stand always at the same point.
            time.sleep(options.partition + random.random())
            if not options.keep_writing:
                for writer in writers:
                    writer.finish()
            write_marks(cluster, "heal")
            verify_cut(sides, network, time.monotonic() - begun)
            # Without the 64 bytes that each effect counts beside its own, as the log's budget does.
            payload = sum(max(metric(node, "swytch_cluster_log_bytes") - 64 * metric(node, "swytch_cluster_log_effects")
                              for node in side) for side in sides)
            marks, before = [node.log.stat().st_size for node in cluster], network.passed()
            cpu = sum(node.cpu_seconds() for node in cluster)
            healed, healed_at = time.monotonic(), time.time()
            network.heal()
            await_marks(cluster, "heal")
            seconds = time.monotonic() - healed
            wire = network.passed() - before
        finally:
            for writer in writers:
                writer.stopping.set()
        for writer in writers:
            writer.finish()
        cpu = sum(node.cpu_seconds() for node in cluster) - cpu
        if options.keep_writing:
            write_marks(cluster, "end")
            await_marks(cluster, "end")
    moments = [reconnected(node, mark) for node, mark in zip(cluster, marks)]
    # No new connection: the old one was not given up yet, and went on.
    connected = [max(0.0, moment - healed_at) for moment in moments if moment and moment - healed_at <= seconds]
    found = max(connected) if connected else 0.0
    keys = compare(cluster)
    rebases, repairs, duplicates = (sum(metric(node, f"swytch_cluster_{name}_total") for node in cluster)
                                    for name in ("rebases", "repairs", "effects_duplicate"))
    for node in cluster:
        node.kill()
        stand.servers.remove(node)
    return {"seconds": seconds, "found_seconds": found, "data_seconds": seconds - found, "payload_bytes": payload,
            "wire_bytes": wire, "writes": sum(writer.writes for writer in writers), "keys": keys, "cpu_seconds": cpu,
            "rebases": rebases, "repairs": repairs, "duplicates": duplicates}


def verify_cut(sides, network, seconds):
    """Fails unless packets of both directions were dropped, no node shows a write of the other side, and, after long
    enough, no connection between them is left."""
    dropped = network.counted(network.cutting)
    half = len(dropped) // 2
    if not all(sum(packets for packets, _ in way) for way in (dropped[:half], dropped[half:])):
        raise RuntimeError("the cut dropped nothing in one direction: it did not take hold")
    for side, other in (sides, sides[::-1]):
        for node in side:
            with node.connect() as connection:
                shown = connection.call("EXISTS", *(f"__mark:heal:{far.name}" for far in other))
            if shown != b":0\r\n":
                raise RuntimeError(f"{node.name} shows a write of the other side: the cut leaks")
            peers = metric(node, "swytch_cluster_peers")
            if seconds > 2 * IDLE_SECONDS and peers != len(side) - 1:
                raise RuntimeError(f"{node.name} is connected to {peers:.0f} peers and should be to {len(side) - 1}")


def percentile(values, part):
    """The smallest of the values that at least this part of them does not exceed."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]


def measure(options):
    """All runs, and what they came to."""
    if os.geteuid():
        raise RuntimeError("heal cuts a network with iptables: it needs root")
    bandwidth, trip = loopback()
    runs = []
    with nodes.Stand(options.binary) as stand:
        for number in range(options.runs):
            run = one_run(stand, options, number)
            run["limit_seconds"] = run["payload_bytes"] / bandwidth + trip
            runs.append(run)
            print(f"  run {number + 1}: {run['seconds'] * 1e3:,.0f} ms, of which {run['found_seconds'] * 1e3:,.0f} until "
                  f"connected; {run['writes']:,} writes; {run['payload_bytes'] / 1e6:.1f} MB of effects, "
                  f"{run['wire_bytes'] / 1e6:.1f} MB on the wire; limit {run['limit_seconds'] * 1e3:.1f} ms; "
                  f"{run['cpu_seconds']:.2f} s of CPU; {run['duplicates']:,.0f} effects came twice, {run['repairs']:,.0f} ranges were "
                  f"asked for; the same {run['keys']:,} keys"
                  + (f"; {run['rebases']:.0f} rebases" if run["rebases"] else ""), flush=True)
    return {"bandwidth": bandwidth, "round_trip_seconds": trip, "runs": runs}
