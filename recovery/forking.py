"""Keeps threads, locks and queues right after `os.fork()`: a child inherits none of its parent's threads."""

import os
from typing import Protocol
from weakref import WeakSet


class Renewable(Protocol):
    """Something with threads or locks of its own."""

    def renew(self) -> None:
        """Forget the parent's threads, locks, connections and waiting work; called in the child, right after the fork."""
        ...


_alive: WeakSet[Renewable] = WeakSet()


def renew_after_fork(part: Renewable) -> None:
    """Call `part.renew()` in every process forked from here on, for as long as `part` lives."""
    _alive.add(part)


def _renew_all() -> None:
    for part in list(_alive):
        part.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
