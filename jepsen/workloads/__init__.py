"""The workloads by name."""

from workloads.counters import Counters
from workloads.hashes import Hashes
from workloads.list_append import ListAppend
from workloads.locks import Locks
from workloads.queues import Queues
from workloads.registers import Registers
from workloads.scripts import Scripts
from workloads.sets import Sets
from workloads.sorted_sets import SortedSets
from workloads.streams import Streams
from workloads.transactions import Transactions
from workloads.ttl import TimesToLive

WORKLOADS = {kind.name: kind for kind in (Counters, Sets, Registers, Queues, SortedSets, Hashes, Streams, TimesToLive, Transactions,
                                          Scripts, Locks, ListAppend)}
