"""What `recovery breakers` says of a breaker: one row of the list, one line each of `show`, or a table for JSON."""

from typing import Any

from recovery.errors import BreakerSpoiled
from recovery.models import BreakerOrder, BreakerState, BreakerView

COLUMNS = ("name", "state", "service", "calls", "failed", "slow", "in a row", "opened", "since", "next", "by", "reason")
DROP = ("slow", "calls", "service", "opened", "in a row", "failed", "since", "by")
"""What a narrow terminal does without, least important first."""
SHUT = frozenset({BreakerState.OPEN, BreakerState.REPAIRING})
MODES = frozenset({BreakerOrder.FORCED_OPEN, BreakerOrder.DISABLED, BreakerOrder.METRICS_ONLY})
"""Orders that stand until another one, or until their time is over."""


def row(view: BreakerView) -> list[object]:
    """Return a breaker's row under `COLUMNS`; of one that somebody steers: since when, by whom and why."""
    return [
        view.name,
        word(view.state) + (f" {view.percent} %" if view.percent else ""),
        view.service,
        view.calls,
        view.failures,
        view.slow,
        view.in_a_row,
        view.trips,
        view.opened_at if view.mode is BreakerOrder.AUTO else view.mode_since,
        _next(view),
        view.mode_by,
        view.reason if view.mode is BreakerOrder.AUTO else view.mode_reason,
    ]


def spoiled_row(spoiled: BreakerSpoiled) -> list[object]:
    """Return the row of one under whose keys lies what no breaker can be."""
    told = spoiled_table(spoiled)
    return [told.get(column) for column in COLUMNS]


def facts(view: BreakerView) -> list[tuple[str, object]]:
    """Return what there is to say of a breaker, each with its label."""
    from workers.cli.render import counted

    return [
        ("breaker", view.name),
        ("service", view.service),
        ("state", word(view.state) + (f", lets {view.percent} % through" if view.percent else "")),
        *_ordered(view),
        (
            "window",
            f"{counted(view.calls, 'call')}, {view.failures} failed, {view.slow} slow; {counted(view.in_a_row, 'failure')} in a row",
        ),
        ("opened", f"{counted(view.trips, 'time')}, {view.streak} since it was last closed"),
        ("votes", view.votes),
        ("open since", view.opened_at),
        ("next", _next(view)),
        ("reason", view.reason),
    ]


def _ordered(view: BreakerView) -> list[tuple[str, object]]:
    """Return what was ordered, by whom, until when and why."""
    if view.mode is BreakerOrder.AUTO:
        return [("ordered", word(view.mode))]
    return [
        ("ordered", word(view.mode)),
        ("ordered by", view.mode_by),
        ("ordered at", view.mode_since),
        ("until", view.mode_until or f"`recovery breakers auto {view.name}`"),
        ("why", view.mode_reason),
    ]


def _next(view: BreakerView) -> str | None:
    """Return in words what it waits for; None: nothing."""
    from workers.cli.render import duration, moment

    if view.mode is not BreakerOrder.AUTO:
        return f"until {moment(view.mode_until)}" if view.mode_until else "until `auto`"
    if view.state is BreakerState.REPAIRING:
        return "the recovery probes"
    if view.state is BreakerState.HALF_OPEN:
        return "the ramp goes on" if view.percent else "probes decide"
    wait = retry_in(view)
    if wait is None:
        return None
    return f"probe in {duration(wait)}" if wait >= 0.01 else "next call probes"


def retry_in(view: BreakerView) -> float | None:
    """Return the seconds until callers may probe, 0 if the next call does; None unless it is open."""
    if view.state not in SHUT or view.now is None:
        return None
    ends = [moment for moment in (view.retry_at, view.repairing_until) if moment is not None]
    return max(0.0, *((moment - view.now).total_seconds() for moment in ends)) if ends else None


def word(of: BreakerState | BreakerOrder) -> str:
    """Return a state or an order as people read it."""
    return spelled(of.value)


def spelled(word: str) -> str:
    """Return the word of a state as people read it."""
    return word.replace("_", "-")


def table(view: BreakerView) -> dict[str, Any]:
    """Return a breaker as JSON knows it."""
    from workers.cli.render import plain

    told: dict[str, Any] = plain(view)
    return {**{name: value for name, value in told.items() if name != "now"}, "retry_in": retry_in(view)}


def spoiled_table(spoiled: BreakerSpoiled) -> dict[str, Any]:
    """Return one under whose keys lies what no breaker can be, as JSON knows it."""
    name = spoiled.payload["name"]
    return {"name": name, "state": "spoiled", "reason": spoiled.message.removeprefix(f"breaker '{name}': ")}
