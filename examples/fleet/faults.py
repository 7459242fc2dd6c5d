"""Six ways to break the example fleet for real, and how to prove that it was mended."""

import contextlib
import hashlib
import json
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from fleet import PRODUCTS, Fleet, await_true

CORRUPTED = 12
"""Entries of the cache that are scribbled over."""
REFUSED = 503
"""What the shop answers while its breaker is open."""


def get(url: str) -> tuple[int, dict[str, Any]]:
    """Return status and body of a page; status 0 when nobody answers."""
    try:
        with urlopen(url, timeout=2) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)
    except (URLError, OSError) as error:
        return 0, {"error": str(error)}


@dataclass
class Fault:
    """One way to break one service.

    `expect` are the strategies that must run and their outcome; `mend` is what a person or a stranger does meanwhile, if
    anything; `prove` raises AssertionError unless the fleet is as it should be, and returns what it saw.
    """

    title: str
    service: str
    expect: tuple[str, str]
    break_it: Callable[[Fleet], None]
    prove: Callable[[Fleet], str]
    mend: Callable[[Fleet], None] | None = None
    restored: Callable[[Fleet], str] | None = None
    """For a mitigated fault: mend it afterwards, then prove with this that the mitigation is gone."""


@dataclass
class Memory:
    """What a fault remembers from breaking to proving."""

    pid: int = 0
    keys: set[str] = field(default_factory=set)
    written: Any = None


def kill_shop(memory: Memory) -> Callable[[Fleet], None]:
    """`kill -9`: the process is gone at once."""

    def break_it(fleet: Fleet) -> None:
        memory.pid = fleet.pid("shop")
        os.kill(memory.pid, signal.SIGKILL)

    return break_it


def hang_shop(memory: Memory) -> Callable[[Fleet], None]:
    """SIGSTOP: the process is alive, its port is open, nobody answers."""

    def break_it(fleet: Fleet) -> None:
        memory.pid = fleet.pid("shop")
        os.kill(memory.pid, signal.SIGSTOP)

    return break_it


def shop_is_new(memory: Memory) -> Callable[[Fleet], str]:
    """Another process serves, and serves well."""

    def prove(fleet: Fleet) -> str:
        pid = fleet.pid("shop")
        assert pid != memory.pid, f"the shop still has pid {pid}"
        status, body = get(f"{fleet.shop_url}/product?id=7")
        assert (status, body.get("price")) == (200, 907), f"/product answered {status} {body}"
        return f"pid {memory.pid} -> {pid}, /product answers 200"

    return prove


def scribble_cache(memory: Memory) -> Callable[[Fleet], None]:
    """Overwrite some entries, and from then on listen to every write that the cache sees."""

    def break_it(fleet: Fleet) -> None:
        numbers = random.sample(range(1, PRODUCTS + 1), CORRUPTED)
        memory.keys = {f"product:{number}" for number in numbers}
        fleet.cache.config_set("notify-keyspace-events", "")
        for key in memory.keys:
            fleet.cache.setrange(key, 70, b"scribble")
        fleet.cache.config_set("notify-keyspace-events", "KA")
        memory.written = fleet.cache.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        memory.written.psubscribe("__keyspace@0__:product:*")

    return break_it


def only_corrupted_were_written(memory: Memory) -> Callable[[Fleet], str]:
    """Every entry is sound again, and not one of the sound ones was written."""

    def prove(fleet: Fleet) -> str:
        written = set()
        deadline = time.monotonic() + 0.5  # the confirmation of the subscription counts as "no message"
        while time.monotonic() < deadline:
            if message := memory.written.get_message(timeout=0.1):
                written.add(message["channel"].decode().partition(":")[2])
        memory.written.close()
        assert written == memory.keys, f"written {sorted(written)}, corrupted {sorted(memory.keys)}"
        for number in range(1, PRODUCTS + 1):
            digest, _, payload = cast("bytes", fleet.cache.get(f"product:{number}") or b"").partition(b":")
            assert hashlib.sha256(payload).hexdigest().encode() == digest, f"product:{number} is still corrupted"
        return f"{len(written)} corrupted entries rebuilt, {PRODUCTS - len(written)} sound ones not written"

    return prove


def corrupt_orders(fleet: Fleet) -> None:
    """Scribble over the data file, behind its header."""
    with fleet.orders.open("r+b") as file:
        file.seek(4096)
        file.write(b"scribble" * 512)


def orders_are_restored(fleet: Fleet) -> str:
    """The data is whole, and the broken file is kept for whoever wants to look."""
    with contextlib.closing(sqlite3.connect(f"file:{fleet.orders}?mode=ro", uri=True)) as orders:
        assert orders.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (count,) = orders.execute("SELECT count(*) FROM orders").fetchone()
    assert count >= 500, f"{count} orders instead of 500"
    aside = sorted(fleet.orders.parent.glob("orders.db.broken-*"))
    assert aside, "the broken file was not kept"
    return f"{count} orders, the broken file kept as {aside[-1].name}"


def fail_gateway(fleet: Fleet) -> None:
    """Let payments fail until the shop's breaker opens."""
    fleet.gateway_broken.touch()
    await_true(lambda: get(f"{fleet.shop_url}/checkout")[0] == REFUSED, 15, "the opening of the breaker")


def mend_gateway(fleet: Fleet) -> None:
    """What the other company does."""
    fleet.gateway_broken.unlink(missing_ok=True)


def payments_work(fleet: Fleet) -> str:
    """The breaker lets payments through, and they succeed."""
    status, body = get(f"{fleet.shop_url}/checkout")
    assert status == 200, f"/checkout answered {status} {body}"
    return "/checkout answers 200"


def break_search(fleet: Fleet) -> None:
    """End search; nothing here can start it."""
    fleet.stop_other("search")


def shop_serves_without_search(fleet: Fleet) -> str:
    """The page is there, the search box is not."""
    status, body = get(f"{fleet.shop_url}/")
    assert (status, body.get("search")) == (200, False), f"/ answered {status} {body}"
    return "/ answers 200 without search"


def mend_search(fleet: Fleet) -> None:
    """What its vendor does."""
    fleet.start_other("search")


def shop_serves_with_search(fleet: Fleet) -> str:
    """The search box is back and finds something."""
    await_true(lambda: bool(get(f"{fleet.shop_url}/")[1].get("suggestions")), 5, "the return of the search box")
    return "/ answers 200 with search"


def all_faults() -> list[Fault]:
    """Return the six faults of the demo, in order."""
    killed, hung, cache = Memory(), Memory(), Memory()
    return [
        Fault("kill -9 the shop", "shop", ("restart", "resolved"), kill_shop(killed), shop_is_new(killed)),
        Fault("SIGSTOP the shop: alive but hung", "shop", ("restart", "resolved"), hang_shop(hung), shop_is_new(hung)),
        Fault(
            f"scribble over {CORRUPTED} cache entries",
            "shop-cache",
            ("cache_rebuild", "resolved"),
            scribble_cache(cache),
            only_corrupted_were_written(cache),
        ),
        Fault("corrupt the orders' data file", "orders", ("backup_fallback", "resolved"), corrupt_orders, orders_are_restored),
        Fault(
            "gateway fails, then is mended",
            "gateway",
            ("circuit_reset", "resolved"),
            fail_gateway,
            payments_work,
            mend=mend_gateway,
        ),
        Fault(
            "search is gone for good",
            "search",
            ("degrade", "mitigated"),
            break_search,
            shop_serves_without_search,
            mend=None,
            restored=shop_serves_with_search,
        ),
    ]
