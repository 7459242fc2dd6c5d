"""`recovery emergency` where nothing of the platform runs: a service is recovered, and so is the embedded Valkey itself."""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator

import pytest
from redis.exceptions import RedisError

from strategies.drivers.process import ProcessDriver, ProcessOptions
from tests.sickbed import Patient
from tests.stage import Stage
from tests.support import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

COMMAND = [sys.executable, "-c", "from workers.cli import main; main()", "broker"]
BROKER = """
[services.valkey]
healthy_for = 0
verify_timeout = 60
[services.valkey.driver]
type = "process"
command = {command}
pidfile = "run/valkey.pid"
[[services.valkey.checks]]
type = "redis"
url = "unix://{socket}"
interval = 1
timeout = 1
"""


@pytest.fixture
def stage() -> Iterator[Stage]:
    """No broker, no worker, no beat, no database; one service, and the broker as another one."""
    stage = Stage([Patient("web", "healthy_for = 0\nverify_timeout = 60")], up=False)
    if not stage.settings.embedded:
        pytest.skip("the patient is the embedded Valkey, and this run uses a server")
    stage.toml = BROKER.format(command=json.dumps(COMMAND), socket=stage.settings.socket)
    with stage:
        broker = ProcessDriver("valkey", ProcessOptions(command=tuple(COMMAND), pidfile=stage.folder / "run" / "valkey.pid"))
        try:
            yield stage
        finally:
            broker.stop(20)


def test_an_emergency_recovers_a_service_and_then_the_broker_itself(stage: Stage) -> None:
    stage.patients["web"].kill()

    told = stage.recovery("emergency", "web", "--yes").stdout

    assert told.splitlines()[-1].startswith("web: resolved after")
    assert stage.patients["web"].starts == 2

    stage.recovery("emergency", "valkey", "--yes")
    assert stage.redis.ping()
    told_callers = json.loads(stage.redis.get("recovery:service:valkey") or b"{}")
    assert told_callers["outcome"] == "resolved", "who waits for it is told, although no platform runs"
    before = (stage.folder / "run" / "valkey.pid").read_text()

    os.kill(int(before), signal.SIGKILL)
    eventually(lambda: not answers(stage), within=30, message="the broker outlived its owner")
    story = json.loads(stage.recovery("emergency", "valkey", "--yes", "--json").stdout)

    assert (story["recovery"]["kind"], story["recovery"]["outcome"]) == ("emergency", "resolved")
    assert answers(stage)
    assert (stage.folder / "run" / "valkey.pid").read_text() != before


def test_an_emergency_finishes_what_a_killed_one_began_without_repeating_it(stage: Stage) -> None:
    slow = stage.patients["web"]
    slow.ail("hang!")  # the restart is done, the verification goes on and on
    first = stage.start("-c", "from workers.cli import main; main()", "emergency", "web", "--yes")
    eventually(lambda: slow.starts == 2, within=60, message=stage.tail)
    first.kill()
    first.wait(60)
    slow.heal()

    story = json.loads(stage.recovery("emergency", "web", "--yes", "--json").stdout)

    (attempt,) = story["attempts"]
    assert (attempt["outcome"], attempt["runs"]) == ("resolved", 2)
    assert slow.starts == 2


def answers(stage: Stage) -> bool:
    with contextlib.suppress(RedisError, OSError):
        return bool(stage.redis.ping())
    return False
