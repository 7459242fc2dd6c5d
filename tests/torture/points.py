"""The boundaries at which a process can be struck exactly: before and after each durable write, message and side effect.

The campaign lays an order at a boundary (a file). The first process that passes takes it, by a rename that only one can win,
writes down that it was struck, and kills or freezes itself on the spot.
"""

import json
import os
import signal
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from billiard.process import current_process

from tests.torture.ledger import append
from tests.torture.patient import STEPS

HOME = "RECOVERY_TORTURE"
"""Names the campaign's folder, in the environment of the processes that it may strike."""
PART = "RECOVERY_TORTURE_PART"
"""Names the part of the platform that a process belongs to, such as `recover1`."""


class Action(StrEnum):
    """What is done to a process."""

    KILL = "kill"
    KILL_WORKER = "kill worker"
    """Kill the worker that the pool process belongs to, and so all of its processes."""
    FREEZE = "freeze"


@dataclass(frozen=True, slots=True, order=True)
class Boundary:
    """One side of one point."""

    point: str
    side: str

    def __str__(self) -> str:
        return f"{self.side} {self.point}"

    @property
    def file(self) -> str:
        """Return the name of the file that holds the order."""
        return f"{self.point.replace(':', '-')}.{self.side}"


POINTS = (
    "open_recovery",
    "acknowledge",
    "transition",
    "send",
    "acquire_lease",
    "begin_attempt",
    *(f"{what}:{step}" for step in STEPS for what in ("journal-start", "effect", "journal-finish")),
    "renew_lease",
    "journal-verify",
    "finish_attempt",
    "release_lease",
    "reconcile",
)
"""In the order in which a recovery passes them; the middle of a side effect is `before effect:STEP`, ahead of the last guard."""

BOUNDARIES = tuple(Boundary(point, side) for point in POINTS for side in ("before", "after"))
GAP = Boundary("gap", "before")
"""Between the guard's answer and the effect: only a patient that knows fences can refuse what a process does that was frozen here."""


@dataclass(frozen=True, slots=True)
class Struck:
    """What a struck process wrote down as its last words."""

    number: int
    at: float
    pid: int
    worker: int
    """The worker that a pool process belongs to, 0 if it is the worker itself."""
    boundary: str
    action: Action
    service: str
    recovery: str
    fence: int
    part: str


class Orders:
    """The orders of one campaign, as both sides see them.

    Args:
        folder: of the campaign.
    """

    def __init__(self, folder: Path) -> None:
        self._armed = folder / "armed"
        self._taken = folder / "taken"
        self.struck = folder / "struck.jsonl"

    def prepare(self) -> None:
        """Make the folders."""
        self._armed.mkdir()
        self._taken.mkdir()

    def arm(self, boundary: Boundary, number: int, action: Action) -> None:
        """Lay an order at a boundary."""
        draft = self._armed / f"{boundary.file}.draft"
        draft.write_text(json.dumps({"number": number, "action": action}), encoding="ascii")
        draft.rename(self._armed / boundary.file)

    def disarm(self, boundary: Boundary) -> bool:
        """Take an order back; False if somebody was faster."""
        try:
            (self._armed / boundary.file).unlink()
        except FileNotFoundError:
            return False
        return True

    def take(self, boundary: Boundary) -> tuple[int, Action] | None:
        """Take the order that lies at a boundary, if one does; only one process gets it."""
        mine = self._taken / f"{boundary.file}.{os.getpid()}.{time.monotonic_ns()}"
        try:
            (self._armed / boundary.file).rename(mine)
        except FileNotFoundError:
            return None
        order = json.loads(mine.read_text(encoding="ascii"))
        return int(order["number"]), Action(order["action"])


def pass_by(point: str, side: str, service: str = "", recovery: str = "", fence: int = 0) -> None:
    """Say that this process passes a boundary; it may not come back, or only much later."""
    home = os.environ.get(HOME)
    if home is None:
        return
    orders, boundary = Orders(Path(home)), Boundary(point, side)
    order = orders.take(boundary)
    if order is not None:
        number, action = order
        worker = current_process()._parent_pid or 0
        words = Struck(number, time.time(), os.getpid(), worker, str(boundary), action, service, recovery, fence, os.environ.get(PART, ""))
        append(orders.struck, {name: getattr(words, name) for name in words.__slots__})
        strike(action, worker)


def strike(action: Action, worker: int) -> None:
    """Do it to this process, and to its worker if that is meant."""
    if action is Action.FREEZE:
        os.kill(os.getpid(), signal.SIGSTOP)
        return
    if action is Action.KILL_WORKER and worker:
        os.kill(worker, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
