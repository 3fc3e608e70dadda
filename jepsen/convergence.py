"""Whether all nodes hold the same data: everything that can be read, key by key."""

import hashlib
import json
import time

from client import Indeterminate, Refused

BATCH = 200
PREFIXES_LEFT_OUT = ("__swytch:",)


def all_keys(client):
    keys, cursor = set(), "0"
    while True:
        cursor, found = client.call("SCAN", cursor, "COUNT", 1000)
        keys.update(found)
        if cursor == "0":
            return sorted(key for key in keys if not key.startswith(PREFIXES_LEFT_OUT))


def pairs(flat):
    return sorted(zip(flat[::2], flat[1::2]))


READERS = {
    "string": (lambda key: ("GET", key), lambda value: value),
    "list": (lambda key: ("LRANGE", key, 0, -1), lambda value: value),
    "set": (lambda key: ("SMEMBERS", key), sorted),
    "hash": (lambda key: ("HGETALL", key), pairs),
    "zset": (lambda key: ("ZRANGE", key, 0, -1, "WITHSCORES"), lambda flat: list(zip(flat[::2], flat[1::2]))),
    "stream": (lambda key: ("XRANGE", key, "-", "+"), lambda value: value),
}


def groups(client, key):
    """What the groups of a stream are: position, pending entries with their consumers. Not when a consumer was last seen."""
    described = []
    for group in client.call("XINFO", "GROUPS", key):
        fields = dict(zip(group[::2], group[1::2]))
        name = fields["name"]
        pending = [(entry, consumer) for entry, consumer, _, _ in client.call("XPENDING", key, name, "-", "+", 100000)]
        described.append((name, fields["last-delivered-id"], pending))
    return sorted(described)


def dump(client):
    """Everything on a node: {key: (type, deadline in ms or -1, value)}."""
    data = {}
    keys = all_keys(client)
    for start in range(0, len(keys), BATCH):
        batch = keys[start:start + BATCH]
        kinds = client.pipeline([("TYPE", key) for key in batch])
        there = [(key, kind) for key, kind in zip(batch, kinds) if kind in READERS]
        requests = [READERS[kind][0](key) for key, kind in there] + [("PEXPIRETIME", key) for key, _ in there]
        replies = client.pipeline(requests) if requests else []
        for (key, kind), value, deadline in zip(there, replies, replies[len(there):]):
            if value is None or deadline == -2:
                continue  # its life ended between the two reads
            value = READERS[kind][1](value)
            data[key] = (kind, deadline, [value, groups(client, key)] if kind == "stream" else value)
    return data


def digest(data):
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def difference(dumps):
    """Up to five keys on which the nodes differ, each with what each node shows."""
    keys = sorted(set().union(*dumps.values()))
    differing = [key for key in keys if len({json.dumps(data.get(key)) for data in dumps.values()}) > 1]
    shown = [{"key": key, **{name: json.dumps(data.get(key))[:300] for name, data in dumps.items()}} for key in differing[:5]]
    return len(differing), shown


def wait(nodes, seconds=60):
    """Until all nodes show the same: {"seconds", "same", "keys", "digest", "differing", "examples"}."""
    start = time.monotonic()
    result = {"same": False, "keys": 0, "digest": "", "differing": 0, "examples": [], "error": ""}
    while time.monotonic() - start < seconds:
        try:
            dumps = {}
            for node in nodes:
                with node.client(timeout=10) as client:
                    dumps[node.name] = dump(client)
        except (Refused, Indeterminate) as error:
            result["error"] = str(error)
            time.sleep(0.2)
            continue
        result["differing"], result["examples"] = difference(dumps)
        result["keys"] = max(len(data) for data in dumps.values())
        result["error"] = ""
        if not result["differing"]:
            result["same"], result["digest"] = True, digest(next(iter(dumps.values())))
            break
        time.sleep(0.2)
    result["seconds"] = round(time.monotonic() - start, 2)
    return result
