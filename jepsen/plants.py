"""Faults planted behind the checkers' backs, to show that a run catches them on a real cluster."""

import time


def flush(cluster, chance):
    """FLUSHALL at one node."""
    return chance.choice(cluster.live()).ask("FLUSHALL") == "OK"


def delete(cluster, chance):
    """DEL of one key that clients have written."""
    node = chance.choice(cluster.live())
    keys = [key for key in node.ask("KEYS", "*") or [] if not key.startswith(("probe:", "__"))]
    return bool(keys) and node.ask("DEL", chance.choice(sorted(keys))) == 1


def half(cluster, chance):
    """One write of a pair without the other: an account and a group of `multi` changed alone, several times."""
    node = chance.choice(cluster.live())
    for _ in range(30):
        if node.ask("INCRBY", "account:0", "1") is None or node.ask("SET", f"m:{chance.randrange(4)}:string", "-7") != "OK":
            return False
        time.sleep(0.05)
    return True


PLANTS = {"flush": flush, "delete": delete, "half": half}
