"""Which wishes to stop the platform counts, whatever it inherited from the shell that started it."""

import os
import signal
from collections.abc import Iterator

import pytest

from workers.platform.signals import STOPPING, Signals


@pytest.fixture(autouse=True)
def _ignored_by_the_shell() -> Iterator[None]:
    before = {number: signal.signal(number, signal.SIG_IGN) for number in STOPPING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_explicit_wish_counts_although_a_shell_made_us_ignore_it(number: signal.Signals) -> None:
    with Signals() as signals:
        os.kill(os.getpid(), number)

        assert signals.stops == 1


def test_nohup_keeps_what_it_is_for() -> None:
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGHUP)

        assert signals.stops == 0


def test_what_was_inherited_is_there_again_afterwards() -> None:
    with Signals():
        pass

    assert {signal.getsignal(number) for number in STOPPING} == {signal.SIG_IGN}
