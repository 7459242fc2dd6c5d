"""The stores without a server: same contract, one process, gone when it ends. For tests, docs and dry runs."""

from recovery.store.memory.breakers import MemoryBreakerHistory
from recovery.store.memory.cooldowns import MemoryCooldowns, MemoryHeartbeats
from recovery.store.memory.degrading import MemoryDegrading
from recovery.store.memory.health import MemoryHealth
from recovery.store.memory.leadership import MemoryLeadership
from recovery.store.memory.leases import MemoryLeases
from recovery.store.memory.policy import MemoryPolicy
from recovery.store.memory.recoveries import MemoryRecoveries
from recovery.store.memory.tables import Tables

__all__ = ["MemoryCooldowns", "MemoryHeartbeats", "MemoryStore"]


class MemoryStore(MemoryRecoveries, MemoryLeases, MemoryLeadership, MemoryHealth, MemoryPolicy, MemoryBreakerHistory, MemoryDegrading):
    """Keep everything in dictionaries behind one lock; implements `ports.Store`."""

    def __init__(self) -> None:
        super().__init__(Tables())
