"""Circuit breakers that the whole fleet shares: the pure state machine, its Redis twin in Lua, and the caller's side.

Names are loaded on first use, because the client library imports this package and must stay cheap to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recovery.breaker.board import RedisBreakers
    from recovery.breaker.caller import Breaker
    from recovery.breaker.memory import MemoryBreakers
    from recovery.breaker.options import BreakerOptions

__all__ = ["Breaker", "BreakerOptions", "MemoryBreakers", "RedisBreakers"]

_HOME = {
    "Breaker": "recovery.breaker.caller",
    "BreakerOptions": "recovery.breaker.options",
    "MemoryBreakers": "recovery.breaker.memory",
    "RedisBreakers": "recovery.breaker.board",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
