"""What of the fleet one process can reach: Redis, and for each of its breakers whether that can be shared, and what was last heard."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING

from recovery.breaker.fleet import FleetView
from recovery.breaker.linked import Linked
from recovery.breaker.shared import key_of
from recovery.breaker.spoiled import is_about_one_key, what_is_wrong, what_is_wrong_with_the_list

if TYPE_CHECKING:
    from recovery.breaker.caller import Breaker
    from recovery.breaker.shared import SharedCircuits
    from recovery.breaker.snapshot import Snapshot

log = logging.getLogger("recovery.breaker")


class Reached:
    """Knows which breakers are linked, and lets them go on alone, one or all, when Redis or their own keys fail."""

    def __init__(self) -> None:
        self.linked: dict[str, Linked] = {}
        self.renew()

    def renew(self) -> None:
        """Begin anew in a forked child."""
        self.shared: SharedCircuits | None = None
        """The scripts in Redis; None while it does not answer."""
        self._hearing = RLock()
        self._said_away = self._said_unlisted = self._closed = False
        for linked in self.linked.values():
            linked.asked = False
            linked.breaker.renew()

    def all(self) -> list[Linked]:
        """Return every linked breaker."""
        return list(self.linked.values())  # in one step: others are added meanwhile

    def shared_for(self, breaker: "Breaker") -> "SharedCircuits | None":
        """Return the scripts for this breaker; None if it goes on alone."""
        linked = self.linked.get(breaker.name)
        return None if linked is None or linked.spoiled else self.shared

    def back(self, shared: "SharedCircuits") -> None:
        """Note that Redis answers: breakers are shared through it from now on."""
        if self._said_away:
            self._said_away = False
            log.warning("Redis answers again: breakers are shared with the fleet again")
        self.shared = None if self._closed else shared

    def away(self, error: Exception) -> None:
        """Note that Redis cannot be reached: breakers go on alone, and the log says so once."""
        was_there, self.shared = self.shared is not None, None
        if was_there:
            for linked in self.all():
                linked.breaker.went_alone()
        if self.linked and not self._said_away and not self._closed:
            self._said_away = True
            log.warning("Redis does not answer (%s): breakers go on with what this process sees alone", type(error).__name__)

    def close(self) -> None:
        """Let every breaker go on alone from now on, without a word."""
        self._closed = True
        self.shared = None

    def failed(self, breaker: "Breaker", error: Exception) -> None:
        """Let this breaker go on alone if the error is about its keys, else all."""
        if not is_about_one_key(error):
            self.away(error)
            return
        linked = self.linked[breaker.name]
        was_spoiled, linked.spoiled = linked.spoiled, True
        if not was_spoiled:
            log.error("breaker '%s' goes on alone: %s", breaker.name, what_is_wrong(breaker.name, key_of(breaker.name), error))
            breaker.went_alone()

    @contextmanager
    def costing_it_alone(self, linked: Linked) -> Iterator[None]:
        """Let what is wrong under a breaker's own keys cost nobody but this breaker."""
        try:
            yield
        except Exception as error:
            if not is_about_one_key(error):
                raise
            self.failed(linked.breaker, error)

    @contextmanager
    def costing_the_list_alone(self) -> Iterator[None]:
        """Let what is wrong with the list of all breakers cost only those who read it, and say so once."""
        try:
            yield
            self._said_unlisted = False
        except Exception as error:
            if not is_about_one_key(error):
                raise
            if not self._said_unlisted:
                self._said_unlisted = True
                log.error("the platform cannot list or mark breakers: %s", what_is_wrong_with_the_list(error))  # noqa: TRY400 - it is one sentence

    def hear(self, snapshot: "Snapshot") -> FleetView:
        """Remember the newest of what was heard and return it: an answer may come after the push of a later change."""
        linked = self.linked[snapshot.name]
        with self._hearing:
            if linked.heard is None or snapshot.view.version >= linked.heard.view.version:
                linked.heard, linked.heard_at = snapshot, time.monotonic()
            return linked.heard.view

    def apply(self, snapshot: "Snapshot") -> None:
        """Let the breaker stand as the fleet has it, by the newest of what was heard."""
        self.linked[snapshot.name].breaker.apply(self.hear(snapshot))
