"""Check what the declared services say about each other and about strategies: unknown names, cycles, plans that cannot act."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import get_args

from pydantic import BaseModel

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

MOST_CYCLES = 20
"""Cycles told at once; each takes a walk over the whole fleet to find."""


@dataclass(frozen=True)
class CheckMention:
    """Marks, in the type of an option, text that must be the name of a declared check: `Annotated[str, CheckMention()]`."""


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


def check_mentions(services: Mapping[str, ServiceDeclaration], models: Mapping[str, type[BaseModel]], report: Report) -> None:
    """Report remedies that name a check which nobody declares. The remedies must be valid."""
    known = {f"{service.name}.{check.name}" for service in services.values() for check in service.checks}
    for service in services.values():
        for strategy, options in service.remedies.items():
            for place, name in _mentions(models[strategy].model_validate(options)):
                if name not in known:
                    where = ("services", service.name, "remedies", strategy, *place)
                    report.error(where, f"no check is called '{name}'{nearest(name, known)} (write SERVICE.CHECK)")


def _mentions(options: BaseModel) -> Iterator[tuple[Where, str]]:
    for key, field in type(options).model_fields.items():
        value = getattr(options, key)
        values = list(enumerate(value)) if isinstance(value, tuple | list) else []
        is_marked = any(isinstance(each, CheckMention) for each in field.metadata) or _marks(field.annotation)
        if is_marked and isinstance(value, str):
            yield (key,), value
        elif is_marked:
            yield from (((key, position), item) for position, item in values)
        for place, item in [((key,), value), *(((key, position), item) for position, item in values)]:
            if isinstance(item, BaseModel):
                yield from (((*place, *inner), name) for inner, name in _mentions(item))


def _marks(annotation: object) -> bool:
    if any(isinstance(each, CheckMention) for each in getattr(annotation, "__metadata__", ())):
        return True
    return any(_marks(inner) for inner in get_args(annotation))


def _cycle(graph: Mapping[str, Collection[str]]) -> list[str]:
    """Return one cycle as `[a, b, a]`, where a depends on b; empty when there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found = [str(name) for name in reversed(error.args[1])]
        first = found.index(min(found))
        return [*found[first:-1], *found[:first], found[first]]
    return []
