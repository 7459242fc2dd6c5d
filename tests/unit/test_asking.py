"""Recoveries that ask first: every way in which the question can end."""

import pytest

from recovery.models import Answer, Autonomy, Choice, Kind, Outcome, RecoveryState, SilenceKind, Status
from recovery.ports import Done, Execute, Wait
from tests.world import World


def asking(**service: object) -> tuple[World, str]:
    """Return a world whose recovery of `web` waits for an answer."""
    world = World("restart", platform={"autonomy": "approve"}, **service)
    recovery_id = world.report()
    world.advance(recovery_id)
    return world, recovery_id


def answer(world: World, recovery_id: str, given: Answer, by: str = "ann", comment: str = "") -> Answer | None:
    stands = world.store.answer(recovery_id, given, by, comment, world.now)
    assert stands
    return stands.answer


def test_a_question_is_asked_once_and_says_what_would_run() -> None:
    world, recovery_id = asking()
    recovery, question = world.recovery(recovery_id), world.store.approval(recovery_id)
    for _ in range(30):
        world.later(1)
        world.reaper.tick()

    assert question
    assert (recovery.state, recovery.held_by) == (RecoveryState.AWAITING_APPROVAL, "approval")
    assert (question.until - question.asked_at).total_seconds() == 900
    assert world.store.approval(recovery_id) == question
    (told,) = world.told("recovery:approval_requested")
    assert (told.data["strategy"], told.data["plan"]) == ("restart", "restart")
    assert world.guards(recovery_id) == ["approval"]
    assert world.ledger == []


def test_a_yes_lets_it_act_at_once() -> None:
    world, recovery_id = asking()
    world.later(5)
    answer(world, recovery_id, Answer.APPROVED)

    (directive,) = world.reaper.tick()
    world.execute(directive)
    ended = world.run(recovery_id)

    assert ended == Done(recovery_id, Outcome.RESOLVED)
    assert world.guards(recovery_id) == ["approval", "all_clear"]


def test_a_yes_is_good_for_the_whole_plan() -> None:
    world = World("restart", "reload", platform={"autonomy": "approve"})
    world.healthy = False
    recovery_id = world.report()
    world.advance(recovery_id)
    answer(world, recovery_id, Answer.APPROVED)

    world.run(recovery_id)

    assert [attempt.strategy for attempt in world.store.attempts(recovery_id)] == ["restart", "reload"]
    assert len(world.told("recovery:approval_requested")) == 1


def test_a_no_cancels_it_with_who_and_why() -> None:
    world, recovery_id = asking()
    world.later(5)
    answer(world, recovery_id, Answer.REJECTED, "ann", "we are looking at it")
    world.reaper.tick()

    recovery = world.recovery(recovery_id)
    assert (recovery.state, recovery.reason) == (RecoveryState.CANCELLED, "rejected by ann: we are looking at it")
    assert world.ledger == []
    world.later(60)
    assert world.report() == recovery_id, "who said no is not asked again a minute later"


def test_a_no_counts_although_nobody_would_be_asked_any_more() -> None:
    world, recovery_id = asking()
    answer(world, recovery_id, Answer.REJECTED)
    world.change(autonomy=Autonomy.AUTO)
    world.reaper.tick()

    assert world.recovery(recovery_id).state is RecoveryState.CANCELLED
    assert world.ledger == []


def test_after_a_late_no_the_same_failure_does_not_ask_again_at_once() -> None:
    world, recovery_id = asking()
    world.later(899)
    answer(world, recovery_id, Answer.REJECTED)
    world.later(5)  # the platform was away, and the question would have lapsed by now
    world.reaper.tick()

    assert world.recovery(recovery_id).state is RecoveryState.CANCELLED
    assert world.report() == recovery_id


def test_a_question_that_nobody_answers_lapses_and_calls_for_a_person() -> None:
    world, recovery_id = asking()

    world.later(899)
    world.reaper.tick()
    assert world.recovery(recovery_id).state is RecoveryState.AWAITING_APPROVAL
    world.later(1)
    world.reaper.tick()

    assert world.recovery(recovery_id).state is RecoveryState.SUPPRESSED
    last = world.store.decisions[-1]
    assert (last.choice, last.guard) == (Choice.ESCALATE, "approval")
    assert world.ledger == []


def test_an_answer_that_comes_while_the_question_lapses_counts() -> None:
    world, recovery_id = asking()
    transition = world.store.transition

    def answered_just_before(*args: object, **kwargs: object) -> object:
        world.store.transition = transition  # type: ignore[method-assign]
        asked = world.store.approval(recovery_id)
        assert asked
        world.store.answer(recovery_id, Answer.APPROVED, "ann", "", asked.asked_at)
        return transition(*args, **kwargs)  # type: ignore[arg-type]

    world.store.transition = answered_just_before  # type: ignore[method-assign, assignment]
    world.later(900)
    world.reaper.tick()

    assert [type(found) for found in world.reaper.tick()] == [Execute]


def test_the_first_of_two_answers_counts() -> None:
    world, recovery_id = asking()

    assert answer(world, recovery_id, Answer.APPROVED, "ann") is Answer.APPROVED
    assert answer(world, recovery_id, Answer.REJECTED, "bob") is Answer.APPROVED
    world.later(1)

    assert [type(found) for found in world.reaper.tick()] == [Execute]


def test_a_question_that_became_pointless_is_withdrawn() -> None:
    world, recovery_id = asking()

    world.later(10)
    world.see("web", Status.HEALTHY, since=5)
    world.reaper.tick()

    assert world.recovery(recovery_id).state is RecoveryState.SUPPRESSED
    assert world.guards(recovery_id) == ["approval", "healthy_again"]


def test_a_yes_for_a_service_that_is_well_again_does_nothing() -> None:
    world, recovery_id = asking()
    world.later(5)
    world.see("web", Status.HEALTHY, since=2)
    answer(world, recovery_id, Answer.APPROVED)
    world.reaper.tick()

    assert world.guards(recovery_id) == ["approval", "healthy_again"]
    assert world.ledger == []


def test_a_yes_does_not_overrule_a_silence_but_outlasts_it() -> None:
    world, recovery_id = asking()
    world.later(5)
    world.silence(SilenceKind.SILENCE, 2_000)
    answer(world, recovery_id, Answer.APPROVED)
    held = world.reaper.tick()

    world.later(2_000)
    released = world.reaper.tick()

    assert [type(found) for found in (*held, *released)] == [Wait, Execute]
    assert len(world.told("recovery:approval_requested")) == 1


def test_only_the_named_remedy_of_a_service_asks() -> None:
    world = World("restart", "backup_fallback", approve=("backup_fallback",))
    world.healthy = False
    recovery_id = world.report()

    world.run(recovery_id)

    recovery = world.recovery(recovery_id)
    assert recovery.state is RecoveryState.AWAITING_APPROVAL
    assert world.ledger == ["restart.one", "restart.two"]
    assert world.told("recovery:approval_requested")[0].data["strategy"] == "backup_fallback"
    answer(world, recovery_id, Answer.APPROVED)
    world.run(recovery_id)
    assert world.ledger[2:] == ["backup_fallback.one", "backup_fallback.two"]


def test_nobody_is_asked_about_what_would_not_run_now() -> None:
    world = World("restart", platform={"autonomy": "approve"}, cooldown={"restart": 600})
    world.run(world.desk.trigger("web", "restart").recovery.id)
    world.later(1)
    recovery_id = world.report()

    world.advance(recovery_id)

    assert world.guards(recovery_id) == ["cooldown"]
    assert world.store.approval(recovery_id) is None


def test_what_a_person_asked_for_asks_nobody() -> None:
    world = World("restart", platform={"autonomy": "approve"})
    accepted = world.desk.trigger("web", "restart")

    assert accepted.recovery.kind is Kind.MANUAL
    assert isinstance(world.run(accepted.recovery.id), Done)
    assert world.ledger == ["restart.one", "restart.two"]


def test_a_cancelled_question_is_closed() -> None:
    world, recovery_id = asking()
    world.desk.cancel(recovery_id, "never mind")

    world.run(recovery_id)

    assert world.recovery(recovery_id).state is RecoveryState.CANCELLED
    assert world.store.answer(recovery_id, Answer.APPROVED, "ann", "", world.now) is None


@pytest.mark.parametrize(("level", "event"), [("observe", 0), ("suggest", 1)])
def test_the_lower_rungs_record_and_touch_nothing(level: str, event: int) -> None:
    world = World("restart", autonomy=level)
    recovery_id = world.report()

    world.run(recovery_id)

    assert world.recovery(recovery_id).state is RecoveryState.SUPPRESSED
    assert "restart" in world.recovery(recovery_id).reason
    assert len(world.told("recovery:suggested")) == event
    assert world.ledger == []
