"""Flapping: the weighted change rate over the last 21 looks, with two thresholds."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recovery.config.fleet import CheckDeclaration, PlatformDeclaration, ServiceDeclaration
from recovery.detect.flapping import LOOKS, change_rate, is_flapping, remember
from recovery.detect.report import Judged, events_of, judge_service
from recovery.models import Sample, ServiceState

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
looks = st.text("01", min_size=LOOKS, max_size=LOOKS)


def test_a_service_that_never_changes_has_a_rate_of_zero_and_one_that_always_does_of_a_hundred() -> None:
    assert change_rate("1" * LOOKS) == 0.0
    assert change_rate("0" * LOOKS) == 0.0
    assert change_rate(("10" * LOOKS)[:LOOKS]) == 100.0


def test_a_newer_change_weighs_half_as_much_again_as_an_old_one() -> None:
    oldest, newest = change_rate("0" + "1" * 20), change_rate("1" * 20 + "0")

    assert [oldest, newest] == pytest.approx([4.0, 6.0])


def test_no_rate_is_told_before_21_looks_are_known() -> None:
    assert change_rate(("10" * LOOKS)[: LOOKS - 1]) == 0.0


@given(looks)
def test_the_rate_stays_between_0_and_100_and_does_not_care_which_way_a_service_changes(recent: str) -> None:
    swapped = recent.translate(str.maketrans("01", "10"))

    assert 0.0 <= change_rate(recent) <= 100.0
    assert change_rate(swapped) == change_rate(recent)


@given(st.text("01", max_size=LOOKS), st.booleans())
def test_only_the_last_21_looks_are_remembered(recent: str, ok: bool) -> None:
    after = remember(recent, ok=ok)

    assert len(after) == min(len(recent) + 1, LOOKS)
    assert after.endswith("1" if ok else "0")


def test_flapping_begins_at_the_high_threshold_and_ends_below_the_low_one() -> None:
    def flaps(rate: float, before: bool) -> bool:
        return is_flapping(rate, before=before, high=30, low=25)

    assert [flaps(rate, before=False) for rate in (29.9, 30.0)] == [False, True]
    assert [flaps(rate, before=True) for rate in (25.0, 24.9)] == [True, False]


def look(state: ServiceState | None, position: int, *, ok: bool, **platform: object) -> Judged:
    check = CheckDeclaration.model_validate({"name": "web", "type": "http", "interval": 1, "timeout": 1, "fall": 1, "rise": 1})
    at = NOON + timedelta(seconds=position)
    service = ServiceDeclaration(name="shop", checks=(check,))
    return judge_service(service, state, {}, [Sample("shop", "web", at, ok, 0.0)], at, PlatformDeclaration.model_validate(platform))


def test_a_service_that_comes_and_goes_is_said_to_flap_once_and_to_have_settled_once() -> None:
    state: ServiceState | None = None
    said: list[str] = []
    for position in range(120):
        one = look(state, position, ok=position > 60 or position % 3 > 0)
        said += [event.name for event in events_of(one) if event.name in {"service:flapping", "service:settled"}]
        state = one.after

    assert said == ["service:flapping", "service:settled"]


def test_a_high_threshold_of_101_means_never() -> None:
    state: ServiceState | None = None
    for position in range(60):
        state = look(state, position, ok=position % 2 > 0, flap_high=101).after

    assert state is not None
    assert (state.change_rate, state.flapping) == (100.0, False)
