"""What people tell a breaker: to stay open, to let all through, only to count, to begin again."""

import pytest

from recovery.breaker import Breaker, BreakerOptions
from recovery.breaker.caller import BreakerStats
from recovery.breaker.changes import Change
from recovery.errors import CircuitOpen
from tests.breakers import OPTIONS, boom, is_refused, look, trip


def test_forced_open_refuses_until_auto() -> None:
    breaker = Breaker("gateway", OPTIONS)
    breaker.force_open()
    assert look(breaker) == "forced_open"

    with pytest.raises(CircuitOpen, match=r"is forced-open; try again in 10\.0 s") as refused:
        breaker.call(lambda: None)
    assert (refused.value.state, refused.value.retry_after) == ("forced_open", 10)

    breaker.auto()
    assert not is_refused(breaker)


def test_disabled_lets_all_through_uncounted() -> None:
    breaker = Breaker("gateway", OPTIONS)
    breaker.disable()

    trip(breaker)
    trip(breaker)

    assert look(breaker) == "disabled"
    assert breaker.stats() == BreakerStats(calls=0, failures=0, slow=0, rejected=0, trips=0)


def test_metrics_only_counts_and_says_once_that_it_would_have_opened(caplog: pytest.LogCaptureFixture) -> None:
    changes: list[Change] = []
    breaker = Breaker("gateway", OPTIONS)
    listen_no_more = breaker.on_change(changes.append)
    breaker.metrics_only()

    trip(breaker)
    trip(breaker)

    assert not is_refused(breaker)
    assert breaker.stats().failures == 4
    assert [(change.before, change.after, change.reason) for change in changes] == [
        ("closed", "metrics_only", ""),
        ("metrics_only", "metrics_only", "would have opened: 2 failures in a row, at last ValueError: boom"),
    ]
    assert caplog.text.count("breaker 'gateway' would have opened") == 1

    listen_no_more()
    breaker.auto()
    assert len(changes) == 2


def test_what_was_counted_in_one_mode_does_not_count_in_the_next() -> None:
    breaker = Breaker("gateway", OPTIONS)
    breaker.metrics_only()
    trip(breaker)

    breaker.auto()
    with pytest.raises(ValueError, match="boom"):
        breaker.call(boom)

    assert look(breaker) == "closed"


def test_reset_closes_it_and_forgets() -> None:
    breaker = Breaker("gateway", OPTIONS)
    trip(breaker)
    breaker.reset()
    assert look(breaker) == "closed"

    with pytest.raises(ValueError, match="boom"):
        breaker.call(boom)
    breaker.reset()
    with pytest.raises(ValueError, match="boom"):
        breaker.call(boom)

    assert look(breaker) == "closed", "two failures with a reset in between are no run of two"


def test_an_option_begins_in_a_mode() -> None:
    breaker = Breaker("gateway", BreakerOptions(mode="metrics_only", failure_threshold=1))

    trip(breaker)

    assert look(breaker) == "metrics_only"
    assert not is_refused(breaker)
