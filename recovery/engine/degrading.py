"""Lets people degrade services, or the whole system, and end whatever degrades them. Each is an event and an audit row."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from recovery.config.degradation import CapabilityDeclaration, FeatureDeclaration, not_for, rising
from recovery.config.fleet import Fleet
from recovery.degrade.features import resolved
from recovery.degrade.keys import MANUAL, RULE, STRATEGY_LAYERS, SYSTEM
from recovery.engine.consent import LONGEST_NAME, LONGEST_TEXT, tidy
from recovery.engine.recording import CHANGED, ENDED, ENDING, PUT, changed, record, record_one
from recovery.errors import DegradationInvalid, NotDegraded, ServiceNotFound, UnknownName, listing, nearest
from recovery.models import Degradation, Event, JsonObject, Level, Mitigation
from recovery.ports import Clock, Degradations, Store

LONGEST = timedelta(days=31)
"""What should last longer is no degradation any more: change the service."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A degradation that somebody asks for."""

    service: str
    """A declared service, or `*` for the whole system."""
    level: Level
    by: str
    reason: str
    ttl: timedelta = timedelta(minutes=15)
    features: Sequence[str] = ()
    """Features to switch off, besides those that the declarations switch off at this level."""
    capabilities: Mapping[str, int] = field(default_factory=dict)
    """Capability -> percent left; goes before what is declared."""
    ramp: tuple[int, ...] = ()
    ramp_stage: float = 30.0
    """Seconds."""


class Degrading:
    """The one place where people degrade and restore.

    Args:
        store: keeps events, the audit trail, mitigations and the standings of rules.
        degradations: where services read them; changes are told here, not there.
        fleet: returns the configuration in force.
        clock: returns the current time.
        undo: takes back what else a remedy left in place, such as a breaker held open; default: nothing.
    """

    def __init__(
        self,
        store: Store,
        degradations: Degradations,
        fleet: Callable[[], Fleet],
        clock: Clock,
        undo: Callable[[Mitigation], object] = lambda _mitigation: None,
    ) -> None:
        self._store = store
        self._degradations = degradations
        self._fleet = fleet
        self._clock = clock
        self._undo = undo

    def all(self) -> list[Degradation]:
        """Return every degradation there is, also those that are being restored."""
        return self._degradations.all()

    def require(self, service: str) -> None:
        """Raise `ServiceNotFound` with the nearest name for what is neither a declared service nor `*`."""
        services = self._fleet().services
        if service != SYSTEM and service not in services:
            raise ServiceNotFound(f"no service '{service}' is declared{nearest(service, services)}", service=service)

    def degrade(self, wish: Wish) -> Degradation:
        """Put a person's degradation in force, instead of the one that a person put before.

        Raises:
            ServiceNotFound: the service is not declared; with the nearest name.
            UnknownName: a feature or capability is not declared although others are; with the nearest name.
            DegradationInvalid: something else about it is wrong.
        """
        fleet, now = self._fleet(), self._clock()
        self._require(wish, fleet)
        before = self._degradations.current(wish.service, MANUAL)
        own = Degradation(
            service=wish.service,
            level=wish.level,
            since=now,
            until=now + wish.ttl,
            features_off=tuple(dict.fromkeys(wish.features)),
            capabilities=dict(wish.capabilities),
            reason=tidy(wish.reason, LONGEST_TEXT),
            fence=max(int(now.timestamp() * 1000), before.fence + 1 if before else 0),
            layer=MANUAL,
            ramp=wish.ramp,
            ramp_stage=wish.ramp_stage,
            by=tidy(wish.by, LONGEST_NAME),
        )
        whole = resolved(own, fleet.features, fleet.capabilities)
        if not self._degradations.put(whole):
            raise DegradationInvalid("somebody degraded it at the same moment; look at `recovery degradations`")
        record_one(self._store, whole, changed(whole, PUT, now, whole.by))
        return whole

    def restore(self, service: str, by: str, reason: str = "") -> Degradation:
        """Let a person's degradation end from now on, by its ramp if it has one; raises `NotDegraded` if there is none.

        Raises `ServiceNotFound` for a service that is not declared.
        """
        self.require(service)
        now, before = self._clock(), self._degradations.current(service, MANUAL)
        if before and before.until <= now:
            raise NotDegraded(f"what degraded {_named(service)} by hand is coming back already; `recovery force-recover` ends it at once")
        if before is None or not self._degradations.end(service, None, MANUAL):
            raise NotDegraded(f"nobody has degraded {_named(service)} by hand; `recovery degradations` lists what is in force")
        change = ENDING if before.ramp else ENDED
        record_one(self._store, before, changed(before, change, now, tidy(by, LONGEST_NAME), tidy(reason, LONGEST_TEXT)))
        return replace(before, until=now)

    def force_recover(self, service: str, by: str, reason: str = "", layer: str | None = None) -> list[Degradation]:
        """Drop at once, without any ramp, every layer (or one) that degrades a service itself, and return what was dropped.

        The mitigations behind it end as well, so nothing restores it a second time, and a rule stays without effect until its own
        condition has let it go. What degrades the whole system is dropped with `*` only.

        Raises `ServiceNotFound`, `UnknownName` for a layer that nobody uses, or `NotDegraded` if there is nothing to drop.
        """
        now, author = self._clock(), tidy(by, LONGEST_NAME)
        everywhere = self._degradations.all()
        if service not in {each.service for each in everywhere}:
            self.require(service)
        self._require_layer(layer, {each.layer for each in everywhere})
        there = [each for each in everywhere if each.service == service and layer in {None, each.layer}]
        left = [each for each in self._store.mitigations() if each.service == service and self._is_behind(each, layer)]
        standings = self._store.rule_standings().values()
        ruled = [each.rule for each in standings if each.service == service and each.in_force and not each.overruled_by]
        ruled = [rule for rule in ruled if layer in {None, RULE + rule}]
        if not (there or left or ruled):
            where = f" in layer '{layer}'" if layer else ""
            raise NotDegraded(f"nothing degrades {_named(service)}{where}; `recovery degradations` lists what is in force")
        for rule in ruled:
            self._overrule(rule, author)
        for mitigation in left:
            self._undo(mitigation)
            self._store.end_mitigation(mitigation, [])
        dropped = [each for each in there if self._degradations.clear(service, None, each.layer)]
        why = tidy(reason, LONGEST_TEXT)
        for each in dropped:
            record_one(self._store, each, changed(each, ENDED, now, author, why))
        if not dropped:
            rest: JsonObject = {"change": ENDED, "layer": layer or "every", "reason": why, "by": author}
            record(self._store, [Event(CHANGED, now, service, None, rest)])
        return dropped

    def _require_layer(self, layer: str | None, used: set[str]) -> None:
        known = {MANUAL, *STRATEGY_LAYERS.values(), *(RULE + rule.name for rule in self._fleet().degradation), *used}
        if layer is not None and layer not in known:
            raise UnknownName(f"there is no layer '{layer}'{nearest(layer, known)} (known: {listing(known)})", name=layer)

    def _overrule(self, rule: str, by: str) -> None:
        """Let a rule that holds have no effect, whoever else moves it on at the same moment."""
        while (standing := self._store.rule_standings().get(rule)) and standing.in_force and not standing.overruled_by:
            if self._store.move_rule(standing, replace(standing, overruled_by=by)):
                return

    def _is_behind(self, mitigation: Mitigation, layer: str | None) -> bool:
        own = STRATEGY_LAYERS.get(mitigation.strategy)
        return own is not None and layer in {None, own}

    def _require(self, wish: Wish, fleet: Fleet) -> None:
        self.require(wish.service)
        if wish.level is Level.NORMAL:
            raise DegradationInvalid("'normal' degrades nothing; restore it, or choose partial, limited, minimal or emergency")
        if not tidy(wish.reason, LONGEST_TEXT):
            raise DegradationInvalid("a degradation needs a reason: whoever finds it should know why")
        if not tidy(wish.by, LONGEST_NAME):
            raise DegradationInvalid("a degradation needs an author")
        if not timedelta() < wish.ttl <= LONGEST:
            raise DegradationInvalid(f"a degradation lasts more than 0 s and {LONGEST.days} days at most")
        if not 0 < wish.ramp_stage <= LONGEST.total_seconds():
            raise DegradationInvalid(f"a stage of a ramp lasts more than 0 s and {LONGEST.days} days at most")
        try:
            rising(wish.ramp)
        except ValueError as error:
            raise DegradationInvalid(f"the ramp {error}") from None
        for name, percent in wish.capabilities.items():
            if not 0 <= percent <= 100:
                raise DegradationInvalid(f"capability '{name}' must be left a percentage from 0 to 100, not {percent}")
        _require_declared("feature", wish.features, fleet.features, wish.service)
        _require_declared("capability", wish.capabilities, fleet.capabilities, wish.service)


def _require_declared(
    kind: str,
    named: Sequence[str] | Mapping[str, int],
    declared: Mapping[str, FeatureDeclaration] | Mapping[str, CapabilityDeclaration],
    service: str,
) -> None:
    """Refuse names that are declared for another service, or not at all, unless none is: then services and remedies alone know them."""
    for name in named:
        if not name or len(name) > 100:
            raise DegradationInvalid(f"the name of a {kind} has 1 to 100 characters")
        if declared and name not in declared:
            raise UnknownName(f"no {kind} '{name}' is declared{nearest(name, declared)} (declared: {listing(declared)})", name=name)
        if declared and service != SYSTEM and (why := not_for(service, kind, name, declared[name])):
            raise DegradationInvalid(why)


def _named(service: str) -> str:
    return "the system" if service == SYSTEM else f"'{service}'"
