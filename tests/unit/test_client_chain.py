"""A chain answers with its first link that works, and says who that was; each link has its own breaker."""

import asyncio
import pickle
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recovery.client import RecoveryClient
from recovery.client import chain as chain_module
from recovery.client.chain import Answer, AsyncChain, Link
from recovery.errors import ChainExhausted, CircuitOpen, ConfigurationError


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RecoveryClient]:
    """A client that talks to nobody."""
    monkeypatch.setattr("recovery.client.watch.Watch.start", lambda _watch: None)
    monkeypatch.setattr("recovery.client.sender.Sender.put", lambda _sender, _item: None)
    with RecoveryClient("redis://127.0.0.1:1/0", spool=tmp_path) as client:
        yield client


def primary(item: str) -> str:
    raise ConnectionError("primary is down")


def secondary(item: str) -> str:
    return f"{item} from secondary"


def broken(item: str) -> str:
    raise TimeoutError("too slow")


async def later(item: str) -> str:
    return item


def test_a_coroutine_function_is_no_link_of_a_chain_that_does_not_await(client: RecoveryClient) -> None:
    with pytest.raises(TypeError, match=r"Chain 'prices' cannot call the coroutine function later: use 'client.achain"):
        client.chain("prices", later)


Ask = Callable[..., Answer[str]]


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest, client: RecoveryClient) -> Ask:
    """Returns what a chain of these links answers; as functions, or as coroutine functions of the same names."""

    def ask(*links: Callable[[str], str], item: str = "apple", **rest: Any) -> Answer[str]:
        if request.param == "sync":
            return client.chain("prices", *links, **rest).answer(item)

        def later(function: Callable[[str], str]) -> Any:
            async def coroutine(item: str) -> str:
                return function(item)

            coroutine.__name__ = function.__name__
            return coroutine

        chain: AsyncChain[..., str] = client.achain("prices", *map(later, links), **rest)
        return asyncio.run(chain.answer(item))

    return ask


def test_the_first_link_that_works_answers(ask: Ask) -> None:
    answer = ask(primary, secondary, broken)

    assert (answer.value, answer.by) == ("apple from secondary", "secondary")
    assert [(name, str(error)) for name, error in answer.failed] == [("primary", "primary is down")]


def test_without_any_answer_every_cause_is_told(ask: Ask) -> None:
    with pytest.raises(ChainExhausted, match=r"'prices' answered: primary: ConnectionError: primary is down; broken: .*too slow") as caught:
        ask(primary, broken)

    assert [(name, type(error)) for name, error in caught.value.causes] == [("primary", ConnectionError), ("broken", TimeoutError)]
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert [name for name, _ in pickle.loads(pickle.dumps(caught.value)).causes] == ["primary", "broken"]


def test_a_default_is_the_last_link(ask: Ask) -> None:
    answer = ask(primary, default="unknown")

    assert (answer.value, answer.by, len(answer.failed)) == ("unknown", "default", 1)


def test_none_is_a_default_too(ask: Ask) -> None:
    assert ask(primary, default=None).value is None


def test_an_ignored_error_is_an_answer(ask: Ask) -> None:
    with pytest.raises(ConnectionError):
        ask(primary, secondary, ignore=(ConnectionError,))


def test_ignored_errors_open_no_breaker(ask: Ask, client: RecoveryClient) -> None:
    for _ in range(9):
        with pytest.raises(ConnectionError, match="primary is down"):
            ask(primary, secondary, ignore=(ConnectionError,))

    breaker = client.breaker("prices.primary")
    assert (breaker.state, breaker.stats().calls) == ("closed", 0)


def test_threads_that_remember_at_once_break_no_answer(client: RecoveryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_module, "REMEMBERED", 2)
    chain = client.chain("prices", secondary, remember=60.0)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(chain, [str(number % 5) for number in range(4_000)]))

    assert answers == [f"{number % 5} from secondary" for number in range(4_000)]


def test_a_link_whose_breaker_is_open_costs_no_call(client: RecoveryClient) -> None:
    calls = []

    def down(item: str) -> str:
        calls.append(item)
        raise ConnectionError

    client.breaker("prices.down", failure_threshold=2, service="prices")
    chain = client.chain("prices", down, secondary)

    for _ in range(5):
        assert chain("apple") == "apple from secondary"

    assert len(calls) == 2
    assert isinstance(chain.answer("apple").failed[0][1], CircuitOpen)
    assert (chain.breakers["down"].state, chain.breakers["secondary"].state) == ("open", "closed")


def test_the_last_answer_to_the_same_arguments_is_given_again(client: RecoveryClient) -> None:
    up = True

    def price(item: str, *, currency: str = "EUR") -> str:
        if not up:
            raise ConnectionError
        return f"{item} in {currency}"

    chain = client.chain("prices", price, remember=60.0, default="unknown")
    chain("apple", currency="USD")
    up = False

    assert chain.answer("apple", currency="USD").value == "apple in USD"
    assert chain.answer("apple", currency="USD").by == "last answer"
    assert chain.answer("apple").by == "default"


def test_an_answer_that_is_too_old_is_not_given_again(client: RecoveryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([1])
    chain = client.chain("prices", taking(answers), remember=60.0)
    chain()
    later = time.monotonic() + 61.0
    monkeypatch.setattr("recovery.client.chain.time", SimpleNamespace(monotonic=lambda: later))

    with pytest.raises(ChainExhausted):
        chain()


def taking(answers: Iterator[int]) -> Callable[[], int]:
    def take() -> int:
        try:
            return next(answers)
        except StopIteration:
            raise ConnectionError from None

    return take


def test_only_so_many_answers_are_remembered(client: RecoveryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recovery.client.chain.REMEMBERED", 3)
    chain = client.chain("prices", secondary, remember=60.0)

    for number in range(10):
        chain(str(number))

    assert len(chain._last) == 3


def test_arguments_without_a_hash_are_only_not_remembered(client: RecoveryClient) -> None:
    def total(items: list[int]) -> int:
        return sum(items)

    assert client.chain("sums", total, remember=60.0)([1, 2]) == 3


def test_links_are_named_by_hand_where_functions_are_not(client: RecoveryClient) -> None:
    chain = client.chain("prices", Link(lambda item: item, name="cache", service="price-cache"), secondary)

    assert chain.answer("apple").by == "cache"
    assert chain.breakers["cache"].options.service == "price-cache"
    assert chain.breakers["secondary"].options.service == "prices"


@pytest.mark.parametrize(
    ("links", "rest", "problem"),
    [
        ([], {}, "Chain 'prices': has no links"),
        ([lambda: 1], {}, "link 1: '<lambda>' cannot be a name; write Link"),
        ([primary, primary], {}, "link 2: the name 'primary' is taken"),
        ([primary], {"remember": -1}, "remember=-1: must be seconds from 0 to 86400"),
        ([primary], {"ignore": [KeyError]}, "must be a tuple of exception classes"),
        ([primary], {"defautl": 1}, "unknown option 'defautl', did you mean 'default'"),
    ],
)
def test_a_wrong_chain_is_refused(client: RecoveryClient, links: Any, rest: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        client.chain("prices", *links, **rest)
