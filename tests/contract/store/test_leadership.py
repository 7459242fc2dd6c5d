"""Jobs of the whole platform: one holder at a time, and a fence that rises with each change."""

from concurrent.futures import ThreadPoolExecutor

from recovery.ports import Store
from tests.rows import at


def test_the_first_who_asks_leads(store: Store) -> None:
    assert store.lead("beat", "one", at(0), at(10)) == 1


def test_while_one_leads_nobody_else_does(store: Store) -> None:
    store.lead("beat", "one", at(0), at(10))

    assert store.lead("beat", "two", at(9.999999), at(19)) is None
    assert store.lead("digest", "two", at(5), at(15)) == 1, "another job is another matter"


def test_a_leader_goes_on_under_the_same_fence(store: Store) -> None:
    store.lead("beat", "one", at(0), at(10))

    assert store.lead("beat", "one", at(3), at(13)) == 1
    assert store.lead("beat", "two", at(12), at(22)) is None


def test_a_leader_that_fell_silent_is_followed_by_another_with_a_higher_fence(store: Store) -> None:
    store.lead("beat", "one", at(0), at(10))

    assert store.lead("beat", "two", at(10), at(20)) == 2
    assert store.lead("beat", "one", at(11), at(21)) is None, "it woke up too late"


def test_a_leader_that_was_late_and_not_replaced_goes_on(store: Store) -> None:
    store.lead("beat", "one", at(0), at(10))

    assert store.lead("beat", "one", at(60), at(70)) == 1


def test_who_resigns_is_followed_at_once(store: Store) -> None:
    store.lead("beat", "one", at(0), at(10))

    store.resign("beat", "one")

    assert store.lead("beat", "two", at(1), at(11)) == 2


def test_nobody_resigns_for_another(store: Store) -> None:
    store.lead("beat", "one", at(0), at(10))

    store.resign("beat", "two")
    store.resign("digest", "one")

    assert store.lead("beat", "two", at(1), at(11)) is None


def test_who_takes_a_job_again_after_giving_it_up_gets_a_higher_fence(store: Store) -> None:
    store.lead("beat", "one", at(0), at(10))
    store.resign("beat", "one")

    assert store.lead("beat", "one", at(1), at(11)) == 2


def test_a_hold_from_before_the_clock_was_set_back_counts_as_over(store: Store) -> None:
    store.lead("beat", "one", at(3600), at(3610))

    assert store.lead("beat", "two", at(0), at(10)) == 2


def test_a_hold_that_a_slightly_fast_clock_gave_is_respected(store: Store) -> None:
    store.lead("beat", "one", at(20), at(30))

    assert store.lead("beat", "two", at(0), at(10)) is None


def test_of_many_who_ask_at_once_exactly_one_leads(store: Store) -> None:
    store.lead("beat", "lost", at(0), at(10))

    with ThreadPoolExecutor(8) as pool:
        fences = list(pool.map(lambda beat: store.lead("beat", f"beat-{beat}", at(11), at(21)), range(8)))

    assert [fence for fence in fences if fence] == [2]
