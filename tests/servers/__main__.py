"""`make test-integration`: the suites on PostgreSQL, Redis and RabbitMQ, on servers of our own.

Exit code 1 if a suite failed; 0 if all passed or what is missing is only a server or time, which the last lines then say.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.servers import started
from tests.servers.programs import POSTGRES, RABBIT, REDIS, Kind, provide

ROOT = Path(__file__).resolve().parents[2]
SERVERS: dict[Kind, Callable[[], AbstractContextManager[dict[str, str]]]] = {
    POSTGRES: started.postgres,
    REDIS: started.redis,
    RABBIT: started.rabbit,
}
ENOUGH = 240.0
"""Seconds that must be left for a suite to begin; each takes about half of that on two quiet cores."""
NO_TESTS = 5
"""Exit code of pytest when nothing was selected: here that is a failure."""


@dataclass(frozen=True)
class Suite:
    """Some tests on some servers."""

    name: str
    servers: tuple[Kind, ...]
    tests: tuple[str, ...]
    """Arguments for pytest; none: only with `--full`."""
    full: tuple[str, ...]
    """The same with `--full`."""


STORE = ("tests/contract/store", "tests/integration/test_migrations.py", "tests/integration/test_ruling_stores.py", "-k", "postgresql")
SHARED = (
    "tests/contract/test_breakers.py",
    "tests/contract/test_breakers_shared.py",
    "tests/contract/test_cooldowns.py",
    "tests/contract/test_degradations.py",
)
EVERYTHING = ("tests/acceptance", "--ignore", "tests/acceptance/test_up.py")  # that one is about the embedded parts
RABBIT_SHORT = "killed_service or plain_celery or through_the_client or cancelled or frozen_worker or intake or whole"
SUITES = (
    Suite("the store on PostgreSQL", (POSTGRES,), STORE, STORE),
    Suite("what is shared through Redis", (REDIS,), SHARED, SHARED),
    Suite("two beats on PostgreSQL and Redis", (POSTGRES, REDIS), (), ("tests/integration/test_two_beats.py",)),
    Suite(
        "recoveries and crashes on PostgreSQL and Redis",
        (POSTGRES, REDIS),
        ("tests/acceptance/test_recoveries.py", "tests/acceptance/test_faults_workers.py"),
        EVERYTHING,
    ),
    Suite(
        "recoveries and crashes with RabbitMQ as broker",
        (POSTGRES, RABBIT),
        ("tests/acceptance/test_recoveries.py", "tests/acceptance/test_faults_workers.py", "-k", RABBIT_SHORT),
        EVERYTHING,
    ),
)


def main() -> int:
    """Run what can be run and say what could not."""
    parser = argparse.ArgumentParser(prog="make test-integration", description=__doc__)
    parser.add_argument("--full", action="store_true", help="every acceptance test instead of a representative part")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds for everything (default: %(default)g)")
    options = parser.parse_args()
    deadline = time.monotonic() + options.limit
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers end, too
    missing = provide(tuple(SERVERS))
    told, failed = [], False
    with ExitStack() as running:
        environ: dict[Kind, dict[str, str]] = {}
        for suite in (each for each in SUITES if options.full or each.tests):
            if deadline - time.monotonic() < ENOUGH:
                told.append(f"not run  {suite.name}: less than {ENOUGH:g} s are left")
                continue
            for kind in (each for each in suite.servers if each not in missing and each not in environ):
                try:
                    environ[kind] = running.enter_context(SERVERS[kind]())
                except Exception as error:  # noqa: BLE001 - whatever keeps a server from starting is not ours to fail for
                    missing[kind] = f"installed, but does not start here: {error}"
            absent = [f"{kind.name} is {missing[kind]}" for kind in suite.servers if kind in missing]
            if absent:
                told.append(f"not run  {suite.name}: {'; '.join(absent)}")
                continue
            said, passed = _run(suite, [environ[kind] for kind in suite.servers], deadline, full=options.full)
            told.append(said)
            failed = failed or not passed
    sys.stdout.write("\n" + "".join(f"{line}\n" for line in told))
    return 1 if failed else 0


def _run(suite: Suite, servers: list[dict[str, str]], deadline: float, *, full: bool) -> tuple[str, bool]:
    sys.stdout.write(f"\n== {suite.name}\n")
    sys.stdout.flush()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RECOVERY_TEST_")}
    for server in servers:
        environ |= server
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", *(suite.full if full else suite.tests)], cwd=ROOT, env=environ, start_new_session=True
    )
    try:
        code = process.wait(max(deadline - began, 1.0))
        word = "passed" if code == 0 else "FAILED (no test was selected)" if code == NO_TESTS else "FAILED"
    except subprocess.TimeoutExpired:
        code, word = 1, "FAILED (the time for all suites was over)"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return f"{word}  {suite.name}: {time.monotonic() - began:.0f} s", code == 0


if __name__ == "__main__":
    raise SystemExit(main())
