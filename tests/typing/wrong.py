"""What type checkers must refuse: each line that is wrong says so, and an ignored line that is right would be an error."""

from recovery.client import RecoveryClient

client = RecoveryClient()


def charge(order: int) -> float:
    return float(order)


async def fetch(item: str) -> bytes:
    return item.encode()


def refused() -> None:
    client.report("payments", category="no such category")  # type: ignore[arg-type]
    client.report(17)  # type: ignore[arg-type]
    client.breaker("gateway").call(charge, "seventeen")  # type: ignore[arg-type]
    client.breaker("gateway", no_such_option=3)  # type: ignore[call-arg]
    client.execute_with_healing(lambda: charge(17), service="payments", attempts="three")  # type: ignore[arg-type]
    client.execute_with_healing(lambda: charge(17), service="payments", no_such_option=3)  # type: ignore[call-arg]
    client.chain("prices", charge)("seventeen")  # type: ignore[arg-type]
    client.chain("prices", charge, remember="long")  # type: ignore[arg-type]
    client.achain("prices", charge)  # type: ignore[arg-type]
