"""A breaker's options are checked where they are given."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from recovery.breaker import BreakerOptions
from recovery.breaker.options import BreakerSettings
from recovery.breaker.shared import as_json
from recovery.errors import ConfigurationError


def test_the_defaults_are_those_of_the_specification() -> None:
    options = BreakerOptions()

    assert (options.failure_threshold, options.success_threshold, options.reset_timeout, options.half_open_requests) == (5, 2, 60.0, 3)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"failure_threshold": 0}, "failure_threshold=0: must be a whole number from 1 to 10000"),
        ({"failure_threshold": 2.5}, "failure_threshold=2.5: must be a whole number"),
        ({"reset_timeout": 0}, "reset_timeout=0: must be seconds above 0, up to 86400"),
        ({"reset_timeout": float("nan")}, "reset_timeout=nan: must be seconds"),
        ({"permit_timeout": 86_401}, "permit_timeout=86401: must be seconds"),
        ({"ignore": ValueError}, "ignore=<class 'ValueError'>: must be a tuple of exception classes"),
        ({"ignore": (KeyboardInterrupt,)}, "must be a tuple of exception classes"),
        ({"ignore": "ValueError"}, "ignore='ValueError': must be a tuple of exception classes, or a function"),
        ({"record_result": 503}, "record_result=503: must be a function of the returned value, or None"),
        ({"failure_rate": 0}, "failure_rate=0: must be a share above 0, up to 1"),
        ({"failure_rate": 50}, "failure_rate=50: must be a share"),
        ({"slow_call_duration": -1}, "slow_call_duration=-1: must be seconds"),
        ({"failure_threshold": None}, "nothing can open it; give failure_threshold, failure_rate or slow_call_duration"),
        ({"window_calls": 10, "window_seconds": 10}, "a window counts calls or seconds; give one of them"),
        ({"window_seconds": 0.5}, "window_seconds=0.5: must be a number from 1 to 86400"),
        ({"failure_rate": 0.5, "window_calls": 10}, "minimum_requests=20: the window holds only 10 calls"),
        ({"ramp": (50, 10)}, "ramp=(50, 10): must be a tuple of rising percentages from 1 to 99"),
        ({"ramp": (10, 100)}, "must be a tuple of rising percentages"),
        ({"ramp": (True, 50)}, "must be a tuple of rising percentages"),
        ({"slow_call_duration": 1.0, "slow_call_rate": None}, "slow_call_rate=None: must be a share above 0, up to 1"),
        ({"service": 5}, "service=5: must be the name of a service"),
        ({"jitter": 2}, "jitter=2: must be a number from 0 to 1"),
        ({"backoff_factor": 0.5}, "backoff_factor=0.5: must be a number from 1 to 100"),
        ({"minimum_requests": "20", "failure_rate": 0.5}, "minimum_requests='20': must be a whole number from 1 to 100000"),
        ({"ramp": 50}, "ramp=50: must be a tuple of rising percentages"),
        ({"quorum": 0}, "quorum=0: must be a whole number"),
        (
            {"mode": "metric_only"},
            "mode='metric_only': must be one of auto, metrics_only, disabled, forced_open, did you mean 'metrics_only'?",
        ),
        ({"service": "no service"}, "service='no service': must be the name of a service"),
        ({"failure_treshold": 3}, "unknown option 'failure_treshold', did you mean 'failure_threshold'?"),
    ],
)
def test_a_wrong_option_gets_one_clear_sentence(settings: BreakerSettings, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        BreakerOptions.of("gateway", settings)

    assert sentence in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 101, "a:b", "caf\u00e9", "a\n", 5, None])
def test_a_wrong_name_is_refused(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="Breaker name"):
        BreakerOptions.of(name, {})


def test_what_picks_failures_need_not_have_a_hash() -> None:
    class Picky:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, _value: object) -> bool:
            return True

    assert as_json(BreakerOptions(record=Picky(), ignore=Picky(), record_result=Picky())) == as_json(BreakerOptions())


def test_every_option_is_a_keyword_and_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "circuit-breaker.md").read_text()
    options = [field.name for field in fields(BreakerOptions)]

    assert options == list(BreakerSettings.__annotations__)
    assert [option for option in options if f"| `{option}` |" not in page] == []
