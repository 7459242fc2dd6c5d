"""The store in SQLite or PostgreSQL. Each method is one transaction, claims are conditional updates, stale fences write nothing."""

from sqlalchemy import Engine

from recovery.store.engine import open_engine
from recovery.store.sql.breakers import SqlBreakers
from recovery.store.sql.degrading import SqlDegrading
from recovery.store.sql.health import SqlHealth
from recovery.store.sql.intake import SqlIntake
from recovery.store.sql.journal import SqlJournal
from recovery.store.sql.leadership import SqlLeadership
from recovery.store.sql.leases import SqlLeases
from recovery.store.sql.ledger import SqlLedger
from recovery.store.sql.load import SqlLoad
from recovery.store.sql.mitigations import SqlMitigations
from recovery.store.sql.policy import SqlPolicy
from recovery.store.sql.quiet import SqlQuiet
from recovery.store.sql.recoveries import SqlRecoveries

__all__ = ["SqlStore"]


class SqlStore(
    SqlIntake,
    SqlQuiet,
    SqlLoad,
    SqlPolicy,
    SqlRecoveries,
    SqlJournal,
    SqlMitigations,
    SqlLedger,
    SqlLeases,
    SqlLeadership,
    SqlHealth,
    SqlBreakers,
    SqlDegrading,
):
    """Keep everything in one database; implements `ports.Store`. Every method may raise `StoreUnavailable`.

    Args:
        engine: from `open_engine`, on a database that `migrate` brought to head.
    """

    @classmethod
    def open(cls, url: str) -> "SqlStore":
        """Return a store on the migrated database at `url`."""
        return cls(open_engine(url))

    @property
    def engine(self) -> Engine:
        """Return the engine, for queries and for the result backend."""
        return self._engine
