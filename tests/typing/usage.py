"""How services use the client, for type checkers: nothing here runs, `assert_type` says what each of them must see."""

from typing import assert_type

from recovery.client import Breaker, CircuitOpen, RecoveryClient, Stats
from recovery.client.chain import Answer, AsyncChain, Chain, Link
from recovery.client.flags import Explanation, LevelName
from recovery.client.healing import Healing
from recovery.client.openfeature import RecoveryProvider
from recovery.errors import ChainExhausted

client = RecoveryClient("redis://localhost:6379/0", source="orders", spool="/var/spool/orders")


def charge(order: int, *, currency: str = "EUR") -> float:
    return float(order)


async def fetch(item: str) -> bytes:
    return item.encode()


def tell() -> None:
    assert_type(client.report("payments", TimeoutError("no answer"), category="network", severity="critical"), str)
    client.report("payments", "a text", details={"order": 17}, labels={"region": "eu"}, type="timeout", recoverable=False)
    client.heartbeat("importer")
    with client.heartbeat_every("importer", 5.0), client.guard("search", ignore=(KeyError,)):
        pass
    assert_type(client.stats(), Stats)
    assert_type(client.stats().sent, int)


@client.guard("payments")
def guarded(order: int) -> float:
    return charge(order)


@client.guard("payments")
async def guarded_fetch(item: str) -> bytes:
    return await fetch(item)


@client.breaker("gateway", failure_threshold=3)
def broken_off(order: int) -> float:
    return charge(order)


@client.healing("payments", attempts=2, wait_for_recovery=5.0)
def healed(order: int) -> float:
    return charge(order)


def decorated() -> None:
    assert_type(guarded(17), float)
    assert_type(broken_off(17), float)
    assert_type(healed(17), float)


def call() -> None:
    breaker = client.breaker("gateway")
    assert_type(breaker, Breaker)
    try:
        assert_type(breaker.call(charge, 17, currency="USD"), float)
    except CircuitOpen as refused:
        assert_type(refused.retry_after, float)
    with breaker:
        charge(17)
    assert_type(client.healing("payments"), Healing)
    assert_type(client.healing("payments").call(charge, 17, currency="USD"), float)
    assert_type(client.execute_with_healing(lambda: charge(17), service="payments", attempts=2, retry_on=(TimeoutError,)), float)


async def acall() -> None:
    assert_type(await guarded_fetch("apple"), bytes)
    assert_type(await client.breaker("gateway").acall(fetch, "apple"), bytes)
    async with client.breaker("gateway"):
        await fetch("apple")
    assert_type(await client.healing("payments").acall(fetch, "apple"), bytes)
    assert_type(await client.aexecute_with_healing(lambda: fetch("apple"), service="payments"), bytes)


def from_cache(order: int, *, currency: str = "EUR") -> float:
    return 0.0


async def from_disk(item: str) -> bytes:
    return b""


def chain() -> None:
    chain = client.chain("prices", charge, Link(from_cache, name="cache"), remember=60.0)
    assert_type(chain(17, currency="USD"), float)
    answer = chain.answer(17)
    assert_type(answer, Answer[float])
    assert_type(answer.by, str)
    kept: Chain[..., float] = chain
    try:
        kept(17)
    except ChainExhausted as exhausted:
        assert_type(exhausted.causes, tuple[tuple[str, Exception], ...])


async def achain() -> None:
    chain = client.achain("pictures", fetch, from_disk, default=b"")
    assert_type(await chain("apple"), bytes)
    assert_type((await chain.answer("apple")).value, bytes)
    kept: AsyncChain[[str], bytes] = chain
    await kept("apple")


def ask() -> None:
    assert_type(client.flags.enabled("search", service="shop", default=True), bool)
    assert_type(client.flags.capability("workers"), int)
    assert_type(client.capability("workers", service="shop"), int)
    assert_type(client.flags.why("search", key="user-17"), Explanation[bool])
    assert_type(client.flags.why_capability("workers").value, int)
    assert_type(client.flags.level("search"), LevelName)
    client.flags.on_change(lambda change: list(change.features))()
    assert_type(RecoveryProvider(client, service="search"), RecoveryProvider)
    assert_type(client.endpoint("db", "postgresql://primary/shop"), str)
    assert_type(client.warm_up(0.5), bool)
