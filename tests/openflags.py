"""What the tests of the OpenFeature provider share: a degradation to put in force, and an ear for the SDK's events."""

from collections.abc import Callable
from datetime import timedelta

from openfeature.client import OpenFeatureClient
from openfeature.event import EventDetails, ProviderEvent

from recovery.client import RecoveryClient
from recovery.models import Degradation, Level, utcnow
from tests.support import eventually


def degraded(service: str = "search", layer: str = "manual", seconds: float = 600.0, ramp: tuple[int, ...] = ()) -> Degradation:
    now = utcnow()
    return Degradation(
        service=service,
        level=Level.LIMITED,
        since=now,
        until=now + timedelta(seconds=seconds),
        features_off=("suggestions",),
        capabilities={"indexing": 20},
        reason="sale",
        recovery_id="r1",
        fence=1,
        layer=layer,
        ramp=ramp,
        ramp_stage=600.0,
        by="ann",
    )


def known(recovery: RecoveryClient, count: int = 1) -> None:
    eventually(lambda: len(recovery.flags.in_force()) == count)


class Ear:
    """Hears the events of a client."""

    def __init__(self, client: OpenFeatureClient) -> None:
        self.heard: list[tuple[ProviderEvent, EventDetails]] = []
        for event in ProviderEvent:
            client.add_handler(event, self._hearing(event))

    def _hearing(self, event: ProviderEvent) -> Callable[[EventDetails], None]:
        return lambda details: self.heard.append((event, details))

    def wait_for(self, event: ProviderEvent) -> EventDetails:
        eventually(lambda: any(heard == event for heard, _ in self.heard), message=lambda: f"no {event}, but {self.heard}")
        return next(details for heard, details in self.heard if heard == event)
