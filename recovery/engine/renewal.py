"""Keeps a lease alive from a thread of its own while the holder works."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from recovery.errors import LeaseLost
from recovery.models import Lease
from recovery.ports import Clock, LeaseStore

log = logging.getLogger(__name__)

RENEWALS_PER_LEASE = 3
"""Renewing three times per lease leaves room for two failed tries."""


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
