"""The names that a configuration may use: kinds of checks and drivers, and strategies, each with the model of its options."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from pydantic import BaseModel

from recovery.config.references import Refuses
from recovery.ports import CheckKind, DriverKind, Strategy
from recovery.registry import Registry


@dataclass(frozen=True, slots=True)
class Kinds:
    """What may be named in the file: the models that validate the options of each check, driver and strategy."""

    checks: Mapping[str, type[BaseModel]]
    drivers: Mapping[str, type[BaseModel]]
    strategies: Mapping[str, type[BaseModel]]
    intervals: Mapping[str, float] = field(default_factory=dict)
    """Default seconds between probes, by check type; 60 where none is given."""
    refuses: Mapping[str, Refuses] = field(default_factory=dict)
    """Strategy -> why it cannot help a service with a category; turned into warnings about plans."""

    @classmethod
    def of(cls, checks: Registry[CheckKind], drivers: Registry[DriverKind], strategies: Registry[Strategy]) -> Self:
        """Return the kinds that three registries hold."""
        return cls(
            checks={name: kind.options for name, kind in checks.items()},
            drivers={name: kind.options for name, kind in drivers.items()},
            strategies={name: strategy.options for name, strategy in strategies.items()},
            intervals={name: kind.interval for name, kind in checks.items()},
            refuses={name: strategy.refuses for name, strategy in strategies.items()},
        )
