"""What strategies act through. The composition root hands it in; where strategies only plan, nothing is connected."""

from dataclasses import dataclass
from typing import Any, NoReturn

from recovery.config.fleet import ServiceDeclaration
from recovery.errors import DriverError, StoreUnavailable
from recovery.ports import Breakers, Clock, Degradations, Driver, DriverKind, Endpoints, Probe
from recovery.registry import Registry
from strategies.drivers.abilities import Verb, lack_of


@dataclass(frozen=True, slots=True)
class Collaborators:
    """What strategies act through."""

    drivers: Registry[DriverKind]
    probe: Probe
    degradations: Degradations
    endpoints: Endpoints
    breakers: Breakers
    clock: Clock

    def driver_of(self, service: ServiceDeclaration) -> Driver:
        """Return the driver of `service`; raises `DriverError` if it declares none, `UnknownName` if there is no such kind."""
        if service.driver is None:
            raise DriverError(f"'{service.name}' declares no driver")
        return self.drivers[service.driver.kind].build(service)

    def no_way_to(self, verb: Verb, service: ServiceDeclaration) -> str | None:
        """Return why no driver can do `verb` to `service` on this machine, None when one can."""
        if service.driver is None:
            return "no driver is declared"
        kind = service.driver.kind
        if kind not in self.drivers:
            return f"its driver '{kind}' is not installed"
        return self.drivers[kind].usable() or lack_of(self.driver_of(service), verb)


class _Nothing:
    """Refuses whatever is asked of it."""

    def __getattr__(self, name: str) -> NoReturn:
        raise StoreUnavailable("these strategies can plan, not act; strategies.build() returns some that can")

    def __call__(self, *_arguments: object) -> NoReturn:
        self.__getattr__("call")


def unconnected(drivers: Registry[DriverKind], clock: Clock) -> Collaborators:
    """Return collaborators with which strategies can plan and validate, and refuse to act."""
    nothing: Any = _Nothing()
    return Collaborators(drivers, probe=nothing, degradations=nothing, endpoints=nothing, breakers=nothing, clock=clock)
