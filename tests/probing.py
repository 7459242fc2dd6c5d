"""One look of the platform at one check, as tests of checks take it."""

from datetime import datetime
from typing import Any

from recovery.config.fleet import CheckDeclaration, Fleet, ServiceDeclaration
from recovery.detect.checks import check_kinds
from recovery.detect.probe import FleetProbe
from recovery.ports import Finding


class NoBeats:
    def last(self, service: str) -> datetime | None:
        return None


def fleet_of(kind: str, options: dict[str, Any], seconds: float = 30.0) -> Fleet:
    check = CheckDeclaration.model_validate(
        {"name": "main", "type": kind, "timeout": seconds, "interval": 1, "fall": 1, "options": options}
    )
    return Fleet(version="1", services={"shop": ServiceDeclaration(name="shop", checks=(check,))})


def probe(kind: str, options: dict[str, Any], seconds: float = 30.0) -> Finding:
    fleet = fleet_of(kind, options, seconds)
    return FleetProbe(check_kinds(), lambda: fleet, NoBeats())(["shop.main"])["shop.main"]
