"""What `force-recover` and `degradations` tell of what may degrade a service again: rules that are overruled, checks that still fail."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from recovery.degrade.keys import SYSTEM
from recovery.models import RuleStanding, Status

if TYPE_CHECKING:
    from recovery.config.fleet import Fleet
    from workers.cli.parts import Parts


def overruled_lines(parts: "Parts", service: str | None) -> list[str]:
    """Return a sentence for each rule that a person has overruled; of one service (or `*`): its own and the system's."""
    held = [each for each in parts.store.rule_standings().values() if each.in_force and each.overruled_by]
    return [_sentence(each, parts.fleet) for each in held if service in {None, each.service} or each.service == SYSTEM]


def after_force(parts: "Parts", service: str) -> Iterator[str]:
    """Return what whoever ended a degradation of `service` (or `*`) by force should know: what stays without effect, and what does not."""
    held = [each for each in parts.store.rule_standings().values() if each.in_force and each.overruled_by and each.service == service]
    yield from (_sentence(each, parts.fleet) for each in held)
    state = parts.store.service_states().get(service)
    if state is not None and state.status is Status.UNHEALTHY:
        silenced = f'`recovery silence {service} --for 30m --reason "..."`'
        yield f"Its checks still fail: the platform may degrade it again; {silenced} prevents that."


def _sentence(standing: RuleStanding, fleet: "Fleet | None") -> str:
    rule = next((each for each in fleet.degradation if each.name == standing.rule), None) if fleet else None
    of = "the system" if standing.service == SYSTEM else standing.service
    lets_go = f"{rule.until_condition} has held for {rule.calm:g} s" if rule else "the platform has forgotten it"
    return f"The rule {standing.rule} is overruled by {standing.overruled_by}: it degrades {of} no more until {lets_go}."
