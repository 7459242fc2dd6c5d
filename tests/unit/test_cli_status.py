"""`status` and `services`: what is well, what is sick, what waits for whom, and who is looking at all."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from recovery.models import (
    LeftOut,
    Mitigation,
    Outcome,
    Plan,
    RecoveryState,
    Status,
    utcnow,
)
from recovery.store.sql import SqlStore
from tests.commands import FILE, Run, commands_in, data, history_in, output, recovered, seen
from tests.rows import recovery


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return commands_in(tmp_path, FILE, monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    with history_in(tmp_path) as store:
        yield store


def test_status_shows_every_declared_service(run: Run, store: SqlStore) -> None:
    seen(store, "shop", Status.HEALTHY)

    text = output(run("status"))

    assert "2 services: 1 healthy, 1 unknown. Last sweep" in text
    assert [line.split()[:2] for line in text.splitlines()[2:4]] == [["shop", "healthy"], ["cache", "unknown"]]


def test_status_exits_with_3_while_a_service_is_unhealthy(run: Run, store: SqlStore) -> None:
    seen(store, "shop", Status.UNHEALTHY)
    row = recovery("shop", reason="waits for cache")
    store.open_recovery(row, None, [], [])

    found = data(run("status", "--json"), code=3)

    shop = found["services"][0]
    assert (shop["service"], shop["status"], shop["message"]) == ("shop", "unhealthy", "refused")
    assert shop["recovery"] == {
        "id": row.id,
        "state": "pending",
        "attempt": 0,
        "category": "service_unavailable",
        "reason": "waits for cache",
        "held_by": "",
    }


def test_status_believes_nothing_when_nobody_is_looking(run: Run, store: SqlStore) -> None:
    seen(store, "shop", Status.HEALTHY, ago=60)

    lines = output(run("status"), code=3).splitlines()

    assert lines[0].startswith("Nobody is looking")
    assert lines[1].startswith("2 services: 2 unknown.")
    assert "unknown (was healthy)" in lines[3]
    assert data(run("status", "--json"), code=3)["stale"]
    assert "The platform itself" not in "\n".join(lines)


def test_status_names_the_parts_in_trouble_where_workers_live_and_nobody_is_looking(run: Run, store: SqlStore) -> None:
    seen(store, "shop", Status.HEALTHY, ago=60)
    store.pulse("worker:recover@host", utcnow(), {"queues": ["restart"]})
    store.pulse("tick", utcnow() - timedelta(seconds=300), {})

    text = output(run("status"), code=3)

    assert text.startswith("Nobody is looking")
    assert "The platform itself is" in text
    assert "  lost     tick: " in text
    assert "worker:recover@host" not in text


def test_status_tells_for_an_hour_how_many_sweeps_a_pause_cost(run: Run, store: SqlStore) -> None:
    seen(store, "shop", Status.HEALTHY)
    now = utcnow()
    store.pulse("tick", now, {"pause": {"until": now.isoformat(), "seconds": 90.0, "sweeps": 18}})

    assert f"Missed: no tick came for 90 s until {now:%H:%M:%S} UTC; sweeps missed meanwhile: 18" in run("status").stdout
    assert data(run("status", "--json"))["platform"]["missed"].startswith("no tick came for 90 s")


@pytest.mark.parametrize(
    ("state", "reason", "told"),
    [
        (
            RecoveryState.FAILED,
            "nothing could be tried; left out: degrade: not declared; held back: restart: restart ran 3 times",
            "needs a person: restart ran 3 times (recovery why shop); refused",
        ),
        (RecoveryState.SUPPRESSED, "shop is declared managed = false", "left alone: shop is declared managed = false (recovery why shop)"),
        (RecoveryState.CANCELLED, "rejected by ada: wait", "ended by a person: rejected by ada: wait (recovery why shop)"),
    ],
)
def test_status_tells_that_a_sick_service_waits_for_a_person(
    run: Run, store: SqlStore, state: RecoveryState, reason: str, told: str
) -> None:
    seen(store, "shop", Status.UNHEALTHY)
    row = recovery("shop", plan=Plan(left_out=(LeftOut(strategy="degrade", why="not declared"),)), created_at=utcnow())
    store.open_recovery(row, None, [], [])
    store.transition(row, replace(row, state=state, reason=reason, finished_at=utcnow(), due_at=None))

    text = output(run("status"), code=3)

    assert told in text
    assert f"{row.id[:8]} {state}" in text
    assert "idle" not in text.splitlines()[2]


def test_a_recovery_that_failed_is_forgotten_once_the_service_is_well(run: Run, store: SqlStore) -> None:
    seen(store, "shop", Status.HEALTHY)
    recovered(store, outcome=Outcome.FAILED)

    assert "needs a person" not in output(run("status"))


def test_status_names_what_is_mitigated(run: Run, store: SqlStore) -> None:
    seen(store, "shop", Status.HEALTHY)
    row = recovery("shop")
    store.open_recovery(row, None, [], [])
    now = utcnow()
    store.transition(row, row, mitigation=Mitigation("shop", "degrade", row.id, now, now + timedelta(hours=1)))

    assert "Mitigated" in output(run("status"))
    assert data(run("status", "--json"))["mitigations"][0]["strategy"] == "degrade"


def test_a_redis_that_is_away_leaves_unknown_what_is_degraded(run: Run, store: SqlStore) -> None:
    seen(store, "shop", Status.HEALTHY)

    assert "What is degraded is unknown: Redis does not answer." in output(run("status"))
    found = data(run("status", "--json"))
    assert (found["degradations"], found["services"][0]["degradation"]) == (None, None)


def test_services_shows_what_is_declared(run: Run, store: SqlStore) -> None:
    found = data(run("services", "--json"))

    assert found[0] == {
        "service": "shop",
        "status": "unknown",
        "managed": True,
        "autonomy": "auto",
        "flapping": False,
        "checks": ["tcp"],
        "driver": None,
        "remedies": ["degrade"],
        "depends_on": ["cache"],
        "description": "sells",
    }
    assert "sells" in output(run("services"))


def test_services_of_one_service_shows_its_checks(run: Run, store: SqlStore) -> None:
    seen(store, "shop", Status.UNHEALTHY)

    found = data(run("services", "shop", "--json"))

    assert [(check["check"], check["type"], check["every"], check["status"]) for check in found] == [("tcp", "tcp", 2.0, "unhealthy")]
    assert "refused" in output(run("services", "shop"))
