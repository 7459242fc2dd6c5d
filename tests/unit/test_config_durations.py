"""What a service may say about time and retries, and how a contradiction is told."""

from pathlib import Path

import pytest

from recovery.backoff import Jitter
from recovery.config.load import parse
from recovery.errors import ConfigurationError
from workers.cli.parts import kinds

SHOP = """\
[services.shop]
verify_timeout = 10
[services.shop.driver]
type = "process"
command = ["python3"]
pidfile = "shop.pid"
"""


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse(SHOP + text, kinds(), folder=Path("/"), environ={})
    return list(caught.value.problems)


def test_limits_and_retries_are_read() -> None:
    text = SHOP.replace("verify_timeout", "attempt_timeout = 90\nattempt_grace = 20\nverify_timeout")
    text += '[services.shop.retry.restart]\nattempts = 5\npolicy = "linear"\ninitial = 1\nincrement = 2\njitter = "equal"\n'

    shop = parse(text, kinds(), folder=Path("/"), environ={}).fleet.services["shop"]

    assert (shop.attempt_timeout, shop.attempt_grace, shop.hard_limit) == (90, 20, 110)
    retry = shop.retry["restart"]
    assert (retry.attempts, retry.policy, retry.initial, retry.increment, retry.jitter) == (5, "linear", 1, 2, Jitter.EQUAL)


def test_a_remedy_that_may_take_longer_than_an_attempt_is_refused_with_the_sum() -> None:
    (line,) = problems("[services.shop.remedies.restart]\nstop_timeout = 300\n")

    assert line == (
        "recovery.toml:7: services.shop.remedies.restart: may take 325 s (stop_timeout 300 + ready_timeout 15 + verify_timeout 10), "
        "longer than one attempt may: set attempt_timeout in [services.shop] to 325 or more, or lower these (it is 240)"
    )


def test_a_verification_that_may_take_longer_than_an_attempt_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"services\.shop\.verify_timeout: may take 300 s .* to 300 or more"):
        parse("[services.shop]\nverify_timeout = 300\n", kinds(), folder=Path("/"), environ={})


def test_a_longer_attempt_makes_room() -> None:
    text = SHOP.replace("verify_timeout", "attempt_timeout = 325\nverify_timeout")

    assert parse(text + "[services.shop.remedies.restart]\nstop_timeout = 300\n", kinds(), folder=Path("/"), environ={}).fleet.services


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("[services.shop.retry.restrt]\n", "services.shop.retry.restrt: unknown strategy 'restrt', did you mean 'restart'?"),
        ("[services.shop.retry.restart]\nattemps = 3\n", "services.shop.retry.restart.attemps: unknown key, did you mean 'attempts'?"),
        ("[services.shop.retry.restart]\nattempts = 0\n", "services.shop.retry.restart.attempts: must be at least 1, not 0"),
        ('[services.shop.retry.restart]\njitter = "ful"\n', "services.shop.retry.restart.jitter: 'ful' is not known, did you mean 'full'?"),
        ("[services.shop.retry.restart]\ninitial = 20\n", "services.shop.retry.restart: 'initial' (20 s) is longer than 'max' (10 s)"),
        ("[services.shop.retry]\nrestart = 3\n", "services.shop.retry.restart: must be a table"),
    ],
)
def test_a_retry_that_makes_no_sense_is_told_in_one_line(table: str, told: str) -> None:
    (line,) = problems(table)

    assert told in line
