"""What services do without for a while, and where their callers are sent meanwhile: in Redis for the fleet, in memory for tests.

Names are loaded on first use, because the client library imports this package and must stay cheap to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recovery.degrade.memory import MemoryDegradations, MemoryEndpoints
    from recovery.degrade.shared import RedisDegradations, RedisEndpoints

__all__ = ["MemoryDegradations", "MemoryEndpoints", "RedisDegradations", "RedisEndpoints"]

_HOME = {
    "MemoryDegradations": "recovery.degrade.memory",
    "MemoryEndpoints": "recovery.degrade.memory",
    "RedisDegradations": "recovery.degrade.shared",
    "RedisEndpoints": "recovery.degrade.shared",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
