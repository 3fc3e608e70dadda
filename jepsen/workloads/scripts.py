"""Scripts: EVAL moves amounts between accounts of three types. At every moment, at every node, they add up to nothing."""

from workloads.base import Verdict, Workload

ACCOUNTS = 9

# An account's number tells its type: a string, a field of a hash, a member of a sorted set.
MOVE = """
local function change(account, amount)
  local kind = account % 3
  if kind == 0 then return redis.call('INCRBY', 'account:' .. account, amount) end
  if kind == 1 then return redis.call('HINCRBY', 'accounts', account, amount) end
  return redis.call('ZINCRBY', 'ranked', amount, account)
end
change(tonumber(ARGV[1]), -tonumber(ARGV[3]))
change(tonumber(ARGV[2]), tonumber(ARGV[3]))
return 'moved'
"""

KEYS = [*(f"account:{number}" for number in range(0, ACCOUNTS, 3)), "accounts", "ranked"]


class Scripts(Workload):
    name = "scripts"
    about = "EVAL moves amounts between accounts; read in EXEC and by scripts"
    writes = frozenset({"move"})

    def next(self, process, chance):
        if chance.random() < 0.6:
            return "move", [*chance.sample(range(ACCOUNTS), 2), chance.randrange(1, 10)]
        return "read", chance.choice(["exec", "script"])

    def perform(self, client, f, value):
        if f == "move":
            return client.call("EVAL", MOVE, len(KEYS), *KEYS, *value)
        return self._read(client, value)

    @staticmethod
    def _read(client, way):
        strings = KEYS[:-2]
        if way == "script":
            text, fields, members = client.call(
                "EVAL", "return {redis.call('MGET', KEYS[1], KEYS[2], KEYS[3]), redis.call('HGETALL', KEYS[4]), "
                "redis.call('ZRANGE', KEYS[5], 0, -1, 'WITHSCORES')}", len(KEYS), *KEYS)
        else:
            text, fields, members = client.transaction([("MGET", *strings), ("HGETALL", "accounts"),
                                                        ("ZRANGE", "ranked", 0, -1, "WITHSCORES")])
        balances = {str(3 * place): int(value or 0) for place, value in enumerate(text)}
        balances.update({name: int(value) for name, value in zip(fields[::2], fields[1::2])})
        balances.update({name: int(value) for name, value in zip(members[::2], members[1::2])})
        return balances

    def final(self, client):
        return self._read(client, "exec")

    def check(self, ops, finals):
        conserved, moved = Verdict("nothing appears, nothing vanishes", "P3"), Verdict("every move counts once", "P1 P5")
        shown = [(op.result, op.node, op) for op in ops if op.f == "read" and op.ok]
        shown += [(balances, node, None) for node, balances in finals.items()]
        for balances, node, op in shown:
            conserved.examined += 1
            if sum(balances.values()):
                conserved.breaks(f"the accounts add up to {sum(balances.values())} at {node}", op)
        moves = [op for op in ops if op.f == "move" and op.kind != "fail"]
        for account in range(ACCOUNTS):
            low = high = 0
            for op in moves:
                change = op.value[2] * ((op.value[1] == account) - (op.value[0] == account))
                low += change if op.certain else min(0, change)
                high += change if op.certain else max(0, change)
                moved.examined += bool(change)
            for node, balances in finals.items():
                found = balances.get(str(account), 0)
                if not low <= found <= high:
                    moved.breaks(f"account {account} is {found} at {node}; the acknowledged moves make {low} to {high}")
        return [conserved, moved]
