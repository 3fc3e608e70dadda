"""What all faults have in common: one fault from beginning to end, its proof, and the healing after it."""

import contextlib
import time


class Context:
    """What a nemesis works with in one cell."""

    def __init__(self, cluster, history, chance, hold):
        self.cluster, self.history, self.chance, self.hold_seconds = cluster, history, chance, hold
        self.evidence, self.promises, self.heals = [], [], []

    def prove(self, what, holds, detail=""):
        """Notes whether a fault took hold."""
        self.evidence.append({"what": what, "holds": bool(holds), "detail": str(detail)[:300]})

    def promise(self, what, holds, detail=""):
        """Notes whether the server did what it promises about this fault."""
        self.promises.append({"what": what, "holds": bool(holds), "detail": str(detail)[:300]})

    @contextlib.contextmanager
    def fault(self, label, detail=""):
        event = self.history.begin(label, detail)
        try:
            yield event
        finally:
            self.history.finish(event)

    def pick(self, count=1):
        return self.chance.sample(self.cluster.live(), count)

    def hold(self, seconds=None):
        time.sleep(self.hold_seconds if seconds is None else seconds)


class Nemesis:
    """No fault at all, and what all faults have in common."""

    name, about = "none", "nothing goes wrong"
    # How many nodes run at first; None for all.
    begin_with = None
    # How many peers have to confirm a write so that it must survive this nemesis.
    needed_waits = 0
    faketime = own_dns = False
    # By how many seconds it lets clocks be off.
    clock_error = 0
    minimum_seconds = 0
    # Beginnings of error replies that are in order under this nemesis, besides LOADING.
    lawful_errors = ()

    def missing(self):
        """What has to be installed for it, or None."""

    def cycle(self, context):
        context.hold(1)

    proves = False


def heal_time(context):
    """Until every node sees every other again; that they do is promised (P1)."""
    seconds = context.cluster.wait_connected()
    context.heals.append(round(seconds, 2))
    context.promise("after the fault every node sees the writes of every other", True, f"{seconds:.1f} s")
