"""Hashes: distinct fields by HSET, sums by HINCRBY, removal by HDEL."""

from workloads.sorted_sets import SortedSets


class Hashes(SortedSets):
    name = "hashes"
    about = "HSET of distinct fields, HINCRBY of shared ones, HDEL, HGETALL"
    members_keys, sums_key = "fields", "field-sums"

    def perform(self, client, f, value):
        if f == "add":
            return client.call("HSET", self.key_of(value[0]), value[0], value[1])
        if f == "remove":
            return client.call("HDEL", self.key_of(value), value)
        if f == "sum":
            return client.call("HINCRBY", self.sums_key, value[0], value[1])
        return self.numbers_of(client, self.sums_key if f == "sums" else value)

    def numbers_of(self, client, key):
        flat = client.call("HGETALL", key)
        return sorted([field, int(number)] for field, number in zip(flat[::2], flat[1::2]))

    def _order(self, verdict, pairs, read):
        """A hash has no order; but no field shows twice."""
        if len({field for field, _ in pairs}) != len(pairs):
            verdict.breaks("a field shows twice", read)
