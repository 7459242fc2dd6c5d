"""Writes down what a decision rested on, and reads it back, so that the decision can be made again."""

from dataclasses import fields, replace
from typing import Any, get_type_hints

from pydantic import JsonValue, TypeAdapter

from recovery.config.fleet import Fleet
from recovery.decide.facts import Facts
from recovery.decide.judgement import Judgement
from recovery.decide.plain import plain
from recovery.detect.flapping import change_rate, is_flapping
from recovery.models import Basis, Decision, JsonObject, Recovery, ServiceState, Status

GIVEN = frozenset({"fleet", "service", "installed", "own_locks"})
"""Not recorded: the configuration has a version, and a replay brings its own; no guard looks at a recovery's own locks."""

BLANK: dict[str, JsonObject] = {
    "recovery": {"message": ""},
    "failure": {"message": "", "stack": None, "details": {}, "labels": {}},
}
"""What stands for free text of reports: no guard looks at it, and it may hold secrets."""

THRESHOLDS = "flap_thresholds"
"""Key of what told flapping from settled when the facts were recorded: the high rate and the low one."""

_TYPES = get_type_hints(Facts)
_ADAPTERS: dict[str, TypeAdapter[Any]] = {one.name: TypeAdapter(_TYPES[one.name]) for one in fields(Facts) if one.name not in GIVEN}


def basis_of(facts: Facts, judgement: Judgement) -> Basis:
    """Return what is kept of a decision."""
    platform, failure, state, approval = facts.fleet.platform, facts.failure, facts.state, facts.approval
    kept: JsonObject = {
        "now": facts.now.isoformat(),
        "recovery": plain(facts.recovery, BLANK["recovery"]),
        "failure": plain(failure, BLANK["failure"]) if failure else None,
        "state": plain(state) if state else None,
        "dependencies": {name: str(status) for name, status in facts.dependencies.items()},
        "past": [plain(attempt) for attempt in facts.past],
        "locks": dict(facts.locks),
        "silences": [plain(silence) for silence in facts.silences],
        "blind": facts.blind,
        "load": plain(facts.load),
        "approval": plain(approval) if approval else None,
        THRESHOLDS: [platform.flap_high, platform.flap_low],
    }
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
    attempt had taken is left out: it was taken for as long as the other one said, and the attempt itself is judged by `fleet`. Whether
    the service flaps is said anew by the looks that were recorded; whether the platform was blind stays as it was.

    Raises pydantic's `ValidationError` for what another version recorded in another shape.
    """
    known = {name: adapter.validate_python(basis.facts[name]) for name, adapter in _ADAPTERS.items() if name in basis.facts}
    facts = Facts(fleet=fleet, service=fleet.services[basis.service], installed=installed, **known)
    seen = {name: facts.dependencies.get(name, Status.UNKNOWN) for name in fleet.roots(basis.service)}
    facts = replace(facts, dependencies=seen)
    if fleet.version == basis.config_version:
        return facts
    ran = {attempt.strategy for attempt in facts.past}
    locks = {name: left for name, left in facts.locks.items() if name not in ran}
    return replace(facts, locks=locks, state=_reflected(facts.state, fleet, basis.facts.get(THRESHOLDS)))


def _reflected(state: ServiceState | None, fleet: Fleet, thresholds: JsonValue) -> ServiceState | None:
    """Return what the recorded looks say of a service under the thresholds of `fleet`.

    Between the two thresholds it depends on what came before, which is not recorded: there it counts as it was recorded, or as settled
    if the high one was raised since.
    """
    if state is None:
        return None
    platform = fleet.platform
    raised = isinstance(thresholds, list) and isinstance(thresholds[0], int | float) and platform.flap_high > thresholds[0]
    rate = change_rate(state.recent) if state.recent else state.change_rate
    flaps = is_flapping(rate, before=state.flapping and not raised, high=platform.flap_high, low=platform.flap_low)
    return replace(state, change_rate=rate, flapping=flaps)


def recovery_of(basis: Basis) -> Recovery:
    """Return the recovery as it was when the decision was made."""
    found: Recovery = _ADAPTERS["recovery"].validate_python(basis.facts["recovery"])
    return found
