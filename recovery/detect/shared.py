"""Share expensive things, such as an HTTP connector, between the checks of one round and close them at its end."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

C = TypeVar("C", bound=AbstractAsyncContextManager[Any])


@dataclass(slots=True)
class _Round:
    stack: AsyncExitStack
    things: dict[object, Any] = field(default_factory=dict)


_round: ContextVar[_Round | None] = ContextVar("round", default=None)


@asynccontextmanager
async def sharing() -> AsyncIterator[None]:
    """Open a round: whatever tasks started inside `borrow` is made once and closed when the round ends."""
    async with AsyncExitStack() as stack:
        token = _round.set(_Round(stack))
        try:
            yield
        finally:
            _round.reset(token)


@asynccontextmanager
async def borrow(make: Callable[[], C]) -> AsyncIterator[C]:
    """Give what `make` makes: the round's own, or outside a round a fresh one that is closed after use.

    Args:
        make: returns something that is usable before it is entered and closes when it is left, such as an HTTP
            session. The function itself is the key within the round.
    """
    current = _round.get()
    if current is None:
        async with make() as own:
            yield own
        return
    if make not in current.things:
        thing = make()
        current.things[make] = thing
        current.stack.push_async_exit(thing)
    yield current.things[make]
