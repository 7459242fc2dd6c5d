"""The judge of `make torture`: what a ledger and a database tell must be seen, and what they do not tell must not."""

from dataclasses import replace
from pathlib import Path

import pytest

from recovery.models import RecoveryState
from tests.torture.hand import Hit
from tests.torture.judge import Evidence, Grant, Report, judge
from tests.torture.ledger import Entry, Phase
from tests.torture.patient import STEPS, Patient
from tests.torture.plan import Target, plan
from tests.torture.points import BOUNDARIES, Action, Orders
from tests.torture.report import Resume, resumes
from tests.torture.witness import Write

EFFECT = Entry(10.0, "skin", Phase.EFFECT, "r1", 1, "swap", fence=1, asked=9.9)
JOURNAL = frozenset({("r1", 1, "swap")})
ROW = Write(10.0, "steps", "r1", "skin", 1, "swap", "finished", fence=2, newest=2, holder="vm:1:a")


def kinds(evidence: Evidence) -> list[str]:
    return [violation.kind for violation in judge(evidence)]


def test_a_clean_ledger_is_clean() -> None:
    evidence = Evidence(
        reports=[Report("f1", "skin", "r1", RecoveryState.SUCCEEDED)],
        entries=[EFFECT],
        grants=[Grant(9.0, "skin", 1), Grant(12.0, "skin", 2)],
        writes=[ROW],
        journal=JOURNAL,
    )

    assert judge(evidence) == []


def test_a_side_effect_that_happened_twice_is_seen() -> None:
    again = replace(EFFECT, at=13.0, fence=2, asked=12.9)

    (violation,) = judge(Evidence(entries=[EFFECT, again], grants=[Grant(12.0, "skin", 2)], journal=JOURNAL))

    assert violation.kind == "twice"
    assert violation.sentence == (
        "step swap of attempt 1 of recovery r1 took effect on skin twice without reconcile: by fence 1, and 3.0 s later by fence 2"
    )


def test_a_reconcile_in_between_does_not_excuse_the_second_time() -> None:
    asked = replace(EFFECT, at=12.5, phase=Phase.RECONCILED, fence=2, found=True)
    again = replace(EFFECT, at=13.0, fence=2, asked=12.9)

    (violation,) = judge(Evidence(entries=[EFFECT, asked, again], journal=JOURNAL))

    assert "although reconcile was asked" in violation.sentence


def test_the_same_step_of_another_attempt_is_no_second_time() -> None:
    retry = replace(EFFECT, at=13.0, attempt=2)

    assert kinds(Evidence(entries=[EFFECT, retry], journal=JOURNAL | {("r1", 2, "swap")})) == []


def test_an_effect_whose_guard_was_asked_after_a_newer_fence_was_granted_is_stale() -> None:
    late = replace(EFFECT, at=13.0, asked=12.9)

    assert kinds(Evidence(entries=[late], grants=[Grant(12.0, "skin", 2)], journal=JOURNAL)) == ["stale"]
    assert kinds(Evidence(entries=[late], grants=[Grant(12.0, "heart", 2)], journal=JOURNAL)) == []


def test_an_old_fence_that_only_the_patient_refused_is_stale_all_the_same() -> None:
    refused = replace(EFFECT, phase=Phase.REFUSED, at=13.0, asked=12.9)

    (violation,) = judge(Evidence(entries=[refused], grants=[Grant(12.0, "skin", 2)]))

    assert "refused only by skin" in violation.sentence


def test_a_process_frozen_between_guard_and_effect_is_no_fault_of_the_platform() -> None:
    successor = replace(EFFECT, at=13.0, fence=2, asked=12.9)
    woken = replace(EFFECT, at=14.0, fence=1, asked=9.9)
    woken_first = replace(woken, at=12.5)

    assert kinds(Evidence(entries=[successor, woken], grants=[Grant(12.0, "skin", 2)], journal=JOURNAL)) == []
    assert kinds(Evidence(entries=[woken_first, successor], grants=[Grant(12.0, "skin", 2)], journal=JOURNAL)) == []


def test_a_successor_that_asked_after_the_late_effect_must_not_repeat_it() -> None:
    woken = replace(EFFECT, at=12.5, asked=9.9)
    asked = replace(EFFECT, at=12.7, phase=Phase.RECONCILED, fence=2)
    successor = replace(EFFECT, at=13.0, fence=2, asked=12.9)

    assert kinds(Evidence(entries=[woken, asked, successor], grants=[Grant(12.0, "skin", 2)], journal=JOURNAL)) == ["twice"]


@pytest.mark.parametrize(
    ("row", "stale"),
    [
        (ROW, False),
        (replace(ROW, fence=1), True),
        (replace(ROW, holder=None), True),
        (replace(ROW, what="attempts", fence=1), True),
        (replace(ROW, what="attempts", fence=1, state="queued"), False),
        (replace(ROW, what="attempts", fence=1, holder="coordinator"), False),
        (replace(ROW, what="recoveries", fence=0), False),
    ],
)
def test_a_row_with_an_older_fence_than_the_newest_is_stale(row: Write, stale: bool) -> None:
    assert kinds(Evidence(writes=[row])) == ["stale"] * stale


def test_a_side_effect_without_a_journal_row_is_seen() -> None:
    assert kinds(Evidence(entries=[EFFECT])) == ["unjournaled"]


@pytest.mark.parametrize(
    "report",
    [
        Report("f1", "skin", None, None),
        Report("f1", "skin", "r1", None),
        Report("f1", "skin", "r1", RecoveryState.IN_PROGRESS),
        Report("f1", "skin", "r1", RecoveryState.PENDING),
    ],
)
def test_a_report_without_a_closed_recovery_is_lost(report: Report) -> None:
    assert kinds(Evidence(reports=[report])) == ["lost"]


def test_a_message_before_its_commit_and_a_recovery_that_nobody_moves_are_seen() -> None:
    early = {"attempt": 1, "recovery": "r1", "known": 0}

    assert kinds(Evidence(early=[early], open=["recovery r1 of skin is pending since 90 s: accepted"])) == ["early", "stuck"]


def test_the_resume_time_is_from_the_kill_until_a_newer_fence_moves_the_recovery() -> None:
    hit = Hit(1, 10.0, "at a boundary", Action.KILL, held=(("r1", 2),), alone=True)
    begun = replace(ROW, what="attempts", state="running", at=9.5)
    own, other = replace(ROW, at=10.5), replace(ROW, at=12.0, recovery="r2", fence=9)
    successor = replace(begun, at=12.5, fence=3)

    assert resumes([hit], [begun, own, other, successor]) == [Resume(1, 2.5, at_work=True, alone=True)]
    assert resumes([hit], [own, other, successor]) == [Resume(1, 2.5, at_work=False, alone=True)]
    assert resumes([hit], [begun, own, other]) == [], "there was nothing left to do"
    assert resumes([replace(hit, action=Action.FREEZE)], [begun, own, other, successor]) == []


def test_a_resume_is_not_counted_as_alone_while_another_part_was_struck() -> None:
    hit = Hit(1, 100.0, "at a boundary", Action.KILL, held=(("r1", 2),), alone=True)
    successor = replace(ROW, what="attempts", state="running", at=102.5, fence=3)
    beat = Hit(2, 0.0, "beat", Action.KILL)

    alone = {at: resumes([hit, replace(beat, at=at)], [successor])[0].alone for at in (80.0, 90.0, 101.0, 103.0)}

    assert alone == {80.0: True, 90.0: False, 101.0: False, 103.0: True}


# --- the parts that produce the evidence ---


def deed(step: str, fence: int) -> Entry:
    return Entry(0.0, "heart", Phase.BEGUN, "r1", 1, step, fence)


def test_a_patient_is_well_once_every_step_took_effect_after_it_fell_ill(tmp_path: Path) -> None:
    patient = Patient(tmp_path / "heart.jsonl")
    for step in STEPS:
        patient.act(deed(step, 1))
    assert patient.well()

    patient.sicken()
    for step in STEPS:
        assert not patient.well()
        patient.act(deed(step, 2))

    assert patient.well()


def test_a_patient_that_knows_fences_refuses_older_ones_and_another_one_does_not(tmp_path: Path) -> None:
    knows, does_not = Patient(tmp_path / "heart.jsonl", fenced=True), Patient(tmp_path / "skin.jsonl")

    for patient in (knows, does_not):
        assert patient.act(deed("drain", 5))
        assert patient.act(deed("drain", 4)) is not patient.fenced


def test_a_patient_that_knows_fences_learns_a_new_one_when_it_is_asked(tmp_path: Path) -> None:
    knows = Patient(tmp_path / "heart.jsonl", fenced=True)
    knows.act(deed("drain", 5))

    assert knows.reconcile(deed("drain", 6))
    assert not knows.reconcile(deed("swap", 6))
    assert not knows.act(deed("swap", 5)), "the predecessor was frozen in the meantime"
    assert knows.act(deed("swap", 6))


def test_only_one_process_takes_an_order(tmp_path: Path) -> None:
    orders, boundary = Orders(tmp_path), BOUNDARIES[0]
    orders.prepare()
    orders.arm(boundary, 7, Action.FREEZE)

    assert orders.take(BOUNDARIES[1]) is None
    assert orders.take(boundary) == (7, Action.FREEZE)
    assert orders.take(boundary) is None
    assert not orders.disarm(boundary)


def test_the_same_seed_gives_the_same_plan_and_a_whole_round_strikes_every_boundary_twice() -> None:
    strikes = list(plan(3, 200))
    struck = {(strike.boundary, strike.action is Action.FREEZE) for strike in strikes}

    assert strikes == list(plan(3, 200))
    assert strikes != list(plan(4, 200))
    assert [strike.number for strike in strikes] == list(range(1, 201))
    assert all((boundary, freeze) in struck for boundary in BOUNDARIES for freeze in (True, False))
    assert {strike.target for strike in strikes} == set(Target)
    assert [strike.alone for strike in strikes] == sorted((strike.alone for strike in strikes), reverse=True)


@pytest.mark.parametrize("kills", [1, 4, 12, 60, 199, 201, 450])
def test_a_plan_has_as_many_strikes_as_were_asked_for(kills: int) -> None:
    assert len(list(plan(1, kills))) == kills
