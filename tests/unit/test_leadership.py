"""A candidate leads only while that is certain: not after a freeze, not after its clock was set, not for long without the database."""

import logging
from datetime import timedelta

import pytest

from recovery.errors import StoreUnavailable
from recovery.ports import Leadership
from recovery.store.memory import MemoryStore
from tests.rows import at
from tests.support import eventually
from workers.leadership import LEASE, MARGIN, Candidate


class Hands:
    """Two clocks that a test moves; a wall clock alone is one that somebody set."""

    def __init__(self) -> None:
        self.wall, self.monotonic = at(0), 1000.0

    def pass_by(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.monotonic += seconds


@pytest.fixture
def hands() -> Hands:
    return Hands()


def stand(store: Leadership, holder: str, hands: Hands) -> Candidate:
    return Candidate(store, "beat", holder, lambda: hands.wall, lambda: hands.monotonic)


class Away:
    """A database that does not answer."""

    def lead(self, name: str, holder: str, now: object, until: object) -> int | None:
        raise StoreUnavailable("the database did not answer")

    def resign(self, name: str, holder: str) -> None:
        raise StoreUnavailable("the database did not answer")


def test_nobody_leads_before_the_database_said_so(hands: Hands) -> None:
    assert not stand(MemoryStore(), "one", hands).leads()


def test_a_leader_that_renews_leads_on(hands: Hands) -> None:
    store = MemoryStore()
    one, two = stand(store, "one", hands), stand(store, "two", hands)

    for _ in range(10):
        one.ask()
        two.ask()
        hands.pass_by(LEASE / 2)

    assert one.leads()
    assert not two.leads()


def test_a_leader_that_was_frozen_leads_no_more_until_it_asked_again(hands: Hands) -> None:
    store = MemoryStore()
    one, two = stand(store, "one", hands), stand(store, "two", hands)
    one.ask()

    hands.pass_by(LEASE)
    two.ask()

    assert not one.leads(), "it knows without asking"
    assert two.leads()
    one.ask()
    assert not one.leads()


def test_a_leader_stops_before_another_could_begin(hands: Hands) -> None:
    one = stand(MemoryStore(), "one", hands)
    one.ask()

    hands.pass_by(LEASE - MARGIN)

    assert not one.leads()


@pytest.mark.parametrize("step", [-3600.0, -2.0, 2.0, 3600.0])
def test_a_leader_whose_clock_was_set_asks_before_it_goes_on(hands: Hands, step: float) -> None:
    one = stand(MemoryStore(), "one", hands)
    one.ask()

    hands.wall += timedelta(seconds=step)

    assert not one.leads()
    one.ask()
    assert one.leads()


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_after_a_clock_step_never_two_lead(hands: Hands, step: float) -> None:
    store = MemoryStore()
    one, two = stand(store, "one", hands), stand(store, "two", hands)
    one.ask()

    hands.wall += timedelta(seconds=step)
    two.ask()
    one.ask()

    assert [one.leads(), two.leads()].count(True) == 1


def test_without_the_database_a_leader_goes_on_until_its_lease_ends(hands: Hands, caplog: pytest.LogCaptureFixture) -> None:
    one = stand(MemoryStore(), "one", hands)
    one.ask()
    one._store = Away()

    hands.pass_by(LEASE / 2)
    one.ask()
    assert one.leads()
    assert "waits" not in caplog.text

    hands.pass_by(LEASE / 2)
    one.ask()
    one.ask()
    assert not one.leads()
    assert caplog.text.count("nobody can say which beat leads, so this one waits: the database did not answer") == 1


def test_a_takeover_is_one_line_and_renewals_are_none(hands: Hands, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    store = MemoryStore()
    one, two = stand(store, "one", hands), stand(store, "two", hands)

    one.ask()
    one.ask()
    two.ask()
    two.ask()
    hands.pass_by(LEASE)
    two.ask()

    assert [record.message for record in caplog.records] == [
        "this beat leads now (fence 1)",
        "another beat leads, this one stands by",
        "this beat leads now (fence 2)",
    ]


def test_who_resigned_leads_no_more_and_the_next_one_does(hands: Hands) -> None:
    store = MemoryStore()
    one, two = stand(store, "one", hands), stand(store, "two", hands)
    one.start()
    assert one.leads()

    one.resign()

    assert not one.leads()
    two.ask()
    assert two.leads()


def test_a_candidate_asks_again_by_itself(hands: Hands) -> None:
    store = MemoryStore()
    one, two = stand(store, "one", hands), stand(store, "two", hands)
    one.ask()
    two.start()
    assert not two.leads()

    hands.pass_by(LEASE)

    eventually(two.leads, within=20)
    two.resign()


def test_a_leader_whose_job_hangs_renews_no_more_until_it_looks_again(hands: Hands) -> None:
    store = MemoryStore()
    one, two = stand(store, "one", hands), stand(store, "two", hands)
    one.start()
    assert one.leads()

    hands.pass_by(LEASE)
    assert one.hangs()

    def taken_over() -> bool:
        two.ask()
        return two.leads()

    eventually(taken_over)

    assert not one.leads()
    assert not one.hangs()
    one.resign()
