"""Facts about a recovery, for tests of what the platform decides on them."""

from datetime import timedelta
from typing import Any

from recovery.config.fleet import Fleet, PlatformDeclaration, ServiceDeclaration
from recovery.decide.facts import Facts
from recovery.models import (
    Action,
    AttemptState,
    Outcome,
    Plan,
    PlannedAttempt,
    Silence,
    SilenceKind,
)
from tests.rows import T0, at, attempt, recovery

RESTART = PlannedAttempt(strategy="restart", queue="restart")
DEGRADE = PlannedAttempt(strategy="degrade", queue="degrade")
TAKE_AWAY = DEGRADE.model_copy(update={"action": Action.REVERT})
NOW = at(100)


def facts(*, platform: dict[str, Any] | None = None, service: dict[str, Any] | None = None, fleet_of: int = 1, **fields: Any) -> Facts:
    """Return facts about an automatic recovery of `shop` by restart, then degrade; `shop` is one of `fleet_of` services."""
    shop = ServiceDeclaration.model_validate({"name": "shop"} | (service or {}))
    others = {f"other-{number}": ServiceDeclaration(name=f"other-{number}") for number in range(fleet_of - 1)}
    fleet = Fleet(version="v1", platform=PlatformDeclaration.model_validate(platform or {}), services={"shop": shop, **others})
    of = {name: fields.pop(name) for name in ("kind", "severity", "force", "state", "dry_run", "created_at", "plan") if name in fields}
    row = recovery("shop", **{"plan": Plan(attempts=(RESTART, DEGRADE)), "created_at": T0, **of})
    return Facts(now=NOW, fleet=fleet, service=shop, installed=frozenset({"restart", "degrade"}), recovery=row, **fields)


def silence(kind: SilenceKind, until: float | None = 200, **fields: Any) -> Silence:
    return Silence("s-1", kind, T0, at(until) if until is not None else None, "ann", "new cables", T0, **fields)


def past(strategy: str, ago: float, outcome: Outcome, **fields: Any) -> Any:
    """Return a finished attempt that began `ago` seconds before now, against the failure that `facts` is about."""
    one = recovery()
    return attempt(
        one,
        strategy=strategy,
        state=AttemptState.FINISHED,
        outcome=outcome,
        created_at=NOW - timedelta(seconds=ago),
        fingerprint=one.fingerprint,
        **fields,
    )
