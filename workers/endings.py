"""Tells services that a recovery of theirs has ended; the key and the channel are described in `recovery.client.endings`.

Where the service was verified healthy its open breakers may be probed from then on. All of this happens after the commit and may be
lost: it saves callers a wait, nothing depends on it.
"""

import json
import time
from typing import TYPE_CHECKING

from celery.utils.log import get_logger
from redis.exceptions import RedisError

from recovery.client.endings import SERVICE, SERVICE_CHANGED
from recovery.errors import StoreUnavailable
from recovery.models import Outcome
from workers.wiring import platform

if TYPE_CHECKING:
    from workers.wiring import Platform

logger = get_logger(__name__)

KEPT = 3_600
"""Seconds that the last ending of a service can be looked up."""

QUIET = 5.0
"""Seconds without notices after one that Redis did not take: where the broker is another server, work must not wait for each of them."""

_KEEP = """
-- KEYS[1] recovery:service:<name>: string, JSON of the ending, expires. ARGV: the JSON, seconds to keep it.
-- Returns 1 if it is news: not the known ending, nor an older one.
local known = redis.call('GET', KEYS[1])
if known then
  local before, after = cjson.decode(known), cjson.decode(ARGV[1])
  if before.recovery_id == after.recovery_id or before.at > after.at then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""


class Quiet:
    """Until when this process tells nobody."""

    until = 0.0
    """Seconds of the monotonic clock."""


def announce(recovery_id: str, here: "Platform | None" = None) -> None:
    """Tell the services' clients that this recovery is closed. Fails open: what goes wrong is only logged.

    Args:
        recovery_id: of the recovery.
        here: the parts to do it with; default: this process's.
    """
    if time.monotonic() < Quiet.until:
        return
    try:
        _announce(recovery_id, here or platform())
    except (RedisError, OSError, StoreUnavailable) as error:
        Quiet.until = time.monotonic() + QUIET
        logger.warning("nobody was told that recovery %s has ended: %s", recovery_id, error)
    except Exception:
        logger.exception("nobody was told that recovery %s has ended", recovery_id)


def _announce(recovery_id: str, parts: "Platform") -> None:
    recovery = parts.store.recovery(recovery_id)
    if recovery is None or recovery.finished_at is None:
        return
    ending = json.dumps(
        {
            "service": recovery.service,
            "recovery_id": recovery.id,
            "state": recovery.state.value,
            "outcome": recovery.outcome.value if recovery.outcome else None,
            "at": round(recovery.finished_at.timestamp(), 3),
        }
    )
    if parts.redis.eval(_KEEP, 1, SERVICE + recovery.service, ending, KEPT):
        if recovery.outcome is Outcome.RESOLVED:
            parts.breakers.mend(recovery.service)  # before callers are told, who try again then
        parts.redis.publish(SERVICE_CHANGED, ending)
