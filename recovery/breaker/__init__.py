"""Circuit breakers that the whole fleet shares: the pure state machine, its Redis twin in Lua, and the caller's side.

Where to look, from what a caller sees inwards::

    options      when a breaker opens, probes and closes: every option with its range and default
    circuit      the law: states and the transitions between them. Pure
    judgement    do these counts open it? Pure

    caller       `Breaker`: decorator, `with`, `call`, `state`, `stats`, orders
    guarded        the functions that calls go through; the quick path of a closed breaker is there
    instep         what the fleet says is taken in; what the fleet has not heard is remembered
    turnstile      ways in (may this call be made? as a probe?) and out (what does its end count as?)
    standing       where it stands in this process, and what follows for the next call
    window       counts calls, without a lock for a success
    picks        what an exception or a returned value means to a breaker
    changes      tells listeners

    fleet        what a breaker and the fleet tell each other: the contract between the above and the below
    link         keeps this process's breakers in step with Redis: answers them, and takes in what others changed
    dealings       what it tells the fleet in the background, and the merging when Redis is back
    reached        what can be shared now, and what was last heard; goes on without Redis
    teller         its thread, which carries what breakers have to tell
    shared         calls the scripts, answers with frozen data
    snapshot         that data: a breaker as Redis had it at one moment
    spoiled          what no breaker can be, told from an outage, and what to do about it
    lua/             the machine's twin, atomic in Redis; `circuit.lua` documents every key and field
    orders       how long an order may last
    board        the same breakers as the platform sees and steers them (`ports.Breakers`)
    memory       those of one process, for tests and trials

`Breaker` is an `InStep` is a `Turnstile` is a `Standing`: one object, because a call cannot afford to go from one to the next, read in
four parts. Names are loaded on first use, because the client library imports this package and must stay cheap to import.
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
