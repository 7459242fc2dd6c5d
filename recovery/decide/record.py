"""Writes down what a decision rested on, and reads it back, so that the decision can be made again."""

from dataclasses import fields, replace
from typing import Any, get_type_hints

from pydantic import TypeAdapter

from recovery.config.fleet import Fleet
from recovery.decide.facts import Facts
from recovery.decide.judgement import Judgement
from recovery.models import Basis, Decision, JsonObject, Recovery, Status

GIVEN = frozenset({"fleet", "service", "installed", "own_locks"})
"""Not recorded: the configuration has a version, and a replay brings its own; no guard looks at a recovery's own locks."""

BLANK: dict[str, JsonObject] = {
    "recovery": {"message": ""},
    "failure": {"message": "", "stack": None, "details": {}, "labels": {}},
}
"""Not recorded either, and what stands for it: free text of reports. No guard looks at it, and it may hold secrets."""

_TYPES = get_type_hints(Facts)
_ADAPTERS: dict[str, TypeAdapter[Any]] = {one.name: TypeAdapter(_TYPES[one.name]) for one in fields(Facts) if one.name not in GIVEN}
_ALL: TypeAdapter[Facts] = TypeAdapter(Facts)
_LEFT_OUT: Any = dict.fromkeys(GIVEN, True) | {name: set(blank) for name, blank in BLANK.items()}


def basis_of(facts: Facts, judgement: Judgement) -> Basis:
    """Return what is kept of a decision."""
    kept: dict[str, Any] = _ALL.dump_python(facts, mode="json", exclude=_LEFT_OUT)
    for name, blank in BLANK.items():
        if kept[name] is not None:
            kept[name] |= blank
    return Basis(
        recovery_id=facts.recovery.id,
        service=facts.service.name,
        at=facts.now,
        config_version=facts.fleet.version,
        facts=kept,
        decisions=tuple(essence(decision) for decision in judgement.decisions),
    )


def essence(decision: Decision) -> JsonObject:
    """Return what makes a decision the same as another one."""
    return {
        "choice": str(decision.choice),
        "guard": decision.guard,
        "strategy": decision.strategy,
        "until": decision.until.isoformat() if decision.until else None,
    }


def facts_of(basis: Basis, fleet: Fleet, installed: frozenset[str]) -> Facts:
    """Return the facts of a recorded decision under `fleet`, in which its service must be declared.

    What depends on what is as `fleet` says. Under another configuration than the recorded one, a cooldown lock that a recorded
    attempt had taken is left out: it was taken for as long as the other one said, and the attempt itself is judged by `fleet`.

    Raises pydantic's `ValidationError` for what another version recorded in another shape.
    """
    known = {name: adapter.validate_python(basis.facts[name]) for name, adapter in _ADAPTERS.items() if name in basis.facts}
    facts = Facts(fleet=fleet, service=fleet.services[basis.service], installed=installed, **known)
    seen = {name: facts.dependencies.get(name, Status.UNKNOWN) for name in fleet.roots(basis.service)}
    ran = {attempt.strategy for attempt in facts.past} if fleet.version != basis.config_version else frozenset()
    return replace(facts, dependencies=seen, locks={name: left for name, left in facts.locks.items() if name not in ran})


def recovery_of(basis: Basis) -> Recovery:
    """Return the recovery as it was when the decision was made."""
    found: Recovery = _ADAPTERS["recovery"].validate_python(basis.facts["recovery"])
    return found
