"""Check what the declared services say about each other and about strategies: unknown names, cycles, plans that cannot act."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import get_args

from pydantic import BaseModel

from recovery.config.degradation import CapabilityDeclaration, DegradationRule, FeatureDeclaration, not_for
from recovery.config.fleet import ServiceDeclaration
from recovery.config.locate import Where
from recovery.config.problems import Report
from recovery.errors import listing, nearest
from recovery.models import Category

Refuses = Callable[[ServiceDeclaration, Category], str | None]

PRODUCT_STRATEGIES = frozenset(
    {
        *("restart", "reload", "connection_reset", "scale"),
        *("cache_rebuild", "relief"),
        *("degrade", "throttle", "quarantine"),
        *("backup_fallback", "failover", "restore"),
        *("circuit_reset", "backoff", "queue_drain"),
    }
)
"""Every strategy that the product knows by name; one that this installation lacks is worth a warning, not an error."""

MEASURED = frozenset({"health_score", "change_rate"})
"""Metrics of a service that its checks tell."""

MOST_CYCLES = 20
"""Cycles told at once; each takes a walk over the whole fleet to find."""


@dataclass(frozen=True)
class Mention:
    """Marks, in the type of an option, text that must be the name of something declared: `Annotated[str, Mention("check")]`."""

    kind: str
    """`check` (`service.check`), `feature` or `capability`; of the last two any name may be used while none is declared."""


def check_strategy(name: str, where: Where, known: Collection[str], report: Report) -> bool:
    """Say whether `name` can be used here: report an unknown word as an error, a strategy that is not installed as a warning."""
    if name in known:
        return True
    if name in PRODUCT_STRATEGIES:
        report.warn(where, f"strategy '{name}' is not part of this version; it will be left out (available: {listing(known)})")
    else:
        report.error(where, f"unknown strategy '{name}'{nearest(name, {*known, *PRODUCT_STRATEGIES})} (available: {listing(known)})")
    return False


def check_services(names: Collection[str], where: Where, declared: Collection[str], report: Report) -> None:
    """Report names of services that are not declared."""
    for position, name in enumerate(names):
        if name not in declared:
            report.error((*where, position), f"no service is called '{name}'{nearest(name, declared)} (declared: {listing(declared)})")


def check_labels(labels: Mapping[str, str], where: Where, services: Mapping[str, ServiceDeclaration], report: Report) -> None:
    """Report labels that no service bears; not in a file with other errors, for a service that could not be read may bear them."""
    if not labels or report.errors or any(labels.items() <= service.labels.items() for service in services.values()):
        return
    borne = {f"{key}={value}" for service in services.values() for key, value in service.labels.items()}
    wanted = " and ".join(f"{key}={value}" for key, value in labels.items())
    report.error(where, f"covers nothing: no service bears {wanted}{nearest(wanted, borne)}")


def check_dependencies(services: Mapping[str, ServiceDeclaration], declared: Collection[str], report: Report) -> None:
    """Report dependencies on services that are not declared, on the same service twice, and every cycle."""
    for service in services.values():
        for position, other in enumerate(service.depends_on):
            where = ("services", service.name, "depends_on", position)
            if other not in declared:
                report.error(where, f"no service is called '{other}'{nearest(other, declared)} (declared: {listing(declared)})")
            elif other in service.depends_on[:position]:
                report.error(where, f"'{other}' is named twice")
    graph = {name: [other for other in service.depends_on if other in services] for name, service in services.items()}
    for _ in range(MOST_CYCLES):
        if not (cycle := _cycle(graph)):
            return
        report.error(("services", cycle[0], "depends_on"), f"dependency cycle: {' -> '.join(cycle)}")
        graph[cycle[0]] = [other for other in graph[cycle[0]] if other != cycle[1]]


def check_plans(services: Mapping[str, ServiceDeclaration], known: Mapping[str, Refuses], report: Report) -> None:
    """Report strategies in plans, cooldowns and approvals that are unknown, and warn of those that would refuse to act."""
    for service in services.values():
        top: Where = ("services", service.name)
        for name in service.cooldown:
            check_strategy(name, (*top, "cooldown", name), known, report)
        for place, name in enumerate(service.approve):
            check_strategy(name, (*top, "approve", place), known, report)
        for category, strategies in service.plan.items():
            for position, name in enumerate(strategies):
                where = (*top, "plan", category.value, position)
                if check_strategy(name, where, known, report) and (why := known[name](service, category)):
                    report.warn(where, f"'{name}' will be left out of this plan: {why}")
        if service.managed and not service.checks:
            report.warn(top, "has no checks: nothing will notice that it is sick, and no remedy can be verified")


def check_mentions(
    services: Mapping[str, ServiceDeclaration],
    models: Mapping[str, type[BaseModel]],
    report: Report,
    **declared: Mapping[str, FeatureDeclaration] | Mapping[str, CapabilityDeclaration],
) -> None:
    """Report remedies that name a check, a feature or a capability which nobody declares, or only another service may be without.

    A default that nobody declares is a warning, written out or not. The remedies must be valid.

    Args:
        services: whose remedies.
        models: strategy -> the model of its options.
        report: takes the problems.
        declared: what is declared of each kind of `Mention`, besides checks.
    """
    checks = {f"{service.name}.{check.name}" for service in services.values() for check in service.checks}
    for service in services.values():
        for strategy, options in service.remedies.items():
            for place, name, kind, is_default in _mentions(models[strategy].model_validate(options)):
                where = ("services", service.name, "remedies", strategy, *place)
                if kind == "check" and name not in checks:
                    report.error(where, f"no check is called '{name}'{nearest(name, checks)} (write SERVICE.CHECK)")
                elif kind != "check" and (known := declared.get(kind)):
                    tell = report.warn if is_default else report.error
                    if name not in known:
                        tell(where, f"no {kind} is called '{name}'{nearest(name, known)} (declared: {listing(known)})")
                    elif why := not_for(service.name, kind, name, known[name]):
                        report.error(where, why)


def check_rule(rule: DegradationRule, where: Where, services: Mapping[str, ServiceDeclaration], report: Report) -> None:
    """Report a rule about a service that is not declared; warn of one about the health of a service at which nobody looks."""
    if rule.service is None:
        return
    if rule.service not in services:
        said = f"no service is called '{rule.service}'{nearest(rule.service, services)} (declared: {listing(services)})"
        report.error((*where, "service"), said)
    elif not services[rule.service].checks and rule.condition.metric in MEASURED:
        report.warn((*where, "when"), f"can never hold: {rule.service} has no checks, so nobody knows its {rule.condition.metric}")


def _mentions(options: BaseModel) -> Iterator[tuple[Where, str, str, bool]]:
    """Return place, name and kind of what is marked in options, and whether it is the default."""
    for key, field in type(options).model_fields.items():
        value = getattr(options, key)
        items = _items(key, value)
        if (mark := _mark(field.metadata) or _mark_in(field.annotation)) is not None:
            yield from ((place, item, mark.kind, value == field.default) for place, item in items if isinstance(item, str))
        for place, item in items:
            if isinstance(item, BaseModel):
                inside = _mentions(item)
                yield from (((*place, *inner), name, kind, is_default) for inner, name, kind, is_default in inside)


def _items(key: str, value: object) -> list[tuple[Where, object]]:
    """Return what an option names, with the place of each: itself, its items, or its keys."""
    if isinstance(value, tuple | list):
        return [((key, position), item) for position, item in enumerate(value)]
    if isinstance(value, Mapping):
        return [((key, name), name) for name in value]
    return [((key,), value)]


def _mark(metadata: Iterable[object]) -> Mention | None:
    return next((each for each in metadata if isinstance(each, Mention)), None)


def _mark_in(annotation: object) -> Mention | None:
    found = _mark(getattr(annotation, "__metadata__", ()))
    return found or next((mark for inner in get_args(annotation) if (mark := _mark_in(inner))), None)


def _cycle(graph: Mapping[str, Collection[str]]) -> list[str]:
    """Return one cycle as `[a, b, a]`, where a depends on b; empty when there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found = [str(name) for name in reversed(error.args[1])]
        first = found.index(min(found))
        return [*found[first:-1], *found[:first], found[first]]
    return []
