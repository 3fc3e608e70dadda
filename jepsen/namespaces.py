"""Nodes as processes in network namespaces, for machines without a Docker Engine: own network and addresses, no containers.

The same interface as `cluster.Docker`. What a container would add (its own file system, processes and limits) is not there, and
the run says so. Nodes find each other by the harness's DNS.
"""

import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile

from cluster import Failure, Missing, command, faketime_library, need_tools


def docker_answers():
    """Whether there is a Docker Engine to talk to."""
    if not shutil.which("docker"):
        return False
    try:
        return bool(command("docker", "version", "-f", "{{.Server.Version}}", timeout=15))
    except (Failure, subprocess.TimeoutExpired):
        return False


class Namespaces:
    """A bridge, and for each node a network namespace on it."""

    kind = "processes in network namespaces"

    def __init__(self, binary):
        self.binary = pathlib.Path(binary).resolve()
        self.mark = f"sj{os.getpid() % 100000}"
        self.processes, self.commands, self.directory, self.bridge_made = {}, {}, None, False

    def __enter__(self):
        need_tools(["ip", "iptables", "nsenter"])
        if os.geteuid():
            raise Missing("network namespaces need root")
        if not self.binary.exists():
            raise Missing(f"{self.binary} is not there: build it with `cargo build --release`")
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="swytch-jepsen-"))
        used = command("ip", "-4", "route")
        free = [third for third in range(1, 255) if f"10.214.{third}." not in used]
        self.prefix = f"10.214.{random.SystemRandom().choice(free)}"
        self.gateway = f"{self.prefix}.1"
        try:
            command("ip", "link", "add", f"{self.mark}b", "type", "bridge")
            self.bridge_made = True
            command("ip", "addr", "add", f"{self.gateway}/24", "dev", f"{self.mark}b")
            command("ip", "link", "set", f"{self.mark}b", "up")
            # Where the machine filters what crosses bridges, this one's own traffic passes.
            command("iptables", "-w", "-I", "FORWARD", "-i", f"{self.mark}b", "-o", f"{self.mark}b", "-j", "ACCEPT")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for node in list(self.commands):
            self.remove(node)
        if self.bridge_made:
            command("iptables", "-w", "-D", "FORWARD", "-i", f"{self.mark}b", "-o", f"{self.mark}b", "-j", "ACCEPT", check=False)
            command("ip", "link", "del", f"{self.mark}b", check=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    def namespace(self, node):
        return f"{self.mark}-{node.name}"

    def create(self, node, arguments, environment, clock_directory):
        space, outside, inside = self.namespace(node), f"{self.mark}{node.name}", f"{self.mark}i{node.name}"
        self.commands[node] = None
        command("ip", "netns", "add", space)
        command("ip", "link", "add", outside, "type", "veth", "peer", "name", inside)
        command("ip", "link", "set", inside, "netns", space)
        command("ip", "link", "set", outside, "master", f"{self.mark}b", "up")
        command("ip", "-n", space, "addr", "add", f"{node.address}/24", "dev", inside)
        command("ip", "-n", space, "link", "set", inside, "up")
        command("ip", "-n", space, "link", "set", "lo", "up")
        variables = {name: value.replace("/clock/", f"{clock_directory}/") for name, value in environment.items()}
        if "LD_PRELOAD" in variables:
            variables["LD_PRELOAD"] = faketime_library()
        self.commands[node] = (["ip", "netns", "exec", space, "env", *(f"{name}={value}" for name, value in variables.items()),
                                str(self.binary), "redis", *arguments], self.directory / f"{node.name}.log")
        self.commands[node][1].unlink(missing_ok=True)

    def start(self, node):
        words, log = self.commands[node]
        with open(log, "ab") as output:
            self.processes[node] = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.directory)

    def kill(self, node):
        self.processes[node].kill()
        self.processes[node].wait()

    def stop(self, node):
        """Ends it by SIGTERM; its exit status."""
        self.processes[node].terminate()
        try:
            return self.processes[node].wait(20)
        except subprocess.TimeoutExpired:
            self.kill(node)
            return -9

    def pause(self, node):
        self.processes[node].send_signal(signal.SIGSTOP)

    def unpause(self, node):
        self.processes[node].send_signal(signal.SIGCONT)

    def pid(self, node):
        """The process; 0 while it does not run. `ip netns exec` and `env` become the server, so it is that one's."""
        process = self.processes.get(node)
        return process.pid if process and process.poll() is None else 0

    def inside(self, node, *parts, check=True, text=None):
        """Runs a program in the node's network."""
        return command("ip", "netns", "exec", self.namespace(node), *parts, check=check, text=text)

    def logs(self, node):
        log = self.commands[node] and self.commands[node][1]
        return log.read_text(errors="replace") if log and log.exists() else ""

    def remove(self, node):
        process = self.processes.pop(node, None)
        if process and process.poll() is None:
            process.kill()
            process.wait()
        command("ip", "netns", "del", self.namespace(node), check=False)
        command("ip", "link", "del", f"{self.mark}{node.name}", check=False)
        self.commands.pop(node, None)
