"""How refused reports are noted without letting a flood of them fill the disk. Pure functions."""

from collections.abc import Iterable, Mapping
from datetime import timedelta

from recovery.models import JsonObject
from recovery.ports import Refusal

ACTION = "report_refused"
"""What the audit trail calls it."""
WINDOW = timedelta(minutes=1)
"""Equal refusals within this time share one row."""
ROWS_PER_WINDOW = 100
"""Different refusals that are told apart within `WINDOW`; the others share one row, so a day leaves 145,000 rows at most."""
OVERFLOW = ("", "TOO_MANY_REFUSALS", "", "more kinds of refused reports within a minute than are told apart")

Key = tuple[str, str, str, str]
"""Actor, code, service and reason: refusals that share them are equal."""


def key_of(actor: str, detail: Mapping[str, object]) -> Key:
    """Return what makes a noted refusal equal to others."""
    return actor, str(detail.get("code", "")), str(detail.get("service", "")), str(detail.get("reason", ""))


def tally(recent: Mapping[Key, JsonObject], refusals: Iterable[Refusal]) -> dict[Key, JsonObject]:
    """Return the details of the rows that change, by key: those in `recent` are to be replaced, the others added.

    Args:
        recent: details of the refusals noted within `WINDOW`.
        refusals: to be noted now.
    """
    changed: dict[Key, JsonObject] = {}
    told_apart = set(recent)
    for refusal in refusals:
        key: Key = (refusal.actor, refusal.code, refusal.service, refusal.reason)
        if key not in told_apart and len(told_apart) >= ROWS_PER_WINDOW:
            key = OVERFLOW
        told_apart.add(key)
        known = changed.get(key) or recent.get(key)
        changed[key] = _once_more(known, refusal) if known else _first(key, refusal)
    return changed


def _first(key: Key, refusal: Refusal) -> JsonObject:
    _, code, service, reason = key
    shown: JsonObject = {"report": refusal.report} if refusal.report else {}
    return {"code": code, "reason": reason, "service": service, "times": 1, "last_at": refusal.at.isoformat(), **shown}


def _once_more(known: JsonObject, refusal: Refusal) -> JsonObject:
    times = known.get("times", 1)
    return {**known, "times": (times if isinstance(times, int) else 1) + 1, "last_at": refusal.at.isoformat()}
