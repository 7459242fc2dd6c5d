"""Judges signs of life: the tick, the workers, the canaries that went through the queues, and the ping to the outside.

Names of pulses: `tick`, `worker:<node name>`, `canary:<queue>`, `ping`.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from recovery.config.fleet import Fleet
from recovery.models import Pulse
from recovery.watch.sight import AHEAD
from recovery.watch.words import Part, PartStatus

TICK, PING, WORKER, CANARY = "tick", "ping", "worker:", "canary:"
PAUSE = "pause"
"""Key of the last pause in the tick's detail: `until`, `seconds` and `sweeps`."""
PAUSE_TOLD = timedelta(hours=1)
"""For how long a pause that is over is told of."""

TICK_EVERY = 5.0
"""Seconds between two notes that the tick came; it comes every second, a note of each would cost more than it says."""
TICK_LIMIT = 15.0
WORKER_EVERY = 10.0
"""Seconds between two pulses of a worker."""
WORKER_LIMIT = 30.0
WORKER_GONE = 3_600.0
"""Seconds after which a worker that fell silent is no longer missed."""
CANARY_EVERY = 30.0
"""Seconds between two canaries through a queue; one that waited longer than this is dropped."""
CANARY_LIMIT = 75.0
"""Two intervals, so that a single one may be lost, and some time on the way."""
SLOW = 10.0
"""Seconds on the way from which a canary counts as late: whatever else is sent to that queue waits as long."""
LOST = 4.0
"""Times its limit after which a part is lost."""
NEEDED = "does beat run, and a worker for queue maintenance?"


def judge_tick(pulse: Pulse | None, now: datetime) -> Part:
    """Say whether ticks come: without them no timer ends, and nothing that was lost is sent again."""
    if pulse is None:
        return Part(
            TICK, PartStatus.UNKNOWN, "no tick was ever recorded: does beat run, and a worker for queue maintenance?", None, TICK_LIMIT
        )
    sender = pulse.detail.get("beat")
    said = f"ticks come from {sender}" if sender else "ticks come"
    return _judge(TICK, pulse, now, TICK_LIMIT, said, f"no tick for {{age:.0f}} s: {NEEDED}")


def missed_sweeps(fleet: Fleet, seconds: float) -> int:
    """Return how many sweeps come due within `seconds`: one per check interval and shard."""
    return sum(int(seconds // interval) * fleet.platform.shards for interval in fleet.intervals())


def last_pause(pulse: Pulse | None, now: datetime) -> str | None:
    """Say what was missed while no tick came, for an hour after the ticks came again; None if nothing was."""
    pause = pulse.detail.get(PAUSE) if pulse else None
    if not isinstance(pause, dict):
        return None
    until = datetime.fromisoformat(str(pause["until"]))
    if not until - AHEAD <= now < until + PAUSE_TOLD:
        return None
    silent = f"no tick came for {pause['seconds']:.0f} s until {until:%H:%M:%S} UTC"
    return f"{silent}; sweeps missed meanwhile: {pause['sweeps']}, none is made up for"


def judge_workers(pulses: Mapping[str, Pulse], now: datetime) -> list[Part]:
    """Judge every worker that was not stopped on purpose, for an hour after it fell silent."""
    found = []
    for name, pulse in sorted(pulses.items()):
        if not name.startswith(WORKER) or pulse.detail.get("stopped") or (now - pulse.at).total_seconds() > WORKER_GONE:
            continue
        queues = pulse.detail.get("queues")
        shown = ", ".join(str(queue) for queue in queues) if isinstance(queues, list) else "?"
        silent = f"silent for {{age:.0f}} s without having been stopped; it served {shown}"
        found.append(_judge(name, pulse, now, WORKER_LIMIT, f"serves {shown}", silent))
    return found


def judge_canaries(pulses: Mapping[str, Pulse], queues: Iterable[str], now: datetime) -> list[Part]:
    """Judge every queue by the last canary that came through it."""
    return [_judge_canary(queue, pulses.get(f"{CANARY}{queue}"), now) for queue in queues]


def _judge_canary(queue: str, pulse: Pulse | None, now: datetime) -> Part:
    name = f"{CANARY}{queue}"
    if pulse is None:
        return Part(name, PartStatus.UNKNOWN, f"nothing ever came through queue {queue}: does a worker serve it?", None, CANARY_LIMIT)
    taken = pulse.detail.get("seconds")
    seconds = float(taken) if isinstance(taken, int | float) else 0.0
    silent = f"nothing came through queue {queue} for {{age:.0f}} s: its workers are busy or gone"
    part = _judge(name, pulse, now, CANARY_LIMIT, f"the last one took {seconds:.2f} s", silent)
    if part.status is PartStatus.OK and seconds > SLOW:
        slow = f"the last one took {seconds:.0f} s (limit {SLOW:g} s): its workers were busy or away"
        return Part(name, PartStatus.LATE, slow, part.age, CANARY_LIMIT)
    return part


def judge_ping(pulse: Pulse | None, every: float, now: datetime) -> Part:
    """Say whether whoever listens outside was reached; asked only while all is well."""
    limit = 2 * every + TICK_LIMIT
    if pulse is None:
        return Part(PING, PartStatus.UNKNOWN, "nobody outside was told yet that all is well", None, limit)
    if not pulse.detail.get("ok"):
        return Part(PING, PartStatus.LATE, f"the listener did not answer: {pulse.detail.get('error')}", _age(pulse, now), limit)
    return _judge(PING, pulse, now, limit, "the listener was told that all is well", "the listener was last told {age:.0f} s ago")


def _judge(name: str, pulse: Pulse, now: datetime, limit: float, said: str, silent: str) -> Part:
    if pulse.at > now + AHEAD:
        back = f"the last sign of life is dated {(pulse.at - now).total_seconds():.0f} s in the future: the clock was set back"
        return Part(name, PartStatus.LATE, back, None, limit)
    age = _age(pulse, now)
    if age <= limit:
        return Part(name, PartStatus.OK, said, age, limit)
    return Part(name, PartStatus.LOST if age > LOST * limit else PartStatus.LATE, silent.format(age=age), age, limit)


def _age(pulse: Pulse, now: datetime) -> float:
    return max(0.0, (now - pulse.at).total_seconds())
