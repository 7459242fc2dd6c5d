"""What clients put into the stream of reports, as an intake would read it."""

import json
from typing import cast

from redis import Redis

from recovery.models import Failure


def failures(redis: Redis) -> list[Failure]:
    """Return the reports in the stream, oldest first."""
    found: list[Failure] = []
    for _, fields in cast("list[tuple[bytes, dict[bytes, bytes]]]", redis.xrange("recovery:reports")):
        reports = json.loads(fields[b"failures"]) if b"failures" in fields else [json.loads(fields[b"failure"])]
        found.extend(Failure.model_validate(report) for report in reports)
    return found
