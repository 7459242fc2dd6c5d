"""A primary becomes a copy that only answers questions, and keeps its connections: the client goes to the new primary all the same."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis

from recovery.breaker import RedisBreakers
from recovery.client import RecoveryClient
from recovery.models import BreakerOrder
from tests.cable import Cable
from tests.streams import failures
from tests.support import ValkeyServer, eventually


@pytest.fixture
def servers(short_dir: Path) -> Iterator[tuple[ValkeyServer, ValkeyServer]]:
    with ExitStack() as stack:
        servers = []
        for name in ("one", "two"):
            (short_dir / name).mkdir()
            server = ValkeyServer(short_dir / name)
            stack.callback(server.kill)
            server.start()
            servers.append(server)
        yield servers[0], servers[1]


def test_after_a_failover_that_hangs_up_nobody_the_new_primary_is_found(
    servers: tuple[ValkeyServer, ValkeyServer], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    old, new = servers
    cable = Cable(old.socket)
    request.addfinalizer(cable.close)
    with RecoveryClient(cable.url, spool=tmp_path) as client:
        breaker = client.breaker("gateway", failure_threshold=1, service="payments")
        client.report("web", "before")
        eventually(lambda: client._link.connected and client.stats().sent == 1)

        cable.lead_to(new.socket)
        with Redis.from_url(old.url) as primary:
            primary.execute_command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(ZeroDivisionError):
            breaker.call(lambda: 1 / 0)
        client.report("web", "after")

        with Redis.from_url(new.url) as primary:
            eventually(lambda: {failure.service for failure in failures(primary)} == {"web", "payments"})
            eventually(lambda: [(view.name, view.state, view.trips) for view in RedisBreakers(primary).views()] == [("gateway", "open", 1)])
            RedisBreakers(primary).operate("gateway", BreakerOrder.RESET, by="ops", reason="it works again")
        eventually(lambda: breaker.state == "closed")
