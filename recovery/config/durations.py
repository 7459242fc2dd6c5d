"""Check that what a service declares fits into the time that an attempt may take."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from recovery.config.fleet import ServiceDeclaration
from recovery.config.locate import Where
from recovery.config.problems import Report


@dataclass(frozen=True)
class TakesTime:
    """Marks, in the type of an option, seconds that a step of the strategy may take: `Annotated[Seconds, TakesTime()]`."""


def check_durations(services: Mapping[str, ServiceDeclaration], models: Mapping[str, type[BaseModel]], report: Report) -> None:
    """Report services whose remedies or verification may take longer than `attempt_timeout`. The remedies must be valid."""
    for service in services.values():
        top: Where = ("services", service.name)
        if service.verify_timeout > service.attempt_timeout:
            report.error((*top, "verify_timeout"), _said(service, {"verify_timeout": service.verify_timeout}))
            continue
        for strategy, options in service.remedies.items():
            parts = dict(_marked(models[strategy].model_validate(options)))
            if sum(parts.values()) + service.verify_timeout > service.attempt_timeout:
                report.error((*top, "remedies", strategy), _said(service, {**parts, "verify_timeout": service.verify_timeout}))


def _said(service: ServiceDeclaration, parts: Mapping[str, float]) -> str:
    total = sum(parts.values())
    sums = " + ".join(f"{key} {seconds:g}" for key, seconds in parts.items())
    return (
        f"may take {total:g} s ({sums}), longer than one attempt may: "
        f"set attempt_timeout in [services.{service.name}] to {total:g} or more, or lower these (it is {service.attempt_timeout:g})"
    )


def _marked(options: BaseModel) -> Iterator[tuple[str, float]]:
    for key, field in type(options).model_fields.items():
        if any(isinstance(each, TakesTime) for each in field.metadata):
            yield key, getattr(options, key)
