"""The broker or the database is away, hangs, refuses, forgets or brings garbage while the platform works."""

import base64
import json
import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from recovery.client import RecoveryClient
from recovery.models import AttemptState, Choice, Outcome, utcnow
from tests.acceptance.faults import COOLDOWN, assert_finished_with_one_start, command, in_the_middle_of, mains, ours_to_break, outage, said
from tests.servers.rooms import POSTGRES
from tests.stage import Stage
from tests.support import eventually, freeze
from workers.cli.state import STALE_AFTER

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@ours_to_break
def test_fault_03_a_broker_that_dies_under_a_step_three_times_for_longer_and_longer_loses_nothing(stage: Stage) -> None:
    before = mains(stage)
    for seconds in (0, 2, 5):
        starts = stage.patients["anvil"].starts
        recovery = in_the_middle_of(stage, "ready")
        with outage(stage, seconds):
            stage.patients["anvil"].release()
        assert_finished_with_one_start(stage, recovery, starts)

    assert mains(stage) == before


@ours_to_break
def test_fault_05_a_failover_that_makes_the_broker_read_only_ends_no_worker(stage: Stage) -> None:
    before, mark, since = mains(stage), len(stage.tail()), utcnow()
    command(stage, "REPLICAOF", "127.0.0.1", "1")
    try:
        stage.patients["web"].kill()
        for name in ("intake", "recover", "health"):
            eventually(lambda name=name: refused(stage, name, mark), 60, stage.tail)  # type: ignore[misc]
        told = stage.recovery("trigger", "anvil", code=5).stderr
    finally:
        command(stage, "REPLICAOF", "NO", "ONE")

    assert told.startswith("Error: the broker ")
    assert "read only replica" in told
    assert stage.closed("web", since, within=90).outcome is Outcome.RESOLVED
    assert mains(stage) == before


def refused(stage: Stage, name: str, after: int) -> bool:
    return any(line.startswith(name) and "read only replica" in line for line in stage.tail()[after:].splitlines())


@ours_to_break
def test_fault_06_connections_that_are_all_cut_during_a_step_make_no_second_side_effect(stage: Stage) -> None:
    starts, before = stage.patients["anvil"].starts, mains(stage)
    recovery = in_the_middle_of(stage, "ready")

    for kind in ("normal", "pubsub"):
        command(stage, "CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
    stage.patients["anvil"].release()

    assert_finished_with_one_start(stage, recovery, starts)
    assert stage.story(recovery).attempts[0].runs == 1
    assert mains(stage) == before


@pytest.mark.skipif(bool(POSTGRES), reason="only SQLite has one lock for all writers")
def test_fault_14_a_database_that_another_writer_locks_for_12_seconds_loses_nothing(stage: Stage, tmp_path: Path) -> None:
    before, since, web = mains(stage), utcnow(), stage.patients["web"]
    starts, path = web.starts, stage.settings.database.removeprefix("sqlite:///")

    client = RecoveryClient(stage.settings.redis, spool=tmp_path)
    with client, closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as other:
        other.execute("BEGIN IMMEDIATE")
        web.kill()
        report = client.report("web", category="service_unavailable", message="while nobody can write")
        locked = time.monotonic()
        told = stage.recovery("status").stdout
        time.sleep(max(0.0, 12 - (time.monotonic() - locked)))
        other.execute("ROLLBACK")
        recovery = stage.closed("web", since, within=90)
        eventually(lambda: report in {failure.id for failure in stage.story(recovery).failures}, 60)

    assert f"{len(stage.patients)} services" in told, "what only reads works on"
    assert (recovery.outcome, web.starts) == (Outcome.RESOLVED, starts + 1)
    assert mains(stage) == before


@ours_to_break
def test_fault_16_an_emptied_redis_gets_its_cooldowns_from_the_history_and_its_messages_from_the_tick(stage: Stage) -> None:
    calm, web, since = stage.patients["calm"], stage.patients["web"], utcnow()
    calm.kill()
    first = stage.closed("calm", since)
    stage.await_healthy("calm")
    worker = stage.part("recover")
    freeze(worker.pid)
    stage.send("recovery.trigger", service="web", strategy="restart")
    queued = stage.opened("web", since)
    eventually(lambda: [attempt.state for attempt in stage.store.attempts(queued.id)] == [AttemptState.QUEUED], 60, stage.tail)

    again, starts = utcnow(), web.starts
    stage.redis.flushall()
    os.kill(worker.pid, signal.SIGCONT)
    calm.kill()

    assert stage.closed("web", since, within=90).outcome is Outcome.RESOLVED
    assert web.starts == starts + 1
    second = stage.closed("calm", again, within=90)
    one, two = stage.story(first).attempts[0].created_at, stage.story(second).attempts[0].created_at
    assert one is not None
    assert two is not None
    assert (two - one).total_seconds() >= COOLDOWN - 0.1
    skipped = [noted.decision.guard for noted in stage.story(second).decisions if noted.decision.choice is Choice.SKIP]
    assert "cooldown" in skipped


@ours_to_break
def test_fault_18_messages_that_nobody_can_read_are_told_and_end_no_worker(stage: Stage) -> None:
    before, mark, since = mains(stage), len(stage.tail()), utcnow()
    for garbage in (b"{", b"\xff\xfe\x00", b"[]", b'"text"', b'{"body": "e30=", "headers": {}}', b'{"properties": {"delivery_tag": 7}}'):
        stage.redis.lpush("recovery:celery:failures", garbage)
    stage.redis.lpush("recovery:celery:failures", envelope("recovery.report_failure", b"no base64 of JSON"))
    stage.send("recovery.of_another_version", service="web")
    stage.send("recovery.trigger", service="web", urgency="high")  # a field that this version does not know
    stage.send("strategy.restart", to="restart", service="web")  # one that lacks what this version needs

    said(stage, "dropped what is no message, from one of the queues", mark)
    said(stage, "dropped what is no message, from the queue failures", mark)
    said(stage, "recovery.of_another_version", mark)
    said(stage, "unexpected keyword argument 'urgency'", mark)
    said(stage, "missing a required argument: 'recovery_id'", mark)
    stage.patients["web"].kill()
    assert stage.closed("web", since, within=90).outcome is Outcome.RESOLVED
    assert mains(stage) == before
    assert stage.redis.llen("recovery:celery:failures") == 0


def envelope(task: str, body: bytes) -> bytes:
    """A message of Celery's whose body is `body`."""
    properties = {"delivery_tag": task, "delivery_info": {"exchange": "failures", "routing_key": "failures"}, "body_encoding": "base64"}
    coded = {"body": base64.b64encode(body).decode(), "content-type": "application/json", "content-encoding": "utf-8"}
    return json.dumps({**coded, "headers": {"task": task, "id": task}, "properties": properties}).encode()


@ours_to_break
def test_a_broker_that_hangs_is_told_in_a_sentence_and_an_emergency_does_without_it(stage: Stage) -> None:
    before, since, server = mains(stage), utcnow(), stage.part("valkey")
    starts = {name: stage.patients[name].starts for name in ("web", "anvil")}
    freeze(server.pid)
    try:
        stage.patients["web"].kill()
        refused = stage.recovery("trigger", "anvil", code=5).stderr
        told = stage.recovery("emergency", "anvil", "--yes").stdout
        seen = max(state.seen_at for state in stage.store.service_states().values() if state.seen_at)
        eventually(lambda: (utcnow() - seen).total_seconds() > 1 + STALE_AFTER, 60)
        status = stage.recovery("status", code=3).stdout
    finally:
        server.resume()

    assert refused.startswith("Error: the broker ")
    assert "`recovery emergency SERVICE` does without it" in refused
    assert told.splitlines()[-1].startswith("anvil: resolved after")
    assert status.startswith(f"Nobody is looking: Redis at unix://{stage.settings.socket} does not answer (Timeout reading from socket)")
    assert stage.closed("web", since, within=90).outcome is Outcome.RESOLVED
    assert {name: stage.patients[name].starts for name in starts} == {name: many + 1 for name, many in starts.items()}
    assert mains(stage) == before
