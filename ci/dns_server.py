#!/usr/bin/env python3
"""A DNS server for tests: UDP, SRV and A records from a table, and the ways in which DNS fails.

    ci/dns_server.py --listen 127.0.0.1:5353 --record 'cache.test SRV node1.test:7379' --record 'node1.test A 127.0.0.1'
    ci/dns_server.py --listen 127.0.0.1:5353 --table table.json    # read again whenever the file changes

The table maps a name to its records: {"cache.test": {"SRV": [[priority, weight, port, target]], "A": ["127.0.0.1"]}}.
A name may carry {"mode": "servfail" | "refused" | "timeout"}; a table's name "*" sets it for every name.
"""

import argparse
import json
import pathlib
import socket
import struct
import threading

A, SRV = 1, 33
NO_ERROR, SERVFAIL, NAME_ERROR, REFUSED = 0, 2, 3, 5
FAILURES = {"servfail": SERVFAIL, "refused": REFUSED}


def encode_name(name):
    labels = [label.encode() for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def read_question(query):
    """The name (lower case), the type, and where the question ends."""
    labels, position = [], 12
    while query[position]:
        length = query[position]
        if length > 63:
            raise ValueError("compressed name in a question")
        labels.append(query[position + 1:position + 1 + length].decode("ascii"))
        position += 1 + length
    (record_type,) = struct.unpack_from("!H", query, position + 1)
    return ".".join(labels).lower(), record_type, position + 5


def answer(query, table):
    """The response to a query, or None for silence."""
    name, record_type, question_end = read_question(query)
    entry = table.get(name)
    mode = (entry or {}).get("mode") or table.get("*", {}).get("mode", "answer")
    if mode == "timeout":
        return None
    records = []
    if mode in FAILURES:
        status = FAILURES[mode]
    elif entry is None:
        status = NAME_ERROR
    else:
        status = NO_ERROR
        if record_type == A:
            records = [socket.inet_aton(address) for address in entry.get("A", [])]
        elif record_type == SRV:
            records = [struct.pack("!HHH", *service[:3]) + encode_name(service[3]) for service in entry.get("SRV", [])]
    # Response, authoritative; recursion desired as asked, recursion available.
    flags = 0x8480 | (query[2] & 1) << 8 | status
    header = query[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0)
    owner_and_life = b"\xc0\x0c" + struct.pack("!HHI", record_type, 1, 0)
    body = b"".join(owner_and_life + struct.pack("!H", len(record)) + record for record in records)
    return header + query[12:question_end] + body


class DnsServer:
    """Answers from `table`, which may be replaced at any time."""

    def __init__(self, table=None, host="127.0.0.1", port=0):
        self.table = table or {}
        self.queries = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, port))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            query, client = self.socket.recvfrom(4096)
            if query == b"":
                return
            self.queries += 1
            try:
                response = answer(query, self.table)
            except (IndexError, ValueError, struct.error):
                continue
            if response:
                self.socket.sendto(response, client)

    def close(self):
        # An empty datagram to itself ends the thread; closing alone would leave it in recvfrom.
        self.socket.sendto(b"", self.socket.getsockname())
        self.thread.join()
        self.socket.close()


def table_from_records(lines):
    table = {}
    for line in lines:
        name, record_type, value = line.split()
        records = table.setdefault(name.lower(), {})
        if record_type == "SRV":
            target, port = value.rsplit(":", 1)
            records.setdefault("SRV", []).append([0, 0, int(port), target])
        elif record_type == "A":
            records.setdefault("A", []).append(value)
        else:
            raise SystemExit(f"{line!r}: the record type is SRV or A")
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", default="127.0.0.1:5353", metavar="HOST:PORT")
    parser.add_argument("--record", action="append", default=[], metavar="'NAME TYPE VALUE'")
    parser.add_argument("--table", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--mode", choices=["answer", "servfail", "refused", "timeout"], default="answer")
    options = parser.parse_args()

    def read_table():
        table = table_from_records(options.record)
        if options.table:
            table.update(json.loads(options.table.read_text()))
        if options.mode != "answer":
            table["*"] = {"mode": options.mode}
        return table

    host, port = options.listen.rsplit(":", 1)
    server = DnsServer(read_table(), host, int(port))
    print(f"answering on {host}:{server.port}", flush=True)
    modified = options.table.stat().st_mtime_ns if options.table else None
    while server.thread.is_alive():
        server.thread.join(0.2)
        if options.table and options.table.stat().st_mtime_ns != modified:
            modified = options.table.stat().st_mtime_ns
            server.table = read_table()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
