"""What people say about acting, what it rested on, and the platform's own signs of life."""

from dataclasses import replace
from typing import Any

import pytest

from recovery.models import Answer, Approval, Basis, Choice, Pulse, Recovery, RecoveryState, Silence, SilenceKind
from recovery.ports import Store
from tests.contract.store.test_ledger import event_names
from tests.rows import at, decision, event, recovery


def silence(silence_id: str = "silence-1", **fields: Any) -> Silence:
    values: dict[str, Any] = {"kind": SilenceKind.SILENCE, "since": at(0), "until": at(100), "created_at": at(0)}
    return Silence(silence_id, author="ops", reason="migration", **values | fields)


def held(store: Store, service: str, guard: str, due: float = 500, **fields: Any) -> Recovery:
    row = recovery(service, held_by=guard, due_at=at(due), **fields)
    store.open_recovery(row, None, [], [])
    return row


def test_a_silence_is_read_back_field_by_field(store: Store) -> None:
    full = silence(services=("shop", "cart"), labels={"team": "web"})

    store.put_silence(full, [event("silence:began")])

    assert store.silences(at(1)) == [full]
    assert event_names(store) == ["silence:began"]


def test_silences_in_force_and_to_come_are_listed_oldest_first(store: Store) -> None:
    now, soon, endless = silence("b" * 8, created_at=at(2)), silence("c" * 8, since=at(90)), silence("a" * 8, until=None, created_at=at(3))
    for one in (now, soon, endless, silence("over", until=at(10)), silence("gone", lifted_at=at(5), lifted_by="ops")):
        store.put_silence(one)

    assert store.silences(at(10)) == [soon, now, endless]
    assert store.silences(at(100)) == [endless]


def test_a_silence_put_again_is_replaced(store: Store) -> None:
    store.put_silence(silence())
    store.put_silence(silence(until=at(300)))

    assert store.silences(at(200)) == [silence(until=at(300))]


def test_lifting_a_silence_wakes_what_it_held_and_nothing_else(store: Store) -> None:
    store.put_silence(silence())
    waiting = held(store, "shop", "silence")
    elsewhere = held(store, "cart", "maintenance")

    lifted = store.lift_silence("silence-1", "alice", at(7), [event("silence:ended")])

    assert lifted == silence(lifted_at=at(7), lifted_by="alice")
    assert store.silences(at(8)) == []
    assert store.due(at(7), 10) == [waiting.id]
    assert store.recovery(elsewhere.id) == elsewhere
    assert event_names(store) == ["silence:ended"]


@pytest.mark.parametrize("name", ["silence", "silence-1"])
def test_a_silence_is_lifted_by_its_id_or_the_beginning_of_it(store: Store, name: str) -> None:
    store.put_silence(silence())

    assert store.lift_silence(name, "ops", at(1)) is not None


@pytest.mark.parametrize("name", ["silen", "silence-", "silence-3"])
def test_a_beginning_that_is_short_ambiguous_or_unknown_lifts_nothing(store: Store, name: str) -> None:
    store.put_silence(silence())
    store.put_silence(silence("silence-2"))

    assert store.lift_silence(name, "ops", at(1)) is None
    assert len(store.silences(at(1))) == 2


def test_a_silence_that_is_over_cannot_be_lifted(store: Store) -> None:
    store.put_silence(silence())

    assert store.lift_silence("silence-1", "ops", at(100)) is None
    store.lift_silence("silence-1", "ops", at(99))
    assert store.lift_silence("silence-1", "ops", at(99)) is None


def ask(store: Store, until: float = 60) -> Recovery:
    opened = recovery(due_at=at(60))
    store.open_recovery(opened, None, [], [])
    asking = replace(opened, state=RecoveryState.AWAITING_APPROVAL, due_at=at(until))
    asked = store.transition(opened, asking, approval=Approval(opened.id, at(0), at(until)))
    assert asked is not None
    return asked


def test_the_first_answer_wins_and_wakes_the_recovery(store: Store) -> None:
    asked = ask(store)
    assert store.approval(asked.id) == Approval(asked.id, at(0), at(60))

    first = store.answer(asked.id, Answer.APPROVED, "alice", "go on", at(5))
    second = store.answer(asked.id, Answer.REJECTED, "bob", "no", at(6))

    assert first == Approval(asked.id, at(0), at(60), Answer.APPROVED, "alice", at(5), "go on")
    assert second == first == store.approval(asked.id)
    assert store.due(at(5), 10) == [asked.id]


def test_a_question_that_lapsed_is_not_answered(store: Store) -> None:
    asked = ask(store)

    assert store.answer(asked.id, Answer.APPROVED, "late", "", at(60)) == Approval(asked.id, at(0), at(60))
    assert store.approval(asked.id) == Approval(asked.id, at(0), at(60))


def test_nobody_answers_what_was_not_asked_or_is_closed(store: Store) -> None:
    asked = ask(store)
    store.transition(asked, replace(asked, state=RecoveryState.CANCELLED, due_at=None))
    silent = recovery("cart")
    store.open_recovery(silent, None, [], [])

    for recovery_id in (asked.id, silent.id, "unknown"):
        assert store.answer(recovery_id, Answer.APPROVED, "alice", "", at(1)) is None
    assert store.approval(silent.id) is None


def test_a_question_asked_again_replaces_the_answer(store: Store) -> None:
    asked = ask(store)
    store.answer(asked.id, Answer.REJECTED, "alice", "", at(1))
    current = store.recovery(asked.id)
    assert current is not None

    store.transition(current, current, approval=Approval(asked.id, at(2), at(99)))

    assert store.approval(asked.id) == Approval(asked.id, at(2), at(99))


def basis(of: Recovery, moment: float) -> Basis:
    return Basis(of.id, of.service, at(moment), "v1", {"budget": 3}, ({"choice": "delay", "guard": "budget"}, {"choice": "act"}))


def test_a_basis_is_kept_when_a_decision_is_new_and_not_when_all_repeat(store: Store) -> None:
    current: Recovery | None = recovery()
    assert current is not None
    store.open_recovery(current, None, [], [])
    for moment, reason in enumerate(["wait 3 s", "wait 2 s", "the lock is held", "the lock is held"]):
        made = decision(reason=reason, recovery_id=current.id)
        current = store.transition(current, current, decisions=[made], basis=basis(current, moment))
        assert current is not None

    assert store.bases(at(0), 10) == [basis(current, 0), basis(current, 2)]
    assert store.bases(at(0), 1) == [basis(current, 0)]
    assert store.bases(at(1), 10) == [basis(current, 2)]


def test_a_basis_without_decisions_is_kept(store: Store) -> None:
    opened = recovery()
    store.open_recovery(opened, None, [], [])

    store.transition(opened, opened, basis=basis(opened, 1))

    assert store.bases(at(0), 10) == [basis(opened, 1)]


def test_a_basis_goes_with_a_transition_that_lost(store: Store) -> None:
    opened = recovery()
    store.open_recovery(opened, None, [], [])
    store.transition(opened, opened)

    acted = decision(choice=Choice.ACT, guard="all_clear", recovery_id=opened.id)
    assert store.transition(opened, opened, decisions=[acted], basis=basis(opened, 1)) is None
    assert store.bases(at(0), 10) == []


def test_pulses_go_forward_and_far_back_but_not_a_little_back(store: Store) -> None:
    store.pulse("tick", at(100), {"lag": 0.1})
    store.pulse("worker", at(50), {})
    store.pulse("tick", at(99), {"late": True})
    assert store.pulses() == {"tick": Pulse("tick", at(100), {"lag": 0.1}), "worker": Pulse("worker", at(50))}

    store.pulse("tick", at(100), {"same": True})
    store.pulse("worker", at(51), {})
    assert store.pulses() == {"tick": Pulse("tick", at(100), {"same": True}), "worker": Pulse("worker", at(51))}

    store.pulse("tick", at(40), {"clock": "set back"})
    assert store.pulses()["tick"] == Pulse("tick", at(40), {"clock": "set back"})


def test_parts_that_were_not_heard_of_for_long_are_forgotten(store: Store) -> None:
    for second in range(4):
        store.pulse(f"part-{second}", at(second), {})

    assert store.forget_pulses(at(2)) == 2
    assert sorted(store.pulses()) == ["part-2", "part-3"]


def test_every_claim_that_was_not_given_up_is_listed(store: Store) -> None:
    expired = store.acquire_lease("shop", "r-1", "w", at(0), at(1))
    alive = store.acquire_lease("cart", "r-2", "w", at(0), at(1000))
    given_up = store.acquire_lease("search", "r-3", "w", at(0), at(1000))
    assert given_up is not None
    store.release_lease(given_up)

    assert store.leases() == [alive, expired]
