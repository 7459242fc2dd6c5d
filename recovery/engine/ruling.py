"""Judges the automatic rules of degradation and keeps what they put in force. Any number of workers may do so at once.

The database says how each rule stands; whoever moves a standing on, by compare and swap, tells of it and carries it out. What is
in Redis follows: it is put again where it was lost, and ended where the standing says so. Only a database that knows less than
Redis, because it was lost or restored from a copy, takes over from there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from recovery.config.degradation import DegradationRule
from recovery.config.fleet import Fleet
from recovery.decide.measures import Measure, Measures, measured
from recovery.degrade.features import SYSTEM, resolved
from recovery.degrade.keys import RULE
from recovery.degrade.rules import Standing, judge
from recovery.engine.chronicle import tell
from recovery.engine.recording import ENDED, ENDING, LAPSED, PUT, changed
from recovery.errors import StoreUnavailable
from recovery.models import BreakerView, Degradation, Event, RuleStanding
from recovery.ports import Breakers, Clock, Degradations, Store

log = structlog.get_logger("recovery")

RENEW_AT = 0.5
"""Part of its TTL that must be left of what a rule keeps in force; below, it is renewed."""
SLACK = timedelta(minutes=1)
"""An end this much further away than the TTL was written by a clock that has been set back since."""
HIGHEST = 2**31 - 2
"""The last fence that a rule can come to; one beyond it was written by something else."""

There = Mapping[tuple[str, str], Degradation]


@dataclass(frozen=True, slots=True)
class Moment:
    """What one look knows."""

    now: datetime
    fleet: Fleet
    measures: Measures
    there: There
    """What is in Redis, by service and layer; read before the standings, so that it is never newer than they are."""


class Ruling:
    """Looks once per tick.

    Args:
        store: keeps standings, events and the audit trail.
        degradations: where services read them; changes are told here, not there.
        breakers: the fleet's, for the metric `open_breakers`.
        fleet: returns the configuration in force.
        clock: returns the current time.
    """

    def __init__(self, store: Store, degradations: Degradations, breakers: Breakers, fleet: Callable[[], Fleet], clock: Clock) -> None:
        self._store = store
        self._degradations = degradations
        self._breakers = breakers
        self._fleet = fleet
        self._clock = clock
        self._unlisted = False

    def look(self) -> None:
        """Judge every rule once. In a dry run nothing is degraded; without Redis or the database all waits: `StoreUnavailable`."""
        fleet = self._fleet()
        if fleet.platform.dry_run or not (fleet.degradation or self._store.rule_standings()):
            return
        there = {(each.service, each.layer): each for each in self._degradations.all()}
        now = self._clock()
        standings = self._taken_over(there, now)
        moment = Moment(now, fleet, self._measure(fleet, now) if fleet.degradation else {}, there)
        for rule in fleet.degradation:
            standing = standings.pop(rule.name, None)
            if standing and standing.service != _of(rule):
                self._forget(standing, moment)
            else:
                self._judge(rule, standing, moment)
        for standing in standings.values():
            self._forget(standing, moment)

    def _taken_over(self, there: There, now: datetime) -> dict[str, RuleStanding]:
        """Return how every rule stands; what one put that the database does not know of counts as its own, and is told no second time."""
        standings = self._store.rule_standings()
        unknown = {each.layer.removeprefix(RULE): each for each in there.values() if _is_unknown(each, standings, now)}
        for rule, found in unknown.items():
            if self._degradations.current(found.service, found.layer) != found:
                continue  # another judge has ended it and forgotten the rule since `there` was read
            standing = RuleStanding(rule, found.service, in_force=True, until=found.until, version=found.fence - 1)
            if self._store.move_rule(standings.get(rule), standing):
                log.info("rule.taken_over", rule=rule, service=found.service, until=found.until.isoformat())
        return self._store.rule_standings() if unknown else standings

    def _measure(self, fleet: Fleet, now: datetime) -> Measures:
        return measured(fleet, self._store.service_states(), self._store.open_recoveries(), self._known_breakers(fleet), now)

    def _known_breakers(self, fleet: Fleet) -> list[BreakerView] | None:
        """Return every breaker, if a rule asks; None if they cannot be listed, which only that rule waits for."""
        if not any(rule.condition.metric == "open_breakers" for rule in fleet.degradation):
            return None
        try:
            found = self._breakers.views()
        except StoreUnavailable as error:
            if not self._unlisted:
                log.warning("rule.waits", metric="open_breakers", reason=str(error))
            self._unlisted = True
            return None
        self._unlisted = False
        return found

    def _judge(self, rule: DegradationRule, before: RuleStanding | None, moment: Moment) -> None:
        known = before or RuleStanding(rule.name, _of(rule))
        facts = moment.measures.get(known.service, {})
        after = _judged(rule, known, facts, moment.now)
        wanted = self._wanted(rule, after, moment)
        if after.in_force and not after.overruled_by:
            self._keep(known, after, wanted, moment, new=before is None)
        elif after != known:
            self._let_go(known, after, wanted, moment, new=before is None)
        elif (found := moment.there.get((wanted.service, wanted.layer))) and found.until > moment.now:
            self._degradations.end(wanted.service, known.version, wanted.layer)  # whoever let go was lost on the way

    def _keep(self, known: RuleStanding, after: RuleStanding, wanted: Degradation, moment: Moment, *, new: bool) -> None:
        """Put in force what is not there, or not so."""
        found = moment.there.get((wanted.service, wanted.layer))
        found = found if found and found.until > moment.now else None
        if after == known and found and _alike(found, wanted):
            return
        tells = not known.in_force or (found is not None and not _alike(found, wanted))
        events = [changed(wanted, PUT, moment.now, _author(known))] if tells else []
        if self._move(None if new else known, after, events) and not self._degradations.put(wanted):
            log.warning("rule.refused", rule=known.rule, service=known.service, reason="something newer is in force in its layer")

    def _let_go(self, known: RuleStanding, after: RuleStanding, wanted: Degradation, moment: Moment, *, new: bool) -> None:
        """Write down how it stands; end what it had put."""
        ends = known.in_force and not after.in_force and not known.overruled_by
        lapsed = known.until is not None and known.until <= moment.now
        change = LAPSED if lapsed else ENDING if wanted.ramp else ENDED
        events = [changed(wanted, change, moment.now, _author(known))] if ends else []
        if self._move(None if new else known, after, events) and ends:
            self._degradations.end(wanted.service, wanted.fence, wanted.layer)

    def _forget(self, standing: RuleStanding, moment: Moment) -> None:
        """End what a rule put that is not declared any more, or not for this service."""
        layer = RULE + standing.rule
        found = moment.there.get((standing.service, layer))
        is_told = found is not None and standing.in_force and found.until > moment.now
        why = "the rule is not declared any more"
        events = [changed(found, ENDING if found.ramp else ENDED, moment.now, _author(standing), why)] if found and is_told else []
        if self._move(standing, None, events):
            self._degradations.end(standing.service, max(standing.version, found.fence if found else 0), layer)

    def _wanted(self, rule: DegradationRule, standing: RuleStanding, moment: Moment) -> Degradation:
        found = moment.there.get((standing.service, RULE + rule.name))
        own = Degradation(
            service=standing.service,
            level=rule.level,
            since=found.since if found and found.until > moment.now else moment.now,
            until=standing.until or moment.now,
            reason=str(rule.condition),
            fence=max(standing.version + 1, found.fence if found else 0),  # a database that was restored counts from behind
            layer=RULE + rule.name,
            ramp=rule.ramp,
            ramp_stage=rule.ramp_stage,
            by=_author(standing),
        )
        return resolved(own, moment.fleet.features, moment.fleet.capabilities)

    def _move(self, before: RuleStanding | None, after: RuleStanding | None, events: list[Event]) -> bool:
        moved = self._store.move_rule(before, after, events)
        if moved:
            tell(events)
        return moved


def _is_unknown(found: Degradation, standings: Mapping[str, RuleStanding], now: datetime) -> bool:
    """Say whether a rule put it when the database knew more than now: the fence is the version that the standing had then."""
    if not found.layer.startswith(RULE) or found.until <= now or found.fence > HIGHEST:
        return False
    known = standings.get(found.layer.removeprefix(RULE))
    return known is None or (known.service == found.service and known.version < found.fence)


def _judged(rule: DegradationRule, known: RuleStanding, facts: Mapping[str, Measure], now: datetime) -> RuleStanding:
    """Return how a rule stands now. What nobody renewed in time has ended, and the rule begins anew.

    Patience is measured from look to look, not by this clock: what was seen once does not hold for longer because nobody looks.
    What a person ended by force is no longer there to run out: that stands until the rule's own condition lets it go.
    """
    if known.in_force and not known.overruled_by and (known.until is None or known.until <= now):
        return replace(known, in_force=False, since=None, until=None)
    seen = facts.get(rule.condition.metric)
    values, at = ({rule.condition.metric: seen.value}, seen.at) if seen else ({}, now)
    judged = judge(rule, Standing(known.in_force, known.since), values, at)
    after = replace(known, in_force=judged.in_force, since=judged.since)
    if not after.in_force:
        return replace(after, until=None, overruled_by="")
    return replace(after, until=now + timedelta(seconds=rule.ttl)) if seen and _is_due(rule, after.until, now) else after


def _is_due(rule: DegradationRule, until: datetime | None, now: datetime) -> bool:
    left = until - now if until else timedelta()
    return not timedelta(seconds=rule.ttl * RENEW_AT) < left <= timedelta(seconds=rule.ttl) + SLACK


def _alike(one: Degradation, other: Degradation) -> bool:
    """Say whether services see the same in both."""
    names = ("level", "features_off", "capabilities", "ramp", "ramp_stage", "reason")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def _of(rule: DegradationRule) -> str:
    return rule.service or SYSTEM


def _author(standing: RuleStanding) -> str:
    return f"rule {standing.rule}"
