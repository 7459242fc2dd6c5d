"""Keeps a lease alive from a thread of its own while the holder works, and gives it up once the store is back from an outage."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from recovery.errors import LeaseLost, StoreUnavailable
from recovery.models import Lease
from recovery.ports import Clock, LeaseStore

log = logging.getLogger(__name__)

RENEWALS_PER_LEASE = 3
"""Renewing three times per lease leaves room for two failed tries."""
INSIST_EVERY = 0.2
"""Seconds between two tries to give a lease up: more often than the tick comes, which would let another worker take it over first."""
INSIST_FOR = 3_600.0
"""Seconds after which an outage is taken to outlast this process."""


@contextmanager
def kept_alive(store: LeaseStore, lease: Lease, seconds: float, clock: Clock, on_lost: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Renew `lease` for `seconds` at a time until the block ends.

    A lease that was lost is not renewed any more and `on_lost` is called once; the holder learns of it from its next fenced write.
    """
    stop = threading.Event()

    def renew() -> None:
        held = lease
        while not stop.wait(seconds / RENEWALS_PER_LEASE):
            try:
                held = store.renew_lease(held, clock() + timedelta(seconds=seconds))
            except LeaseLost:
                on_lost()
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, a lease that nobody renews is worse
                log.warning("lease.not_renewed service=%s: %s", held.service, error)

    thread = threading.Thread(target=renew, name=f"lease-{lease.service}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def insist(work: Callable[[], None]) -> None:
    """Try `work` in a thread of its own until it does not raise `StoreUnavailable` any more."""

    def keep_trying() -> None:
        until = time.monotonic() + INSIST_FOR
        while time.monotonic() < until:
            time.sleep(INSIST_EVERY)
            try:
                work()
            except StoreUnavailable:
                continue
            return

    threading.Thread(target=keep_trying, name="insist", daemon=True).start()
