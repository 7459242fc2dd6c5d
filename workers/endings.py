"""Tells services that a recovery of theirs has ended; the key and the channel are described in `recovery.client.endings`.

A notice is sent after the commit and may be lost: it saves callers a wait, nothing depends on it.
"""

import json
import time

from celery.utils.log import get_logger
from redis.exceptions import RedisError

from recovery.client.endings import SERVICE, SERVICE_CHANGED
from recovery.errors import StoreUnavailable
from workers.wiring import platform

logger = get_logger(__name__)

KEPT = 3_600
"""Seconds that the last ending of a service can be looked up."""

QUIET = 5.0
"""Seconds without notices after one that Redis did not take: where the broker is another server, work must not wait for each of them."""

_ANNOUNCE = """
-- KEYS[1] recovery:service:<name>: string, JSON of the ending, expires. ARGV: the JSON, seconds to keep it, the channel.
-- An ending that is older than the known one, or the same, is told to nobody. Returns 1 if it was told.
local known = redis.call('GET', KEYS[1])
if known then
  local before, after = cjson.decode(known), cjson.decode(ARGV[1])
  if before.recovery_id == after.recovery_id or before.at > after.at then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[1])
return 1
"""


class Quiet:
    """Until when this process tells nobody."""

    until = 0.0
    """Seconds of the monotonic clock."""


def announce(recovery_id: str) -> None:
    """Tell the services' clients that this recovery is closed. Fails open: what goes wrong is only logged."""
    if time.monotonic() < Quiet.until:
        return
    try:
        recovery = platform().store.recovery(recovery_id)
        if recovery is None or recovery.finished_at is None:
            return
        ending = {
            "service": recovery.service,
            "recovery_id": recovery.id,
            "state": recovery.state.value,
            "outcome": recovery.outcome.value if recovery.outcome else None,
            "at": round(recovery.finished_at.timestamp(), 3),
        }
        platform().redis.eval(_ANNOUNCE, 1, SERVICE + recovery.service, json.dumps(ending), KEPT, SERVICE_CHANGED)
    except (RedisError, OSError, StoreUnavailable) as error:
        Quiet.until = time.monotonic() + QUIET
        logger.warning("nobody was told that recovery %s has ended: %s", recovery_id, error)
    except Exception:
        logger.exception("nobody was told that recovery %s has ended", recovery_id)
