"""Answers to the question whether a recovery may act: who may give one, which one counts, and what everybody else is told."""

from datetime import timedelta

import pytest

from recovery.engine.consent import Consent
from recovery.errors import ApprovalRefused, RecoveryNotFound
from recovery.models import Answer, Category, Kind, Outcome, RecoveryState
from recovery.ports import Done, Wait
from tests.world import World


def asking(**platform: object) -> tuple[World, Consent, str]:
    """A world in which a recovery of `web` asks for a yes."""
    world = World("restart", "degrade", platform={"approval_timeout": 60, **platform}, autonomy="approve")
    recovery_id = world.report()
    assert isinstance(world.advance(recovery_id), Wait)
    return world, Consent(world.store, lambda: world.fleet, world.clock), recovery_id


def audited(world: World) -> list[tuple[str, str]]:
    return [(row.action, row.actor) for row in world.store.audits]


def test_what_waits_is_listed_with_what_it_would_run_and_when_it_lapses() -> None:
    world, consent, recovery_id = asking()

    (question,) = consent.questions()

    assert (question.recovery.id, question.recovery.state) == (recovery_id, RecoveryState.AWAITING_APPROVAL)
    assert question.strategies == ("restart", "degrade")
    assert question.approval.until == world.now + timedelta(seconds=60)


def test_a_yes_lets_the_recovery_act_and_is_written_down() -> None:
    world, consent, recovery_id = asking()

    given = consent.answer(recovery_id[:8], Answer.APPROVED, "ada", "go  on\n")

    assert (given.answer, given.answered_by, given.comment) == (Answer.APPROVED, "ada", "go on")
    assert world.run(recovery_id) == Done(recovery_id, Outcome.RESOLVED)
    assert world.ledger == ["restart.one", "restart.two"]
    assert ("approved", "ada") in audited(world)
    assert consent.questions() == []


def test_a_no_closes_the_recovery_untouched() -> None:
    world, consent, recovery_id = asking()

    consent.answer(recovery_id, Answer.REJECTED, "ada", "not now")

    assert isinstance(world.run(recovery_id), Done)
    closed = world.store.recovery(recovery_id)
    assert closed is not None
    assert (closed.state, closed.reason) == (RecoveryState.CANCELLED, "rejected by ada: not now")
    assert world.ledger == []


def test_the_second_answer_is_told_who_was_first() -> None:
    world, consent, recovery_id = asking()
    consent.answer(recovery_id, Answer.APPROVED, "ada", "mine")
    world.later(1)

    for by, answer in (("bob", Answer.REJECTED), ("ada", Answer.APPROVED)):
        with pytest.raises(ApprovalRefused, match=r"was approved by ada at 12:00:00 UTC \(mine\); the first answer counts"):
            consent.answer(recovery_id, answer, by)


def test_an_answer_after_the_question_lapsed_does_not_count() -> None:
    world, consent, recovery_id = asking()
    world.later(61)

    with pytest.raises(ApprovalRefused, match="lapsed at 12:01:00 UTC"):
        consent.answer(recovery_id, Answer.APPROVED, "ada")
    assert consent.questions() == []
    world.run(recovery_id)
    assert world.ledger == []


def test_a_recovery_that_never_asked_and_one_that_is_closed_say_so() -> None:
    world = World("restart")
    consent = Consent(world.store, lambda: world.fleet, world.clock)
    recovery_id = world.report()

    with pytest.raises(ApprovalRefused, match="asks nobody: it is pending"):
        consent.answer(recovery_id, Answer.APPROVED, "ada")
    world.run(recovery_id)
    with pytest.raises(ApprovalRefused, match="asks nobody: it ended as succeeded"):
        consent.answer(recovery_id, Answer.APPROVED, "ada")
    with pytest.raises(RecoveryNotFound):
        consent.answer("no-such-id", Answer.APPROVED, "ada")


def test_a_cancelled_question_is_closed() -> None:
    world, consent, recovery_id = asking()
    world.desk.cancel(recovery_id, "enough")
    world.run(recovery_id)

    with pytest.raises(ApprovalRefused, match=r"is closed \(cancelled\)"):
        consent.answer(recovery_id, Answer.APPROVED, "ada")


def test_only_declared_approvers_may_answer_and_others_leave_a_trace() -> None:
    world, consent, recovery_id = asking(approvers=["ada", "grace"])

    with pytest.raises(ApprovalRefused, match=r"'bob' may not answer: the approvers declared in recovery\.toml are ada, grace"):
        consent.answer(recovery_id, Answer.APPROVED, "bob")
    with pytest.raises(ApprovalRefused, match="needs the name"):
        consent.answer(recovery_id, Answer.APPROVED, "  ")
    assert ("answer_refused", "bob") in audited(world)
    assert consent.answer(recovery_id, Answer.APPROVED, "grace").answered_by == "grace"


def test_what_a_person_asked_for_needs_no_yes() -> None:
    world = World("restart", autonomy="approve")

    accepted = world.desk.trigger("web", "restart", kind=Kind.EMERGENCY, force=True)

    assert world.run(accepted.recovery.id) == Done(accepted.recovery.id, Outcome.RESOLVED)
    assert accepted.recovery.category is Category.SERVICE_UNAVAILABLE
