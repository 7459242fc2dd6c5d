"""The library that services use: reports, guards, breakers, flags, endpoints and signs of life, with only a Redis URL.

It lives in other people's request paths: it is light to import, never raises because of our own trouble, and never waits
longer than a second.
"""

from recovery.breaker.caller import Breaker
from recovery.client.client import RecoveryClient
from recovery.client.counts import Stats
from recovery.client.flags import Flags
from recovery.client.guard import Guard
from recovery.client.heartbeat import Heartbeat
from recovery.errors import CircuitOpen

__all__ = ["Breaker", "CircuitOpen", "Flags", "Guard", "Heartbeat", "RecoveryClient", "Stats"]
