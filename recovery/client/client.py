"""`RecoveryClient`: one object per process that gives a service everything it needs from the platform."""

import atexit
import os
import sys
import time
from collections.abc import Awaitable, Callable
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, ParamSpec, Self, TypeVar, Unpack
from weakref import WeakSet

from recovery.breaker.caller import Breaker
from recovery.breaker.options import BreakerOptions, BreakerSettings
from recovery.client.flags import Flags
from recovery.client.reporter import Reporter
from recovery.client.view import LocalView
from recovery.client.words import checked_name
from recovery.errors import ConfigurationError
from recovery.forking import renew_after_fork

if TYPE_CHECKING:
    from pathlib import Path

    from recovery.client.chain import AsyncChain, Chain, Link, RestSettings
    from recovery.client.healing import Healing, HealingSettings

P = ParamSpec("P")
T = TypeVar("T")

FIRST_WAIT = 0.9
"""Seconds that the first question about flags may wait for Redis."""
LAST_WAIT = 1.0
"""Seconds that the end of the process may wait for the last reports."""


class RecoveryClient(Reporter):
    """Reports failures of services, and tells services what to do without. Make one per process; it is thread-safe and fork-safe.

    Only the constructor, `breaker`, `healing` and `chain` raise, and only for wrong arguments; what calls through them raises is its own.

    Args:
        url: `redis://`, `rediss://` or `unix://`; default: `RECOVERY_REDIS_URL`, else the embedded platform of this folder.
        source: Who reports; default: the host's name.
        spool: Folder where reports wait while Redis is away; default: `spool` in `RECOVERY_DATA_DIR` (or in `./.recovery` if
            the platform is the embedded one), else `~/.local/state/celery-recovery/spool`.

    Raises:
        ConfigurationError: if it is no such URL.
    """

    def __init__(self, url: str | None = None, *, source: str | None = None, spool: "str | Path | None" = None) -> None:
        # here and not above: who only imports the client, such as a test or a command line, need not wait for what it works with
        from pathlib import Path

        from recovery.breaker.link import FleetLink
        from recovery.client.connection import connect, load_modules, resolve_url, spool_folder
        from recovery.client.endings import Endings
        from recovery.client.sender import Sender
        from recovery.client.watch import Watch

        self._url = resolve_url(url)
        load_modules()
        sender = Sender(self._url, Path(spool) if spool else spool_folder(url))
        super().__init__(sender, (source or f"client@{os.uname().nodename}")[:200])
        self._view = LocalView()
        self._link = FleetLink(self._report_opening)
        self._endings = Endings()
        self._watch = Watch(lambda: connect(self._url), (self._view, self._link, self._endings))
        self.flags = Flags(self._view, self._wait_for_first_view)
        self._breakers: dict[str, Breaker] = {}
        self._adding = RLock()
        self._waited = False
        _open_clients.add(self)
        renew_after_fork(self)

    # --- asking ---

    def breaker(self, name: str, **settings: Unpack[BreakerSettings]) -> Breaker:
        """Return the breaker of that name, shared with every process that uses the name.

        The first call decides the options, see `BreakerOptions`; later calls may leave them out.

        Raises:
            ConfigurationError: for an unknown or invalid option, or options that differ from the first call's.
        """
        with self._adding:
            known = self._breakers.get(name)
            if known is not None and not settings:
                return known
            options = BreakerOptions.of(name, settings)
            if known is not None and known.options != options:
                raise ConfigurationError(f"Breaker '{name}' is in use with other options: {known.options}.")
            if known is None:
                known = self._breakers[name] = Breaker(name, options, self._link)
                self._link.add(known)
                self._watch.start()
            return known

    def healing(self, service: str, **settings: "Unpack[HealingSettings]") -> "Healing":
        """Return what calls functions for `service` until they work, within reason; a decorator, too.

        Each call goes through the service's breaker and is tried again; when the tries are used up the error is reported, and
        with `wait_for_recovery` the end of a recovery is awaited for one more try. Options: see `HealingOptions`.

        Raises:
            ConfigurationError: for an unknown or invalid option, or a name that no service can have.
        """
        from recovery.client.healing import Healing, HealingOptions

        options = HealingOptions.of(settings)
        try:
            breaker = self._breaker_for(options.breaker or checked_name(service), checked_name(service))
        except (TypeError, ValueError) as wrong:
            raise ConfigurationError(f"Healing for service {service!r}: {wrong}.") from wrong

        def report(error: Exception) -> None:
            self.report(service, error, category=options.category, severity=options.severity)

        return Healing(service, options, breaker, report, self._endings)

    def execute_with_healing(self, function: Callable[[], T], *, service: str, **settings: "Unpack[HealingSettings]") -> T:
        """Call `function` as `healing` says; raises its last error, or `CircuitOpen` if it was never called."""
        return self.healing(service, **settings).call(function)

    async def aexecute_with_healing(
        self, function: Callable[[], Awaitable[T]], *, service: str, **settings: "Unpack[HealingSettings]"
    ) -> T:
        """Await `function` as `healing` says; like `execute_with_healing`, without holding up the event loop."""
        return await self.healing(service, **settings).acall(function)

    def chain(self, name: str, *links: "Callable[P, T] | Link[P, T]", **rest: "Unpack[RestSettings]") -> "Chain[P, T]":
        """Return a chain of fallbacks: called, it answers with the first link that does, each behind the breaker `<name>.<link>`.

        Args:
            name: Of the chain, and of the service that is reported when a link's breaker opens, unless the link names one.
            links: Functions of the same arguments, the best first.
            rest: `default`, `remember` (seconds), `ignore`: see `recovery.client.chain.Rest`.

        Raises:
            ConfigurationError: for a link without a name of its own, or an invalid option.
        """
        from recovery.client.chain import Chain, named, rest_of

        return Chain(name, self._behind_breakers(name, named(name, links)), rest_of(name, rest))

    def achain(
        self, name: str, *links: "Callable[P, Awaitable[T]] | Link[P, Awaitable[T]]", **rest: "Unpack[RestSettings]"
    ) -> "AsyncChain[P, T]":
        """Return a chain of coroutine functions; like `chain`."""
        from recovery.client.chain import AsyncChain, named, rest_of

        return AsyncChain(name, self._behind_breakers(name, named(name, links)), rest_of(name, rest))

    def _behind_breakers(self, chain: str, links: "dict[str, Link[P, T]]") -> "tuple[tuple[Link[P, T], Breaker], ...]":
        return tuple((link, self._breaker_for(f"{chain}.{name}", link.service or chain)) for name, link in links.items())

    def _breaker_for(self, name: str, service: str) -> Breaker:
        """Return the breaker that was made under this name, else one with the default options."""
        return self._breakers.get(name) or self.breaker(name, service=service)

    def capability(self, name: str, *, service: str | None = None, default: int = 100) -> int:
        """Return the percentage of a capability to use now, 0 to 100; short for `flags.capability`."""
        return self.flags.capability(name, service=service, default=default)

    def endpoint(self, service: str, default_url: str) -> str:
        """Return where to reach `service` now: a backup if the platform switched to one, else `default_url`."""
        return self.flags.endpoint(service, default_url)

    def warm_up(self, timeout: float = FIRST_WAIT) -> bool:
        """Load flags and endpoints now, so that no later call waits; say whether Redis answered within `timeout` seconds."""
        self._waited = True
        self._watch.start()
        return self._watch.tried(timeout) and self._view.freshness == "fresh"

    # --- the end ---

    def close(self) -> None:
        """Deliver or keep what waits, within a second, and stop the threads. Reports after this are dropped and counted."""
        began = time.monotonic()
        for heartbeat in self._heartbeats:
            heartbeat.stop()
        self._link.close(LAST_WAIT / 2)  # it tells what waits through the watch's connections
        self._watch.stop()
        self._view.cut_off()
        self._endings.close()
        self._sender.close(max(0.1, LAST_WAIT - (time.monotonic() - began)))
        _open_clients.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def renew(self) -> None:
        """Begin anew in a forked child; called by itself."""
        self._adding = RLock()
        self._waited = False
        self._sender.renew()
        self._view.renew()
        self._link.renew()
        self._endings.renew()
        self._watch.renew()  # its thread uses the parts above
        for heartbeat in self._heartbeats:
            heartbeat.renew()

    def _wait_for_first_view(self) -> None:
        if not self._waited:
            if _in_event_loop():
                self._watch.start()  # the answers before the first look are the defaults: an event loop must not be held up
            else:
                self.warm_up()

    def _report_opening(self, breaker: Breaker, reason: str) -> None:
        self.report(
            breaker.options.service or breaker.name,
            category="circuit_open",
            message=f"circuit '{breaker.name}' opened: {reason}"[:4_000],
            details={"breaker": breaker.name, "failure_threshold": breaker.options.failure_threshold},
        )


def _in_event_loop() -> bool:
    asyncio = sys.modules.get("asyncio")  # importing it would make the client heavy
    try:
        return asyncio is not None and asyncio.get_running_loop() is not None
    except RuntimeError:
        return False


_open_clients: WeakSet[RecoveryClient] = WeakSet()


@atexit.register
def _close_all() -> None:
    for client in list(_open_clients):
        client.close()
