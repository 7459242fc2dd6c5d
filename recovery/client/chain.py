"""Chains of fallbacks: the first link that answers wins, each behind a breaker of its own, so that a broken one costs no time.

What is tried next is decided in one generator, `_course`; `Chain` and `AsyncChain` do what it says.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypedDict, TypeVar, cast

from recovery.client.limits import check_kinds, check_no_coroutine, check_seconds
from recovery.client.passing import Passing, passing, passing_async
from recovery.errors import ChainExhausted, ConfigurationError, nearest

if TYPE_CHECKING:
    from recovery.breaker.caller import Breaker

P = ParamSpec("P")
T = TypeVar("T")

REMEMBERED = 1_000
"""Sets of arguments whose last answer is remembered; the least recently answered go first."""
LAST, DEFAULT = "last answer", "default"
"""Who answered, when no link did."""


class Missing:
    """The type of `MISSING`: there is no default."""


MISSING = Missing()
Failed = tuple[tuple[str, Exception], ...]
Came = tuple[Any, Exception | None]
"""What a link returned, or raised."""


@dataclass(frozen=True, slots=True)
class Link(Generic[P, T]):
    """One way to get the answer."""

    function: Callable[P, T]
    name: str = ""
    """Default: the function's own name. The breaker is called `<chain>.<name>`."""
    service: str = ""
    """The service that is reported when the breaker opens. Default: the chain's."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """An answer, and where it is from."""

    value: T
    by: str
    """Name of the link, `last answer` or `default`."""
    failed: Failed = ()
    """Name and error of each link that was tried before."""


class RestSettings(TypedDict, total=False):
    """The keywords of `client.chain`; see `Rest` for their meaning."""

    default: Any
    remember: float
    ignore: tuple[type[Exception], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """What a chain does when no link answers.

    Raises:
        ConfigurationError: if an option is out of its range.
    """

    default: Any = MISSING
    """The answer then. Default: none, `ChainExhausted` is raised."""
    remember: float = 0.0
    """Seconds for which the last answer to the same arguments may be given again, 0 to 86400; goes before `default`. Default 0: never."""
    ignore: tuple[type[Exception], ...] = ()
    """Exceptions that are an answer, such as a caller's bad input: raised at once, no other link is tried, no breaker counts them.
    Default: none."""

    def __post_init__(self) -> None:
        check_seconds("Chain", "remember", self.remember, 86_400)
        check_kinds("Chain", "ignore", self.ignore)


class _Links(Generic[P, T]):
    """Links behind breakers, and what comes after them.

    Args:
        name: For messages and names of breakers.
        links: In the order of preference, each with its breaker.
        rest: What to do when none answers.
    """

    def __init__(self, name: str, links: "tuple[tuple[Link[P, Any], Breaker], ...]", rest: Rest) -> None:
        self.name = name
        self.breakers = {breaker.name.removeprefix(f"{name}."): breaker for _, breaker in links}
        self._links = tuple(zip(self.breakers, (link for link, _ in links), self.breakers.values(), strict=True))
        self._rest = rest
        self._last: OrderedDict[object, tuple[float, Any]] = OrderedDict()

    def _course(self, key: object) -> "Generator[tuple[Link[P, Any], Breaker], Came, Answer[T]]":
        """Yield which link to call, through which breaker; takes what came of it."""
        failed: list[tuple[str, Exception]] = []
        for name, link, breaker in self._links:
            value, error = yield link, breaker
            if error is None:
                self._keep(key, value)
                return Answer(value, name, tuple(failed))
            if isinstance(error, self._rest.ignore):
                raise error
            failed.append((name, error))
        return self._without_links(key, tuple(failed))

    def _without_links(self, key: object, failed: Failed) -> Answer[T]:
        at, value = self._last.get(key, (0.0, None)) if key is not None else (0.0, None)
        if at and time.monotonic() - at <= self._rest.remember:
            return Answer(cast("T", value), LAST, failed)
        if self._rest.default is not MISSING:
            return Answer(self._rest.default, DEFAULT, failed)
        why = "; ".join(f"{name}: {type(error).__name__}: {error}" for name, error in failed)
        raise ChainExhausted(f"No link of chain '{self.name}' answered: {why}", causes=failed) from failed[-1][1]

    def _keep(self, key: object, value: object) -> None:
        if key is not None:
            self._last.pop(key, None)  # in this order no other thread can take the key away in between
            self._last[key] = time.monotonic(), value
            while len(self._last) > REMEMBERED:
                with suppress(KeyError):  # another thread was quicker
                    self._last.popitem(last=False)

    def _key(self, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        """Return what the answer is remembered under, None if it is not: arguments that have no hash, or nothing is remembered."""
        if not self._rest.remember:
            return None
        key = (args, tuple(sorted(kwargs.items())))
        try:
            hash(key)
        except TypeError:
            return None
        return key


class Chain(_Links[P, T]):
    """A chain of functions; raises `TypeError` for a coroutine function."""

    def __init__(self, name: str, links: "tuple[tuple[Link[P, Any], Breaker], ...]", rest: Rest) -> None:
        for link, _ in links:
            check_no_coroutine(f"Chain '{name}'", link.function, "'client.achain(...)'")
        super().__init__(name, links, rest)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the first answer; raises `ChainExhausted` with all causes if there is none."""
        return self.answer(*args, **kwargs).value

    def answer(self, *args: P.args, **kwargs: P.kwargs) -> Answer[T]:
        """Return the first answer with who gave it."""
        course = self._course(self._key(args, kwargs))
        link, breaker = next(course)
        came: Came
        while True:
            try:
                came = breaker.call(passing(link.function, self._rest.ignore), *args, **kwargs), None
            except Passing as past:
                came = None, past.error
            except Exception as error:  # noqa: BLE001 - the next link is asked
                came = None, error
            try:
                link, breaker = course.send(came)
            except StopIteration as ended:
                answer: Answer[T] = ended.value
                return answer


class AsyncChain(_Links[P, T]):
    """A chain of coroutine functions."""

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the first answer; raises `ChainExhausted` with all causes if there is none."""
        return (await self.answer(*args, **kwargs)).value

    async def answer(self, *args: P.args, **kwargs: P.kwargs) -> Answer[T]:
        """Return the first answer with who gave it."""
        course = self._course(self._key(args, kwargs))
        link, breaker = next(course)
        came: Came
        while True:
            try:
                came = await breaker.acall(passing_async(link.function, self._rest.ignore), *args, **kwargs), None
            except Passing as past:
                came = None, past.error
            except Exception as error:  # noqa: BLE001 - the next link is asked
                came = None, error
            try:
                link, breaker = course.send(came)
            except StopIteration as ended:
                answer: Answer[T] = ended.value
                return answer


def named(chain: str, functions: "tuple[Callable[P, T] | Link[P, T], ...]") -> dict[str, Link[P, T]]:
    """Return the links by name; raises `ConfigurationError` if one has no name of its own."""
    if not functions:
        raise ConfigurationError(f"Chain '{chain}': has no links; give at least one function.")
    links: dict[str, Link[P, T]] = {}
    for number, one in enumerate(functions, 1):
        link = one if isinstance(one, Link) else Link(one)
        name = link.name or getattr(link.function, "__name__", "")
        if not name.replace("_", "a").isalnum() or name in links:
            why = f"the name '{name}' is taken" if name in links else f"{name or 'it'!r} cannot be a name"
            raise ConfigurationError(f"Chain '{chain}', link {number}: {why}; write Link(function, name=...).")
        links[name] = link
    return links


def rest_of(chain: str, settings: RestSettings) -> Rest:
    """Return the options from keywords; raises `ConfigurationError` for an unknown one, with the nearest known name."""
    for option in settings:
        if option not in RestSettings.__annotations__:
            raise ConfigurationError(f"Chain '{chain}': unknown option '{option}'{nearest(option, RestSettings.__annotations__) or '.'}")
    return Rest(**settings)
