"""What the database itself saw: triggers that note every write of an attempt, a step, a lease or a recovery's state, in commit order.

They compare each write's fence with the newest one granted, in the writing transaction, so no process can talk its way past them.
"""

from dataclasses import dataclass

from sqlalchemy import Engine, text

_TABLE = """
CREATE TABLE torture_log (
    id {serial}, at {real} NOT NULL, what TEXT NOT NULL, recovery TEXT, service TEXT, attempt INTEGER, name TEXT, state TEXT,
    fence BIGINT, newest BIGINT, holder TEXT
)
"""
_NOTE = """
INSERT INTO torture_log (at, what, recovery, service, attempt, name, state, fence, newest, holder)
SELECT {now}, '{what}', {values}, {lease}
"""
_LEASE = "(SELECT fence FROM leases WHERE service = {service}), (SELECT holder FROM leases WHERE service = {service})"
_SERVICE_OF_STEP = "(SELECT service FROM recoveries WHERE id = NEW.recovery_id)"

WRITES = {
    "steps": (
        f"NEW.recovery_id, {_SERVICE_OF_STEP}, NEW.attempt, NEW.name, NEW.state, NEW.fence",
        _LEASE.format(service=_SERVICE_OF_STEP),
        "",
    ),
    "attempts": (
        "NEW.recovery_id, NEW.service, NEW.number, NEW.strategy, NEW.state, NEW.fence",
        _LEASE.format(service="NEW.service"),
        "NEW.state <> OLD.state OR NEW.fence <> OLD.fence OR NEW.runs <> OLD.runs",
    ),
    "recoveries": ("NEW.id, NEW.service, NEW.attempt, '', NEW.state, 0", "NULL, NULL", "NEW.state <> OLD.state"),
    "leases": ("NEW.recovery_id, NEW.service, 0, '', '', NEW.fence", "NEW.fence, NEW.holder", "NEW.fence <> OLD.fence"),
}
"""Table -> what is noted of the row, what of its service's lease, and which updates count."""


@dataclass(frozen=True, slots=True)
class Write:
    """One noted write."""

    at: float
    what: str
    """The table."""
    recovery: str
    service: str
    attempt: int
    name: str
    """The step, or the strategy."""
    state: str
    fence: int
    """The writer's."""
    newest: int | None
    """The newest fence of the service at that moment."""
    holder: str | None
    """Who had the lease then."""


def post(engine: Engine) -> None:
    """Put the triggers into a migrated database."""
    sqlite = engine.dialect.name == "sqlite"
    types = ("INTEGER PRIMARY KEY AUTOINCREMENT", "REAL") if sqlite else ("BIGSERIAL PRIMARY KEY", "DOUBLE PRECISION")
    with engine.begin() as connection:
        connection.execute(text(_TABLE.format(serial=types[0], real=types[1])))
        for what, (values, lease, counts) in WRITES.items():
            for statement in (_sqlite if sqlite else _postgres)(what, values, lease, counts):
                connection.exec_driver_sql(statement)


def _sqlite(what: str, values: str, lease: str, counts: str) -> list[str]:
    note = _NOTE.format(now="(julianday('now') - 2440587.5) * 86400.0", what=what, values=values, lease=lease)
    when = f"WHEN {counts}" if counts else ""
    return [
        f"CREATE TRIGGER torture_{what}_in AFTER INSERT ON {what} BEGIN {note}; END",
        f"CREATE TRIGGER torture_{what}_up AFTER UPDATE ON {what} {when} BEGIN {note}; END",
    ]


def _postgres(what: str, values: str, lease: str, counts: str) -> list[str]:
    note = _NOTE.format(now="extract(epoch FROM clock_timestamp())", what=what, values=values, lease=lease)
    when = f"WHEN ({counts})" if counts else ""
    return [
        f"CREATE FUNCTION torture_{what}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {note}; RETURN NULL; END $$",
        f"CREATE TRIGGER torture_{what}_in AFTER INSERT ON {what} FOR EACH ROW EXECUTE FUNCTION torture_{what}()",
        f"CREATE TRIGGER torture_{what}_up AFTER UPDATE ON {what} FOR EACH ROW {when} EXECUTE FUNCTION torture_{what}()",
    ]


def testify(engine: Engine) -> list[Write]:
    """Return all that was noted, in order."""
    names = ", ".join(Write.__slots__)
    with engine.connect() as connection:
        return [Write(*row) for row in connection.execute(text(f"SELECT {names} FROM torture_log ORDER BY id"))]
