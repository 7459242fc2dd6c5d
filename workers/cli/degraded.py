"""What `status` and `watch` tell of degradations: how far each service is degraded, and a sentence for each degradation."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from recovery.degrade.keys import SYSTEM
from recovery.errors import StoreUnavailable
from recovery.models import Degradation, Level

if TYPE_CHECKING:
    from recovery.settings import Settings

UNKNOWN = "What is degraded is unknown: Redis does not answer."


def in_force(settings: "Settings") -> list[Degradation] | None:
    """Return every degradation there is, also those that are being restored; None while Redis is away."""
    from recovery.degrade import RedisDegradations
    from recovery.store.connect import connect

    if settings.embedded and not settings.socket.exists():
        return None
    with connect(settings.redis) as redis:
        try:
            return RedisDegradations(redis).all()
        except StoreUnavailable:
            return None


def level_of(service: str, found: Iterable[Degradation] | None) -> Level | None:
    """Return the worst level of what degrades the service or the whole system; None if nobody knows."""
    from recovery.degrade.features import worst

    return None if found is None else worst([each.level for each in found if each.service in {service, SYSTEM}])


def restored_of(each: Degradation, now: datetime) -> int:
    """Return for how many callers of a hundred it is over."""
    from recovery.degrade.ramp import restored

    return restored(now.timestamp(), each.until.timestamp(), each.ramp, each.ramp_stage)


def as_table(each: Degradation, now: datetime) -> dict[str, Any]:
    """Return it with the field names that `--json` prints."""
    from workers.cli.render import plain

    return {**plain(each), "restored": restored_of(each, now), "gone_at": plain(each.gone_at)}


def sentences(found: Iterable[Degradation], now: datetime) -> list[str]:
    """Return one sentence for each: who is degraded, how far, until when, by whom and why."""
    return [_sentence(each, now) for each in found]


def _sentence(each: Degradation, now: datetime) -> str:
    from workers.cli.render import moment

    over = restored_of(each, now)
    ends = f"for {100 - over} % of the callers until {moment(each.gone_at, now)}" if over else f"until {moment(each.until, now)}"
    who = "the system" if each.service == SYSTEM else each.service
    return f"{who} is degraded ({each.level}) {ends} by {each.by or each.layer}" + (f": {each.reason}" if each.reason else "")
