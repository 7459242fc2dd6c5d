"""Makes recorded decisions again, under the same configuration or another one, and says what comes out differently. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from recovery.config.fleet import Fleet
from recovery.decide.facts import Facts
from recovery.decide.judgement import judge
from recovery.decide.planner import plan, plan_one
from recovery.decide.record import essence, facts_of, recovery_of
from recovery.errors import UnknownName
from recovery.models import Basis, JsonObject, Kind, Plan, Recovery
from recovery.ports import Strategy
from recovery.registry import Registry


@dataclass(frozen=True, slots=True)
class Replayed:
    """One recorded decision, made again."""

    basis: Basis
    same: bool
    was: str
    """What was decided, in words."""
    now: str
    """What would be decided."""


def replay(bases: Iterable[Basis], fleet: Fleet, strategies: Registry[Strategy]) -> list[Replayed]:
    """Make each recorded decision again, in the order given.

    A recovery that had not begun is planned anew, too; where the plan comes out differently, the first of its decisions says
    so. Later decisions rest on what happened in between, which no replay can change. A dependency that `fleet` adds counts as
    unknown: nobody looked at it for that decision.

    Args:
        bases: what was recorded, oldest first.
        fleet: the configuration to decide by.
        strategies: every strategy there is.
    """
    return list(_each(bases, fleet, strategies))


def _each(bases: Iterable[Basis], fleet: Fleet, strategies: Registry[Strategy]) -> Iterator[Replayed]:
    seen: set[str] = set()
    for basis in bases:
        first = basis.recovery_id not in seen
        seen.add(basis.recovery_id)
        yield _again(basis, fleet, strategies, first=first)


def _again(basis: Basis, fleet: Fleet, strategies: Registry[Strategy], *, first: bool) -> Replayed:
    was = in_words(basis.decisions)
    if basis.service not in fleet.services:
        return Replayed(basis, same=False, was=was, now=f"nothing: {basis.service} is not declared")
    recovery = recovery_of(basis)
    planned = _plan(basis, recovery, fleet, strategies)
    facts = facts_of(basis, fleet, frozenset(strategies))
    made = decided(replace(facts, recovery=replace(recovery, plan=planned)))
    now = in_words(made)
    if first and _names(planned) != _names(recovery.plan):
        was, now = f"{was} (plan: {_names(recovery.plan)})", f"{now} (plan: {_names(planned)})"
        return Replayed(basis, same=False, was=was, now=now)
    return Replayed(basis, same=list(made) == list(basis.decisions), was=was, now=now)


def decided(facts: Facts) -> tuple[JsonObject, ...]:
    """Return what these facts come to, in the form in which it is recorded."""
    return tuple(essence(decision) for decision in judge(facts).decisions)


def _plan(basis: Basis, recovery: Recovery, fleet: Fleet, strategies: Registry[Strategy]) -> Plan:
    """Plan anew what had not begun, unless its plan was older than the configuration of the decision, or was no choice at all."""
    known, service = recovery.plan, fleet.services[basis.service]
    chosen = known.source != "restore" and recovery.kind is not Kind.EMERGENCY  # an emergency does without what is broken
    if recovery.attempt or not chosen or recovery.config_version != basis.config_version:
        return known
    if known.source != "manual":
        return plan(service, recovery.category, strategies)
    named = [attempt.strategy for attempt in known.attempts] or [left.strategy for left in known.left_out]
    try:
        return plan_one(service, named[0], recovery.category, strategies) if named else known
    except UnknownName:
        return known


def in_words(decisions: Iterable[JsonObject]) -> str:
    """Return recorded decisions as one readable line."""
    return "; ".join(map(_sentence, decisions)) or "nothing"


def _sentence(decision: JsonObject) -> str:
    strategy, until = decision.get("strategy"), decision.get("until")
    parts = [str(decision["choice"]), f" {strategy}" if strategy else "", f" by {decision['guard']}", f" until {until}" if until else ""]
    return "".join(parts)


def _names(planned: Plan) -> str:
    return ", then ".join(attempt.strategy for attempt in planned.attempts) or "nothing"
