"""Failures of real services, reported in every way there is, and what the platform does about each."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from recovery.client import RecoveryClient
from recovery.models import Choice, Kind, Outcome, RecoveryState, StepState, utcnow
from recovery.store.schema import audit
from tests.acceptance.faults import COOLDOWN
from tests.stage import Stage
from tests.support import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_killed_service_is_restarted_and_every_face_tells_the_same_story(stage: Stage) -> None:
    web = stage.patients["web"]
    starts, since = web.starts, utcnow()

    web.kill()
    recovery = stage.closed("web", since)

    assert (web.answers(), web.starts) == (200, starts + 1)
    story = stage.story(recovery)
    assert (recovery.state, recovery.outcome, recovery.kind) == (RecoveryState.SUCCEEDED, Outcome.RESOLVED, Kind.AUTOMATIC)
    assert [(each.strategy, each.outcome, each.runs) for each in story.attempts] == [("restart", Outcome.RESOLVED, 1)]
    assert [(step.name, step.state) for step in story.steps] == [
        (name, StepState.FINISHED) for name in ("stop", "start", "ready", "verify")
    ]
    assert {failure.source for failure in story.failures} == {"health"}
    choices = [noted.decision.choice for noted in story.decisions]
    assert [choice for choice in choices if choice is not Choice.MERGE] == [Choice.ACT], "a slow machine may report twice"
    assert [noted.event.name for noted in story.events] == [f"recovery:{what}" for what in ("opened", "started", "action", "succeeded")]

    program = f"from workers.celery import app; import json; print(json.dumps(app.AsyncResult({recovery.id!r}).get(timeout=60)))"
    told: dict[str, Any] = json.loads(stage.run("-c", program).stdout)
    assert {name: told[name] for name in ("recovery_id", "service", "state", "outcome", "strategies")} == {
        "recovery_id": recovery.id,
        "service": "web",
        "state": "succeeded",
        "outcome": "resolved",
        "strategies": ["restart"],
    }
    assert recovery.id in stage.celery("result", recovery.id)
    shown = json.loads(stage.recovery("history", "--json").stdout)
    assert recovery.id in json.dumps(shown)
    assert "restart" in stage.recovery("show", recovery.id[:8]).stdout


def test_a_frozen_service_is_killed_and_replaced(stage: Stage) -> None:
    web = stage.patients["web"]
    pid, starts, since = web.pid, web.starts, utcnow()

    web.freeze()
    recovery = stage.closed("web", since)

    assert recovery.outcome is Outcome.RESOLVED
    assert (web.answers(), web.starts) == (200, starts + 1)
    assert web.pid != pid
    stop = stage.story(recovery).steps[0]
    assert stop.result["forced"] is True


def test_a_service_that_answers_500_is_restarted(stage: Stage) -> None:
    web = stage.patients["web"]
    starts, since = web.starts, utcnow()

    web.ail("500")
    recovery = stage.closed("web", since)

    assert recovery.outcome is Outcome.RESOLVED
    assert (web.answers(), web.starts) == (200, starts + 1)
    assert "500" in stage.story(recovery).failures[0].message


def test_a_report_through_the_client_is_acted_on(stage: Stage, tmp_path: Path) -> None:
    web = stage.patients["web"]
    starts, since = web.starts, utcnow()

    with RecoveryClient(stage.settings.redis, source="a test", spool=tmp_path) as client:
        report_id = client.report("web", ValueError("it broke"), category="service_unavailable", details={"order": 7})
    recovery = stage.closed("web", since)

    assert recovery.outcome is Outcome.RESOLVED
    assert web.starts == starts + 1
    (failure,) = [each for each in stage.story(recovery).failures if each.source != "health"]  # a slow restart is noticed, too
    assert (failure.id, failure.source, failure.message) == (report_id, "a test", "ValueError: it broke")
    assert failure.details["order"] == 7


def test_a_report_and_a_trigger_through_plain_celery_are_acted_on(stage: Stage) -> None:
    web = stage.patients["web"]
    starts, since = web.starts, utcnow()

    failure = {"service": "web", "category": "service_unavailable", "message": "says a stranger"}
    task = stage.celery("call", "recovery.report_failure", "--kwargs", json.dumps(failure)).strip()
    reported = stage.closed("web", since)
    assert reported.outcome is Outcome.RESOLVED
    assert reported.id in stage.celery("result", task)

    since = utcnow()
    task = stage.celery("call", "recovery.trigger", "--kwargs", '{"service": "web", "strategy": "restart", "reason": "by hand"}').strip()
    triggered = stage.closed("web", since)
    assert (triggered.kind, triggered.outcome, triggered.message) == (Kind.MANUAL, Outcome.RESOLVED, "by hand")
    assert triggered.id in stage.celery("result", task)
    assert web.starts == starts + 2


def refusals(stage: Stage) -> list[dict[str, Any]]:
    with stage.store.engine.connect() as connection:
        return [row.detail for row in connection.execute(select(audit).where(audit.c.action == "report_refused").order_by(audit.c.id))]


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({"service": "wbe", "category": "service_unavailable"}, "did you mean 'web'?"),
        ({"service": "web", "command": ["touch", "pwned"]}, "command"),
        ({"service": "web", "category": "bad mood"}, "category"),
        ({"service": "../../etc/passwd"}, "service"),
    ],
)
def test_a_report_that_makes_no_sense_is_audited_and_nothing_is_executed(stage: Stage, payload: dict[str, Any], said: str) -> None:
    starts, since, before = {name: each.starts for name, each in stage.patients.items()}, utcnow(), len(refusals(stage))

    stage.send("recovery.report_failure", **payload)
    refused = eventually(lambda: refusals(stage)[before:])

    assert said in json.dumps(refused)
    stage.send("recovery.trigger", service="shadow")  # whatever the report had started would have come before this
    stage.closed("shadow", since)
    assert [recovery.service for recovery in stage.history.recoveries(since=since)] == ["shadow"]
    assert {name: each.starts for name, each in stage.patients.items()} == starts


def test_whoever_sent_a_report_that_makes_no_sense_can_read_why(stage: Stage) -> None:
    ask = "app.send_task('recovery.report_failure', kwargs={'service': 'wbe'}, ignore_result=False).get(timeout=60)"

    done = stage.run("-c", f"from workers.celery import app; {ask}", code=1)

    assert "did you mean 'web'?" in done.stderr.strip().splitlines()[-1]


def test_equal_reports_become_one_recovery(stage: Stage, tmp_path: Path) -> None:
    anvil = stage.patients["anvil"]
    starts, since = anvil.starts, utcnow()
    anvil.hold("stop")

    with RecoveryClient(stage.settings.redis, spool=tmp_path) as client:
        for number in range(20):
            client.report("anvil", category="service_unavailable", message=f"no. {number}")
    recovery = stage.opened("anvil", since)
    eventually(lambda: len(stage.story(recovery).failures) >= 20)
    anvil.release()
    stage.closed("anvil", since)
    stage.await_healthy("anvil")

    assert len(stage.history.recoveries(service="anvil", since=since)) == 1
    assert anvil.starts == starts + 1


def test_a_cooldown_holds_over_all_processes_and_the_recovery_waits_for_its_end(stage: Stage) -> None:
    calm = stage.patients["calm"]
    starts, since = calm.starts, utcnow()
    calm.kill()
    first = stage.closed("calm", since)
    for child in stage.part("intake").children():
        child.kill()  # whatever it remembered is gone

    again = utcnow()
    calm.kill()
    second = stage.closed("calm", again, within=COOLDOWN + 90)

    before, after = stage.story(first).attempts[0], stage.story(second).attempts[0]
    assert second.outcome is Outcome.RESOLVED
    assert after.created_at is not None
    assert COOLDOWN - 0.1 <= (after.created_at - before.created_at).total_seconds() <= COOLDOWN + 60
    skips = [noted.decision for noted in stage.story(second).decisions if noted.decision.choice is Choice.SKIP]
    assert skips
    assert {(skip.guard, skip.strategy) for skip in skips} == {("cooldown", "restart")}
    assert calm.starts == starts + 2


def test_force_passes_over_a_cooldown(stage: Stage) -> None:
    calm = stage.patients["calm"]
    starts = calm.starts
    for _ in range(2):
        since = utcnow()
        stage.send("recovery.trigger", service="calm", strategy="restart", force=True)
        recovery = stage.closed("calm", since)
        assert recovery.outcome is Outcome.RESOLVED
        assert Choice.SKIP not in {noted.decision.choice for noted in stage.story(recovery).decisions}, "nothing waited for a cooldown"
    assert calm.starts == starts + 2


def test_a_cancelled_recovery_ends_at_its_next_step(stage: Stage) -> None:
    anvil = stage.patients["anvil"]
    starts, since = anvil.starts, utcnow()
    anvil.hold("stop")
    stage.send("recovery.trigger", service="anvil", strategy="restart")
    recovery = stage.opened("anvil", since)
    eventually(lambda: [step.name for step in stage.story(recovery).steps] == ["stop"])

    stage.send("recovery.cancel", recovery_id=recovery.id, reason="changed my mind")
    eventually(lambda: (row := stage.store.recovery(recovery.id)) is not None and row.cancel_requested)
    anvil.release()
    closed = stage.closed("anvil", since)

    assert closed.id == recovery.id
    assert (closed.state, closed.reason) == (RecoveryState.CANCELLED, "changed my mind")
    assert [step.name for step in stage.story(closed).steps] == ["stop", "undo stop", "rollback"], "what had begun was finished and undone"
    assert anvil.starts == starts + 1
    stage.await_healthy("anvil")


def test_a_dry_run_says_what_it_would_do_and_touches_nothing(stage: Stage) -> None:
    shadow, web = stage.patients["shadow"], stage.patients["web"]
    starts, since = (shadow.starts, web.starts), utcnow()

    stage.send("recovery.trigger", service="shadow")
    stage.send("recovery.trigger", service="web", strategy="restart", dry_run=True)

    for name in ("shadow", "web"):
        recovery = stage.closed(name, since)
        assert (recovery.state, recovery.outcome) == (RecoveryState.SUPPRESSED, None)
        assert "would run restart" in recovery.reason
        assert stage.story(recovery).attempts == ()
    assert (shadow.starts, web.starts) == starts


def test_a_service_that_cannot_be_mended_is_degraded_and_restored_when_it_is_well_again(stage: Stage, tmp_path: Path) -> None:
    search, since = stage.patients["search"], utcnow()

    search.ail("500!")
    degraded = stage.closed("search", since)

    assert (degraded.state, degraded.outcome) == (RecoveryState.SUCCEEDED, Outcome.MITIGATED)
    assert [mitigation.service for mitigation in stage.store.mitigations()] == ["search"]
    with RecoveryClient(stage.settings.redis, spool=tmp_path) as client:
        assert client.warm_up()
        assert not client.flags.enabled("search")

        mended = utcnow()
        search.heal()
        restored = stage.closed("search", mended)

        assert (restored.kind, restored.outcome) == (Kind.SCHEDULED, Outcome.RESOLVED)
        assert stage.store.mitigations() == []
        eventually(lambda: client.flags.enabled("search"))
    assert len(stage.history.recoveries(service="search", since=since)) == 2, "one to degrade, one to restore, none in between"


def test_a_remedy_that_does_not_help_is_told_as_it_is(stage: Stage) -> None:
    stubborn, since = stage.patients["stubborn"], utcnow()

    stubborn.ail("500!")
    recovery = stage.closed("stubborn", since)

    assert (recovery.state, recovery.outcome) == (RecoveryState.FAILED, Outcome.INEFFECTIVE)
    decided = stage.story(recovery).decisions[-1].decision
    assert (decided.choice, decided.guard) == (Choice.ESCALATE, "plan_exhausted")
    assert "needs a person: tried restart (ineffective)" in decided.reason
