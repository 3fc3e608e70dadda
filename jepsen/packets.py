#!/usr/bin/env python3
"""A bad network between the nodes: packets are delayed, lost, reordered and duplicated, each direction for itself.

`tc netem` needs a kernel module that many kernels lack, so this takes the packets from the kernel's NFQUEUE and gives each
its verdict. One process serves all nodes: for each process id given it enters that network namespace, opens a queue there and
leaves again. What goes out by UDP to the cluster's port passes through the queue. It prints its counters as one line of JSON
when it is told to end (SIGTERM).

    packets.py --delay 20 --jitter 30 --loss 0.05 --duplicate 0.05 --seed 1 PID...
"""

import argparse
import ctypes
import heapq
import json
import os
import random
import select
import signal
import socket
import struct
import sys
import time

NETLINK_NETFILTER, SUBSYSTEM_QUEUE = 12, 3
PACKET, VERDICT, CONFIG = 0, 1, 2
# Attributes of packets, verdicts and configuration.
PACKET_HEADER, PAYLOAD = 1, 10
VERDICT_HEADER = 2
CONFIG_COMMAND, CONFIG_PARAMETERS, CONFIG_LENGTH = 1, 2, 3
BIND, COPY_PACKET = 1, 2
DROP, ACCEPT = 0, 1
QUEUE = 7
# Copies of packets carry this mark, so that the rule that fills the queue lets them pass.
MARK = 0x7379
CLONE_NEWNET = 0x40000000


def attribute(kind, data):
    """A netlink attribute, padded to four bytes."""
    return struct.pack("=HH", len(data) + 4, kind) + data + b"\0" * (-len(data) % 4)


def message(kind, queue, body, sequence=0):
    """A netlink message of the queue's subsystem."""
    payload = struct.pack("=BBH", socket.AF_UNSPEC, 0, socket.htons(queue)) + body
    return struct.pack("=IHHII", len(payload) + 16, SUBSYSTEM_QUEUE << 8 | kind, 1, sequence, 0) + payload


def attributes(data):
    """The attributes of a message by kind."""
    found, position = {}, 0
    while position + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, position)
        if length < 4:
            break
        found[kind & 0x7FFF] = data[position + 4:position + length]
        position += (length + 3) & ~3
    return found


class Queue:
    """The queue of one network namespace and the raw socket that sends copies."""

    def __init__(self, pid):
        libc = ctypes.CDLL(None, use_errno=True)
        home, there = os.open("/proc/self/ns/net", os.O_RDONLY), os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            if libc.setns(there, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"cannot enter the network of process {pid}")
            self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
            self.raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        finally:
            libc.setns(home, CLONE_NEWNET)
            os.close(home)
            os.close(there)
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.bind((0, 0))
        self.socket.send(message(CONFIG, QUEUE, attribute(CONFIG_COMMAND, struct.pack("!BxH", BIND, socket.AF_INET))))
        self.socket.send(message(CONFIG, QUEUE, attribute(CONFIG_PARAMETERS, struct.pack("!IB", 0xFFFF, COPY_PACKET))))
        self.socket.send(message(CONFIG, QUEUE, attribute(CONFIG_LENGTH, struct.pack("!I", 16384))))
        self.socket.setblocking(False)

    def packets(self):
        """What has come: (id, packet from its IP header on)."""
        for _ in range(256):
            try:
                data = self.socket.recv(1 << 17)
            except BlockingIOError:
                return
            except OSError:  # the buffer was full: those packets are lost, which is what this is for
                continue
            position = 0
            while position + 16 <= len(data):
                length, kind = struct.unpack_from("=IH", data, position)
                if length < 16:
                    break
                if kind == SUBSYSTEM_QUEUE << 8 | PACKET:
                    found = attributes(data[position + 20:position + length])
                    yield struct.unpack_from("!I", found[PACKET_HEADER])[0], found.get(PAYLOAD, b"")
                position += (length + 3) & ~3

    def verdict(self, packet, what):
        self.socket.send(message(VERDICT, QUEUE, attribute(VERDICT_HEADER, struct.pack("!II", what, packet))))

    def copy(self, payload):
        """Sends the packet once more."""
        destination = socket.inet_ntoa(payload[16:20])
        try:
            self.raw.sendto(payload, (destination, 0))
        except OSError:
            return False
        return True


def serve(queues, options):
    """Until SIGTERM: a verdict for each packet, now or later."""
    chance, ending = random.Random(options.seed), []
    signal.signal(signal.SIGTERM, lambda *_: ending.append(True))
    later, number = [], 0
    counters = {"seen": 0, "lost": 0, "delayed": 0, "duplicated": 0, "reordered": 0}
    newest_due = {}
    by_socket = {queue.socket: queue for queue in queues}
    print("ready", flush=True)
    while not ending:
        wait = min(0.05, max(0.0, later[0][0] - time.monotonic())) if later else 0.05
        for ready in select.select(list(by_socket), [], [], wait)[0]:
            queue = by_socket[ready]
            for packet, payload in queue.packets():
                counters["seen"] += 1
                if chance.random() < options.loss:
                    counters["lost"] += 1
                    queue.verdict(packet, DROP)
                    continue
                seconds = max(0.0, options.delay + chance.uniform(-1, 1) * options.jitter) / 1000
                if options.reorder and chance.random() >= options.reorder:
                    seconds = options.delay / 1000
                due = time.monotonic() + seconds
                pair = (ready, payload[16:20])
                if due < newest_due.get(pair, 0.0):
                    counters["reordered"] += 1
                newest_due[pair] = max(due, newest_due.get(pair, 0.0))
                copies = payload if chance.random() < options.duplicate else None
                number += 1
                counters["delayed"] += seconds > 0
                heapq.heappush(later, (due, number, queue, packet, copies))
        now = time.monotonic()
        while later and later[0][0] <= now:
            _, _, queue, packet, copies = heapq.heappop(later)
            queue.verdict(packet, ACCEPT)
            if copies:
                counters["duplicated"] += queue.copy(copies)
    for _, _, queue, packet, _ in later:
        queue.verdict(packet, ACCEPT)
    return counters


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay", type=float, default=0, help="milliseconds for each packet")
    parser.add_argument("--jitter", type=float, default=0, help="milliseconds more or less, which also reorders")
    parser.add_argument("--reorder", type=float, default=0, help="the share of packets that jitter applies to; 0 for all")
    parser.add_argument("--loss", type=float, default=0, help="the share of packets that is lost")
    parser.add_argument("--duplicate", type=float, default=0, help="the share of packets that is sent twice")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("pids", type=int, nargs="+", metavar="PID")
    options = parser.parse_args()
    try:
        queues = [Queue(pid) for pid in options.pids]
    except OSError as error:
        sys.exit(f"packets.py: {error}")
    print(json.dumps(serve(queues, options)), flush=True)


if __name__ == "__main__":
    main()
