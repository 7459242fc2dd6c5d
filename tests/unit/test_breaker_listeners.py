"""Listeners of a breaker hear of every change in order, and harm no call."""

import threading
from dataclasses import replace

import pytest

from recovery.breaker import Breaker
from recovery.breaker.changes import Change
from recovery.breaker.circuit import Circuit, Ordered
from recovery.breaker.fleet import FleetView
from tests.breakers import OPTIONS, trip


def test_a_listener_that_fails_breaks_no_call(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: Change) -> None:
        raise ZeroDivisionError

    breaker = Breaker("gateway", OPTIONS)

    breaker.on_change(broken)

    trip(breaker)

    assert "a listener of breaker 'gateway' failed" in caplog.text


def test_a_listener_may_use_the_breaker() -> None:
    seen = []
    breaker = Breaker("gateway", OPTIONS)
    breaker.on_change(lambda change: seen.append((change.after, breaker.state, breaker.stats().failures)))

    trip(breaker)

    assert seen == [("open", "open", 2)]


def test_listeners_hear_of_changes_in_order_also_when_threads_make_them_at_once() -> None:
    told, begun, go_on = list[str](), threading.Event(), threading.Event()
    breaker = Breaker("gateway", OPTIONS)

    def slow(change: Change) -> None:
        begun.set()
        assert go_on.wait(60)
        told.append(change.after)

    breaker.on_change(slow)
    first = threading.Thread(target=breaker.force_open)
    first.start()
    assert begun.wait(60)

    breaker.disable()  # does not wait for the listener, and does not overtake what it is told

    assert told == []
    go_on.set()
    first.join(60)
    assert told == ["forced_open", "disabled"]


def test_a_change_that_a_listener_makes_is_told_after_the_one_it_hears_of() -> None:
    told = list[str]()
    breaker = Breaker("gateway", OPTIONS)
    breaker.on_change(lambda change: breaker.disable() if change.after == "forced_open" else None)
    breaker.on_change(lambda change: told.append(change.after))

    breaker.force_open()

    assert told == ["forced_open", "disabled"]


def test_listeners_hear_why_an_order_was_given_and_not_why_it_had_opened() -> None:
    told = list[tuple[str, str]]()
    breaker = Breaker("gateway", OPTIONS)
    breaker.on_change(lambda change: told.append((change.after, change.reason)))
    trip(breaker)
    opened = Circuit("open", reason="2 failures in a row", retry_at=1e9, trips=1)

    for version, ordered in enumerate((Ordered("forced_open", by="ann", reason="a leak"), Ordered("disabled", by="ann")), 1):
        breaker.apply(FleetView(replace(opened, ordered=ordered), now=0.0, version=version))

    assert told[1:] == [("forced_open", "a leak"), ("disabled", "")]
