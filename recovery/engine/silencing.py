"""Lets people say when automatic recoveries shall wait: silences, deploy markers, the kill switch. Each is an event and an audit row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from recovery.config.fleet import Fleet
from recovery.decide.windows import maintenance
from recovery.engine.chronicle import tell
from recovery.engine.consent import LONGEST_NAME, LONGEST_TEXT, tidy
from recovery.errors import PauseUnchanged, ServiceNotFound, SilenceInvalid, SilenceNotFound, UnknownName, nearest
from recovery.models import Event, JsonObject, Silence, SilenceKind, new_id
from recovery.ports import Clock, Store

LONGEST = timedelta(days=31)
"""What lasts longer is no exception any more; declare it: `[[maintenance]]`, `managed = false`."""
FURTHEST = timedelta(days=366)
"""How far ahead a silence may begin."""
SLACK = timedelta(minutes=1)
"""How far in the past a silence may begin, for clocks that differ."""
SHORTEST_ID = 6


@dataclass(frozen=True, slots=True)
class Wish:
    """A silence that somebody asks for."""

    by: str
    reason: str
    until: datetime
    services: Sequence[str] = ()
    labels: dict[str, str] = field(default_factory=dict)
    everything: bool = False
    """Silence every service; without it, services or labels must be named."""
    since: datetime | None = None
    """None: from now on."""
    kind: SilenceKind = SilenceKind.SILENCE
    id: str = ""
    """Chosen by the caller, so that a doubled message is one silence; empty: a new one."""


class Silencing:
    """The one place where silences begin and end.

    Args:
        store: where they are written down.
        fleet: returns the configuration in force: the services that may be named, and the declared maintenance windows.
        clock: returns the current time.
    """

    def __init__(self, store: Store, fleet: Callable[[], Fleet], clock: Clock) -> None:
        self._store = store
        self._fleet = fleet
        self._clock = clock

    def all(self) -> list[Silence]:
        """Return what is in force and what is to come, declared maintenance windows included, by its beginning."""
        now = self._clock()
        return sorted([*self._store.silences(now), *maintenance(self._fleet(), now)], key=lambda silence: (silence.since, silence.id))

    def put(self, wish: Wish) -> Silence:
        """Put a silence in force; one with the same id that is in force already is returned as it is.

        Raises:
            ServiceNotFound: a service is not declared; with the nearest name.
            UnknownName: no declared service bears the labels; with the nearest one.
            SilenceInvalid: no reason, an impossible time, or nothing is named.
        """
        now = self._clock()
        known = next((silence for silence in self._store.silences(now) if silence.id == wish.id), None)
        if known is not None:
            return known
        self._require_names(wish)
        since = max(wish.since or now, now)
        self._require_times(wish, since, now)
        return self._put(wish, since, wish.until, now)

    def lift(self, silence_id: str, by: str) -> Silence:
        """End a silence; recoveries that it holds look again at once.

        Args:
            silence_id: a full id, or a unique prefix of at least 6 characters.
            by: who ends it.

        Raises:
            SilenceNotFound: none of this id is in force or to come.
            SilenceInvalid: it is declared in `recovery.toml`, which alone can end it.
        """
        now, name = self._clock(), tidy(by, LONGEST_NAME)
        found = self._find(silence_id)
        what = "platform:resumed" if found.kind is SilenceKind.KILL_SWITCH else "silence:lifted"
        data: JsonObject = {"id": found.id, "kind": str(found.kind), "by": name, "reason": found.reason}
        happened = Event(what, now, _one(found.services), None, data)
        lifted = self._store.lift_silence(found.id, name, now, [happened])
        if lifted is None:
            raise SilenceNotFound(f"silence {found.id[:8]} is over already")
        self._store.audit(what.replace(":", "_"), name, data, now)
        tell([happened])
        return lifted

    def pause(self, by: str, reason: str) -> Silence:
        """Turn the kill switch on: every recovery but emergencies and what is forced waits until `resume`.

        Raises `PauseUnchanged` if it is on already, with who turned it.
        """
        now = self._clock()
        on = self._switches(now)
        if on:
            raise PauseUnchanged(f"paused already by {on[0].author} since {on[0].since:%Y-%m-%d %H:%M:%S} UTC: {on[0].reason}")
        wish = Wish(by, reason or "paused by hand", until=now, everything=True, kind=SilenceKind.KILL_SWITCH)
        return self._put(wish, now, None, now)

    def resume(self, by: str) -> list[Silence]:
        """Turn the kill switch off and return what was lifted; raises `PauseUnchanged` if it is not on."""
        on = self._switches(self._clock())
        if not on:
            raise PauseUnchanged("nothing is paused")
        return [self.lift(switch.id, by) for switch in on]

    def deploy(self, wish: Wish) -> list[Silence]:
        """Mark for each service of `wish` by itself that a new version is rolled out; raises as `put` does, before anything is marked."""
        now = self._clock()
        since = max(wish.since or now, now)
        self._require_names(wish)
        self._require_times(wish, since, now)
        each = (replace(wish, services=(name,), kind=SilenceKind.DEPLOY, id="") for name in dict.fromkeys(wish.services))
        return [self._put(one, since, wish.until, now) for one in each]

    def deployed(self, services: Sequence[str], by: str) -> list[Silence]:
        """End the deploy markers that name one of these services; raises `SilenceNotFound` if there is none."""
        found = [
            silence
            for silence in self._store.silences(self._clock())
            if silence.kind is SilenceKind.DEPLOY and not set(services).isdisjoint(silence.services)
        ]
        if not found:
            raise SilenceNotFound(f"no deploy of {', '.join(services)} is marked")
        return [self.lift(marker.id, by) for marker in found]

    def _put(self, wish: Wish, since: datetime, until: datetime | None, now: datetime) -> Silence:
        silence = Silence(
            id=wish.id or new_id(),
            kind=wish.kind,
            since=since,
            until=until,
            author=tidy(wish.by, LONGEST_NAME),
            reason=tidy(wish.reason, LONGEST_TEXT),
            created_at=now,
            services=tuple(dict.fromkeys(wish.services)),
            labels=dict(wish.labels),
        )
        data: JsonObject = {
            "id": silence.id,
            "kind": str(silence.kind),
            "services": list(silence.services),
            "labels": dict(silence.labels),
            "since": since.isoformat(),
            "until": until.isoformat() if until else None,
            "by": silence.author,
            "reason": silence.reason,
        }
        what = "platform:paused" if wish.kind is SilenceKind.KILL_SWITCH else "silence:put"
        happened = Event(what, now, _one(silence.services), None, data)
        self._store.put_silence(silence, [happened])
        self._store.audit(what.replace(":", "_"), silence.author, data, now)
        tell([happened])
        return silence

    def _find(self, silence_id: str) -> Silence:
        there = self.all()
        found = [silence for silence in there if silence.id == silence_id]
        if not found and len(silence_id) >= SHORTEST_ID:
            found = [silence for silence in there if silence.id.startswith(silence_id)]
        if len(found) != 1:
            many = f": {len(found)} begin so, type more of it" if found else ""
            many = f": type its first {SHORTEST_ID} characters or more" if len(silence_id) < SHORTEST_ID else many
            raise SilenceNotFound(f"no silence with the id '{silence_id}' is in force or to come{many}")
        if found[0].kind is SilenceKind.MAINTENANCE:
            raise SilenceInvalid(f"maintenance window '{found[0].id}' is declared in recovery.toml: change it there")
        return found[0]

    def _switches(self, now: datetime) -> list[Silence]:
        return [silence for silence in self._store.silences(now) if silence.kind is SilenceKind.KILL_SWITCH]

    def _require_names(self, wish: Wish) -> None:
        services = self._fleet().services
        for name in wish.services:
            if name not in services:
                raise ServiceNotFound(f"no service '{name}' is declared{nearest(name, services)}", service=name)
        if wish.labels and not any(wish.labels.items() <= service.labels.items() for service in services.values()):
            borne = {f"{key}={value}" for service in services.values() for key, value in service.labels.items()}
            wanted = " and ".join(f"{key}={value}" for key, value in wish.labels.items())
            raise UnknownName(f"no declared service bears the label {wanted}{nearest(wanted, borne)}")
        if not (wish.services or wish.labels or wish.everything):
            raise SilenceInvalid("name the services or labels to silence, or say that it is about every service")
        if wish.everything and (wish.services or wish.labels):
            raise SilenceInvalid("either name services or labels, or say that it is about every service")

    @staticmethod
    def _require_times(wish: Wish, since: datetime, now: datetime) -> None:
        if not tidy(wish.reason, LONGEST_TEXT):
            raise SilenceInvalid("a silence needs a reason: whoever finds it should know why")
        if not tidy(wish.by, LONGEST_NAME):
            raise SilenceInvalid("a silence needs an author")
        if wish.since is not None and wish.since < now - SLACK:
            raise SilenceInvalid(f"a silence cannot begin in the past ({wish.since:%Y-%m-%d %H:%M:%S} UTC)")
        if since > now + FURTHEST:
            raise SilenceInvalid(f"a silence must begin within {FURTHEST.days} days")
        if wish.until <= since:
            raise SilenceInvalid(f"a silence must end after it begins ({wish.until:%Y-%m-%d %H:%M:%S} UTC does not)")
        if wish.until - since > LONGEST:
            raise SilenceInvalid(f"a silence lasts {LONGEST.days} days at most; for longer declare [[maintenance]] or managed = false")


def _one(services: Sequence[str]) -> str | None:
    return services[0] if len(services) == 1 else None
